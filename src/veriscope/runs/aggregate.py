"""Mean, spread and interval of a figure over runs."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from veriscope.evaluation.metrics import METRICS, UNDEFINED, Scores

LEVEL = 0.95
_RANGES = {"mcc": (-1.0, 1.0), "log_loss": (0.0, math.inf)}  # every other metric lies in [0, 1]


class Spread(NamedTuple):
    """Mean and sample standard deviation (n - 1) of `num_runs` values, and the interval of the mean.

    One run has a mean and nothing else.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    num_runs: int


def summary_figures(spreads: Mapping[str, Spread], *, prefix: str) -> dict[str, float | None]:
    """Return `prefix/auroc_mean`, `_sd`, `_low`, `_high` and so on, flat, as W&B's summary takes them."""
    return {
        f"{prefix}/{key}_{part}": value
        for key, found in spreads.items()
        for part, value in found._asdict().items()
        if part != "num_runs"
    }


def spread(values: Sequence[float], *, key: str = "", val_to_train: float = 0.0, level: float = LEVEL) -> Spread:
    """Return the spread of one figure over runs, with Student's t interval of its mean.

    Folds share training pictures, so their figures are not independent, and the plain interval s * sqrt(1 / n) is too
    narrow. For folds `val_to_train` is the ratio of val to training pictures, and the interval s * sqrt(1 / n + ratio)
    (Nadeau & Bengio 2003, section 3.3); runs that differ by their seed alone have 0.

    Args:
        values: one a run, at least one.
        key: the metric's key; its range bounds the interval.
        val_to_train: 1 / (num_folds - 1) for folds.
        level: coverage of the interval.

    """
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return Spread(float(array[0]), None, None, None, 1)
    mean, sd = float(array.mean()), float(array.std(ddof=1))
    half = float(student.ppf(0.5 + level / 2, array.size - 1)) * sd * math.sqrt(1 / array.size + val_to_train)
    least, most = _RANGES.get(key, (0.0, 1.0))
    return Spread(mean, sd, max(least, mean - half), min(most, mean + half), int(array.size))


def metric_spreads(figures: Sequence[Scores], *, val_to_train: float) -> dict[str, Spread]:
    """Return metric to spread over the runs' `figures`; what is undefined in a run is left out. See `spread`."""
    found = {}
    for metric in METRICS:
        values = [run.get(metric.key) for run in figures]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            found[metric.key] = spread(known, key=metric.key, val_to_train=val_to_train)
    return found


def figure_text(value: float | None) -> str:
    """Return `0.912`, or `undefined`."""
    return UNDEFINED if value is None else f"{value:.3f}"


def spread_text(value: Spread | None) -> tuple[str, str]:
    """Return `0.912 ± 0.013` and `0.880 to 0.944`; the second is empty for a single run."""
    if value is None:
        return UNDEFINED, ""
    if value.sd is None or value.low is None or value.high is None:
        return figure_text(value.mean), ""
    return f"{value.mean:.3f} ± {value.sd:.3f}", f"{value.low:.3f} to {value.high:.3f}"
