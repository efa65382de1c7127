"""`veriscope serve`: the command behind its arguments, and how the server ends."""

import argparse
import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from rich.console import Console

from veriscope.data.video_apart import end_readers
from veriscope.errors import ConfigError, ModelError
from veriscope.predict.faces import face_cutter
from veriscope.predict.judge import judge_of
from veriscope.progress import say
from veriscope.serving.app import create_app
from veriscope.serving.protocol import PatientProtocol
from veriscope.serving.settings import MEGABYTE, Access, Limits, read_token


class Server(uvicorn.Server):
    """Ends in three steps at SIGTERM: it is no longer ready and takes no new work, for `drain_s`, in which load
    balancers notice; it stops listening, and finishes what is in flight; after the configuration's limit it drops that.

    SIGINT leaves out the first step, a second signal the others, too.
    """

    def __init__(self, config: uvicorn.Config, *, app: FastAPI, drain_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain_s = drain_s
        self._told = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM meanwhile; unlike uvicorn's, it doesn't raise them again: the end is in order."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, or end at once where it had begun."""
        if self._told:
            self.should_exit = self.force_exit = True
            return
        self._told = True
        self._app.state.engine.stopping = True
        if sig == signal.SIGINT or self._drain_s == 0:
            self.should_exit = True
            return
        asyncio.get_running_loop().call_later(self._drain_s, self._stop_listening)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what listens and what is in flight, then the application."""
        await super().shutdown(sockets)
        if self.force_exit:  # uvicorn leaves the application's end out then, and its task ends with a traceback
            await self.lifespan.shutdown()

    def _stop_listening(self) -> None:
        self.should_exit = True


def make_config(app: FastAPI, *, stop_s: float = 10.0) -> uvicorn.Config:
    """Return how uvicorn serves the application.

    Args:
        app: what answers.
        stop_s: time that requests in flight get at the end.

    """
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # No address of a client is used anywhere, so no header about it needs to be believed.
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=math.ceil(stop_s),
        h11_max_incomplete_event_size=16_384,  # of a header
    )


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes; return 0.

    Raises:
        VeriscopeError: bad bundle, threshold, device, limits or token, an address that can't be used, or a network
            that gives no first answer.

    """
    limits = limits_of(arguments)
    access = Access(
        token=read_token(arguments.token_file),
        hosts=frozenset(name.lower() for name in arguments.allowed_host),
        origins=frozenset(arguments.cors),
    )
    judge = judge_of(arguments)
    cutter = face_cutter(arguments)
    listener = open_socket(arguments.host, arguments.port)
    console = Console(stderr=True)
    with contextlib.closing(listener):
        scorer = judge.bundle.scorer(
            device=arguments.device,
            precision=arguments.precision,
            batch_size=limits.batch_size,
            calibration=judge.terms.calibration,
            max_pixels=limits.max_pixels,
        )
        app = create_app(judge, scorer, limits=limits, access=access, unsure=not arguments.no_unsure, cutter=cutter)
        _set_up_log(arguments.log_level)
        say(console, f"veriscope serves {judge.bundle.record.model.name} at {_address(listener)} (Ctrl-C ends it)")
        if access.token is None and not _is_local(arguments.host):
            say(console, "Whoever reaches this machine can use it: --token-file FILE asks for a token.")
        server = Server(make_config(app, stop_s=arguments.stop_s), app=app, drain_s=arguments.drain_s)
        with contextlib.suppress(SystemExit):  # how uvicorn, from some version on, tells of a start that failed
            server.run(sockets=[listener])
    if not server.started:
        raise ModelError("the server did not start: the network gave no first answer. The lines above say why.")
    if app.state.engine.is_busy:  # a decoder that can't be stopped must not keep the process
        end_readers()
        logging.shutdown()
        sys.stderr.flush()
        os._exit(0)
    return 0


def limits_of(arguments: argparse.Namespace) -> Limits:
    """Return the limits that were asked for; what wasn't is as large as the others need.

    Raises:
        ConfigError: limits that contradict each other.

    """
    file_bytes, video_bytes = int(arguments.max_upload_mb * MEGABYTE), int(arguments.max_video_mb * MEGABYTE)
    own = Limits()
    body_bytes = _asked(
        arguments.max_request_mb, otherwise=max(own.max_body_bytes, max(file_bytes, video_bytes) + MEGABYTE)
    )
    return Limits(
        max_file_bytes=file_bytes,
        max_video_bytes=video_bytes,
        max_files=arguments.max_files or min(own.max_files, arguments.queue),
        max_body_bytes=body_bytes,
        max_held_bytes=_asked(arguments.memory_mb, otherwise=max(own.max_held_bytes, body_bytes)),
        max_pixels=arguments.max_pixels,
        max_waiting=arguments.queue,
        batch_size=arguments.batch_size,
        wait_s=arguments.wait_ms / 1000,
        num_workers=arguments.workers,
        timeout_s=arguments.timeout_s,
        video_s=arguments.video_timeout_s,
    )


def _asked(megabytes: float | None, *, otherwise: int) -> int:
    return otherwise if megabytes is None else int(megabytes * MEGABYTE)


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; port 0 takes a free one.

    Raises:
        ConfigError: the address is not this machine's, is taken, or needs other rights.

    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise ConfigError(
            f"--host {host} --port {port} can't be used: {error.strerror or error}. Name another --port, or end what "
            "listens there."
        ) from None


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _set_up_log(level: str) -> None:
    """Send the log to standard error, one line a record."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, lowest in (
        ("veriscope.serving", level.upper()),
        ("uvicorn.error", "WARNING"),
        ("python_multipart", "ERROR"),
    ):
        logger: Any = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(lowest)
        logger.propagate = False
