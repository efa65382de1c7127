import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from veriscope.evaluation.calibration import (
    calibration_bins,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
)
from veriscope.evaluation.threshold import choose_threshold

scored = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(scored)
@settings(max_examples=80, deadline=None)
def test_no_other_threshold_does_better(rows):
    labels = np.array([label for label, _ in rows])
    scores = np.array([score / 12 for _, score in rows])
    grid = np.linspace(0, 1, 241)
    youden = choose_threshold(labels, scores, chosen_on="val", rule="youden").value
    gain = [np.mean(scores[labels == 1] >= v) - np.mean(scores[labels == 0] >= v) for v in [youden, *grid]]
    assert gain[0] == pytest.approx(max(gain))
    accurate = choose_threshold(labels, scores, chosen_on="val", rule="accuracy").value
    hits = [np.mean((scores >= value) == labels) for value in [accurate, *grid]]
    assert hits[0] == pytest.approx(max(hits))


def test_threshold_lies_midway_between_the_classes():
    found = choose_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9]), chosen_on="my val")
    assert found.value == pytest.approx(0.4)
    assert found.chosen_on == "my val"
    assert "Youden" in found.rule


def test_equally_good_cuts_take_the_middle_one():
    # real fake real fake real fake: TPR - FPR is 1/3 at 0.15, at 0.35 and at 0.55, and less between.
    tied = choose_threshold(np.array([0, 1, 0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), chosen_on="val")
    assert tied.value == pytest.approx(0.35)
    unique = choose_threshold(np.array([1, 0, 1, 0, 1]), np.array([0.1, 0.3, 0.5, 0.7, 0.9]), chosen_on="val")
    assert unique.value == pytest.approx(0.8)


def test_neighbouring_floats_still_separate():
    low = 0.3
    high = np.nextafter(low, 1)
    assert choose_threshold(np.array([0, 1]), np.array([low, high]), chosen_on="val").value == high


@pytest.mark.parametrize(("label", "word"), [(0, "only real"), (1, "only fake")])
def test_one_class_chooses_nothing(label, word):
    found = choose_threshold(np.full(3, label), np.array([0.2, 0.4, 0.9]), chosen_on="val")
    assert found.value == 0.5
    assert word in found.rule
    assert found.chosen_on == "none"


def test_temperature_is_found_again():
    rng = np.random.default_rng(0)
    true_logits = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-true_logits))).astype(int)
    found = fit_temperature(labels, true_logits * 2.5, fitted_on="val")
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    assert found.fitted_on == "val"
    # Platt's targets move the optimum of 20,000 pictures by less than this.
    other = minimize(lambda t: negative_log_likelihood(labels, true_logits * 2.5, temperature=t[0]), [1.0])
    assert found.temperature == pytest.approx(other.x[0], rel=1e-3)


def test_negative_log_likelihood_equals_log_loss_and_does_not_overflow():
    labels, logits = np.array([0, 1, 1]), np.array([-1.0, 0.5, 2.0])
    assert negative_log_likelihood(labels, logits, temperature=2.0) == pytest.approx(
        sk.log_loss(labels, 1 / (1 + np.exp(-logits / 2)))
    )
    assert negative_log_likelihood(np.array([0, 1]), np.array([5000.0, 5000.0])) == 2500


def test_perfect_separation_claims_no_more_than_its_pictures_show():
    labels, logits = np.array([0, 0, 1, 1]), np.array([-2.0, -2.0, 2.0, 2.0])
    found = fit_temperature(labels, logits, fitted_on="val")
    assert found.score(2.0) == pytest.approx(3 / 4, rel=1e-3)  # Platt's target: (2 fakes + 1) / (2 + 2)
    many = fit_temperature(np.repeat(labels, 100), np.repeat(logits, 100), fitted_on="val")
    assert many.score(2.0) == pytest.approx(201 / 202, rel=1e-3)
    reversed_order = fit_temperature(labels, -logits, fitted_on="val")
    assert reversed_order.score(2.0) == pytest.approx(0.5, abs=0.01)


def test_one_class_is_not_calibrated():
    found = fit_temperature(np.ones(3), np.array([1.0, 2.0, 3.0]), fitted_on="val")
    assert (found.temperature, found.fitted_on) == (1.0, "none")


def test_calibration_error_equals_scikit_learns_bins():
    rng = np.random.default_rng(1)
    scores = rng.random(3000)
    labels = rng.random(3000) < scores**2
    share, mean = sklearn.calibration.calibration_curve(labels, scores, n_bins=15, strategy="uniform")
    counts = np.histogram(scores, bins=15, range=(0, 1))[0]
    expected = np.sum(counts * np.abs(share - mean)) / 3000
    assert expected_calibration_error(labels, scores) == pytest.approx(expected)


def test_a_score_of_one_falls_into_the_last_bin():
    # torchmetrics 1.9.0 opens a bin of its own for it: [0.95, 1.0] would be two bins with gaps 0.95 and 0.
    bins = calibration_bins(np.array([0, 1]), np.array([0.95, 1.0]))
    assert bins.counts[-1] == 2
    assert bins.counts.sum() == 2
    assert expected_calibration_error(np.array([0, 1]), np.array([0.95, 1.0])) == pytest.approx(0.975 - 0.5)
    assert expected_calibration_error(np.array([]), np.array([])) is None
