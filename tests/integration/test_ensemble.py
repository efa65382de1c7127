"""A cross-validation's folds as one bundle, from the command line to a verdict."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.integration.runs import ROOT, command

from veriscope.bundle import Bundle, load_bundle
from veriscope.cli import main
from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.schema import CrossvalConfig, RunConfig
from veriscope.data.sources import load_manifest
from veriscope.data.splits import OUTSIDE_FOLDS, fold_numbers
from veriscope.errors import DataError, RunError
from veriscope.evaluation.calibration import fit_calibration
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.run import run_evaluation
from veriscope.run_folder import RunFolder, open_run_folder
from veriscope.runs.crossval import resume_crossval
from veriscope.runs.results import CROSSVAL_NAME
from veriscope.runs.summary import summarise

NO_AUDIT = "audit.before_training=off"


@pytest.fixture(scope="module")
def crossval(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    """Return a finished 2-fold cross-validation with its ensemble, and what it said."""
    root = tmp_path_factory.mktemp("crossval")
    words = ("split=kfold", "split.num_folds=2", "crossval.ensemble=true", f"paths.run_dir={root / 'cv'}")
    # The folds come onto one scale by temperature all the same; platt is for the bundles.
    words += ("calibration.method=platt", "audit.on_stop=warn")
    asked = [word for word in command(pictures, root, f"paths.cache={root / 'cache'}", *words) if word != NO_AUDIT]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return RunFolder(root / "cv"), done.stderr


def temperatures(folder: RunFolder) -> list[float]:
    return [fold["temperature"] for fold in json.loads((folder.path / CROSSVAL_NAME).read_text())["folds"]]


def logits(bundle: Bundle, paths: list[Path]) -> np.ndarray:
    scorer = bundle.scorer(device="cpu", precision="fp32")
    return np.array([scored.logit for scored in scorer.score_paths(paths)])


def by_hand(folder: RunFolder, paths: list[Path]) -> np.ndarray:
    """The mean of the folds' own bundles."""
    first, second = (load_bundle(folder.path / f"fold_{k}" / "bundle") for k in range(2))
    over = temperatures(folder)
    return (logits(first, paths) / over[0] + logits(second, paths) / over[1]) / 2


@pytest.mark.slow
def test_the_record_says_what_it_is(crossval: tuple[RunFolder, str]) -> None:
    folder, said = crossval
    bundle = load_bundle(folder.bundle)
    facts, config = bundle.record.training, folder.load_config()
    pooled = PredictionTable.read(folder.path)
    assert f"ensemble: {folder.bundle} (the average of 2 models" in said
    assert [member.temperature for member in bundle.record.ensemble.members] == pytest.approx(temperatures(folder))
    assert (facts.num_train, facts.num_val, facts.val) == (102, 0, {})
    assert facts.split == config.split.model_dump(mode="json")
    assert (facts.split["name"], facts.split["fold"]) == ("kfold", None)
    assert facts.command.startswith("python train.py ")
    assert "crossval.ensemble=true" in facts.command
    summary = json.loads((folder.path / CROSSVAL_NAME).read_text())
    assert bundle.record.ensemble.out_of_fold["auroc"] == summary["pooled"]["metrics"]["auroc"]["value"]
    expected = fit_calibration(pooled.labels, pooled.logits, fitted_on="", method="platt")
    assert (bundle.calibration.method, bundle.calibration.formula) == ("platt", expected.formula)
    assert load_bundle(folder.path / "fold_0" / "bundle").calibration.method == "platt"
    assert bundle.preferred_threshold.chosen_on == "folder out of fold, by single members"
    manifest = load_manifest(config.data, paths_cache=config.paths.cache)
    inside = int((fold_numbers(manifest, config.split) != OUTSIDE_FOLDS).sum())
    assert (len(bundle.seen()["train"]), len(bundle.seen()["val"])) == (inside, 0)


