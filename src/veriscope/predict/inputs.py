"""Which files are to be judged: what a person named, found again as often as it is gone through."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from veriscope.data.decode import IMAGE_SUFFIXES
from veriscope.data.places import slice_of
from veriscope.errors import DataError, printable

STDIN = Path("-")
MAX_LIST_BYTES = 1 << 30  # of a list: ten million names; more is no list of files
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,2}[^/]")  # pathlib makes one slash of two
_ADDRESS_SLASHES = re.compile(r":/{1,2}")


class Inputs:
    """The files to judge, in order; going through them anew walks the folders anew, so that none is kept in memory.

    Named files, slices of shards (data.places) and `-` (standard input: one picture) are taken as they are; a name with
    `*`, `?` or `[` that is no file is a pattern, `**` for any depth; folders are searched recursively for images by
    ending. Named order is kept, inside a folder the order of names. Hidden files and folders inside a named one are
    passed over; links to folders are not followed. A folder that can't be read stands among the files itself, so that
    it ends as "no verdict" instead of missing silently.

    Args:
        named: what the person named.
        suffixes: endings that are looked for in folders, with dot, in lower case.

    Raises:
        DataError: a path that does not exist, an address, a pattern that fits nothing, or nothing to judge in all.

    """

    def __init__(self, named: Sequence[Path], *, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> None:
        self.suffixes = suffixes
        self.named = [path for name in named for path in _expanded(name)]
        missing = [path for path in self.named if not _is_there(path)]
        if missing:
            listed = ", ".join(f"'{path}'" for path in missing[:5]) + (" ..." if len(missing) > 5 else "")
            raise DataError(f"no such file or folder: {listed}")
        if self.named.count(STDIN) > 1:
            raise DataError("'-' stands twice: standard input holds one picture, and can be read once.")
        self.passed: Counter[str] = Counter()
        self.num_files = sum(1 for _ in self._walk(self.passed))
        if not self.num_files:
            listed = ", ".join(f"'{path}'" for path in self.named)
            kinds = ", ".join(sorted(suffixes))
            raise DataError(f"no images in {listed}: looked for {kinds}. Name a file itself to have it tried anyway.")

    def __iter__(self) -> Iterator[Path]:
        return self._walk(Counter())

    def __len__(self) -> int:
        return self.num_files

    def passed_over(self) -> str:
        """Return how many files of folders are no pictures by name, as '3 .mp4, 1 .txt'; '' of none."""
        return ", ".join(f"{count} {printable(suffix)}" for suffix, count in sorted(self.passed.items()))

    def _walk(self, passed: Counter[str]) -> Iterator[Path]:
        for path in self.named:
            if path != STDIN and path.is_dir():
                yield from self._in_folder(path, passed)
            else:
                yield path

    def _in_folder(self, folder: Path, passed: Counter[str]) -> Iterator[Path]:
        unreadable: list[Path] = []

        def note(error: OSError) -> None:
            unreadable.append(Path(os.fsdecode(error.filename)))

        for top, folders, files in os.walk(folder, onerror=note):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
                if name.startswith("."):
                    continue
                if suffix in self.suffixes:
                    yield Path(top, name)
                else:
                    passed[suffix or "without ending"] += 1
        yield from unreadable


def read_list(file: Path, *, stdin: bytes | None = None) -> list[Path]:
    """Return the paths that a list names, one a line, or ended by NUL bytes as `find -print0` writes them.

    Args:
        file: the list; relative names in it are looked for from where the command runs.
        stdin: the list itself, where it came through standard input.

    Raises:
        DataError: the list can't be read, or names nothing.

    """
    try:
        text = _read(file) if stdin is None else stdin
    except OSError as error:
        raise DataError(f"list '{file}' can't be read: {error.strerror or error}.") from error
    if len(text) > MAX_LIST_BYTES:
        raise DataError(f"list '{file}' is larger than {MAX_LIST_BYTES >> 20} MiB; split it.")
    parts = text.split(b"\0") if b"\0" in text else text.splitlines()
    found = [Path(os.fsdecode(part)) for part in parts if part.strip()]
    if not found:
        raise DataError(f"list '{file}' names no file; expected one path a line.")
    return found


def _read(file: Path) -> bytes:
    """Return what a list holds, as far as a list may go: a pipe doesn't tell its size, and a device has no end."""
    with file.open("rb") as stream:
        return stream.read(MAX_LIST_BYTES + 1)


def _expanded(path: Path) -> list[Path]:
    """Return the files that a pattern fits, in order; a path that is none as it is.

    Raises:
        DataError: an address, or a pattern that fits nothing.

    """
    text = os.fspath(path)
    if path == STDIN or _is_there(path):
        return [path]
    if _ADDRESS.match(text):
        address = _ADDRESS_SLASHES.sub("://", text, count=1)
        raise DataError(
            f"'{address}' is an address: veriscope fetches nothing from the network. Fetch it yourself: "
            "curl --location ADDRESS | veriscope predict BUNDLE -"
        )
    if not glob.has_magic(text):
        return [path]
    found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise DataError(f"nothing fits the pattern '{text}'.")
    return [Path(name) for name in found]


def _is_there(path: Path) -> bool:
    if path == STDIN or slice_of(path) is not None:
        return True
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL byte
        return False
