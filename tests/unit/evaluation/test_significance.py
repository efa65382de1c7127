"""The paired tests against their definitions, other programs, published examples, properties and simulated nulls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binomtest, bootstrap, chi2, norm

from veriscope.evaluation.intervals import bootstrap_intervals
from veriscope.evaluation.metrics import auroc, compute_metrics
from veriscope.evaluation.resample import RESAMPLED, Ranked, draw_weights, group_strata, paired_draws
from veriscope.evaluation.significance import bootstrap_test, delong_areas, delong_test, holm, mcnemar_test

# DeLong, DeLong & Clarke-Pearson 1988: 43 patients with ovarian cancer whose three tests are known: albumin, total
# protein, K-G score (less is better), and whether surgery helped.
OVARIAN = np.array([
    (3.0, 5.8, 10, 0), (3.2, 6.3, 5, 1), (3.9, 6.8, 3, 1), (2.8, 4.8, 6, 0), (3.2, 5.8, 3, 1), (0.9, 4.0, 5, 0),
    (2.5, 5.7, 8, 0), (1.6, 5.6, 5, 1), (3.8, 5.7, 5, 1), (3.7, 6.7, 6, 1), (3.2, 5.4, 4, 1), (3.8, 6.6, 6, 1),
    (4.1, 6.6, 5, 1), (3.6, 5.7, 5, 1), (4.3, 7.0, 4, 1), (3.6, 6.7, 4, 0), (2.3, 4.4, 6, 1), (4.2, 7.6, 4, 0),
    (4.0, 6.6, 6, 0), (3.5, 5.8, 6, 1), (3.8, 6.8, 7, 1), (3.0, 4.7, 8, 0), (4.5, 7.4, 5, 1), (3.7, 7.4, 5, 1),
    (3.1, 6.6, 6, 1), (4.1, 8.2, 6, 1), (4.3, 7.0, 5, 1), (4.3, 6.5, 4, 1), (3.2, 5.1, 5, 1), (2.6, 4.7, 6, 1),
    (3.3, 6.8, 6, 0), (1.7, 4.0, 7, 0), (3.7, 6.1, 5, 1), (3.3, 6.3, 7, 1), (4.2, 7.7, 6, 1), (3.5, 6.2, 5, 1),
    (2.9, 5.7, 9, 0), (2.1, 4.8, 7, 1), (2.8, 6.2, 8, 0), (4.0, 7.0, 7, 1), (3.3, 5.7, 6, 1), (3.7, 6.9, 5, 1),
    (3.6, 6.6, 5, 1),
])  # fmt: skip


def two_models(seed, size=60, *, digits=1, shift=1.0, shared=0.7):
    """Return labels and the logits of two detectors that see partly the same."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    labels[:4] = (0, 1, 0, 1)
    both = rng.normal(size=size) * shared**0.5
    own = rng.normal(size=(2, size)) * (1 - shared) ** 0.5
    return labels, np.round(both + own + shift * labels, digits)


def by_definition(labels, logits):
    """DeLong's covariance straight from its definition: every fake against every real picture."""
    fakes, reals = logits[:, labels == 1], logits[:, labels == 0]
    wins = (fakes[:, :, None] > reals[:, None, :]) + 0.5 * (fakes[:, :, None] == reals[:, None, :])
    v10, v01 = wins.mean(axis=2), wins.mean(axis=1)
    return wins.mean(axis=(1, 2)), np.cov(v10) / fakes.shape[1] + np.cov(v01) / reals.shape[1]


@given(st.integers(0, 10_000), st.integers(8, 60), st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_delong_equals_its_definition_ties_included(seed, size, digits):
    labels, logits = two_models(seed, size, digits=digits)
    areas = delong_areas(labels, logits)
    values, covariance = by_definition(labels, logits)
    assert areas.values == pytest.approx(values)
    assert areas.values == pytest.approx([auroc(labels, one) for one in logits])
    for weights in ([1, 0], [0, 1], [1, -1]):
        assert areas.variance(weights) == pytest.approx(np.array(weights) @ covariance @ weights, abs=1e-12)


def test_delong_gives_the_published_example():
    """AUROC, standard errors, differences, p: as R's pROC 1.18 prints for DeLong's patients."""
    labels = OVARIAN[:, 3]
    areas = delong_areas(labels, np.stack([OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2]]))
    assert areas.values == pytest.approx([0.7366, 0.6478, 0.7258], abs=5e-5)
    errors = [areas.variance(weights) ** 0.5 for weights in np.eye(3)]
    assert errors == pytest.approx([0.0927, 0.1000, 0.1028], abs=5e-5)
    albumin, protein = delong_test(areas, 0, 2), delong_test(areas, 1, 2)
    assert (albumin.difference, albumin.low, albumin.high) == pytest.approx((0.0108, -0.1761, 0.1976), abs=5e-5)
    assert (protein.difference, protein.low, protein.high) == pytest.approx((-0.0780, -0.2830, 0.1271), abs=5e-5)
    assert (albumin.p, protein.p) == pytest.approx((0.9102, 0.4561), abs=5e-5)