@pytest.mark.slow
def test_folds_and_their_ensemble_share_one_audit(crossval: tuple[RunFolder, str]) -> None:
    folder, said = crossval
    assert said.count("audit, stop: Byte size alone tells fake from real") == 1
    found = [load_bundle(run / "bundle").record.audit for run in (folder.path, *sorted(folder.path.glob("fold_?")))]
    assert len(found) == 3
    assert found[0] is not None
    assert found[0] == found[1] == found[2]
    assert "audit, " not in (folder.path / "fold_0.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_is_judged_on_the_test_that_no_fold_saw(crossval: tuple[RunFolder, str], tmp_path: Path) -> None:
    folder, _ = crossval
    config = folder.load_config()
    wanted = {"bundle": folder.bundle, "data": config.data, "paths": config.paths, "device": "cpu"}
    judge = EvaluateConfig(**wanted, precision="fp32", bootstrap_draws=100)
    with (tmp_path / "said.txt").open("w") as file:
        found = run_evaluation(judge, output_dir=tmp_path / "out", provenance={}, console=Console(file=file, width=120))
    assert found.warnings == ()
    rows = found.table.table
    assert len(found.table) == 12
    assert all(path.startswith("test/") for path in rows["id"].to_pylist())
    paths = [Path(path) for path in rows["path"].to_pylist()]
    assert np.allclose(rows["logit"].to_numpy(), by_hand(folder, paths), atol=1e-5)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["bundle"]["members"] == 2
    assert report["headline_threshold"] == "out_of_fold"
    assert "chosen out of fold: " in (tmp_path / "said.txt").read_text()
    with pytest.raises(DataError, match="there is no val part"):
        run_evaluation(judge.model_copy(update={"subset": "val"}), output_dir=tmp_path / "val", provenance={})


@pytest.mark.slow
def test_predict_gives_the_mean_of_the_folds(
    crossval: tuple[RunFolder, str], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = crossval
    picture = pictures / "test" / "fake" / "000.jpg"
    assert main(["predict", str(folder.bundle), str(picture), "--json", "--device", "cpu", "--precision", "fp32"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["verdicts"]
    assert row["logit"] == pytest.approx(by_hand(folder, [picture])[0], abs=1e-5)
    odds = np.exp(found["calibration"]["slope"] * row["logit"] + found["calibration"]["intercept"])
    assert row["score"] == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert found["threshold"]["chosen_on"] == "folder out of fold, by single members"


@pytest.mark.slow
def test_a_finished_cross_validation_gets_its_ensemble_afterwards(
    crossval: tuple[RunFolder, str], tmp_path: Path
) -> None:
    before = load_bundle(crossval[0].bundle)
    shutil.copytree(crossval[0].path, tmp_path / "cv")
    shutil.rmtree(tmp_path / "cv" / "bundle")
    with pytest.raises(RunError, match=r"leave out \+\+crossval.ensemble=true seed=1"):
        open_run_folder(tmp_path / "cv", overrides=["++crossval.ensemble=true", "seed=1"])
    folder, config = open_run_folder(tmp_path / "cv", overrides=["resume=cv", "++crossval.ensemble=true"])
    resume_crossval(config, folder)
    with pytest.raises(RunError, match="complete"):
        open_run_folder(tmp_path / "cv", overrides=["resume=cv"])
    assert load_bundle(folder.bundle).weights_sha256 == before.weights_sha256
    # The bundle of another fold: its logits would be divided by the wrong temperature.
    shutil.rmtree(folder.path / "fold_1" / "bundle")
    shutil.copytree(folder.path / "fold_0" / "bundle", folder.path / "fold_1" / "bundle")
    with pytest.raises(RunError, match=r"fold_1/bundle' is not the bundle that .* judged"):
        resume_crossval(config, folder)
    shutil.rmtree(folder.path / "fold_1" / "bundle")
    with pytest.raises(RunError, match=r"fold 1 is complete, but '.*fold_1/bundle' is gone. Put it back, or remove"):
        resume_crossval(config, folder)


@pytest.mark.slow
def test_folds_that_were_points_of_a_multirun_are_averaged_too(crossval: tuple[RunFolder, str], tmp_path: Path) -> None:
    asked = CrossvalConfig(ensemble=True)
    for number in range(2):
        point = RunFolder(tmp_path / str(number))
        shutil.copytree(crossval[0].path / f"fold_{number}", point.path)
        point.save_config(point.load_config().model_copy(update={"crossval": asked}))
    summarise(tmp_path, console=Console(quiet=True))
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.weights_sha256 == load_bundle(crossval[0].bundle).weights_sha256
    assert bundle.record.training.command is None


def test_one_model_makes_no_ensemble(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    with pytest.raises(Exception, match="averages the models of a cross-validation: add split=kfold"):
        tiny_config("++crossval.ensemble=true")
    one_fold = RunFolder(tmp_path)
    one_fold.save_config(tiny_config("split=kfold", "split.fold=0"))
    with pytest.raises(RunError, match=r"leave out crossval\.ensemble=true"):
        open_run_folder(tmp_path, overrides=["resume=x", "crossval.ensemble=true"])
