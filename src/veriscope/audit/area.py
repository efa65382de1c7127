"""The interval of an AUROC that stays honest where fakes and real pictures hardly overlap."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import norm

from veriscope.evaluation.column_draws import column_draws
from veriscope.evaluation.figures import LEVEL, Figure, figure
from veriscope.evaluation.intervals import Codes, Interval, Method, middle_of_draws
from veriscope.types import FAKE

Floats = npt.NDArray[np.float64]

_DRAWS = 400


def auroc_figures(
    labels: npt.NDArray[Any], scores_KN: Floats, values: Floats, *, groups: Codes | None, seed: int
) -> list[Figure]:
    """Return each scoring's AUROC with its bootstrap interval, widened to hold Newcombe's.

    The bootstrap finds no spread where the classes don't overlap: 20 against 20 pictures would be certain. With
    `groups` whole groups are drawn, and Newcombe's counts n^2 / sum n_k^2 groups of a class (Kish 1965), not pictures.

    Args:
        labels: (N,) of 0 and 1.
        scores_KN: a row a scoring.
        values: (K,) their AUROC.
        groups: (N,) from intervals.group_codes; None: pictures are independent.
        seed: of the draws.

    """
    fake = np.asarray(labels) == FAKE
    drawn = column_draws(
        labels, scores_KN, np.zeros((0, len(labels)), dtype=bool), groups=groups, draws=_DRAWS, seed=seed
    )
    method: Method = "bootstrap" if groups is None else "cluster bootstrap"
    num_fake, num_real = (_effective(rows, groups) for rows in (fake, ~fake))
    found = []
    for value, draws in zip(values.tolist(), drawn.auroc.T, strict=True):
        interval = middle_of_draws(draws, level=LEVEL, method=method)
        if interval is not None:
            wide = newcombe(value, num_fake=num_fake, num_real=num_real, level=LEVEL)
            interval = interval._replace(low=min(interval.low, wide.low), high=max(interval.high, wide.high))
        found.append(figure(value, interval))
    return found


def newcombe(value: float, *, num_fake: float, num_real: float, level: float = LEVEL) -> Interval:
    """Return the score-type interval of an AUROC from nothing but the numbers of pictures (Newcombe 2006, method 5).

    It holds every t with |value - t| <= z sqrt(t (1 - t) (1 + N (1 - t) / (2 - t) + N t / (1 + t)) / (m n)), where
    N = (m + n) / 2 - 1: Hanley & McNeil's variance (1982) at t. 20 fakes all above 20 real pictures: from 0.90 on.
    """
    z = float(norm.ppf(0.5 + level / 2))
    spare = (num_fake + num_real) / 2 - 1

    def excess(t: float) -> float:
        spread = t * (1 - t) * (1 + spare * (1 - t) / (2 - t) + spare * t / (1 + t)) / (num_fake * num_real)
        return (value - t) ** 2 - z * z * spread

    low = 0.0 if value <= 0.0 else float(brentq(excess, 0.0, value))
    high = 1.0 if value >= 1.0 else float(brentq(excess, value, 1.0))
    if value >= 1.0:  # t = 1 is a root of its own: look below it
        low = float(brentq(excess, 0.0, 1.0 - 1e-9))
    if value <= 0.0:
        high = float(brentq(excess, 1e-9, 1.0))
    return Interval(low, high, level, "bootstrap")


def _effective(rows: npt.NDArray[np.bool_], groups: Codes | None) -> float:
    if groups is None:
        return float(rows.sum())
    sizes = np.unique(groups[rows], return_counts=True)[1]
    return float(sizes.sum() ** 2 / np.sum(sizes**2))
