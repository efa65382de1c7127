"""Files against what a record says they were: size and SHA-256."""

import hashlib
import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from veriscope.errors import DataError
from veriscope.progress import tracked


class Checksum(NamedTuple):
    """A file's path below a folder, posix, with its size and SHA-256."""

    path: str
    size_bytes: int
    sha256: str


def checksum(file: Path, *, path: str) -> Checksum:
    """Return what `file` is now, under the name `path`."""
    with file.open("rb") as opened:
        return Checksum(path, file.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())


def recorded(entry: dict[str, Any], *, key: str) -> Checksum:
    """Return a record's entry, with the file's path under `key`.

    Raises:
        KeyError, TypeError, ValueError: it is none.

    """
    return Checksum(str(entry[key]), int(entry["bytes"]), str(entry["sha256"]))


def faults(folder: Path, known: Sequence[Checksum], *, record: Path, were: str) -> list[str]:
    """Return one line for each file of `folder` that is missing or has other bytes than it had; none: all are the same.

    `were` says in a word how they came there, `record` is the file that `known` was read from.

    Raises:
        DataError: the record names a file outside the folder.

    """
    found = []
    for one in tracked(known, doing="checking", total=len(known)):
        if posixpath.normpath(one.path) != one.path or one.path.startswith(("/", "../")) or one.path == "..":
            raise DataError(f"'{record}' names '{one.path}', which is no file of '{folder}'; don't trust it.")
        place = folder / one.path
        if not place.is_file():
            found.append(f"{one.path}: missing")
        elif place.stat().st_size != one.size_bytes:
            found.append(f"{one.path}: {place.stat().st_size:,} bytes, {were} were {one.size_bytes:,}")
        elif checksum(place, path=one.path) != one:
            found.append(f"{one.path}: other bytes than were {were}")
    return found
