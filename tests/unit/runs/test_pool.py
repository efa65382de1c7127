"""The pool with real processes, which are small scripts in place of train.py."""

import io
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from veriscope.runs import pool as module
from veriscope.runs.batch import run_all
from veriscope.runs.estimate import Estimate
from veriscope.runs.pool import Job, Pool


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "process_command", lambda program, words: [sys.executable, "-c", *words])


def job(folder: Path, name: str, script: str) -> Job:
    return Job(name=name, words=(script,), folder=folder / name, log=folder / f"{name}.log")


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def drain(pool: Pool) -> list[module.Ended]:
    found: list[module.Ended] = []
    deadline = time.monotonic() + 30
    while pool.jobs:
        assert time.monotonic() < deadline
        found += pool.wait()
    return found


def test_runs_side_by_side_have_a_slot_each(tmp_path: Path, console: Console) -> None:
    slots = [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    script = "import os, time; print('GPU', os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(0.5)"
    with Pool(slots, console) as pool:
        pool.start(job(tmp_path, "a", script))
        pool.start(job(tmp_path, "b", script))
        assert not pool.has_room
        assert all(ended.done for ended in drain(pool))
        assert pool.has_room
    assert sorted((tmp_path / f"{name}.log").read_text() for name in "ab") == ["GPU 3\n", "GPU 5\n"]
    assert "a | GPU 3" in said(console)


def test_the_last_error_is_the_reason_and_control_characters_stay_out(tmp_path: Path, console: Console) -> None:
    script = r"import sys; print('\x1b[31mred'); print('  aside'); print('error: no such data'); sys.exit(2)"
    with Pool([{}], console) as pool:
        pool.start(job(tmp_path, "a", script))
        (ended,) = drain(pool)
    assert (ended.code, ended.reason, ended.done) == (2, "no such data", False)
    assert "\x1b" not in said(console)
    assert "aside" not in said(console)  # the log has it
    assert "  aside" in (tmp_path / "a.log").read_text()


def test_a_signal_is_a_reason_too(tmp_path: Path, console: Console) -> None:
    with Pool([{}], console) as pool:
        pool.start(job(tmp_path, "a", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
        (ended,) = drain(pool)
    assert ended.reason == "it ended with code -9"


def test_stop_interrupts_one_and_leaving_interrupts_all(tmp_path: Path, console: Console) -> None:
    script = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # as in the background of a shell
        "signal.signal(signal.SIGTERM, lambda *_: (print('closed', flush=True), sys.exit(143)))\n"
        "time.sleep(60)"
    )
    with Pool([{}, {}], console) as pool:
        first, second = job(tmp_path, "a", script), job(tmp_path, "b", script)
        pool.start(first)
        pool.start(second)
        time.sleep(1)  # for Python to start
        pool.stop(first)
        deadline = time.monotonic() + 20
        ended: list[module.Ended] = []
        while not ended and time.monotonic() < deadline:
            ended += pool.wait()
        assert [one.job.name for one in ended] == ["a"]
        processes = [running.process for running in pool._running]
    assert all(process.poll() is not None for process in processes)
    assert (tmp_path / "b.log").read_text() == "closed\n"


def test_after_a_failure_none_is_started_but_what_runs_goes_on(tmp_path: Path, console: Console) -> None:
    jobs = [
        job(tmp_path, "a", "import time; time.sleep(1.5); print('its work counts')"),
        job(tmp_path, "b", "import sys; sys.exit(2)"),
        job(tmp_path, "c", "print('never')"),
    ]
    failed = run_all(
        jobs, slots=[{}, {"X": "1"}], estimate=Estimate(num_runs=3, places=2), num_epochs=1, stop_at_failure=True,
        console=console,
    )  # fmt: skip
    assert [ended.job.name for ended in failed] == ["b"]
    assert (tmp_path / "a.log").read_text() == "its work counts\n"
    assert not (tmp_path / "c.log").exists()
    failed = run_all(
        jobs[1:], slots=[{}], estimate=Estimate(num_runs=2, places=1), num_epochs=1, stop_at_failure=False,
        console=console,
    )  # fmt: skip
    assert (tmp_path / "c.log").read_text() == "never\n"
    assert len(failed) == 1


def test_the_run_that_a_wandb_agent_gave_us_is_not_our_childrens(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "given")
    script = "import os; print(sorted(name for name in os.environ if name.startswith('WANDB_')))"
    with Pool([{}], console) as pool:
        pool.start(job(tmp_path, "a", script))
        drain(pool)
    names = (tmp_path / "a.log").read_text()
    assert "WANDB_PROJECT" in names
    assert "WANDB_RUN_ID" not in names
    assert "WANDB_SWEEP_ID" not in names
