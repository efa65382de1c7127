"""Which groups of rows are drawn from which pot: what all bootstraps here have in common."""

from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.types import FAKE

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int64]

FAKES, REALS, BOTH = 0, 1, 2  # what the groups of a stratum hold


def draw_blocks(draws: int, *, width: int, cells: int, seed: int) -> list[tuple[int, np.random.SeedSequence]]:
    """Return how many draws each block holds, and its own stream: the same draws on any number of cores.

    Args:
        draws: in all.
        width: what one draw holds, rows or groups.
        cells: draws x width held at a time.
        seed: of all streams.

    """
    per_block = max(1, min(draws, cells // max(1, width)))
    sizes = [min(per_block, draws - start) for start in range(0, draws, per_block)]
    return list(zip(sizes, np.random.SeedSequence(seed).spawn(len(sizes)), strict=True))


def codes_of(groups: Codes) -> Codes:
    """Return the groups' numbers in the same order, (N,): from 0 on, none left out."""
    return np.asarray(np.unique(groups, return_inverse=True)[1], dtype=np.int64)


def strata_of_groups(labels: Array, codes: Codes) -> Codes:
    """Return the stratum of each group, (G,): FAKES, REALS or BOTH; all the same where these can't be kept apart.

    A group that is alone in its stratum, be it of a single row, would come up once in every draw, and what is true of
    it would count as certain. Where there is one, nothing is stratified.

    Args:
        labels: (N,) of 0 and 1.
        codes: (N,) the group of each row, from 0 on, none left out.

    """
    rows = np.bincount(codes)
    fakes = np.bincount(codes, weights=np.asarray(labels) == FAKE)
    stratum = np.where(fakes == rows, FAKES, np.where(fakes == 0, REALS, BOTH))
    sizes = np.bincount(stratum, minlength=3)
    if np.any(sizes[stratum] == 1):
        stratum[:] = FAKES
    return stratum


def only_one_group(codes: Codes) -> bool:
    """Return whether there is but one group, or row: every draw is the sample itself, and says nothing of others."""
    return bool(codes.size and codes.max() == 0)
