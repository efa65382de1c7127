"""Small data sets in memory with the table that an audit makes of them, for faults to be planted in."""

import hashlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from veriscope.audit.hashing import picture_hashes
from veriscope.data.decode import decode_image
from veriscope.data.manifest import Manifest
from veriscope.data.scenes import photograph
from veriscope.errors import DecodeError


class Picture(NamedTuple):
    """A file of a data set: its path is split/class/name."""

    path: str
    data: bytes
    group: str | None = None

    @property
    def split(self) -> str:
        return self.path.split("/")[0]


@cache
def scene(seed: int, side_px: int = 64) -> Image.Image:
    """Return a picture unlike that of any other seed."""
    return Image.fromarray((photograph(np.random.default_rng(seed), side_px) * 255).round().astype(np.uint8))


def encoded(image: Image.Image, *, kind: str = "PNG", quality: int = 90) -> bytes:
    """Return the picture's file; `quality` is JPEG's."""
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def clean_pictures(*, seed: int = 0) -> list[Picture]:
    """Return 12 pictures, two of each class in each of three splits, every one another scene."""
    places = [
        f"{split}/{name}/{n}.png" for split in ("train", "val", "test") for name in ("real", "fake") for n in (0, 1)
    ]
    return [Picture(place, encoded(scene(100 * seed + number))) for number, place in enumerate(places)]


def inspected(pictures: list[Picture], *, splits: bool = True, opened: bool = True) -> tuple[Manifest, pa.Table]:
    """Return the manifest and its inspection; `opened=False`: what a look at the files' bytes alone gives."""
    pictures = sorted(pictures)
    manifest = Manifest.from_columns(
        [picture.path for picture in pictures],
        root=Path("data"),
        labels=[int("/fake/" in picture.path) for picture in pictures],
        size_bytes=[len(picture.data) for picture in pictures],
        splits=[picture.split for picture in pictures] if splits else None,
        groups=[picture.group for picture in pictures],
    )
    columns: dict[str, pa.Array] = {
        "sha256": pa.array([hashlib.sha256(picture.data).digest() for picture in pictures], pa.binary(32))
    }
    if opened:
        facts = [_opened(picture.data) for picture in pictures]
        types = {"problem": pa.string(), "pixels": pa.binary(16), "hashes": pa.binary()}
        columns |= {name: pa.array([fact[name] for fact in facts], kind) for name, kind in types.items()}
    return manifest, pa.table(columns)


def _opened(data: bytes) -> dict[str, str | bytes | None]:
    try:
        image_HWC = decode_image(data)
    except DecodeError as error:
        return {"problem": error.reason, "pixels": None, "hashes": None}
    pixels = hashlib.blake2b(repr(image_HWC.shape).encode() + image_HWC.tobytes(), digest_size=16).digest()
    return {"problem": None, "pixels": pixels, "hashes": picture_hashes(image_HWC)}
