"""The facts of picture files as the table that `veriscope audit` makes, read by PIL alone: for tests and benchmarks."""

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pyarrow as pa
from PIL import Image, JpegImagePlugin

from veriscope.audit.pixel_facts import PIXEL_FACTS, pixel_facts
from veriscope.data.decode import decode_image
from veriscope.data.jpeg import jpeg_quality

_SUBSAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.binary(32)),
        ("problem", pa.string()),
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("size_bytes", pa.int64()),
        ("frames", pa.int32()),
        ("quality", pa.int8()),
        ("quant_tables", pa.string()),
        ("subsampling", pa.string()),
        ("progressive", pa.bool_()),
        ("exif", pa.bool_()),
        ("icc", pa.bool_()),
        ("alpha", pa.bool_()),
        ("orientation", pa.int8()),
        *((name, pa.float32()) for name in PIXEL_FACTS),
    ]
)


def inspect_files(files: Sequence[tuple[str, bytes | Path]], *, pixels: bool = True) -> pa.Table:
    """Return the table of (name, content or path) pairs, in their order."""
    rows = [_row(name, data if isinstance(data, bytes) else data.read_bytes(), pixels) for name, data in files]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _row(name: str, data: bytes, pixels: bool) -> dict[str, object]:
    with Image.open(BytesIO(data)) as image:
        jpeg = image.format == "JPEG"
        tables = getattr(image, "quantization", None) if jpeg else None
        exif = image.getexif()
        row: dict[str, object] = {
            "path": name,
            "sha256": hashlib.sha256(data).digest(),
            "format": image.format,
            "mode": image.mode,
            "width_px": image.width,
            "height_px": image.height,
            "size_bytes": len(data),
            "frames": getattr(image, "n_frames", 1),
            "quality": jpeg_quality(tables) if tables else None,
            "quant_tables": hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8] if tables else None,
            "subsampling": _SUBSAMPLING.get(JpegImagePlugin.get_sampling(image), "other") if jpeg else None,
            "progressive": bool(image.info.get("progressive", False) or image.info.get("interlace", 0)),
            "exif": len(exif) > 0,
            "icc": "icc_profile" in image.info,
            "alpha": "A" in image.getbands() or "transparency" in image.info,
            "orientation": exif.get(0x0112),
        }
    return row | (dict(zip(PIXEL_FACTS, pixel_facts(decode_image(data)).tolist(), strict=True)) if pixels else {})
