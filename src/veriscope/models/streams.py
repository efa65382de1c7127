"""Streams: what of the picture the backbone is shown."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Stream = Literal["rgb", "residual"]

# The residual of a photograph is a few hundredths; times 4 it fills about as much of [0, 1] as the picture did.
RESIDUAL_GAIN = 4.0


def rgb(image_BCHW: Tensor) -> Tensor:
    """Return the picture as it is."""
    return image_BCHW


def residual(image_BCHW: Tensor) -> Tensor:
    """Return 0.5 + 4 (x - mean of the 3 x 3 pixels around it), for x in [0, 1]; the border is reflected.

    Content and brightness go, noise and the traces of resampling stay: what steganalysis (Fridrich & Kodovsky 2012) and
    constrained convolutions (Bayar & Stamm 2016) feed their classifiers. A network that starts from nothing then needs
    no hundreds of steps to find high-pass filters by itself.
    """
    around = F.avg_pool2d(F.pad(image_BCHW, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    return (image_BCHW - around) * RESIDUAL_GAIN + 0.5


STREAMS: dict[Stream, Callable[[Tensor], Tensor]] = {"rgb": rgb, "residual": residual}
