"""An exported bundle judges in an environment without torch, made from requirements-onnx.lock as docs/onnx.md says."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest
from tests.helpers.bundles import write_pictures
from tests.helpers.exported import bundle_with_ood, exported

from veriscope.cli import main

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-onnx.lock"
UNREACHABLE = ("dns error", "Could not connect", "error sending request", "Network is unreachable", "timed out")


def pins(file: Path) -> dict[str, set[str]]:
    """Return name to versions."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ ;]+)", file.read_text(), flags=re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_the_short_list_is_part_of_the_long_one_and_holds_no_torch() -> None:
    short, long = pins(LOCK), pins(ROOT / "requirements.lock")
    assert {name: long[name] for name in short} == short
    assert not {"torch", "torchvision", "timm", "pyarrow", "scipy", "scikit-learn", "onnx", "onnxscript"} & short.keys()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {re.split(r"[>=<\[]", text)[0] for text in (*extras["onnx"], *extras["serve"])}
    assert asked <= short.keys(), "add the new name to ONNX_NEEDS in the Makefile, and run make lock"
    assert "://" not in LOCK.read_text()


def run(*words: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **changes}
    environment.pop("PYTHONPATH", None)
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
def test_without_torch_the_verdicts_are_torch_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    place = tmp_path / "venv"
    assert run(uv, "venv", "--quiet", "--python", sys.executable, place).returncode == 0
    python = place / "bin" / "python"
    for words in (["--require-hashes", "-r", LOCK], ["--no-deps", ROOT]):
        done = run(uv, "pip", "install", "--quiet", "--python", python, *words)
        if any(text in done.stderr for text in UNREACHABLE):
            pytest.skip(f"the package index can't be reached: {done.stderr.splitlines()[0]}")
        assert done.returncode == 0, done.stderr
    assert run(python, "-c", "import torch").returncode == 1

    bundle = bundle_with_ood(tmp_path)
    file = exported(bundle, tmp_path / "bundle.onnx").file
    pictures = tmp_path / "in"
    write_pictures(pictures, 5, side=77)
    (pictures / "no.jpg").write_text("no picture")
    capsys.readouterr()
    assert main(["predict", str(bundle.folder), str(pictures), "--json", "--precision", "fp32"]) == 1
    wanted = json.loads(capsys.readouterr().out)
    veriscope = place / "bin" / "veriscope"
    done = run(veriscope, "predict", file, pictures, "--json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {**found, "bundle": "", "verdicts": 0} == {**wanted, "bundle": "", "verdicts": 0}
    for one, other in zip(found["verdicts"], wanted["verdicts"], strict=True):
        assert (one["path"], one["verdict"], one["error"]) == (other["path"], other["verdict"], other["error"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert one["ood"] == pytest.approx(other["ood"], abs=1.5 / 121)

    maps = ("--method", "occlusion", "--output", tmp_path / "maps")
    done = run(veriscope, "explain", file, pictures / "000.png", *maps)
    assert (done.returncode, (tmp_path / "maps" / "explain.html").is_file()) == (0, True), done.stderr
    with subprocess.Popen([veriscope, "serve", file, "--port", "0"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = re.search(r" at (http://\S+) ", first := server.stderr.readline())
        assert address is not None, first + server.stderr.read()
        parts = [("files", (one["path"], Path(one["path"]).read_bytes())) for one in found["verdicts"]]
        answers = httpx.post(f"{address[1]}/v1/predict", files=parts, timeout=60).json()["results"]
        server.terminate()
    assert server.returncode == 0
    assert [answer["verdict"] for answer in answers] == [one["verdict"] for one in found["verdicts"]]

    for words, said in (
        (["predict", bundle.folder, pictures], "needs torch, which isn't here: pip install veriscope."),
        (["export", bundle.folder], "this needs scipy, which isn't here: pip install veriscope"),
    ):
        done = run(veriscope, *words)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert said in done.stderr
