import json
import os
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from tests.helpers.badfiles import write_dataset
from tests.helpers.shards import jpeg, said, web_shard, write_tar

from veriscope.data.manifest import Manifest
from veriscope.data.pack import pack
from veriscope.data.places import read_bytes
from veriscope.data.scan import scan_folder
from veriscope.data.shards import INDEX_NAME, ShardRules, load_shards
from veriscope.errors import DataError
from veriscope.types import Split


def load(root, cache=None, **rules):
    return load_shards(root, rules=ShardRules(**rules), cache=cache or root.parent / "cache")


def test_a_strangers_shards(tmp_path):
    """Keys, .cls labels, the split from the shard's name or folder; bytes as stored; the same from the kept headers."""
    web_shard(tmp_path / "d" / "train-00000.tar")
    web_shard(tmp_path / "d" / "valid" / "00000.tar", start=100)
    for _ in range(2):
        manifest = load(tmp_path / "d")
        assert manifest.table["path"].to_pylist()[:2] == ["train-00000/0000.jpg", "train-00000/0001.jpg"]
        assert manifest.labels.tolist() == [0, 1] * 6
        assert manifest.splits.tolist() == ["train"] * 6 + ["val"] * 6
        assert read_bytes(manifest.absolute_path(7)) == jpeg(101)
    assert len(list((tmp_path / "cache/shards").iterdir())) == 1
    assert load(tmp_path / "d", splits={"valid": Split.TEST}).splits.tolist()[-1] == "test"
    turned = load(tmp_path / "d", class_map={"0": "fake", "1": "real"})
    assert turned.labels.tolist() == [1, 0] * 6


def test_what_json_says(tmp_path):
    rows = [
        {"label": "camera", "split": "test", "group": 7, "path": "x/1.jpg", "set": "phones"},
        {"label": "sd14", "generator": "sd", "who": "anna"},
        {"label": None},
    ]
    members = [(f"a/{n}.jpg", jpeg(n)) for n in range(3)] + [(f"a/{n}.json", said(**row)) for n, row in enumerate(rows)]
    members += [
        ("a/2.cls", b" 1\n"),
        ("a/2.txt", b"a caption"),
        ("a/._2.jpg", b"macOS"),
        ("b.json", said(label="real")),
    ]
    write_tar(tmp_path / "s.tar", members)
    own = {"class_map": {"camera": "real", "sd14": "fake"}, "source_column": "set"}
    manifest = load(tmp_path, **own)
    assert [manifest.sample(row) for row in range(3)] == [
        ("s/a/1.jpg", 1, None, None, "sd"),
        ("s/a/2.jpg", 1, None, None, None),
        ("x/1.jpg", 0, Split.TEST, "7", None),
    ]
    assert manifest.sources.tolist() == [None, None, "phones"]
    assert load(tmp_path, group_column="who", **own).groups.tolist() == ["anna", None, None]


def test_two_pictures_of_a_key_have_to_be_told_apart(tmp_path):
    members = [(f"{n}.{ending}", jpeg(n)) for n in range(2) for ending in ("jpg", "mask.png")]
    write_tar(tmp_path / "s.tar", [*members, ("0.cls", b"0"), ("1.cls", b"1")])
    with pytest.raises(DataError, match=r"key '0'.*jpg, mask.png.*data.image_column=jpg"):
        load(tmp_path)
    assert load(tmp_path, image_column="mask.png").table["path"].to_pylist() == ["s/0.mask.png", "s/1.mask.png"]


