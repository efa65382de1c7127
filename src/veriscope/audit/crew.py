"""Processes that look at pictures: one that a picture ends takes nobody with it, and all can be ended at once."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from veriscope.errors import VeriscopeError
from veriscope.processes import end_with

AHEAD = 3  # chunks that wait for each process: it never stands still, and memory stays bounded
NO_START = (
    "a process that looks at pictures ended before it began. A script that calls this needs its own code under"
    " `if __name__ == '__main__':`; with workers=1 no process is started"
)
T = TypeVar("T")
R = TypeVar("R")


class Crew(Generic[T, R]):
    """`processes` processes that do `look`; none of them: this process does, when it is waited for.

    Each has a thread that feeds it, over a pipe that only those two hold. The standard library's pool has one pipe for
    all answers: a process that is ended in the midst of its answer leaves the pool, and Python's own end, waiting for
    the rest for ever.
    """

    def __init__(self, processes: int, look: Callable[[Sequence[T]], list[R]], *, crashed: Callable[[T], R]) -> None:
        """Make a crew; `crashed` gives the row of an item that ends the process which looks at it alone."""
        self._processes = processes
        self._look = look
        self._crashed = crashed
        self._threads: ThreadPoolExecutor | None = None
        self._own = threading.local()
        self._mates: list[_Mate[T, R]] = []
        self._hiring = threading.Lock()
        self._dismissed = False

    @property
    def ahead(self) -> int:
        """How many chunks may be under way."""
        return AHEAD * self._processes

    def begin(self, items: Sequence[T]) -> Callable[[], list[R]]:
        """Begin to look at these; return what waits for the rows and gives them, in any order."""
        if not items:
            return list
        if not self._processes:
            return lambda: self._look(items)
        if self._threads is None:
            # Started here, as starting it lets Ctrl-C through again in the thread that does.
            resource_tracker.ensure_running()
            self._threads = ThreadPoolExecutor(self._processes, initializer=_deaf)
        return self._threads.submit(self._asked, items).result

    def dismiss(self) -> None:
        """End the processes at once: their results are of no use any more."""
        with self._hiring:
            self._dismissed = True
        for mate in self._mates:
            mate.end()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _asked(self, items: Sequence[T]) -> list[R]:
        """Return the rows; after a process has died over these items, of each alone: whoever kills one is named."""
        with suppress(_DiedError):
            return self._mate().ask(items)
        rows = []
        for item in items:
            try:
                rows += self._mate().ask([item])
            except _DiedError:
                rows.append(self._crashed(item))
        return rows

    def _mate(self) -> "_Mate[T, R]":
        """Return this thread's process, a new one where the last has died."""
        mate: _Mate[T, R] | None = getattr(self._own, "mate", None)
        if mate is None or mate.ended:
            with self._hiring:
                if self._dismissed:
                    raise RuntimeError("the crew has been dismissed")
                mate = self._own.mate = _Mate(self._look)
                self._mates = [one for one in self._mates if not one.ended] + [mate]
        return mate


class _DiedError(Exception):
    """A process ended while it was asked."""


class _Mate(Generic[T, R]):
    """A process, and the pipe to it."""

    def __init__(self, look: Callable[[Sequence[T]], list[R]]) -> None:
        context = get_context("spawn")  # a fork of a process that has used threads may deadlock
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_work, args=(there, look, os.getpid()), daemon=True)
        self._process.start()
        there.close()  # the process holds the only one now: with its end the pipe ends
        self.ended = False
        self._begun = False

    def ask(self, items: Sequence[T]) -> list[R]:
        """Return what the process answers.

        Raises:
            _DiedError: it has ended.
            VeriscopeError: it has not even begun.

        """
        try:
            self._begun = self._begun or self._pipe.recv()
            self._pipe.send(items)
            answer: list[R] | Exception = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.end()
            self._pipe.close()
            if not self._begun:
                raise VeriscopeError(NO_START) from error
            raise _DiedError from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """End the process at once; whoever waits for its answer is told so by the pipe."""
        self.ended = True
        self._process.terminate()
        self._process.join()


def _deaf() -> None:
    """Let the processes that this thread starts be born deaf to Ctrl-C, which is their parent's matter."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _work(pipe: Connection, look: Callable[[Sequence[T]], list[R]], parent: int) -> None:
    """Answer until the pipe ends, which this process doesn't outlive; nor its parent."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(parent)
    pipe.send(True)
    with suppress(EOFError):
        while True:
            items = pipe.recv()
            try:
                answer: list[R] | Exception = look(items)
            except Exception as error:  # noqa: BLE001 - it is raised again in the process that asked
                answer = error
            pipe.send(answer)
