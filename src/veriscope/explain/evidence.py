"""What a method of explaining hands over."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]


class Evidence(NamedTuple):
    """What the places of each picture say: signed, in logits, above 0 for fake and below 0 for real.

    `logits` (B,) is the answer that is explained. `heat` (B, h, w) lies on a grid of the method's own over the whole
    input of the network, row 0 on top. `rest` (B,) is the part of the logit that no place accounts for; only Grad-CAM
    has one. `noise` is the evidence, after calibration, below which a place means little by that method.
    """

    logits: Map
    heat: Map
    rest: Map
    noise: float

    @property
    def local(self) -> Map:
        """The heat with the rest spread evenly, as nothing says where it belongs.

        Of Grad-CAM: the logit if the whole picture were as that place is (to first order); its mean is the logit.
        """
        return self.heat + self.rest[:, None, None]


CAVEAT = (
    "Colour marks what moved this detector. It doesn't show where a picture was changed, and a wrong verdict has a map "
    "as good-looking as a right one."
)

MethodName = Literal["grad_cam", "occlusion"]
# A method: uint8 pictures (B, 3, H, W), fitted to the network's input, to their evidence.
Method = Callable[[Pixels], Evidence]
