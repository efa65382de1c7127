"""Intervals: the stratified percentile bootstrap for every metric, Wilson's for plain shares."""

import os
from bisect import bisect_left
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from veriscope.evaluation.calibration import base_rate_weights
from veriscope.evaluation.metrics import brier_losses, log_losses, num_allowed
from veriscope.types import FAKE

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]

_BLOCK_CELLS = 100_000  # rows x draws at a time: stays within a core's cache; 400,000 took 1.4 times longer
_MAX_THREADS = 4  # numpy lets go of the interpreter in the long calls
_MIN_DEFINED = 0.95  # share of draws in which a metric must be defined to get an interval


class Interval(NamedTuple):
    """A two-sided interval. `low == high` says that resampling found no spread, not that the figure is certain."""

    low: float
    high: float
    level: float
    method: Literal["bootstrap", "wilson"]


class Intervals(NamedTuple):
    """`free`: metrics without a threshold. `at`: threshold's name to metrics at it. None = undefined."""

    free: dict[str, Interval | None]
    at: dict[str, dict[str, Interval | None]]


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Interval | None:
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
    return Interval(low, high, level, "wilson")


def bootstrap_intervals(
    labels: Array,
    logits: Array,
    scores: Array,
    *,
    thresholds: Mapping[str, float],
    draws: int = 2000,
    seed: int = 42,
    level: float = 0.95,
    base_rate: float | None = None,
) -> Intervals:
    """Return percentile intervals of every metric but the calibration error (Efron & Tibshirani 1993, ch. 13).

    Stratified: each draw takes as many fakes and as many real pictures as there are, with replacement, so the class
    shares stay fixed. All metrics and thresholds see the same draws. A metric that is undefined in more than 5 % of
    the draws gets no interval. The calibration error gets none either: it is biased upward by resampling.

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) what ranks.
        scores: (N,) what is compared with the thresholds and judged as probability.
        thresholds: name to threshold.
        draws: number of resamples.
        seed: of the draws; the same seed gives the same intervals.
        level: share of draws inside.
        base_rate: share of fakes that log_loss and brier are weighted to; None: that of `labels`.

    """
    sample = _Sample(labels, logits, scores, base_rate=base_rate)
    rows = max(1, sample.num_fake + sample.num_real)
    per_block = max(1, min(draws, _BLOCK_CELLS // rows))
    sizes = [min(per_block, draws - start) for start in range(0, draws, per_block)]
    seeds = np.random.SeedSequence(seed).spawn(len(sizes))  # a stream a block: the same figures on any number of cores

    def judge_block(
        size: int, block_seed: np.random.SeedSequence
    ) -> tuple[dict[str, Floats], dict[str, dict[str, Floats]]]:
        rng = np.random.default_rng(block_seed)
        fake, real = _counts(rng, sample.num_fake, size), _counts(rng, sample.num_real, size)
        fake_sum, real_sum = _cumulative(fake), _cumulative(real)
        at = {name: sample.at(fake_sum, real_sum, threshold=value) for name, value in thresholds.items()}
        return sample.free(fake, real, fake_sum, real_sum), at

    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        blocks = list(pool.map(judge_block, sizes, seeds))
    return Intervals(
        free=_percentiles([free for free, _ in blocks], level),
        at={name: _percentiles([at[name] for _, at in blocks], level) for name in thresholds},
    )


class _Sample:
    """The rows of each class sorted by logit, with everything that no draw changes.

    A draw is two arrays of counts, how often each fake and each real picture was taken; every metric is a function of
    them, and weighted ranks come from cumulative sums over the sorted rows. Blocks of draws are (draws, rows).
    """

    def __init__(self, labels: Array, logits: Array, scores: Array, *, base_rate: float | None = None) -> None:
        is_fake = np.asarray(labels) == FAKE
        logit, score = np.asarray(logits, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        order = np.lexsort((score, logit))
        if np.any(np.diff(score[order]) < 0):
            raise ValueError("scores must not fall where logits rise")
        fake_rows, real_rows = order[is_fake[order]], order[~is_fake[order]]
        self.num_fake, self.num_real = len(fake_rows), len(real_rows)
        self.fake_scores, self.real_scores = score[fake_rows], score[real_rows]
        weights = base_rate_weights(labels, base_rate)  # of a class, so the same in every stratified draw
        log_loss, brier = weights * log_losses(labels, score), weights * brier_losses(labels, score)
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

    def free(self, fake: Counts, real: Counts, fake_sum: Counts, real_sum: Counts) -> dict[str, Floats]:
        """Return the metrics without a threshold, one value a draw."""
        fake_weight, real_weight = fake.astype(np.float64), real.astype(np.float64)
        # einsum, not @: BLAS starts threads for these thin products, which beside a training run took 6 times longer.
        num_rows = (self.num_fake + self.num_real) or np.nan  # nothing to average over is undefined
        found = {
            key: (_dot(fake_weight, of_fake) + _dot(real_weight, of_real)) / num_rows
            for key, (of_fake, of_real) in self.losses.items()
        }
        ranking = ("auroc", "ap", "eer", "tpr_at_1_fpr", "tpr_at_5_fpr")
        if self.num_fake == 0 or self.num_real == 0:
            return {**{key: np.full(len(fake), np.nan) for key in ranking}, **found}
        below = np.take(real_sum, self.real_below_fake, axis=1)
        # Without ties between the classes, the usual case, one look-up serves both sides.
        upto = np.take(real_sum, self.real_upto_fake, axis=1) if self.classes_tie else below
        pairs = self.num_fake * self.num_real
        if self.fakes_tie:
            true_calls = self.num_fake - np.take(fake_sum, self.fake_below_fake, axis=1)
        else:
            true_calls = self.num_fake - fake_sum[:, :-1]
        calls = true_calls + self.num_real - below
        np.maximum(calls, 1, out=calls)  # nothing is called where neither the row nor any above it was drawn
        precision = true_calls.astype(np.float64)
        precision /= calls
        return {
            "auroc": _dot(fake_weight, below + upto) / (2 * pairs),
            "ap": _dot(fake_weight, precision) / self.num_fake,
            "eer": self._equal_error_rate(fake_sum, real_sum),
            "tpr_at_1_fpr": self._tpr_at(fake_sum, real_sum, max_fpr=0.01),
            "tpr_at_5_fpr": self._tpr_at(fake_sum, real_sum, max_fpr=0.05),
            **found,
        }

    def at(self, fake_sum: Counts, real_sum: Counts, *, threshold: float) -> dict[str, Floats]:
        """Return the metrics at one threshold, one value a draw; the formulas are those of `threshold_metrics`."""
        # Scores rise with the rows, so what stays below the threshold is the first rows.
        fn = fake_sum[:, np.searchsorted(self.fake_scores, threshold, side="left")].astype(np.float64)
        tn = real_sum[:, np.searchsorted(self.real_scores, threshold, side="left")].astype(np.float64)
        tp, fp = self.num_fake - fn, self.num_real - tn
        both = 1.0 if self.num_fake and self.num_real else np.nan
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
        # The strictest real picture that still makes too many alarms: thresholds must lie above it.
        limit = self.num_real - num_allowed(self.num_real, max_fpr=max_fpr)
        row = np.array([np.searchsorted(sums, limit, side="left") - 1 for sums in real_sum])
        missed = fake_sum[np.arange(len(row)), self.fake_upto_real[row]]
        return np.asarray((self.num_fake - missed) / self.num_fake, dtype=np.float64)

    def _equal_error_rate(self, fake_sum: Counts, real_sum: Counts) -> Floats:
        """Find the step of the ROC curve that crosses FNR = FPR by binary search, and interpolate on it."""
        pairs = self.num_fake * self.num_real
        steps = range(len(self.fake_below_step))  # at the first step FNR = 0 < FPR = 1, at the last the reverse

        def crossing(fakes: Counts, reals: Counts) -> int:
            # FNR >= FPR in whole numbers. Plain bisect: 17 look-ups a draw cost less than one numpy expression.
            def missed_less_alarms(step: int) -> int:
                missed, below = int(fakes[self.fake_below_step[step]]), int(reals[self.real_below_step[step]])
                return missed * self.num_real + below * self.num_fake

            return bisect_left(steps, pairs, key=missed_less_alarms)

        high = np.array([crossing(fakes, reals) for fakes, reals in zip(fake_sum, real_sum, strict=True)])
        low = high - 1
        draw = np.arange(len(fake_sum))

        def rates(step: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
            fnr = fake_sum[draw, self.fake_below_step[step]] / self.num_fake
            fpr = 1 - real_sum[draw, self.real_below_step[step]] / self.num_real
            return fnr, fpr

        (fnr_low, fpr_low), (fnr_high, fpr_high) = rates(low), rates(high)
        share = (fpr_low - fnr_low) / ((fpr_low - fnr_low) + (fnr_high - fpr_high))
        return np.asarray(fpr_low + share * (fpr_high - fpr_low), dtype=np.float64)


def _counts(rng: np.random.Generator, size: int, draws: int) -> Counts:
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


def _percentiles(blocks: list[dict[str, Floats]], level: float) -> dict[str, Interval | None]:
    return {key: _percentile_interval(np.concatenate([block[key] for block in blocks]), level) for key in blocks[0]}


def _percentile_interval(values: Floats, level: float) -> Interval | None:
    defined = values[np.isfinite(values)]
    if defined.size < _MIN_DEFINED * values.size:
        return None
    low, high = np.percentile(defined, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high), level, "bootstrap")
