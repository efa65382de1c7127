"""The one pass: every row in order, nothing looked at twice, no hostile file that ends it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import UNREADABLE, encoded, picture, write_dataset, write_unreadable

from veriscope.audit.cache import FILE_NAME, FactsCache
from veriscope.audit.hashing import HASH_BYTES
from veriscope.audit.inspection import CRASHED, POOL_FROM, inspect
from veriscope.audit.picture import SCHEMA, Facts
from veriscope.data.decode import decode_image
from veriscope.data.manifest import Manifest
from veriscope.data.scan import scan_folder

ROOT = Path(__file__).resolve().parents[3]


def cache(folder: Path) -> FactsCache:
    return FactsCache(folder, version="1", warn=print)


def of_files(root: Path, paths: list[str]) -> Manifest:
    return Manifest.from_columns(paths, root=root, labels=[0] * len(paths), size_bytes=[0] * len(paths))


def test_every_row_in_order_with_all_its_facts(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", num_images=5)
    manifest = scan_folder(root)
    table = inspect(manifest, depth="pixels", cache=cache(tmp_path / "cache"), workers=1)
    assert table.schema.equals(SCHEMA)
    assert table["path"].to_pylist() == manifest.table["path"].to_pylist()
    row = table.slice(3, 1).to_pylist()[0]
    assert (row["format"], row["mode"], row["width_px"], row["quality"], row["problem"]) == (
        "JPEG",
        "RGB",
        40,
        95,
        None,
    )
    assert len(row["hashes"]) == HASH_BYTES
    assert row["brightness"] == pytest.approx(decode_image(manifest.absolute_path(3)).mean(), abs=15)
    assert all(table[name].null_count == 0 for name in ("sha256", "pixels", "hashes", "brightness"))


def test_equal_pixels_are_told_from_equal_bytes(tmp_path: Path) -> None:
    image = Image.fromarray(picture())
    (tmp_path / "a.png").write_bytes(encoded(image, "PNG"))
    (tmp_path / "b.png").write_bytes(encoded(image, "PNG"))
    (tmp_path / "c.bmp").write_bytes(encoded(image, "BMP"))
    (tmp_path / "d.png").write_bytes(encoded(Image.fromarray(picture().reshape(64, 48, 3)), "PNG"))
    table = inspect(
        of_files(tmp_path, ["a.png", "b.png", "c.bmp", "d.png"]), depth="pixels", cache=cache(tmp_path), workers=1
    )
    sha256, pixels = table["sha256"].to_pylist(), table["pixels"].to_pylist()
    assert sha256[0] == sha256[1] != sha256[2]
    assert pixels[0] == pixels[1] == pixels[2] != pixels[3]


def test_hostile_files_are_rows_with_a_reason(tmp_path: Path) -> None:
    write_unreadable(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(10 << 30)
    names = sorted([*UNREADABLE, "pipe.jpg", "huge.jpg"])
    began = time.process_time()
    table = inspect(of_files(tmp_path, names), depth="pixels", cache=cache(tmp_path / "cache"), workers=1)
    assert time.process_time() - began < 5
    reasons = dict(zip(names, table["problem"].to_pylist(), strict=True))
    assert reasons.pop("pipe.jpg") == "not a regular file"
    assert reasons.pop("huge.jpg") == "too large: 10,737,418,240 bytes, the limit is 536,870,910"
    assert all(words in reasons[name] for name, words in UNREADABLE.items())


def test_headers_alone_decode_nothing(tmp_path: Path) -> None:
    write_unreadable(tmp_path)
    table = inspect(of_files(tmp_path, ["truncated.jpg"]), depth="headers", cache=cache(tmp_path), workers=1)
    (row,) = table.to_pylist()
    assert (row["problem"], row["width_px"], row["pixels"], row["brightness"]) == (None, 200, None, None)


def test_what_is_in_the_cache_is_not_looked_at_again_and_what_changed_is(tmp_path: Path) -> None:
    manifest = scan_folder(write_dataset(tmp_path / "data", num_images=4))
    first = inspect(manifest, depth="pixels", cache=cache(tmp_path), workers=1)
    marked = dict.fromkeys(first["sha256"].to_pylist(), Facts("out of the cache", None, None))
    cache(tmp_path).keep(marked, depth="pixels")
    Image.fromarray(picture(40, 40, seed=77)).save(manifest.absolute_path(2), quality=90)
    again = inspect(manifest, depth="pixels", cache=cache(tmp_path), workers=1)
    assert again["problem"].to_pylist() == [None if row == 2 else "out of the cache" for row in range(8)]
    assert again["quality"][2].as_py() == 90


@pytest.mark.slow
def test_several_processes_give_the_same_table(tmp_path: Path) -> None:
    manifest = scan_folder(write_dataset(tmp_path / "data", num_images=POOL_FROM))
    alone = inspect(manifest, depth="pixels", cache=cache(tmp_path / "a"), workers=1)
    together = inspect(manifest, depth="pixels", cache=cache(tmp_path / "b"), workers=2)
    assert together.equals(alone)


SLOW = """
import sys, time, os
from pathlib import Path
from veriscope.audit import inspection
from veriscope.audit.cache import FactsCache
from veriscope.data.scan import scan_folder

