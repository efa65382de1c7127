"""Calibration: temperature, Platt, isotonic; and how far scores are from being probabilities."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression, minimize, minimize_scalar
from scipy.special import expit

from veriscope.types import FAKE, Calibration, CalibrationMethod

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

TEMPERATURE_BOUNDS = (0.01, 100.0)  # wider than any fit needs: a search wants an end
NUM_BINS = 15  # Guo et al. 2017
_AGREE_Z = 2.576  # 99 %


class ByChance(NamedTuple):
    """The calibration error that a perfectly calibrated score would show on as many pictures."""

    mean: float
    high: float  # 95 of 100 such samples stay below


class CalibrationBins(NamedTuple):
    """One entry a bin, empty bins included: their means are NaN. `weight`: share of all pictures."""

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    mean_score: npt.NDArray[np.float64]
    fake_share: npt.NDArray[np.float64]


def negative_log_likelihood(labels: Array, logits: Array, *, temperature: float = 1.0) -> float:
    """Return mean(log(1 + exp(z)) - y z) with z = logit / temperature, in float64 and without overflow."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return float(np.mean(np.logaddexp(0.0, scaled) - np.asarray(labels, dtype=np.float64) * scaled))


def fit_calibration(
    labels: Array, logits: Array, *, fitted_on: str, method: CalibrationMethod = "temperature"
) -> Calibration:
    """Return the calibration of `method` that fits (labels, logits) best, with the share of fakes among them where its
    scores agree with that.

    The targets are not 1 and 0 but (N_fake + 1) / (N_fake + 2) and 1 / (N_real + 2) (Platt 1999, section 2.2): a few
    pictures without a mistake are no proof that there are none, and perfectly separated classes would give scores of
    exactly 0 and 1. A temperature has no intercept: where logits lie too high or too low as a whole, as after a loss
    that weighs the classes evenly, its scores are no probabilities at the data's share of fakes, and a correction from
    there to another would be wrong; so `fake_share` stays None then. One class alone says nothing about calibration:
    then temperature 1, fitted on 'none'.

    Args:
        labels: (N,) of 0 and 1.
        logits: (N,) uncalibrated.
        fitted_on: the data's name, as 'val'. Never fit on what is to be judged.
        method: temperature has one free number, platt two, isotonic as many as the data give reason for.

    """
    if np.unique(labels).size < 2:
        return Calibration()
    label, logit = np.asarray(labels), np.asarray(logits, dtype=np.float64)
    num_fake = int(np.count_nonzero(label))
    targets = np.where(label == FAKE, (num_fake + 1) / (num_fake + 2), 1 / (label.size - num_fake + 2))
    share = num_fake / label.size
    if method == "platt":
        slope, intercept = _platt(targets, logit)
        return Calibration(method="platt", slope=slope, intercept=intercept, fitted_on=fitted_on, fake_share=share)
    if method == "isotonic":
        return Calibration(method="isotonic", knots=_knots(targets, logit), fitted_on=fitted_on, fake_share=share)
    temperature = _temperature(targets, logit)
    agrees = _agrees(label, expit(logit / temperature))
    return Calibration(temperature=temperature, fitted_on=fitted_on, fake_share=share if agrees else None)


def _agrees(labels: Array, scores: Floats) -> bool:
    """Return whether the scores expect as many fakes as there are, but for the luck of the draw (at 99 %).

    Cox 1958, calibration in the large: were the scores right, the number of fakes would scatter with the variance
    sum p (1 - p). A picture more or less is never a disagreement: scores near 0 and 1 hardly scatter.
    """
    gap = abs(float(scores.sum()) - np.count_nonzero(labels == FAKE))
    return bool(gap <= 1 + _AGREE_Z * float(np.sqrt(np.sum(scores * (1 - scores)))))


def fit_temperature(labels: Array, logits: Array, *, fitted_on: str) -> Calibration:
    """Return `fit_calibration` by temperature (Guo et al. 2017, section 4.2)."""
    return fit_calibration(labels, logits, fitted_on=fitted_on)


def _temperature(targets: Floats, logits: Floats) -> float:
    """Return the temperature of the smallest negative log-likelihood.

    It is convex in 1 / T, hence has one minimum along log T, which Brent's bounded search finds.
    """
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(targets, logits, temperature=float(np.exp(log_t))),
        bounds=(float(np.log(TEMPERATURE_BOUNDS[0])), float(np.log(TEMPERATURE_BOUNDS[1]))),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _platt(targets: Floats, logits: Floats) -> tuple[float, float]:
    """Return slope and intercept of the smallest negative log-likelihood, which is convex in both.

    The slope stays within the bounds of 1 / temperature, hence above 0: a detector that has the classes upside down
    gets scores near the share of fakes, and not its ranking turned round by what was to calibrate it.
    """
    scale = float(np.sqrt(np.mean(logits**2))) or 1.0  # near 1 for the search, whatever the network's habit
    scaled = logits / scale

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * scaled + parameters[1]
        gap = expit(z) - targets
        value = float(np.mean(np.logaddexp(0.0, z) - targets * z))
        return value, np.array([np.mean(gap * scaled), np.mean(gap)])

    found = minimize(
        loss,
        x0=np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(scale / TEMPERATURE_BOUNDS[1], scale / TEMPERATURE_BOUNDS[0]), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
    )
    return float(found.x[0]) / scale, float(found.x[1])


