"""Platt and isotonic against scikit-learn; what every method promises."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from veriscope.evaluation.calibration import (
    base_rate_weights,
    calibration_error_by_chance,
    expected_calibration_error,
    fit_calibration,
)
from veriscope.evaluation.intervals import bootstrap_intervals
from veriscope.evaluation.metrics import probability_metrics
from veriscope.types import Calibration

METHODS = ("temperature", "platt", "isotonic")
rows = st.lists(
    st.tuples(st.integers(0, 1), st.floats(-40, 40, width=32)), min_size=4, max_size=60
).filter(lambda rows: len({label for label, _ in rows}) == 2)  # fmt: skip


def drawn(num: int, *, shift: float = 0.0, scale: float = 1.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 2, num)
    labels = (rng.random(num) < 1 / (1 + np.exp(-truth))).astype(int)
    return labels, (truth * scale + shift).astype(np.float32).astype(np.float64)


def platts_targets(labels):
    fake = int(labels.sum())
    return np.where(labels == 1, (fake + 1) / (fake + 2), 1 / (len(labels) - fake + 2))


def test_platt_equals_scikit_learns_logistic_regression():
    labels, logits = drawn(5000, shift=1.5, scale=3.0)
    targets = platts_targets(labels)
    # Soft targets as weighted hard ones, without a penalty: the same likelihood.
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(logits, 2)[:, None],
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    found = fit_calibration(labels, logits, fitted_on="val", method="platt")
    assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(reference.intercept_[0], rel=1e-4)
    assert found.slope == pytest.approx(1 / 3, rel=0.1)  # what the data were made with
    assert found.intercept == pytest.approx(-0.5, rel=0.1)


@given(rows)
@settings(max_examples=30, deadline=None)
def test_isotonic_equals_scikit_learns(pairs):
    # scikit-learn merges logits that lie closer than its own tolerance, as 0 and a subnormal number do
    labels, logits = np.array([label for label, _ in pairs]), np.round([logit for _, logit in pairs], 3)
    targets = platts_targets(labels)
    reference = IsotonicRegression(out_of_bounds="clip").fit(logits, targets)
    found = fit_calibration(labels, logits, fitted_on="val", method="isotonic")
    for logit in [*logits, *np.linspace(-50, 50, 41)]:
        assert found.score(float(logit)) == pytest.approx(reference.predict([logit])[0], abs=1e-3)
    assert targets.min() <= found.score(-1e9) <= found.score(1e9) <= targets.max()


@given(rows, st.sampled_from(METHODS), st.one_of(st.none(), st.floats(0.001, 0.999)))
@settings(max_examples=60, deadline=None)
def test_scores_never_fall_where_logits_rise(pairs, method, base_rate):
    labels, logits = np.array([label for label, _ in pairs]), np.array([logit for _, logit in pairs])
    calibration = fit_calibration(labels, logits, fitted_on="val", method=method).at_base_rate(base_rate)
    near = np.concatenate([np.nextafter(logits, np.inf), logits, np.nextafter(logits, -np.inf), [1e-17, 3e-17]])
    scores = [calibration.score(float(logit)) for logit in np.sort(near)]
    assert all(0 <= score <= 1 for score in scores)
    assert np.all(np.diff(scores) >= 0)


@pytest.mark.parametrize("method", METHODS)
def test_each_method_brings_scores_near_to_probabilities(method):
    labels, logits = drawn(4000, shift=2.0, scale=4.0)
    fresh_labels, fresh = drawn(4000, shift=2.0, scale=4.0, seed=1)
    before = Calibration()
    after = fit_calibration(labels, logits, fitted_on="val", method=method)
    errors = [
        expected_calibration_error(fresh_labels, np.array([one.score(logit) for logit in fresh]))
        for one in (before, after)
    ]
    assert errors[1] < 0.6 * errors[0]
    if method != "temperature":  # which can't move scores that all lie too high
        assert errors[1] < 0.03


@pytest.mark.parametrize("method", METHODS)
def test_a_detector_with_the_classes_upside_down_keeps_its_ranking(method):
    labels, logits = drawn(2000)
    found = fit_calibration(labels, -logits, fitted_on="val", method=method)
    assert found.score(-5.0) <= found.score(5.0)
    assert found.score(5.0) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_a_record_comes_back_and_what_an_old_program_reads_stays_as_it_was(method):
    labels, logits = drawn(300)
    found = fit_calibration(labels, logits, fitted_on="my val", method=method)
    assert Calibration.model_validate_json(found.model_dump_json()) == found
    assert found.fake_share == labels.mean()
    assert Calibration(temperature=1.5, fitted_on="v").model_dump_json() == '{"temperature":1.5,"fitted_on":"v"}'
    assert Calibration().model_dump() == {"temperature": 1.0, "fitted_on": "none"}
    written = json.loads(found.model_dump_json())
    assert ("method" in written) == (method != "temperature")


@pytest.mark.parametrize(
    "values",
    [
        {"method": "platt"},
        {"method": "platt", "slope": 1.0},
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"slope": 1.0, "intercept": 0.0},
        {"method": "isotonic"},
        {"method": "isotonic", "knots": ((0.0, 0.5), (0.0, 0.6))},
        {"method": "isotonic", "knots": ((0.0, 0.5), (1.0, 0.4))},
        {"method": "isotonic", "knots": ((0.0, 1.5),)},
        {"base_rate": 0.1},
    ],
)
def test_what_is_no_calibration_is_refused(values):
    with pytest.raises(ValidationError):
        Calibration(**values)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.001, 0.999))
@settings(max_examples=60, deadline=None)
def test_a_base_rate_is_bayes_theorem(share, rate, score):
    found = Calibration(fake_share=share).at_base_rate(rate).moved(score)
    # P(x | fake) / P(x | real), times the stated prior odds, by hand.
    likelihood_ratio = score / (1 - score) / (share / (1 - share))
    odds = likelihood_ratio * rate / (1 - rate)
    assert found == pytest.approx(odds / (1 + odds))
    assert Calibration(fake_share=share).at_base_rate(share).moved(score) == pytest.approx(score)


def test_a_corrected_detector_is_calibrated_where_fakes_are_that_rare():
    """Train half and half, use where one of twenty is fake: corrected scores are right, the others far off."""
    labels, logits = drawn(60_000)
    calibration = fit_calibration(labels, logits, fitted_on="val")
    rng = np.random.default_rng(3)
    fakes = np.flatnonzero(labels == 1)
    reals = np.flatnonzero(labels == 0)
    kept = np.concatenate([reals, rng.choice(fakes, len(reals) // 19, replace=False)])
    corrected = calibration.at_base_rate(0.05)

    def error(one):
        return expected_calibration_error(labels[kept], np.array([one.score(logit) for logit in logits[kept]]))

    assert error(corrected) < 0.01 < 0.1 < error(calibration)
    # The same from the balanced pictures, weighted: no need to have rare fakes at hand.
    scores = np.array([corrected.score(logit) for logit in logits])
    weighted = probability_metrics(labels, scores, base_rate=0.05)
    rare = probability_metrics(labels[kept], scores[kept])
    for key, value in rare.items():
        assert weighted[key] == pytest.approx(value, abs=0.01), key


def test_weighted_figures_by_hand():
    labels, scores = np.array([0, 0, 0, 1]), np.array([0.1, 0.3, 0.2, 0.6])
    weights = base_rate_weights(labels, 0.1)
    assert weights == pytest.approx([1.2, 1.2, 1.2, 0.4])
    found = probability_metrics(labels, scores, base_rate=0.1)
    assert found["brier"] == pytest.approx(0.9 * (0.01 + 0.09 + 0.04) / 3 + 0.1 * 0.16)
    # A class of one picture can't be drawn apart, and a third of the draws go without it; twice as many have a spread.
    alone = bootstrap_intervals(labels, scores, scores, thresholds={}, draws=400, base_rate=0.1).free["brier"]
    assert alone is None
    labels, scores = np.tile(labels, 2), np.tile(scores, 2)
    span = bootstrap_intervals(labels, scores, scores, thresholds={}, draws=400, base_rate=0.1).free["brier"]
    assert span.low <= found["brier"] <= span.high
    alone = probability_metrics(np.array([1, 1]), np.array([0.4, 0.6]), base_rate=0.1)
    assert alone == {"log_loss": None, "brier": None, "ece": None}
    spans = bootstrap_intervals(np.array([1, 1]), scores[:2], scores[:2], thresholds={}, draws=100, base_rate=0.1).free
    assert spans["brier"] is None


def test_with_groups_of_different_sizes_each_class_is_averaged_within_the_draw():
    """A class share that varies between draws must not move figures that are weighted to a stated one."""
    labels = np.concatenate([np.ones(200), np.zeros(200)]).astype(int)
    scores = np.where(labels == 1, 0.9, 0.3)  # each class of one loss: at any share of fakes the figure is certain
    groups = np.concatenate([np.repeat(np.arange(10), np.linspace(2, 38, 10).astype(int)), 100 + np.arange(200) // 20])
    for codes in (None, groups):
        span = bootstrap_intervals(labels, scores, scores, thresholds={}, groups=codes, draws=200, base_rate=0.1).free[
            "brier"
        ]
        assert span[:2] == pytest.approx((0.1 * 0.01 + 0.9 * 0.09,) * 2)


def test_a_share_is_kept_only_where_the_scores_agree_with_it():
    """A network that saw the classes as equally frequent is sure of too many fakes, and a temperature can't mend it."""
    rng = np.random.default_rng(0)
    labels = (rng.random(3000) < 0.15).astype(int)
    balanced = rng.normal(labels * 2.0 - 1.0, 1.0) * 2.0  # log odds where half are fakes
    assert fit_calibration(labels, balanced, fitted_on="val").fake_share is None
    for method in ("platt", "isotonic"):
        assert fit_calibration(labels, balanced, fitted_on="val", method=method).fake_share == labels.mean()
    honest = balanced + np.log(0.15 / 0.85)
    assert fit_calibration(labels, honest, fitted_on="val").fake_share == labels.mean()
    few = fit_calibration(np.repeat([0, 1], [6, 4]), np.repeat([-9.0, 9.0], [6, 4]), fitted_on="val")
    assert few.fake_share == 0.4, "a few pictures show nothing against it"


