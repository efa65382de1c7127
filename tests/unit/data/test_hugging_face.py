"""Read as `datasets` itself writes and opens them; nothing of it is replaced."""

import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.helpers.badfiles import write_dataset
from tests.helpers.shards import jpeg

from veriscope.data.hugging_face import load_hugging_face
from veriscope.data.places import read_bytes
from veriscope.data.shards import ShardRules
from veriscope.errors import DataError
from veriscope.types import Split

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path / "hf"))
    datasets.disable_progress_bars()


def load(place, **rules):
    return load_hugging_face(str(place), rules=ShardRules(**rules))


def made(count, *, start=0, **columns):
    """A data set of small JPEGs, labels in turn."""
    rows = range(start, start + count)
    data = {"image": [{"bytes": jpeg(row), "path": f"{row}.jpg"} for row in rows], "label": [row % 2 for row in rows]}
    names = datasets.ClassLabel(names=["camera", "sd14"])
    features = {"image": datasets.Image(), "label": names, **{key: datasets.Value("string") for key in columns}}
    return datasets.Dataset.from_dict({**data, **columns}, features=datasets.Features(features))


MEANING = {"camera": "real", "sd14": "fake"}


def stored(manifest):
    return {
        manifest.table["path"][row].as_py(): read_bytes(manifest.absolute_path(row)) for row in range(len(manifest))
    }


def test_saved_with_splits(tmp_path):
    parts = {"train": made(7, group=list("aabbccd")), "validation": made(4, start=50, group=list("wxyz"))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set", num_shards={"train": 3, "validation": 1})
    manifest = load(tmp_path / "set", class_map=MEANING)
    names = [f"train/{row:08d}.jpg" for row in range(7)] + [f"validation/{row:08d}.jpg" for row in range(4)]
    assert manifest.table["path"].to_pylist() == names
    assert stored(manifest) == dict(zip(names, map(jpeg, [*range(7), *range(50, 54)]), strict=True))
    assert manifest.labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1]
    assert manifest.splits.tolist() == ["train"] * 7 + ["val"] * 4
    assert manifest.groups.tolist() == list("aabbccdwxyz")
    assert manifest.generators.tolist()[:2] == [None, "sd14"]
    assert load(tmp_path / "set", class_map=MEANING, splits={"validation": Split.TEST}).splits[-1] == "test"
    shutil.move(tmp_path / "set", tmp_path / "moved")
    assert load(tmp_path / "moved", class_map=MEANING).content_hash == manifest.content_hash


def test_a_lone_train_split_says_nothing(tmp_path):
    made(4).save_to_disk(tmp_path / "set")
    assert not load(tmp_path / "set", class_map=MEANING).has_splits


def test_rows_that_were_chosen_or_turned_about(tmp_path):
    """save_to_disk writes a selection out; what lies on disk is what counts."""
    made(8).select([6, 1, 3, 0]).save_to_disk(tmp_path / "set")
    assert list(stored(load(tmp_path / "set", class_map=MEANING)).values()) == [jpeg(6), jpeg(1), jpeg(3), jpeg(0)]


def test_parquet_with_other_column_names(tmp_path):
    parts = {"train": range(5), "test": range(5, 9)}
    (tmp_path / "set").mkdir()
    for split, rows in parts.items():
        table = made(len(rows), start=rows[0]).rename_columns({"image": "jpeg", "label": "kind"})
        table.to_parquet(tmp_path / "set" / f"{split}-00000-of-00001.parquet")
    manifest = load(tmp_path / "set", class_map=MEANING)
    assert manifest.splits.tolist() == ["test"] * 4 + ["train"] * 5
    assert list(stored(manifest).values()) == [jpeg(row) for row in [*parts["test"], *parts["train"]]]
    assert load(tmp_path / "set", class_map=MEANING, image_column="jpeg", label_column="kind").labels.tolist() == (
        manifest.labels.tolist()
    )
    with pytest.raises(DataError, match=r"no column 'jepg'.*'jpeg'"):
        load(tmp_path / "set", image_column="jepg")


def test_a_folder_of_pictures_keeps_its_files(tmp_path):
    root = write_dataset(tmp_path / "set" / "train", num_images=3, size_px=32).parent
    write_dataset(root / "test", num_images=2, size_px=32)
    manifest = load(root)
    assert not any(name is not None for name in manifest.files)
    assert manifest.absolute_path(0) == root / "test/fake/000.jpg"
    assert manifest.labels.tolist() == [1, 1, 0, 0, 1, 1, 1, 0, 0, 0]
    assert all(manifest.absolute_path(row).read_bytes() for row in range(10))
    assert manifest.table["size_bytes"].to_numpy().min() > 0


