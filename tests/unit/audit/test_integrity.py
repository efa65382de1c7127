"""Every check of integrity with a planted fault, and its clean twin."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import picture, write_dataset, write_unreadable

from veriscope.audit.cache import FactsCache
from veriscope.audit.check import Check
from veriscope.audit.inspection import inspect
from veriscope.audit.integrity import Integrity, check_integrity
from veriscope.config.audit import IntegrityConfig
from veriscope.data.scan import scan_folder

CONFIG = IntegrityConfig(warn_class_size=10)


def audited(root: Path, config: IntegrityConfig = CONFIG, *, both_classes: bool = True) -> Integrity:
    manifest = scan_folder(root, both_classes=both_classes)
    cache = FactsCache(root.parent / "cache", version="1", warn=print)
    table = inspect(manifest, depth="pixels", cache=cache, workers=1)
    return check_integrity(manifest, table, config=config)


def named(found: Integrity, name: str) -> Check:
    (check,) = [check for check in found.checks if check.name == name]
    return check


def test_a_clean_data_set_passes_every_check(tmp_path: Path) -> None:
    found = audited(write_dataset(tmp_path / "data"))
    assert {check.name: check.status for check in found.checks} == {
        "integrity.unreadable": "pass",
        "integrity.formats": "pass",
        "integrity.modes": "pass",
        "integrity.lossy": "pass",
        "integrity.sizes": "pass",
        "integrity.balance": "pass",
        "integrity.class_size": "pass",
    }
    assert found.problems == ()
    assert named(found, "integrity.unreadable").text == "all 24 files can be read"
    assert found.counts["sizes"] == {"40 x 40": {"real": 12, "fake": 12}}


def test_every_decoder_problem_is_counted_and_listed(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", num_images=60)
    (root / "fake/further").mkdir()
    write_unreadable(root / "fake/further")
    found = audited(root)
    check = named(found, "integrity.unreadable")
    reasons = {path.rpartition("/")[2]: reason for path, reason in found.problems}
    assert len(reasons) == 7  # folder.jpg is a folder, missing.jpg isn't there to be scanned
    assert reasons["truncated.jpg"] == reasons["truncated.png"] == "truncated"
    assert reasons["empty.jpg"] == "empty file (0 bytes)"
    assert check.status == "stop"
    assert check.count == 7
    assert "2 truncated" in check.text
    assert check.value == pytest.approx(7 / 67)  # of the fakes, among which all of them are
    assert found.counts["problems"]["truncated"] == {"real": 0, "fake": 2}
    assert named(audited(root, IntegrityConfig(stop_unreadable=0.11)), "integrity.unreadable").status == "warn"


def test_a_small_class_that_is_all_damaged_is_no_small_matter(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", num_images=60)
    for number, file in enumerate(sorted((root / "fake").iterdir())):
        file.write_bytes(b"damaged") if number < 2 else file.unlink()
    check = named(audited(root), "integrity.unreadable")
    assert (check.status, check.count, check.value) == ("stop", 2, 1.0)
    assert "2 of 62 files can't be read (100 % of the fakes)" in check.text


def replace(root: Path, change: Callable[[Image.Image, Path], None], *, count: int, folder: str = "fake") -> Path:
    for number in range(count):
        file = root / folder / f"{number:03d}.jpg"
        change(Image.fromarray(picture(40, 40, seed=5000 + number)), file)
    return root


def as_png(image: Image.Image, file: Path) -> None:
    file.unlink(missing_ok=True)
    image.save(file.with_suffix(".png"))


def as_grey(image: Image.Image, file: Path) -> None:
    image.convert("L").save(file, quality=95)


@pytest.mark.parametrize(("name", "change", "word"), [("formats", as_png, "PNG"), ("modes", as_grey, "grey")])
def test_a_form_that_hints_at_the_class(
    tmp_path: Path, name: str, change: Callable[[Image.Image, Path], None], word: str
) -> None:
    root = write_dataset(tmp_path / "data", num_images=40)
    assert named(audited(replace(root, change, count=3)), f"integrity.{name}").status == "pass"  # may be chance
    check = named(audited(replace(root, change, count=20)), f"integrity.{name}")
    assert check.status == "warn"
    assert f"0 % of the real pictures are {word}, 50 % of the fakes" in check.text
    assert check.count == 20
    replace(root, change, count=20, folder="real")
    assert named(audited(root), f"integrity.{name}").status == "pass"


def test_a_file_that_is_named_otherwise_is_counted(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    Image.fromarray(picture(40, 40)).save(root / "real/000.jpg", "PNG")
    assert named(audited(root), "integrity.formats").text == "JPEG 23, PNG 1; 1 of them named otherwise"


def test_what_is_read_with_a_loss(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    layer = Image.fromarray(picture(40, 40)).convert("RGBA")
    layer.putalpha(100)
    layer.save(root / "real/alpha.png")
    frames = [Image.fromarray(picture(40, 40, seed=seed)) for seed in range(3)]
    frames[0].save(root / "fake/animated.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.full((40, 40), 30000, dtype=np.uint16)).save(root / "fake/deep.png")
    check = named(audited(root), "integrity.lossy")
    assert (check.status, check.count) == ("warn", 3)
    for words in ("1 have transparency", "1 are animations", "1 have 16 bits"):
        assert words in check.text
    assert set(check.examples) == {"real/alpha.png", "fake/animated.gif", "fake/deep.png"}


def test_pictures_too_small_to_judge(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    Image.fromarray(picture(23, 300)).save(root / "fake/strip.jpg", quality=95)
    check = named(audited(root), "integrity.sizes")
    assert (check.status, check.count, check.examples) == ("warn", 1, ("fake/strip.jpg",))
    assert named(audited(root, IntegrityConfig(warn_side_px=23)), "integrity.sizes").status == "pass"


def test_classes_of_unlike_size_also_within_a_split(tmp_path: Path) -> None:
    for split, counts in {"train": (10, 60), "test": (60, 12)}.items():
        write_dataset(tmp_path / "data" / split, num_images=max(counts))
        for label, count in zip(("real", "fake"), counts, strict=True):
            for file in sorted((tmp_path / "data" / split / label).iterdir())[count:]:
                file.unlink()
    check = named(audited(tmp_path / "data"), "integrity.balance")
    assert (check.status, check.value) == ("warn", 6.0)
    assert "6.0 pictures of one class for one of the other in train" in check.text
    assert named(audited(tmp_path / "data", IntegrityConfig(warn_imbalance=6.1)), "integrity.balance").status == "pass"


def test_one_class_alone_is_said(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data")
    for file in (root / "real").iterdir():
        file.unlink()
    found = audited(root, both_classes=False)
    assert "only fakes" in named(found, "integrity.balance").text
    assert named(found, "integrity.balance").status == "warn"
    assert named(found, "integrity.class_size").status == "pass"


def test_few_pictures_of_a_class_or_a_generator(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", num_images=12)
    (root / "fake/stylegan").mkdir()
    for number in range(4):
        (root / f"fake/{number:03d}.jpg").rename(root / f"fake/stylegan/{number}.jpg")
    check = named(audited(root), "integrity.class_size")
    assert (check.status, check.value, check.count) == ("warn", 4.0, 4)
    assert check.text == "fewer than 10 pictures: generator stylegan 4"
    few = named(audited(root, IntegrityConfig(warn_class_size=13)), "integrity.class_size")
    assert few.text == "fewer than 13 pictures: generator stylegan 4, real 12, fake 12"
