"""Signals: what a process that is told to end still says."""

import subprocess
import sys
from pathlib import Path

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
