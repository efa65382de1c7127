"""Is one detector better than another on the same pictures? Paired tests as pure functions on arrays.

DeLong for AUROC, McNemar for accuracy, the paired bootstrap's p for every other metric, Holm's correction for many
pairs. Rows that belong together (one identity, one video) are no independent witnesses: given `groups`, the first two
turn into their clustered forms, which are the plain ones where every group holds one row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, norm, rankdata

from veriscope.evaluation.intervals import MIN_DEFINED
from veriscope.evaluation.strata import codes_of
from veriscope.types import FAKE

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NO_SPREAD = 1e-12  # a standard error below it is rounding


class PairTest(NamedTuple):
    """First minus second: the difference, its interval, the two-sided p, and the test's name.

    `p`, `low` and `high` are None where there is nothing to test with: one class, or a difference without any spread.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    method: str


@dataclass(frozen=True, slots=True)
class Areas:
    """AUROC of K detectors on the same pictures, and what each group of pictures adds to its error.

    `values`: (K,). `of_fake`, `of_real`: (K, G), summed over each of G groups, by how much the share of the other class
    that a picture ranks apart from exceeds the AUROC. `counts`: how many groups hold fakes, real pictures, and both.
    """

    values: Floats
    of_fake: Floats
    of_real: Floats
    num_fake: int
    num_real: int
    counts: tuple[int, int, int]

    def variance(self, weights: Array) -> float:
        """Return the variance of the weighted sum of the areas; NaN where a class has but one group.

        The sum is taken before the squares: of two equal rankings nothing is left, not even rounding.
        """
        fake, real = np.asarray(weights) @ self.of_fake, np.asarray(weights) @ self.of_real
        with_fakes, with_reals, with_both = self.counts
        cross = _unbiased(float(fake @ real), self.of_fake.shape[1]) if with_both else 0.0
        return (
            _unbiased(float(fake @ fake), with_fakes) / self.num_fake**2
            + _unbiased(float(real @ real), with_reals) / self.num_real**2
            + 2 * cross / (self.num_fake * self.num_real)
        )


def delong_areas(labels: Array, logits_KN: Array, *, groups: Array | None = None) -> Areas:
    """Return the AUROCs with what their variance needs (DeLong, DeLong & Clarke-Pearson 1988), in O(K N log N).

    With the placement of fake i among the real ones V10_i, of real picture j among the fakes V01_j, and m fakes and n
    real pictures, the covariance is S10 / m + S01 / n, where S are the sample covariances of the placements. Placements
    come from midranks (Sun & Xu 2014), ties counting one half.

    With `groups`, rows of one group may depend on each other in any way (Obuchowski 1997): placements are
    summed over each group first. With a row a group it is DeLong's covariance.

    Args:
        labels: (N,) of 0 and 1.
        logits_KN: (K, N), a row a detector, of the same pictures.
        groups: (N,) of whole numbers from 0 on, none left out.

    Raises:
        ValueError: one class is missing.

    """
    is_fake = np.asarray(labels) == FAKE
    logits = np.atleast_2d(np.asarray(logits_KN, dtype=np.float64))
    num_fake, num_real = int(is_fake.sum()), int((~is_fake).sum())
    if num_fake == 0 or num_real == 0:
        raise ValueError("an AUROC needs both classes")
    overall = rankdata(logits, axis=1)
    above = (overall[:, is_fake] - rankdata(logits[:, is_fake], axis=1)) / num_real
    below = 1 - (overall[:, ~is_fake] - rankdata(logits[:, ~is_fake], axis=1)) / num_fake
    values: Floats = above.mean(axis=1)
    codes = np.arange(len(is_fake)) if groups is None else np.asarray(groups)
    num_groups, fake_groups, real_groups = int(codes.max()) + 1, codes[is_fake], codes[~is_fake]
    return Areas(
        values=values,
        of_fake=_group_sums(above - values[:, None], fake_groups, num_groups),
        of_real=_group_sums(below - values[:, None], real_groups, num_groups),
        num_fake=num_fake,
        num_real=num_real,
        counts=(
            np.unique(fake_groups).size,
            np.unique(real_groups).size,
            np.intersect1d(fake_groups, real_groups).size,
        ),
    )


def delong_test(areas: Areas, first: int, second: int, *, level: float = 0.95) -> PairTest:
    """Return AUROC of detector `first` less that of `second`: difference / standard error against the normal.

    No spread: p is 1 for equal areas (the same ranking), else undefined: where one gives all pictures the same score
    and the other ranks without a single mistake, nothing says how far the difference would move.
    """
    weights = np.zeros(len(areas.values))
    weights[first] += 1
    weights[second] -= 1
    difference, variance = float(areas.values[first] - areas.values[second]), areas.variance(weights)
    method = "DeLong" if areas.of_fake.shape[1] == areas.num_fake + areas.num_real else "DeLong for groups"
    if math.isnan(variance):
        return PairTest(difference, None, None, None, method)
    error = math.sqrt(max(variance, 0.0))
    if error <= _NO_SPREAD:
        same = abs(difference) <= _NO_SPREAD
        return PairTest(0.0, 0.0, 0.0, 1.0, method) if same else PairTest(difference, None, None, None, method)
    return _normal_test(difference, error, level=level, method=method)


