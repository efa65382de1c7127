"""Runs side by side, each an OS process of its own with a plain command line and a log file.

A run can't take another one down, every run gives its memory back, and rank 1 of a run on several GPUs never sees the
sweep that the run belongs to (Hydra would expand it again).
"""

import contextlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console

from veriscope.config.command import Program, process_command
from veriscope.errors import printable
from veriscope.processes import child_environment
from veriscope.progress import say

_AGENT = ("WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")
POLL_S = 0.2
GRACE_S = 20.0  # to close loggers and loaders in


@dataclass(frozen=True, slots=True)
class Job:
    """One `python train.py WORDS`, or evaluate.py, called `name` on the terminal, that writes into `folder`.

    Its output goes to `log`; of a `quiet` one nothing is shown, for its figures stand in a table of many.
    """

    name: str
    words: tuple[str, ...]
    folder: Path
    log: Path
    program: Program = "train"
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that has ended: its exit code, how long it took, and the last error that it said, or ''."""

    job: Job
    code: int
    seconds: float
    said: str

    @property
    def done(self) -> bool:
        """Whether it came to its end."""
        return self.code == 0

    @property
    def reason(self) -> str:
        """Why it didn't."""
        return self.said or f"it ended with code {self.code}"


@dataclass(slots=True)
class _Running:
    job: Job
    process: "subprocess.Popen[bytes]"
    slot: Mapping[str, str]
    started: float
    offset: int  # bytes of the log that were shown
    said: str = ""
    kill_at: float = math.inf


@dataclass(slots=True)
class Pool:
    """At most one running job a slot; a slot is what it adds to the environment, as one GPU.

    A context manager: leaving it, by Ctrl-C too, ends what still runs.
    """

    slots: Sequence[Mapping[str, str]]
    console: Console
    _running: list[_Running] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        _end([running.process for running in self._running])
        for running in self._running:
            self._show(running)

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        return len(self._running) < len(self.slots)

    @property
    def jobs(self) -> list[Job]:
        """The running ones."""
        return [running.job for running in self._running]

    def start(self, job: Job) -> None:
        """Start `job` in a free slot."""
        slot = next(slot for slot in self.slots if all(slot is not running.slot for running in self._running))
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            offset = log.tell()
            process = subprocess.Popen(
                process_command(job.program, job.words),
                env={**child_environment(_own()), "PYTHONUNBUFFERED": "1", **slot},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # a terminal's Ctrl-C comes to us alone, and is passed on once
            )
        self._running.append(_Running(job, process, slot, time.monotonic(), offset))

    def stop(self, job: Job) -> None:
        """Ask a running job to stop, as `kill` would; `wait` yields it when it has. One that doesn't is killed."""
        for running in self._running:
            if running.job is job:
                _signal(running.process, signal.SIGTERM)
                running.kill_at = time.monotonic() + GRACE_S

    def wait(self) -> Iterator[Ended]:
        """Sleep a moment, show what the jobs have printed, and yield those that have ended."""
        time.sleep(POLL_S)
        for running in list(self._running):
            code = running.process.poll()
            self._show(running)
            if code is None and time.monotonic() > running.kill_at:
                _signal(running.process, signal.SIGKILL)
            if code is not None:
                self._running.remove(running)
                yield Ended(running.job, code, time.monotonic() - running.started, running.said)

    def _show(self, running: _Running) -> None:
        """Print the whole lines that the log has got since."""
        with contextlib.suppress(OSError), running.job.log.open("rb") as log:
            log.seek(running.offset)
            lines, newline, _ = log.read().rpartition(b"\n")
            running.offset += len(lines) + len(newline)
            for line in lines.decode(errors="replace").splitlines():
                text = printable(line.rstrip())
                if text.startswith("error: "):
                    running.said = text.removeprefix("error: ")
                # A run's closing advice, which is indented, is about itself alone: the log has it.
                if text and not text.startswith(" ") and not running.job.quiet:
                    say(self.console, f"{running.job.name} | {text}")


def _own() -> dict[str, str]:
    """Return this process's environment without the run that a W&B agent gave it: that one is not each child's."""
    return {name: value for name, value in os.environ.items() if name not in _AGENT}


# SIGTERM, not SIGINT: what was started in the background ignores that, and so would its children.
def _signal(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _end(processes: list["subprocess.Popen[bytes]"]) -> None:
    """Interrupt the processes, and after a while kill what is left of them."""
    for process in processes:
        if process.poll() is None:
            _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.1)
    for process in processes:
        if process.poll() is None:
            _signal(process, signal.SIGKILL)
        process.wait()