def test_text_labels_and_empty_pictures(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    images = [{"bytes": jpeg(1), "path": None}, {"bytes": b"", "path": None}, {"bytes": jpeg(2), "path": None}]
    rows = {"image": images, "label": ["real", "fake", "Fake"]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    manifest = load(tmp_path / "set")
    assert manifest.labels.tolist() == [0, 1, 1]
    assert list(stored(manifest).values()) == [jpeg(1), b"", jpeg(2)]


@pytest.mark.parametrize("where", ["/etc/passwd", "../../secret.jpg"])
def test_a_path_out_of_the_set_is_refused(tmp_path, where):
    features = datasets.Features({"image": datasets.Image(decode=False), "label": datasets.Value("string")})
    rows = {"image": [{"bytes": None, "path": where}, {"bytes": jpeg(), "path": None}], "label": ["real", "fake"]}
    (tmp_path / "set").mkdir()
    made = datasets.Dataset.from_dict(rows, features=features)
    table = made.data.table.replace_schema_metadata(made.features.arrow_schema.metadata)
    pq.write_table(table, tmp_path / "set" / "train.parquet")
    with pytest.raises(DataError, match="leaves"):
        load(tmp_path / "set")


def test_what_is_no_use(tmp_path):
    label = datasets.Value("string")
    plain = datasets.Dataset.from_dict({"text": ["a"], "label": ["real"]})
    plain.save_to_disk(tmp_path / "text")
    with pytest.raises(DataError, match=r"no picture column.*data.image_column"):
        load(tmp_path / "text")
    with pytest.raises(DataError, match="holds string and no pictures"):
        load(tmp_path / "text", image_column="text")
    two = datasets.Features({"a": datasets.Image(), "b": datasets.Image(), "label": label})
    rows = {name: [{"bytes": jpeg(), "path": None}] * 2 for name in "ab"}
    datasets.Dataset.from_dict({**rows, "label": ["real", "real"]}, features=two).save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match=r"picture columns \['a', 'b'\]"):
        load(tmp_path / "two")
    with pytest.raises(DataError, match="only the class real"):
        load(tmp_path / "two", image_column="b")
    missing = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["real", "fake"])})
    rows = {"image": [{"bytes": jpeg(), "path": None}] * 3, "label": [0, -1, 1]}
    datasets.Dataset.from_dict(rows, features=missing).save_to_disk(tmp_path / "unlabelled")
    with pytest.raises(DataError, match=r"split 'train', row 1: no label"):
        load(tmp_path / "unlabelled")
    made(4).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match=r"unknown label 'camera'.*data.class_map"):
        load(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="can't be opened by Hugging Face"):
        load(tmp_path / "empty")


def test_compressed_arrow_files_are_noticed(tmp_path):
    made(4).save_to_disk(tmp_path / "set")
    (file,) = (tmp_path / "set").glob("*.arrow")
    with pa.memory_map(str(file)) as mapped:
        table = pa.ipc.open_stream(mapped).read_all()
    copy = pa.Table.from_batches([pa.RecordBatch.from_pydict(table.to_pydict(), schema=table.schema)])
    file.unlink()
    with pa.ipc.new_stream(str(file), copy.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(copy)
    with pytest.raises(DataError, match="compressed"):
        load(tmp_path / "set", class_map=MEANING)


def test_loaders_do_without_datasets(tmp_path):
    """What a worker process gets is a manifest; `datasets` and pandas stay out of it."""
    made(4).save_to_disk(tmp_path / "set")
    saved = load(tmp_path / "set", class_map=MEANING).save(tmp_path / "m.arrow")
    code = (
        "import sys; from pathlib import Path; from veriscope.data.manifest import Manifest\n"
        "from veriscope.data.dataset import DetectionDataset; from veriscope.types import InputSpec\n"
        f"manifest = Manifest.open(Path({str(tmp_path / 'm.arrow')!r}))\n"
        "items = DetectionDataset(manifest, InputSpec(size_px=32), mode='eval')\n"
        "assert [items[i]['unreadable'] for i in range(4)] == [''] * 4; assert 'datasets' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert np.unique(saved.files.astype(str)).size == 1


def test_a_damaged_arrow_file_is_named(tmp_path):
    """`datasets` and Arrow trust offsets and class numbers as they find them."""
    made(8).save_to_disk(tmp_path / "set")
    (file,) = (tmp_path / "set").glob("*.arrow")
    with pa.memory_map(str(file)) as mapped:
        table = pa.ipc.open_stream(mapped).read_all()
    table = table.set_column(1, table.schema.field("label"), pa.array([0, 1] * 3 + [0, 7]))
    file.unlink()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="the class 7, but has 2"):
        load(tmp_path / "set", class_map=MEANING)
    data = bytearray(file.read_bytes())
    offsets = np.cumsum([0, *(len(jpeg(row)) for row in range(8))], dtype=np.int32).tobytes()
    place = bytes(data).index(offsets) + 8
    data[place : place + 4] = b"\xff\xff\xff\x7f"
    file.unlink()
    file.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        load(tmp_path / "set", class_map=MEANING)
