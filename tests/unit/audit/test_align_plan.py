from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriscope.audit.align_facts import NO_JPEG, HeaderFacts
from veriscope.audit.align_plan import PLAIN_QUALITY, SizePolicy, choose_size, match_history, parse_size, plan_alignment
from veriscope.errors import ConfigError, DataError

JPEG = HeaderFacts("JPEG", 256, 256, 75, "4:2:0", False, False, False, 9000)
PNG = HeaderFacts("PNG", 256, 256, NO_JPEG, "", False, False, False, 90000)


def plan_of(facts, strata, **options):
    return plan_alignment(facts, names=[f"{row}.x" for row in range(len(facts))], strata=strata, **options)


def keys_of(number):
    return np.random.default_rng(number).integers(0, 2**63, number).astype(np.uint64)


def test_what_was_never_compressed_gets_the_past_of_what_was():
    plan = plan_of([JPEG, JPEG._replace(quality=90), PNG, PNG], ["real", "real", "fake", "fake"])
    assert plan.size == SizePolicy("keep", 0)
    assert [one.history for one in plan.treatments[:2]] == [None, None]
    assert Counter(one.history for one in plan.treatments[2:]) == {75: 1, 90: 1}
    assert Counter(one.final for one in plan.treatments[:2]) == Counter(one.final for one in plan.treatments[2:])


def test_a_finer_jpeg_gets_the_coarser_past_and_a_coarser_one_stays():
    plan = plan_of([JPEG, JPEG._replace(quality=95)], ["fake", "real"])
    assert [one.history for one in plan.treatments] == [None, 75]
    assert [one.final for one in plan.treatments] == [75, 75]


def test_equal_pasts_stay():
    facts = [JPEG._replace(quality=quality) for quality in (60, 80, 95, 60, 80, 95)]
    plan = plan_of(facts, ["real"] * 3 + ["fake"] * 3)
    assert [one.history for one in plan.treatments] == [None] * 6
    assert [one.final for one in plan.treatments] == [60, 80, 95, 60, 80, 95]


def test_crossing_distributions_meet_at_the_coarser_end_of_both():
    # By hand: ordered, real is 50, 95 and fake 70, 80; the lower at each place is 50, 80.
    past = match_history(np.array([95, 50, 70, 80]), strata=["real", "real", "fake", "fake"], keys=keys_of(4))
    assert past.tolist() == [80, 50, 50, 80]


QUALITIES = st.sampled_from([10, 50, 75, 95, NO_JPEG])


@given(st.lists(st.tuples(QUALITIES, QUALITIES, QUALITIES), min_size=1, max_size=30), st.integers(1, 3))
def test_no_past_becomes_finer_and_every_stratum_comes_out_alike(rows, times):
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    columns[1] = np.tile(columns[1], times)  # strata of other sizes meet, too
    strata = [name for name, column in zip("abc", columns, strict=True) for _ in column]
    quality = np.concatenate(columns)
    past = match_history(quality, strata=strata, keys=keys_of(len(quality)))
    assert (past <= quality).all()
    found = {name: np.sort(past[np.array(strata) == name]) for name in "abc"}
    by_hand = np.min([np.sort(column) for column in (columns[0], columns[1][: len(rows)], columns[2])], axis=0)
    assert found["a"].tolist() == by_hand.tolist()
    assert found["c"].tolist() == by_hand.tolist()
    if times == 3:  # the middle of three equal ones stands where the one stood
        assert found["b"][1::3].tolist() == by_hand.tolist()


def test_order_of_rows_changes_nothing():
    facts = [JPEG._replace(quality=50 + row) for row in range(20)] + [PNG] * 20
    strata = ["real"] * 20 + ["fake"] * 20
    names = [f"{row}.x" for row in range(40)]
    plan = plan_alignment(facts, names=names, strata=strata)
    turned = plan_alignment(facts[::-1], names=names[::-1], strata=strata[::-1])
    assert plan.treatments == turned.treatments[::-1]
    assert plan.treatments != plan_alignment(facts, names=names, strata=strata, seed=1).treatments


