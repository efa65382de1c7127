"""A video's file while it is read: that it is one, and for how long."""

import io
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from veriscope.errors import DecodeError


class Clock:
    """Counts the seconds of reading, and knows what went wrong where PyAV would hide it."""

    def __init__(self, name: str, limit_s: float | None) -> None:
        self._name, self._limit_s = name, limit_s
        self._spent_s = 0.0
        self._since: float | None = time.monotonic()
        self.trouble: str | None = None

    def pause(self) -> None:
        """Stop counting: the caller works now."""
        if self._since is not None:
            self._spent_s += time.monotonic() - self._since
            self._since = None

    def go_on(self) -> None:
        """Count again."""
        if self._since is None:
            self._since = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether reading has taken longer than it may."""
        running_s = 0.0 if self._since is None else time.monotonic() - self._since
        return self._limit_s is not None and self._spent_s + running_s > self._limit_s

    def check(self) -> None:
        """Raise DecodeError if the limit is over or the file could not be read."""
        if self.is_over:
            raise DecodeError(self._name, f"reading it took longer than {self._limit_s:g} s")
        if self.trouble is not None:
            raise DecodeError(self._name, self.trouble)


class TimedFile:
    """A file for PyAV. Without a name: FFmpeg would guess formats from it.

    It ends when the time is over, and where it can't be read: PyAV prints what a file raises, and may forget it.
    """

    def __init__(self, file: BinaryIO, clock: Clock) -> None:
        self._file, self._clock = file, clock

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end, or when the time is over."""
        if self._clock.is_over:
            return b""
        try:
            return self._file.read(size)
        except OSError as error:
            self._clock.trouble = (error.strerror or type(error).__name__).lower()
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[BinaryIO]:
    """Yield a regular file, or bytes as one.

    Raises:
        DecodeError: it can't be opened, holds nothing, or is something else.

    """
    if isinstance(source, bytes):
        if not source:
            raise DecodeError(name, "empty file (0 bytes)")
        yield io.BytesIO(source)
        return
    try:
        # Without waiting: a pipe under a video's name would hang for ever.
        file = os.fdopen(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    except OSError as error:
        raise DecodeError(name, (error.strerror or type(error).__name__).lower()) from None
    except ValueError:
        raise DecodeError(name, "the file name holds a null character") from None
    with file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise DecodeError(name, "is a directory")
        if not stat.S_ISREG(found.st_mode):
            raise DecodeError(name, "not a regular file")
        if found.st_size == 0:
            raise DecodeError(name, "empty file (0 bytes)")
        yield file
