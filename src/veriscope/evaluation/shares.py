"""Shares of one table's rows with their intervals: Wilson's, or where rows have groups the cluster bootstrap's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.evaluation.figures import LEVEL, Figure, share_figure
from veriscope.evaluation.intervals import Codes, Interval, draw_counts, group_lots, middle_of_draws
from veriscope.evaluation.strata import draw_blocks
from veriscope.types import FAKE

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Share = tuple[Mask, Mask]  # which rows have it, among which rows

DRAWS = 2000
_BLOCK_CELLS = 200_000  # draws x groups held at a time


def share_figures(
    labels: Array, shares: Mapping[str, Share], *, groups: Codes | None, draws: int = DRAWS, seed: int = 42
) -> dict[str, Figure]:
    """Return every share with the interval that a Judgement's shares have (figures.share_figure).

    Args:
        labels: (N,) of 0 and 1, by which groups are stratified.
        shares: name to (hits, among), each (N,): the share of hits among those rows.
        groups: (N,) from intervals.group_codes; None: rows are independent.
        draws: of groups.
        seed: of the draws.

    """
    drawn = drawn_shares(labels, shares, groups=groups, draws=draws, seed=seed)
    return {
        name: share_figure(hits[among], groups=None if groups is None else groups[among], drawn=drawn[name])
        for name, (hits, among) in shares.items()
    }


def drawn_shares(
    labels: Array,
    shares: Mapping[str, Share],
    *,
    groups: Codes | None,
    draws: int = DRAWS,
    seed: int = 42,
    level: float = LEVEL,
) -> dict[str, Interval | None]:
    """Return each share's percentile interval over draws of whole groups, stratified as bootstrap_intervals does it.

    All see the same draws. None without groups, for a single one, and where over 5 % of the draws leave the share
    undefined.
    """
    nothing: dict[str, Interval | None] = dict.fromkeys(shares)
    if groups is None or not shares:
        return nothing
    fake = np.asarray(labels) == FAKE
    strata, (of_fakes, of_reals) = group_lots(groups[fake], groups[~fake])
    num_groups = sum(strata)
    if num_groups < 2:
        return nothing
    lot = np.empty(fake.size, dtype=np.int64)
    lot[fake], lot[~fake] = of_fakes, of_reals
    columns = [np.bincount(lot, weights=rows, minlength=num_groups) for hits, among in shares.values()
               for rows in (hits & among, among)]  # fmt: skip
    sums_GC = np.stack(columns, axis=1)
    found = []
    for size, stream in draw_blocks(draws, width=num_groups, cells=_BLOCK_CELLS, seed=seed):
        rng = np.random.default_rng(stream)
        counts_DG = np.concatenate([draw_counts(rng, stratum, size) for stratum in strata], axis=1).astype(np.float64)
        # einsum, not @: BLAS starts threads for thin products, which fight with whatever else runs.
        found.append(np.einsum("dg,gc->dc", counts_DG, sums_GC))
    sums_DC: Floats = np.concatenate(found)
    with np.errstate(invalid="ignore"):
        values_DS = sums_DC[:, ::2] / sums_DC[:, 1::2]
    return {
        name: middle_of_draws(values_DS[:, column], level=level, method="cluster bootstrap")
        for column, name in enumerate(shares)
    }
