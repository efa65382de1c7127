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
    fake, real = iv.draw_counts(rng, engine.num_fake, 3), iv.draw_counts(rng, engine.num_real, 3)
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
    counts = iv.draw_counts(np.random.default_rng(0), 50, 400)
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


def in_groups(seed, *, num_groups=40, rows=10, spread=1.0):
    """Rows whose logits share a group's own shift: frames of one video. Groups are fake or real."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(num_groups) % 2, rows)
    shift = np.repeat(rng.normal(0, spread, num_groups), rows)
    logits = rng.normal(0, 0.3, labels.size) + shift + np.where(labels == 1, 0.8, -0.8)
    return labels, logits, 1 / (1 + np.exp(-logits)), np.repeat(np.arange(num_groups), rows)


def spans(found):
    return {key: value and (value.low, value.high) for key, value in {**found.free, **found.at["t"]}.items()}


@given(st.integers(0, 1000), st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_rows_that_are_their_own_groups_are_drawn_as_rows(seed, digits):
    labels, logits, scores = sample(seed, 60, digits=digits)
    labels[:2] = (0, 1)
    own = np.random.default_rng(seed).permutation(60)
    rows = iv.bootstrap_intervals(labels, logits, scores, thresholds={"t": 0.5}, draws=80)
    grouped = iv.bootstrap_intervals(labels, logits, scores, thresholds={"t": 0.5}, draws=80, groups=own)
    # Ties between rows put them in another order, which is another draw of the same distribution.
    if digits == 2 and np.unique(logits).size == 60:
        assert spans(grouped) == spans(rows)
    assert grouped.free["auroc"].method == "cluster bootstrap"
    assert grouped.free["auroc"].low == pytest.approx(rows.free["auroc"].low, abs=0.1)


@pytest.mark.parametrize("copies", [4, 25])
def test_copies_of_a_row_in_its_group_add_no_certainty(copies):
    labels, logits, scores = sample(5, 160, digits=6)
    kept = {"thresholds": {"t": 0.5}, "draws": 600}
    once = iv.bootstrap_intervals(labels, logits, scores, **kept)
    many = [np.repeat(column, copies) for column in (labels, logits, scores)]
    grouped = iv.bootstrap_intervals(*many, groups=np.repeat(np.arange(160), copies), **kept)
    alone = iv.bootstrap_intervals(*many, **kept)
    for key, (low, high) in spans(once).items():
        if key.startswith("tpr_at"):
            continue  # how many false alarms are allowed goes in steps of a row
        wide = spans(grouped)[key]
        assert wide[1] - wide[0] == pytest.approx(high - low, rel=0.15), key
        narrow = spans(alone)[key]
        assert narrow[1] - narrow[0] == pytest.approx((high - low) / copies**0.5, rel=0.25), key


def naive_cluster_bootstrap(labels, logits, scores, groups, *, draws, seed):
    """The plain definition: draw groups of fakes and of real pictures, write their rows out, call metrics.py."""
    rng = np.random.default_rng(seed)
    rows = {group: np.flatnonzero(groups == group) for group in np.unique(groups)}
    kinds = [[group for group in rows if set(labels[rows[group]]) == kind] for kind in ({0}, {1}, {0, 1})]
    found = []
    for _ in range(draws):
        drawn = [rng.choice(kind, len(kind)) for kind in kinds if kind]
        taken = np.concatenate([rows[group] for group in np.concatenate(drawn)])
        found.append(compute_metrics(labels[taken], scores[taken], threshold=0.5, logits=logits[taken]))
    return {key: np.percentile([figures[key] for figures in found], [2.5, 97.5]) for key in found[0] if key != "ece"}


@pytest.mark.parametrize("mixed", [False, True])
def test_cluster_intervals_equal_the_plain_definition(mixed):
    labels, logits, scores, groups = in_groups(2, num_groups=30, rows=4)
    if mixed:
        groups = np.where(groups < 20, groups // 2, groups)  # a fake and a real video of one person
    uneven = np.random.default_rng(0).random(len(labels)) < np.where(groups % 3 == 0, 1.0, 0.6)
    labels, logits, scores, groups = labels[uneven], logits[uneven], scores[uneven], groups[uneven]
    expected = naive_cluster_bootstrap(labels, logits, scores, groups, draws=500, seed=0)
    found = spans(iv.bootstrap_intervals(labels, logits, scores, thresholds={"t": 0.5}, groups=groups, draws=1000))
    for key, (low, high) in expected.items():
        assert found[key] == pytest.approx((low, high), abs=0.15 * (high - low)), key


def test_cluster_interval_covers_the_truth_where_the_row_bootstrap_does_not():
    """Recall's truth is P(0.8 + shift + noise >= 0) = Phi(0.8 / sqrt(1.09)) = 0.778."""
    inside = {"rows": 0, "groups": 0}
    for seed in range(40):
        labels, logits, scores, groups = in_groups(seed, num_groups=60)
        for name, given_groups in (("rows", None), ("groups", groups)):
            found = iv.bootstrap_intervals(
                labels, logits, scores, thresholds={"t": 0.5}, groups=given_groups, draws=150, seed=seed
            ).at["t"]["recall"]
            inside[name] += found.low <= 0.7782 <= found.high
    assert inside["groups"] >= 34
    assert inside["rows"] <= 28


def test_too_few_groups_give_no_interval():
    labels, logits, scores, _ = in_groups(0, num_groups=10, rows=6)
    kept = {"thresholds": {"t": 0.5}, "draws": 200}
    one = iv.bootstrap_intervals(labels, logits, scores, groups=np.zeros(60, dtype=np.int64), **kept)
    assert set(spans(one).values()) == {None}
    # All real pictures from one video: most draws would hold it always, or, unstratified, often none of it.
    one_real = np.where(labels == 0, 0, np.arange(60))
    found = iv.bootstrap_intervals(labels, logits, scores, groups=one_real, **kept)
    assert found.free["auroc"] is None
    assert found.at["t"]["specificity"] is None
    assert found.at["t"]["recall"] is not None


def test_group_codes_number_names_in_their_order_and_leave_single_rows_alone():
    codes = iv.group_codes(["b", None, "a", "b", None])
    assert codes[[0, 2, 3]].tolist() == [1, 0, 1]
    assert codes[1] != codes[4]
    assert min(codes[[1, 4]]) < max(codes[[1, 4]]) < 0
    assert iv.group_codes(["a", None, "b"]) is None
    assert iv.group_codes([None, None]) is None
    assert iv.group_codes([]) is None