if __name__ == "__main__":
    from veriscope.processes import close_on_sigterm
    close_on_sigterm()
    cache = FactsCache(Path(sys.argv[2]), version="1", warn=print)
    keep, kept = cache.keep, []
    def waits(found, *, depth):
        keep(found, depth=depth)
        print("kept", flush=True)
        kept.append(found)
        time.sleep(60 if len(kept) == 3 else 0)
    cache.keep = waits
    inspection.inspect(scan_folder(Path(sys.argv[1])), depth="pixels", cache=cache, workers=2)
"""


def children_of(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_what_was_looked_at_outlives_every_end_and_no_process_stays(tmp_path: Path, sent: signal.Signals) -> None:
    root = write_dataset(tmp_path / "data", num_images=100)
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    audit = subprocess.Popen(
        [sys.executable, str(script), str(root), str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert audit.stdout is not None
    for _ in range(3):
        assert audit.stdout.readline() == "kept\n"
    children = children_of(audit.pid)
    assert len(children) >= 2
    audit.send_signal(sent)
    _, errors = audit.communicate(timeout=60)
    if sent != signal.SIGKILL:
        assert errors.count("Traceback") <= 1  # the script's own, of the interrupt that it doesn't catch
        assert "BrokenProcessPool" not in errors
    deadline = time.monotonic() + 30
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not any(alive(child) for child in children)
    manifest = scan_folder(root)
    kept = cache(tmp_path)
    known = kept.find(
        inspect(manifest, depth="headers", cache=cache(tmp_path / "other"), workers=1)["sha256"].to_pylist(),
        depth="pixels",
    )
    assert len(known) == 96
    assert (tmp_path / FILE_NAME).exists()
    table = inspect(manifest, depth="pixels", cache=kept, workers=1)
    assert table["problem"].null_count == 200


LARGE = """
import sys
from pathlib import Path
from veriscope.audit import inspection
from veriscope.audit.cache import FactsCache
from veriscope.audit.picture import Facts
from veriscope.data.scan import scan_folder

# Answers that are larger than a pipe holds: their senders are certain to be in the midst of one.
if __name__ != "__main__":
    inspection.facts_of = lambda data, **options: Facts("x" * 1_000_000, None, None)

if __name__ == "__main__":
    cache = FactsCache(Path(sys.argv[2]), version="1", warn=print)
    def stops(found, *, depth):
        raise SystemExit(7)
    cache.keep = stops
    inspection.inspect(scan_folder(Path(sys.argv[1])), depth="pixels", cache=cache, workers=2)
"""


@pytest.mark.slow
def test_an_end_in_the_midst_of_an_answer_is_an_end(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", num_images=100)
    script = tmp_path / "large.py"
    script.write_text(LARGE)
    done = subprocess.run(
        [sys.executable, str(script), str(root), str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (7, "")


KILLER = """
import os, signal, sys
from pathlib import Path
from veriscope.audit import inspection
from veriscope.audit.cache import FactsCache
from veriscope.data.scan import scan_folder

# Stands for a library that crashes on one file: this module is what a spawned process imports as its main.
if __name__ != "__main__":
    look = inspection.facts_of
    def fatal(data, **options):
        if data == b"deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return look(data, **options)
    inspection.facts_of = fatal

if __name__ == "__main__":
    cache = FactsCache(Path(sys.argv[2]), version="1", warn=print)
    table = inspection.inspect(scan_folder(Path(sys.argv[1])), depth="pixels", cache=cache, workers=2)
    rows = [(row["path"], row["problem"]) for row in table.to_pylist() if row["problem"]]
    print(table.num_rows, rows)
"""


@pytest.mark.slow
def test_a_file_that_kills_its_process_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", num_images=60)
    (root / "fake/zz.jpg").write_bytes(b"deadly")
    script = tmp_path / "killer.py"
    script.write_text(KILLER)
    done = subprocess.run(
        [sys.executable, str(script), str(root), str(tmp_path)], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout.strip() == f"121 {[('fake/zz.jpg', CRASHED)]}"


def test_a_picture_of_floats_or_of_one_pixel_has_facts_or_a_reason(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), dtype=np.float32)).save(tmp_path / "f.tif")
    Image.new("RGB", (1, 1)).save(tmp_path / "one.png")
    Image.new("L", (3000, 1)).save(tmp_path / "strip.png")
    table = inspect(
        of_files(tmp_path, ["f.tif", "one.png", "strip.png"]), depth="pixels", cache=cache(tmp_path), workers=1
    )
    assert table["problem"].to_pylist() == ["floating-point samples have no fixed white", None, None]
    assert table["mode"].to_pylist() == ["F", "RGB", "L"]
