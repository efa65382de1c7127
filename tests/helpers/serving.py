"""A server of a tiny bundle: in this process, or listening at a port."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from fastapi import FastAPI
from starlette.testclient import TestClient

from veriscope.bundle import BaseBundle
from veriscope.bundle.network import Network, NetworkAnswer
from veriscope.predict.faces import FaceCutter
from veriscope.predict.judge import Judge
from veriscope.serving.app import create_app
from veriscope.serving.engine import Engine
from veriscope.serving.server import Server, make_config, open_socket
from veriscope.serving.settings import Access, Limits

SMALL = Limits(
    max_file_bytes=300_000,
    max_video_bytes=500_000,
    max_files=4,
    max_body_bytes=900_000,
    max_pixels=1_000_000,
    max_waiting=8,
)


def app_of(
    bundle: BaseBundle,
    *,
    limits: Limits = SMALL,
    access: Access | None = None,
    cutter: FaceCutter | None = None,
    **terms: object,
) -> FastAPI:
    """Return the application of a bundle."""
    judge = Judge.of(bundle, **terms)
    scorer = bundle.scorer(
        device="cpu", precision="fp32", calibration=judge.terms.calibration, batch_size=limits.batch_size
    )
    return create_app(judge, scorer, limits=limits, access=access, cutter=cutter)


@contextmanager
def client_of(app: FastAPI) -> Iterator[TestClient]:
    """Yield a client of an application that runs in this process."""
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=True) as client:
        yield client


@dataclass
class Live:
    """A server that listens: its port, its application, and what ends it as a signal does."""

    port: int
    app: FastAPI
    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def live(app: FastAPI, *, stop_s: float = 5.0) -> Iterator[Live]:
    """Yield a server that listens at a free port, in a thread."""
    listener = open_socket("127.0.0.1", 0)
    server = Server(make_config(app, stop_s=stop_s), app=app, drain_s=0.0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    try:
        yield Live(listener.getsockname()[1], app, server)
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server has not ended"


def until(holds: Callable[[], bool], *, at_most_s: float = 30.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + at_most_s
    while not holds():
        assert time.monotonic() < end, "it has not come to hold"
        time.sleep(0.01)


def parts(*contents: bytes, name: str = "picture.jpg") -> list[tuple[str, tuple[str, bytes, str]]]:
    """Return files as a client sends them."""
    return [("files", (name, content, "image/jpeg")) for content in contents]


class Gate:
    """A network behind a gate, which knows the size of each batch that came to it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.input, self.device, self.precision = network.input, network.device, network.precision
        self.open = threading.Event()
        self.open.set()
        self.batches: list[int] = []

    def answer(self, image_BCHW: np.ndarray, *, describe: bool) -> NetworkAnswer:
        self.batches.append(len(image_BCHW))
        assert self.open.wait(30)
        return self.network.answer(image_BCHW, describe=describe)


def gated(bundle: BaseBundle, **limits: object) -> tuple[FastAPI, Engine, Gate]:
    """Return an application with other limits than SMALL's, its engine, and the gate before its network."""
    app = app_of(bundle, limits=replace(SMALL, **limits))
    engine = app.state.engine
    engine.scorer.network = gate = Gate(engine.scorer.network)
    return app, engine, gate
