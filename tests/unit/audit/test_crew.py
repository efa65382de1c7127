import gc
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from veriscope.audit.crew import Crew


def doubled(numbers: Sequence[int]) -> list[int]:
    """Twice each number; 13 stands for bytes that end their process, 0 for a fault of the program."""
    if 13 in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    if 0 in numbers:
        raise ZeroDivisionError("of a process")
    return [2 * number for number in numbers]


def negative(number: int) -> int:
    return -number


@pytest.mark.slow
def test_whoever_ends_its_process_is_named_and_a_fault_is_raised_where_it_is_asked_for() -> None:
    crew = Crew(2, doubled, crashed=negative)
    chunks = [crew.begin(part) for part in ([1, 2], [3, 13, 4], [13, 13], [], [0], [5])]
    try:
        assert [chunk() for chunk in chunks[:4]] == [[2, 4], [6, -13, 8], [-13, -13], []]
        with pytest.raises(ZeroDivisionError, match="of a process"):
            chunks[4]()
        assert chunks[5]() == [10]
    finally:
        crew.dismiss()


@pytest.mark.slow
def test_processes_that_died_leave_no_open_files() -> None:
    """1,024 are what a process may have open: a folder with as many deadly files would have ended the audit."""
    crew = Crew(1, doubled, crashed=negative)
    try:
        assert crew.begin([13])() == [-13]
        gc.collect()
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert crew.begin([13, 13, 13, 1])() == [-13, -13, -13, 2]
        gc.collect()
        # The one process that lives has a pipe and its end.
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3
    finally:
        crew.dismiss()


def test_without_processes_this_one_looks_when_it_is_waited_for() -> None:
    crew = Crew(0, doubled, crashed=negative)
    waits = crew.begin([0])
    with pytest.raises(ZeroDivisionError):
        waits()
    crew.dismiss()


UNGUARDED = """
from veriscope.audit.crew import Crew
crew = Crew(2, list, crashed=int)
try:
    crew.begin([1])()
finally:
    crew.dismiss()
"""


@pytest.mark.slow
def test_a_script_that_its_processes_cannot_import_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("veriscope.errors.VeriscopeError: a process that looks at pictures ended before it began.")
    assert "workers=1" in last
