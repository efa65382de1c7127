"""All that a picture's file tells without a look at its pixels."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from veriscope.data.decode import MAX_PIXELS, opened, orientation, stored_format
from veriscope.data.jpeg import jpeg_quality

_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
# Sampling of luminance against chrominance, as (horizontal, vertical) factors of the first component (T.81, A.1.1).
_SUBSAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1"}


class ContainerFacts(NamedTuple):
    """A picture as stored, before any turn. `quality`, `quant_tables` and `subsampling` are of JPEG, else None.

    `format` is a name of decode.FORMATS (MPO counts as JPEG), `mode` PIL's; `frames` counts an animation's pictures,
    a TIFF's pages and the previews behind a JPEG; `quality` is 1 to 100 (data.jpeg); `quant_tables` a short hash of all
    quantisation tables; `progressive` also says interlaced; `orientation` is EXIF's, 1 where nothing is turned.
    """

    format: str
    mode: str
    width_px: int
    height_px: int
    size_bytes: int
    frames: int
    quality: int | None
    quant_tables: str | None
    subsampling: str | None
    progressive: bool
    exif: bool
    icc: bool
    alpha: bool
    orientation: int


def container_facts(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS) -> ContainerFacts:
    """Return what the header of the picture in `data` says; `name` stands in errors.

    Raises:
        DecodeError: as decode.opened. A file that passes may still hold damaged pixels.

    """
    with opened(data, name=name, max_pixels=max_pixels) as image:
        tables = getattr(image, "quantization", None)
        kind = stored_format(image)
        return ContainerFacts(
            format=kind,
            mode=image.mode,
            width_px=image.width,
            height_px=image.height,
            size_bytes=len(data),
            progressive=bool(image.info.get("progressive") or image.info.get("interlace")),
            exif=bool(image.info.get("exif")),
            icc=bool(image.info.get("icc_profile")),
            alpha=image.mode in _ALPHA_MODES or "transparency" in image.info,
            orientation=orientation(image),
            quality=jpeg_quality(tables) if kind == "JPEG" and tables and 0 in tables else None,
            quant_tables=_short_hash(tables) if kind == "JPEG" and tables else None,
            subsampling=_subsampling(image) if kind == "JPEG" else None,
            frames=getattr(image, "n_frames", 1),  # the last: it may read on to the file's end
        )


def _short_hash(tables: Mapping[int, Sequence[int]]) -> str:
    plain = repr(sorted((number, tuple(table)) for number, table in tables.items()))
    return hashlib.sha256(plain.encode()).hexdigest()[:8]


def _subsampling(image: Image.Image) -> str | None:
    """Return `4:2:0` and the like; the factors themselves, as `2x2,1x1`, where they have no name; None for grey."""
    layers: list[tuple[Any, ...]] = getattr(image, "layer", [])
    factors = [(int(horizontal), int(vertical)) for _, horizontal, vertical, *_ in layers]
    if len(factors) < 2:
        return None
    if len(factors) == 3 and factors[1] == factors[2] == (1, 1) and factors[0] in _SUBSAMPLING:
        return _SUBSAMPLING[factors[0]]
    return ",".join(f"{horizontal}x{vertical}" for horizontal, vertical in factors)
