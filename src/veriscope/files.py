"""Files that are there whole or not at all."""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Excel, LibreOffice and Google Sheets run a cell that begins so as a formula (OWASP, "CSV injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

LONGEST_NAME_BYTES = 230  # of 255 that file systems take, less what a temporary name adds


@contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, for a file or a folder that the block makes there.

    It takes the name `path` when the block ends well; what is left of it goes when the block doesn't. So `path` holds
    the old content or the whole new one, also after kill -9 or on a full disk. The name is unlike any other's: two
    processes, also of two machines on one file system, don't write into each other's.

    Raises:
        FileExistsError: there is a device or a pipe of that name, as /dev/null: it would be gone.

    """
    refuse_special(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):  # a read-only folder: the first error is the one to see
                temporary.unlink(missing_ok=True)


def refuse_special(path: Path) -> None:
    """Do nothing where `path` names a file or a folder, or nothing.

    Raises:
        FileExistsError: it is a device, a pipe or a socket, whose name a written file would take.

    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise FileExistsError(errno.EEXIST, "it is a device or a pipe, not a file", os.fspath(path))


def is_there(text: str) -> bool:
    """Return whether a word of the command line is a path that exists; one that is too long for any path is none."""
    try:
        return Path(text).exists()
    except OSError:
        return False


def can_be_replaced(folder: Path) -> bool:
    """Return whether a folder made beside the empty `folder` can take its name, which it does not at a mount point."""
    probe = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.partial")
    try:
        probe.mkdir()
        probe.replace(folder)
    except OSError:
        with suppress(OSError):
            probe.rmdir()
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all. Names of undecodable files come out with backslashes."""
    with whole_or_not_at_all(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def safe_cell(text: str) -> str:
    """Return a text cell that no spreadsheet takes for a formula: with an apostrophe where it began like one."""
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def named_apart(folder: Path, path: Path, *, ending: str) -> Path:
    """Return where in `folder` something about the file `path` goes: its name, and a hash of its whole path, as two
    folders may hold one name."""
    short = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:8]
    name = shortened(path.name, num_bytes=LONGEST_NAME_BYTES - len(short) - len(ending))
    return folder / f"{name}-{short}{ending}"


def shortened(name: str, *, num_bytes: int) -> str:
    """Return a file name, or as many of its first characters as take `num_bytes` on disk."""
    while len(os.fsencode(name)) > num_bytes:
        name = name[:-1]
    return name