TWICE = [(f"{number}.jpg", b"x") for number in range(2)]
TWICE += [(f"{number}.json", said(label=number, path="p")) for number in range(2)]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("1.jpg", b"x"), ("1.jpg", b"y")], "holds '1.jpg' twice"),
        ([("1.jpg", b"x"), ("./1.jpg", b"y")], "holds '1.jpg' twice"),
        ([("1.jpg", b"x"), ("1.txt", b"real")], "s.tar', key '1': no label"),
        ([("1.jpg", b"x"), ("1.cls", b"7")], "key '1': unknown label '7'"),
        ([("1.jpg", b"x"), ("1.cls", b"\xff\xfe")], "'1.cls' can't be read as CLS"),
        ([("1.jpg", b"x"), ("1.json", b"{")], "'1.json' can't be read as JSON"),
        ([("1.jpg", b"x"), ("1.json", b"[" * 60_000)], "'1.json' can't be read as JSON"),
        ([("1.jpg", b"x"), ("1.json", b"[1]")], "no object with names"),
        ([("1.jpg", b"x"), ("1.json", b"x" * 70_000)], "70,000 bytes"),
        ([("1.jpg", b"x"), ("1.json", said(label=True))], "'label' is true"),
        ([("1.jpg", b"x"), ("1.json", said(label=["real"]))], "expected a word or whole number"),
        ([("1.jpg", b"x"), ("1.json", said(label="real", group="\ud800"))], "'group' is"),
        ([("1.jpg", b"x"), ("1.json", said(label="real", split="tset"))], "unknown split 'tset'"),
        ([("1.jpg", b"x"), ("1.json", said(label="real", path="../../etc/passwd"))], "leaves the folder"),
        ([("1.jpg", b"x"), ("1.json", said(label="real", path="/etc/passwd"))], "leaves the folder"),
        ([("1.jpg", b"x"), ("1.json", said(label="real", path="a\0b"))], "leaves the folder"),
        ([("1.jpg", b"x"), ("1.json", said(label="real", path="\ud800"))], "leaves the folder"),
        ([("../1.jpg", b"x"), ("../1.cls", b"0")], "leaves the folder"),
        ([("1.jpg", b"x"), ("1.cls", b"0")], "only the class real"),
        ([("1.txt", b"x")], "no picture in them"),
        (TWICE, "'p' stands twice"),
    ],
)
def test_what_shards_may_not_say(tmp_path, members, words):
    write_tar(tmp_path / "s.tar", members)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert words in str(caught.value)


def test_no_shards(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere")
    (tmp_path / "x.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds no shards.*'x.tar.gz' is compressed"):
        load(tmp_path)


@pytest.fixture
def packed(tmp_path):
    manifest = scan_folder(write_dataset(tmp_path / "data", num_images=4, size_px=32))
    pack(manifest, tmp_path / "packed", shard_bytes=6000)
    return tmp_path / "packed"


def altered(packed, **columns):
    """Write the index anew with columns replaced: `name=value` for the first row."""
    table = Manifest.open(packed / INDEX_NAME).table
    for name, value in columns.items():
        values = table[name].to_pylist()
        values[0] = value
        field = table.schema.field(name)
        column = pa.array(values, field.type.value_type if pa.types.is_dictionary(field.type) else field.type)
        column = column.dictionary_encode() if pa.types.is_dictionary(field.type) else column
        table = table.set_column(table.column_names.index(name), field, column)
    Manifest(table, root=packed).save(packed / INDEX_NAME)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"file": "../data.tar"}, "none of this folder"),
        ({"file": "/etc/x.tar"}, "none of this folder"),
        ({"file": "a/../b.tar"}, "none of this folder"),
        ({"file": "shards.json"}, "none of this folder"),
        ({"file": "other.tar"}, "'other.tar' is missing|other.tar' is missing"),
        ({"file": None}, "not which shard"),
        ({"offset": None}, "not which shard"),
        ({"offset": 10**12}, "is shorter than"),
        ({"offset": -1}, "is shorter than"),
        ({"size_bytes": 10**9}, "is shorter than"),
        ({"size_bytes": -5}, "is shorter than"),
        ({"label": 7}, "label 7"),
        ({"split": "tset"}, "unknown split"),
        ({"path": "../../x.jpg"}, "leaves the folder"),
        ({"path": "/x.jpg"}, "leaves the folder"),
        ({"path": "real/000.jpg"}, "stands twice"),
    ],
)
def test_an_index_is_checked(packed, columns, words):
    altered(packed, **columns)
    with pytest.raises(DataError, match=words):
        load(packed)


def test_an_index_of_something_else(packed):
    Manifest.from_columns(["a", "b"], root=packed, labels=[0, 1], size_bytes=[1, 1]).save(packed / INDEX_NAME)
    with pytest.raises(DataError, match="not which shard"):
        load(packed)
    (packed / INDEX_NAME).write_bytes(b"no arrow")
    with pytest.raises(DataError, match="not a manifest"):
        load(packed)
    (packed / INDEX_NAME).unlink()
    assert len(load(packed)) == 8


