import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from tests.helpers.models import model_config

from veriscope.bundle.record import TrainingFacts
from veriscope.bundle.save import save_bundle
from veriscope.bundle.seen import fingerprints
from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.schema import DataConfig, PathsConfig, SplitConfig
from veriscope.data.sources import load_manifest
from veriscope.data.splits import cut
from veriscope.errors import BundleError, DataError, RunError, VeriscopeError
from veriscope.evaluation.metrics import auroc
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.run import run_evaluation
from veriscope.evaluation.subset import choose_subset
from veriscope.models.detector import build_detector
from veriscope.types import Calibration, Threshold, UnsureBand


def pictures(root, num_each=8, splits=("",), seed=0):
    """Real pictures are dark, fakes bright."""
    rng = np.random.default_rng(seed)
    for split in splits:
        for name, low in (("real", 0), ("fake", 128)):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(num_each):
                pixels = rng.integers(low, low + 128, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def data_config(root, **more):
    return DataConfig(name="toy", kind="folder", root=root, batch_size=8, num_workers=0, **more)


def bundle_for(folder, manifest, split=None, seen=None, fake_share=None, unsure=None):
    torch.manual_seed(0)
    facts = TrainingFacts(
        data_name="toy",
        data_hash=manifest.content_hash,
        num_train=8,
        num_val=4,
        split=(split or SplitConfig()).model_dump(mode="json"),
        seed=42,
        date="2026-01-01T00:00:00+00:00",
        device="cpu",
        epochs=1,
    )
    return save_bundle(
        folder,
        detector=build_detector(model_config(), load_weights=False),
        calibration=Calibration(temperature=1.5, fitted_on="toy val", fake_share=fake_share),
        unsure=unsure,
        thresholds={"val": Threshold(value=0.4, rule="youden", chosen_on="toy val")},
        training=facts,
        seen=seen,
        notices=("A notice of the bundle.",),
    )


@pytest.fixture
def no_curves(monkeypatch):
    """Drawing takes most of a small evaluation's time; one test draws."""
    monkeypatch.setattr("veriscope.evaluation.run.plots.figures", lambda *_, **__: {})


@pytest.fixture
def place(tmp_path):
    """A data set without split folders, and a bundle that says it was trained on it."""
    data = data_config(pictures(tmp_path / "data", num_each=20))
    manifest = load_manifest(data, paths_cache=tmp_path / "cache")
    return tmp_path, data, manifest, bundle_for(tmp_path / "run" / "bundle", manifest)


def evaluate(tmp_path, data, **more):
    paths = PathsConfig(data=tmp_path, runs=tmp_path / "runs", cache=tmp_path / "cache")
    config = EvaluateConfig(
        bundle=tmp_path / "run" / "bundle",
        data=data,
        paths=paths,
        device="cpu",
        precision="fp32",
        **{"bootstrap_draws": 100, **more},
    )
    with (tmp_path / "console.txt").open("w") as file:
        return run_evaluation(
            config, output_dir=tmp_path / "out", provenance={"commit": "abc"}, console=Console(file=file, width=120)
        )


def test_an_evaluation_at_a_base_rate_measures_band_oracle_and_precision(place, no_curves):
    tmp_path, data, manifest, _ = place
    with pytest.raises(BundleError, match="can't be corrected to a base rate"):
        evaluate(tmp_path, data, base_rate=0.05)
    shutil.rmtree(tmp_path / "run")
    band = UnsureBand(
        low=0.1, high=0.9, threshold="val", wanted_accuracy=0.95, coverage=0.5, accuracy=0.96, num_pictures=90,
        chosen_on="toy val",
    )  # fmt: skip
    bundle = bundle_for(tmp_path / "run" / "bundle", manifest, fake_share=0.5, unsure=band)
    found = evaluate(tmp_path, data, base_rate=0.05)
    table = PredictionTable.read(found.folder)
    assert table.meta.base_rate == 0.05
    plain = np.array([bundle.calibration.score(logit) for logit in table.logits])
    np.testing.assert_allclose(table.scores, plain / (plain + 19 * (1 - plain)))
    report = json.loads((found.folder / "report.json").read_text())
    val = report["thresholds"]["val"]
    assert val["value"] == pytest.approx(0.4 / (0.4 + 19 * 0.6))
    assert val["confusion"]["tp"] == int(np.sum((plain >= 0.4) & (table.labels == 1))), "verdicts stay"
    assert report["metrics"]["auroc"]["value"] == pytest.approx(auroc(table.labels, plain)), "rankings stay"
    assert report["base_rate"]["stated"] == 0.05
    assert report["base_rate"]["of_calibration_data"] == 0.5
    assert set(report["base_rate"]["thresholds"]["val"]) == {"precision", "real_right", "called_fake"}
    inside = np.mean((plain >= 0.1) & (plain < 0.9))
    assert report["unsure"]["coverage"]["value"] == pytest.approx(1 - inside)
    assert report["shipped_verdict"]["coverage"]["value"] == pytest.approx(1 - inside)
    assert report["oracle"]["note"] == "oracle (threshold chosen on the judged pictures; not attainable)"
    raw = 1 / (1 + 19 * np.exp(-table.logits))  # corrected to the rate as the scores are: from 0.5
    assert report["uncalibrated"]["brier"]["value"] == pytest.approx(
        0.05 * np.mean((1 - raw[table.labels == 1]) ** 2) + 0.95 * np.mean(raw[table.labels == 0] ** 2)
    )
    page = (found.folder / "report.html").read_text()
    said = (tmp_path / "console.txt").read_text()
    for words in ("corrected to a share of fakes of", "are called unsure", "not attainable"):
        assert words in page
        assert words in said
    assert said.index("not attainable") > said.index("Accuracy"), "apart, and after the figures that can be had"


def test_a_whole_evaluation_on_the_part_that_training_left_alone(place):
    tmp_path, data, manifest, bundle = place
    (tmp_path / "run" / "history.csv").write_text("epoch,phase,train/loss,val/loss,lr\n0,a,0.7,0.6,0.1\n")
    found = evaluate(tmp_path, data, corruption="jpeg:75")
    expected = cut(manifest, SplitConfig()).test
    assert found.table.table["id"].to_pylist() == [expected.sample(i).path for i in range(len(expected))]
    assert set(found.table.table["split"].to_pylist()) == {"test"}
    assert set(found.table.column("source")) == {"toy"}
    first = Path(found.table.table["path"][0].as_py())
    with Image.open(first) as stored:
        facts = (stored.format, *stored.size, first.stat().st_size)
    assert tuple(found.table.column(name)[0] for name in ("format", "width_px", "height_px", "size_bytes")) == facts
    assert found.warnings == ()
    names = {path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if path.is_file()}
    assert {
        "report.html",
        "report.json",
        "predictions.csv",
        "predictions.parquet",
        "config.yaml",
        "pictures.png",
    } <= names
    assert {"figures/roc.png", "figures/history.png", "figures/confusion.png"} <= names
    report = json.loads((found.folder / "report.json").read_text())
    assert report["data"]["exposure"] == "unseen"
    assert report["corruption"] == "jpeg:75"
    assert report["notices"] == ["A notice of the bundle."]
    assert report["provenance"] == {"commit": "abc", "data_hash": manifest.content_hash}
    assert set(report["thresholds"]) == {"default", "val"}
    meta = PredictionTable.read(found.folder).meta
    assert (meta.bundle_hash, meta.subset, meta.corruption) == (bundle.weights_sha256, "test", "jpeg:75")
    said = (tmp_path / "console.txt").read_text()
    assert "report.html" in said
    assert "A notice of the bundle." in said
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


@pytest.mark.usefixtures("no_curves")
@pytest.mark.parametrize(
    ("subset", "exposure", "word"), [("val", "selected", "chose the checkpoint"), ("all", "trained", "was trained on")]
)
def test_seen_pictures_are_flagged_loudly(place, subset, exposure, word):
    tmp_path, data, *_ = place
    found = evaluate(tmp_path, data, subset=subset)
    assert word in found.warnings[0]
    assert "Don&#39;t trust" in found.report.read_text() or "Don't trust" in found.report.read_text()
    assert word in found.report.read_text()
    assert json.loads((found.folder / "report.json").read_text())["data"]["exposure"] == exposure
    assert "Don't trust these figures" in (tmp_path / "console.txt").read_text()


def test_data_that_training_used_up_is_refused_with_the_ways_out(tmp_path):
    data = data_config(pictures(tmp_path / "data", splits=("train", "valid")))
    manifest = load_manifest(data, paths_cache=tmp_path / "cache")
    bundle = bundle_for(tmp_path / "bundle", manifest)
    with pytest.raises(DataError, match=r"subset=val .*subset=all"):
        choose_subset(manifest, bundle, wanted="auto", data_name="toy")
    val = choose_subset(manifest, bundle, wanted="val", data_name="toy")
    assert {sample.split for sample in map(val.manifest.sample, range(len(val.manifest)))} == {"val"}


def test_other_data_gives_its_test_part_or_everything(place, tmp_path_factory):
    _, _, _, bundle = place
    tmp_path = tmp_path_factory.mktemp("other")
    whole = load_manifest(data_config(pictures(tmp_path / "a", seed=1)), paths_cache=tmp_path / "cache")
    assert len(choose_subset(whole, bundle, wanted="auto", data_name="a").manifest) == 16
    parted = load_manifest(
        data_config(pictures(tmp_path / "b", splits=("train", "test"), seed=2)), paths_cache=tmp_path / "cache"
    )
    chosen = choose_subset(parted, bundle, wanted="auto", data_name="b")
    assert (chosen.name, len(chosen.manifest), chosen.exposure) == ("test", 16, "unseen")
    with pytest.raises(DataError, match="no 'val' part"):
        choose_subset(parted, bundle, wanted="val", data_name="b")
    with pytest.raises(DataError, match="no 'test' part"):
        choose_subset(whole, bundle, wanted="test", data_name="a")


def test_training_pictures_are_known_in_other_folders_and_under_other_names(tmp_path):
    """The same files, in one folder without splits, renamed, among others: nothing but their bytes tells."""
    own = load_manifest(data_config(pictures(tmp_path / "data", num_each=20)), paths_cache=tmp_path / "cache")
    parts = cut(own, SplitConfig())
    seen = {"train": fingerprints(parts.train.absolute_paths()), "val": fingerprints(parts.val.absolute_paths())}
    bundle = bundle_for(tmp_path / "bundle", own, seen=seen)
    copy = pictures(tmp_path / "copy", seed=5)
    for index in range(3):
        shutil.copy(parts.train.absolute_path(index), copy / "fake" / f"holiday_{index}.png")
    shutil.copy(parts.val.absolute_path(0), copy / "real" / "other.png")
    other = load_manifest(data_config(copy), paths_cache=tmp_path / "cache")
    chosen = choose_subset(other, bundle, wanted="auto", data_name="copy")
    assert chosen.exposure == "trained"
    assert "3 of its 20 files" in chosen.text
    for index in range(3):
        (copy / "fake" / f"holiday_{index}.png").unlink()
    other = load_manifest(data_config(copy), paths_cache=tmp_path / "cache")
    chosen = choose_subset(other, bundle, wanted="auto", data_name="copy")
    assert (chosen.exposure, "1 of its 17 files" in chosen.text) == ("selected", True)
    (copy / "real" / "other.png").unlink()
    other = load_manifest(data_config(copy), paths_cache=tmp_path / "cache")
    assert choose_subset(other, bundle, wanted="auto", data_name="copy").exposure == "unseen"
    (tmp_path / "bundle" / "seen.safetensors").unlink()
    with pytest.raises(BundleError, match=r"seen\.safetensors' is missing"):
        choose_subset(other, bundle, wanted="auto", data_name="copy")


def test_a_bundle_without_its_split_can_not_be_judged_on_its_own_data(place, tmp_path):
    _, _, manifest, bundle = place
    torn = bundle.record.model_copy(
        update={"training": bundle.record.training.model_copy(update={"split": {"seed": "x"}})}
    )
    with pytest.raises(BundleError, match="how its data was split"):
        choose_subset(manifest, type(bundle)(folder=bundle.folder, record=torn), wanted="auto", data_name="toy")


@pytest.mark.usefixtures("no_curves")
def test_unreadable_pictures_are_listed_or_stop_the_run(place):
    tmp_path, *_ = place
    root = pictures(tmp_path / "new", num_each=3, seed=5)
    (root / "real" / "bad.jpg").write_text("no picture")
    with pytest.raises(DataError, match=r"bad\.jpg.*on_unreadable=report"):
        evaluate(tmp_path, data_config(root), on_unreadable="stop")
    assert not (tmp_path / "out").exists()
    found = evaluate(tmp_path, data_config(root))
    assert found.table.num_unreadable == 1
    assert found.judgement.num_real == 3
    assert "real/bad.jpg" in found.report.read_text()


@pytest.mark.usefixtures("no_curves")
def test_data_of_one_class(place):
    tmp_path, *_ = place
    root = pictures(tmp_path / "fakes", num_each=4, seed=6)
    for file in (root / "real").iterdir():
        file.unlink()
    (root / "real").rmdir()
    found = evaluate(tmp_path, data_config(root))
    assert found.judgement.num_real == 0
    assert found.judgement.metrics["auroc"] is None
    assert "undefined" in found.report.read_text()


def test_nothing_readable_is_an_error(place):
    tmp_path, *_ = place
    for name in ("real", "fake"):
        (tmp_path / "junk" / name).mkdir(parents=True)
        (tmp_path / "junk" / name / "x.jpg").write_text("junk")
    with pytest.raises(DataError, match="none of the 2 pictures"):
        evaluate(tmp_path, data_config(tmp_path / "junk"))


def test_a_taken_folder_and_an_unknown_corruption_are_refused_before_scoring(place):
    tmp_path, data, *_ = place
    with pytest.raises(VeriscopeError, match="jpg"):
        evaluate(tmp_path, data, corruption="jpg:75")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="not empty"):
        evaluate(tmp_path, data)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_output_that_can_not_be_replaced_is_known_before_scoring(place, monkeypatch):
    tmp_path, data, *_ = place
    (tmp_path / "out").mkdir()
    monkeypatch.setattr("veriscope.evaluation.run.can_be_replaced", lambda _: False)
    monkeypatch.setattr("veriscope.evaluation.run._score", lambda *_, **__: pytest.fail("scored for nothing"))
    with pytest.raises(RunError, match=r"mount point.*paths\.run_dir=.*out/evaluation"):
        evaluate(tmp_path, data)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_the_output_may_be_a_link(place, no_curves, there):
    tmp_path, data, *_ = place
    if there:
        (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    evaluate(tmp_path, data)
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "elsewhere" / "report.html").is_file()


@pytest.mark.parametrize("text", ["epoch,phase\nx,main\n", "phase\nmain\n", "epoch,lr\n1,fast\n", "\x80"])
def test_a_damaged_history_costs_its_curves_alone(place, no_curves, capsys, text):
    tmp_path, data, *_ = place
    (tmp_path / "run" / "history.csv").write_text(text, encoding="latin-1")
    evaluate(tmp_path, data)
    assert "goes without the training's curves: " in capsys.readouterr().err
    assert (tmp_path / "out" / "report.html").is_file()
