import csv

import numpy as np
import pytest

from veriscope.audit.align_folder import Done, folder_name, is_complete, open_folder, out_paths, refuse_other
from veriscope.data.manifest import Manifest
from veriscope.data.readers import read_manifest_file
from veriscope.errors import DataError, RunError

KEY = {"seed": 42, "data": "abc"}


def manifest_of(paths, labels, **columns):
    return Manifest.from_columns(paths, root="/nowhere", labels=labels, size_bytes=np.ones(len(paths), int), **columns)


def test_names_keep_splits_classes_and_generators():
    manifest = manifest_of(
        ["a/train/x.png", "b/y.jpeg", "c/z.jpg"],
        [0, 1, 1],
        splits=["train", "test", None],
        generators=[None, "stylegan", None],
    )
    assert out_paths(manifest, suffix=".jpg") == ["train/real/x.jpg", "test/fake/stylegan/y.jpg", "train/fake/z.jpg"]
    assert out_paths(manifest_of(["x.png"], [0]), suffix=".png") == ["real/x.png"]


def test_two_that_would_meet_get_other_names_whatever_their_order():
    manifest = manifest_of(["a/x.jpg", "b/X.png", "b/y.png"], [0, 0, 0])
    names = out_paths(manifest, suffix=".jpg")
    assert names[2] == "real/y.jpg"
    assert len({name.casefold() for name in names}) == 3
    assert all("-" in name for name in names[:2])


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", ".", "", ".hidden", "a/b", "a\\b", "real", "TRAIN", "x" * 300,
             "con\n", "a b", "-rf", "\x1b[31m", "~", "=cmd()", "*", "ü 写真 🙂"],
)  # fmt: skip
def test_no_name_leads_out(name):
    made = folder_name(name)
    assert made not in ("", ".", "..", name)
    assert not made.startswith((".", "-", "~", "="))
    assert "/" not in made
    assert "\\" not in made
    assert made.isprintable()
    assert len(made) < 100
    manifest = manifest_of([f"a/{name}.jpg"], [1], generators=[name])
    parts = out_paths(manifest, suffix=".jpg")[0].split("/")
    assert parts[0] == "fake"
    assert len(parts) == 3


def test_plain_names_stay():
    assert folder_name("stylegan2-ada_v1") == "stylegan2-ada_v1"
    assert folder_name("a b") != folder_name("a_b")


@pytest.fixture
def paths():
    return ["real/a.jpg", "fake/g/b.jpg", "fake/g/c.jpg"]


def test_what_is_there_is_not_made_again(tmp_path, paths):
    out = tmp_path / "out"
    with open_folder(out, key=KEY, paths=paths, rows=[0, 1, 2]) as folder:
        assert folder.load_done() == {}
        with folder.recording() as recorder:
            for row in (0, 1):
                folder.write(row, b"12345")
                recorder.note(Done(row, 5, "hash"))
            recorder.note(Done(2, problem="truncated"))
    hurt = (
        b'{"row": "1"}\n{"row": -2, "size_bytes": 5}\n{"row": 9}\n[]\n\xff\0\n{"row": 2, "size_by'  # the last: kill -9
    )
    with (out / ".align" / "done.jsonl").open("ab") as lines:
        lines.write(hurt)
    (out / "fake" / "g" / ".c.jpg.123456789abc.partial").write_bytes(b"12")
    (out / "real" / "a.jpg").write_bytes(b"123")  # damaged since
    with open_folder(out, key=KEY, paths=paths, rows=[0, 1, 2]) as folder:
        assert folder.load_done() == {1: Done(1, 5, "hash")}
        assert [entry.name for entry in (out / "fake" / "g").iterdir()] == ["b.jpg"]
        with folder.recording() as recorder:
            recorder.note(Done(0, 3, "hash"))
        assert set(folder.load_done()) == {0, 1}
    assert not is_complete(out)


def test_another_key_or_something_else_is_refused(tmp_path, paths):
    out = tmp_path / "out"
    with open_folder(out, key=KEY, paths=paths, rows=[0]):
        pass
    with pytest.raises(DataError, match="made otherwise: seed 42, now 1"):
        refuse_other(out, key={**KEY, "seed": 1})
    other = tmp_path / "other"
    other.mkdir()
    refuse_other(other, key=KEY)
    (other / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty and no alignment"):
        refuse_other(other, key=KEY)
    with pytest.raises(DataError, match="is a file"):
        refuse_other(other / "mine.txt", key=KEY)
    (out / ".align" / "plan.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        refuse_other(out, key=KEY)


def test_nothing_is_written_through_a_link(tmp_path, paths):
    away = tmp_path / "away"
    away.mkdir()
    (tmp_path / "link").symlink_to(away)
    with pytest.raises(DataError, match="is a link"):
        refuse_other(tmp_path / "link", key=KEY)
    out = tmp_path / "out"
    with open_folder(out, key=KEY, paths=paths, rows=[0]) as folder:
        (away / "file").write_bytes(b"old")
        (out / "real" / "a.jpg").symlink_to(away / "file")
        folder.write(0, b"new")
        assert (away / "file").read_bytes() == b"old"
        assert not (out / "real" / "a.jpg").is_symlink()
        (out / "real" / "a.jpg").unlink()
        (out / "real" / "a.jpg").symlink_to(away / "file")
        with folder.recording() as recorder:
            recorder.note(Done(0, 3, "hash"))
        assert folder.load_done() == {}
    (out / "fake").symlink_to(away)
    with (
        pytest.raises(DataError, match=r"fake' is a link"),
        open_folder(out, key=KEY, paths=paths, rows=[0, 1]),
    ):
        pass
    assert [entry.name for entry in away.iterdir()] == ["file"]


def test_two_processes_do_not_share_a_folder(tmp_path, paths):
    out = tmp_path / "out"
    with (
        open_folder(out, key=KEY, paths=paths, rows=[0]),
        pytest.raises(RunError, match="another process"),
        open_folder(out, key=KEY, paths=paths, rows=[0]),
    ):
        pass


def test_the_list_opens_as_the_same_data(tmp_path):
    manifest = manifest_of(
        ["a.png", "b.png", "c.png"],
        [0, 1, 1],
        splits=["train", "val", "val"],
        groups=["p1", "p1", '=p"2\n'],
        generators=[None, "sd", "sd"],
    )
    paths = out_paths(manifest, suffix=".jpg")
    out = tmp_path / "out"
    done = {0: Done(0, 3, "aa"), 1: Done(1, 3, "bb"), 2: Done(2, problem="truncated")}
    with open_folder(out, key=KEY, paths=paths, rows=[0, 1]) as folder:
        for row in (0, 1):
            folder.write(row, b"123")
        folder.finish(manifest, done, summary={"x": 1})
    assert is_complete(out)
    assert sorted(entry.name for entry in out.iterdir()) == ["align.json", "manifest.csv", "train", "val"]
    found = read_manifest_file(out / "manifest.csv")
    assert found.table["path"].to_pylist() == ["train/real/a.jpg", "val/fake/sd/b.jpg"]
    assert found.splits.tolist() == ["train", "val"]
    assert found.groups.tolist() == ["p1", "p1"]
    assert found.generators.tolist() == [None, "sd"]
    rows = list(csv.DictReader((out / "manifest.csv").open()))
    assert [(row["source_path"], row["source_sha256"]) for row in rows] == [("a.png", "aa"), ("b.png", "bb")]
