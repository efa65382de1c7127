import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import write_unreadable
from tests.helpers.planted import grainy, write_planted

from veriscope.audit import align
from veriscope.audit.align_facts import header_facts, separations
from veriscope.cli import main
from veriscope.data.pack import pack
from veriscope.data.readers import read_manifest_file
from veriscope.data.scan import scan_folder
from veriscope.errors import DecodeError


def hashes(folder):
    """Return every file's hash by relative path."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def pictures(folder):
    return {name: value for name, value in hashes(folder).items() if name.endswith((".jpg", ".png", ".csv"))}


def told_apart(folder):
    manifest = scan_folder(folder)
    facts = [header_facts(manifest.absolute_path(row)) for row in range(len(manifest))]
    return separations(facts, labels=manifest.labels, generators=manifest.generators.tolist())


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return write_planted(tmp_path_factory.mktemp("planted") / "data")


@pytest.fixture(scope="module")
def aligned(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("aligned") / "out"
    before = hashes(planted)
    assert main(["align", str(planted), str(out)]) == 0
    assert hashes(planted) == before
    return out


def test_the_shortcuts_are_there_before_and_gone_after(planted, aligned):
    before, after = told_apart(planted), told_apart(aligned)
    for name in ("format", "JPEG quality", "subsampling", "progressive", "EXIF", "ICC profile", "aspect ratio"):
        assert before[name]["sd"] > 0.7, name
    assert before["shorter side"] == before["byte size"] == {"all": 1.0, "gan": 1.0, "sd": 1.0}
    for name, areas in after.items():
        if name != "byte size":  # what a picture shows
            assert areas == {"all": 0.5, "gan": 0.5, "sd": 0.5}, name
    assert after["byte size"]["all"] < 0.6


def test_it_opens_as_the_same_data(planted, aligned):
    source, folder, listed = (
        scan_folder(planted),
        scan_folder(aligned),
        read_manifest_file(aligned / "manifest.csv"),
    )
    assert folder.class_counts() == listed.class_counts() == source.class_counts()
    assert (
        sorted(map(str, folder.generators))
        == sorted(map(str, listed.generators))
        == sorted(map(str, source.generators))
    )
    said = json.loads((aligned / "align.json").read_text())
    assert said["data"]["content_hash"] == source.content_hash
    assert said["written"] == {"real": 12, "fake": 24}
    assert said["plan"] == {
        "size": "crop",
        "side_px": 96,
        "format": "jpeg",
        "qualities": {str(quality): 3 for quality in range(60, 84, 2)},
        "given_a_history": 30,  # 24 fakes, and the 6 real ones of finer chroma
    }
    assert said["tells_the_classes_apart"]["before"]["format"]["sd"] == 1.0
    assert said["provenance"]["seed"] == 42


def test_the_list_names_each_source(planted, aligned):
    for row in csv.DictReader((aligned / "manifest.csv").open()):
        source = planted / row["source_path"]
        assert hashlib.sha256(source.read_bytes()).hexdigest() == row["source_sha256"]
        assert source.stem == Path(row["path"]).stem


def test_the_same_whatever_the_number_of_workers(planted, aligned, tmp_path):
    assert main(["align", str(planted), str(tmp_path / "one"), "--workers", "1"]) == 0
    assert pictures(tmp_path / "one") == pictures(aligned)
    assert main(["align", str(planted), str(tmp_path / "seed"), "--seed", "7"]) == 0
    assert pictures(tmp_path / "seed") != pictures(aligned)


def test_what_is_there_is_not_made_again(planted, aligned, capsys):
    stamps = {path: path.stat().st_mtime_ns for path in aligned.rglob("*")}
    assert main(["align", str(planted), str(aligned)]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert stamps == {path: path.stat().st_mtime_ns for path in aligned.rglob("*")}
    assert main(["align", str(planted), str(aligned), "--seed", "1"]) == 2
    assert "made otherwise: seed 42, now 1" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(planted, tmp_path, capsys):
    assert main(["align", str(planted), str(tmp_path / "a" / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "12 real, 24 fake" in said
    assert "36 pictures: about" in said
    assert "are free. Nothing was written." in said
    assert not list(tmp_path.iterdir())


def test_other_options(planted, tmp_path):
    assert main(["align", str(planted), str(tmp_path / "png"), "--format", "png", "--size", "resize:64"]) == 0
    facts = [header_facts(path) for path in (tmp_path / "png").rglob("*.png")]
    assert len(facts) == 36
    assert {(fact.width_px, fact.height_px, fact.format) for fact in facts} == {(64, 64, "PNG")}
    assert main(["align", str(planted), str(tmp_path / "q"), "--quality", "50", "--size", "keep"]) == 0
    assert {header_facts(path).quality for path in (tmp_path / "q").rglob("*.jpg")} == {50}
    assert told_apart(tmp_path / "q")["shorter side"]["sd"] > 0.9  # as asked


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("data/out", "lie in each other"),
        ("data", "lie in each other"),
        (".", "lie in each other"),
        ("link/out", "lie in each other"),
        ("linked_out", "is a link"),
        ("full", "not empty and no alignment"),
    ],
)
def test_places_that_are_refused(tmp_path, capsys, out, words):
    data = write_planted(tmp_path / "data", num_images=3)
    (tmp_path / "link").symlink_to(data / "real")
    (tmp_path / "away").mkdir()
    (tmp_path / "linked_out").symlink_to(tmp_path / "away")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = hashes(tmp_path)
    assert main(["align", str(data), str(tmp_path / out)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert hashes(tmp_path) == before


def test_unreadable_pictures_are_listed_and_left_out(tmp_path, capsys):
    data = write_planted(tmp_path / "data", num_images=4)
    bad = write_unreadable(data / "real")
    os.mkfifo(data / "real" / "pipe.jpg")
    bad["folder.jpg"].rmdir()
    before = hashes(data)
    assert main(["align", str(data), str(tmp_path / "out")]) == 1
    assert hashes(data) == before
    missing = {
        entry["path"]: entry["reason"] for entry in json.loads((tmp_path / "out/align.json").read_text())["left_out"]
    }
    assert missing["real/truncated.png"] == "truncated"
    assert missing["real/truncated.jpg"] == "truncated"
    assert missing["real/pipe.jpg"] == "not a regular file"
    assert "too large" in missing["real/bomb.png"]
    assert len(missing) == 8
    assert len(scan_folder(tmp_path / "out")) == 12
    assert "left out: real/" in capsys.readouterr().err


def test_shards_give_what_their_folder_gives(planted, aligned, tmp_path):
    assert main(["pack", str(planted), str(tmp_path / "shards"), "--set", f"paths.cache={tmp_path}"]) == 0
    assert main(["align", str(tmp_path / "shards"), str(tmp_path / "out")]) == 0
    assert pictures(tmp_path / "out") == pictures(aligned)
    assert main(["align", str(tmp_path / "shards"), str(tmp_path / "shards" / "in")]) == 2


def test_a_file_too_large_for_memory_is_left_out_unread(tmp_path):
    data = write_planted(tmp_path / "data", num_images=3)
    with (data / "real" / "000.jpg").open("ab") as file:
        file.truncate(10 << 30)  # sparse: a sound header, and 10 GB behind it
    assert main(["align", str(data), str(tmp_path / "out")]) == 1
    (left_out,) = json.loads((tmp_path / "out/align.json").read_text())["left_out"]
    assert left_out == {
        "path": "real/000.jpg",
        "reason": "too large: 10,737,418,240 bytes, the limit is 536,870,910",
    }


def test_the_limit_of_the_data_holds(tmp_path):
    data = write_planted(tmp_path / "data", num_images=3)
    grainy(200, 200, seed=9).save(data / "real" / "large.jpg")
    assert main(["align", str(data), str(tmp_path / "out"), "--set", "data.max_pixels=20000"]) == 1
    (left_out,) = json.loads((tmp_path / "out/align.json").read_text())["left_out"]
    assert left_out["path"] == "real/large.jpg"
    assert left_out["reason"] == "too large: 200 x 200 pixels, the limit is 20,000 in all"


def test_a_list_with_splits_and_groups(tmp_path):
    write_planted(tmp_path / "data", num_images=4)
    lines = ["path,label,split,group,generator"]
    for number in range(4):
        split = "test" if number == 3 else "train"
        lines += [
            f"data/real/{number:03}.jpg,real,{split},p{number},",
            f"data/fake/sd/{number:03}.png,fake,{split},p{number},../../evil",
        ]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    assert main(["align", str(tmp_path / "list.csv"), str(tmp_path / "out")]) == 0
    found = read_manifest_file(tmp_path / "out" / "manifest.csv")
    assert sorted(found.groups) == sorted(["p0", "p1", "p2", "p3"] * 2)
    assert sorted(set(found.splits)) == ["test", "train"]
    assert set(found.generators) == {None, "../../evil"}
    scanned = scan_folder(tmp_path / "out")
    assert scanned.splits.tolist() == found.splits.tolist()
    assert {entry.name for entry in tmp_path.iterdir()} == {"data", "list.csv", "out"}


def test_a_full_disk_is_foreseen_and_gone_on_from(planted, tmp_path, capsys, monkeypatch):
    usage = align.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(align.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert main(["align", str(planted), str(tmp_path / "out")]) == 2
    assert "needs about" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["align", str(planted), str(tmp_path / "out")]) == 0


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_whole_files(planted, aligned, tmp_path):
    """A limit on file sizes stops the writing in the middle of a file, as a full disk does."""
    out = tmp_path / "out"
    largest = sorted(path.stat().st_size for path in aligned.rglob("*.jpg"))[-5]
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest})); "
        "from veriscope.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, "align", str(planted), str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    written = pictures(out)
    assert set(written.items()) <= set(pictures(aligned).items())
    assert not list(out.rglob("*.partial"))
    assert main(["align", str(planted), str(out)]) == 0
    assert pictures(out) == pictures(aligned)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_it_goes_on_after_its_end(tmp_path, end):
    data = tmp_path / "data"
    images = [grainy(700, 700, seed=number) for number in range(3)]
    for label, quality in (("real", 80), ("fake", 90)):
        (data / label).mkdir(parents=True)
        for number in range(40):
            images[number % 3].save(data / label / f"{number:02}.jpg", quality=quality)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "veriscope.cli", "align", str(data), str(out), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    record = out / ".align" / "done.jsonl"
    while process.poll() is None and (not record.is_file() or record.read_bytes().count(b"\n") < 5):
        time.sleep(0.002)
    process.send_signal(end)
    _, said = process.communicate(timeout=120)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143}[end]
    assert "Traceback" not in said
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/*.jpg")}
    noted = record.read_bytes().count(b"\n")
    assert 5 <= noted <= len(stamps) < 80
    assert main(["align", str(data), str(out)]) == 0
    assert sum(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items()) >= noted
    assert not list(out.rglob(".*"))
    assert main(["align", str(data), str(tmp_path / "whole")]) == 0
    assert pictures(out) == pictures(tmp_path / "whole")


def test_png_against_jpeg_alone(tmp_path):
    """The case of Grommelt et al. 2024: only the format tells."""
    for label in ("real", "fake"):
        (tmp_path / "data" / label).mkdir(parents=True)
    for number in range(8):
        grainy(64, 64, seed=number).save(tmp_path / "data/real" / f"{number}.jpg", quality=70 + number)
        Image.fromarray(np.asarray(grainy(64, 64, seed=50 + number))).save(tmp_path / "data/fake" / f"{number}.png")
    assert told_apart(tmp_path / "data")["byte size"]["all"] == 1.0
    assert main(["align", str(tmp_path / "data"), str(tmp_path / "out")]) == 0
    after = told_apart(tmp_path / "out")
    assert after["JPEG quality"]["all"] == after["format"]["all"] == 0.5
    assert after["byte size"]["all"] < 0.8


def test_shards_are_aligned_as_the_folder_that_was_packed(planted, aligned, tmp_path):
    pack(scan_folder(planted), tmp_path / "shards", shard_bytes=10**6)
    assert main(["align", str(tmp_path / "shards"), str(tmp_path / "out"), "--set", f"paths.cache={tmp_path}/c"]) == 0
    assert pictures(tmp_path / "out") == pictures(aligned)


def test_a_file_that_is_too_large_for_memory_is_never_read(tmp_path):
    root = write_planted(tmp_path / "data", num_images=3)
    file = root / "real/000.jpg"
    os.truncate(file, 1 << 40)  # a sound header and a terabyte of nothing
    with pytest.raises(DecodeError, match="too large"):
        header_facts(file)
    assert main(["align", str(root), str(tmp_path / "out")]) == 1
    assert len(scan_folder(tmp_path / "out")) == 8
