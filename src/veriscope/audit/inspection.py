"""The one pass over the pictures: each file is read, hashed and, where nobody has before, looked at."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa

from veriscope.audit.cache import FactsCache
from veriscope.audit.crew import Crew
from veriscope.audit.picture import Depth, Facts, Row, as_batch, as_table, facts_of
from veriscope.data.decode import MAX_PIXELS, read_file
from veriscope.data.manifest import Manifest
from veriscope.errors import DecodeError
from veriscope.progress import tracked

CHUNK = 32  # pictures that are handed to a process, and kept, at a time
POOL_FROM = 64  # pictures: below, starting processes takes longer than looking
_BATCH = 4096  # rows of the table that are Python objects at a time
T = TypeVar("T")
CRASHED = "the decoder crashed on it (or took more memory than there is)"


def inspect(
    manifest: Manifest,
    *,
    depth: Depth,
    cache: FactsCache,
    workers: int,
    max_pixels: int = MAX_PIXELS,
    shown: bool = True,
) -> pa.Table:
    """Return the table of audit.picture.SCHEMA, one row a row of `manifest`, in its order.

    Files are read one at a time and never kept; `workers` processes decode, 1 is this one. What a chunk of pictures
    gave is in the cache before the next is waited for, so that an audit that ends early, by Ctrl-C, SIGTERM or kill
    -9, is gone on with and not begun again. A picture that ends the process that decodes it is a problem of that row.
    """
    look = partial(_look, depth=depth, max_pixels=max_pixels)
    pooled = workers > 1 and depth == "pixels" and len(manifest) >= POOL_FROM
    crew = Crew(workers if pooled else 0, look, crashed=_crashed)
    rows = _rows(manifest, crew, cache=cache, depth=depth)
    doing = "looking at the pictures" if depth == "pixels" else "reading the headers"
    try:
        seen = tracked(rows, doing=doing, total=len(manifest), shown=shown)
        batches = [as_batch(part) for part in _batched(seen, _BATCH)]
    finally:
        crew.dismiss()
    return as_table(batches)


def _rows(manifest: Manifest, crew: "Crew[_File, Row]", *, cache: FactsCache, depth: Depth) -> Iterator[Row]:
    """Yield the rows in order; what isn't in the cache is given to the crew, and to the cache afterwards."""
    waiting: deque[Callable[[], list[Row]]] = deque()
    names = chain.from_iterable(chunk.to_pylist() for chunk in manifest.table["path"].chunks)
    files = (_File(name, os.fspath(manifest.absolute_path(row))) for row, name in enumerate(names))
    for chunk in _batched(files, CHUNK):
        waiting.append(_begun(chunk, crew, cache=cache, depth=depth))
        if len(waiting) > crew.ahead:
            yield from waiting.popleft()()
    while waiting:
        yield from waiting.popleft()()


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(items)
    while part := list(islice(left, size)):
        yield part


def _begun(
    files: Sequence["_File"], crew: "Crew[_File, Row]", *, cache: FactsCache, depth: Depth
) -> Callable[[], list[Row]]:
    """Begin with a chunk; return what gives its rows when they are there."""
    hashed = {file: _hash(file) for file in files}
    known = cache.find([one for one in hashed.values() if isinstance(one, bytes)], depth=depth)
    new = [file for file, one in hashed.items() if isinstance(one, bytes) and one not in known]
    give = crew.begin(new)

    def rows() -> list[Row]:
        found = {row.path: row for row in give()}
        # A crash may be this machine's lack of memory: it isn't kept.
        kept = {row.sha256: row.facts for row in found.values() if row.sha256 and row.facts.problem != CRASHED}
        cache.keep(kept, depth=depth)
        return [found.get(file.name) or _known(file.name, hashed[file], known) for file in files]

    return rows


def _hash(file: "_File") -> bytes | DecodeError:
    try:
        return hashlib.sha256(read_file(Path(file.place))).digest()
    except DecodeError as error:
        return error


def _known(path: str, one: bytes | DecodeError, known: dict[bytes, Facts]) -> Row:
    if isinstance(one, DecodeError):
        return Row(path, None, Facts(one.reason, None, None))
    return Row(path, one, known[one])


def _look(files: Sequence["_File"], *, depth: Depth, max_pixels: int) -> list[Row]:
    """Return the rows of files that were readable a moment ago."""
    rows = []
    for path, place in files:
        try:
            data = read_file(Path(place))
        except DecodeError as error:
            rows.append(Row(path, None, Facts(error.reason, None, None)))
            continue
        # Hashed again: what was read is what the facts are of.
        rows.append(Row(path, hashlib.sha256(data).digest(), facts_of(data, depth=depth, max_pixels=max_pixels)))
    return rows


def _crashed(file: "_File") -> Row:
    return Row(file.name, None, Facts(CRASHED, None, None))


class _File(NamedTuple):
    """A row's path in the manifest, and where its bytes lie: a file, or a slice of a shard (data.places)."""

    name: str
    place: str
