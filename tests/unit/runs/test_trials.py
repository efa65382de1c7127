"""What a trial's files say of it."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from veriscope.config.load import compose_run
from veriscope.errors import RunError
from veriscope.evaluation.metrics import METRICS
from veriscope.run_folder import Progress, RunFolder
from veriscope.runs.results import best_epoch
from veriscope.runs.trials import logged, outcome, params_text, short_names, trial_seconds

AUROC = [0.6, 0.9, 0.8, 0.9, 0.7]


def write_run(path: Path, *, aurocs: list[Any], figure: float | None = 0.9, complete: bool = True) -> RunFolder:
    folder = RunFolder(path)
    (path / "validation").mkdir(parents=True)
    folder.save_config(compose_run([]))
    folder.save_progress(Progress(data_hash="abc", complete=complete))
    with folder.history.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["epoch", "val/auroc", "val/loss", "val/accuracy", "seconds", "images_per_s"])
        for epoch, value in enumerate(aurocs):
            writer.writerow([epoch, value, epoch, 0.1 * epoch, 2.0, [10, 30, 20][epoch % 3]])
    values = {metric.key: {"value": figure} for metric in METRICS}
    plain = {"metrics": values, "thresholds": {"default": {"metrics": values}}}
    (folder.validation / "figures.json").write_text(json.dumps(plain))
    return folder


def test_values_are_those_of_the_epoch_that_ships(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", aurocs=AUROC)
    config = compose_run([])
    wanted = ["val/auroc", "val/accuracy", "val/loss", "images_per_s", "eer"]
    found = outcome(folder, config, objectives=wanted, data_hash="abc")
    assert found == pytest.approx((0.9, 0.3, 3.0, 20.0, 0.9)), (
        "of equals the latest; the median speed; the bundle's eer"
    )
    by_loss = compose_run(["callbacks.monitor=val/loss"])
    assert outcome(folder, by_loss, objectives=["val/auroc"], data_hash="abc") == (0.6,)
    assert logged(folder, config, metric="val/auroc") == AUROC
    assert trial_seconds(folder, measured_s=3) == 10
    assert trial_seconds(folder, measured_s=30) == 30


def test_what_is_undefined_or_of_other_pictures_is_no_value(tmp_path: Path) -> None:
    config = compose_run([])
    folder = write_run(tmp_path / "a", aurocs=["", ""], figure=None)
    for objective in ("val/auroc", "eer"):
        with pytest.raises(RunError, match=f"{objective} is undefined"):
            outcome(folder, config, objectives=[objective], data_hash="abc")
    assert all(math.isnan(value) for value in logged(folder, config, metric="val/auroc"))
    with pytest.raises(RunError, match="pictures have changed"):
        outcome(folder, config, objectives=["val/loss"], data_hash="other")
    with pytest.raises(RunError, match="no finished run"):
        outcome(RunFolder(tmp_path / "none"), config, objectives=["val/loss"], data_hash="abc")
    assert logged(RunFolder(tmp_path / "none"), config, metric="val/auroc") == []
    assert best_epoch([{"val/auroc": "nan"}, {"val/auroc": ""}], monitor="val/auroc") == 1
    assert best_epoch([{"val/auroc": "0.9"}, {"val/auroc": "0.9"}, {"val/auroc": "0.8"}], monitor="val/auroc") == 1


def test_a_cross_validation_counts_by_its_means(tmp_path: Path) -> None:
    config = compose_run(["split=kfold", "split.num_folds=3"])
    folder = RunFolder(tmp_path)
    write_run(tmp_path / "fold_0", aurocs=AUROC, figure=0.6)
    write_run(tmp_path / "fold_1", aurocs=AUROC, figure=0.5, complete=False)
    write_run(tmp_path / "fold_2", aurocs=AUROC, figure=0.9)
    assert logged(folder, config, metric="val/auroc") == [0.6], "fold 2 counts when fold 1 does"
    RunFolder(tmp_path / "fold_1").save_progress(Progress(data_hash="abc", complete=True))
    assert logged(folder, config, metric="val/auroc") == pytest.approx([0.6, 0.55, 2 / 3])
    with pytest.raises(RunError, match=r"crossval\.json' is missing"):
        outcome(folder, config, objectives=["val/auroc"], data_hash="abc")
    summary = {
        "data_hash": "abc",
        "metrics": {"auroc": {"mean": 0.7}},
        "folds": [{"images_per_s": s} for s in (1, 2, 6)],
    }
    (tmp_path / "crossval.json").write_text(json.dumps(summary))
    assert outcome(folder, config, objectives=["val/auroc", "images_per_s"], data_hash="abc") == (0.7, 3.0)
    with pytest.raises(RunError, match="eer is undefined"):
        outcome(folder, config, objectives=["eer"], data_hash="abc")
    assert trial_seconds(folder, measured_s=1) == 30


def test_names_are_as_short_as_they_can_be() -> None:
    keys = ["optim.lr", "schedule.phases.a.lr", "schedule.phases.b.lr", "augment"]
    assert list(short_names(keys).values()) == ["optim.lr", "a.lr", "b.lr", "augment"]
    assert params_text({"optim.lr": 0.000123456, "model.head.tap": "block2"}) == "lr 0.0001235, tap block2"
