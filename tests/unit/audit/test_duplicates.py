"""Every check of copies on a data set with its fault planted, and on the clean twin."""

import numpy as np
import pyarrow as pa
import pytest
from tests.helpers.copied import Picture, clean_pictures, encoded, inspected, scene

from veriscope.audit.check import Check, worst
from veriscope.audit.duplicate_checks import duplicate_checks, shared_checks
from veriscope.audit.duplicates import find_duplicates, find_shared, holds_several, within_parts
from veriscope.config.audit import DuplicatesConfig

CONFIG = DuplicatesConfig()


def checks_of(pictures: list[Picture], **how: bool) -> dict[str, Check]:
    manifest, table = inspected(pictures, **how)
    found = find_duplicates(manifest, table, likeness=CONFIG.likeness)
    return {check.name.removeprefix("duplicates."): check for check in duplicate_checks(found, manifest, CONFIG)}


def against(pictures: list[Picture], others: list[Picture], **how: bool) -> dict[str, Check]:
    manifest, table = inspected(pictures, **how)
    other, other_table = inspected(others, **how)
    found = find_shared(manifest, table, other, other_table, likeness=CONFIG.likeness, name="'other'")
    return {check.name.removeprefix("duplicates."): check for check in shared_checks(found, manifest, other, CONFIG)}


def bad(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.status for name, check in checks.items() if check.status != "pass"}


def recompressed(seed: int) -> bytes:
    return encoded(scene(seed), kind="JPEG", quality=50)


def test_clean_data_pass_every_check() -> None:
    checks = checks_of(clean_pictures())
    assert bad(checks) == {}
    assert len(checks) == 7
    assert checks["compared"].text == "12 of 12 pictures were compared for near copies"
    assert all(check.mend is None and not check.examples for check in checks.values())


def test_a_file_in_two_splits_stops() -> None:
    check = checks_of([*clean_pictures(), Picture("test/real/copy.png", encoded(scene(0)))])
    assert bad(check) == {"exact_across_splits": "stop"}
    found = check["exact_across_splits"]
    assert found.text == "1 picture is in several splits: 1 in test and train"
    assert (found.count, found.examples) == (2, ("test/real/copy.png", "train/real/0.png"))


def test_the_same_pixels_in_another_file_stop() -> None:
    """Lossless in another format, and under another compression: other bytes, the same picture."""
    copy = Picture("val/real/copy.bmp", encoded(scene(0), kind="BMP"))
    assert bad(checks_of([*clean_pictures(), copy])) == {"exact_across_splits": "stop"}
    assert bad(checks_of([*clean_pictures(), copy], opened=False)) == {}


def test_a_picture_that_is_real_and_fake_stops() -> None:
    checks = checks_of([*clean_pictures(), Picture("train/fake/copy.png", encoded(scene(0)))])
    assert checks["exact_across_classes"].status == "stop"
    assert checks["exact_across_classes"].text == "1 picture is both real and fake, in 2 files"
    assert checks["exact_across_splits"].status == "pass"
    assert worst(checks.values()) == "stop"


def test_a_near_copy_in_another_split_stops_from_its_share_on() -> None:
    pictures = [*clean_pictures(), Picture("test/real/copy.jpg", recompressed(0))]
    checks = checks_of(pictures)
    assert bad(checks) == {"near_across_splits": "stop"}
    assert checks["near_across_splits"].value == pytest.approx(0.25)  # train: 1 of 4; test: 1 of 5
    assert "25 % of train" in checks["near_across_splits"].text
    manifest, table = inspected(pictures)
    found = find_duplicates(manifest, table, likeness=CONFIG.likeness)
    lenient = {c.name: c.status for c in duplicate_checks(found, manifest, DuplicatesConfig(stop_near_share=0.5))}
    assert lenient["duplicates.near_across_splits"] == "warn"  # one warns, whatever the share


def test_a_fake_that_is_nearly_a_real_picture_warns() -> None:
    checks = checks_of([*clean_pictures(), Picture("train/fake/copy.jpg", recompressed(0))])
    assert bad(checks) == {"near_across_classes": "warn"}  # it repeats no other fake
    assert checks["exact_across_classes"].status == "pass"


def test_copies_within_a_split_warn() -> None:
    copies = [Picture("train/real/copy.jpg", recompressed(0)), Picture("train/real/again.png", encoded(scene(0)))]
    checks = checks_of([*clean_pictures(), *copies])
    assert bad(checks) == {"within_splits": "warn"}
    assert checks["within_splits"].text.startswith(
        "2 of 14 pictures (14 %) only repeat another of their split and class (1 of"
    )


def test_an_exact_copy_warns_where_splits_are_still_to_be_cut() -> None:
    many = [p for seed in range(10) for p in clean_pictures(seed=seed)]
    pictures = [p._replace(path=f"{p.path}/{number}.png") for number, p in enumerate(many)]
    copy = Picture("train/real/copy.png", encoded(scene(0)))
    assert bad(checks_of([*pictures, copy])) == {}
    assert bad(checks_of(pictures, splits=False)) == {}
    found = checks_of([*pictures, copy], splits=False)
    assert bad(found) == {"within_splits": "warn"}
    assert found["within_splits"].mend == (
        "keep one of each (pairs.csv names them): a split would put copies on both sides"
    )


