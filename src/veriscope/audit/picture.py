"""What an audit knows of one picture, and of all as one table."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from veriscope.audit.hashing import HASH_BYTES, picture_hashes
from veriscope.audit.pixel_facts import PIXEL_FACTS, pixel_facts
from veriscope.data.container import ContainerFacts, container_facts
from veriscope.data.decode import decode_image
from veriscope.errors import DecodeError

Depth = Literal["headers", "pixels"]  # headers: no pixel is decoded

PIXELS_BYTES = 16
_CONTAINER = {
    "format": pa.string(),
    "mode": pa.string(),
    "width_px": pa.int32(),
    "height_px": pa.int32(),
    "size_bytes": pa.int64(),
    "frames": pa.int32(),
    "quality": pa.int8(),
    "quant_tables": pa.string(),
    "subsampling": pa.string(),
    "progressive": pa.bool_(),
    "exif": pa.bool_(),
    "icc": pa.bool_(),
    "alpha": pa.bool_(),
    "orientation": pa.int8(),
}
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("sha256", pa.binary(32)),
        ("problem", pa.string()),
        *_CONTAINER.items(),
        ("pixels", pa.binary(PIXELS_BYTES)),
        ("hashes", pa.binary(HASH_BYTES)),
        *((name, pa.float32()) for name in PIXEL_FACTS),
    ]
)


class PixelFacts(NamedTuple):
    """Of the decoded picture: `pixels` is BLAKE2b, 16 bytes, of upright RGB and its shape, `hashes` what
    audit.hashing makes, `facts` float32 (len(PIXEL_FACTS),)."""

    pixels: bytes
    hashes: bytes
    facts: npt.NDArray[np.float32]


class Facts(NamedTuple):
    """Of one file. `problem`: why it can't be read, None where it can; `container` is None where not even the header
    can, `pixels` where there is a problem or nobody asked."""

    problem: str | None
    container: ContainerFacts | None
    pixels: PixelFacts | None


class Row(NamedTuple):
    """One file of the data set; `sha256` is None where it can't be read at all."""

    path: str
    sha256: bytes | None
    facts: Facts


def facts_of(data: bytes, *, depth: Depth, max_pixels: int) -> Facts:
    """Return what the bytes of a file tell; whatever they are, there is an answer."""
    stored = None
    try:
        stored = container_facts(data, name="", max_pixels=max_pixels)
        if depth == "headers":
            return Facts(None, stored, None)
        image_HWC = decode_image(data, max_pixels=max_pixels)
    except DecodeError as error:
        return Facts(error.reason, stored, None)
    found = PixelFacts(pixel_hash(image_HWC), picture_hashes(image_HWC), pixel_facts(image_HWC))
    return Facts(None, stored, found)


def pixel_hash(image_HWC: npt.NDArray[np.uint8]) -> bytes:
    """Return 16 bytes that are equal for equal pixels of equal shape, whatever format they came from."""
    digest = hashlib.blake2b(repr(image_HWC.shape).encode(), digest_size=PIXELS_BYTES)
    digest.update(np.ascontiguousarray(image_HWC).data)
    return digest.digest()


def as_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Return the rows as a batch of `SCHEMA`."""
    stored = [row.facts.container for row in rows]
    pixels = [row.facts.pixels for row in rows]
    nothing = (None,) * len(PIXEL_FACTS)
    facts = zip(*(nothing if one is None else one.facts.tolist() for one in pixels), strict=True)
    columns = [
        [row.path for row in rows],
        [row.sha256 for row in rows],
        [row.facts.problem for row in rows],
        *([None if one is None else getattr(one, name) for one in stored] for name in _CONTAINER),
        [None if one is None else one.pixels for one in pixels],
        [None if one is None else one.hashes for one in pixels],
        *facts,
    ]
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def as_table(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """Return batches of `SCHEMA` as one table."""
    return pa.Table.from_batches(batches, schema=SCHEMA).combine_chunks()
