"""The paired bootstrap: every metric of several detectors on the same draws of the same pictures.

A draw is a weight a picture: how often it was taken. Whole groups are drawn where rows name groups, so the number of
fakes may differ from draw to draw; every metric is therefore a function of weights.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.evaluation.intervals import draw_counts
from veriscope.evaluation.metrics import METRICS, brier_losses, log_losses
from veriscope.evaluation.strata import BOTH, FAKES, REALS, draw_blocks, only_one_group, strata_of_groups
from veriscope.progress import tracked
from veriscope.types import FAKE

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]

# The calibration error is biased upward by resampling, by more the fewer pictures: no interval, no test.
RESAMPLED = tuple(metric.key for metric in METRICS if metric.key != "ece")

_BLOCK_CELLS = 200_000  # rows x draws at a time: stays within a core's cache
_MAX_THREADS = 4  # numpy lets go of the interpreter in the long calls


def paired_draws(
    labels: Array,
    logits_KN: Array,
    scores_KN: Array,
    *,
    thresholds: Sequence[float],
    groups: Array | None = None,
    draws: int = 2000,
    seed: int = 42,
    base_rate: float | None = None,
    shown: bool = False,
) -> dict[str, Floats]:
    """Return metric to (K, draws): its value for each of K detectors in every draw, NaN where undefined.

    All detectors see the same draws, so differences of columns are a paired bootstrap (Efron & Tibshirani 1993).
    Stratified: each draw takes as many groups with fakes alone, with real pictures alone, and with both, as there are;
    where one of these is a single group of several rows, nothing is stratified (`strata`). Without groups every row is
    its own, and the class counts stay fixed. Several rows of one group in all: everything is undefined.

    Args:
        labels: (N,) of 0 and 1.
        logits_KN: (K, N), a row a detector: what ranks.
        scores_KN: (K, N): what is compared with the thresholds and judged as probability.
        thresholds: K of them, each detector's own.
        groups: (N,) of whole numbers from 0 on, none left out.
        draws: number of resamples.
        seed: of the draws; the same seed gives the same draws on any number of cores.
        base_rate: share of fakes that log_loss and brier are weighted to, in every draw; None: that of the draw.
        shown: whether a terminal sees a bar.

    """
    codes = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if only_one_group(codes):
        return {key: np.full((len(thresholds), draws), np.nan) for key in RESAMPLED}
    strata = group_strata(np.asarray(labels), codes)
    ranked = [
        Ranked(labels, logits, scores, threshold=threshold, base_rate=base_rate)
        for logits, scores, threshold in zip(logits_KN, scores_KN, thresholds, strict=True)
    ]
    planned = draw_blocks(draws, width=len(labels), cells=_BLOCK_CELLS, seed=seed)

    def judge_block(block: tuple[int, np.random.SeedSequence]) -> list[dict[str, Floats]]:
        size, stream = block
        weights = draw_weights(np.random.default_rng(stream), strata, size)[:, codes]
        return [one.metrics(weights) for one in ranked]

    with ThreadPoolExecutor(max_workers=min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        found = pool.map(judge_block, planned)
        blocks = list(tracked(found, doing="comparing on resamples", total=len(planned), shown=shown))
    return {
        key: np.stack([np.concatenate([block[number][key] for block in blocks]) for number in range(len(ranked))])
        for key in RESAMPLED
    }


def draw_weights(rng: np.random.Generator, strata: Sequence[Array], draws: int) -> Counts:
    """Return (draws, groups): how often each group is taken; from every stratum as many as it has, with replacement."""
    counts = np.zeros((draws, sum(len(stratum) for stratum in strata)), dtype=np.int32)
    for stratum in strata:
        counts[:, stratum] = draw_counts(rng, len(stratum), draws)
    return counts


class Ranked:
    """One detector's rows sorted by logit, with everything that no draw changes."""

    def __init__(
        self, labels: Array, logits: Array, scores: Array, *, threshold: float, base_rate: float | None = None
    ) -> None:
        logit, score = np.asarray(logits, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        self.order = np.argsort(logit, kind="stable")
        self.is_fake = (np.asarray(labels) == FAKE)[self.order]
        self.called = (score >= threshold)[self.order]
        self.base_rate = base_rate
        self.losses = {
            "log_loss": log_losses(labels, score)[self.order],
            "brier": brier_losses(labels, score)[self.order],
        }
        ordered = logit[self.order]
        # Where each distinct logit begins, and the end: between these rows nothing tells pictures apart.
        self.steps = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(ordered)]])

    def metrics(self, weights_DN: Counts) -> dict[str, Floats]:
        """Return each metric of RESAMPLED as (D,), for weights of the rows in their own order, (D, N)."""
        weights = np.take(weights_DN, self.order, axis=1)
        fakes = weights * self.is_fake
        fake_below, real_below = _sums_at(fakes, self.steps), _sums_at(weights - fakes, self.steps)
        num_fake, num_real = fake_below[:, -1], real_below[:, -1]
        tp = fakes[:, self.called].sum(axis=1, dtype=np.float64)
        fp = weights[:, self.called].sum(axis=1, dtype=np.float64) - tp
        with np.errstate(invalid="ignore", divide="ignore"):
            found = {
                **{key: self._mean(losses, weights, fakes) for key, losses in self.losses.items()},
                **_at_threshold(tp, fp, num_fake, num_real),
                **_ranking(fake_below, real_below),
            }
        one_class = (num_fake == 0) | (num_real == 0)
        for key in ("precision", "f1", "mcc", "auroc", "ap", "eer", "tpr_at_1_fpr", "tpr_at_5_fpr"):
            found[key] = np.where(one_class, np.nan, found[key])
        return found

    def _mean(self, losses: Floats, weights: Counts, fakes: Counts) -> Floats:
        """Return the mean loss of each draw, at the base rate where one is stated: groups move a draw's own share."""
        total = np.einsum("dr,r->d", weights, losses)
        if self.base_rate is None:
            return np.asarray(total / weights.sum(axis=1))
        of_fakes, num_fake = np.einsum("dr,r->d", fakes, losses), fakes.sum(axis=1)
        of_reals, num_real = total - of_fakes, weights.sum(axis=1) - num_fake
        return np.asarray(self.base_rate * of_fakes / num_fake + (1 - self.base_rate) * of_reals / num_real)


