"""Shards in training: the same data as the folder, each sample once an epoch, whatever ranks and workers, resumable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.helpers.ranks import Setting, load_alone, load_in_ranks
from tests.integration.conftest import write_picture
from tests.integration.runs import Train, history, same, weights

from veriscope.cli import main
from veriscope.config.schema import RunConfig
from veriscope.data.pack import pack
from veriscope.data.scan import scan_folder
from veriscope.data.shards import ShardRules, load_shards
from veriscope.run_folder import RunFolder, open_run_folder
from veriscope.training.data import load_data
from veriscope.training.module import DetectionModule
from veriscope.training.start import start_run

COLUMNS = ("epoch", "train/loss", "val/loss", "val/auroc", "lr")


@pytest.fixture(scope="module")
def packed(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "packed"
    pack(scan_folder(pictures), out, shard_bytes=40_000)
    assert len(list(out.glob("train-*.tar"))) >= 4
    return out


def rows(folder: RunFolder) -> list[list[str]]:
    return [[row[name] for name in COLUMNS] for row in history(folder)]


def test_a_run_on_shards_is_the_run_on_the_folder(train: Train, packed: Path, pictures: Path) -> None:
    """Bit for bit: losses, weights, thresholds, the record of splits, and what the bundle knows to have seen."""
    first = train()
    second = train("data=shards", f"data.root={packed}")
    assert rows(first) == rows(second)
    assert same(weights(first), weights(second))
    for name in ("split.parquet", "bundle/seen.safetensors", "preview.png", "validation/verdicts.png"):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes(), name
    words = ["bundle=" + str(first.bundle), "data=shards", f"data.root={packed}"]
    from veriscope.config.load import compose_evaluation
    from veriscope.evaluation.run import run_evaluation

    config = compose_evaluation([*words, "robustness=quick", "robustness.max_images=2", "bootstrap_draws=100"])
    judged = run_evaluation(config, output_dir=first.path / "judged", provenance={})
    plain = compose_evaluation([words[0], "data=folder", f"data.root={pictures}", "bootstrap_draws=100"])
    other = run_evaluation(plain, output_dir=first.path / "plain", provenance={})
    assert judged.table.logits.tolist() == other.table.logits.tolist()
    assert judged.warnings == other.warnings == ()
    assert (first.path / "judged/pictures.png").read_bytes() == (first.path / "plain/pictures.png").read_bytes()


@pytest.mark.parametrize("shards", [False, True])
def test_an_epoch_that_broke_off_goes_on_exactly(
    train: Train, packed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shards: bool
) -> None:
    """With loader processes, which fetch ahead: a resumed epoch once began with the order of the first epoch."""
    words = ("data=shards", f"data.root={packed}", "data.window_shards=2") if shards else ()
    words = (*words, "++data.num_workers=2")
    whole = train(*words)
    step = DetectionModule.training_step

    def dies(module: DetectionModule, batch: dict[str, Any], batch_idx: int) -> Any:
        if (module.current_epoch, batch_idx) == (1, 3):
            raise OSError("power cut")
        return step(module, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DetectionModule, "training_step", dies)
        with pytest.raises(OSError, match="power cut"):
            train(*words, f"++paths.run_dir={tmp_path / 'broken'}")
    folder, config = open_run_folder(tmp_path / "broken", overrides=[])
    start_run(config, folder, load_data(config), overrides=())
    assert rows(folder) == rows(whole)
    assert same(weights(folder), weights(whole))


@pytest.mark.slow
def test_two_ranks_with_two_workers_see_every_sample_once(tmp_path: Path) -> None:
    for number in range(48):
        name = f"data/{('real', 'fake')[number % 2]}/{number:03}.jpg"
        write_picture(tmp_path / name, fake=bool(number % 2), seed=number)
    pack(scan_folder(tmp_path / "data"), tmp_path / "packed", shard_bytes=20_000)
    manifest = load_shards(tmp_path / "packed", rules=ShardRules(), cache=tmp_path)
    file = tmp_path / "m.arrow"
    manifest.save(file)
    settings = [Setting(2, window, skip) for window in (None, 4) for skip in (0, 2)]
    found = dict(zip(settings, load_in_ranks(file, settings, ranks=2), strict=True))
    for window in (None, 4):
        alone = load_alone(file, Setting(0, window))
        for epoch in alone:
            assert sorted(row for step in epoch for row, _ in step) == list(range(48))
        assert [row for step in alone[0] for row, _ in step] != [row for step in alone[1] for row, _ in step]
        assert alone == load_alone(file, Setting(1, window)) == found[Setting(2, window)]
        assert found[Setting(2, window, skip=2)] == [alone[0][2:], alone[1]]
    shards = np.unique(manifest.files.astype(str), return_inverse=True)[1]
    assert len(np.unique(shards)) >= 8
    order = [row for step in load_alone(file, Setting(0, 4))[0] for row, _ in step]
    # Lanes take turns; a rank's turns are its own lanes until the first lane ends.
    own = [set(shards[order[rank:32:2]]) for rank in range(2)]
    assert not own[0] & own[1]


def test_window_is_for_shards(tiny_config: Callable[..., RunConfig]) -> None:
    from veriscope.errors import ConfigError

    with pytest.raises(ConfigError, match=r"window_shards.*data=shards"):
        tiny_config("+data.window_shards=3")


def test_a_slice_is_predicted(train: Train, packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path as tables and reports print it is one that `veriscope predict` takes."""
    bundle = train("trainer.max_epochs=1").bundle
    manifest = load_shards(packed, rules=ShardRules(), cache=packed.parent)
    path = str(manifest.absolute_path(5))
    assert main(["predict", str(bundle), path, "--device", "cpu"]) == 0
    assert path in capsys.readouterr().out
    assert main(["predict", str(bundle), path.replace(".tar@", ".tar@9"), "--device", "cpu"]) == 1