def test_one_area_of_the_radiologist_of_hanley_and_mcneil():
    """109 CT images rated from 1 to 5 (Hanley & McNeil 1982, table 1): area 0.893, DeLong's standard error 0.0307."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    ratings = np.concatenate([np.repeat(np.arange(5), normal), np.repeat(np.arange(5), abnormal)])
    areas = delong_areas(np.repeat([0, 1], [58, 51]), ratings)
    assert areas.values[0] == pytest.approx(0.8932, abs=5e-5)
    assert areas.variance([1]) ** 0.5 == pytest.approx(0.0307, abs=5e-5)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_delong_swapped_transformed_and_with_groups_of_one(seed):
    labels, logits = two_models(seed, 40)
    found = delong_test(delong_areas(labels, logits), 0, 1)
    swapped = delong_test(delong_areas(labels, logits), 1, 0)
    assert (swapped.difference, swapped.low, swapped.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )
    assert swapped.p == pytest.approx(found.p)
    stretched = np.stack([np.exp(3 * logits[0]), logits[1] ** 3 - 7])
    assert delong_test(delong_areas(labels, stretched), 0, 1) == pytest.approx(found)
    alone = np.random.default_rng(seed).permutation(40)
    assert delong_test(delong_areas(labels, logits, groups=alone), 0, 1)[:4] == pytest.approx(found[:4])


def test_delong_without_spread():
    labels, logits = two_models(1)
    areas = delong_areas(labels, np.stack([logits[0], 2 * logits[0] + 1, labels, labels * 0.1, labels * 0]))
    assert delong_test(areas, 0, 1) == (0.0, 0.0, 0.0, 1.0, "DeLong")
    assert delong_test(areas, 0, 0).p == 1.0
    assert delong_test(areas, 2, 3).p == 1.0, "both without a mistake"
    assert delong_test(areas, 2, 4)[1:4] == (None, None, None), "0.5 between areas that can't move"
    assert delong_test(delong_areas(np.array([0, 1, 1]), [[0, 1, 2], [2, 1, 0]]), 0, 1).p is None, "one real picture"
    with pytest.raises(ValueError, match="both classes"):
        delong_areas(np.ones(3), logits[:, :3])


def answers(only_first, only_second, both=0, neither=0):
    counts = (only_first, only_second, both, neither)
    return np.repeat([True, False, True, False], counts), np.repeat([False, True, True, False], counts)


def test_mcnemar_published_examples():
    # Approval of a prime minister, asked twice (Agresti 1990, table 10.1): 794, 150, 86, 570; z^2 = 17.36.
    found = mcnemar_test(*answers(150, 86, both=794, neither=570))
    assert found.difference == pytest.approx(0.04)
    assert found.p == pytest.approx(chi2.sf(17.36, 1), rel=0.08), "exact, where the book takes the chi-square"
    assert (found.low, found.high) == pytest.approx((0.021, 0.059), abs=5e-4)
    # Children before and after a transplantation: 1, 1, 7, 12 (Fagerland, Lydersen & Laake 2013, table 1).
    assert mcnemar_test(*answers(1, 7, both=1, neither=12)).p == pytest.approx(0.0391, abs=5e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_mcnemar_equals_scipys_binomial_and_swaps(only_first, only_second, both):
    first, second = answers(only_first, only_second, both, 1)
    found, swapped = mcnemar_test(first, second), mcnemar_test(second, first)
    fewer, trials = min(only_first, only_second), only_first + only_second
    if trials:
        upto = binomtest(fewer, trials, alternative="less").pvalue
        below = binomtest(fewer - 1, trials, alternative="less").pvalue if fewer else 0.0
        assert found.p == pytest.approx(min(1.0, upto + below)), "the mean of P(X <= k) and P(X < k), twice"
        assert found.p <= binomtest(only_first, trials).pvalue + 1e-12
    else:
        assert found.p == 1.0
    assert (swapped.difference, swapped.low, swapped.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )
    assert swapped.p == pytest.approx(found.p)


def test_mcnemar_for_groups_is_the_chi_square_of_group_sums():
    first, second = answers(9, 2, both=5, neither=4)
    groups = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3, *range(4, 13)])
    sums = [3, 3, 2, 1 - 2]  # of first less second
    found = mcnemar_test(first, second, groups=groups)
    z_squared = 12 / 13 * sum(sums) ** 2 / sum(value**2 for value in sums)  # 13 groups
    assert found.method == "McNemar for groups"
    assert found.p == pytest.approx(2 * norm.sf(z_squared**0.5))
    assert mcnemar_test(first, second, groups=np.arange(20)) == mcnemar_test(first, second)
    assert mcnemar_test(first, first, groups=groups).p == 1.0
    assert mcnemar_test(first, second, groups=np.zeros(20, int)).p is None, "one group has no spread"


@given(st.integers(0, 10_000), st.integers(4, 50), st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_every_draw_equals_the_metrics_of_its_resample(seed, size, digits):
    """Also where a draw holds other numbers of fakes, as whole groups give it, or one class alone."""
    labels, logits = two_models(seed, size, digits=digits)
    scores = expit(logits[0])
    weights = np.random.default_rng(seed).integers(0, 4, (4, size)).astype(np.int32)
    found = Ranked(labels, logits[0], scores, threshold=0.45).metrics(weights)
    for draw, counts in enumerate(weights):
        rows = np.repeat(np.arange(size), counts)
        expected = compute_metrics(labels[rows], scores[rows], threshold=0.45, logits=logits[0][rows])
        for key in RESAMPLED:
            value = float("nan") if expected[key] is None else expected[key]
            assert found[key][draw] == pytest.approx(value, abs=1e-9, nan_ok=True), key


def test_paired_bootstrap_agrees_with_scipys():
    labels, logits = two_models(3, 300, digits=6)
    scores = expit(logits)
    draws = paired_draws(labels, logits, scores, thresholds=(0.5, 0.6), draws=4000)
    losses = (scores - labels) ** 2
    rights = ((scores >= np.array([[0.5], [0.6]])) == (labels == 1)).astype(float)
    for key, values, statistic in (
        ("brier", losses[0] - losses[1], lambda fake, real: _mean_of_both(fake, real, labels)),
        ("balanced_accuracy", rights[0] - rights[1], lambda fake, real: (fake.mean(-1) + real.mean(-1)) / 2),
    ):
        ours = bootstrap_test(float(np.mean(values)), draws[key][0] - draws[key][1])
        theirs = bootstrap(
            (values[labels == 1], values[labels == 0]), statistic, n_resamples=4000, method="percentile",
            vectorized=False, rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
        width = theirs.high - theirs.low
        assert ours.low == pytest.approx(theirs.low, abs=0.06 * width), key
        assert ours.high == pytest.approx(theirs.high, abs=0.06 * width), key


def _mean_of_both(fake, real, labels):
    return (fake.mean() * np.sum(labels == 1) + real.mean() * np.sum(labels == 0)) / len(labels)


def test_paired_bootstrap_agrees_with_delong():
    labels, logits = two_models(5, 400, digits=6, shared=0.5)
    draws = paired_draws(labels, logits, expit(logits), thresholds=(0.5, 0.5), draws=2000)["auroc"]
    exact = delong_test(delong_areas(labels, logits), 0, 1)
    error = (exact.high - exact.low) / 2 / 1.95996
    assert np.std(draws[0] - draws[1]) == pytest.approx(error, rel=0.08)


def test_bootstrap_p_and_interval_by_hand():
    found = bootstrap_test(0.3, np.array([-0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]), level=0.5)
    assert found.p == pytest.approx(2 * (1 + 1) / (9 + 1))
    assert (found.low, found.high) == pytest.approx((0.2, 0.6))
    assert bootstrap_test(0.0, np.zeros(9)).p == 1.0
    assert bootstrap_test(0.9, np.full(99, 0.5)) == (0.9, 0.5, 0.9, pytest.approx(0.02), "paired bootstrap")
    assert bootstrap_test(0.1, np.array([np.nan, 0.1])).p is None


def test_whole_groups_are_drawn_and_swapping_negates():
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1] * 6)
    groups = np.repeat(np.arange(12), 4)
    groups = np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 48)) + labels
    weights = draw_weights(rng, [np.array([0, 2, 4]), np.array([1, 3])], 50)
    assert np.all(weights[:, [0, 2, 4]].sum(axis=1) == 3)
    assert np.all(weights[:, [1, 3]].sum(axis=1) == 2)
    both = paired_draws(labels, logits, expit(logits), thresholds=(0.5, 0.4), groups=groups, draws=120)
    turned = paired_draws(labels, logits[::-1], expit(logits[::-1]), thresholds=(0.4, 0.5), groups=groups, draws=120)
    for key in RESAMPLED:
        assert np.array_equal(both[key][0] - both[key][1], -(turned[key][0] - turned[key][1]), equal_nan=True)
    # The share of fakes moves from draw to draw, since groups differ in it.
    fixed = paired_draws(labels, logits, expit(logits), thresholds=(0.5, 0.5), draws=120)
    assert np.std(both["brier"]) != np.std(fixed["brier"])


def test_holm_by_hand_and_none():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.02]) == [0.5, None, 0.04]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# Where nothing differs, 5 of 100 comparisons may read p < 0.05. Half the variance would give 16, twice the variance
# 0.6, and forgetting that the two saw the same pictures hardly any.
def share_below(p_values):
    return float(np.mean(np.array(p_values) < 0.05))


def test_delong_is_wrong_in_5_of_100_nulls():
    found = []
    for seed in range(1000):
        labels, logits = two_models(seed, 80, digits=3)
        found.append(delong_test(delong_areas(labels, logits), 0, 1).p)
    assert 0.032 <= share_below(found) <= 0.071


def test_mcnemar_is_wrong_in_5_of_100_nulls():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2000):
        first, second = answers(*rng.multinomial(200, (0.15, 0.15, 0.5, 0.2)))
        found.append(mcnemar_test(first, second).p)
    assert 0.035 <= share_below(found) <= 0.065


def test_bootstrap_is_wrong_in_5_of_100_nulls():
    found = {key: [] for key in ("brier", "ap", "balanced_accuracy")}
    for seed in range(250):
        labels, logits = two_models(seed, 100, digits=3)
        scores = expit(logits)
        draws = paired_draws(labels, logits, scores, thresholds=(0.5, 0.5), draws=99, seed=seed)
        for key, p_values in found.items():
            values = [compute_metrics(labels, scores[k], threshold=0.5, logits=logits[k])[key] for k in (0, 1)]
            p_values.append(bootstrap_test(values[0] - values[1], draws[key][0] - draws[key][1]).p)
    shares = {key: share_below(p_values) for key, p_values in found.items()}
    assert all(0.012 <= share <= 0.09 for share in shares.values()), shares


def grouped_null(seed):
    """Return 40 groups of five pictures that a detector gets right or wrong together."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), 5)
    labels = np.repeat(rng.permutation([0, 1] * 20), 5)
    logits = rng.normal(size=(2, 40))[:, groups] + 0.5 * rng.normal(size=(2, 200)) + labels
    return labels, logits, groups


