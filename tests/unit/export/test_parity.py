"""What is measured before a file is written, and what stops it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.helpers.bundles import write_pictures
from tests.helpers.exported import bundle_with_ood, entries, exported

from veriscope.bundle import Bundle
from veriscope.bundle.onnx_bundle import OnnxBundle, load_onnx
from veriscope.bundle.onnx_file import sealed
from veriscope.errors import DataError, ModelError
from veriscope.export.parity import TOLERANCE, answers, check_logits, draw, measure, probe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_with_ood(tmp_path_factory.mktemp("folder"))


@pytest.fixture(scope="module")
def graph(folder: Bundle) -> OnnxBundle:
    return exported(folder, folder.folder.parent / "bundle.onnx")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of class folders, and one file that is no picture."""
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root / "Real", 5)
    write_pictures(root / "ai", 6, side=70)
    (root / "ai" / "no.jpg").write_text("no picture")
    return root


def shifted(folder: Bundle, graph: OnnxBundle, file: Path, *, by: float) -> OnnxBundle:
    """Write the bundle's graph with logits that lie `by` off."""
    model = onnx.load(graph.file)
    last = next(node for node in model.graph.node if "logit" in node.output)
    last.output[:] = ["right"]
    model.graph.node.append(onnx.helper.make_node("Add", ["right", "by"], ["logit"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([by]), "by"))
    model.ClearField("metadata_props")
    file.write_bytes(sealed(model.SerializeToString(), entries(folder)))
    return load_onnx(file)


def test_answers_agree_and_their_distance_is_known(folder: Bundle, graph: OnnxBundle, pictures: Path) -> None:
    paths = draw(pictures, limit=100)
    assert len(paths) == 12
    torch, onnx_ = (answers(b, paths, precision="fp32", doing="x") for b in (folder, graph))
    check_logits(torch.logits, onnx_.logits)
    costs = measure(torch, onnx_, folder=pictures)
    assert (costs.pictures, costs.num_pictures, costs.num_without) == (pictures.name, 11, 1)
    assert costs.max_logit == pytest.approx(np.nanmax(np.abs(torch.logits - onnx_.logits)), abs=1e-9)
    assert 0 <= costs.max_score <= costs.max_logit < 1e-5
    assert costs.num_flips == 0
    assert costs.auroc == costs.auroc_torch
    assert costs.auroc is not None
    assert torch.seconds > 0


def test_a_wrong_graph_is_refused_and_its_costs_are_counted(
    folder: Bundle, graph: OnnxBundle, pictures: Path, tmp_path: Path
) -> None:
    wrong = shifted(folder, graph, tmp_path / "x.onnx", by=-3.0)
    with pytest.raises(ModelError, match=r"logits differ by up to 3, 0\.001 is allowed"):
        probe(folder.network(device="cpu", precision="fp32"), wrong.network(device="cpu"))
    paths = draw(pictures, limit=100)
    torch, onnx_ = (answers(b, paths, precision="fp32", doing="x") for b in (folder, wrong))
    with pytest.raises(ModelError, match="doesn't answer as torch does"):
        check_logits(torch.logits, onnx_.logits)
    costs = measure(torch, onnx_, folder=pictures)
    assert costs.max_logit == pytest.approx(3, abs=1e-4)
    flips = sum(a.label != b.label for a, b in zip(torch.verdicts, onnx_.verdicts, strict=True))
    assert costs.num_flips == flips > 0
    assert costs.auroc == costs.auroc_torch, "a shift leaves the ranking"
    one = replace(onnx_.scored[0], score=None, logit=None, error="lost")
    with pytest.raises(ModelError, match="don't agree whether"):
        measure(torch, replace(onnx_, scored=(one, *onnx_.scored[1:])), folder=pictures)


def test_the_tolerance_grows_with_the_logit() -> None:
    torch = np.array([0.0, 20.0, math.nan], dtype=np.float32)
    check_logits(torch, torch + np.array([0.9, 19, 0], dtype=np.float32) * np.float32(TOLERANCE))
    for harm in ([1.1 * TOLERANCE, 0, 0], [0, 21 * TOLERANCE, 0], [math.nan, 0, 0], [0, math.inf, 0]):
        with pytest.raises(ModelError):
            check_logits(torch, torch + np.array(harm, dtype=np.float32))
    with pytest.raises(ModelError):
        check_logits(torch, np.array([0, 20, 1], dtype=np.float32))


def test_without_class_folders_there_is_no_auroc(folder: Bundle, graph: OnnxBundle, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "mixed", 3)
    torch, onnx_ = (answers(b, paths, precision="fp32", doing="x") for b in (folder, graph))
    costs = measure(torch, onnx_, folder=tmp_path / "mixed")
    assert costs.auroc is None
    assert costs.max_ood is not None
    blind = [replace(side, scored=tuple(replace(one, ood=None) for one in side.scored)) for side in (torch, onnx_)]
    assert measure(*blind, folder=tmp_path / "mixed").max_ood is None


def test_pictures_are_drawn_alike_each_time(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "in", 40, side=8)
    first = draw(tmp_path / "in", limit=10)
    assert first == draw(tmp_path / "in", limit=10) == sorted(first)
    assert len(set(first)) == 10
    assert set(first) <= set(paths)
    assert first != paths[:10]
    with pytest.raises(DataError, match="no such file or folder"):
        draw(tmp_path / "none", limit=10)
