"""Intervals: the stratified percentile bootstrap, of rows or of whole groups, and Wilson's for plain shares."""

import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from veriscope.evaluation.metrics import brier_losses, log_losses, num_allowed
from veriscope.evaluation.strata import draw_blocks, strata_of_groups
from veriscope.types import FAKE, REAL

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]
Codes = npt.NDArray[np.int64]
_Block = tuple[dict[str, Floats], dict[str, dict[str, Floats]]]  # values of a block's draws: free, at each threshold

_BLOCK_CELLS = 100_000  # rows x draws at a time: stays within a core's cache; 400,000 took 1.4 times longer
_MAX_THREADS = 4  # numpy lets go of the interpreter in the long calls
MIN_DEFINED = 0.95  # share of draws in which a figure must be defined to get an interval, or a p

Method = Literal[
    "bootstrap",
    "wilson",
    "cluster bootstrap",
    "wilson over groups",
    "wilson, combined",  # of two shares, for what follows from both
    "cluster bootstrap, combined",
    "student t",
]


class Interval(NamedTuple):
    """A two-sided interval. `low == high` says that resampling found no spread, not that the figure is certain."""

    low: float
    high: float
    level: float
    method: Method


class Intervals(NamedTuple):
    """`free`: metrics without a threshold. `at`: threshold's name to metrics at it. None = undefined."""

    free: dict[str, Interval | None]
    at: dict[str, dict[str, Interval | None]]


def wilson(successes: float, trials: float, *, level: float = 0.95, method: Method = "wilson") -> Interval | None:
    """Return Wilson's score interval of a share (Wilson 1927, eq. 4); None for no trials.

    Unlike the bootstrap it stays honest at the ends: 20 right of 20 gives [0.839, 1], not [1, 1].
    """
    if trials == 0:
        return None
    z = float(norm.ppf(0.5 + level / 2))
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * (share * (1 - share) / trials + z * z / (4 * trials * trials)) ** 0.5
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(low, high, level, method)


def group_codes(names: Sequence[str | None]) -> Codes | None:
    """Return an integer for each row's group, a row without a name being its own; None where all rows stand alone.

    The integers follow the names' order, so that they don't depend on the rows'.
    """
    named = np.array([name is not None for name in names], dtype=bool)
    codes = -1 - np.arange(len(names), dtype=np.int64)
    known = np.array([name for name in names if name is not None], dtype=str)
    codes[named] = np.unique(known, return_inverse=True)[1]
    return None if np.unique(codes).size == codes.size else codes


def bootstrap_intervals(
    labels: Array,
    logits: Array,
    scores: Array,
    *,
    thresholds: Mapping[str, float],
    groups: Codes | None = None,
    draws: int = 2000,
    seed: int = 42,
    level: float = 0.95,
    base_rate: float | None = None,
) -> Intervals:
    """Return percentile intervals of every metric but the calibration error (Efron & Tibshirani 1993, ch. 13).

    Stratified: each draw takes as many fakes and as many real pictures as there are, with replacement, so the class
    shares stay fixed; where one of them is a single picture, both are drawn from one pot. All metrics and thresholds
    see the same draws. A metric that is undefined in more than 5 % of the draws gets no interval. The calibration error
    gets none either: it is biased upward by resampling.

    With `groups` whole groups are drawn in place of rows, since rows of one group (frames of a video, pictures of a
    person) are alike and tell less than as many strangers would: the cluster bootstrap, which resamples the highest
    level and keeps each group's rows as they are (Davison & Hinkley 1997, sec. 3.8). Groups of fakes, of real pictures
    and of both are strata of their own; where one of these is a single group, which would then come up in every draw,
    nothing is stratified. Groups differ in size, so class shares vary between draws. A single group says nothing of
    others and gets no interval. Below some 30 groups such intervals tend to be too narrow (Cameron, Gelbach & Miller
    2008).

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) what ranks.
        scores: (N,) what is compared with the thresholds and judged as probability.
        thresholds: name to threshold.
        groups: (N,) which group each row belongs to, from `group_codes`; None: rows are independent.
        draws: number of resamples.
        seed: of the draws; the same seed gives the same intervals.
        level: share of draws inside.
        base_rate: share of fakes that log_loss and brier are weighted to; None: that of `labels`.

    """
    sample = _Sample(labels, logits, scores, groups, base_rate=base_rate)
    blocks = _judge_draws(sample, thresholds, draws=draws, seed=seed)
    if sum(sample.strata) == 1:  # one group, or picture: every draw is the sample itself
        blocks = [(_nothing(free), {name: _nothing(at[name]) for name in at}) for free, at in blocks]
    method: Method = "bootstrap" if groups is None else "cluster bootstrap"
    return Intervals(
        free=_percentiles([free for free, _ in blocks], level, method),
        at={name: _percentiles([at[name] for _, at in blocks], level, method) for name in thresholds},
    )


