"""The perceptual hash: what a picture shows, small enough to keep for a million of them."""

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 32
HASH_BYTES = SIDE * SIDE


def picture_hashes(image_HWC: npt.NDArray[np.uint8]) -> bytes:
    """Return the picture squashed to 32 x 32 grey values, row by row: 1,024 bytes.

    Grey is Rec. 601 luma, the reduction antialiased (a triangle as wide as two steps). Enough to register two
    pictures on each other; a hash of bits, which is all that most libraries keep, can be compared but not registered,
    and takes cropped copies for strangers and aligned faces for copies (benchmarks/duplicates.md).

    Args:
        image_HWC: upright RGB, any size from 1 x 1 on.

    """
    grey = Image.fromarray(image_HWC).convert("L")
    return grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes()


def as_pictures(hashes: list[bytes]) -> npt.NDArray[np.uint8]:
    """Return hashes as grey pictures, (N, 32, 32) uint8.

    Raises:
        ValueError: one of another length.

    """
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ValueError(f"a hash has {HASH_BYTES} bytes")
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, SIDE, SIDE)
