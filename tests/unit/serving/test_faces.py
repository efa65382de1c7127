"""A server that judges faces: its answers are those of predict."""

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.helpers.bundles import tiny_bundle
from tests.helpers.clips import make_clip
from tests.helpers.faces import group, portrait
from tests.helpers.serving import SMALL, app_of, client_of, parts, until

from veriscope.bundle import Bundle
from veriscope.predict.face_finder import Face, YuNet, face_model
from veriscope.predict.faces import FaceCutter, FaceRules, judge_faces
from veriscope.predict.judge import Judge
from veriscope.predict.video import judge_video
from veriscope.serving.schemas import Explained, Model, Verdicts
from veriscope.types import FacesVerdict

CUTTER = FaceCutter(YuNet(face_model(None)), FaceRules())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("faces") / "bundle")


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[TestClient]:
    with client_of(app_of(bundle, cutter=CUTTER)) as client:
        yield client


@pytest.fixture(scope="module")
def strict(bundle: Bundle) -> Iterator[TestClient]:
    """Of a server that gives pictures without a face no verdict."""
    with client_of(app_of(bundle, cutter=FaceCutter(CUTTER.finder, FaceRules(no_face="nothing")))) as client:
        yield client


def stored(image_HWC: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(image_HWC).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


TWO = stored(group((0, 0, 400), (400, 0, 300), size=(800, 420)))
ONE = stored(portrait(400))
NONE = stored(np.full((90, 120, 3), 90, dtype=np.uint8))


def test_answers_are_those_of_predict(bundle: Bundle, client: TestClient, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, (TWO, ONE, NONE), strict=True):
        path.write_bytes(content)
    scorer = bundle.scorer(device="cpu", precision="fp32")
    expected = list(judge_faces(scorer, paths, cutter=CUTTER, judge=Judge.of(bundle)))
    answer = client.post("/v1/predict", files=parts(TWO, ONE, NONE))
    assert answer.status_code == 200, answer.text
    results = Verdicts.model_validate(answer.json()).results
    for result, verdict in zip(results, expected, strict=True):
        assert isinstance(verdict, FacesVerdict)
        assert result.faces is not None
        assert (result.verdict, result.error) == (verdict.label, None)
        assert result.score == pytest.approx(verdict.score, abs=1e-5)
        assert (result.faces.decides, result.faces.note) == (verdict.decides, verdict.note)
        for found, face in zip(result.faces.found, verdict.faces, strict=True):
            assert (found.left, found.top, found.width, found.height) == face.region
            assert found.verdict == face.label
            assert found.score == pytest.approx(face.score, abs=1e-5)
    assert [len(result.faces.found) for result in results if result.faces] == [2, 1, 0]
    assert results[2].faces is not None
    assert results[2].faces.note == "no face found: the whole picture was judged"


def test_no_face_is_an_error_where_it_was_asked_for(strict: TestClient) -> None:
    first, second, third = strict.post("/v1/predict", files=parts(NONE, ONE, b"no picture")).json()["results"]
    assert (first["verdict"], first["error"]["code"]) == (None, "no_face")
    assert first["error"]["message"] == "There is nothing to judge: no face found."
    assert first["faces"] == {"decides": None, "note": "no face found", "found": []}
    assert first["picture"]["width_px"] == 120
    assert second["verdict"] is not None
    assert (third["error"]["code"], third["faces"]) == ("no_picture", None)


def test_the_model_says_that_faces_are_judged(bundle: Bundle, client: TestClient) -> None:
    model = Model.model_validate(client.get("/v1/model").json())
    assert model.capabilities.faces
    assert "Faces were cut out with 15 % more on each side" in model.footnote
    with client_of(app_of(bundle)) as other:
        plain = Model.model_validate(other.get("/v1/model").json())
        assert not plain.capabilities.faces
        assert "Faces" not in plain.footnote
        assert other.post("/v1/predict", files=parts(ONE)).json()["results"][0]["faces"] is None


class Quarters:
    """Finds a face in each quarter of a picture."""

    facts: ClassVar[dict[str, Any]] = {"detector": "quarters"}

    def find(self, image_HWC: np.ndarray) -> tuple[Face, ...]:
        height, width = image_HWC.shape[0] / 2, image_HWC.shape[1] / 2
        return tuple(Face(left, top, width, height, 0.9) for left in (0, width) for top in (0, height))


def test_each_face_counts_in_a_batch(bundle: Bundle) -> None:
    """A turn of the network has no more than a batch of faces, however few pictures they are of."""
    app = app_of(bundle, cutter=FaceCutter(Quarters(), FaceRules(min_px=8)), limits=replace(SMALL, batch_size=4))
    engine = app.state.engine
    began, go_on = threading.Event(), threading.Event()

    def block() -> None:
        began.set()
        assert go_on.wait(30)

    with client_of(app) as client, ThreadPoolExecutor(4) as pool:
        pool.submit(engine.on_network, block)
        assert began.wait(30)
        answers = [pool.submit(client.post, "/v1/predict", files=parts(NONE)) for _ in range(3)]
        until(lambda: len(engine._queue) == 3)
        go_on.set()
        assert [len(answer.result().json()["results"][0]["faces"]["found"]) for answer in answers] == [4, 4, 4]
        assert "veriscope_batch_pictures_count 3.0" in client.get("/metrics").text


def test_a_heat_map_is_of_the_face_that_decides(client: TestClient, strict: TestClient) -> None:
    (judged,) = client.post("/v1/predict", files=parts(TWO)).json()["results"]
    face = judged["faces"]["found"][judged["faces"]["decides"]]
    heat = Explained.model_validate(client.post("/v1/explain", files=parts(TWO)).json()).heat
    assert heat is not None
    assert "The dark part was not shown to the network." in heat.sentence
    image = Image.open(BytesIO(base64.b64decode(heat.png)))
    assert image.size == (heat.width_px, heat.height_px) == (768, 403)
    scale = 768 / 800
    seen = np.zeros((403, 768), dtype=bool)
    seen[
        round(face["top"] * scale) : round((face["top"] + face["height"]) * scale),
        round(face["left"] * scale) : round((face["left"] + face["width"]) * scale),
    ] = True
    bright = np.asarray(image.convert("L")).astype(float)
    assert bright[seen].mean() > 2 * bright[~seen].mean(), "all but the face is dark"
    whole = Explained.model_validate(client.post("/v1/explain", files=parts(NONE)).json()).heat
    assert whole is not None
    assert "dark part" not in whole.sentence
    answer = Explained.model_validate(strict.post("/v1/explain", files=parts(NONE)).json())
    assert answer.error is not None
    assert answer.error.message == "There is nothing to explain: no face found."


def test_a_video_s_faces_are_followed(bundle: Bundle, client: TestClient, strict: TestClient) -> None:
    clip = make_clip(30, size=(320, 240), picture=lambda number: group((number, 5, 230), size=(320, 240)))
    expected = judge_video(
        bundle.scorer(device="cpu", precision="fp32"), clip, judge=Judge.of(bundle), cutter=CUTTER, name="video"
    )
    (result,) = Verdicts.model_validate(client.post("/v1/predict", files=parts(clip)).json()).results
    assert result.video is not None
    (face,), (track,) = result.video.faces, expected.tracks
    assert (face.left, face.top, face.width, face.height) == track.region
    assert (face.start_s, face.last_s, face.num_frames) == (track.start_s, track.last_s, track.num_frames)
    assert result.video.decides == 0
    assert result.score == face.score == pytest.approx(track.score, abs=1e-5)
    empty = make_clip(20)
    (result,) = Verdicts.model_validate(client.post("/v1/predict", files=parts(empty)).json()).results
    assert result.video is not None
    assert result.video.notes == ["no face found in its frames: whole frames were judged"]
    assert result.verdict is not None
    (result,) = Verdicts.model_validate(strict.post("/v1/predict", files=parts(empty)).json()).results
    assert result.error is not None
    assert (result.verdict, result.error.code) == (None, "no_face")
