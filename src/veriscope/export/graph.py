"""From a network in torch to an ONNX graph: uint8 pictures in, logits and vectors out, everything between inside."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from veriscope.bundle.onnx_bundle import IMAGE_NAME, LOGIT_NAME, vectors_name
from veriscope.errors import ModelError
from veriscope.models.ensemble import AnyDetector, Ensemble

# What torch's exporter translates without converting between versions; ONNX Runtime runs it since 1.14 (2023).
OPSET = 18


class _Answering(nn.Module):
    """Returns what Detector.answer does, as a flat tuple."""

    def __init__(self, detector: AnyDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        answer = self.detector.answer(image_BCHW)
        return (answer.logits, *answer.vectors)


def export_graph(detector: AnyDetector) -> bytes:
    """Return the network as a serialised ModelProto, weights included.

    Input `image` is uint8 RGB (B, 3, size_px, size_px) for any B; outputs are `logit` (B,) and of each member
    `vectors_0` (B, D), ...: Answer of models.detector in evaluation mode, fp32. Stream, normalisation, flip average and
    the ensemble's mean are part of the graph. By torch's exporter on top of torch.export (docs/decisions/0007).

    Raises:
        ModelError: torch can't export the network, or it doesn't fit into one file.

    """
    detector = detector.float().cpu().eval()
    num_members = len(detector.temperatures) if isinstance(detector, Ensemble) else 1
    side = detector.config.input.size_px
    image_BCHW = torch.zeros(2, 3, side, side, dtype=torch.uint8)  # a batch of 1 would be taken for fixed
    try:
        with _quiet():
            program = torch.onnx.export(
                _Answering(detector),
                (image_BCHW,),
                input_names=[IMAGE_NAME],
                output_names=[LOGIT_NAME, *(vectors_name(number) for number in range(num_members))],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = _root(error)
        raise ModelError(
            f"torch can't export '{detector.config.backbone.name}' with head '{detector.config.head.name}': {reason}"
        ) from error
    model = cast("torch.onnx.ONNXProgram", program).model_proto
    _strip(model)
    try:
        content: bytes = model.SerializeToString()
    except ValueError as error:
        raise ModelError(f"the network takes more than the 2 GiB of one ONNX file: {error}") from error
    return content


def _strip(model: onnx.ModelProto) -> None:
    """Take out what says nothing about the network: the exporter notes for each node the lines of Python it came from,
    with the paths of the machine."""
    graph = model.graph
    parts = (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")


def _root(error: BaseException) -> str:
    """Return the first line of what it began with."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says to its own developers from the screen: deprecations inside of it, and its registry."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