def _knots(targets: Floats, logits: Floats) -> tuple[tuple[float, float], ...]:
    """Return both ends of every step of the isotonic regression (pool adjacent violators; Barlow et al. 1972)."""
    values, inverse, counts = np.unique(logits, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=targets) / counts
    rising = isotonic_regression(means, weights=counts)
    blocks = np.asarray(rising.blocks)
    # One score a step, exactly: the ends of a step must not differ by rounding. And never beyond the targets.
    scores = np.maximum.accumulate(np.clip(rising.x[blocks[:-1]], targets.min(), targets.max()))
    knots: dict[float, float] = {}
    for first, end, score in zip(blocks[:-1], blocks[1:], scores, strict=True):
        knots[float(values[first])] = knots[float(values[end - 1])] = float(score)
    return tuple(knots.items())


def raw_scores(logits: Array, *, moved_by: Calibration | None = None) -> Floats:
    """Return sigmoid(logit), what scores would be without calibration.

    With `moved_by` they are corrected to its base rate as its own scores are, so that a comparison with those shows
    what calibration does, and not what the base rate does.
    """
    scores: Floats = expit(np.asarray(logits, dtype=np.float64))
    if moved_by is None or moved_by.base_rate is None:
        return scores
    return np.array([moved_by.moved(float(score)) for score in scores], dtype=np.float64)


def base_rate_weights(labels: Array, base_rate: float | None) -> Floats:
    """Return (N,) weights with mean 1 under which the share of fakes is `base_rate`; NaN where a class is missing.

    None: all 1. Means under these weights estimate what would be found where fakes are that frequent, if fakes and real
    pictures are as here.
    """
    fake = np.asarray(labels) == FAKE
    if base_rate is None or fake.size == 0:
        return np.ones(fake.size)
    share = float(fake.mean())
    if share in (0.0, 1.0):
        return np.full(fake.size, np.nan)
    return np.where(fake, base_rate / share, (1 - base_rate) / (1 - share))


def calibration_bins(
    labels: Array, scores: Array, *, num_bins: int = NUM_BINS, base_rate: float | None = None
) -> CalibrationBins:
    """Return counts, mean score and share of fakes in `num_bins` bins of equal width over [0, 1].

    Bin k holds k / num_bins <= score < (k + 1) / num_bins; the last is closed, so that a score of exactly 1 falls
    into it (torchmetrics 1.9.0 gives it a bin of its own). With `base_rate`, means are weighted to that share of fakes.
    """
    score = np.asarray(scores, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    index = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, num_bins - 1)
    counts = np.bincount(index, minlength=num_bins)
    weights = base_rate_weights(labels, base_rate)
    sums = np.bincount(index, weights=weights, minlength=num_bins)
    fakes = weights * np.asarray(labels, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(index, weights=weights * score, minlength=num_bins) / sums
        fake_share = np.bincount(index, weights=fakes, minlength=num_bins) / sums
    return CalibrationBins(edges, counts, sums / max(score.size, 1), mean_score, fake_share)


def expected_calibration_error(
    labels: Array, scores: Array, *, num_bins: int = NUM_BINS, base_rate: float | None = None
) -> float | None:
    """Return sum over bins of count / N * |share of fakes - mean score|, in [0, 1]; None without rows.

    On P(fake), not on the confidence in the predicted class: a detector that is too sure of fakes and too unsure of
    real pictures must not look calibrated. Naeini et al. 2015; it is biased upward for few rows. With `base_rate`,
    weighted to that share of fakes; None where a class is missing then.
    """
    if len(labels) == 0 or bool(np.isnan(base_rate_weights(labels, base_rate)).any()):
        return None
    bins = calibration_bins(labels, scores, num_bins=num_bins, base_rate=base_rate)
    filled = bins.counts > 0
    gaps = np.abs(bins.fake_share[filled] - bins.mean_score[filled])
    return float(np.sum(bins.weight[filled] * gaps))


def calibration_error_by_chance(scores: Array, *, draws: int = 500, seed: int) -> ByChance | None:
    """Return what expected_calibration_error would be if the scores were right; None without rows.

    Labels are drawn from the scores, Bernoulli and independent, `draws` times (consistency resampling: Broecker & Smith
    2007). The error is never negative and grows as pictures get fewer, so it means little without this beside it.
    """
    score = np.asarray(scores, dtype=np.float64)
    if score.size == 0:
        return None
    rng = np.random.default_rng(seed)
    errors = [expected_calibration_error(rng.random(score.size) < score, score) for _ in range(draws)]
    return ByChance(float(np.mean(np.array(errors))), float(np.quantile(np.array(errors), 0.95)))
