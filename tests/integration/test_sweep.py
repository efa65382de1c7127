"""Whole sweeps, as a person types them: stopped, killed, gone on with, pruned, in part failed."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.conftest import TINY
from tests.integration.runs import ROOT, history

from veriscope.cli import main
from veriscope.run_folder import RunFolder

SMALL = ("sweep.base=[]", "sweep.space=null", "sweep.sampler=random", "sweep.pruning.name=none")
LR = "sweep.space.optim.lr={kind: float, low: 1e-4, high: 1e-2, log: true}"


def sweep_command(pictures: Path, folder: Path, *words: str) -> list[str]:
    tiny = [word.replace("++", "") for word in TINY if not word.startswith("optim.lr=")]
    places = (f"data.root={pictures}", f"paths.cache={folder.parent / 'cache'}", f"paths.run_dir={folder}")
    return [sys.executable, "-m", "veriscope.cli", "sweep", *SMALL, *tiny, *places, *words]


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def resume(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "veriscope.cli", "sweep", f"resume={folder}", *words]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)


def children_in(folder: Path) -> list[int]:
    """Return the processes whose command line names a trial of the sweep in `folder`."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit() and place.name != str(os.getpid()):
            try:
                words = (place / "cmdline").read_bytes()
            except OSError:
                continue
            if b"train.py" in words and f"{folder}/trial_".encode() in words:
                found.append(int(place.name))
    return found


