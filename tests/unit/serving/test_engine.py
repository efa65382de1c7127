"""Many requests at a time: batches, bounds, time limits, clients that go, and the end."""

import asyncio
import http.client
import json
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.serving import Gate, Live, client_of, gated, live, parts, until

from veriscope.bundle import Bundle
from veriscope.bundle.network import Network
from veriscope.predict.judge import Judge
from veriscope.serving.engine import Engine
from veriscope.serving.errors import ApiError


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("engine") / "bundle")


def picture(level: int = 100) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(level).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def post(url: str, *contents: bytes, timeout: float = 60.0) -> httpx.Response:
    return httpx.post(f"{url}/v1/predict", files=parts(*contents), timeout=timeout)


def in_background(call: Callable[[], httpx.Response], count: int = 1) -> tuple[ThreadPoolExecutor, list]:
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(call) for _ in range(count)]


@contextmanager
def behind_a_picture(server: Live, engine: Engine, gate: Gate) -> Iterator[None]:
    """Let what is asked in the block wait behind a picture; after it, that one is answered, and nothing else scored."""
    gate.open.clear()
    before = len(gate.batches)
    pool, (blocking,) = in_background(lambda: post(server.url, picture()))
    until(lambda: len(gate.batches) == before + 1)
    yield
    gate.open.set()
    assert blocking.result().status_code == 200
    pool.shutdown()
    until(lambda: engine.num_held == 0)
    assert len(gate.batches) == before + 1, "nothing was scored for nobody"


def test_many_clients_share_batches_and_get_their_own_answers(bundle: Bundle, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 24)
    judge = Judge.of(bundle)
    scorer = bundle.scorer(device="cpu", precision="fp32")
    expected = [judge.verdict(scored) for scored in scorer.score_paths(paths)]
    app, _, gate = gated(bundle, max_waiting=64, batch_size=8)
    with live(app) as server, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda path: post(server.url, path.read_bytes()).json(), paths))
    for answer, verdict in zip(answers, expected, strict=True):
        (result,) = answer["results"]
        assert result["verdict"] == verdict.label
        assert result["score"] == pytest.approx(verdict.score, abs=1e-5)
    assert max(gate.batches) <= 8
    assert sum(gate.batches) == 24 + 1, "the warm-up and each picture once"
    assert len(gate.batches) < 25, "some shared a batch"


def test_a_full_queue_answers_503_at_once_and_keeps_what_it_took(bundle: Bundle) -> None:
    app, engine, gate = gated(bundle, max_waiting=4, max_files=4)
    with live(app) as server:
        gate.open.clear()
        pool, waiting = in_background(lambda: post(server.url, picture(), picture()), 2)
        until(lambda: engine.num_held == 4)
        refused = post(server.url, picture())
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "busy"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        gate.open.set()
        assert [answer.result().status_code for answer in waiting] == [200, 200]
        pool.shutdown()
        assert post(server.url, picture()).status_code == 200
        assert engine.num_held == 0


def test_uploads_share_a_bound_on_memory(bundle: Bundle) -> None:
    app, engine, gate = gated(
        bundle, max_file_bytes=200_000, max_video_bytes=200_000, max_body_bytes=210_000, max_held_bytes=250_000
    )
    large = picture() + bytes(150_000)
    with live(app) as server:
        gate.open.clear()
        pool, (first,) = in_background(lambda: post(server.url, large))
        until(lambda: engine.num_held == 1)
        refused = post(server.url, large)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        gate.open.set()
        assert first.result().status_code == 200
        pool.shutdown()
        assert post(server.url, large).status_code == 200, "what was held is given back"


def test_after_the_time_limit_the_work_is_dropped(bundle: Bundle) -> None:
    app, engine, gate = gated(bundle, timeout_s=0.3, batch_size=1)
    with live(app) as server:
        gate.open.clear()
        before = len(gate.batches)
        answer = post(server.url, picture(), picture(), picture())
        assert answer.status_code == 504
        assert answer.json()["error"]["code"] == "too_slow"
        gate.open.set()
        until(lambda: engine.num_held == 0)
        assert len(gate.batches) == before + 1, "the two that still waited were never scored"
        assert post(server.url, picture()).status_code == 200


def test_work_of_a_client_that_has_gone_is_dropped(bundle: Bundle) -> None:
    app, engine, gate = gated(bundle, batch_size=1)
    with live(app) as server, behind_a_picture(server, engine, gate):
        with pytest.raises(httpx.ReadTimeout):
            post(server.url, picture(), picture(), timeout=0.5)
        # The server has noticed, too: all that it holds beside the first picture is nobody's.
        until(lambda: engine.num_held == 1 + sum(job.dropped for job in engine._queue))


def test_work_of_nobody_before_a_call_is_dropped_too(bundle: Bundle) -> None:
    app, engine, gate = gated(bundle)
    calling = threading.Thread(target=engine.on_network, args=(int,))  # as a video's frames come
    with live(app) as server:
        with behind_a_picture(server, engine, gate):
            with pytest.raises(httpx.ReadTimeout):
                post(server.url, picture(), timeout=0.5)
            until(lambda: [job.dropped for job in engine._queue] == [True])
            calling.start()
            until(lambda: len(engine._queue) == 2)
        calling.join(30)
        assert not calling.is_alive()


