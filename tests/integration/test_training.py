"""Whole runs: what they leave, that they repeat, and stop when they must."""

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from tests.integration.runs import TWO_PHASES, Train, history, same, weights

from veriscope.config.schema import RunConfig
from veriscope.errors import DataError, RunError
from veriscope.run_folder import open_run_folder
from veriscope.training.data import load_data
from veriscope.training.module import DetectionModule
from veriscope.training.start import start_run


def test_a_run_leaves_everything_behind(train: Train) -> None:
    folder = train()
    for name in ("config.yaml", "provenance.json", "split.parquet", "preview.png", "history.csv", "history.png"):
        assert (folder.path / name).is_file(), name
    for name in ("bundle.json", "weights.safetensors", "MODEL_CARD.md"):
        assert (folder.bundle / name).is_file(), name
    assert (folder.validation / "predictions.parquet").is_file()
    rows = history(folder)
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {row["phase"] for row in rows} == {"main"}
    facts = json.loads((folder.path / "provenance.json").read_text(encoding="utf-8"))
    assert facts["seed"] == 42
    assert len(facts["data_hash"]) == 64
    assert Image.open(folder.path / "preview.png").size[0] > 6 * 32


def test_what_ships_is_the_best_epoch_and_scores_as_logged(train: Train) -> None:
    """The figure that chose the checkpoint, the shipped bundle's own scores, and scikit-learn agree."""
    folder = train("trainer.max_epochs=3")
    table = pq.read_table(folder.validation / "predictions.parquet")
    assert table.num_rows == 21
    auroc = roc_auc_score(table["label"].to_numpy(), table["logit"].to_numpy())
    assert auroc == pytest.approx(max(float(row["val/auroc"]) for row in history(folder)), abs=1e-6)