def test_groups_keep_the_tests_honest():
    """Five pictures of one identity are one witness: what forgets it calls chance a difference every third time."""
    found = {"delong": [], "delong blind": [], "mcnemar": [], "mcnemar blind": [], "brier": []}
    for seed in range(200):
        labels, logits, groups = grouped_null(seed)
        right = (logits >= 0.5) == (labels == 1)
        found["delong"].append(delong_test(delong_areas(labels, logits, groups=groups), 0, 1).p)
        found["delong blind"].append(delong_test(delong_areas(labels, logits), 0, 1).p)
        found["mcnemar"].append(mcnemar_test(*right, groups=groups).p)
        found["mcnemar blind"].append(mcnemar_test(*right).p)
        scores = expit(logits)
        draws = paired_draws(labels, logits, scores, thresholds=(0.5, 0.5), groups=groups, draws=99)["brier"]
        losses = ((scores - labels) ** 2).mean(axis=1)
        found["brier"].append(bootstrap_test(losses[0] - losses[1], draws[0] - draws[1]).p)
    shares = {key: share_below(p_values) for key, p_values in found.items()}
    assert all(0.015 <= shares[key] <= 0.1 for key in ("delong", "mcnemar", "brier")), shares
    assert min(shares["delong blind"], shares["mcnemar blind"]) > 0.2, shares


