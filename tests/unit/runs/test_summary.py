import json
import math
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from veriscope.config.load import CONF_DIR, to_plain, validate
from veriscope.config.schema import RunConfig
from veriscope.errors import RunError
from veriscope.evaluation.metrics import METRICS
from veriscope.run_folder import Progress, RunFolder
from veriscope.runs.fold_report import unlike
from veriscope.runs.results import read_run, run_seconds
from veriscope.runs.summary import grouped, read_runs, summarise, varying


def config(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        plain = to_plain(compose("train", list(overrides)))
    plain.pop("resume")
    return validate(RunConfig, plain)


def finished(place: Path, made: RunConfig, *, auroc: float | None, data_hash: str = "ab") -> RunFolder:
    """Write what a finished run leaves of its figures; unfinished where there is none."""
    folder = RunFolder(place)
    folder.validation.mkdir(parents=True)
    folder.save_config(made)
    folder.history.write_text("epoch,phase,val/auroc,seconds,images_per_s\n0,main,0.5,2.5,30\n1,main,0.6,1.5,50\n")
    if auroc is None:
        return folder
    values = {metric.key: {"value": auroc if metric.key == "auroc" else None} for metric in METRICS}
    figures = {"metrics": values, "thresholds": {"default": {"metrics": {}}}}
    (folder.validation / "figures.json").write_text(json.dumps(figures))
    folder.save_progress(Progress(data_hash=data_hash, complete=True))
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for number, (rate, seed, auroc) in enumerate(
        [(0.1, 1, 0.8), (0.1, 2, 0.9), (0.2, 1, 0.6), (0.2, 2, 0.7), (0.2, 3, None)]
    ):
        finished(tmp_path / str(number), config(f"optim.lr={rate}", f"seed={seed}", "tag=x"), auroc=auroc)
    return tmp_path


def test_runs_that_differ_in_seed_alone_are_one_question(sweep: Path) -> None:
    runs = read_runs(sweep)
    assert varying(runs) == ["seed", "optim.lr"]
    groups = grouped([run for run in runs if run.status == "complete"], varying(runs))
    assert [(group.name, len(group.runs)) for group in groups] == [("optim.lr=0.1", 2), ("optim.lr=0.2", 2)]
    found = groups[0].spreads["auroc"]
    assert found.mean == pytest.approx(0.85)
    assert found.sd == pytest.approx(0.1 / math.sqrt(2))
    # Student's t with one degree of freedom: 12.706 sd / sqrt(2), cut at 1.
    assert (found.low, found.high) == (pytest.approx(0.85 - 12.7062 * 0.05, abs=1e-4), 1.0)
    assert "accuracy" not in groups[0].spreads


def test_it_is_written_with_every_run_also_the_unfinished(sweep: Path) -> None:
    summarise(sweep, console=Console(quiet=True))
    rows = json.loads((sweep / "summary.json").read_text())["runs"]
    assert [(row["run"], row["status"], row["optim.lr"], row.get("auroc")) for row in rows] == [
        ("0", "complete", 0.1, 0.8), ("1", "complete", 0.1, 0.9), ("2", "complete", 0.2, 0.6),
        ("3", "complete", 0.2, 0.7), ("4", "unfinished", 0.2, None),
    ]  # fmt: skip
    assert (rows[0]["seconds"], rows[0]["images_per_s"]) == (4.0, 40.0)
    assert (sweep / "summary.csv").read_text().startswith("run,status,seed,optim.lr,accuracy,")


def test_folds_get_the_wider_interval(tmp_path: Path) -> None:
    for fold, auroc in enumerate((0.8, 0.9)):
        finished(tmp_path / str(fold), config(f"split.fold={fold}", "split.num_folds=3"), auroc=auroc)
    runs = read_runs(tmp_path)
    (group,) = grouped(runs, varying(runs))
    found = group.spreads["auroc"]
    assert not group.all_folds
    assert found.low == pytest.approx(max(0.0, 0.85 - 12.7062 * 0.0707107 * math.sqrt(1 / 2 + 1 / 2)), abs=1e-4)


def test_nothing_there_and_damage_are_named(sweep: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RunError, match="holds no run folders"):
        read_runs(empty)
    with pytest.raises(RunError, match="there is no folder"):
        read_runs(tmp_path / "nowhere")
    (sweep / "1" / "validation" / "figures.json").write_text("{half")
    with pytest.raises(RunError, match=r"figures\.json' is missing or damaged"):
        read_run(RunFolder(sweep / "1"))


def test_runs_on_other_pictures_are_another_question(tmp_path: Path) -> None:
    for seed, data_hash in enumerate(("ab", "ab", "cd")):
        finished(tmp_path / str(seed), config(f"seed={seed}"), auroc=0.8, data_hash=data_hash)
    runs = read_runs(tmp_path)
    groups = grouped(runs, varying(runs))
    assert [(group.name, len(group.runs)) for group in groups] == [("data_hash=ab", 2), ("data_hash=cd", 1)]


def test_folds_that_were_not_trained_alike_are_told(tmp_path: Path) -> None:
    folders = [finished(tmp_path / str(fold), config(f"split.fold={fold}"), auroc=0.8) for fold in range(2)]
    for folder, precision in zip(folders, ("32-true", "bf16-mixed"), strict=True):
        (folder.path / "provenance.json").write_text(json.dumps({"precision": precision, "lr_factor": 1.0}))
    assert unlike(read_runs(tmp_path)) == ("The folds were not trained alike: precision 32-true and bf16-mixed.",)
    assert unlike(read_runs(tmp_path)[:1]) == ()


def test_the_time_of_a_cross_validation_is_that_of_its_folds(tmp_path: Path) -> None:
    for fold in range(2):
        finished(tmp_path / f"fold_{fold}", config(f"split.fold={fold}"), auroc=0.8)
    assert run_seconds(RunFolder(tmp_path)) == 8.0
