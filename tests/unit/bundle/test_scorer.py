"""The scoring loop: order, reasons, constant memory, and the same answer however it is run."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.bundles import tiny_bundle, write_pictures

from veriscope.bundle import Bundle, Scorer
from veriscope.bundle.torch_network import TorchNetwork
from veriscope.data.decode import decode_image


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("scorer") / "bundle")


def logits(scorer: Scorer, paths: list[Path]) -> np.ndarray:
    return np.array([scored.logit for scored in scorer.score_paths(paths)], dtype=np.float64)


def test_logits_are_the_detector_s_and_scores_are_calibrated(bundle: Bundle, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 3, side=32)  # 32 px: no resizing stands between file and network
    stack = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in paths])
    with torch.no_grad():
        expected = bundle.detector()(torch.from_numpy(stack)).numpy()
    scored = list(bundle.scorer(precision="fp32", device="cpu").score_paths(paths))
    assert [s.path for s in scored] == paths
    assert np.allclose([s.logit for s in scored], expected, atol=1e-5)
    assert len(set(np.round(expected, 3))) == 3, "the pictures must differ for the order to show"
    for s in scored:
        assert s.score == pytest.approx(1 / (1 + math.exp(-s.logit / 2.0)))
    plain = list(Scorer(TorchNetwork(bundle.detector(), device="cpu", precision="fp32")).score_paths(paths))
    assert plain[0].score == pytest.approx(1 / (1 + math.exp(-scored[0].logit)))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
@pytest.mark.parametrize("num_workers", [0, 3])
def test_batches_and_threads_change_nothing(bundle: Bundle, tmp_path: Path, batch_size: int, num_workers: int) -> None:
    paths = write_pictures(tmp_path, 11)
    one = logits(bundle.scorer(device="cpu", precision="fp32", batch_size=1), paths)
    other = bundle.scorer(device="cpu", precision="fp32", batch_size=batch_size, num_workers=num_workers)
    assert np.allclose(one, logits(other, paths), atol=1e-5)


def test_decoded_pictures_get_the_answers_of_their_files(bundle: Bundle, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 5)
    scorer = bundle.scorer(device="cpu", precision="fp32", batch_size=2)
    decoded = ((path, decode_image(path)) for path in paths)
    for one, other in zip(scorer.score_paths(paths), scorer.score_pixels(decoded), strict=True):
        assert (one.path, one.logit, one.score) == (other.path, other.logit, other.score)
        assert one.facts is not None
        assert other.facts is None


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_cannot_be_read_keeps_its_place_and_says_why(bundle: Bundle, tmp_path: Path, num_workers: int) -> None:
    good = write_pictures(tmp_path, 5)
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.jpg").touch()
    cut = tmp_path / "cut.png"
    cut.write_bytes(good[0].read_bytes()[:200])
    bad = [tmp_path / "text.jpg", tmp_path / "empty.jpg", cut, tmp_path / "missing.jpg", tmp_path]
    paths = [bad[0], good[0], bad[1], bad[2], good[1], good[2], *bad[3:], good[3], good[4]]
    scored = list(bundle.scorer(device="cpu", batch_size=2, num_workers=num_workers).score_paths(paths))
    assert [s.path for s in scored] == paths
    for s in scored:
        if s.path in bad:
            assert (s.logit, s.score) == (None, None)
            assert s.error
        else:
            assert s.error is None
    clean = logits(bundle.scorer(device="cpu"), good)
    assert np.allclose([s.logit for s in scored if s.error is None], clean, atol=1e-5)


def test_nothing_but_unreadable_files(bundle: Bundle, tmp_path: Path) -> None:
    scorer = bundle.scorer(device="cpu", batch_size=2)
    scored = list(scorer.score_paths(tmp_path / f"{i}.jpg" for i in range(20)))
    assert len(scored) == 20
    assert all(s.error == "no such file" for s in scored)
    assert list(scorer.score_paths([])) == []


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["good", "missing"])
def test_paths_are_read_as_they_are_needed(bundle: Bundle, tmp_path: Path, num_workers: int, kind: str) -> None:
    path = write_pictures(tmp_path, 1)[0] if kind == "good" else tmp_path / "missing.jpg"
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield path

    scorer = bundle.scorer(device="cpu", batch_size=2, num_workers=num_workers)
    stream = scorer.score_paths(endless())
    assert len(list(itertools.islice(stream, 30))) == 30
    stream.close()
    assert taken < 60


def test_the_transform_sees_the_decoded_picture(bundle: Bundle, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 2)
    seen = []

    def invert(image_hwc: np.ndarray) -> np.ndarray:
        seen.append((image_hwc.shape, image_hwc.dtype))
        return 255 - image_hwc

    scorer = bundle.scorer(device="cpu")
    changed = [s.logit for s in scorer.score_paths(paths, transform=invert)]
    assert seen == [((40, 40, 3), np.dtype(np.uint8))] * 2
    for path in paths:
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert np.allclose(changed, logits(scorer, paths), atol=1e-5)


def test_broken_weights_give_no_verdict_instead_of_a_number(bundle: Bundle, tmp_path: Path) -> None:
    detector = bundle.detector()
    with torch.no_grad():
        detector.classifier.bias.fill_(math.nan)
    (scored,) = Scorer(TorchNetwork(detector, device="cpu")).score_paths(write_pictures(tmp_path, 1))
    assert scored.score is None
    assert scored.error == "the network returned nan"


def test_a_detector_keeps_its_training_mode(bundle: Bundle, tmp_path: Path) -> None:
    detector = bundle.detector().train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    list(Scorer(TorchNetwork(detector, device="cpu")).score_paths(write_pictures(tmp_path, 2)))
    assert detector.training
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_bf16_logits_are_fp32_and_near(bundle: Bundle, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 4)
    exact = logits(bundle.scorer(device="cpu", precision="fp32"), paths)
    low = logits(bundle.scorer(device="cpu", precision="bf16"), paths)
    assert np.allclose(exact, low, atol=0.05 * max(1.0, np.abs(exact).max()))
    assert not np.array_equal(exact, low), "bf16 was asked for and not used"


def test_bombs_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, 1)
    (scored,) = bundle.scorer(device="cpu", max_pixels=100).score_paths([path])
    assert "too large" in (scored.error or "")


def test_answers_carry_the_facts_of_the_stored_file_whatever_was_done_to_its_pixels(
    bundle: Bundle, tmp_path: Path
) -> None:
    tall = tmp_path / "tall.png"
    Image.fromarray(np.full((60, 40, 3), 90, np.uint8)).save(tall)
    (tmp_path / "text.jpg").write_text("not a picture")
    scorer = bundle.scorer(device="cpu", precision="fp32")
    scored = list(scorer.score_paths([tall, tmp_path / "text.jpg"], transform=lambda image: image[:32, :32]))
    assert scored[0].facts == ("PNG", 40, 60, tall.stat().st_size)
    assert scored[1].facts is None
