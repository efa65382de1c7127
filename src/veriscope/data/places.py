"""Where a picture's bytes lie: in a file of its own, or in a slice of a larger one (a tar shard, an Arrow file).

A slice is written as a path, `FILE@OFFSET+SIZE/NAME`, as in `shards/00003.tar@1536+20331/train/real/7.jpg`. So whatever
hands paths on (a scorer, a table of predictions, a report) hands slices on, and a process needs nothing but that text
to read one: no index, no open archive. GDAL's /vsisubfile/ does the same.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import NamedTuple

MAX_SLICE_BYTES = (1 << 31) - 4096  # what Linux reads at once; no picture within data.decode's limit is larger

_SLICE = re.compile(r"(?P<file>.+?\.(?:tar|arrow))@(?P<offset>\d{1,15})\+(?P<size>\d{1,15})/.+", re.DOTALL)


class Slice(NamedTuple):
    """`size_bytes` of `file`, from `offset` on."""

    file: Path
    offset: int
    size_bytes: int


def slice_path(file: Path, *, offset: int, size_bytes: int, name: str) -> Path:
    """Return the path that names a slice; `name` is the picture's own, for people, and keeps its ending."""
    return Path(f"{file}@{offset}+{size_bytes}", name.lstrip("/"))


def slice_of(path: Path) -> Slice | None:
    """Return the slice that `path` names; None: it is a file of its own."""
    text = os.fspath(path)
    found = _SLICE.fullmatch(text) if "@" in text else None
    if found is None:
        return None
    return Slice(Path(found["file"]), int(found["offset"]), int(found["size"]))


def read_bytes(path: Path) -> bytes:
    """Return a picture's stored bytes, wherever they lie.

    Raises:
        OSError: they can't be read, lie in no regular file, or, of a slice, its file ends before it.

    """
    place = slice_of(path)
    if place is not None:
        return _read_slice(place, skip=0)
    with _opened(path) as file:
        return file.read()


def read_tail(path: Path, *, num_bytes: int) -> tuple[int, bytes]:
    """Return a picture's size in bytes, and its last `num_bytes` (all of a smaller one).

    Raises:
        OSError: as `read_bytes`.

    """
    place = slice_of(path)
    if place is not None:
        return place.size_bytes, _read_slice(place, skip=max(place.size_bytes - num_bytes, 0))
    with _opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - num_bytes, 0))
        return size, file.read()


def _read_slice(place: Slice, *, skip: int) -> bytes:
    if place.size_bytes > MAX_SLICE_BYTES:
        raise OSError(errno.EFBIG, f"{place.size_bytes:,} bytes are no picture", os.fspath(place.file))
    with _opened(place.file) as file:
        file.seek(place.offset + skip)
        data = file.read(place.size_bytes - skip)
    if len(data) != place.size_bytes - skip:
        raise OSError(errno.EIO, "the shard ends before the picture does", os.fspath(place.file))
    return data


@contextmanager
def _opened(path: Path) -> Iterator[FileIO]:
    # Without waiting: a pipe under a picture's or a shard's name would hang a loader worker for ever, and to ask for
    # its kind before it is opened leaves a moment to exchange it.
    with FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        yield file
