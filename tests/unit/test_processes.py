"""Signals: what a process that is told to end still says."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BOTH_AT_ONCE = """
import os, signal
from veriscope.errors import Terminated
from veriscope.processes import close_on_sigterm, terminated

signals = {signal.SIGTERM, signal.SIGCHLD}
signal.signal(signal.SIGCHLD, lambda *_: print("torch's complaint"))
close_on_sigterm()
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
for each in signals:
    os.kill(os.getpid(), each)
try:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
except Terminated:
    print("terminated", terminated())
os.kill(os.getpid(), signal.SIGTERM)
print("closed")
"""


def test_sigterm_beside_the_end_of_a_child_is_told_apart() -> None:
    """Python reads a handler late: SIG_DFL or SIG_IGN in it by then makes it print an error with a traceback."""
    done = subprocess.run([sys.executable, "-c", BOTH_AT_ONCE], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "terminated True\nclosed\n"
    assert done.returncode == 0


PASSES = """
import resource
import sys
from veriscope.processes import keep_freed_memory

print(keep_freed_memory())
for _ in range(3):
    bytearray(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bytearray(8_000_000)[::4096] = bytes(1954)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def passes(environment: dict[str, str]) -> tuple[str, int]:
    """Return whether freed memory is kept, and the pages that the kernel had to give for fifty blocks of 8 MB."""
    answer = subprocess.run(
        [sys.executable, "-c", PASSES], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    kept, faults = answer.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left alone")
def test_freed_memory_is_used_again_without_the_kernel() -> None:
    kept, faults = passes({})
    assert kept == "True"
    assert faults < 1000  # a block alone has 1,954 pages


def test_settings_of_the_environment_stand() -> None:
    kept, faults = passes({"MALLOC_MMAP_THRESHOLD_": "131072"})
    assert kept == "False"
    assert faults > 50_000 or platform.libc_ver()[0] != "glibc"


RETURNED = """
import ctypes
from veriscope.processes import keep_freed_memory, return_freed_memory

def resident_mb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) // 1024

keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [library.malloc(1_000_000) for _ in range(200)]
for block in blocks:
    ctypes.memset(ctypes.c_void_p(block), 1, 1_000_000)
for block in blocks:
    library.free(block)
kept = resident_mb()
return_freed_memory()
print(kept, resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left alone")
def test_freed_memory_is_returned_where_that_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", RETURNED], cwd=ROOT, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 200
    assert left < 100


SWALLOWED = """
import os, signal, sys
from veriscope import cli
from veriscope.commands import predict
from veriscope.errors import BundleError, Terminated

def damaged(_):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except Terminated:
        raise BundleError("'bundle.json' is damaged") from None

predict._run = damaged
sys.exit(cli.main(["predict", "bundle", "picture"]))
"""


def test_sigterm_is_no_damaged_file_where_a_library_swallows_it() -> None:
    """pydantic does: a signal while bundle.json was validated came out as a hash that doesn't fit its pattern."""
    done = subprocess.run([sys.executable, "-c", SWALLOWED], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "veriscope: ended by SIGTERM\n")
