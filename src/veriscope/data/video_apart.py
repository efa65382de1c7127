"""Frames of a video that nobody vouches for, read by a process of its own: what a server must do.

FFmpeg is a million lines of C. A hostile file may crash it, keep it busy for ever, or make it fill the memory: an MP4
of two kilobytes can claim an index of gigabytes. Here all of that ends one process, whose memory is bounded.

The file is the process's standard input; on standard output come frames, then what is known of the video.
"""

import json
import os
import resource
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from veriscope.data.video import FRAMES_PER_SECOND, MAX_FRAMES, NEEDS, Frame, can_read_videos, open_file
from veriscope.data.video_file import opened
from veriscope.errors import DataError, DecodeError
from veriscope.processes import child_environment, end_with_parent

MEMORY_MIB = 2048  # address space; 4K with as many frames as H.264 may keep takes a quarter of it
GRACE_S = 2.0  # the process's own clock ends it in time, unless FFmpeg hangs; it also has to start
_FRAME, _END, _ERROR = b"F", b"E", b"X"
TOLD = ("length_s", "start_s", "end_s", "num_asked", "num_damaged", "notes")
_HEADER = struct.Struct(">dIII")  # seconds, number, height, width


_running: set["subprocess.Popen[bytes]"] = set()


def end_readers() -> None:
    """End all processes that read videos for this one, which is about to leave without closing anything.

    They end by themselves when it is gone, but not one that is suspended or hangs in FFmpeg.
    """
    for process in tuple(_running):
        process.kill()


class VideoApart:
    """A video that another process reads; used as video.Video, whose attributes it has once `sample` has ended."""

    def __init__(self, file: BinaryIO, *, name: str, memory_mib: int, limits: dict[str, Any]) -> None:
        self._file, self._name, self._memory_mib, self._limits = file, name, memory_mib, limits
        limit_s = limits["time_limit_s"]
        self._left_s: float | None = None if limit_s is None else limit_s + GRACE_S
        self._process: subprocess.Popen[bytes] | None = None
        self.length_s: float | None = None
        self.start_s = self.end_s = 0.0
        self.num_asked = self.num_damaged = 0
        self.notes: tuple[str, ...] = ()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            _running.discard(self._process)
            self._process = None

    def sample(self, *, every_s: float = 1 / FRAMES_PER_SECOND, max_frames: int = MAX_FRAMES) -> Iterator[Frame]:
        """Yield what Video.sample yields.

        Raises:
            DecodeError: as Video.sample; the process crashed, or took too much time or memory.

        """
        self.close()
        asked = {**self._limits, "name": self._name, "every_s": every_s, "max_frames": max_frames}
        self._file.seek(0)
        self._process = subprocess.Popen(
            # -P: the folder that a person is in holds no modules.
            [sys.executable, "-P", "-m", "veriscope.data.video_apart", json.dumps(asked), str(self._memory_mib)],
            stdin=self._file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**child_environment(), "OPENBLAS_NUM_THREADS": "1"},  # each thread takes address space
        )
        _running.add(self._process)
        while (kind := self._read(1)) == _FRAME:
            time_s, index, height, width = _HEADER.unpack(self._read(_HEADER.size))
            flat = np.frombuffer(self._read(3 * height * width), dtype=np.uint8)
            yield Frame(time_s, index, flat.reshape(height, width, 3))
        told = json.loads(self._read(struct.unpack(">I", self._read(4))[0]))
        if kind == _ERROR:
            raise DecodeError(self._name, told["reason"])
        for key in TOLD:
            setattr(self, key, tuple(told[key]) if key == "notes" else told[key])

    def _read(self, size: int) -> bytearray:
        """Return exactly `size` bytes of the process's output."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        found = bytearray()
        waiting = select.poll()  # select() takes no file number above 1,023, which a server's connections can reach
        waiting.register(pipe, select.POLLIN)
        while len(found) < size:
            since = time.monotonic()
            ready = waiting.poll(None if self._left_s is None else 1000 * self._left_s)
            piece = os.read(pipe, min(size - len(found), 1 << 20)) if ready else b""
            if self._left_s is not None:
                self._left_s = max(self._left_s - (time.monotonic() - since), 0.0)
            if not ready:
                raise DecodeError(self._name, f"reading it took longer than {self._limits['time_limit_s']:g} s")
            if not piece:
                code = self._process.wait()
                raise DecodeError(self._name, f"the decoder ended on it (exit code {code})")
            found += piece
        return found


@contextmanager
def open_video_apart(
    source: Path | bytes,
    *,
    max_pixels: int | None = None,
    time_limit_s: float | None = None,
    threads: int = 1,
    memory_mib: int = MEMORY_MIB,
) -> Iterator[VideoApart]:
    """Yield a video that another process reads, as video.open_video does; `memory_mib` bounds that process.

    Raises:
        DecodeError: the file can't be read; what is wrong within it comes from `sample`.
        DataError: PyAV is not installed.

    """
    if not can_read_videos():
        raise DataError(NEEDS)
    name = "<bytes>" if isinstance(source, bytes) else os.fspath(source)
    limits = {"max_pixels": max_pixels, "time_limit_s": time_limit_s, "threads": threads}
    with _as_file(source, name) as file:
        video = VideoApart(file, name=name, memory_mib=memory_mib, limits=limits)
        try:
            yield video
        finally:
            video.close()


@contextmanager
def _as_file(source: Path | bytes, name: str) -> Iterator[BinaryIO]:
    """Yield a file that another process can be given; of bytes one in memory, where the system has such."""
    with opened(source, name) as file:
        if isinstance(source, Path):
            yield file
            return
    with (
        os.fdopen(os.memfd_create("video"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as copy
    ):
        copy.write(source)
        copy.flush()
        yield copy


def main() -> None:
    """Read the video at standard input as the command line asks; write frames and what is known of it."""
    asked, memory_mib = json.loads(sys.argv[1]), int(sys.argv[2])
    end_with_parent()
    with suppress(ValueError, OSError):  # a system that can't bound it, or bounds it lower
        resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no frame
    name, every_s, max_frames = asked.pop("name"), asked.pop("every_s"), asked.pop("max_frames")
    try:
        with os.fdopen(0, "rb", buffering=0, closefd=False) as file, open_file(file, name=name, **asked) as video:
            for frame in video.sample(every_s=every_s, max_frames=max_frames):
                height, width = frame.pixels.shape[:2]
                out.write(_FRAME + _HEADER.pack(frame.time_s, frame.index, height, width) + frame.pixels.tobytes())
                out.flush()
            told = {key: getattr(video, key) for key in TOLD}
            _send(out, _END, told)
    except DecodeError as error:
        _send(out, _ERROR, {"reason": error.reason})
    except MemoryError:
        _send(out, _ERROR, {"reason": f"reading it takes more than {memory_mib} MiB of memory"})


def _send(out: BinaryIO, kind: bytes, told: dict[str, Any]) -> None:
    text = json.dumps(told).encode()
    out.write(kind + struct.pack(">I", len(text)) + text)
    out.flush()


if __name__ == "__main__":
    main()