def test_a_group_in_two_splits_stops() -> None:
    pictures = [p._replace(group="anna" if p.path.endswith("real/0.png") else p.path) for p in clean_pictures()]
    checks = checks_of(pictures)
    assert bad(checks) == {"groups_across_splits": "stop"}
    assert checks["groups_across_splits"].text == "1 group lies in several splits, 3 pictures in all: 'anna'"
    within = [p._replace(group=p.split) for p in clean_pictures()]
    assert bad(checks_of(within)) == {}


def test_without_splits_nothing_crosses() -> None:
    pictures = [*clean_pictures(), Picture("test/real/copy.png", encoded(scene(0)), group="a")]
    checks = checks_of(pictures, splits=False)
    assert bad(checks) == {"within_splits": "warn"}
    assert checks["exact_across_splits"].text == "the data names no splits"


def test_without_a_look_at_pictures_only_files_are_compared() -> None:
    pictures = [*clean_pictures(), Picture("test/real/copy.png", encoded(scene(0)))]
    checks = checks_of([*pictures, Picture("val/real/near.jpg", recompressed(3))], opened=False)
    assert bad(checks) == {"exact_across_splits": "stop"}
    assert "near_across_splits" not in checks
    assert "not looked for" in checks["compared"].text


def test_files_that_do_not_decode_are_no_copies() -> None:
    empty = [Picture(f"{split}/real/empty.png", b"") for split in ("train", "test")]
    assert bad(checks_of([*clean_pictures(), *empty])) == {}


def test_black_pictures_are_exact_copies_and_never_near_ones() -> None:
    black = encoded(scene(0).point(lambda value: 0))
    dark = encoded(scene(0).point(lambda value: 1))
    checks = checks_of([*clean_pictures(), Picture("train/real/b.png", black), Picture("test/real/d.png", dark)])
    assert bad(checks) == {}
    assert checks["compared"].count == 2
    assert "2 are too plain" in checks["compared"].text


def test_clusters_are_transitive_and_say_where_they_lie() -> None:
    copies = [
        Picture("val/real/same.bmp", encoded(scene(0), kind="BMP")),
        Picture("test/fake/near.jpg", recompressed(0)),
        Picture("train/real/twin.png", encoded(scene(1))),
    ]
    manifest, table = inspected([*clean_pictures(), *copies])
    found = find_duplicates(manifest, table, likeness=CONFIG.likeness)
    paths = manifest.table["path"].to_pylist()
    named = [(tuple(paths[row] for row in c.rows), c.splits, c.classes, c.exact) for c in found.clusters(manifest)]
    assert named == [
        (
            ("test/fake/near.jpg", "train/real/0.png", "val/real/same.bmp"),
            ("test", "train", "val"),
            ("real", "fake"),
            False,
        ),
        (("train/real/1.png", "train/real/twin.png"), ("train",), ("real",), True),
    ]
    assert found.same_bytes.sum() == 2


def test_another_data_set_shares_nothing() -> None:
    checks = against(clean_pictures(), clean_pictures(seed=1))
    assert bad(checks) == {}
    assert len(checks) == 2


def test_another_data_set_shares_an_exact_copy_under_another_label() -> None:
    others = [*clean_pictures(seed=1), Picture("train/fake/x.bmp", encoded(scene(0), kind="BMP"))]
    checks = against(clean_pictures(), others)
    assert bad(checks) == {"against_exact": "stop"}
    found = checks["against_exact"]
    assert found.text == (
        "1 of 12 pictures (8.3 %) are in 'other' too, as exact copies, 1 of them under the other label"
    )
    assert found.examples == ("train/real/0.png", "data/train/fake/x.bmp")


def test_another_data_set_shares_a_near_copy() -> None:
    others = [*clean_pictures(seed=1), Picture("train/real/x.jpg", recompressed(0))]
    assert bad(against(clean_pictures(), others)) == {"against_near": "stop"}
    assert bad(against(clean_pictures(), others, opened=False)) == {}


def test_hashes_are_read_from_chunks_slices_and_fixed_lengths() -> None:
    manifest, table = inspected([*clean_pictures(), Picture("test/real/copy.jpg", recompressed(0))])
    padded = pa.concat_tables([table.slice(5, 3), table.slice(0, 6), table.slice(6)]).slice(3)
    fixed = table.set_column(
        table.schema.get_field_index("hashes"), "hashes", table["hashes"].combine_chunks().cast(pa.binary(1024))
    )
    wanted = find_duplicates(manifest, table, likeness=0.95)
    for other in (padded, fixed):
        found = find_duplicates(manifest, other, likeness=0.95)
        np.testing.assert_array_equal(found.near, wanted.near)
        np.testing.assert_array_equal(found.links.first, wanted.links.first)


def test_several_values_and_copies_within_parts_are_counted() -> None:
    codes = np.array([0, 0, 1, 1, -1, 2, 2])
    values = np.array(["a", "b", "a", "a", "a", "a", None], dtype=object)
    assert holds_several(codes, values).tolist() == [True, True, False, False, False, False, False]
    splits = np.array(["a", "a", "b", "a", "a", None, None], dtype=object)
    own = within_parts(np.array([0, 0, 0, 1, 0, 1, 1]), splits, np.array([0, 0, 0, 0, 1, 0, 0]))
    assert (own[:, None] == own).sum(axis=1).tolist() == [2, 2, 1, 1, 1, 2, 2]
