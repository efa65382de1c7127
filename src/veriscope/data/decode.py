"""The one decoder: file or bytes in, RGB pixels out, and a short reason for whatever can't be read."""

import errno
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from veriscope.data.places import read_bytes, slice_of
from veriscope.errors import DecodeError, printable

MAX_PIXELS = 178_956_970  # twice PIL's own warning level, the size from which PIL refuses by default

MAX_BYTES = 3 * MAX_PIXELS  # of a file: what the largest picture takes as plain RGB. A sparse file can claim any size

STRIP_PIXELS = 1 << 22  # of a picture with transparency, composed at a time

# A closed list: PIL's other plugins (EPS calls Ghostscript) only widen what a hostile file can reach.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

IMAGE_SUFFIXES = frozenset(  # of files with these formats
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
)

_REASONS = {
    errno.ENOENT: "no such file",
    errno.EISDIR: "is a directory",
    errno.EACCES: "no permission to read",
    errno.EPERM: "no permission to read",
    errno.ELOOP: "symbolic links run in a circle",
    errno.ENAMETOOLONG: "file name too long",
    errno.ENOTDIR: "no such file",
}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112

# PIL warns about odd metadata and large images on stderr, in the middle of a progress bar. What matters becomes a
# DecodeError; catch_warnings would do it locally, but isn't thread-safe and the server decodes in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


class PictureFacts(NamedTuple):
    """What a file says of its picture, as stored: `format` a name of FORMATS (MPO counts as JPEG), before any turn."""

    format: str
    width_px: int
    height_px: int
    size_bytes: int


def decode_image(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.uint8]:
    """Return the picture as uint8 RGB, (H, W, 3), upright, values 0 to 255; of a file, of a slice (data.places), or of
    bytes.

    The first frame of an animation; EXIF orientation applied; transparency laid on white (what a page shows); 16-bit
    samples scaled by 255/65535; CMYK with Adobe's inversion undone. Images above `max_pixels` are refused from their
    header, before a pixel is decoded.

    Raises:
        DecodeError: with a short `reason`; nothing else, whatever the bytes.

    """
    return decode_with_facts(source, max_pixels=max_pixels)[0]


def decode_with_facts(
    source: Path | bytes, *, max_pixels: int = MAX_PIXELS
) -> tuple[npt.NDArray[np.uint8], PictureFacts]:
    """Return what `decode_image` returns, and the facts of the file, from one reading.

    Raises:
        DecodeError: as `decode_image`.

    """
    data, name = (source, "<bytes>") if isinstance(source, bytes) else (read_file(source), os.fspath(source))
    with opened(data, name=name, max_pixels=max_pixels) as image:
        width, height = image.size
        image.load()
        facts = PictureFacts(stored_format(image), width_px=width, height_px=height, size_bytes=len(data))
        return np.ascontiguousarray(_to_rgb(_upright(image), name)), facts


@contextmanager
def opened(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Yield the picture in `data` with its header read and no pixel decoded yet; `name` stands in errors.

    Raises:
        DecodeError: whatever goes wrong, in the block too; nothing else, whatever the bytes.

    """
    if not data:
        raise DecodeError(name, "empty file (0 bytes)")
    if len(data) > MAX_BYTES:
        raise DecodeError(name, f"too large: more than {MAX_BYTES:,} bytes")
    try:
        if max_pixels > MAX_PIXELS:  # a person's wish; PIL would refuse on its own
            Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, max_pixels)
        with Image.open(BytesIO(data), formats=_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise DecodeError(name, f"too large: {width} x {height} pixels, the limit is {max_pixels:,} in all")
            yield image
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(name, "not an image (or of an unknown format)") from None
    except Image.DecompressionBombError:
        raise DecodeError(name, f"too large: the limit is {max_pixels:,} pixels in all") from None
    except MemoryError:
        raise DecodeError(name, "too large for this machine's memory") from None
    except Exception as error:  # noqa: BLE001 - PIL's plugins raise anything on hostile bytes, struct.error to KeyError
        raise DecodeError(name, _reason(error)) from None


def stored_format(image: Image.Image) -> str:
    """Return a name of FORMATS. MPO is how phones store a JPEG with a preview or a depth map behind it: it is JPEG."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file of at most MAX_BYTES.

    Raises:
        DecodeError: it can't be read, is larger, or is something else, as a pipe.

    """
    name = os.fspath(path)
    try:
        if (place := slice_of(path)) is not None:
            size = place.size_bytes
        else:
            found = path.stat()
            # A pipe or a device under an image's name would hang a loader worker for ever.
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                raise DecodeError(name, "not a regular file")
            size = found.st_size
        if size > MAX_BYTES:
            raise DecodeError(name, f"too large: {size:,} bytes, the limit is {MAX_BYTES:,}")
        return read_bytes(path)
    except OSError as error:
        if error.errno == errno.ENOENT and path.is_symlink():
            raise DecodeError(name, f"broken link to '{printable(os.fspath(path.readlink()))}'") from None
        reason = _REASONS.get(error.errno or 0, (error.strerror or type(error).__name__).lower())
        raise DecodeError(name, reason) from None
    except ValueError:
        raise DecodeError(name, "the file name holds a null character") from None


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "truncated" in text.lower() or "unexpected end" in text.lower() or isinstance(error, EOFError):
        return "truncated"
    return f"damaged: {text or type(error).__name__}"[:120]


def orientation(image: Image.Image) -> int:
    """Return the turn that EXIF asks for, 2 to 8; 1 for none, for one that doesn't exist, and for damaged EXIF."""
    try:
        said = image.getexif().get(_ORIENTATION_TAG, 1)
        return int(said) if said in _TURNS else 1
    except Exception:  # noqa: BLE001 - damaged EXIF is no reason to refuse sound pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, name: str) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_16_bit(np.asarray(image), name)
    if image.mode == "F":
        raise DecodeError(name, "floating-point samples have no fixed white")
    if image.mode in ("La", "RGBa", "LA", "PA", "RGBA") or "transparency" in image.info:
        return _on_white(image)
    return np.asarray(image.convert("RGB"))


def _on_white(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return a picture with transparency on white, in strips: whole, it would need five times its own memory."""
    image_HWC = np.empty((image.height, image.width, 3), dtype=np.uint8)
    rows = max(STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        layer = image.crop((0, top, image.width, bottom)).convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        image_HWC[top:bottom] = np.asarray(Image.alpha_composite(white, layer).convert("RGB"))
    return image_HWC


def _from_16_bit(grey_HW: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Return 16-bit grey as 8-bit RGB. PIL's own convert('L') clips at 255 and shows nearly all of it as white."""
    if grey_HW.size and (grey_HW.min() < 0 or grey_HW.max() > 65535):
        raise DecodeError(name, "32-bit integer samples have no fixed white")
    eight = np.empty(grey_HW.shape, dtype=np.uint8)
    for row, line in zip(eight, grey_HW, strict=True):
        row[:] = (line.astype(np.int64) * 255 + 32767) // 65535
    return np.repeat(eight[:, :, None], 3, axis=2)
