"""One picture brought in line: bytes of a file in, bytes of a file out."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from veriscope.audit.align_plan import GRID_PX, SizePolicy, Treatment
from veriscope.augment.corruptions import central_square, encode_jpeg, recompress
from veriscope.data.decode import MAX_PIXELS, decode_image, opened
from veriscope.errors import DecodeError

Pixels = npt.NDArray[np.uint8]


def align_picture(data: bytes, treatment: Treatment, *, max_pixels: int = MAX_PIXELS) -> tuple[bytes, bool]:
    """Return the aligned file, and whether its colours had to be converted to sRGB.

    Upright RGB without EXIF and profile; the JPEG past that it lacks; the common size; the last encoding. It depends on
    `data` and `treatment` only (and on the versions of the codecs).

    Raises:
        DecodeError: the bytes hold no picture, or another one than the treatment was made for.

    """
    image_HWC = decode_image(data, max_pixels=max_pixels)
    image_HWC, converted = _in_srgb(image_HWC, data, max_pixels=max_pixels)
    if treatment.history is not None:
        # Before the size changes: the 8 x 8 grid then starts at the original's corner, as that of a file's own past.
        image_HWC = recompress(image_HWC, "jpeg", treatment.history)
    image_HWC = fit_size(image_HWC, treatment.size)
    if treatment.final is not None:
        return encode_jpeg(image_HWC, treatment.final), converted
    buffer = BytesIO()
    Image.fromarray(image_HWC).save(buffer, "PNG")
    return buffer.getvalue(), converted


def fit_size(image_HWC: Pixels, size: SizePolicy) -> Pixels:
    """Return the picture at the common size.

    A crop's corner lies on the JPEG grid, so that the earlier and the last compression share it in both classes; the
    middle is met within 15 px.

    Raises:
        DecodeError: the picture is smaller.

    """
    height, width = image_HWC.shape[:2]
    if size.kind == "keep":
        return image_HWC
    if min(height, width) < size.side_px:
        raise DecodeError("<bytes>", f"shorter side {min(height, width)} px, below the common {size.side_px}")
    if size.kind == "resize":
        return central_square(image_HWC, size.side_px)
    top, left = ((side - size.side_px) // 2 // GRID_PX * GRID_PX for side in (height, width))
    return np.ascontiguousarray(image_HWC[top : top + size.side_px, left : left + size.side_px])


def _in_srgb(image_HWC: Pixels, data: bytes, *, max_pixels: int) -> tuple[Pixels, bool]:
    """Return the picture with the colours that its ICC profile means, as sRGB, and whether that changed it.

    A profile that is sRGB already, isn't one of RGB, or is damaged leaves the samples as they are.
    """
    with opened(data, name="<bytes>", max_pixels=max_pixels) as image:
        profile = image.info.get("icc_profile")
    if not profile:
        return image_HWC, False
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB" or "srgb" in ImageCms.getProfileName(source).lower():
            return image_HWC, False
        shown = ImageCms.profileToProfile(Image.fromarray(image_HWC), source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image_HWC, False
    return (image_HWC, False) if shown is None else (np.array(shown), True)
