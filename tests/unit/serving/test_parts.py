"""Videos and heat maps: answers are those of the commands."""

import base64
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.clips import make_clip
from tests.helpers.serving import SMALL, app_of, client_of, gated, live, parts, until

from veriscope.bundle import Bundle
from veriscope.data.decode import decode_image
from veriscope.explain.picture import explain_picture
from veriscope.predict.explain import find_method, logit_unit
from veriscope.predict.judge import Judge
from veriscope.predict.video import judge_video
from veriscope.serving import parts as serving_parts
from veriscope.serving.schemas import Capabilities, Explained, Verdicts


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("parts") / "bundle")


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[TestClient]:
    with client_of(app_of(bundle)) as client:
        yield client


@pytest.fixture(scope="module")
def clip() -> bytes:
    return make_clip(40)


def test_a_video_gets_the_verdict_of_predict_between_pictures(
    bundle: Bundle, client: TestClient, clip: bytes, tmp_path: Path
) -> None:
    (path,) = write_pictures(tmp_path, 1)
    expected = judge_video(bundle.scorer(device="cpu", precision="fp32"), clip, judge=Judge.of(bundle))
    answer = client.post("/v1/predict", files=parts(path.read_bytes(), clip, b"no", path.read_bytes()))
    assert answer.status_code == 200
    first, video, third, fourth = Verdicts.model_validate(answer.json()).results
    assert first.picture is not None
    assert first.score == pytest.approx(fourth.score, abs=1e-5)
    assert third.error is not None
    assert (video.verdict, video.unsure_because) == (expected.label, expected.unsure_because)
    assert video.score == pytest.approx(expected.score, abs=1e-5)
    assert video.picture is None
    assert video.video is not None
    assert [frame.time_s for frame in video.video.frames] == [frame.time_s for frame in expected.frames]
    assert [part.start_s for part in video.video.suspicious] == [part.start_s for part in expected.suspicious]
    assert ("part_looks_fake" in video.reasons) == (expected.label == "unsure" and bool(expected.suspicious))


def test_a_damaged_video_has_a_reason(client: TestClient, clip: bytes) -> None:
    (result,) = client.post("/v1/predict", files=parts(clip[:200])).json()["results"]
    assert result["verdict"] is None
    assert result["error"]["code"] == "unreadable"


def test_a_video_may_be_larger_than_a_picture_but_not_endless(client: TestClient, clip: bytes) -> None:
    filler = bytes(SMALL.max_file_bytes)
    free_box = (len(filler) + 8).to_bytes(4, "big") + b"free" + filler  # ISO base media: to be passed over
    (large,) = client.post("/v1/predict", files=parts(clip + free_box)).json()["results"]
    (larger,) = client.post("/v1/predict", files=parts(clip + free_box * 2)).json()["results"]
    assert large["verdict"] is not None
    assert larger["error"]["code"] == "too_large"
    assert "a video 0.5 MB" in larger["error"]["message"]


def test_a_video_whose_client_has_gone_is_dropped(bundle: Bundle, clip: bytes) -> None:
    app = app_of(bundle)
    engine = app.state.engine
    with live(app) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/v1/predict", files=parts(clip), timeout=httpx.Timeout(60, read=0.005))
        until(lambda: engine.num_held == 0)
        assert httpx.get(f"{server.url}/readyz").status_code == 200


def test_a_video_that_takes_too_long_gets_504(bundle: Bundle, clip: bytes) -> None:
    with client_of(app_of(bundle, limits=replace(SMALL, video_s=0.05))) as client:
        answer = client.post("/v1/predict", files=parts(clip))
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "too_slow")


def test_a_video_that_can_have_no_process_may_come_again(client: TestClient, clip: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # no new file nor pipe; those that are open stay
    try:
        answer = client.post("/v1/predict", files=parts(clip))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.post("/v1/predict", files=parts(clip)).status_code == 200


def test_a_video_that_finds_no_room_waits_for_no_picture(bundle: Bundle, clip: bytes, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, 1)
    app, engine, gate = gated(bundle, max_waiting=2, max_files=2)
    with live(app) as server, ThreadPoolExecutor(1) as pool:
        gate.open.clear()
        first = pool.submit(httpx.post, f"{server.url}/v1/predict", files=parts(path.read_bytes()), timeout=60)
        until(lambda: engine.num_held == 1)
        refused = httpx.post(f"{server.url}/v1/predict", files=parts(path.read_bytes(), clip), timeout=5)
        gate.open.set()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert first.result().status_code == 200


def test_without_its_part_a_video_is_no_picture(bundle: Bundle, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "veriscope.serving.app.capabilities", lambda _: Capabilities(explain=True, video=False, faces=False)
    )
    with client_of(app_of(bundle)) as client:
        (result,) = client.post("/v1/predict", files=parts(clip)).json()["results"]
        assert result["error"]["code"] == "no_picture"
        assert "a video" in result["error"]["message"]
        assert client.get("/v1/model").json()["capabilities"] == {"explain": True, "video": False, "faces": False}


def test_the_heat_map_is_that_of_explain(bundle: Bundle, client: TestClient, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, 1, side=90)
    answer = client.post("/v1/explain", files=parts(path.read_bytes(), name=path.name))
    assert answer.status_code == 200, answer.text
    explained = Explained.model_validate(answer.json())
    assert explained.error is None
    assert explained.heat is not None
    judge = Judge.of(bundle)
    scorer = bundle.scorer(device="cpu", precision="fp32")
    (scored,) = scorer.score_paths([path])
    target = "fake" if scored.score >= judge.threshold.value else "real"
    expected = explain_picture(
        decode_image(path),
        find_method("grad_cam", scorer),
        spec=scorer.input,
        target=target,
        logit_unit=logit_unit(judge.terms.calibration),
    )
    assert (explained.heat.method, explained.heat.target) == ("grad_cam", target)
    found = np.asarray(Image.open(BytesIO(base64.b64decode(explained.heat.png))).convert("RGB"))
    assert found.shape == (explained.heat.height_px, explained.heat.width_px, 3)
    np.testing.assert_allclose(found.astype(int), expected.overlay.astype(int), atol=2)
    assert explained.heat.caveat == serving_parts.CAVEAT


def test_a_network_without_gradients_is_explained_by_occlusion(bundle: Bundle, tmp_path: Path) -> None:
    app = app_of(bundle)
    engine = app.state.engine

    class Plain:
        """A network as ONNX Runtime is one: pictures in, logits out, and nothing else."""

        def __init__(self) -> None:
            self.input, self.device, self.precision = inner.input, inner.device, inner.precision
            self.answer = inner.answer

    inner = engine.scorer.network
    engine.scorer.network = Plain()
    (path,) = write_pictures(tmp_path, 1)
    with client_of(app) as client:
        heat = client.post("/v1/explain", files=parts(path.read_bytes())).json()["heat"]
    assert heat["method"] == "occlusion"


@pytest.mark.parametrize(("content", "code"), [(b"no picture", "no_picture"), (b"\x89PNG\r\n\x1a\n", "unreadable")])
def test_what_can_not_be_explained_says_why(content: bytes, code: str, client: TestClient) -> None:
    answer = client.post("/v1/explain", files=parts(content))
    assert answer.status_code == 200
    assert answer.json()["heat"] is None
    assert answer.json()["error"]["code"] == code


def test_one_picture_is_explained_at_a_time(client: TestClient) -> None:
    answer = client.post("/v1/explain", files=parts(b"x", b"y"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_files")
