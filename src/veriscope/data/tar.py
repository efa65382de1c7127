"""The members of a tar archive and where their bytes lie, from its headers alone; nothing is ever unpacked.

Archives come from strangers. Python's tarfile reads the headers; what it lets pass is refused here: names that leave
the folder, headers that would fill memory or lead backwards, and archives that end before their end mark.
"""

import logging
import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from veriscope.errors import DataError

LOG = logging.getLogger(__name__)

BLOCK = 512
_MAX_HEADER_BYTES = 1 << 20  # of a long name or PAX records; real ones have some hundred bytes
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}


class Member(NamedTuple):
    """A plain file in an archive: its clean name, and where its bytes lie."""

    name: str
    offset: int
    size_bytes: int


def tar_members(path: Path) -> Iterator[Member]:
    """Yield the plain files of a tar archive, in its order; links, devices and the like are counted in a log line.

    Raises:
        DataError: not a tar, a compressed one, a cut or damaged one, or a member whose name leaves the folder.

    """
    try:
        with path.open("rb") as file:
            _refuse_compressed(path, file)
            yield from _members(path, file)
    except OSError as error:
        raise DataError(f"shard '{path}' can't be read: {error.strerror or error}.") from None


class _Bounded:
    """A file whose single reads are bounded: a forged header can't have the rest of a disk read into memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)


def _members(path: Path, file: BinaryIO) -> Iterator[Member]:
    left_out = Counter[str]()
    try:
        # tarfile's stub asks for more of a file object than its reader uses.
        with tarfile.TarFile(fileobj=_Bounded(file), mode="r") as tar:  # type: ignore[arg-type]
            last = -1
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep every header: a gigabyte a million
                if info.offset <= last or info.size < 0:
                    raise tarfile.ReadError("its headers lead backwards")
                last = info.offset
                name = _clean(path, info.name)
                if info.isdir():
                    continue
                if not info.isreg() or info.issparse():
                    left_out[_kind(info)] += 1
                    continue
                yield Member(name, info.offset_data, info.size)
            end = tar.offset
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DataError(f"shard '{path}' is no tar archive, or a damaged one: {error}.") from None
    file.seek(end)
    mark = file.read(BLOCK)
    if mark.strip(b"\0") or not mark:
        what = "is damaged" if mark else "is cut off"
        raise DataError(f"shard '{path}' {what} at byte {end:,}, before its end mark; copy or pack it anew.")
    if left_out:
        kinds = ", ".join(f"{count} {kind}" for kind, count in left_out.most_common())
        LOG.warning("shard '%s': %d members are no plain files and are left out (%s)", path, left_out.total(), kinds)


def _clean(path: Path, name: str) -> str:
    clean = posixpath.normpath(name)
    if clean.startswith(("/", "../")) or clean == ".." or "\0" in clean:
        raise DataError(f"shard '{path}': the member '{name}' leaves the folder; don't trust this archive.")
    return clean


def _kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "links"
    return "sparse files" if info.issparse() else "devices or pipes"


def _refuse_compressed(path: Path, file: BinaryIO) -> None:
    kind = _COMPRESSED.get(file.read(2))
    file.seek(0)
    if kind is not None:
        raise DataError(
            f"shard '{path}' is compressed ({kind}): pictures in it can't be reached one by one. Unpack it."
        )