def test_a_shard_that_shrank_or_is_a_pipe(packed):
    shard = sorted(packed.glob("*.tar"))[0]
    data = shard.read_bytes()
    shard.write_bytes(data[:600])
    with pytest.raises(DataError, match="is shorter than"):
        load(packed)
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(DataError, match="is missing"):
        load(packed)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (os.mkfifo, "no regular file"),
        (lambda path: path.symlink_to("nowhere"), "broken link"),
        (lambda path: web_shard(path.parent / os.fsdecode(b"\xff.tar")), "not valid UTF-8"),
    ],
)
def test_shards_without_an_index_that_are_no_files(tmp_path, plant, words):
    web_shard(tmp_path / "d/s.tar")
    plant(tmp_path / "d/t.tar")
    with pytest.raises(DataError, match=words):
        load(tmp_path / "d")


def test_two_labels_of_one_picture_that_differ_are_refused(tmp_path):
    members = [("a.jpg", jpeg(0)), ("a.cls", b"0"), ("a.json", said(label="real"))]
    members += [("b.jpg", jpeg(1)), ("b.cls", b"17"), ("b.json", said(label="fake"))]  # a class of another kind
    write_tar(tmp_path / "d/s.tar", members)
    assert load(tmp_path / "d").labels.tolist() == [0, 1]
    write_tar(tmp_path / "d/s.tar", [*members, ("c.jpg", jpeg(2)), ("c.cls", b"0"), ("c.json", said(label="fake"))])
    with pytest.raises(DataError, match=r"key 'c': its JSON says 'fake' and its \.cls '0'"):
        load(tmp_path / "d")
    assert load(tmp_path / "d", label_column="label").labels.tolist() == [0, 1, 1]


def test_any_damage_to_an_index_is_told(packed):
    """Arrow trusts what it maps: unchecked, some of these end the process."""
    data = (packed / INDEX_NAME).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        hurt = bytearray(data)
        for place in rng.integers(len(data), size=rng.integers(1, 6)):
            hurt[place] = rng.choice([0, 255, 128, rng.integers(256)])
        (packed / INDEX_NAME).unlink()
        (packed / INDEX_NAME).write_bytes(hurt)
        with suppress(DataError):
            manifest = load(packed)
            assert len(manifest.content_hash) == 64
            assert all(manifest.absolute_path(row) for row in range(len(manifest)))


def test_a_shard_of_another_packing_is_refused(packed):
    """Of the same length it would lend its pictures the labels of others."""
    first, second = sorted(packed.glob("*.tar"))[:2]
    size = max(first.stat().st_size, second.stat().st_size)
    data = {shard: shard.read_bytes().ljust(size, b"\0") for shard in (first, second)}
    first.write_bytes(data[second])
    with pytest.raises(DataError, match="is not the one that its index was made with"):
        load(packed)
    end = data[first].rindex(b"ustar")  # as a copy that was cut short on a disk that reserves the space
    first.write_bytes(data[first][:end].ljust(size, b"\0"))
    with pytest.raises(DataError, match="is not the one that its index was made with"):
        load(packed)
    first.write_bytes(data[first])
    assert len(load(packed)) == 8


def test_changed_headers_are_read_anew(tmp_path):
    web_shard(tmp_path / "d/s.tar")
    assert len(load(tmp_path / "d")) == 6
    web_shard(tmp_path / "d/s.tar", num_pairs=5)
    assert len(load(tmp_path / "d")) == 10


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path):
    web_shard(tmp_path / "d/s.tar")
    (tmp_path / "file").write_text("")
    assert len(load(tmp_path / "d", cache=tmp_path / "file")) == 6


def test_the_layout_is_webdatasets(packed):
    """As the format's own rule reads it: a key ends at the first dot of the name."""
    import tarfile

    for shard in packed.glob("*.tar"):
        with tarfile.open(shard) as tar:
            names = tar.getnames()
            keys = [name.split(".", 1) for name in names]
            assert [key for key, _ in keys[::2]] == [key for key, _ in keys[1::2]]
            assert {ending for _, ending in keys} == {"jpg", "json"}
            told = json.loads(tar.extractfile(names[1]).read())
            assert told.keys() == {"label", "path"}
            assert told["path"].startswith(told["label"])
    assert np.unique(load(packed).files).size == len(list(packed.glob("*.tar"))) > 1
