"""`veriscope serve`, as a person types it."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.serving import parts, until

from veriscope.bundle.torch_network import TorchNetwork
from veriscope.cli import main

HEAVY = ("pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb", "albumentations")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("serve") / "bundle").folder)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(bundle: str, log: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Yield a server of its own process that is ready, and its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "veriscope.cli", "serve", bundle, "--port", str(port), "--device", "cpu", *words]
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, at_most_s=120)
        yield process, url
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_it_serves_until_sigterm_and_ends_in_order(bundle: str, tmp_path: Path) -> None:
    token, log = tmp_path / "token", tmp_path / "log"
    token.write_text("a-token-of-some-length\n")
    with serving(bundle, log, "--drain-s", "1.5", "--token-file", str(token)) as (process, url):
        (path,) = write_pictures(tmp_path / "pictures", 1)
        headers = {"Authorization": "Bearer a-token-of-some-length"}
        answer = httpx.post(f"{url}/v1/predict", files=parts(path.read_bytes()), headers=headers)
        assert answer.json()["results"][0]["verdict"] in ("real", "fake")
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/readyz").status_code == 503, at_most_s=1.4)
        assert process.wait(60) == 0
    text = log.read_text()
    assert f"at {url}" in text
    assert "POST /v1/predict 200" in text
    assert "Traceback" not in text
    assert "a-token" not in text


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once_and_quietly(bundle: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(bundle, log, "--drain-s", "300") as (process, url):
        process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{url}/readyz").status_code == 503, at_most_s=30)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert log.read_text().count("\n") == 1, log.read_text()


@pytest.mark.slow
def test_serving_needs_nothing_of_training() -> None:
    code = (
        "import sys; import veriscope.serving.server; "
        f"print([name for name in (*{HEAVY!r}, 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_what_can_not_be_served_says_why(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            ([str(tmp_path / "nothing")], "there is no bundle"),
            ([bundle, "--port", port], f"--port {port} can't be used"),
            ([bundle, "--threshold", "hm"], "threshold 'hm'"),
            ([bundle, "--token-file", str(tmp_path / "nothing")], "can't be read"),
            ([bundle, "--port", "0", "--device", "cuda:99"], "cuda"),
        ):
            assert main(["serve", *arguments]) == 2
            assert words in capsys.readouterr().err
    for arguments in (
        ["--max-files", "200"],
        ["--max-video-mb", "50", "--max-request-mb", "40"],
        ["--memory-mb", "64"],
    ):
        assert main(["serve", bundle, "--port", "0", *arguments]) == 2
        assert arguments[-2] in capsys.readouterr().err
    for arguments in (["--port", "x"], ["--cors", "*"], ["--timeout-s", "0"]):
        with pytest.raises(SystemExit) as ended:
            main(["serve", bundle, *arguments])
        assert ended.value.code == 2


def test_a_server_that_can_not_start_is_no_success(
    bundle: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no memory on this GPU")

    monkeypatch.setattr(TorchNetwork, "answer", fail)
    assert main(["serve", bundle, "--port", "0", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "no memory on this GPU" in said
    assert "the server did not start" in said
