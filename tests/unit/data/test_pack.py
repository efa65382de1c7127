import json
import os
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.badfiles import write_dataset, write_readable, write_unreadable

from veriscope.bundle.seen import fingerprints
from veriscope.cli import main
from veriscope.data.dataset import DetectionDataset
from veriscope.data.manifest import Manifest
from veriscope.data.pack import check_pack, pack
from veriscope.data.places import read_bytes
from veriscope.data.scan import scan_folder
from veriscope.data.shards import ShardRules, load_shards
from veriscope.errors import DataError
from veriscope.types import InputSpec


@pytest.fixture
def awkward(tmp_path):
    """A folder with every kind of sound and of damaged file, splits and generators."""
    for split in ("train", "test"):
        root = write_dataset(tmp_path / "data" / split, num_images=3, size_px=32)
        (root / "fake" / "sd14").mkdir()
        write_readable(root / "fake" / "sd14")
    write_unreadable(tmp_path / "data/train/real")
    (tmp_path / "data/train/real/folder.jpg").rmdir()
    return scan_folder(tmp_path / "data")


def opened(folder):
    return load_shards(folder, rules=ShardRules(), cache=folder.parent / "cache")


def test_packed_data_are_the_same_data(awkward, tmp_path):
    """Content hash, bytes, fingerprints, network inputs and reasons of what can't be read; by index and by headers."""
    result = pack(awkward, tmp_path / "out", shard_bytes=30_000)
    assert (result.num_pictures, result.content_hash) == (len(awkward), awkward.content_hash)
    assert result.num_shards == len(list((tmp_path / "out").glob("*.tar"))) > 3
    by_index = opened(tmp_path / "out")
    (tmp_path / "out/manifest.arrow").unlink()
    by_headers = opened(tmp_path / "out")
    seen = fingerprints(awkward.absolute_paths())
    broken = awkward.table["size_bytes"].to_numpy() == 0
    items = DetectionDataset(awkward, InputSpec(size_px=32), mode="eval", max_pixels=10**6)
    assert broken.sum() == 3
    for other in (by_index, by_headers):
        assert other.content_hash == awkward.content_hash
        assert np.array_equal(fingerprints(other.absolute_paths())[~broken], seen[~broken])
        mine = DetectionDataset(other, InputSpec(size_px=32), mode="eval", max_pixels=10**6)
        for row in range(len(awkward)):
            one, two = items[row], mine[row]
            assert np.array_equal(one["image"], two["image"])
            assert bool(one["unreadable"]) == bool(two["unreadable"])
            if not broken[row]:
                assert read_bytes(other.absolute_path(row)) == awkward.absolute_path(row).read_bytes()
                assert one["unreadable"] == two["unreadable"]


def test_packing_is_deterministic_and_mixes(tmp_path):
    manifest = scan_folder(write_dataset(tmp_path / "data", num_images=40, size_px=32))
    for name in ("a", "b"):
        pack(manifest, tmp_path / name, shard_bytes=30_000)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "b").iterdir())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)
    found = opened(tmp_path / "a")
    sizes = [path.stat().st_size for path in (tmp_path / "a").glob("*.tar")]
    assert max(sizes) < 1.3 * min(sizes)
    for name in set(found.files):
        assert 0.1 < found.labels[found.files == name].mean() < 0.9
    pack(manifest, tmp_path / "c", shard_bytes=30_000, seed=1)
    assert opened(tmp_path / "c").content_hash == found.content_hash
    assert opened(tmp_path / "c").files.tolist() != found.files.tolist()


def test_subsets_and_saved_ones_keep_their_places(awkward, tmp_path):
    pack(awkward, tmp_path / "out", shard_bytes=30_000)
    part = opened(tmp_path / "out").take([3, 9, 11])
    for other in (part, part.save(tmp_path / "part.arrow"), part.with_labels(1 - part.labels)):
        assert [read_bytes(other.absolute_path(row)) for row in range(3)] == [
            read_bytes(awkward.absolute_path(row)) for row in (3, 9, 11)
        ]


def test_splits_have_shards_of_their_own(awkward, tmp_path):
    pack(awkward, tmp_path / "out", shard_bytes=10**9)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["test-00000.tar", "train-00000.tar"]


