"""Graphs in 8 bits: what they are made of, and whose pictures set their ranges."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tests.helpers.bundles import write_pictures
from tests.helpers.models import model_config

from veriscope.data.decode import decode_image
from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.errors import DataError
from veriscope.export.graph import export_graph
from veriscope.export.int8 import to_int8
from veriscope.models.detector import build_detector
from veriscope.types import InputSpec

SPEC = InputSpec(size_px=32)


@pytest.fixture(scope="module")
def graph() -> bytes:
    """Return a network that looks at a picture and at its mirror image, by the same weights."""
    config = model_config(
        "custom_cnn", "mlp", size_px=32, flip_average=True, options={"channels": [8, 64]}, head_options={"hidden": 64}
    )
    torch.manual_seed(0)
    return export_graph(build_detector(config))


def test_weights_are_bytes_and_are_there_once(graph: bytes, tmp_path: Path) -> None:
    paths = [*write_pictures(tmp_path / "in", 9), tmp_path / "in" / "none.png"]
    small, used = to_int8(graph, paths, spec=SPEC)
    assert used == 9
    model = onnx.load_from_string(small)
    onnx.checker.check_model(model)
    assert {node.domain for node in model.graph.node} == {""}
    bytes_ = [w for w in model.graph.initializer if w.data_type == onnx.TensorProto.INT8 and len(w.dims) > 1]
    convolutions = [tuple(weight.dims) for weight in bytes_ if len(weight.dims) == 4]
    assert convolutions == [(64, 8, 3, 3)], "those of the mirror image are the same; what reads the picture is fp32"
    assert all(1 not in weight.dims for weight in bytes_), "what gives the logit is fp32"
    assert len(small) < 0.6 * len(graph)
    image_BCHW = np.stack([to_chw(fit_to_input(decode_image(path), SPEC)) for path in paths[:9]])
    logits = [
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(["logit"], {"image": image_BCHW})[
            0
        ]
        for content in (graph, small)
    ]
    assert logits[0].tolist() != logits[1].tolist()
    np.testing.assert_allclose(logits[0], logits[1], atol=0.1)


def test_pictures_that_can_t_be_read_set_no_ranges(graph: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match="--calibrate: none of its pictures can be read"):
        to_int8(graph, [tmp_path / "a.png"], spec=SPEC)