def with_few_groups(kind):
    """Return 60 pictures whose groups leave little to draw: all in one, or all the real ones in one."""
    labels, logits = two_models(11, 60, digits=6)
    return labels, logits, np.zeros(60, int) if kind == "one" else np.where(labels == 0, 0, np.cumsum(labels))


def test_one_group_in_all_says_nothing_of_others():
    labels, logits, groups = with_few_groups("one")
    draws = paired_draws(labels, logits, expit(logits), thresholds=(0.5, 0.5), groups=groups, draws=200)
    for key in RESAMPLED:
        assert np.isnan(draws[key]).all(), key
        assert bootstrap_test(0.1, draws[key][0] - draws[key][1])[1:4] == (None, None, None), key


def test_a_stratum_of_one_group_is_not_drawn_the_same_every_time():
    """All real pictures from one video: specificity is unknown, and what both classes give varies with the video."""
    labels, logits, groups = with_few_groups("one real")
    scores = expit(logits)
    draws = paired_draws(labels, logits, scores, thresholds=(0.5, 0.5), groups=groups, draws=400)
    assert 0.2 < np.mean(np.isnan(draws["specificity"])) < 0.5, "a draw without the video, 0.37 of them"
    assert bootstrap_test(0.1, draws["specificity"][0] - draws["specificity"][1]).p is None
    assert np.nanstd(draws["accuracy"][0]) > 0.07
    alone = bootstrap_intervals(labels, logits[0], scores[0], thresholds={"t": 0.5}, groups=groups, draws=400)
    low, high = np.percentile(draws["accuracy"][0], [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(alone.at["t"]["accuracy"][:2]), abs=0.06), "as the other intervals draw"


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=1, max_size=25))
@settings(max_examples=60, deadline=None)
def test_strata_never_hold_a_single_group_of_several_rows_beside_others(rows):
    codes = np.unique([code for code, _ in rows], return_inverse=True)[1]
    labels = np.array([label for _, label in rows])
    strata = group_strata(labels, codes)
    assert sorted(np.concatenate(strata).tolist()) == sorted(set(codes.tolist()))
    if len(strata) == 1:
        return
    for stratum in strata:
        assert len(stratum) > 1 or np.sum(codes == stratum[0]) == 1
        assert len({tuple(np.unique(labels[codes == group])) for group in stratum}) == 1, "of one kind"


