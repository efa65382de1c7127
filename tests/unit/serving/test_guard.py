"""Who may ask, and under which name."""

import logging
import os
from pathlib import Path

import pytest
from tests.helpers.bundles import tiny_bundle
from tests.helpers.serving import app_of, client_of, parts

from veriscope.bundle import Bundle
from veriscope.errors import ConfigError
from veriscope.serving.settings import Access, Limits, read_token

TOKEN = "0123456789abcdef-secret"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("guard") / "bundle")


def test_a_token_is_asked_for_where_it_matters(bundle: Bundle) -> None:
    with client_of(app_of(bundle, access=Access(token=TOKEN))) as client:
        for path in ("/v1/model", "/v1/nope", "/metrics"):
            for given in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer \u00e4".encode("latin-1")):
                answer = client.get(path, headers={"Authorization": given})
                assert answer.status_code == 401, (path, given)
                assert answer.headers["www-authenticate"].startswith("Bearer")
        assert client.post("/v1/predict", files=parts(b"x")).status_code == 401
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert client.get(path).status_code == 200
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/v1/model", headers=right).status_code == 200
        assert client.get("/metrics", headers=right).status_code == 200
        assert "HTTPBearer" in client.get("/openapi.json").text


def test_only_its_own_names_are_answered(bundle: Bundle) -> None:
    with client_of(app_of(bundle, access=Access(hosts=frozenset({"desk.example"})))) as client:
        for host in (
            "localhost",
            "localhost:8000",
            "127.0.0.1:1",
            "[::1]:8000",
            "10.0.0.7",
            "desk.example",
            "DESK.example:1",
        ):
            assert client.get("/v1/model", headers={"Host": host}).status_code == 200, host
        for host in (
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "a b",
            "[::1",
            "desk.example@x",
        ):
            answer = client.get("/v1/model", headers={"Host": host})
            assert answer.status_code == 421, host
            assert client.get("/", headers={"Host": host}).status_code == 421


def test_other_sites_may_not_use_it_unless_named(bundle: Bundle) -> None:
    with client_of(app_of(bundle)) as client:
        for origin in ("https://evil.example", "null", "http://localhost:9999", "http://[bad"):
            answer = client.post("/v1/predict", files=parts(b"x"), headers={"Origin": origin})
            assert answer.status_code == 403, origin
            assert "access-control-allow-origin" not in answer.headers
        assert client.post("/v1/predict", files=parts(b"x"), headers={"Origin": "http://localhost"}).status_code == 200
    with client_of(app_of(bundle, access=Access(token=TOKEN, origins=frozenset({"https://desk.example"})))) as client:
        asked = {"Origin": "https://desk.example", "Access-Control-Request-Method": "POST"}
        answer = client.options("/v1/predict", headers=asked)
        assert answer.status_code == 204, "a preflight carries no token"
        assert answer.headers["access-control-allow-origin"] == "https://desk.example"
        assert client.options("/v1/predict", headers={**asked, "Origin": "https://evil.example"}).status_code == 403
        right = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://desk.example"}
        assert client.get("/v1/model", headers=right).headers["vary"] == "Origin"


def test_the_log_knows_requests_but_no_names(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="veriscope.serving"), client_of(app_of(bundle)) as client:
        answer = client.post("/v1/predict?who=me", files=parts(b"x", name="secret-informant.jpg"))
        given = client.get("/nope/secret", headers={"X-Request-ID": "from-the-proxy-1"})
        hostile = client.get("/healthz", headers={"X-Request-ID": "bad id\tx"})
    assert given.headers["x-request-id"] == "from-the-proxy-1"
    assert hostile.headers["x-request-id"] != "bad id\tx"
    assert f"{answer.headers['x-request-id']} POST /v1/predict 200" in caplog.text
    assert "from-the-proxy-1 GET other 404" in caplog.text
    for word in ("secret", "who=me", "testclient"):
        assert word not in caplog.text


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VERISCOPE_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("VERISCOPE_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    file = tmp_path / "token"
    file.write_text(TOKEN[::-1] + "\n")
    assert read_token(file) == TOKEN[::-1]
    for bad in ("short", "", "sixteen letters and spaces", "sechzehn-zeichen-\u00fc"):
        file.write_text(bad)
        with pytest.raises(ConfigError, match="at least 16 printable"):
            read_token(file)
    file.write_bytes(os.urandom(3) + b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"no text|at least 16"):
        read_token(file)
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "nothing")


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="--queue 4 is below --max-files 8"):
        Limits(max_files=8, max_waiting=4)
    with pytest.raises(ConfigError, match="--max-upload-mb"):
        Limits(max_file_bytes=10, max_body_bytes=5)
