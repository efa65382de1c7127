"""Newcombe's interval, alone and around the bootstrap's."""

import numpy as np
import pytest

from veriscope.audit.area import auroc_figures, newcombe
from veriscope.evaluation.metrics import auroc


def test_the_ends_lie_where_the_equation_holds() -> None:
    """The definition itself, term by term: (AUROC - t)^2 = z^2 V(t)."""
    found = newcombe(0.8, num_fake=30, num_real=50)
    for t in (found.low, found.high):
        share = 1 + (40 - 1) * (1 - t) / (2 - t) + (40 - 1) * t / (1 + t)
        assert (0.8 - t) ** 2 == pytest.approx(1.959964**2 * t * (1 - t) * share / (30 * 50), rel=1e-4)
    assert found.low < 0.8 < found.high


@pytest.mark.parametrize("value", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_it_is_the_same_seen_from_the_other_class(value: float) -> None:
    found, mirrored = (newcombe(v, num_fake=20, num_real=40) for v in (value, 1 - value))
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-6)
    assert 0 <= found.low <= value <= found.high <= 1


def test_classes_that_dont_overlap_are_less_certain_the_fewer_they_are() -> None:
    lows = [newcombe(1.0, num_fake=n, num_real=n).low for n in (20, 60, 200, 2000)]
    assert lows == sorted(lows)
    assert lows[0] == pytest.approx(0.9, abs=0.002)
    assert lows[-1] < 1


def test_it_holds_the_true_area_as_often_as_it_says() -> None:
    """Two normals 2 apart: the true AUROC is Phi(sqrt 2) = 0.9214; 20 + 20 pictures, 1,000 tries."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20)
    values = [auroc(labels, rng.normal(size=40) + 2 * labels) for _ in range(1000)]
    held = [
        found.low <= 0.92135 <= found.high for found in (newcombe(v, num_fake=20, num_real=20) for v in values if v)
    ]
    assert np.mean(held) > 0.93


def test_groups_count_instead_of_their_pictures() -> None:
    labels = np.repeat([0, 1], 200)
    scores = np.arange(400.0)
    alone, grouped = (
        auroc_figures(labels, scores[None], np.array([1.0]), groups=groups, seed=0)[0]
        for groups in (None, np.arange(400) // 20)
    )
    assert alone.interval is not None
    assert grouped.interval is not None
    assert grouped.interval.low == pytest.approx(newcombe(1.0, num_fake=10, num_real=10).low)
    assert grouped.interval.low < alone.interval.low
