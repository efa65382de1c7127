"""The errors that a person can mend: each says what, where and how; the entry points turn them into exit code 2."""

import difflib
import errno
import os
import sys
from collections.abc import Iterable

INTERRUPTED = 130  # exit code: 128 + SIGINT
TERMINATED = 143  # exit code: 128 + SIGTERM
PIPE_CLOSED = 141  # exit code: 128 + SIGPIPE


class VeriscopeError(Exception):
    """Base of every error that is the input's fault, not the program's. Its text is shown without a traceback."""

    exit_code = 2


class ConfigError(VeriscopeError):
    """A configuration that can't be run."""


class DataError(VeriscopeError):
    """A data set that can't be used as asked."""


class DecodeError(VeriscopeError):
    """One file that holds no readable picture. `reason` is short and fit for a table cell."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[str, str]]:
        # The default would call DecodeError(one string) when a worker process sends the error home.
        return DecodeError, (self.path, self.reason)


class ModelError(VeriscopeError):
    """A model that can't be built, or weights that don't fit it."""


class BundleError(VeriscopeError):
    """A bundle that is missing, damaged or of another version."""


class RunError(VeriscopeError):
    """A run folder or a training run that can't go on."""


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: everything is closed as after Ctrl-C, the exit code is another."""


_NO_PLACE = (
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR, errno.ELOOP,
    errno.EBUSY, errno.EXDEV,
)  # fmt: skip


def machine_trouble(error: BaseException) -> str | None:
    """Return what happened and how to mend it where the machine is the cause (disk, memory), else None: a bug."""
    text = str(error)
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    # torch.save and Arrow report a full disk by text alone.
    short_write = "inline_container" in text and ("unexpected pos" in text or "failed writing" in text)
    if full or short_write or "database or disk is full" in text or "No space left on device" in text:
        return "the disk is full; free some space."
    if isinstance(error, OSError) and error.errno in _NO_PLACE and error.filename is not None:
        place = error.filename if error.filename2 is None else error.filename2  # of a renaming: the name that is kept
        return f"'{place}' can't be used ({error.strerror}); name another place, or mend its rights."
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for its name
        return "the GPU's memory is full; take a smaller data.batch_size (trainer.accumulate_batches makes up for it)."
    if isinstance(error, MemoryError):
        return "memory is full; take a smaller data.batch_size or fewer data.num_workers."
    if "DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text):
        return (
            "a loader process was killed, by hand or because memory (in a container also /dev/shm) is full; "
            "take fewer data.num_workers, 0 for none."
        )
    # A library's own error may hide the disk's.
    return None if error.__cause__ is None else machine_trouble(error.__cause__)


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with control characters and undecodable bytes escaped: a file name must not drive a terminal."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def drop_stdout() -> None:
    """Let standard output lead nowhere: its reader has gone (`| head`), and Python would fail again at exit's flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print a line on standard error; where nobody can be told, the exit code alone says it."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # a full disk, or a reader that has gone: Python would fail again at exit's flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def open_closed_streams() -> None:
    """Let standard streams that the caller closed (`>&-`) lead nowhere, as into /dev/null.

    Python has None in their place, and the system gives their numbers to the next files: what a library prints would
    stand in the midst of verdicts.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            file = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            setattr(sys, name, os.fdopen(file, "r" if number == 0 else "w", encoding="utf-8"))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean 'x'?`, or the sorted list of what is known where nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=2, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(f"'{name}'" for name in near) + "?"
    return "Known: " + ", ".join(names) + "."
