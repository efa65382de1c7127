"""Temperature scaling, and how far scores are from being probabilities."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from veriscope.types import Calibration

Array = npt.NDArray[Any]

TEMPERATURE_BOUNDS = (0.01, 100.0)  # wider than any fit needs: a search wants an end
NUM_BINS = 15  # Guo et al. 2017


class CalibrationBins(NamedTuple):
    """One entry a bin, empty bins included: their means are NaN."""

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    mean_score: npt.NDArray[np.float64]
    fake_share: npt.NDArray[np.float64]


def negative_log_likelihood(labels: Array, logits: Array, *, temperature: float = 1.0) -> float:
    """Return mean(log(1 + exp(z)) - y z) with z = logit / temperature, in float64 and without overflow."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return float(np.mean(np.logaddexp(0.0, scaled) - np.asarray(labels, dtype=np.float64) * scaled))


def fit_temperature(labels: Array, logits: Array, *, fitted_on: str) -> Calibration:
    """Return the temperature that minimises the negative log-likelihood (Guo et al. 2017, section 4.2).

    The targets are not 1 and 0 but (N_fake + 1) / (N_fake + 2) and 1 / (N_real + 2) (Platt 1999, section 2.2): a few
    pictures without a mistake are no proof that there are none, and perfectly separated classes would drive T to 0 and
    every score to exactly 0 or 1. The likelihood is convex in 1 / T, hence has one minimum along log T, which Brent's
    bounded search finds. One class alone says nothing about calibration: then temperature 1, fitted on 'none'.

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) uncalibrated.
        fitted_on: the data's name, as 'val'. Never fit on what is to be judged.

    """
    if np.unique(labels).size < 2:
        return Calibration()
    num_fake = np.count_nonzero(labels)
    targets = np.where(labels, (num_fake + 1) / (num_fake + 2), 1 / (len(labels) - num_fake + 2))
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(targets, logits, temperature=float(np.exp(log_t))),
        bounds=(float(np.log(TEMPERATURE_BOUNDS[0])), float(np.log(TEMPERATURE_BOUNDS[1]))),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return Calibration(temperature=float(np.exp(found.x)), fitted_on=fitted_on)


def calibration_bins(labels: Array, scores: Array, *, num_bins: int = NUM_BINS) -> CalibrationBins:
    """Return counts, mean score and share of fakes in `num_bins` bins of equal width over [0, 1].

    Bin k holds k / num_bins <= score < (k + 1) / num_bins; the last is closed, so that a score of exactly 1 falls
    into it (torchmetrics 1.9.0 gives it a bin of its own).
    """
    score = np.asarray(scores, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    index = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, num_bins - 1)
    counts = np.bincount(index, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(index, weights=score, minlength=num_bins) / counts
        fake_share = np.bincount(index, weights=np.asarray(labels, dtype=np.float64), minlength=num_bins) / counts
    return CalibrationBins(edges, counts, mean_score, fake_share)


def expected_calibration_error(labels: Array, scores: Array, *, num_bins: int = NUM_BINS) -> float | None:
    """Return sum over bins of count / N * |share of fakes - mean score|, in [0, 1]; None without rows.

    On P(fake), not on the confidence in the predicted class: a detector that is too sure of fakes and too unsure of
    real pictures must not look calibrated. Naeini et al. 2015; it is biased upward for few rows.
    """
    if len(labels) == 0:
        return None
    bins = calibration_bins(labels, scores, num_bins=num_bins)
    filled = bins.counts > 0
    gaps = np.abs(bins.fake_share[filled] - bins.mean_score[filled])
    return float(np.sum(bins.counts[filled] * gaps) / bins.counts.sum())