def group_strata(labels: Array, codes: Array) -> list[Array]:
    """Return the groups of each stratum that isn't empty."""
    stratum = strata_of_groups(labels, codes)
    # Real ones first: the order of the strata decides what a seed draws.
    return [members for kind in (REALS, FAKES, BOTH) if (members := np.flatnonzero(stratum == kind)).size]


def _sums_at(weights: Array, steps: Array) -> Floats:
    """Return (draws, steps): the weight of the rows before each step."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=np.int32)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return np.take(sums, steps, axis=1).astype(np.float64)


def _at_threshold(tp: Floats, fp: Floats, num_fake: Floats, num_real: Floats) -> dict[str, Floats]:
    """Return the metrics of verdicts; the formulas are those of `metrics.threshold_metrics`."""
    fn, tn = num_fake - tp, num_real - fp
    recall, specificity = tp / num_fake, tn / num_real
    spread = np.sqrt((tp + fp) * num_fake * num_real * (tn + fn))
    return {
        "accuracy": (tp + tn) / (num_fake + num_real),
        "balanced_accuracy": (recall + specificity) / 2,
        "recall": recall,
        "specificity": specificity,
        "precision": tp / (tp + fp),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / spread,
    }


def _ranking(fake_below: Floats, real_below: Floats) -> dict[str, Floats]:
    """Return the ranking metrics from the weights below each distinct logit; formulas as in `metrics`."""
    num_fake, num_real = fake_below[:, -1:], real_below[:, -1:]
    fakes_here = np.diff(fake_below, axis=1)
    twice_below = real_below[:, :-1] + real_below[:, 1:]
    caught, accused = num_fake - fake_below[:, :-1], num_real - real_below[:, :-1]
    precision = caught / np.maximum(caught + accused, 1)  # nothing is called where neither it nor any above was drawn
    found = {
        "auroc": np.einsum("ds,ds->d", fakes_here, twice_below) / (2 * num_fake * num_real)[:, 0],
        "ap": np.einsum("ds,ds->d", fakes_here, precision) / num_fake[:, 0],
        "eer": _equal_error_rate(fake_below / num_fake, 1 - real_below / num_real),
    }
    for key, rate in (("tpr_at_1_fpr", 0.01), ("tpr_at_5_fpr", 0.05)):
        allowed = np.floor(rate * num_real + 1e-9)  # as metrics.num_allowed
        first = np.argmax(num_real - real_below <= allowed, axis=1)
        found[key] = (num_fake[:, 0] - _picked(fake_below, first)) / num_fake[:, 0]
    return found


def _equal_error_rate(fnr: Floats, fpr: Floats) -> Floats:
    """Return the point where FNR, which rises with the step, meets FPR, which falls; interpolated on the segment."""
    high = np.maximum(np.argmax(fnr >= fpr, axis=1), 1)  # a draw of one class compares with NaN and is dropped later
    low = high - 1
    over, under = _picked(fpr, low) - _picked(fnr, low), _picked(fnr, high) - _picked(fpr, high)
    share = over / (over + under)
    return np.asarray(_picked(fpr, low) + share * (_picked(fpr, high) - _picked(fpr, low)))


def _picked(values: Floats, column: Array) -> Floats:
    return np.asarray(values[np.arange(len(values)), column], dtype=np.float64)