def test_the_error_of_right_scores_is_the_mean_deviation_of_a_share():
    """Of scores 0.5 the mean of |share - 0.5| is sqrt(2 / pi) * 0.5 / sqrt(n), its 95th percentile 0.98 / sqrt(n)."""
    num = 10_000
    found = calibration_error_by_chance(np.full(num, 0.5), draws=2000, seed=1)
    assert found.mean == pytest.approx(np.sqrt(2 / np.pi) * 0.5 / np.sqrt(num), rel=0.05)
    assert found.high == pytest.approx(1.96 * 0.5 / np.sqrt(num), rel=0.05)


def test_scores_that_are_right_stay_below_what_chance_allows_19_times_of_20():
    rng = np.random.default_rng(5)
    below = 0
    for trial in range(200):
        score = rng.beta(0.5, 0.5, size=300)
        allowed = calibration_error_by_chance(score, draws=200, seed=trial)
        below += expected_calibration_error(rng.random(300) < score, score) <= allowed.high
    assert 180 <= below <= 198  # Binomial(200, 0.95): 190 expected, 3 deviations either way


@pytest.mark.parametrize("scores", [[0.0, 1.0, 1.0], []])
def test_certain_scores_leave_nothing_to_chance(scores):
    found = calibration_error_by_chance(np.array(scores), seed=0)
    assert found == ((0.0, 0.0) if scores else None)
