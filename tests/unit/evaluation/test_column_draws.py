import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from veriscope.evaluation.column_draws import _Ranks, column_draws, percentile_interval
from veriscope.evaluation.intervals import bootstrap_intervals, group_codes


def sample(num=60, columns=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.zeros(num), np.ones(num + 7)].astype(int)
    base = rng.normal(0, 1, labels.size) + 1.2 * labels
    logits = np.stack([base + rng.normal(0, scale, labels.size) for scale in np.linspace(0, 2, columns)])
    return labels, logits, logits > 0.5


@settings(max_examples=60, deadline=None)
@given(
    fakes=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    reals=st.lists(st.integers(0, 5), min_size=1, max_size=12),
    seed=st.integers(0, 99),
)
def test_a_draws_auroc_is_scikit_learns_with_weights(fakes, reals, seed):
    """Ties and all: counts of a draw are sample weights."""
    rng = np.random.default_rng(seed)
    of_fakes = rng.multinomial(len(fakes), np.ones(len(fakes)) / len(fakes))
    of_reals = rng.multinomial(len(reals), np.ones(len(reals)) / len(reals))
    found = _Ranks(np.array(fakes, float), np.array(reals, float)).auroc(
        of_fakes[None].astype(np.int32), of_reals[None].astype(np.int32)
    )
    expected = roc_auc_score(
        np.r_[np.ones(len(fakes)), np.zeros(len(reals))],
        np.r_[fakes, reals],
        sample_weight=np.r_[of_fakes, of_reals],
    )
    assert found[0] == pytest.approx(expected)


def test_intervals_agree_with_the_unpaired_bootstrap_and_scipy():
    labels, logits, right = sample()
    found = column_draws(labels, logits, right, draws=3000, seed=1)
    for column in range(3):
        scores = 1 / (1 + np.exp(-logits[column]))
        other = bootstrap_intervals(labels, logits[column], scores, thresholds={}, draws=3000, seed=2).free["auroc"]
        own = percentile_interval(found.auroc[:, column], roc_auc_score(labels, logits[column]), level=0.95)
        assert (own.low, own.high) == pytest.approx((other.low, other.high), abs=0.012)
    hits = right[0].astype(float)
    scipys = stats.bootstrap((hits,), np.mean, method="percentile", n_resamples=3000, rng=np.random.default_rng(0))
    own = percentile_interval(found.share[:, 0], hits.mean(), level=0.95)
    assert (own.low, own.high) == pytest.approx(tuple(scipys.confidence_interval), abs=0.02)


def test_columns_are_paired():
    labels, logits, right = sample()
    twice = np.stack([logits[0], logits[0], logits[0][::-1]])
    found = column_draws(labels, twice, right[[0, 0, 0]], draws=200, seed=0)
    assert np.array_equal(found.auroc[:, 0], found.auroc[:, 1])
    assert np.ptp(found.auroc[:, 0]) > 0.05
    # Paired differences of scorings that resemble each other spread far less than unpaired ones.
    near = column_draws(labels, np.stack([logits[0], logits[0] + 0.01 * logits[1]]), right[:2], draws=500, seed=0)
    difference = near.auroc[:, 0] - near.auroc[:, 1]
    assert difference.std() < 0.2 * near.auroc[:, 0].std()


def test_the_same_seed_gives_the_same_draws_in_any_block_size(monkeypatch):
    labels, logits, right = sample()
    first = column_draws(labels, logits, right, draws=50, seed=3)
    assert np.array_equal(first.auroc, column_draws(labels, logits, right, draws=50, seed=3).auroc)
    assert not np.array_equal(first.auroc, column_draws(labels, logits, right, draws=50, seed=4).auroc)
    monkeypatch.setattr("veriscope.evaluation.column_draws._BLOCK_CELLS", 1)
    assert column_draws(labels, logits, right, draws=50, seed=3).auroc.shape == (50, 3)


def test_one_class_has_shares_but_no_auroc():
    _, logits, right = sample()
    labels = np.ones(logits.shape[1], int)
    found = column_draws(labels, logits, right, draws=100, seed=0)
    assert np.isnan(found.auroc).all()
    assert found.share.mean(axis=0) == pytest.approx(right.mean(axis=1), abs=0.02)
    assert percentile_interval(found.auroc[:, 0], None, level=0.95) is None


def test_an_interval_holds_its_figure():
    found = percentile_interval(np.linspace(0, 0.5, 101), 0.7, level=0.95)
    assert (found.high, found.method) == (0.7, "bootstrap")
    assert found.low == pytest.approx(0.0125)


def test_whole_groups_are_drawn_as_the_other_intervals_draw_them():
    """Ten frames a video: the spread is that of the videos, several times that of as many strangers."""
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 200)
    video = np.repeat(np.arange(40), 10)
    logits = (np.repeat(rng.normal(0, 1, 40), 10) + rng.normal(0, 0.1, 400) + labels)[None]
    groups = group_codes([f"video {number}" for number in video])
    found = column_draws(labels, logits, logits > 0.5, groups=groups, draws=2000, seed=0)
    alone = column_draws(labels, logits, logits > 0.5, draws=2000, seed=0)
    assert found.auroc.std() > 2 * alone.auroc.std()
    assert found.share.std() > 2 * alone.share.std()
    scores = 1 / (1 + np.exp(-logits[0]))
    other = bootstrap_intervals(labels, logits[0], scores, thresholds={}, groups=groups, draws=2000, seed=1)
    own = percentile_interval(found.auroc[:, 0], roc_auc_score(labels, logits[0]), level=0.95)
    assert (own.low, own.high) == pytest.approx((other.free["auroc"].low, other.free["auroc"].high), abs=0.03)


def test_one_group_gives_no_draws_and_a_lone_group_of_a_class_is_no_stratum():
    labels, logits, right = sample()
    found = column_draws(labels, logits, right, groups=np.zeros(labels.size, dtype=np.int64), draws=50, seed=0)
    assert np.isnan(found.auroc).all()
    assert np.isnan(found.share).all()
    assert percentile_interval(found.share[:, 0], 0.5, level=0.95) is None
    one_real = np.where(labels == 0, 0, np.arange(labels.size))
    found = column_draws(labels, logits, right, groups=one_real, draws=400, seed=0)
    assert 0.3 < np.mean(np.isnan(found.auroc[:, 0])) < 0.45, "0.37 of the draws hold no real picture"
    specificity = column_draws(labels, logits, right[:, :] & (labels == 0), groups=one_real, draws=400, seed=0).share
    assert specificity.std() > 0.1, "the one video comes up never, once or more often"
