import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriscope.bench.manifest import benchmark_manifest, build_rows
from veriscope.data.manifest import Manifest
from veriscope.errors import DataError
from veriscope.types import Sample, Split


def manifest(root=Path("/data"), order=None, **changes):
    columns = {
        "paths": ["real/b.jpg", "fake/ü.jpg", "fake/a.jpg", "real/ä.jpg"],
        "labels": [0, 1, 1, 0],
        "size_bytes": [10, 20, 30, 40],
        "splits": ["train", None, "test", "val"],
        "groups": ["anna", None, "bert", "anna"],
        "generators": [None, "began", "began", None],
    } | changes
    if order is not None:
        columns = {name: [values[i] for i in order] for name, values in columns.items()}
    return Manifest.from_columns(columns.pop("paths"), root=root, **columns)


def test_rows_are_sorted_and_complete():
    one = manifest()
    assert [one.sample(i) for i in range(4)] == [
        Sample("fake/a.jpg", 1, Split.TEST, "bert", "began"),
        Sample("fake/ü.jpg", 1, None, None, "began"),
        Sample("real/b.jpg", 0, Split.TRAIN, "anna", None),
        Sample("real/ä.jpg", 0, Split.VAL, "anna", None),
    ]
    assert one.labels.tolist() == [1, 1, 0, 0]
    assert one.labels.dtype == np.int8
    assert one.splits.tolist() == ["test", None, "train", "val"]
    assert one.groups.tolist() == ["bert", None, "anna", "anna"]
    assert one.class_counts() == {"real": 2, "fake": 2}
    assert one.absolute_path(0) == Path("/data/fake/a.jpg")


def test_group_codes_keep_single_files_apart():
    codes = manifest().group_codes
    assert codes[2] == codes[3]
    assert len(set(codes.tolist())) == 3
    assert manifest(groups=[None] * 4).group_codes is None


@given(st.permutations(range(4)))
def test_order_on_disk_and_root_leave_the_hash(order):
    assert manifest(order=order).content_hash == manifest(root=Path("/elsewhere")).content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"labels": [0, 1, 1, 1]},
        {"size_bytes": [10, 20, 30, 41]},
        {"paths": ["real/b.jpg", "fake/ü.jpg", "fake/a.jpg", "real/c.jpg"]},
        {"splits": ["train", "train", "test", "val"]},
        {"groups": ["anna", None, "bert", "bert"]},
        {"groups": ["anna", "", "bert", "anna"]},
        {"generators": [None, "pggan", "began", None]},
        {"sources": [None, "faces", "faces", None]},
    ],
)
def test_any_change_changes_the_hash(change):
    assert manifest(**change).content_hash != manifest().content_hash


def test_data_without_sources_keeps_the_hash_that_older_bundles_know_it_by():
    one = Manifest.from_columns(
        ["b.png", "a.jpg"],
        root=Path("/data"),
        labels=[1, 0],
        size_bytes=[20, 10],
        splits=["val", None],
        groups=[None, "anna"],
        generators=["gan", None],
    )
    # Computed by the version before manifests had a column of sources.
    assert one.content_hash == "67c78e45cb0d6d5471012f8e1d5b1b92adb13a5055f22297e1ac4e241e528d50"


def test_hash_does_not_depend_on_how_the_table_came_about(tmp_path):
    one = manifest()
    saved = one.save(tmp_path / "m.arrow")
    half = one.take([2, 0, 1, 3])
    shifted = build_rows(50, root=Path("/x")).take(range(10, 30))
    again = pickle.loads(pickle.dumps(shifted))
    assert one.content_hash == saved.content_hash == half.content_hash
    assert shifted.content_hash == again.content_hash != one.content_hash


def test_duplicates_and_unknown_words_are_refused():
    with pytest.raises(DataError, match=r"'real/b\.jpg' stands twice"):
        manifest(paths=["real/b.jpg", "fake/ü.jpg", "real/b.jpg", "x"])
    with pytest.raises(DataError, match=r"'fake/ü\.jpg' has the label 2"):
        manifest(labels=[0, 2, 1, 0])
    with pytest.raises(DataError, match="unknown split"):
        manifest(splits=["train", None, "tset", "val"])
    with pytest.raises(DataError, match="not valid UTF-8"):
        manifest(paths=["real/\udcff.jpg", "a", "b", "c"])


def test_same_name_in_two_folders_is_no_duplicate():
    assert len(manifest(paths=["real/1.jpg", "fake/1.jpg", "real/2.jpg", "fake/2.jpg"])) == 4


def test_save_and_open(tmp_path):
    one = manifest(root=tmp_path)
    back = one.save(tmp_path / "deep" / "m.arrow")
    assert back.root == tmp_path
    assert [back.sample(i) for i in range(4)] == [one.sample(i) for i in range(4)]
    assert Manifest.open(tmp_path / "deep" / "m.arrow", root=Path("/y")).root == Path("/y")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["m.arrow"]  # no temporary file is left


def test_open_refuses_what_is_no_manifest(tmp_path):
    with pytest.raises(DataError, match="no manifest at"):
        Manifest.open(tmp_path / "none.arrow")
    (tmp_path / "text.arrow").write_text("hello")
    with pytest.raises(DataError, match="not a manifest"):
        Manifest.open(tmp_path / "text.arrow")


def test_pickle_of_a_saved_manifest_is_its_name(tmp_path):
    rows = build_rows(20_000, root=tmp_path)
    saved = rows.save(tmp_path / "m.arrow")
    parcel = pickle.dumps(saved)
    assert len(parcel) < 1000 < len(pickle.dumps(rows))
    assert pickle.loads(parcel).content_hash == rows.content_hash
    rows.save(tmp_path / "m.arrow")  # the same content written again by another run does no harm
    assert len(pickle.loads(parcel)) == 20_000
    rows.take(range(10)).save(tmp_path / "m.arrow")
    with pytest.raises(DataError, match="replaced while this run uses it"):
        pickle.loads(parcel)


def test_take_only_and_relabel():
    one = manifest()
    assert one.take([3, 0]).labels.tolist() == [1, 0]
    assert one.only(Split.VAL).sample(0).path == "real/ä.jpg"
    assert len(one.only(Split.TRAIN).take([])) == 0
    assert one.with_labels(np.array([0, 0, 1, 1])).labels.tolist() == [0, 0, 1, 1]
    assert one.has_splits
    assert not manifest(splits=[None] * 4).has_splits
    with pytest.raises(ValueError, match="twice"):
        one.take([1, 1])
    with pytest.raises(IndexError):
        one.take([4])


def test_a_large_manifest_opens_fast_and_costs_workers_little():
    figures = benchmark_manifest(100_000)
    assert figures["hash_equal"] == 1
    assert figures["open_s"] < 0.2
    assert figures["worker_spawn_unique_mib"] < 30  # 300 MiB are allowed for ten times the rows
    assert figures["worker_fork_unique_mib"] < 30
