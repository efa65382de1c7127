"""The unsure band against every pair of cuts, and its figures on other pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.evaluation.intervals import wilson
from veriscope.evaluation.unsure import choose_band, measure_band, num_needed
from veriscope.types import Threshold, UnsureBand, name_verdict

WANTED = 0.7  # 9 verdicts suffice to show it, so that small examples have bands


def at(value: float) -> Threshold:
    return Threshold(value=value, rule="youden", chosen_on="val")


def outside(labels, scores, low, high):
    """Return the number of verdicts and of right ones."""
    real, fake = scores < low, scores >= high
    return int(real.sum() + fake.sum()), int((labels[real] == 0).sum() + (labels[fake] == 1).sum())


def chosen(labels, scores, threshold, wanted=WANTED):
    return choose_band(labels, scores, threshold=at(threshold), name="val", wanted_accuracy=wanted, chosen_on="my val")


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=40),
    st.sampled_from([0.0, 0.2, 0.5, 0.541, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_no_other_band_answers_more_pictures_so_well(rows, threshold):
    labels, scores = np.array([label for label, _ in rows]), np.array([score / 12 for _, score in rows])
    found = chosen(labels, scores, threshold)
    # Every place between, below and above the scores, in [0, 1], and the threshold.
    places = sorted({0.0, 1.0, threshold, *(scores + 1 / 24).clip(0, 1), *(scores - 1 / 24).clip(0, 1)})
    fitting = [
        (num, right)
        for low in places
        if low <= threshold
        for high in places
        if high >= threshold
        for num, right in [outside(labels, scores, low, high)]
        if num >= num_needed(WANTED) and right >= WANTED * num - 1e-9
    ]
    if not fitting or len(set(labels)) < 2:
        assert found.band is None
        assert "my val" in found.reason
        return
    band = found.band
    assert band is not None, fitting
    num, right = outside(labels, scores, band.low, band.high)
    assert (num, right) == max(fitting)
    assert band.low <= threshold <= band.high
    assert band.coverage == pytest.approx(num / len(labels))
    assert band.accuracy == pytest.approx(right / num)
    assert band == chosen(labels[::-1], scores[::-1], threshold).band, "the order of pictures must not matter"


def test_needed_pictures_are_those_of_wilsons_interval():
    for accuracy in (0.7, 0.9, 0.95, 0.99):
        needed = num_needed(accuracy)
        assert wilson(needed, needed).low >= accuracy > wilson(needed - 1, needed - 1).low
    assert num_needed(0.95) == 73


def test_no_band_where_verdicts_are_right_anyway():
    labels, scores = np.repeat([0, 1], 50), np.concatenate([np.linspace(0, 0.3, 50), np.linspace(0.7, 1, 50)])
    band = chosen(labels, scores, 0.5, wanted=0.95).band
    assert (band.low, band.high, band.coverage, band.accuracy) == (0.5, 0.5, 1.0, 1.0)
    assert (
        "No picture is called unsure by its score"
        in measure_band(labels, scores, band=band, threshold=at(0.5)).sentences()[0]
    )


def test_too_few_pictures_or_too_poor_a_detector_store_none():
    few = chosen(np.repeat([0, 1], 36), np.repeat([0.1, 0.9], 36), 0.5, wanted=0.95)
    assert few.band is None
    assert few.reason == "72 pictures of my val can't show an accuracy of 0.95: it takes 73"
    rng = np.random.default_rng(0)
    guessing = chosen(rng.integers(0, 2, 400), rng.random(400), 0.5, wanted=0.95)
    assert guessing.band is None
    assert "no 73 verdicts or more on my val are right as often as 0.95" in guessing.reason
    assert "one class" in chosen(np.ones(100), rng.random(100), 0.5, wanted=0.95).reason


def test_a_side_without_any_good_verdict_has_none():
    # Every score below the threshold is a coin's toss: nothing is called real.
    rng = np.random.default_rng(1)
    labels = np.concatenate([rng.integers(0, 2, 100), np.ones(500, dtype=int)])
    scores = np.concatenate([rng.uniform(0.1, 0.5, 100), rng.uniform(0.5, 0.9, 500)])
    band = chosen(labels, scores, 0.5, wanted=0.99).band
    assert band.high == 0.5
    assert outside(labels, scores, band.low, band.high)[0] < 530, "hardly anything is called real"


BAND = UnsureBand(
    low=0.3, high=0.7, threshold="val", wanted_accuracy=0.95, coverage=0.8, accuracy=0.96, num_pictures=500,
    chosen_on="my val",
)  # fmt: skip


def test_verdicts_of_a_band():
    for score, word in (
        (0.0, "real"),
        (0.2999, "real"),
        (0.3, "unsure"),
        (0.6999, "unsure"),
        (0.7, "fake"),
        (1.0, "fake"),
    ):
        assert name_verdict(score, threshold=0.5, band=BAND) == word
    assert name_verdict(0.5, threshold=0.5, band=None) == "fake"
    nothing = BAND.model_copy(update={"low": 0.5, "high": 0.5})
    assert [name_verdict(score, threshold=0.5, band=nothing) for score in (0.4999, 0.5)] == ["real", "fake"]


def test_figures_by_hand():
    labels = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    scores = np.array([0.1, 0.2, 0.25, 0.4, 0.6, 0.65, 0.7, 0.9])
    found = measure_band(labels, scores, band=BAND, threshold=at(0.5))
    assert found.counts == {
        "real": {"real": 2, "fake": 1},
        "fake": {"real": 1, "fake": 1},
        "unsure": {"real": 1, "fake": 2},
    }
    assert found.coverage.value == 5 / 8
    assert found.coverage.interval == wilson(5, 8)
    assert found.accuracy.value == 3 / 5
    assert (found.real_right.value, found.fake_right.value) == (2 / 3, 1 / 2)
    assert found.accuracy_inside.value == pytest.approx(1 / 3)  # 0.4 and 0.6 are wrong at the threshold
    text = " ".join(found.sentences())
    assert "Scores from 0.3 to 0.7 are called unsure: 37.5 %" in text
    assert "chosen on my val (500 pictures)" in text
    empty = measure_band(labels[:1], scores[:1], band=BAND, threshold=at(0.5))
    assert empty.accuracy_inside.value is None
    assert "undefined" in " ".join(empty.sentences())


def test_with_groups_the_figures_have_the_intervals_of_groups():
    """Eighty videos of ten frames that share their fate tell as much as eighty pictures."""
    rng = np.random.default_rng(4)
    labels = np.repeat(np.arange(80) % 2, 10)
    scores = np.repeat(np.clip(labels[::10] * 0.6 + rng.uniform(0, 0.4, 80) + rng.normal(0, 0.2, 80), 0, 1), 10)
    groups = np.repeat(np.arange(80), 10)
    rows = measure_band(labels, scores, band=BAND, threshold=at(0.5))
    found = measure_band(labels, scores, band=BAND, threshold=at(0.5), groups=groups)
    once = measure_band(labels[::10], scores[::10], band=BAND, threshold=at(0.5))
    for name in ("coverage", "accuracy", "fake_right"):
        span, narrow, alike = (getattr(one, name).interval for one in (found, rows, once))
        assert getattr(found, name).value == getattr(rows, name).value
        assert span.method in ("cluster bootstrap", "wilson over groups")
        assert span.high - span.low > 1.8 * (narrow.high - narrow.low), name
        assert span.high - span.low == pytest.approx(alike.high - alike.low, rel=0.5), name
    assert found == measure_band(labels, scores, band=BAND, threshold=at(0.5), groups=groups), "the seed decides"
