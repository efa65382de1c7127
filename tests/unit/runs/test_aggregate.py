import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from veriscope.runs.aggregate import spread, summary_figures


@given(st.lists(st.floats(0.3, 0.7), min_size=2, max_size=12))
def test_over_seeds_it_is_students_interval(values):
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    expected = stats.ttest_1samp(values, 0.5).confidence_interval(0.95) if found.sd else (found.mean, found.mean)
    assert found.low == pytest.approx(max(0, expected[0]))
    assert found.high == pytest.approx(min(1, expected[1]))


def test_over_folds_it_is_wider_by_what_they_share():
    """Nadeau & Bengio by hand: 5 folds, sd 0.02, t(4) = 2.776, half width 2.776 * 0.02 * sqrt(1/5 + 1/4)."""
    values = np.array([-1, -1, 0, 1, 1]) * 0.02 + 0.9
    found = spread(list(values), val_to_train=0.25)
    assert found.sd == pytest.approx(0.02)
    assert found.high - found.mean == pytest.approx(2.7764 * 0.02 * math.sqrt(0.45), rel=1e-4)


def test_one_run_has_no_spread_and_ranges_bound_the_interval():
    assert spread([0.8])[1:4] == (None, None, None)
    assert spread([0.99, 1.0, 0.7]).high == 1.0
    assert spread([0.1, 3.0], key="log_loss").high > 1
    assert spread([-0.9, 0.1, 0.9], key="mcc").low == -1.0


def test_summary_figures_are_flat():
    found = summary_figures({"auroc": spread([0.8, 0.9])}, prefix="crossval")
    assert set(found) == {f"crossval/auroc_{part}" for part in ("mean", "sd", "low", "high")}
