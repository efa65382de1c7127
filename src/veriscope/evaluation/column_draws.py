"""The paired bootstrap over many scorings of the same pictures: AUROC and any share, of all of them on one draw.

`resample` gives every metric of a few detectors; a grid has some fifty columns, and asks for flips besides.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.evaluation.figures import figure
from veriscope.evaluation.intervals import Codes, Interval, Method, middle_of_draws
from veriscope.evaluation.resample import draw_weights, group_strata
from veriscope.evaluation.strata import codes_of, draw_blocks, only_one_group
from veriscope.types import FAKE

Floats = npt.NDArray[np.float64]

_BLOCK_CELLS = 200_000  # draws x pictures held at a time


class ColumnDraws(NamedTuple):
    """(draws, scorings) each: `auroc`, NaN for one class, and `share`, the mean of the row's hits in the draw."""

    auroc: Floats
    share: Floats


def column_draws(
    labels: npt.NDArray[Any],
    logits_CN: Floats,
    hits_CN: npt.NDArray[np.bool_],
    *,
    groups: Codes | None = None,
    draws: int,
    seed: int,
) -> ColumnDraws:
    """Return AUROC and the share of hits of every scoring in every resample of pictures (Efron & Tibshirani 1993).

    Stratified by class, so the shares of the classes stay; with `groups` whole groups are drawn, from the strata of
    `strata`; a single group of several pictures leaves everything NaN. Differences between columns of one draw are
    paired: what a lucky draw of pictures does to one scoring it does to the others too.

    Args:
        labels: (N,) of 0 and 1.
        logits_CN: one row a scoring of the same N pictures.
        hits_CN: whether something holds (a right verdict, a flip) under that scoring; any number of rows.
        groups: (N,) which group each picture belongs to (intervals.group_codes); None: pictures are independent.
        draws: number of resamples.
        seed: of the draws.

    """
    fake = np.asarray(labels) == FAKE
    fakes, reals = np.flatnonzero(fake), np.flatnonzero(~fake)
    codes = np.arange(fake.size) if groups is None else codes_of(groups)
    if only_one_group(codes):
        return ColumnDraws(np.full((draws, len(logits_CN)), np.nan), np.full((draws, len(hits_CN)), np.nan))
    strata = group_strata(np.asarray(labels), codes)
    ranks = [_Ranks(row[fakes], row[reals]) for row in logits_CN]
    hits_NC = hits_CN.T.astype(np.float64)
    areas, shares = [], []
    for size, stream in draw_blocks(draws, width=fake.size, cells=_BLOCK_CELLS, seed=seed):
        counts = draw_weights(np.random.default_rng(stream), strata, size)[:, codes]
        of_fakes, of_reals, weights = counts[:, fakes], counts[:, reals], counts.astype(np.float64)
        areas.append(np.stack([rank.auroc(of_fakes, of_reals) for rank in ranks], axis=1))
        shares.append(np.einsum("dn,nc->dc", weights, hits_NC) / np.maximum(weights.sum(axis=1, keepdims=True), 1))
    return ColumnDraws(np.concatenate(areas), np.concatenate(shares))


def percentile_interval(
    values: Floats, value: float | None, *, level: float, method: Method = "bootstrap"
) -> Interval | None:
    """Return the percentile interval of a figure's draws, widened to hold the figure itself; None where undefined."""
    return figure(value, middle_of_draws(values, level=level, method=method)).interval


class _Ranks:
    """Where each fake stands among the real pictures of one scoring, so that a draw costs sums only."""

    def __init__(self, fakes: Floats, reals: Floats) -> None:
        self.order = np.argsort(reals, kind="stable")
        ordered = reals[self.order]
        self.below = np.searchsorted(ordered, fakes, side="left")
        self.upto = np.searchsorted(ordered, fakes, side="right")

    def auroc(self, of_fakes: npt.NDArray[np.int32], of_reals: npt.NDArray[np.int32]) -> Floats:
        """Return the Mann-Whitney statistic of each draw over its maximum; NaN where a class is missing."""
        if not of_fakes.shape[1] or not of_reals.shape[1]:
            return np.full(len(of_fakes), np.nan)
        sums = np.zeros((len(of_reals), of_reals.shape[1] + 1), dtype=np.int64)
        np.cumsum(of_reals[:, self.order], axis=1, out=sums[:, 1:])
        wins = sums[:, self.below] + sums[:, self.upto]
        # einsum, not @: BLAS starts threads for thin products, which fight with whatever else runs.
        total = np.einsum("df,df->d", of_fakes.astype(np.float64), wins.astype(np.float64))
        pairs = of_fakes.sum(axis=1, dtype=np.float64) * of_reals.sum(axis=1)
        # Groups differ in size, so a draw of them may hold one class only.
        return np.asarray(total / np.where(pairs > 0, 2 * pairs, np.nan), dtype=np.float64)