def test_absolute_paths_and_odd_names(tmp_path):
    root = write_dataset(tmp_path / "data", num_images=1, size_px=32)
    (root / "real/000.jpg").rename(root / "real/no ending")
    names = [f"{root}/real/no ending", f"{root}/fake/000.jpg"]
    sizes = [Path(name).stat().st_size for name in names]
    manifest = Manifest.from_columns(names, root=Path("/"), labels=[0, 1], size_bytes=sizes)
    pack(manifest, tmp_path / "out", shard_bytes=10**6)
    (tmp_path / "out/manifest.arrow").unlink()
    found = opened(tmp_path / "out")
    assert found.table["path"].to_pylist() == sorted(name.lstrip("/") for name in names)
    assert read_bytes(found.absolute_path(1)) == (root / "real/no ending").read_bytes()


def test_what_stops_a_packing(awkward, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/x").write_text("")
    with pytest.raises(DataError, match="not empty"):
        pack(awkward, tmp_path / "taken", shard_bytes=10**6)
    awkward.absolute_path(int(np.flatnonzero(awkward.labels == 1)[0])).unlink()
    with pytest.raises(DataError, match="can't be read any more"):
        pack(awkward, tmp_path / "out", shard_bytes=10**6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "taken"]


def test_what_a_killed_packing_left_is_named(tmp_path, caplog):
    """It may be as large as the data, and is hidden."""
    manifest = scan_folder(write_dataset(tmp_path / "data", num_images=2, size_px=32))
    (tmp_path / ".out[1].0123456789ab.partial").mkdir()
    pack(manifest, tmp_path / "out[1]", shard_bytes=10**6)
    assert f"'{tmp_path}/.out[1].0123456789ab.partial' is of a packing that runs, or was killed" in caplog.text
    assert (tmp_path / ".out[1].0123456789ab.partial").exists()


def test_a_pipe_is_packed_as_unreadable_and_not_waited_for(tmp_path):
    root = write_dataset(tmp_path / "data", num_images=2, size_px=32)
    os.mkfifo(root / "real/pipe.jpg")
    assert pack(scan_folder(root), tmp_path / "out", shard_bytes=10**6).num_unreadable == 1


def test_a_file_that_changes_or_is_no_picture_stops_a_packing(tmp_path):
    root = write_dataset(tmp_path / "data", num_images=2, size_px=32)
    manifest = scan_folder(root)
    (root / "real/000.jpg").write_bytes(b"longer" * 1000)
    with pytest.raises(DataError, match=r"when it was listed and has 6,000 now"):
        pack(manifest, tmp_path / "out", shard_bytes=10**6)
    os.truncate(root / "real/000.jpg", 10_000_000_000)
    with pytest.raises(DataError, match="too large for a picture"):
        pack(scan_folder(root), tmp_path / "out", shard_bytes=10**6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
    (root / "real/000.jpg").unlink()
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link"):
        pack(scan_folder(root), tmp_path / "out", shard_bytes=10**6)
    with pytest.raises(DataError, match="not valid UTF-8"):
        pack(scan_folder(root), tmp_path / os.fsdecode(b"o\xff"), shard_bytes=10**6)


def test_check_finds_what_changed(awkward, tmp_path):
    out = tmp_path / "out"
    pack(awkward, out, shard_bytes=30_000)
    assert check_pack(out) == []
    first, second, third = sorted(out.glob("*.tar"))[:3]
    data = bytearray(first.read_bytes())
    data[700] ^= 1
    first.write_bytes(data)
    second.write_bytes(second.read_bytes() + b"x")
    third.unlink()
    assert [fault.split(": ")[0] for fault in check_pack(out)] == [first.name, second.name, third.name]
    record = json.loads((out / "shards.json").read_text())
    record["shards"][0]["file"] = "../../etc/passwd"
    (out / "shards.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match="don't trust"):
        check_pack(out)
    (out / "shards.json").write_text("{}")
    with pytest.raises(DataError, match="damaged"):
        check_pack(out)
    with pytest.raises(DataError, match=r"no shards.json"):
        check_pack(tmp_path)


def test_the_command(tmp_path, capsys):
    root = write_dataset(tmp_path / "data", num_images=3, size_px=32)
    assert main(["pack", str(root), str(tmp_path / "out"), "--set", f"paths.cache={tmp_path / 'c'}"]) == 0
    assert "data=shards data.root=" in capsys.readouterr().out
    assert main(["pack", str(tmp_path / "out"), "--check"]) == 0
    assert main(["pack", str(tmp_path / "out"), str(tmp_path / "again"), "--shard-mb", "1"]) == 0
    assert opened(tmp_path / "again").content_hash == scan_folder(root).content_hash
    (tmp_path / "out/pictures-00000.tar").unlink()
    assert main(["pack", str(tmp_path / "out"), "--check"]) == 1
    assert main(["pack", str(root)]) == 2
    assert main(["pack", "rvf1k", "x"]) == 2
    assert "rvf10k" in capsys.readouterr().err
