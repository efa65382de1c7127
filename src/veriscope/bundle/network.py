"""What answers for a bundle, whatever computes it: torch, or ONNX Runtime."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from veriscope.types import InputSpec

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]


class NetworkAnswer(NamedTuple):
    """What one pass says of a batch: `logits` (B,), fp32, and of each member a vector a picture, `vectors` (B, D)."""

    logits: Vector
    vectors: tuple[Vector, ...]


class Network(Protocol):
    """Pictures in, logits out. `input` is what it is shown; `device` and `precision` are where and how it computes."""

    input: InputSpec
    device: str
    precision: str

    def answer(self, image_BCHW: Pixels, *, describe: bool) -> NetworkAnswer:
        """Return the answers for fitted uint8 RGB pictures; `vectors` are empty unless `describe` asks for them."""
        ...
