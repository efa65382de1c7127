"""What a sweep remembers: Optuna itself, on results that are made up."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from veriscope.config.load import compose_run
from veriscope.config.sweep import ParamConfig, SweepConfig
from veriscope.errors import RunError
from veriscope.run_folder import RunFolder
from veriscope.runs.study import Study, TrialRecord
from veriscope.runs.sweep_plan import Plan
from veriscope.runs.sweep_plots import parallel_picture
from veriscope.runs.sweep_report import summary_record, table, trials_csv, write_sweep_report
from veriscope.runs.sweep_trials import is_hopeless

SPACE = {
    "optim.lr": ParamConfig(kind="float", low=1e-5, high=1e-1, log=True),
    "model.head.tap": ParamConfig(kind="choice", options=("block2", ("block3", None))),
    "data.batch_size": ParamConfig(kind="int", low=8, high=64, step=8),
}


def config(**changes: Any) -> SweepConfig:
    return SweepConfig.model_validate({"name": "test", "trials": 12, "space": SPACE, "startup_trials": 4} | changes)


def study(settings: SweepConfig, file: Path | None = None, *, num_steps: int = 9, places: int = 1) -> Study:
    return Study(settings, file, num_steps=num_steps, places=places)


def figure(params: dict[str, Any]) -> float:
    """Best at lr = 1e-3, block2."""
    return 1 - 0.1 * abs(math.log10(params["optim.lr"]) + 3) - 0.2 * (params["model.head.tap"] != "block2")


def run_all(settings: SweepConfig, file: Path | None, *, reopen: bool = False) -> Study:
    found = study(settings, file)
    for _ in range(settings.trials):
        number = found.ask()
        params = found.params(number)
        found.complete(
            number, [figure(params), float(params["data.batch_size"])][: len(settings.objectives)], seconds=1
        )
        if reopen:
            found = study(settings, file)
    return found


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_going_on_asks_for_what_would_have_been_asked_for(tmp_path: Path, sampler: str) -> None:
    whole = run_all(config(sampler=sampler), None)
    broken = run_all(config(sampler=sampler), tmp_path / "a b%3f?'.db", reopen=True)
    assert whole.records() == broken.records()
    assert len({record.params["optim.lr"] for record in whole.records()}) == 12, "no draw is repeated"
    other = run_all(config(sampler=sampler, seed=1), None)
    assert other.records()[0].params != whole.records()[0].params


def test_tpe_learns() -> None:
    found = run_all(config(trials=40, startup_trials=10), None).records()
    early = np.mean([record.values[0] for record in found[:10]])
    late = np.mean([record.values[0] for record in found[-10:]])
    assert late > early + 0.05


def test_values_are_in_range_and_short() -> None:
    for record in run_all(config(), None).records():
        assert 1e-5 <= record.params["optim.lr"] <= 1e-1
        assert len(f"{record.params['optim.lr']:g}") <= 12
        assert record.params["model.head.tap"] in ("block2", "[block3,null]")
        assert record.params["data.batch_size"] in range(8, 65, 8)


def test_a_trial_that_was_half_asked_is_asked_again_whole(tmp_path: Path) -> None:
    whole = study(config(), None)
    whole.ask()
    broken = study(config(), tmp_path / "study.db")
    broken._study._storage.create_new_trial(broken._study._study_id)  # kill -9 before the first value
    again = study(config(), tmp_path / "study.db")
    assert [record.state for record in again.records()] == ["unfinished"]
    assert again.params(0) == whole.params(0)
    assert again.ask() == 1


def test_best_is_the_first_of_equals_and_the_front_is_what_none_beats() -> None:
    found = study(config(objectives=("val/loss",)))
    assert found.best() == []
    for value in (0.5, 0.3, 0.3, 0.4):
        found.complete(found.ask(), [value], seconds=1)
    found.fail(found.ask(), "no", seconds=1)
    assert found.best() == [1]

    found = study(config(objectives=("val/auroc", "images_per_s")))
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(15, 2)).round(1)
    for point in points:
        found.complete(found.ask(), [float(value) for value in point], seconds=1)
    beaten = [any((other >= point).all() and (other > point).any() for other in points) for point in points]
    assert found.best() == [number for number, yes in enumerate(beaten) if not yes]


def test_median_pruning_stops_what_is_behind_but_not_before_the_warm_up_nor_at_the_end(tmp_path: Path) -> None:
    settings = config(pruning={"name": "median", "warmup_epochs": 2, "startup_trials": 2})
    file = tmp_path / "study.db"
    found = study(settings, file)
    for value in (0.8, 0.9):
        number = found.ask()
        assert not found.report(number, [value] * 9, num_steps=9)
        found.complete(number, [value], seconds=1)
    number = found.ask()
    assert not found.report(number, [0.5], num_steps=9)
    assert found.report(number, [0.5, 0.5], num_steps=9)
    found = study(settings, file)
    assert found.is_stopped(number), "kept on file: the process may die before the trial has ended"
    found.prune(number, seconds=2)
    last = found.ask()
    assert not found.report(last, [0.95, 0.95], num_steps=9)
    assert not found.report(last, [0.95, 0.95], num_steps=9), "said twice, counted once"
    assert not found.report(last, [0.95] * 8 + [0.1], num_steps=9), "nothing is saved by stopping after the last"
    worst = found.ask()
    assert found.report(worst, [math.nan, math.nan], num_steps=9), "not a number is behind everything"
    assert [record.state for record in found.records()] == ["complete"] * 2 + ["pruned"] + ["unfinished"] * 2
    assert found.records()[number].values == (), "a pruned trial's figure is no result"


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_every_pruner_spares_the_best_and_stops_some(name: str) -> None:
    settings = config(pruning={"name": name, "warmup_epochs": 1, "startup_trials": 2, "reduction_factor": 3})
    found = study(settings, None, num_steps=9)
    stopped = []
    for value in np.linspace(0.9, 0.5, 9):
        number = found.ask()
        for epoch in range(1, 10):
            if found.report(number, [float(value)] * epoch, num_steps=9):
                stopped.append(number)
                found.prune(number, seconds=1)
                break
        else:
            found.complete(number, [float(value)], seconds=1)
    assert 0 not in stopped
    assert stopped


def test_importance_finds_what_matters_or_says_why_not() -> None:
    found = run_all(config(trials=30, startup_trials=30), None)
    shares = found.importance(0)
    assert isinstance(shares, dict)
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares, key=lambda key: shares[key]) == "data.batch_size", "it plays no part in the figure"
    assert "four complete trials, not 3" in str(run_all(config(trials=3), None).importance(0))
    flat = study(config())
    for _ in range(5):
        flat.complete(flat.ask(), [0.5], seconds=1)
    assert flat.importance(0) == "all trials have the same val/auroc"
    one = ParamConfig(kind="choice", options=("block2",))
    single = study(config(space={"model.head.tap": one}))
    for number in range(5):
        single.complete(single.ask(), [0.1 * number], seconds=1)
    assert single.importance(0) == "fewer than two keys had more than one value"


def test_a_damaged_or_missing_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    run_all(config(trials=2), file)
    whole = file.read_bytes()
    file.write_bytes(b"no database at all " * 100)
    with pytest.raises(RunError, match="damaged"):
        study(config(), file)
    file.write_bytes(whole[:5000])
    with pytest.raises(RunError, match="damaged"):
        study(config(), file)
    file.unlink()
    (tmp_path / "trial_000").mkdir()
    with pytest.raises(RunError, match="missing"):
        study(config(), file)


def test_hopeless_is_three_failures_before_anything_else() -> None:
    def records(*states: Any) -> list[TrialRecord]:
        return [TrialRecord(number, state, {}, (), 1.0, "") for number, state in enumerate(states)]

    assert is_hopeless(records("failed", "failed", "failed"), num_failed=3)
    assert not is_hopeless(records("failed", "failed"), num_failed=2)
    assert not is_hopeless(records("failed", "pruned", "failed", "failed"), num_failed=3)
    assert not is_hopeless(records("failed", "failed", "failed"), num_failed=0), "of an earlier start: it was mended"
    assert not is_hopeless(records("complete", *["failed"] * 4), num_failed=4)
    assert is_hopeless(records("complete", *["failed"] * 5), num_failed=5), "a full disk would burn all that are left"


def plan_of(settings: SweepConfig) -> Plan:
    words = ("data=folder", "data.root=it's here")
    return Plan(sweep=settings, words=words, base=compose_run(["data=folder", "data.root=x"]))


@pytest.mark.parametrize("objectives", [("val/auroc",), ("val/auroc", "images_per_s")])
@pytest.mark.parametrize("num_trials", [0, 1, 2, 12])
def test_the_report_is_written_of_whatever_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], objectives: tuple[str, ...], num_trials: int
) -> None:
    settings = config(objectives=objectives, trials=max(1, num_trials))
    found = run_all(settings, None) if num_trials else study(settings)
    found.fail(found.ask(), "the loss is nan", seconds=3)
    plan = plan_of(settings)
    write_sweep_report(plan, RunFolder(tmp_path), found, console=Console(width=70))
    said = capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    assert [row["state"] for row in rows] == ["complete"] * num_trials + ["failed"]
    assert rows[-1]["reason"] == "the loss is nan"
    assert (tmp_path / "sweep.json").is_file()
    pictures = {file.name for file in (tmp_path / "figures").glob("*.png")}
    if num_trials < 2:
        assert "no parallel coordinates: it takes two complete trials" in said
    else:
        assert "parallel.png" in pictures
    assert ("front.png" in pictures) == (num_trials >= 2 and len(objectives) == 2)
    assert ("importance.png" in pictures) == (num_trials == 12)
    if num_trials:
        assert "expect less on new pictures" in said
        assert "…" not in said, "no figure is cut on a narrow terminal"


def test_the_summary_names_the_best_with_its_command(tmp_path: Path) -> None:
    settings = config()
    found = run_all(settings, None)
    plan, records = plan_of(settings), found.records()
    (tmp_path / f"trial_{found.best()[0]:03}" / "bundle").mkdir(parents=True)
    summary = summary_record(plan, RunFolder(tmp_path), records, best=found.best(), importances={})
    best = summary["best"][0]
    values = [figure(record.params) for record in records]
    assert best["trial"] == int(np.argmax(values))
    assert best["values"]["val/auroc"] == pytest.approx(max(values))
    assert best["params"]["model.head.tap"] in ("block2", ["block3", None], ("block3", None))
    assert best["command"].startswith("python train.py data=folder 'data.root=it'\"'\"'s here' optim.lr=")
    assert best["bundle"] == str(tmp_path / f"trial_{best['trial']:03}" / "bundle")
    assert summary["over_complete_trials"]["val/auroc"]["mean"] == pytest.approx(np.mean(values))
    assert summary["over_complete_trials"]["val/auroc"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert trials_csv(plan, records).count("\n") == 13
    assert len(table(plan, records, best=found.best(), epochs=[1] * 12).rows) == 12


def test_single_values_are_drawn() -> None:
    same = [TrialRecord(n, "complete", {"optim.lr": 0.1, "model.head.tap": "a"}, (0.5,), 1.0, "") for n in range(3)]
    space = {"optim.lr": SPACE["optim.lr"], "model.head.tap": ParamConfig(kind="choice", options=("a",))}
    assert parallel_picture(same, space=space, objectives=["val/auroc"], directions=["maximize"], best=[0])