@pytest.mark.slow
def test_a_sweep_that_is_stopped_and_killed_loses_no_trial_and_does_none_twice(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    words = (LR, "sweep.trials=2", "trainer.max_epochs=6")
    assert main([*sweep_command(pictures, folder, *words)[3:], "--dry-run"]) == 0
    planned = capsys.readouterr().out.splitlines()
    assert len(planned) == 2
    assert not folder.exists()

    process = subprocess.Popen(
        sweep_command(pictures, folder, *words),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A suite in the background of a shell ignores Ctrl-C, and so would everything that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(lambda: (folder / "trial_000" / "checkpoints" / "main" / "last.ckpt").is_file(), process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"stopped; go on with: veriscope sweep resume={folder}" in said
    assert "Traceback" not in said
    assert [row["state"] for row in rows(folder)] == ["unfinished"]
    assert children_in(folder) == []

    process = subprocess.Popen(resume(folder), cwd=ROOT, stderr=subprocess.DEVNULL, text=True)
    wait_for(lambda: (folder / "trial_001" / "checkpoints" / "main" / "last.ckpt").is_file(), process)
    process.kill()
    process.wait()
    ended = run(resume(folder))
    assert ended.returncode == 0, ended.stderr
    assert "trial 1 goes on: lr" in ended.stderr
    assert "2 of 2 runs done" in ended.stderr
    assert children_in(folder) == []
    found = rows(folder)
    assert [(row["trial"], row["state"]) for row in found] == [("0", "complete"), ("1", "complete")]
    for row, command in zip(found, planned, strict=True):
        assert command.endswith(f"optim.lr={row['optim.lr']}"), "the plan that the uninterrupted sweep would have had"
        trial = RunFolder(folder / row["folder"])
        assert [int(epoch["epoch"]) for epoch in history(trial)] == list(range(6)), "no epoch lost, none twice"
        assert len(trial.load_provenance()["resumed"]) == 1
        assert float(row["val/auroc"]) == max(float(epoch["val/auroc"]) for epoch in history(trial))
        assert trial.bundle.is_dir()
    summary = json.loads((folder / "sweep.json").read_text())
    assert (summary["num_complete"], summary["num_failed"]) == (2, 0)
    assert summary["best"][0]["values"]["val/auroc"] == max(float(row["val/auroc"]) for row in found)

    with RunFolder(folder).locked():
        assert main(["sweep", f"resume={folder}"]) == 2
    assert "another process is training in" in capsys.readouterr().err
    assert main(["sweep", f"resume={folder}", "sweep.trials=2"]) == 0
    assert "all are complete" in capsys.readouterr().err
    assert [row["trial"] for row in rows(folder)] == ["0", "1"], "not exceeded"
    (pictures / "train" / "real" / "000.jpg").rename(tmp_path / "gone.jpg")
    try:
        assert main(["sweep", f"resume={folder}", "sweep.trials=3"]) == 2
    finally:
        (tmp_path / "gone.jpg").rename(pictures / "train" / "real" / "000.jpg")
    assert "the pictures have changed since the sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_a_failed_trial_is_recorded_and_the_sweep_goes_on_to_two_objectives(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    rates = "sweep.space.optim.lr={kind: choice, options: [1e30, 0.003]}"
    objectives = "sweep.objectives=[val/auroc,images_per_s]"
    # Seed 3 draws 1e30, 0.003, 0.003.
    assert main(sweep_command(pictures, folder, rates, objectives, "sweep.trials=3", "sweep.seed=3")[3:]) == 0
    found = rows(folder)
    assert [row["state"] for row in found] == ["failed", "complete", "complete"]
    assert [row["optim.lr"] for row in found] == ["1e+30", "0.003", "0.003"]
    assert "loss" in found[0]["reason"]
    assert found[0]["val/auroc"] == ""
    assert f"error: {found[0]['reason']}" in (folder / "trial_000.log").read_text()
    assert (folder / "figures" / "front.png").is_file()
    assert found[1]["val/auroc"] == found[2]["val/auroc"], "the same settings give the same weights"
    fastest = max(("1", "2"), key=lambda number: float(found[int(number)]["images_per_s"]))
    summary = json.loads((folder / "sweep.json").read_text())
    assert [str(best["trial"]) for best in summary["best"]] == [fastest]
    assert "no importance of val/auroc" in capsys.readouterr().err


@pytest.mark.slow
def test_pruning_stops_the_process_of_a_trial_that_is_behind(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    words = (
        "sweep.space.optim.lr={kind: choice, options: [0.001, 1000.0]}",
        "sweep.objectives=[val/loss]",
        "sweep.pruning={name: median, warmup_epochs: 1, startup_trials: 1}",
        "trainer.max_epochs=15",
        "sweep.trials=2",
        "sweep.seed=3",  # draws 0.001, 1000
    )
    assert main(sweep_command(pictures, folder, *words)[3:]) == 0
    found = rows(folder)
    assert [row["optim.lr"] for row in found] == ["0.001", "1000.0"]
    assert [row["state"] for row in found] == ["complete", "pruned"]
    assert "trial 1 is stopped after epoch" in capsys.readouterr().err
    stopped = RunFolder(folder / "trial_001")
    assert 1 <= len(history(stopped)) < 15
    assert not stopped.bundle.exists()
    assert children_in(folder) == []
    with closing(sqlite3.connect(folder / "study.db")) as connection:
        told = connection.execute(
            "select trial_id, count(*) from trial_intermediate_values group by trial_id"
        ).fetchall()
    assert told[0][1] == len(history(RunFolder(folder / "trial_000"))), "the last epoch too"


@pytest.mark.slow
def test_when_no_trial_comes_to_its_end_the_sweep_says_why(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    words = sweep_command(pictures, folder, LR, "sweep.trials=1", "model.backbone.weights=nowhere.safetensors")
    assert main(words[3:]) == 2
    said = capsys.readouterr().err
    assert "all trials failed, the last:" in said
    assert "nowhere.safetensors" in said
    assert "Traceback" not in said
    assert rows(folder)[0]["state"] == "failed"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["sweep.trails=3"], "unknown key 'sweep.trails' (on the command line). Did you mean 'trials'?"),
        (["optm.lr=3"], "unknown key 'optm.lr' (on the command line). Did you mean 'optim'?"),
        (["-m", "optim.lr=1"], "'-m' is no word of a sweep"),
        (["sweep"], "'sweep' is no word of a sweep"),
        (["data=folder", "data.root=/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_said_before_anything_starts(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", f"paths.runs={tmp_path}/runs", *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("veriscope: ")
    assert len(said.splitlines()) <= 2
    assert not (tmp_path / "runs").exists()


def test_resume_of_nothing_and_a_full_folder_are_refused(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", f"resume={tmp_path}/nowhere"]) == 2
    assert "holds no sweep; name the folder of one" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    assert main(sweep_command(pictures, tmp_path / "full", LR, "trainer.max_epochs=1")[3:]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_without_optuna_the_way_to_get_it_is_named() -> None:
    code = "import sys; sys.modules['optuna'] = None; from veriscope.cli import main; sys.exit(main(['sweep']))"
    ended = run([sys.executable, "-c", code])
    assert ended.returncode == 2
    assert ended.stderr == "veriscope: veriscope sweep needs Optuna: pip install 'veriscope[sweep]'\n"


def test_help_shows_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "data=rvf10k", "--help"]) == 0
    assert "veriscope sweep resume=FOLDER" in capsys.readouterr().out
