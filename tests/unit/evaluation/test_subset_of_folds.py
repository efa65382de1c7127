"""What an ensemble of a cross-validation's folds may be judged on."""

from pathlib import Path

import pytest
import torch
from tests.helpers.bundles import FACTS, write_pictures
from tests.helpers.models import model_config

from veriscope.bundle import Bundle
from veriscope.bundle.save import save_bundle
from veriscope.bundle.seen import fingerprints
from veriscope.config.schema import DataConfig, SplitConfig
from veriscope.data.manifest import Manifest
from veriscope.data.sources import load_manifest
from veriscope.data.splits import OUTSIDE_FOLDS, fold_numbers
from veriscope.errors import DataError
from veriscope.evaluation.subset import choose_subset
from veriscope.models.detector import build_detector
from veriscope.types import Calibration

FOLDS = SplitConfig(name="kfold", num_folds=3, test_fraction=0.25)


def manifest_of(root: Path, *splits: str) -> Manifest:
    for index, split in enumerate(splits):
        write_pictures(root / split / "real", 8, side=32 + 2 * index)
        write_pictures(root / split / "fake", 8, side=33 + 2 * index)
    data = DataConfig(name="toy", kind="folder", root=root, num_workers=0)
    return load_manifest(data, paths_cache=root.parent / "cache")


def bundle_of(folder: Path, manifest: Manifest, split: SplitConfig) -> Bundle:
    """A bundle with the facts of an ensemble; how many networks it holds, the choice of data doesn't ask."""
    torch.manual_seed(0)
    pool = manifest.take((fold_numbers(manifest, split) != OUTSIDE_FOLDS).nonzero()[0])
    facts = {"data_hash": manifest.content_hash, "num_train": len(pool), "split": split.model_dump(mode="json")}
    return save_bundle(
        folder,
        detector=build_detector(model_config()),
        calibration=Calibration(),
        thresholds={},
        training=FACTS.model_copy(update=facts),
        seen={"train": fingerprints(pool.absolute_paths()), "val": fingerprints(pool.absolute_paths())[:0]},
    )


def paths(manifest: Manifest) -> set[str]:
    return set(manifest.table["path"].to_pylist())


def test_the_test_part_is_what_no_fold_touched(tmp_path: Path) -> None:
    own = manifest_of(tmp_path / "data", "train", "val", "test")
    bundle = bundle_of(tmp_path / "b", own, FOLDS)
    chosen = choose_subset(own, bundle, wanted="auto", data_name="toy")
    assert (chosen.name, chosen.exposure, chosen.warnings) == ("test", "unseen", ())
    assert paths(chosen.manifest) == {path for path in paths(own) if path.startswith("test/")}
    assert "no fold of the cross-validation touched" in chosen.text
    train = choose_subset(own, bundle, wanted="train", data_name="toy")
    assert (paths(train.manifest), train.exposure) == (paths(own) - paths(chosen.manifest), "trained")
    assert choose_subset(own, bundle, wanted="all", data_name="toy").exposure == "trained"
    with pytest.raises(DataError, match=r"no val part.*Say subset=test"):
        choose_subset(own, bundle, wanted="val", data_name="toy")


def test_without_splits_the_share_that_was_set_aside_is_the_test(tmp_path: Path) -> None:
    own = manifest_of(tmp_path / "data", ".")
    chosen = choose_subset(own, bundle_of(tmp_path / "b", own, FOLDS), wanted="auto", data_name="toy")
    assert (chosen.name, chosen.exposure, len(chosen.manifest)) == ("test", "unseen", 4)


@pytest.mark.parametrize("wanted", ["auto", "test"])
def test_where_every_picture_was_learned_nothing_is_left_to_judge_on(tmp_path: Path, wanted: str) -> None:
    own = manifest_of(tmp_path / "data", ".")
    bundle = bundle_of(tmp_path / "b", own, FOLDS.model_copy(update={"test_fraction": 0.0}))
    with pytest.raises(DataError, match=r"learned by 2 of 3 models\. Judge it on other data"):
        choose_subset(own, bundle, wanted=wanted, data_name="toy")
    with pytest.raises(DataError, match=r"no val part.*Say other data"):
        choose_subset(own, bundle, wanted="val", data_name="toy")