@pytest.mark.parametrize("grouped", [False, True])
def test_paired_draws_weigh_the_losses_to_the_base_rate(grouped):
    labels, logits = two_models(2, 120, digits=6)
    groups = np.random.default_rng(0).permutation(np.arange(120) // 3) if grouped else None
    scores = expit(logits)
    kept = {"thresholds": (0.5, 0.6), "groups": groups, "draws": 40, "seed": 5}
    found = paired_draws(labels, logits, scores, base_rate=0.02, **kept)
    plain = paired_draws(labels, logits, scores, **kept)
    for key in RESAMPLED:
        assert np.array_equal(found[key], plain[key]) == (key not in ("log_loss", "brier")), key
    weights = np.random.default_rng(0).integers(0, 4, (6, 120)).astype(np.int32)
    drawn = Ranked(labels, logits[0], scores[0], threshold=0.5, base_rate=0.02).metrics(weights)
    for draw, counts in enumerate(weights):
        rows = np.repeat(np.arange(120), counts)
        expected = compute_metrics(labels[rows], scores[0][rows], threshold=0.5, base_rate=0.02)
        assert drawn["brier"][draw] == pytest.approx(expected["brier"])
        assert drawn["log_loss"][draw] == pytest.approx(expected["log_loss"])


def obuchowski_by_definition(first, second, groups):
    """Two marginal shares and their covariance over clusters, both about the pooled share (Obuchowski 1998)."""
    names = np.unique(groups)
    hits = np.array([[np.sum(one[groups == name]) for name in names] for one in (first, second)], dtype=float)
    sizes = np.array([np.sum(groups == name) for name in names])
    shares, pooled = hits.sum(axis=1) / sizes.sum(), hits.sum() / (2 * sizes.sum())
    gaps = hits - sizes * pooled
    covariance = gaps @ gaps.T * len(names) / (len(names) - 1) / sizes.sum() ** 2
    return (shares[0] - shares[1]) ** 2 / (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


@given(st.integers(0, 10_000), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_mcnemar_for_groups_is_obuchowskis_test_of_two_shares(seed, num_groups):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, 30)])
    first, second = rng.random((2, len(groups))) < np.array([[0.8], [0.6]])
    found = mcnemar_test(first, second, groups=groups)
    if np.any(np.bincount(groups, weights=first.astype(float) - second)):
        assert found.p == pytest.approx(chi2.sf(obuchowski_by_definition(first, second, groups), 1))
    else:
        assert found.p == 1.0
