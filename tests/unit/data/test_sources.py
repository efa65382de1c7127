import numpy as np
import pytest
from pydantic import ValidationError
from tests.helpers.badfiles import write_dataset

from veriscope.config.schema import DataConfig, SyntheticConfig
from veriscope.data.manifest import Manifest
from veriscope.data.sources import load_manifest, shuffle_labels
from veriscope.errors import DataError
from veriscope.types import Split


@pytest.fixture
def root(tmp_path):
    return write_dataset(tmp_path / "data", num_images=6, size_px=32)


def test_folder_and_manifest_give_the_same(root, tmp_path):
    (tmp_path / "m.csv").write_text(
        "path,label\n" + "".join(f"{kind}/{i:03d}.jpg,{kind}\n" for kind in ("real", "fake") for i in range(6))
    )
    folder = load_manifest(DataConfig(name="x", kind="folder", root=root), paths_cache=tmp_path / "cache")
    listed = load_manifest(
        DataConfig(name="x", kind="manifest", root=root, file=tmp_path / "m.csv"), paths_cache=tmp_path / "cache"
    )
    assert folder.content_hash == listed.content_hash
    assert folder.root == root


def test_synthetic(tmp_path):
    small = SyntheticConfig(num_train=4, num_val=2, num_test=2, size_px=64)
    manifest = load_manifest(DataConfig(name="s", kind="synthetic", synthetic=small), paths_cache=tmp_path)
    assert len(manifest) == 8
    assert manifest.root.is_relative_to(tmp_path)


def test_class_map_and_splits_arrive(tmp_path):
    write_dataset(tmp_path / "valid", num_images=2, size_px=32, classes=("camera", "sd14"))
    config = DataConfig(
        name="x",
        kind="folder",
        root=tmp_path,
        class_map={"camera": "real", "sd14": "fake"},
        splits={"valid": Split.TEST},
    )
    manifest = load_manifest(config, paths_cache=tmp_path / "cache")
    assert set(manifest.splits) == {"test"}
    assert set(manifest.generators) == {None, "sd14"}


def test_a_cache_that_cannot_be_written_is_no_obstacle(root, tmp_path):
    (tmp_path / "file").write_text("")
    manifest = load_manifest(DataConfig(name="x", kind="folder", root=root), paths_cache=tmp_path / "file")
    assert len(manifest) == 12


def test_one_class_only_for_evaluation(root, tmp_path):
    for path in (root / "real").iterdir():
        path.unlink()
    (root / "real").rmdir()
    config = DataConfig(name="x", kind="folder", root=root)
    with pytest.raises(DataError, match="only the class fake"):
        load_manifest(config, paths_cache=tmp_path)
    assert load_manifest(config, paths_cache=tmp_path, both_classes=False).class_counts()["fake"] == 6


def test_shuffle_labels_keeps_the_counts_of_each_split(root, tmp_path):
    fake = np.arange(200) % 2
    manifest = Manifest.from_columns(
        [f"{i:03d}.jpg" for i in range(200)],
        root=root,
        labels=fake,
        size_bytes=[1] * 200,
        splits=["train"] * 100 + ["test"] * 60 + [None] * 40,
    )
    shuffled = shuffle_labels(manifest, seed=1)
    for rows in (slice(0, 100), slice(100, 160), slice(160, 200)):
        assert shuffled.labels[rows].sum() == fake[rows].sum()
        assert 0.3 < (shuffled.labels[rows] == fake[rows]).mean() < 0.7
    assert np.array_equal(shuffled.labels, shuffle_labels(manifest, seed=1).labels)
    assert not np.array_equal(shuffled.labels, shuffle_labels(manifest, seed=2).labels)


def test_shuffle_labels_is_a_setting(root, tmp_path):
    plain = load_manifest(DataConfig(name="x", kind="folder", root=root), paths_cache=tmp_path)
    shuffled = load_manifest(DataConfig(name="x", kind="folder", root=root, shuffle_labels=True), paths_cache=tmp_path)
    assert plain.class_counts() == shuffled.class_counts()
    assert plain.content_hash != shuffled.content_hash


def test_a_missing_source_is_a_configuration_error():
    with pytest.raises(ValidationError, match=r"needs data\.root=DIR"):
        DataConfig(name="x", kind="folder")
