import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from veriscope.evaluation import intervals as iv
from veriscope.evaluation.metrics import METRICS, compute_metrics


def sample(seed=0, size=200, shift=1.2, digits=1):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    logits = np.round(rng.normal(size=size) + shift * labels, digits)
    return labels, logits, 1 / (1 + np.exp(-logits))


def test_wilson_equals_scipy():
    for successes, trials in ((0, 20), (20, 20), (7, 31), (1, 1)):
        found = iv.wilson(successes, trials)
        expected = binomtest(successes, trials).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert iv.wilson(0, 0) is None


draws = st.tuples(st.integers(0, 10_000), st.integers(6, 50), st.integers(0, 2), st.floats(0.05, 0.95))


@given(draws)
@settings(max_examples=40, deadline=None)
def test_every_draw_equals_the_metrics_of_its_resample(case):
    """The engine works on counts; the same rows written out must give what metrics.py says."""
    seed, size, digits, threshold = case
    labels, logits, scores = sample(seed, size, digits=digits)
    labels[:2] = (0, 1)
    engine = iv._Sample(labels, logits, scores)
    rng = np.random.default_rng(seed)
    fake, real = iv._counts(rng, engine.num_fake, 3), iv._counts(rng, engine.num_real, 3)
    sums = iv._cumulative(fake), iv._cumulative(real)
    found = {**engine.free(fake, real, *sums), **engine.at(*sums, threshold=threshold)}
    order = np.argsort(logits, kind="stable")
    fakes, reals = order[labels[order] == 1], order[labels[order] == 0]
    for draw in range(3):
        rows = np.concatenate([np.repeat(fakes, fake[draw]), np.repeat(reals, real[draw])])
        expected = compute_metrics(labels[rows], scores[rows], threshold=threshold, logits=logits[rows])
        for key, values in found.items():
            if expected[key] is None:
                assert np.isnan(values[draw]), key
            else:
                assert values[draw] == pytest.approx(expected[key], abs=1e-9), key


def test_draws_are_stratified_with_replacement():
    counts = iv._counts(np.random.default_rng(0), 50, 400)
    assert np.all(counts.sum(axis=1) == 50)
    # A row is left out of a draw with probability (1 - 1/n)^n.
    assert np.mean(counts == 0) == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_accuracy_interval_agrees_with_the_binomial():
    labels, logits, scores = sample(3, size=2000)
    found = iv.bootstrap_intervals(labels, logits, scores, thresholds={"half": 0.5}, draws=2000).at["half"]
    value = compute_metrics(labels, scores, threshold=0.5)["accuracy"]
    width = 1.96 * np.sqrt(value * (1 - value) / 2000)
    assert found["accuracy"].low == pytest.approx(value - width, abs=0.004)
    assert found["accuracy"].high == pytest.approx(value + width, abs=0.004)


def test_auroc_interval_covers_the_truth():
    """95 % intervals of a known AUROC: over 60 data sets the truth must be inside about 57 times."""
    truth = 0.8556  # Phi(1.5 / sqrt 2), two normals 1.5 apart
    inside = 0
    for seed in range(60):
        labels, logits, scores = sample(seed, size=120, shift=1.5, digits=6)
        found = iv.bootstrap_intervals(labels, logits, scores, thresholds={}, draws=150, seed=seed).free["auroc"]
        inside += found.low <= truth <= found.high
    assert 51 <= inside <= 60


def test_same_seed_same_interval_and_whatever_the_row_order():
    labels, logits, scores = sample(1, digits=6)
    first = iv.bootstrap_intervals(labels, logits, scores, thresholds={"t": 0.5}, draws=300)
    turned = np.random.default_rng(0).permutation(len(labels))
    again = iv.bootstrap_intervals(labels[turned], logits[turned], scores[turned], thresholds={"t": 0.5}, draws=300)
    assert first == again
    assert first != iv.bootstrap_intervals(labels, logits, scores, thresholds={"t": 0.5}, draws=300, seed=1)
    expected = {metric.key for metric in METRICS if metric.key != "ece"}
    assert set(first.free) | set(first.at["t"]) == expected


@pytest.mark.parametrize("label", [0, 1])
def test_one_class(label):
    scores = np.array([0.1, 0.4, 0.8, 0.9])
    found = iv.bootstrap_intervals(np.full(4, label), scores, scores, thresholds={"t": 0.5}, draws=200)
    assert found.free["auroc"] is None
    assert found.free["eer"] is None
    assert found.free["brier"] is not None
    own, other = ("recall", "specificity") if label else ("specificity", "recall")
    assert found.at["t"][own] is not None
    assert found.at["t"][other] is None
    assert found.at["t"]["precision"] is None


def test_no_rows_give_no_intervals():
    nothing = np.array([])
    found = iv.bootstrap_intervals(nothing, nothing, nothing, thresholds={"t": 0.5}, draws=100)
    assert set(found.free.values()) | set(found.at["t"].values()) == {None}


def test_scores_that_fall_where_logits_rise_are_refused():
    with pytest.raises(ValueError, match="must not fall"):
        iv.bootstrap_intervals(np.array([0, 1]), np.array([0.0, 1.0]), np.array([0.9, 0.1]), thresholds={})
