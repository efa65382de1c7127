"""From uploads to scores: a few threads decode, one speaks to the network, and everything that waits is bounded.

The pictures of all requests meet in one queue, from which the network takes what lies there, up to a batch. It waits
for more only while more are being decoded, and only some milliseconds: one client alone is never kept waiting.
"""

import asyncio
import hashlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from veriscope.bundle.network import Network, NetworkAnswer, Pixels
from veriscope.bundle.scorer import Scored, Scorer
from veriscope.data.decode import PictureFacts, decode_with_facts
from veriscope.errors import DecodeError
from veriscope.predict.faces import Cut, FaceCutter, score_groups
from veriscope.serving.errors import ApiError, busy, internal, stopping, too_slow
from veriscope.serving.metrics import Metrics
from veriscope.serving.schemas import FileError
from veriscope.serving.settings import Limits
from veriscope.serving.sniff import file_error, no_picture

log = logging.getLogger("veriscope.serving")
T = TypeVar("T")

LONGEST_RETRY_S = 60
RATE_OVER_S = 5.0


class Judged(NamedTuple):
    """What became of one file: its answers, or why there are none.

    `scored` are those of the parts that were judged of it: its faces where there is a `cut`, else the whole picture.
    """

    scored: tuple[Scored, ...]
    facts: PictureFacts | None
    sha256: str | None
    error: FileError | None
    cut: Cut | None = None


class Dropped(Exception):  # noqa: N818 - no error: nobody waits for the answer any more
    """The request that a piece of work belongs to has ended."""


@dataclass(eq=False, slots=True)
class _Job:
    """One file on its way. `settle` is called once, from any thread, with what became of it."""

    number: int
    data: bytes | None
    future: asyncio.Future[Judged | ApiError]
    dropped: bool = False
    prepared: tuple[Pixels, ...] = ()
    cut: Cut | None = None
    facts: PictureFacts | None = None
    sha256: str | None = None


@dataclass(eq=False, slots=True)
class _Call:
    """Work that needs the network for itself, asked for by a thread that waits."""

    work: Callable[[], Any]
    done: threading.Event
    result: Any = None
    error: BaseException | None = None


