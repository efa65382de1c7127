"""From fp32 to 8 bits: smaller and, where the processor multiplies bytes, faster; its answers are others."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from veriscope.bundle.onnx_bundle import IMAGE_NAME
from veriscope.data.decode import decode_image
from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.errors import DataError, DecodeError
from veriscope.types import InputSpec

BATCH_SIZE = 8
NUM_COLOURS = 3
# What multiplies; statistics, roots and sums of the heads stay in fp32. So do, for they cost much of the scores and
# save little, what reads the picture, what gives the logit, and depthwise convolutions (benchmarks/onnx.md).
OPERATORS = ("Conv", "MatMul", "Gemm")
# Ranges are the mean of the batches' extremes, not the extremes of all: those grow with every picture and leave too few
# of the 256 steps for what is usual.
METHOD = (
    f"static, QDQ: activations uint8 by the mean extremes of batches of {BATCH_SIZE}, weights int8 a channel, of "
    f"{', '.join(OPERATORS)}; first, depthwise and last layers in fp32"
)


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibrator batches of fitted pictures; `used` counts them, without what can't be read."""

    def __init__(self, paths: Sequence[Path], spec: InputSpec) -> None:
        self.used = 0
        self._batches = self._read(paths, spec)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)

    def _read(self, paths: Sequence[Path], spec: InputSpec) -> Iterator[dict[str, Any]]:
        for start in range(0, len(paths), BATCH_SIZE):
            images = []
            for path in paths[start : start + BATCH_SIZE]:
                try:
                    images.append(to_chw(fit_to_input(decode_image(path), spec)))
                except DecodeError:  # the check, and any prediction, names it
                    continue
            if images:
                self.used += len(images)
                yield {IMAGE_NAME: np.stack(images)}


def to_int8(graph: bytes, paths: Sequence[Path], *, spec: InputSpec) -> tuple[bytes, int]:
    """Return the graph in 8 bits, and how many of the pictures gave the ranges of its activations.

    Args:
        graph: a ModelProto of export_graph.
        paths: pictures like those that will be judged; those that can't be read are passed over.
        spec: what the network is shown.

    Raises:
        DataError: none of the pictures can be read.

    """
    reader = _Pictures(paths, spec)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with TemporaryDirectory(prefix="veriscope-int8-") as name:
            plain, ready, done = (Path(name, file) for file in ("plain.onnx", "ready.onnx", "int8.onnx"))
            plain.write_bytes(graph)
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            try:
                quantize_static(
                    str(ready),
                    str(done),
                    reader,
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=list(OPERATORS),
                    nodes_to_exclude=_delicate(onnx.load(ready)),
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    per_channel=True,
                    calibrate_method=CalibrationMethod.MinMax,
                    extra_options={"CalibMovingAverage": True},
                )
            except ValueError as error:
                if reader.used:
                    raise
                raise DataError("--calibrate: none of its pictures can be read.") from error
            return _shared(done.read_bytes()), reader.used
    finally:
        logging.disable(before)


def _delicate(model: onnx.ModelProto) -> list[str]:
    """Return the names of the layers that stay in fp32."""
    shapes = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    found = []
    for node in model.graph.node:
        shape = shapes.get(node.input[1], ()) if node.op_type in OPERATORS else ()
        grouped = any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
        reads_picture = node.op_type == "Conv" and shape[1:2] == (NUM_COLOURS,)
        gives_logit = node.op_type != "Conv" and 1 in shape
        if grouped or reads_picture or gives_logit:
            found.append(node.name)
    return found


def _shared(content: bytes) -> bytes:
    """Return the graph with equal weights stored once: a picture and its mirror image are judged by the same."""
    model = onnx.load_from_string(content)
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    name_of: dict[str, str] = {}
    kept = []
    for weight in model.graph.initializer:
        value = onnx.numpy_helper.to_array(weight).tobytes()
        name_of[weight.name] = first.setdefault((weight.data_type, tuple(weight.dims), value), weight.name)
        if name_of[weight.name] == weight.name:
            kept.append(weight)
    for node in model.graph.node:
        node.input[:] = [name_of.get(name, name) for name in node.input]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    shared: bytes = model.SerializeToString()
    return shared