def test_a_body_that_does_not_come_ends_in_408(bundle: Bundle) -> None:
    app, engine, _ = gated(bundle, upload_s=0.3)
    with live(app) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        assert b" 408 " in connection.recv(4096)
        assert engine.num_held == 0


def test_what_is_no_http_gets_the_same_shape(bundle: Bundle) -> None:
    app, _, _ = gated(bundle)
    with live(app) as server, socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        answer = connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]["code"] == "bad_http"


def test_an_announced_length_that_lies_costs_nothing(bundle: Bundle) -> None:
    app, engine, _ = gated(bundle)
    with live(app) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.putrequest("POST", "/v1/predict")
        connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        connection.putheader("Content-Length", str(10**15))
        connection.endheaders()
        assert connection.getresponse().status == 413, "before a byte of the body has come"
        connection.close()
        assert engine.num_held == 0


def test_nothing_that_is_uploaded_touches_a_disk(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    app, _, _ = gated(bundle, max_file_bytes=4_000_000, max_body_bytes=9_000_000, max_held_bytes=20_000_000)
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent/folder")
    written: list[object] = []
    watching = [True]

    def watch(event: str, arguments: tuple) -> None:
        if watching[0] and event == "open" and (str(arguments[1] or "r")[0] in "wax+" or (arguments[2] or 0) & 0o103):
            written.append(arguments[0])
        if watching[0] and event in ("tempfile.mkstemp", "tempfile.mkdtemp", "os.mkdir", "os.rename"):
            written.append(arguments)

    sys.addaudithook(watch)
    with client_of(app) as client:
        large = picture() + bytes(3_000_000)  # three times what Starlette's own parser keeps in memory
        answer = client.post("/v1/predict", files=parts(large, large))
        watching[0] = False
    assert [result["verdict"] is not None for result in answer.json()["results"]] == [True, True]
    assert written == []


def test_at_the_end_what_is_in_flight_is_finished(bundle: Bundle) -> None:
    app, engine, gate = gated(bundle)
    with live(app) as server:
        gate.open.clear()
        pool, (first,) = in_background(lambda: post(server.url, picture()))
        until(lambda: engine.num_held == 1)
        with httpx.Client() as kept:
            assert kept.get(f"{server.url}/readyz").status_code == 200
            engine.stopping = True
            assert kept.get(f"{server.url}/readyz").json() == {"status": "stopping"}
            refused = kept.post(f"{server.url}/v1/predict", files=parts(picture()))
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "stopping")
            assert "retry-after" in refused.headers
        server.server.handle_exit(signal.SIGINT, None)
        gate.open.set()
        assert first.result().json()["results"][0]["verdict"] is not None
        pool.shutdown()


def test_a_body_that_was_coming_at_the_signal_is_judged(bundle: Bundle) -> None:
    app, engine, _ = gated(bundle)
    request = httpx.Request("POST", "http://localhost/v1/predict", files=parts(picture()))
    body = request.read()
    with live(app) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.putrequest("POST", "/v1/predict")
        for name in ("content-type", "content-length"):
            connection.putheader(name, request.headers[name])
        connection.endheaders(body[:-100])
        until(lambda: "veriscope_held_bytes 0.0" not in httpx.get(f"{server.url}/metrics").text)
        engine.stopping = True
        connection.send(body[-100:])
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["results"][0]["error"]) == (200, None)
        connection.close()


def test_other_threads_take_turns_with_the_batches(bundle: Bundle) -> None:
    app, engine, _ = gated(bundle)
    with client_of(app) as client:
        image_BCHW = np.zeros((2, 3, 32, 32), dtype=np.uint8)

        def twice(network: Network) -> tuple[float, ...]:
            return (*network.answer(image_BCHW, describe=False).logits, network.input.size_px)

        first, second, side = client.portal.call(partial(engine.help, twice, timeout_s=30))
        assert first == pytest.approx(second)
        assert side == 32
        assert client.post("/v1/predict", files=parts(picture())).status_code == 200


def test_at_the_end_what_is_not_finished_in_time_is_answered(bundle: Bundle) -> None:
    app, _, gate = gated(bundle)
    with live(app, stop_s=1.0) as server:
        gate.open.clear()
        until(lambda: gate.batches == [1])  # the warm-up
        pool, (answer,) = in_background(lambda: post(server.url, picture()))
        with pool:
            until(lambda: len(gate.batches) == 2)
            server.server.should_exit = True
            found = answer.result(30)
            gate.open.set()
    assert (found.status_code, found.json()["error"]["code"]) == (503, "stopping")


def test_work_that_outlives_the_engine_is_known(bundle: Bundle) -> None:
    """A video that hangs must not keep a server that has ended: Python waits for such threads."""
    _, engine, _ = gated(bundle)
    release = threading.Event()

    async def hang() -> None:
        await engine.start()
        with pytest.raises(ApiError, match="no answer within"):
            await engine.help(lambda _: release.wait(30), timeout_s=0.05)
        await engine.stop()

    asyncio.run(hang())
    assert engine.is_busy
    release.set()
    until(lambda: not engine.is_busy)
