"""Thresholds by false alarms and by cost, and oracle figures, against every cut there is."""

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.config.judging import ThresholdConfig
from veriscope.evaluation.base_rate import expected_at
from veriscope.evaluation.metrics import Confusion, tpr_at_fpr
from veriscope.evaluation.oracle import oracle_figures
from veriscope.evaluation.threshold import choose_threshold

scored = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 12)), min_size=2, max_size=40).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)
GRID = np.linspace(0, 1, 241)


def arrays(rows):
    return np.array([label for label, _ in rows]), np.array([score / 12 for _, score in rows])


def called(labels, scores, threshold):
    """Return recall and share of false alarms."""
    return np.mean(scores[labels == 1] >= threshold), np.mean(scores[labels == 0] >= threshold)


@given(scored, st.sampled_from([0.0, 0.01, 0.1, 0.34, 0.5, 0.9]))
@settings(max_examples=40, deadline=None)
def test_no_other_threshold_with_so_few_false_alarms_catches_more(rows, max_fpr):
    labels, scores = arrays(rows)
    found = choose_threshold(labels, scores, chosen_on="val", rule="fpr", max_fpr=max_fpr)
    recall, alarms = called(labels, scores, found.value)
    every = [called(labels, scores, value) for value in GRID]
    fitting = [(tpr, -fpr) for tpr, fpr in every if fpr <= max_fpr + 1e-9]
    if not fitting:
        assert found.value == 1.0
        assert "not kept" in found.rule
        return
    assert alarms <= max_fpr + 1e-9
    assert (recall, -alarms) == pytest.approx(max(fitting)), "of equally many fakes the fewest false alarms"
    if scores.max() < 1:
        assert recall == pytest.approx(tpr_at_fpr(labels, scores, max_fpr=max_fpr))


@given(
    scored,
    st.sampled_from([0.5, 1.0, 3.0, 20.0]),
    st.sampled_from([0.7, 1.0, 5.0]),
    st.one_of(st.none(), st.floats(0.01, 0.99)),
)
@settings(max_examples=40, deadline=None)
def test_no_other_threshold_costs_less(rows, alarm, miss, base_rate):
    labels, scores = arrays(rows)
    found = choose_threshold(
        labels, scores, chosen_on="val", rule="cost", cost_false_alarm=alarm, cost_miss=miss, base_rate=base_rate
    )
    share = labels.mean() if base_rate is None else base_rate

    def cost(value):
        recall, alarms = called(labels, scores, value)
        return miss * (1 - recall) * share + alarm * alarms * (1 - share)

    assert cost(found.value) == pytest.approx(min(cost(value) for value in [*GRID, found.value]), abs=1e-9)


@given(scored)
@settings(max_examples=40, deadline=None)
def test_equal_costs_are_accuracy(rows):
    labels, scores = arrays(rows)
    by_cost = choose_threshold(labels, scores, chosen_on="val", rule="cost", cost_false_alarm=1.0, cost_miss=1.0)
    assert by_cost.value == choose_threshold(labels, scores, chosen_on="val", rule="accuracy").value


def test_rules_say_how_they_chose():
    labels, scores = np.array([0] * 50 + [1] * 50), np.arange(100) / 100
    half = choose_threshold(labels, scores, chosen_on="val", rule="0.5")
    assert (half.value, half.chosen_on) == (0.5, "none")
    strict = choose_threshold(labels, scores, chosen_on="val", rule="fpr", max_fpr=0.01)
    assert "at most 0.01 of real pictures called fake (0 of 50)" in strict.rule
    dear = choose_threshold(
        labels, scores, chosen_on="val", rule="cost", cost_false_alarm=10.0, cost_miss=1.0, base_rate=0.05
    )
    assert dear.rule == "smallest cost where 0.05 of the pictures are fake: 10 for a false alarm, 1 for a missed fake"
    for rule in ("fpr", "cost"):
        with pytest.raises(ValueError, match=f"rule '{rule}' needs"):
            choose_threshold(labels, scores, chosen_on="val", rule=rule)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rule": "fpr"}, "needs threshold.max_fpr"),
        ({"rule": "cost", "cost_miss": 1.0}, "needs threshold.cost_false_alarm"),
        ({"max_fpr": 0.01}, "has no effect with threshold.rule=youden: it is for threshold.rule=fpr"),
        ({"rule": "accuracy", "base_rate": 0.1}, "threshold.base_rate has no effect"),
    ],
)
def test_numbers_without_their_rule_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ThresholdConfig(**values)


def test_half_is_a_word_and_a_number():
    assert ThresholdConfig(rule=0.5).rule == ThresholdConfig(rule="0.5").rule == "0.5"


@given(scored)
@settings(max_examples=40, deadline=None)
def test_the_oracle_is_the_best_of_all_thresholds(rows):
    labels, scores = arrays(rows)
    accuracy, youden = oracle_figures(labels, scores)
    assert accuracy.value == pytest.approx(max(np.mean((scores >= value) == labels) for value in GRID))
    gains = [recall - alarms for recall, alarms in (called(labels, scores, value) for value in GRID)]
    assert youden.value == pytest.approx(max(gains))
    assert np.mean((scores >= accuracy.threshold) == labels) == pytest.approx(accuracy.value)


def test_no_oracle_for_one_class():
    assert oracle_figures(np.ones(3), np.array([0.1, 0.2, 0.3])) == ()


def test_precision_at_a_base_rate_is_that_of_pictures_so_mixed():
    counts = Confusion(tn=900, fp=100, fn=40, tp=160)
    found = expected_at(0.05, {"val": counts})["val"]
    # 1,000 pictures, 50 fakes: 40 caught, and of 950 real ones 95 accused.
    assert found.precision.value == pytest.approx(40 / 135)
    assert found.real_right.value == pytest.approx(855 / 865)
    assert found.called_fake.value == pytest.approx(135 / 1000)
    # At the share of the data itself: scikit-learn's precision.
    labels = np.repeat([0, 0, 1, 1], counts)
    verdicts = np.repeat([0, 1, 0, 1], counts)
    own = expected_at(200 / 1200, {"val": counts})["val"]
    assert own.precision.value == pytest.approx(sk.precision_score(labels, verdicts))
    assert own.precision.interval.method == "wilson, combined"
    assert own.precision.interval.low < own.precision.value < own.precision.interval.high
    nothing = expected_at(0.05, {"val": Confusion(tn=0, fp=0, fn=1, tp=2)})["val"]
    assert (nothing.precision.value, nothing.precision.interval) == (None, None)


def test_the_interval_of_the_precision_holds_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    true = 0.8 * 0.05 / (0.8 * 0.05 + 0.1 * 0.95)
    held = 0
    for _ in range(400):
        tp, fp = int(rng.binomial(200, 0.8)), int(rng.binomial(300, 0.1))
        interval = expected_at(0.05, {"t": Confusion(tn=300 - fp, fp=fp, fn=200 - tp, tp=tp)})["t"].precision.interval
        held += interval.low <= true <= interval.high
    assert held / 400 >= 0.95