def _judge_draws(sample: "_Sample", thresholds: Mapping[str, float], *, draws: int, seed: int) -> list[_Block]:
    blocks = draw_blocks(draws, width=sample.num_fake + sample.num_real, cells=_BLOCK_CELLS, seed=seed)

    def judge_block(block: tuple[int, np.random.SeedSequence]) -> _Block:
        size, stream = block
        fake, real = sample.draw(np.random.default_rng(stream), size)
        fake_sum, real_sum = _cumulative(fake), _cumulative(real)
        at = {name: sample.at(fake_sum, real_sum, threshold=value) for name, value in thresholds.items()}
        return sample.free(fake, real, fake_sum, real_sum), at

    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(judge_block, blocks))


def _nothing(figures: dict[str, Floats]) -> dict[str, Floats]:
    return {key: np.full_like(values, np.nan) for key, values in figures.items()}


class _Sample:
    """The rows of each class sorted by logit, with everything that no draw changes.

    A draw is two arrays of counts, how often each fake and each real picture was taken; every metric is a function of
    them, and weighted ranks come from cumulative sums over the sorted rows. Blocks of draws are (draws, rows).
    """

    def __init__(
        self,
        labels: Array,
        logits: Array,
        scores: Array,
        groups: Codes | None = None,
        *,
        base_rate: float | None = None,
    ) -> None:
        is_fake = np.asarray(labels) == FAKE
        logit, score = np.asarray(logits, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        # Groups come last: where they are all that differs, what is drawn must not depend on the order of rows.
        order = np.lexsort((score, logit) if groups is None else (groups, score, logit))
        if np.any(np.diff(score[order]) < 0):
            raise ValueError("scores must not fall where logits rise")
        fake_rows, real_rows = order[is_fake[order]], order[~is_fake[order]]
        self.num_fake, self.num_real = len(fake_rows), len(real_rows)
        self.strata: tuple[int, ...] = (self.num_fake, self.num_real)
        self.lots: tuple[Codes, Codes] | None = None  # None: every row is drawn by itself, the classes apart
        if groups is None and 1 in self.strata:  # a lone picture of its class: see strata_of_groups
            groups = np.arange(len(score))
        if groups is not None:
            self.strata, self.lots = group_lots(groups[fake_rows], groups[real_rows])
        self.fake_scores, self.real_scores = score[fake_rows], score[real_rows]
        self.base_rate = base_rate
        log_loss, brier = log_losses(labels, score), brier_losses(labels, score)
        self.losses = {
            "log_loss": (log_loss[fake_rows], log_loss[real_rows]),
            "brier": (brier[fake_rows], brier[real_rows]),
        }
        fakes, reals = logit[fake_rows], logit[real_rows]
        # How many of one class lie strictly below (left), or at or below (right), each row of the other or the same.
        self.real_below_fake = np.searchsorted(reals, fakes, side="left")
        self.real_upto_fake = np.searchsorted(reals, fakes, side="right")
        self.fake_below_fake = np.searchsorted(fakes, fakes, side="left")
        self.fake_upto_real = np.searchsorted(fakes, reals, side="right")
        self.classes_tie = bool(np.any(self.real_below_fake != self.real_upto_fake))
        self.fakes_tie = bool(np.any(np.diff(fakes) == 0))
        steps = np.append(np.unique(logit), np.inf)
        self.fake_below_step = np.searchsorted(fakes, steps, side="left")
        self.real_below_step = np.searchsorted(reals, steps, side="left")

    def draw(self, rng: np.random.Generator, draws: int) -> tuple[Counts, Counts]:
        """Return how often each fake and each real row is taken in each draw."""
        drawn = [draw_counts(rng, size, draws) for size in self.strata]
        if self.lots is None:
            return drawn[0], drawn[1]
        fake, real = (np.take(np.concatenate(drawn, axis=1), lots, axis=1) for lots in self.lots)
        return fake, real

    def free(self, fake: Counts, real: Counts, fake_sum: Counts, real_sum: Counts) -> dict[str, Floats]:
        """Return the metrics without a threshold, one value a draw; NaN where a draw leaves them undefined."""
        fake_weight, real_weight = fake.astype(np.float64), real.astype(np.float64)
        num_fake, num_real = _sizes(fake_sum), _sizes(real_sum)
        # einsum, not @: BLAS starts threads for these thin products, which beside a training run took 6 times longer.
        found = {}
        for key, (of_fake, of_real) in self.losses.items():
            fake_loss, real_loss = _dot(fake_weight, of_fake), _dot(real_weight, of_real)
            if self.base_rate is None:
                found[key] = (fake_loss + real_loss) / _or_nan(num_fake + num_real)
            else:  # each class by itself: with groups a draw has another share of fakes than the sample
                rate = self.base_rate
                found[key] = rate * fake_loss / _or_nan(num_fake) + (1 - rate) * real_loss / _or_nan(num_real)
        ranking = ("auroc", "ap", "eer", "tpr_at_1_fpr", "tpr_at_5_fpr")
        if self.num_fake == 0 or self.num_real == 0:
            return {**{key: np.full(len(fake), np.nan) for key in ranking}, **found}
        below = np.take(real_sum, self.real_below_fake, axis=1)
        # Without ties between the classes, the usual case, one look-up serves both sides.
        upto = np.take(real_sum, self.real_upto_fake, axis=1) if self.classes_tie else below
        fake_below = np.take(fake_sum, self.fake_below_fake, axis=1) if self.fakes_tie else fake_sum[:, :-1]
        true_calls = fake_sum[:, -1:] - fake_below
        calls = true_calls + (real_sum[:, -1:] - below)
        np.maximum(calls, 1, out=calls)  # nothing is called where neither the row nor any above it was drawn
        precision = true_calls.astype(np.float64)
        precision /= calls
        # Groups differ in size, so a draw of them may hold one class only: undefined, as it is for a table.
        defined = np.where((num_fake > 0) & (num_real > 0), 1.0, np.nan)
        return {
            "auroc": _dot(fake_weight, below + upto) / _or_nan(2.0 * num_fake * num_real),
            "ap": defined * _dot(fake_weight, precision) / _or_nan(num_fake),
            "eer": defined * self._equal_error_rate(fake_sum, real_sum),
            "tpr_at_1_fpr": defined * self._tpr_at(fake_sum, real_sum, max_fpr=0.01),
            "tpr_at_5_fpr": defined * self._tpr_at(fake_sum, real_sum, max_fpr=0.05),
            **found,
        }

    def at(self, fake_sum: Counts, real_sum: Counts, *, threshold: float) -> dict[str, Floats]:
        """Return the metrics at one threshold, one value a draw; the formulas are those of `threshold_metrics`."""
        # Scores rise with the rows, so what stays below the threshold is the first rows.
        fn = fake_sum[:, np.searchsorted(self.fake_scores, threshold, side="left")].astype(np.float64)
        tn = real_sum[:, np.searchsorted(self.real_scores, threshold, side="left")].astype(np.float64)
        num_fake, num_real = _sizes(fake_sum), _sizes(real_sum)
        tp, fp = num_fake - fn, num_real - tn
        both = np.where((num_fake > 0) & (num_real > 0), 1.0, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall, specificity = tp / (tp + fn), tn / (tn + fp)
            spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
            return {
                "accuracy": (tp + tn) / (tp + fp + fn + tn),
                "balanced_accuracy": (recall + specificity) / 2,
                "recall": recall,
                "specificity": specificity,
                "precision": both * tp / (tp + fp),
                "f1": both * 2 * tp / (2 * tp + fp + fn),
                "mcc": both * (tp * tn - fp * fn) / spread,
            }

    def _tpr_at(self, fake_sum: Counts, real_sum: Counts, *, max_fpr: float) -> Floats:
        # The strictest real picture that still makes too many alarms: thresholds must lie above it. Row 0 stands in
        # where a draw holds no real picture; the figure is undefined there anyway.
        row = np.zeros(len(real_sum), dtype=np.int64)
        for draw, sums in enumerate(real_sum):
            limit = int(sums[-1]) - num_allowed(int(sums[-1]), max_fpr=max_fpr)
            row[draw] = max(int(np.searchsorted(sums, limit, side="left")) - 1, 0)
        missed = fake_sum[np.arange(len(row)), self.fake_upto_real[row]]
        num_fake = _sizes(fake_sum)
        return np.asarray((num_fake - missed) / _or_nan(num_fake), dtype=np.float64)

    def _equal_error_rate(self, fake_sum: Counts, real_sum: Counts) -> Floats:
        """Find the step of the ROC curve that crosses FNR = FPR by binary search, and interpolate on it."""
        steps = range(len(self.fake_below_step))  # at the first step FNR = 0 < FPR = 1, at the last the reverse

        def crossing(fakes: Counts, reals: Counts) -> int:
            num_fake, num_real = int(fakes[-1]), int(reals[-1])

            # FNR >= FPR in whole numbers. Plain bisect: 17 look-ups a draw cost less than one numpy expression.
            def missed_less_alarms(step: int) -> int:
                missed, below = int(fakes[self.fake_below_step[step]]), int(reals[self.real_below_step[step]])
                return missed * num_real + below * num_fake

            return max(bisect_left(steps, num_fake * num_real, key=missed_less_alarms), 1)

        high = np.array([crossing(fakes, reals) for fakes, reals in zip(fake_sum, real_sum, strict=True)])
        low = high - 1
        draw = np.arange(len(fake_sum))
        num_fake, num_real = _or_nan(_sizes(fake_sum)), _or_nan(_sizes(real_sum))

        def rates(step: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
            fnr = fake_sum[draw, self.fake_below_step[step]] / num_fake
            fpr = 1 - real_sum[draw, self.real_below_step[step]] / num_real
            return fnr, fpr

        (fnr_low, fpr_low), (fnr_high, fpr_high) = rates(low), rates(high)
        share = (fpr_low - fnr_low) / ((fpr_low - fnr_low) + (fnr_high - fpr_high))
        return np.asarray(fpr_low + share * (fpr_high - fpr_low), dtype=np.float64)


def group_lots(fake_groups: Codes, real_groups: Codes) -> tuple[tuple[int, ...], tuple[Codes, Codes]]:
    """Return how many groups each stratum holds, and the group of each fake and each real row, numbered through them.

    Within a stratum groups are numbered as they first come up, so that rows which are groups of their own are drawn
    exactly as rows are.
    """
    groups = np.concatenate([fake_groups, real_groups])
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    is_fake = np.arange(groups.size) < fake_groups.size
    stratum = strata_of_groups(np.where(is_fake, FAKE, REAL), group)
    sizes = np.bincount(stratum, minlength=3)
    number = np.empty_like(stratum)
    number[np.lexsort((first, stratum))] = np.arange(stratum.size)
    lot = number[group]
    return tuple(sizes.tolist()), (lot[is_fake], lot[~is_fake])


def draw_counts(rng: np.random.Generator, size: int, draws: int) -> Counts:
    """Return (draws, size): how often each of `size` rows comes up in `size` draws with replacement."""
    counts = np.zeros((draws, size), dtype=np.int32)
    if size:
        for row in counts:
            row[:] = np.bincount(rng.integers(0, size, size), minlength=size)
    return counts


def _cumulative(counts: Counts) -> Counts:
    """Return (draws, rows + 1) sums: column k holds the weight of the first k rows."""
    sums = np.zeros((counts.shape[0], counts.shape[1] + 1), dtype=np.int32)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums


def _dot(weights: Floats, values: Array) -> Floats:
    """Return the weighted sum of each draw; `values` is (draws, rows) or, the same for all draws, (rows,)."""
    return np.asarray(np.einsum("dr,dr->d" if values.ndim == 2 else "dr,r->d", weights, values), dtype=np.float64)


def _sizes(sums: Counts) -> npt.NDArray[np.int64]:
    """Return how many rows each draw holds."""
    return sums[:, -1].astype(np.int64)


def _or_nan(numbers: Array) -> Floats:
    """Return divisors with NaN for 0: what is divided by nothing is undefined."""
    return np.where(numbers == 0, np.nan, numbers)


def _percentiles(blocks: list[dict[str, Floats]], level: float, method: Method) -> dict[str, Interval | None]:
    found = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    return {key: middle_of_draws(values, level=level, method=method) for key, values in found.items()}


def middle_of_draws(values: Floats, *, level: float, method: Method) -> Interval | None:
    """Return between which values the middle part of the draws lies; None where too few are defined."""
    defined = values[np.isfinite(values)]
    if defined.size < MIN_DEFINED * values.size:
        return None
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high), level, method)
