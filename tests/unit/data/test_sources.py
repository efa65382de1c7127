import pickle
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from tests.helpers.badfiles import write_dataset

from veriscope.config.schema import DataConfig, SyntheticConfig
from veriscope.data.manifest import Manifest
from veriscope.data.pack import pack
from veriscope.data.places import read_bytes
from veriscope.data.sources import load_manifest, mapped, shuffle_labels
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


def test_shards_and_hugging_face_data_arrive(root, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = load_manifest(DataConfig(name="x", kind="folder", root=root), paths_cache=tmp_path / "cache")
    pack(folder, tmp_path / "packed", shard_bytes=10_000)
    shards = load_manifest(
        DataConfig(name="x", kind="shards", root=tmp_path / "packed"), paths_cache=tmp_path / "cache"
    )
    assert shards.content_hash == folder.content_hash
    kept = mapped(shards, paths_cache=tmp_path / "cache")
    assert mapped(folder, paths_cache=tmp_path / "cache").absolute_path(0) != kept.absolute_path(0)
    assert read_bytes(pickle.loads(pickle.dumps(kept)).absolute_path(3)) == folder.absolute_path(3).read_bytes()
    images = [{"bytes": folder.absolute_path(row).read_bytes(), "path": None} for row in range(12)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["real", "fake"])})
    rows = {"image": images, "label": folder.labels.tolist()}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "hf")
    found = load_manifest(DataConfig(name="x", kind="hf", file=tmp_path / "hf"), paths_cache=tmp_path / "cache")
    assert found.labels.tolist() == folder.labels.tolist()
    assert read_bytes(found.absolute_path(7)) == images[7]["bytes"]
    pack(found, tmp_path / "again", shard_bytes=10_000)
    again = load_manifest(DataConfig(name="x", kind="shards", root=tmp_path / "again"), paths_cache=tmp_path / "cache")
    assert again.content_hash == found.content_hash


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kind": "shards"}, "needs data.root=DIR"),
        ({"kind": "hf"}, "needs data.file=DIR"),
        ({"kind": "folder", "root": Path("x"), "label_column": "y"}, "label_column has no effect on data.kind=folder"),
        ({"kind": "hf", "file": Path("x"), "window_shards": 2}, "window_shards has no effect on data.kind=hf"),
    ],
)
def test_keys_belong_to_their_kinds(more, words):
    with pytest.raises(ValidationError, match=words):
        DataConfig(name="x", **more)
