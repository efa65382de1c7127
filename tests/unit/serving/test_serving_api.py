"""The API: what is sent, and what is answered."""

import hashlib
import json
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.helpers.badfiles import png_header, write_readable, write_unreadable
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.serving import SMALL, app_of, client_of, parts

from veriscope.bundle import Bundle
from veriscope.cli import main
from veriscope.serving.schemas import Model, Problem, Verdicts
from veriscope.types import UnsureBand


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("api") / "bundle")


@pytest.fixture(scope="module")
def client(bundle: Bundle) -> Iterator[TestClient]:
    with client_of(app_of(bundle)) as client:
        yield client


def picture(side: int = 40) -> bytes:
    buffer = BytesIO()
    Image.effect_noise((side, side), 40).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_answers_are_those_of_predict(
    bundle: Bundle, client: TestClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [*write_pictures(tmp_path / "png", 3), *list(write_readable(tmp_path).values())]
    assert (
        main(["predict", str(bundle.folder), *map(str, paths), "--json", "--device", "cpu", "--precision", "fp32"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)["verdicts"]
    for path, row in zip(paths, rows, strict=True):
        answer = client.post("/v1/predict", files=parts(path.read_bytes(), name=path.name))
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()["results"]
        assert result["name"] == path.name
        for key in ("verdict", "unsure_because"):
            assert result[key] == row[key]
        assert result["score"] == pytest.approx(row["score"], abs=1e-5)
        assert result["logit"] == pytest.approx(row["logit"], abs=1e-4)
        assert result["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_many_files_come_in_order_with_their_errors(client: TestClient, tmp_path: Path) -> None:
    good = picture()
    contents = [b"no picture", good, good[:300], png_header(50_000, 50_000)]
    answer = client.post("/v1/predict", files=parts(*contents))
    assert answer.status_code == 200
    Verdicts.model_validate(answer.json())
    results = answer.json()["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3]
    assert [result["error"] and result["error"]["code"] for result in results] == [
        "no_picture",
        None,
        "unreadable",
        "too_large",
    ]
    assert [result["verdict"] is None for result in results] == [True, False, True, True]
    assert results[1]["words"] in ("looks fake", "looks real")


def test_a_file_that_is_too_large_leaves_the_others_their_verdicts(client: TestClient) -> None:
    good = picture()
    answer = client.post("/v1/predict", files=parts(good, good + bytes(SMALL.max_file_bytes), good))
    first, second, third = answer.json()["results"]
    assert second["error"]["code"] == "too_large"
    assert "A picture may hold 0.3 MB" in second["error"]["message"]
    assert first["verdict"] == third["verdict"] is not None
    assert first["score"] == pytest.approx(third["score"], abs=1e-5)


@pytest.mark.parametrize("name", ["text.jpg", "truncated.jpg", "truncated.png", "empty.jpg", "bomb.png"])
def test_what_is_no_picture_has_a_reason(name: str, client: TestClient, tmp_path: Path) -> None:
    content = write_unreadable(tmp_path)[name].read_bytes()
    answer = client.post("/v1/predict", files=parts(content, name=name))
    assert answer.status_code == 200
    (result,) = answer.json()["results"]
    assert result["verdict"] is result["score"] is None
    assert result["error"]["message"].endswith(".")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"ID3\x04", "a sound file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "markup"),
        (b"PK\x03\x04....", "ZIP"),
    ],
)
def test_the_type_is_told_by_content(content: bytes, words: str, client: TestClient) -> None:
    (result,) = client.post("/v1/predict", files=parts(content)).json()["results"]
    assert words in result["error"]["message"]


def test_a_picture_under_any_name_is_one(client: TestClient) -> None:
    for name in ("clip.mp4", "../../etc/passwd", "a\tb.html", "写真.exe", ""):
        answer = client.post("/v1/predict", files=[("files", (name or "x", picture(), "text/html"))])
        (result,) = answer.json()["results"]
        assert result["verdict"] is not None
        assert not {"/", "\t"} & set(result["name"])


def body_of(*, field: str = "files", boundary: str = "b", content: bytes = b"x", end: str = "--b--\r\n") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="a"\r\n\r\n'
    return head.encode() + content + b"\r\n" + end.encode()


@pytest.mark.parametrize(
    ("kind", "body", "status", "code"),
    [
        ("application/json", b"{}", 415, "bad_type"),
        ("multipart/form-data", b"", 400, "bad_form"),
        ("multipart/form-data; boundary=" + "b" * 71, b"", 400, "bad_form"),
        ("multipart/form-data; boundary=b", b"", 400, "bad_form"),
        ("multipart/form-data; boundary=b", b"nonsense", 400, "bad_form"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, None),
        ("multipart/form-data; boundary=b", body_of(end=""), 400, "bad_form"),
        ("multipart/form-data; boundary=b", body_of(field="image"), 400, "unknown_field"),
        ("multipart/form-data; boundary=b", body_of().replace(b'; filename="a"', b""), 400, "unknown_field"),
        ("multipart/form-data; boundary=b", body_of().replace(b"form-data", b"attachment"), 400, "unknown_field"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 5000 + b"\r\n\r\n", 400, "bad_form"),
        ("multipart/form-data; boundary=b", body_of(end="") * 5, 400, "too_many_files"),
        ("multipart/form-data; boundary=b", body_of(content=bytes(1_000_000)), 413, "too_large"),
    ],
)
def test_a_request_that_is_not_as_it_should_be(
    kind: str, body: bytes, status: int, code: str | None, client: TestClient
) -> None:
    answer = client.post("/v1/predict", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    problem = Problem.model_validate(answer.json())
    assert code is None or problem.error.code == code
    assert problem.error.request_id == answer.headers["x-request-id"]


def test_sizes_are_counted_as_they_come_whatever_is_announced(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        yield body_of(end="")
        for _ in range(10_000):
            yield bytes(10_000)
            sent.append(10_000)

    sent: list[int] = []
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/predict", content=endless(), headers=headers)
    assert answer.status_code == 413


def test_compressed_bodies_are_refused(client: TestClient) -> None:
    answer = client.post("/v1/predict", files=parts(picture()), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_unknown_places_and_methods_have_the_same_shape(client: TestClient) -> None:
    for method, path, status in (
        ("GET", "/nope", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e%2fapp.py", 404),
        ("GET", "/v1/model/", 404),
        ("GET", "/v1/predict", 405),
        ("DELETE", "/", 405),
        ("GET", "/v1/explain", 405),
    ):
        answer = client.request(method, path, follow_redirects=False)
        assert answer.status_code == status, path
        Problem.model_validate(answer.json())


def test_the_model_says_what_verdicts_rest_on(bundle: Bundle, client: TestClient) -> None:
    model = Model.model_validate(client.get("/v1/model").json())
    assert model.weights_sha256 == bundle.weights_sha256
    assert model.threshold["value"] == 0.4
    assert model.class_map == {"real": 0, "fake": 1}
    assert model.sees_px is None, "it sees the whole"
    assert model.notices == ["Made for tests."]
    assert model.limits.max_files == SMALL.max_files
    assert "# timm" in model.card or "## Limits" in model.card
    assert "fake from 0.4 on" in model.footnote
    assert str(bundle.folder) not in model.model_dump_json()


def test_unsure_is_said_with_its_reason(bundle: Bundle, tmp_path: Path) -> None:
    band = UnsureBand(
        low=0.0,
        high=1.0,
        threshold="val",
        wanted_accuracy=0.9,
        coverage=0.5,
        accuracy=0.9,
        num_pictures=9,
        chosen_on="val",
    )
    unsure = tiny_bundle(tmp_path / "bundle", unsure=band)
    with client_of(app_of(unsure)) as client:
        (result,) = client.post("/v1/predict", files=parts(picture())).json()["results"]
        assert (result["verdict"], result["words"], result["reasons"]) == ("unsure", "can't tell", ["near_threshold"])
        assert client.get("/v1/model").json()["unsure"]["high"] == 1.0


def test_health_metrics_and_the_description_of_the_api(client: TestClient) -> None:
    client.post("/v1/predict", files=parts(picture(), b"no"))
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    text = client.get("/metrics").text
    assert re.search(r'^veriscope_pictures_total\{verdict="error"\} [1-9]', text, re.MULTILINE)
    assert "veriscope_ready 1.0" in text
    assert "veriscope_waiting_pictures 0.0" in text
    assert "veriscope_held_bytes 0.0" in text
    document = client.get("/openapi.json").json()
    predict = document["paths"]["/v1/predict"]["post"]
    assert "multipart/form-data" in predict["requestBody"]["content"]
    assert {"200", "400", "413", "415", "421", "503", "504"} <= set(predict["responses"])
    assert document["components"]["schemas"]["Verdicts"]["examples"]
    for route in ("/", "/docs", "/redoc"):
        assert "https://" not in client.get(route).text, "nothing comes from another host"


def test_every_answer_carries_what_protects_the_page(client: TestClient) -> None:
    for path in ("/", "/v1/model", "/nope", "/metrics"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "camera=(self)" in headers["permissions-policy"]
        assert "access-control-allow-origin" not in headers
    assert client.get("/v1/model").headers["cache-control"] == "no-store"
    page = client.get("/")
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
