"""Graphs of every backbone with every head answer as torch does, for any number of pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tests.helpers.models import model_config
from tests.unit.models.test_contract import PAIRS, TAPS

from veriscope.errors import ModelError
from veriscope.export.graph import OPSET, export_graph
from veriscope.models.detector import Detector, build_detector
from veriscope.models.ensemble import AnyDetector, Ensemble
from veriscope.models.registry import HEADS

SIZE = 64


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(backbone: str, head: str, *, seed: int = 0, stream: str = "rgb", **changes: object) -> Detector:
    """Return a random network whose batch norms have seen pictures: fresh ones would let mistakes pass."""
    torch.manual_seed(seed)
    tap = [TAPS[backbone], None] if HEADS[head].reads_several else None
    config = model_config(backbone, head, size_px=SIZE, tap=tap, mean=0.4, std=0.3, **changes)
    detector = build_detector(config.model_copy(update={"stream": stream}))
    for module in detector.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    detector.classifier.weight.data.mul_(5)
    return detector.eval()


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)


def assert_answers_as_torch(detector: AnyDetector) -> None:
    graph = export_graph(detector)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        image_BCHW = pictures(count)
        with torch.inference_mode():
            wanted = detector.answer(torch.from_numpy(image_BCHW))
        logits, *vectors = session.run(None, {"image": image_BCHW})
        assert logits.shape == (count,)
        np.testing.assert_allclose(logits, wanted.logits.numpy(), rtol=1e-4, atol=1e-5)
        assert len(vectors) == len(wanted.vectors)
        for vector_BD, other_BD in zip(vectors, wanted.vectors, strict=True):
            np.testing.assert_allclose(vector_BD, other_BD.numpy(), rtol=1e-4, atol=1e-5)
    assert len(set(np.round(logits, 6).tolist())) > 1, "logits that are all alike show nothing"


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_every_backbone_with_every_head(backbone: str, head: str) -> None:
    assert_answers_as_torch(build(backbone, head))


def test_streams_and_mirror_images_are_inside() -> None:
    assert_answers_as_torch(build("custom_cnn", "linear", stream="residual", flip_average=True))


def test_an_ensemble_is_one_graph() -> None:
    members = [build("custom_cnn", "texture_stats", seed=seed) for seed in range(3)]
    assert_answers_as_torch(Ensemble(members, temperatures=[0.5, 1.0, 3.0]))


def test_the_graph_is_plain_and_says_nothing_of_the_machine() -> None:
    graph = export_graph(build("custom_cnn", "mlp"))
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert not model.functions
    assert str(Path(__file__).resolve().parents[3]).encode() not in graph
    assert b"site-packages" not in graph
    shape = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 3, SIZE, SIZE]


def test_what_torch_can_t_export_is_said_in_a_line() -> None:
    class Counting(torch.nn.Module):
        def forward(self, features_BCHW: torch.Tensor) -> torch.Tensor:
            rows = int((features_BCHW.mean() > 0).item()) + 1  # depends on the pictures: no graph can hold it
            return features_BCHW.mean(dim=(2, 3)) * torch.ones(rows, 1).sum()

    detector = build("custom_cnn", "linear")
    detector.head = Counting()
    with pytest.raises(ModelError, match="torch can't export 'custom_cnn' with head 'linear'") as caught:
        export_graph(detector)
    assert "\n" not in str(caught.value)
