"""Cross-validations and multiruns as people start them: real processes, killed, resumed, read back."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.helpers.wandb_files import wait_for, wandb_records
from tests.integration.conftest import write_picture
from tests.integration.runs import ROOT, Train, command, history, same, weights

from veriscope.config.schema import RunConfig
from veriscope.errors import RunError
from veriscope.evaluation.predictions import PredictionTable
from veriscope.run_folder import RunFolder
from veriscope.runs.crossval import cross_validate, prepare_folds, start_crossval

pytestmark = pytest.mark.slow

FOLDS = ("split=kfold", "split.num_folds=2", "trainer.max_epochs=3")


def environment(home: Path) -> dict[str, str]:
    unset = ("WANDB_API_KEY", "WANDB_MODE")
    return {**{key: value for key, value in os.environ.items() if key not in unset}, "HOME": str(home)}


def test_a_killed_cross_validation_goes_on_and_equals_single_folds(
    pictures: Path,
    tmp_path: Path,
    train: Train,
    tiny_config: Callable[..., RunConfig],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "crossval"
    words = command(pictures, tmp_path / "runs", *FOLDS, f"paths.run_dir={folder}", "logger=wandb")
    parent = subprocess.Popen(words, cwd=ROOT, env=environment(tmp_path), stderr=subprocess.PIPE)
    second = RunFolder(folder / "fold_1")
    wait_for(lambda: len(history(second)) > 0 if second.history.is_file() else False, seconds=240)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_for(lambda: not _training_in(second.path), seconds=20)  # no fold trains on unseen
    assert not (folder / "crossval.json").exists()
    first_bundle = (folder / "fold_0" / "bundle" / "bundle.json").stat().st_mtime_ns

    done = subprocess.run(
        [words[0], "train.py", f"resume={folder}"], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "fold 0 is complete" in done.stderr
    assert "About" in done.stderr
    assert (folder / "fold_0" / "bundle" / "bundle.json").stat().st_mtime_ns == first_bundle
    _check_pooled(folder)
    _check_wandb(folder)
    # The killed and resumed fold is, bit for bit, the run that a person would have started alone.
    alone = train(*FOLDS, "split.fold=1")
    assert same(weights(second), weights(alone))

    said_again = (*FOLDS, f"paths.run_dir={folder}")
    start_crossval(tiny_config(*said_again), overrides=words[2:], multirun_dir=None)
    assert "all are complete" in capsys.readouterr().err
    with pytest.raises(RunError, match=r"optim\.lr was 0\.003, is 0\.5"):
        start_crossval(tiny_config(*said_again, "optim.lr=0.5"), overrides=words[2:], multirun_dir=None)


def _training_in(folder: Path) -> bool:
    commands = [file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.is_file()]
    return any(str(folder).encode() in text for text in commands)


def _check_pooled(folder: Path) -> None:
    """Every picture outside the test is judged once, by the fold that folds.parquet names."""
    record = pq.read_table(folder / "folds.parquet").to_pylist()
    table = PredictionTable.read(folder)
    judged = dict(zip(table.column("id"), table.column("split"), strict=True))
    assert judged == {row["path"]: f"fold_{row['fold']}" for row in record if row["fold"] is not None}
    assert {row["path"].split("/")[0] for row in record if row["fold"] is None} == {"test"}
    for number in range(2):
        split = pq.read_table(folder / f"fold_{number}" / "split.parquet").to_pylist()
        learned = {row["path"] for row in split if row["split"] == "train"}
        assert not learned & {path for path, fold in judged.items() if fold == f"fold_{number}"}
    found = json.loads((folder / "crossval.json").read_text())
    folds = [json.loads((folder / f"fold_{k}" / "validation" / "figures.json").read_text()) for k in range(2)]
    own = [fold["metrics"]["auroc"]["value"] for fold in folds]
    assert found["metrics"]["auroc"]["mean"] == pytest.approx(sum(own) / 2)
    assert (folder / "report.html").is_file()
    assert (folder / "figures" / "roc.png").is_file()


def _check_wandb(folder: Path) -> None:
    """One group; a run a fold and one for the whole; the killed fold went on under its id; all closed."""
    kinds = {folder: "crossval", folder / "fold_0": "fold", folder / "fold_1": "fold"}
    ids = set()
    for place, job_type in kinds.items():
        wait_for(lambda place=place: any(record.HasField("exit") for record in wandb_records(place)))
        records = wandb_records(place)
        runs = [record.run for record in records if record.HasField("run")]
        assert {(run.run_group, run.job_type) for run in runs} == {(folder.name, job_type)}
        assert len({run.run_id for run in runs}) == 1
        ids.add(runs[0].run_id)
        assert [record.exit.exit_code for record in records if record.HasField("exit")][-1] == 0
    assert len(ids) == 3
    summary = {
        item.key or ".".join(item.nested_key)
        for record in wandb_records(folder)
        if record.HasField("summary")
        for item in record.summary.update
    }
    assert {"crossval/auroc_mean", "crossval/auroc_sd", "crossval/auroc_low"} <= summary


def test_changed_data_is_counted_and_refused(pictures: Path, tmp_path: Path, tiny_config) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for name in ("train", "val", "test"):
        (root / name).symlink_to(pictures / name)
    config = tiny_config(*FOLDS, f"data.root={root}")
    folder = RunFolder(tmp_path / "crossval")
    folder.path.mkdir()
    from veriscope.runs.crossval import _record

    _record(folder, prepare_folds(config))
    folder.save_config(config)
    (root / "test").unlink()
    write_picture(root / "test" / "real" / "new.jpg", fake=False, seed=1)
    write_picture(root / "test" / "fake" / "new.jpg", fake=True, seed=2)
    with pytest.raises(RunError, match=r"2 files are new, as 'test/fake/new.jpg'; 12 files are gone"):
        cross_validate(config, folder, prepare_folds(config), overrides=[])


def test_a_multirun_on_two_devices_is_expanded_once_and_survives_a_failed_point(pictures: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    words = command(
        pictures, tmp_path / "runs", "-m", "optim=sgd", "optim.lr=0.003,1e30", "trainer.gradient_clip_norm=null",
        "trainer.devices=2", "trainer.max_epochs=1", f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    done = subprocess.run(words, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "error: 1 of 2 runs failed, the others are done:\nrun 1 (optim.lr=1e+30): the loss became" in done.stderr
    assert "Traceback" not in done.stderr
    names = {path.name for path in sweep.iterdir()} - {"multirun.yaml"}  # Hydra's own
    assert names == {"0", "0.log", "1", "1.log", "summary.csv", "summary.json"}
    assert not (tmp_path / "runs").exists()  # a second tree would lie there
    rows = json.loads((sweep / "summary.json").read_text())["runs"]
    assert [(row["run"], row["status"], row["optim.lr"]) for row in rows] == [
        ("0", "complete", 0.003), ("1", "unfinished", 1e30),
    ]  # fmt: skip


def test_every_point_is_checked_before_the_first_starts(pictures: Path, tmp_path: Path) -> None:
    words = command(pictures, tmp_path / "runs", "-m", "optim.lr=0.1,-1", "seed=1,2")
    done = subprocess.run(words, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip() == "error: run 2 (optim.lr=-1 seed=1): optim.lr=-1: input should be greater than 0"
    assert not list((tmp_path / "runs").rglob("config.yaml"))


def test_jobs_of_submitits_local_executor_become_a_cross_validation(pictures: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the extra 'cluster' is not installed")
    sweep = tmp_path / "jobs"
    words = command(
        pictures, tmp_path / "runs", "-m", "hydra/launcher=local_jobs", "split.fold=0,1", "split.num_folds=2",
        "trainer.max_epochs=1", f"hydra.sweep.dir={sweep}",
    )  # fmt: skip
    done = subprocess.run(words, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((sweep / "crossval.json").read_text())["num_folds"] == 2
    assert RunFolder(sweep / "0").load_config().logger.group == "jobs"
    assert RunFolder(sweep / "0").load_config().logger.job_type == "fold"
    words.remove("hydra/launcher=local_jobs")  # the default finds them complete, and trains nothing again
    again = subprocess.run(words, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "2 runs, one at a time; all are complete" in again.stderr