class Engine:
    """Scores uploads. It starts with `start`, in a running event loop, and ends with `stop`.

    Args:
        scorer: with a batch size of at least `limits.batch_size`.
        limits: how much may wait, and for how long.
        metrics: what is counted.
        cutter: what cuts faces out of the pictures; None: they are judged as wholes.
        videos: whether the server reads those, too, which is told to who sends something else.

    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        limits: Limits,
        metrics: Metrics,
        cutter: FaceCutter | None = None,
        videos: bool = False,
    ) -> None:
        self.scorer = scorer
        self.cutter = cutter
        self._videos = videos
        self.limits = limits
        self.metrics = metrics
        self.ready = False
        self.stopping = False
        self.num_held = 0  # event loop only
        self._rate = 0.0  # pictures a second, lately; event loop only
        self._lately = time.monotonic()
        self._helping: set[Future[Any]] = set()
        self._queue: deque[_Job | _Call] = deque()
        self._num_decoding = 0
        self._ended = False
        self._wake = threading.Condition()  # guards the three above

    async def start(self) -> None:
        """Start the threads and let the network answer once: the first answer of some libraries takes seconds."""
        self._loop = asyncio.get_running_loop()
        self._decoders = ThreadPoolExecutor(self.limits.num_workers, thread_name_prefix="decode")
        self._helpers = ThreadPoolExecutor(2, thread_name_prefix="helper")
        self._thread = threading.Thread(target=self._serve_network, name="network", daemon=True)
        self._thread.start()
        side = self.scorer.input.size_px
        black = [(Path("warm-up"), np.zeros((side, side, 3), dtype=np.uint8))]
        await asyncio.to_thread(self.on_network, lambda: list(self.scorer.score_pixels(black)))
        self.ready = True

    async def stop(self) -> None:
        """End the threads; what waits is dropped."""
        self.ready, self.stopping = False, True
        with self._wake:
            self._ended = True
            self._wake.notify_all()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._helpers.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._thread.join, 5.0)

    @property
    def is_busy(self) -> bool:
        """Whether a thread of it still works."""
        return self._num_decoding > 0 or self._thread.is_alive() or len(self._helping) > 0

    def refuse_if_stopping(self) -> None:
        """Let a new request pass, unless the server is about to end; those whose files are coming are finished.

        Raises:
            ApiError: 503.

        """
        if self.stopping:
            raise stopping()

    def refuse_if_full(self, num_files: int = 1) -> None:
        """Let a request pass that there is room for.

        Raises:
            ApiError: 503, with the time after which room is likely.

        """
        if self.num_held + num_files > self.limits.max_waiting:
            raise busy(self.retry_after_s())

    def retry_after_s(self) -> int:
        """Return after how many seconds half of what waits will be through, at the speed of late."""
        seconds = self.num_held / 2 / self._rate if self._rate > 0 else 1.0
        return min(max(math.ceil(seconds), 1), LONGEST_RETRY_S)

    async def judge(self, files: Sequence[bytes]) -> list[Judged]:
        """Return what became of each file, in order. Whoever cancels this drops the work.

        Raises:
            ApiError: no room (503), or the time is up (504).

        """
        self.refuse_if_full(len(files))
        jobs = [_Job(number, data, self._loop.create_future()) for number, data in enumerate(files)]
        self._hold(len(jobs))
        with self._wake:
            self._num_decoding += len(jobs)
        for job in jobs:
            self._decoders.submit(self._decode, job)
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                return [_answered(await job.future) for job in jobs]
        except TimeoutError:
            raise too_slow(self.limits.timeout_s) from None
        finally:
            for job in jobs:
                job.dropped = True
                job.future.cancel()

    async def help(self, work: Callable[[Network], T], *, timeout_s: float) -> T:
        """Return what `work` returns, done by a thread beside the event loop. Each pass of the network that it is given
        takes its turn among the batches. Whoever cancels this ends the work at its next pass.

        Raises:
            ApiError: no room (503), or the time is up (504).

        """
        self.refuse_if_full()
        self._hold(1)
        network = _Shared(self)
        running = self._helpers.submit(work, network)
        self._helping.add(running)
        running.add_done_callback(self._helping.discard)
        running.add_done_callback(lambda _: self._from_thread(self._hold, -1))
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(running)
        except TimeoutError:
            raise too_slow(timeout_s) from None
        except Dropped:
            raise stopping() from None
        finally:
            network.gone = True

    def on_network(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, done by the network's thread; for other threads, which wait.

        Raises:
            Dropped: the engine has ended.

        """
        call = _Call(work, threading.Event())
        with self._wake:
            if self._ended:
                raise Dropped
            self._queue.append(call)
            self._wake.notify_all()
        call.done.wait()
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[no-any-return]

    def _hold(self, count: int) -> None:
        self.num_held += count
        self.metrics.waiting.set(self.num_held)
        if count < 0:
            now = time.monotonic()
            # A mean over some seconds: each picture counts less, the longer ago it was.
            share = 1 - math.exp((self._lately - now) / RATE_OVER_S)
            self._rate += share * (-count / max(now - self._lately, 1e-6) - self._rate)
            self._lately = now

    def _decode(self, job: _Job) -> None:
        """Bring one file to what the network is shown."""
        outcome: Judged | ApiError | None = None
        try:
            if not job.dropped:
                outcome = self._prepare(job)
        except Exception:  # the request gets an answer whatever happens, and the log gets the reason
            log.exception("decoding failed")
            outcome = internal()
        job.data = None
        with self._wake:
            self._num_decoding -= 1
            if job.prepared:
                self._queue.append(job)
            self._wake.notify_all()
        if not job.prepared:
            self._from_thread(self._settle, job, outcome)

    def _prepare(self, job: _Job) -> Judged | None:
        """Return why there will be no score; None: the job holds what the network is to be shown."""
        data = job.data
        assert data is not None, "a file is decoded once"
        sha256 = job.sha256 = hashlib.sha256(data).hexdigest()
        if (no := no_picture(data, videos=self._videos)) is not None:
            return Judged((), None, sha256, no)
        began = time.monotonic()
        try:
            image_HWC, facts = decode_with_facts(data, max_pixels=self.limits.max_pixels)
        except DecodeError as error:
            return Judged((), None, sha256, file_error(error))
        job.facts = facts
        # Here and not in the network's thread: fitting a large picture costs more than scoring a small one.
        parts = [image_HWC]
        if self.cutter is not None:
            job.cut = self.cutter.cut(image_HWC)
            parts = self.cutter.parts(image_HWC, job.cut)
        job.prepared = tuple(self.scorer.prepare(part) for part in parts)
        self.metrics.decode_s.observe(time.monotonic() - began)
        # No face, and the whole picture isn't wanted: there is nothing to ask the network.
        return None if parts else Judged((), facts, sha256, None, job.cut)

    def _serve_network(self) -> None:
        while (batch := self._next()) is not None:
            if isinstance(batch, _Call):
                try:
                    batch.result = batch.work()
                except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
                    batch.error = error
                batch.done.set()
            elif batch:
                self._score(batch)
        with self._wake:
            for waiting in self._queue:
                if isinstance(waiting, _Call):
                    waiting.error = Dropped()
                    waiting.done.set()

    def _next(self) -> list[_Job] | _Call | None:
        """Return a call, or a batch of pictures that somebody waits for; None: the engine has ended."""
        with self._wake:
            while not self._queue and not self._ended:
                self._wake.wait()
            until = time.monotonic() + self.limits.wait_s
            while (
                len(self._queue) < self.limits.batch_size
                and self._num_decoding
                and not self._ended
                and (left := until - time.monotonic()) > 0
            ):
                self._wake.wait(left)
            if self._ended:
                return None
            jobs: list[_Job] = []
            num_parts = 0  # a picture with many faces is many
            while self._queue and num_parts < self.limits.batch_size:
                if jobs and isinstance(self._queue[0], _Call):
                    break
                first = self._queue.popleft()
                if isinstance(first, _Call):
                    return first
                jobs.append(first)
                num_parts += len(first.prepared)
        wanted = [job for job in jobs if not job.dropped]
        for job in jobs:
            if job.dropped:
                self._from_thread(self._settle, job, None)
        return wanted

    def _score(self, jobs: list[_Job]) -> None:
        began = time.monotonic()
        outcomes: list[Judged | ApiError]
        try:
            groups = [(job, job.prepared) for job in jobs]
            outcomes = [_judged(job, answers) for job, answers in score_groups(self.scorer, groups)]
        except Exception:  # as above
            log.exception("the network failed")
            outcomes = [internal() for _ in jobs]
        self.metrics.network_s.observe(time.monotonic() - began)
        self.metrics.batch_size.observe(sum(len(job.prepared) for job in jobs))
        for job, outcome in zip(jobs, outcomes, strict=True):
            self._from_thread(self._settle, job, outcome)

    def _from_thread(self, call: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *arguments)

    def _settle(self, job: _Job, outcome: Judged | ApiError | None) -> None:
        """Take a job out of the engine; None: nobody waited for it any more."""
        self._hold(-1)
        if outcome is None:
            self.metrics.pictures.labels("dropped").inc()
        if outcome is not None and not job.future.done():
            job.future.set_result(outcome)


class _Shared:
    """A Network whose passes are done by the engine's thread, until nobody waits for what it is used for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.gone = False
        network = engine.scorer.network
        self.input, self.device, self.precision = network.input, network.device, network.precision

    def answer(self, image_BCHW: Pixels, *, describe: bool) -> NetworkAnswer:
        """Return the network's answers.

        Raises:
            Dropped: nobody waits for them.

        """
        if self.gone:
            raise Dropped
        network = self._engine.scorer.network
        return self._engine.on_network(lambda: network.answer(image_BCHW, describe=describe))


def _answered(outcome: Judged | ApiError) -> Judged:
    if isinstance(outcome, ApiError):
        raise outcome
    return outcome


def _judged(job: _Job, answers: list[Scored]) -> Judged:
    error = None
    if all(scored.score is None for scored in answers):
        error = FileError(code="no_score", message=f"There is no score: {answers[0].error or 'no reason is known'}.")
    return Judged(tuple(answers), job.facts, job.sha256, error, job.cut)