def mcnemar_test(
    first_right: Array, second_right: Array, *, groups: Array | None = None, level: float = 0.95
) -> PairTest:
    """Return the accuracy of the first less that of the second: McNemar's test, exact with mid-p.

    Only pictures that exactly one of them gets right count: with b of them the first's and c the second's,
    p = 2 P(X <= min(b, c)) - P(X = min(b, c)), X binomial with b + c trials and 1/2 (Fagerland, Lydersen & Laake 2013,
    who recommend it: the exact p without the halving is too large, the chi-square needs many pictures). The interval is
    Wald's with Laplace's adjustment (Bonett & Price 2012).

    With `groups`, where some hold several rows, Obuchowski's test of two shares (1998): with d a group's b - c, K
    groups, and the variance of both shares about what they have in common, its chi-square comes down to
    (K - 1) / K (sum d)^2 / sum d^2. The interval is from the spread of d about its mean.

    Args:
        first_right: (N,) of booleans, which verdicts of the first are right.
        second_right: the same of the second.
        groups: (N,) of whole numbers from 0 on.
        level: of the interval.

    """
    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    if groups is not None and np.unique(groups).size < len(first):
        return _clustered_mcnemar(first, second, np.asarray(groups), level=level)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    size, trials, fewer = len(first), only_first + only_second, min(only_first, only_second)
    p = float(2 * binom.cdf(fewer, trials, 0.5) - binom.pmf(fewer, trials, 0.5))
    share_first, share_second = (only_first + 1) / (size + 2), (only_second + 1) / (size + 2)
    centre = share_first - share_second
    half = _z(level) * math.sqrt((share_first + share_second - centre**2) / (size + 2))
    return PairTest(
        (only_first - only_second) / size, max(-1.0, centre - half), min(1.0, centre + half), min(p, 1.0),
        "McNemar mid-p",
    )  # fmt: skip


def bootstrap_test(difference: float, draws: Floats, *, level: float = 0.95) -> PairTest:
    """Return the test of a difference from its value in each draw of a paired bootstrap (Efron & Tibshirani 1993).

    p is twice the smaller share of draws on either side of 0, each counted with one draw more (Davison & Hinkley 1997,
    ch. 4), so that it is never 0: at least 2 / (draws + 1). The interval holds the draws' middle part, widened where
    need be to hold the difference itself.

    Args:
        difference: of the sample.
        draws: (D,) of the resamples; NaN where undefined.
        level: of the interval.

    """
    defined = draws[np.isfinite(draws)]
    if defined.size < MIN_DEFINED * draws.size or not math.isfinite(difference):
        return PairTest(difference, None, None, None, "paired bootstrap")
    tails = min(int(np.sum(defined <= 0)), int(np.sum(defined >= 0)))
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    p = min(1.0, 2 * (tails + 1) / (defined.size + 1))
    return PairTest(difference, min(float(low), difference), max(float(high), difference), p, "paired bootstrap")


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values corrected for their number (Holm 1979): whoever calls those below 5 % differences is wrong
    about any of them in at most 5 % of cases, however the tests depend on each other.

    The k-th smallest of m is multiplied by m - k + 1, and none falls below a smaller one's. None stays None and doesn't
    count.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for place, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - place)))
        corrected[index] = highest
    return corrected


def _clustered_mcnemar(first: Bools, second: Bools, groups: Array, *, level: float) -> PairTest:
    gains = first.astype(np.float64) - second.astype(np.float64)
    codes = codes_of(groups)
    num_groups = int(codes.max()) + 1
    by_group = np.bincount(codes, weights=gains)
    difference = float(gains.mean())
    method = "McNemar for groups"
    if num_groups == 1:
        return PairTest(difference, None, None, None, method)
    squares = _unbiased(float(by_group @ by_group), num_groups)
    z = float(by_group.sum()) / math.sqrt(squares) if squares else 0.0
    gaps = by_group - difference * np.bincount(codes)
    error = math.sqrt(_unbiased(float(gaps @ gaps), num_groups)) / len(first)
    return _normal_test(difference, error, level=level, method=method)._replace(p=float(2 * norm.sf(abs(z))))


def _normal_test(difference: float, error: float, *, level: float, method: str) -> PairTest:
    half = _z(level) * error
    p = float(2 * norm.sf(abs(difference) / error)) if error else 1.0
    return PairTest(difference, max(-1.0, difference - half), min(1.0, difference + half), p, method)


def _z(level: float) -> float:
    return float(norm.ppf(0.5 + level / 2))


def _group_sums(values_KN: Floats, groups: Array, num_groups: int) -> Floats:
    return np.stack([np.bincount(groups, weights=row, minlength=num_groups) for row in values_KN])


def _unbiased(sum_of_products: float, count: int) -> float:
    """Return a sum over `count` groups of products of deviations, freed of bias; NaN for one group."""
    return sum_of_products * count / (count - 1) if count > 1 else math.nan
