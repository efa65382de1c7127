"""Processes that start processes, signals and memory: none works on unseen when the one that started it is gone."""

import ctypes
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any

from veriscope.errors import Terminated

_PARENT = "VERISCOPE_PARENT"
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # M_TRIM_THRESHOLD and so on of malloc.h
_LARGEST_INT = 2**31 - 1


def num_cores() -> int:
    """Return how many cores this process may use, which a container or a batch system may have cut."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def child_environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment with this process's name in it, for a child that calls `end_with_parent`."""
    return {**own, _PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """End this process within a second of the one that started it, also after that one's kill -9.

    Does nothing where no `child_environment` was given, as at a command that a person typed.
    """
    end_with(int(os.environ.pop(_PARENT, "0")))


def end_with(parent: int) -> None:
    """End this process within a second of the process `parent` that started it; of 0: do nothing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def keep_freed_memory() -> bool:
    """Let glibc keep the memory that this process frees, for its next pass; return whether it does from now on.

    A network's activations are blocks of megabytes, which glibc fetches from the kernel and gives back at each pass:
    the kernel's zeroing of them took a third of a CPU pass (benchmarks/predict.md). Other C libraries, and settings of
    malloc that somebody made in the environment, stay as they are.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    library = _c_library()
    if not hasattr(library, "mallopt") or not hasattr(library, "gnu_get_libc_version"):
        return False
    mallopt = library.mallopt
    # One arena: what a thread of its own frees into another goes back to the kernel all the same.
    wanted = ((_MMAP_THRESHOLD, _LARGEST_INT), (_TRIM_THRESHOLD, _LARGEST_INT), (_ARENA_MAX, 1))
    return all(mallopt(*setting) for setting in wanted)


def return_freed_memory() -> None:
    """Give what this process has freed back to the kernel, where glibc can, as after a step that is done but once."""
    library = _c_library()
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _c_library() -> Any:
    """Return the C library that this process runs on; None: a system without one to ask."""
    return ctypes.CDLL(None) if os.name == "posix" else None


def close_on_sigterm() -> None:
    """Let SIGTERM, which `kill` and SLURM send, raise Terminated, once; without this Python ends on the spot."""

    def terminate(*_: object) -> None:
        # A second one, as where SLURM signals each process and the parent hands it on, must not break the closing.
        signal.signal(signal.SIGTERM, _pass)
        # Nor must torch's complaint that loader processes have ended: they have got the signal too.
        signal.signal(signal.SIGCHLD, _pass)
        raise Terminated

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminate)


def terminated() -> bool:
    """Return whether SIGTERM has come since `close_on_sigterm`."""
    return signal.getsignal(signal.SIGTERM) is _pass


def _pass(*_: object) -> None:
    """Take a signal and do nothing.

    SIG_IGN and SIG_DFL would not do: for a signal that came in the same moment Python looks its handler up only now,
    and prints "ignored due to race condition" with a traceback where it is no function.
    """