def test_every_generator_counts():
    facts = [JPEG, JPEG, PNG, PNG, JPEG._replace(quality=40), JPEG._replace(quality=40)]
    plan = plan_of(facts, ["real", "real", "fake sd", "fake sd", "fake gan", "fake gan"])
    assert [one.final for one in plan.treatments] == [40] * 6
    assert [one.history for one in plan.treatments] == [40] * 4 + [None] * 2


def test_a_quality_for_all_leaves_what_is_coarser():
    plan = plan_of([JPEG, PNG, JPEG._replace(quality=98)], ["real", "fake", "fake"], quality=90)
    assert [one.history for one in plan.treatments] == [None, 90, 90]
    assert [one.final for one in plan.treatments] == [90] * 3
    assert plan.past.tolist() == [75, 90, 90]


def test_finer_chroma_gets_the_coarser_one_too():
    plan = plan_of([JPEG, JPEG._replace(subsampling="4:4:4")], ["real", "fake"])
    assert [one.history for one in plan.treatments] == [None, 75]
    same = plan_of([JPEG._replace(subsampling="4:4:4")] * 2, ["real", "fake"])
    assert [one.history for one in same.treatments] == [None, None]


def test_formats():
    none = plan_of([PNG, PNG], ["real", "fake"])
    assert (none.format, none.treatments[0].final, none.treatments[0].history) == ("png", None, None)
    wanted = plan_of([PNG, PNG], ["real", "fake"], file_format="jpeg")
    assert wanted.treatments[0].final == PLAIN_QUALITY
    png = plan_of([JPEG, PNG], ["real", "fake"], file_format="png")
    assert [one.history for one in png.treatments] == [None, 75]
    assert [one.final for one in png.treatments] == [None, None]


def of_sizes(*sizes):
    return [JPEG._replace(width_px=width, height_px=height) for width, height in sizes]


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(256, 256), (256, 256)], SizePolicy("keep", 0)),
        ([(256, 256), (512, 300)], SizePolicy("crop", 256)),
        ([(513, 512), (261, 300)], SizePolicy("crop", 256)),
        ([(1024, 1024), (256, 256)], SizePolicy("resize", 224)),
        ([(128, 128), (64, 128)], SizePolicy("crop", 64)),
    ],
)
def test_auto_takes_what_leaves_least_traces(sizes, expected):
    assert choose_size("auto", of_sizes(*sizes), ["real", "fake"]) == expected


def test_sizes_by_name():
    facts, strata = of_sizes((300, 400), (256, 256)), ["real", "fake"]
    assert choose_size("keep", facts, strata).kind == "keep"
    assert choose_size("crop", facts, strata) == SizePolicy("crop", 256)
    assert choose_size("resize", facts, strata) == SizePolicy("resize", 224)
    assert choose_size("Crop:100", facts, strata) == SizePolicy("crop", 100)
    for wrong in ("", "crop:", "crop:7", "resize:0", "scale:3", "crop:1e9", "keep:3"):
        with pytest.raises(ConfigError, match="--size"):
            parse_size(wrong)


def test_what_is_too_small_is_left_out_and_named():
    facts = [*of_sizes((300, 300), (100, 300), (300, 300)), "truncated", PNG._replace(width_px=70000)]
    plan = plan_of(facts, ["real", "real", "fake", "fake", "fake"], size="crop:128")
    assert plan.rows == [0, 2]
    assert plan.left_out == {
        1: "shorter side 100 px, below the common 128",
        3: "truncated",
        4: "longer than the 65500 px that a JPEG holds",
    }
    with pytest.raises(DataError, match="no picture of 'fake'"):
        plan_of(of_sizes((300, 300), (100, 100)), ["real", "fake"], size="crop:200")
    with pytest.raises(DataError, match="none of the pictures"):
        plan_of(["truncated"], ["real"])
    with pytest.raises(DataError, match="smallest pictures have 6 px"):
        plan_of(of_sizes((6, 6), (60, 60)), ["real", "fake"])


def test_one_small_picture_of_many_does_not_set_the_size():
    facts = of_sizes(*[(256, 256)] * 99, (40, 40), (512, 512))
    assert choose_size("auto", facts, ["real"] * 100 + ["fake"]) == SizePolicy("crop", 256)