def test_the_split_on_disk_is_kept_and_test_is_never_read(train: Train, pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    for file in (copy / "test").rglob("*.jpg"):
        file.write_bytes(b"unreadable: a fit that touched the test split would notice")
    folder = train(f"data.root={copy}", "++data.max_unreadable=0.0")
    split = pq.read_table(folder.path / "split.parquet").to_pylist()
    for row in split:
        assert row["path"].startswith(row["split"])
    assert not (folder.path / "unreadable.csv").exists()


def test_the_same_run_twice_is_bit_equal_and_another_seed_is_not(train: Train) -> None:
    first, second, other = train(), train("++data.num_workers=2"), train("seed=43")
    assert same(weights(first), weights(second)), "the number of workers must not change a result"
    assert not same(weights(first), weights(other))


def test_two_phases_freeze_and_thaw(train: Train) -> None:
    folder = train("schedule=two_phase", "schedule.phases.frozen.epochs=2", "trainer.max_epochs=4")
    assert [row["phase"] for row in history(folder)] == ["frozen", "frozen", "all_layers", "all_layers"]
    assert [row["epoch"] for row in history(folder)] == ["0", "1", "2", "3"]

    def backbone(phase: str, name: str) -> dict[str, torch.Tensor]:
        state = torch.load(folder.checkpoints(phase) / f"{name}.ckpt", weights_only=True)["state_dict"]
        return {key: value for key, value in state.items() if key.startswith("detector.backbone")}

    fresh = DetectionModule.load_from_checkpoint(folder.checkpoints("frozen") / "last.ckpt", weights_only=True)
    assert not any(parameter.requires_grad for parameter in fresh.detector.backbone.parameters())
    assert same(backbone("frozen", "best"), backbone("frozen", "last")), "batch-norm statistics included"
    assert not same(backbone("frozen", "last"), backbone("all_layers", "last"))


def test_ema_is_what_is_judged_and_shipped(train: Train) -> None:
    folder = train("callbacks.ema_decay=0.9")
    state = torch.load(folder.checkpoints("main") / "best.ckpt", weights_only=True)
    shipped = weights(folder)
    key = next(key for key in shipped if key.endswith("classifier.weight"))
    assert torch.equal(shipped[key], state["state_dict"][f"detector.{key}"])
    assert not same(shipped, weights(train()))


def test_unreadable_pictures_are_skipped_counted_and_listed(train: Train, pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    for name in ("train/real/000.jpg", "val/fake/001.jpg"):
        (copy / name).write_bytes((copy / name).read_bytes()[:300])
    folder = train(f"data.root={copy}")
    with (folder.path / "unreadable.csv").open(encoding="utf-8") as stream:
        assert {row["path"] for row in csv.DictReader(stream)} == {"train/real/000.jpg", "val/fake/001.jpg"}
    table = pq.read_table(folder.validation / "predictions.parquet").to_pylist()
    silent = [row for row in table if row["logit"] is None]
    assert [row["id"] for row in silent] == ["val/fake/001.jpg"]
    with pytest.raises(DataError, match=r"2 of 102 images can't be read"):
        train(f"data.root={copy}", "++data.max_unreadable=0.01")


def test_a_loss_that_is_no_number_names_the_files(train: Train) -> None:
    with pytest.raises(RunError, match=r"the loss became (nan|inf).*train/(real|fake)/\d+\.jpg"):
        train("optim=sgd", "optim.lr=1e30", "trainer.gradient_clip_norm=null")


def test_a_resume_on_other_data_is_refused(train: Train, pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    folder = train(f"data.root={copy}", "trainer.max_epochs=1")
    progress = folder.load_progress()
    assert progress is not None
    folder.save_progress(progress.model_copy(update={"complete": False}))
    shutil.copy(copy / "train/real/000.jpg", copy / "train/real/new.jpg")
    again, config = open_run_folder(folder.path, overrides=[])
    with pytest.raises(RunError, match="data set has changed"):
        start_run(config, again, load_data(config), overrides=())


def test_a_class_missing_from_a_split_is_an_error(train: Train, pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    shutil.rmtree(copy / "val/fake")
    with pytest.raises(DataError, match="fake"):
        train(f"data.root={copy}")


def test_a_filled_run_folder_is_refused(train: Train, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me", encoding="utf-8")
    with pytest.raises(RunError, match="not empty"):
        train(f"++paths.run_dir={tmp_path / 'mine'}")


def test_class_weights_balance(tiny_config: Callable[..., RunConfig]) -> None:
    from veriscope.training.module import detection_loss

    logit = torch.tensor([0.3, -2.0, 5.0])
    label = torch.tensor([1.0, 0.0, 0.0])
    plain = detection_loss(logit, label, class_weights=(1.0, 1.0), smoothing=0.0)
    weighted = detection_loss(logit, label, class_weights=(0.75, 1.5), smoothing=0.0)
    assert torch.allclose(weighted / plain, torch.tensor([1.5, 0.75, 0.75]))
    by_hand = -torch.log(torch.sigmoid(torch.tensor(0.3)))
    assert plain[0] == pytest.approx(float(by_hand))


def test_of_equal_epochs_the_latest_is_kept(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """An easy val gives an AUROC of 1 from the first epoch on; what ships must not be the least trained network."""
    monkeypatch.setattr("veriscope.training.module.binary_auroc", lambda score, label: torch.tensor(1.0))
    folder = train("trainer.max_epochs=3")
    kept = torch.load(folder.checkpoints("main") / "best.ckpt", weights_only=True)
    assert kept["epoch"] == 2


def test_a_detector_no_better_than_chance_says_so_wherever_it_goes(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train("++data.shuffle_labels=true", "trainer.max_epochs=1")
    notices = json.loads((folder.bundle / "bundle.json").read_text(encoding="utf-8"))["notices"]
    assert "coin's toss" in notices[0]
    assert "coin's toss" in (folder.bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "coin's toss" in capsys.readouterr().err


def test_the_printed_evaluation_names_the_same_data(
    train: Train, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("data=folder", f"data.root={pictures}", "++data.splits={val: test}", "split.val_fraction=0.2")
    line = next(line for line in capsys.readouterr().err.splitlines() if "evaluate.py" in line)
    words = shlex.split(line)
    assert {"data=folder", f"data.root={pictures}", "data.splits={val: test}"} <= set(words)


def test_all_of_val_unreadable_is_no_crash(train: Train, pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    for file in (copy / "val" / "fake").rglob("*.jpg"):
        file.write_bytes(b"no picture")
    with pytest.raises(RunError, match="no readable picture of one class"):
        train(f"data.root={copy}", "++data.max_unreadable=1.0")


def test_curves_of_the_second_phase_go_on(train: Train) -> None:
    folder = train(
        "schedule=two_phase", "schedule.phases.frozen.epochs=2", "trainer.max_epochs=3", "logger=tensorboard"
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    steps = [event.step for event in events.Scalars("val/auroc")]
    assert len(steps) == 3
    assert steps == sorted(set(steps))


def test_what_ships_is_the_best_of_all_phases(train: Train) -> None:
    """A second phase that ruins the network (lr 1e3) doesn't ship what it ruined."""
    folder = train(*TWO_PHASES, "schedule.phases.all_layers.lr=1000", "callbacks.monitor=val/loss")
    rows = history(folder)
    table = pq.read_table(folder.validation / "predictions.parquet")
    losses = {
        phase: min(float(row["val/loss"]) for row in rows if row["phase"] == phase)
        for phase in ("frozen", "all_layers")
    }
    assert losses["frozen"] < losses["all_layers"], "the second phase was meant to be worse"
    logit, label = (torch.tensor(table[column].to_pylist()) for column in ("logit", "label"))
    shipped = torch.nn.functional.binary_cross_entropy_with_logits(logit, label.float())
    assert float(shipped) == pytest.approx(losses["frozen"], rel=1e-4)
