"""The facts of picture files as the table that `veriscope audit` makes: for tests and benchmarks."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from veriscope.audit.picture import Row, as_batch, as_table, facts_of
from veriscope.data.decode import MAX_PIXELS


def inspect_files(files: Sequence[tuple[str, bytes | Path]], *, pixels: bool = True) -> pa.Table:
    """Return the table of (name, content or path) pairs, in their order."""
    return as_table([as_batch([_row(name, data, pixels=pixels) for name, data in files])])


def _row(name: str, content: bytes | Path, *, pixels: bool) -> Row:
    data = content if isinstance(content, bytes) else content.read_bytes()
    facts = facts_of(data, depth="pixels" if pixels else "headers", max_pixels=MAX_PIXELS)
    return Row(name, hashlib.sha256(data).digest(), facts)
