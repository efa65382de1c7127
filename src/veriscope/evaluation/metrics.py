"""Metrics as pure functions on arrays. What can't be defined is None, never 0 and never an exception.

fake = 1 = positive. Ranking metrics read logits: scores saturate, and ties there cost ranking (AUROC fell from 0.984
to 0.793 on saturated bf16 scores). A metric that compares the two classes (balanced accuracy, precision, F1, MCC and
every ranking metric) is undefined where one of them is missing: precision on fakes alone would always read 1.
"""

from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from veriscope.evaluation.calibration import base_rate_weights, expected_calibration_error
from veriscope.types import CLASS_NAMES, FAKE, REAL

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Scores = dict[str, float | None]  # metric key to value; None = undefined

UNDEFINED = "undefined"
_EPS = float(np.finfo(np.float64).eps)


class Metric(NamedTuple):
    """What a report needs to know about a metric."""

    key: str
    label: str
    kind: Literal["threshold", "ranking", "probability"]
    better: Literal["higher", "lower"]
    meaning: str


METRICS: tuple[Metric, ...] = (
    Metric("accuracy", "Accuracy", "threshold", "higher", "share of right verdicts"),
    Metric("balanced_accuracy", "Balanced accuracy", "threshold", "higher", "mean of recall and specificity"),
    Metric("recall", "Recall (TPR)", "threshold", "higher", "share of fakes that are caught"),
    Metric("specificity", "Specificity (TNR)", "threshold", "higher", "share of real pictures that are left in peace"),
    Metric("precision", "Precision", "threshold", "higher", "share of fake verdicts that are right"),
    Metric("f1", "F1", "threshold", "higher", "harmonic mean of precision and recall"),
    Metric("mcc", "Matthews correlation", "threshold", "higher", "-1 to 1; 0 is guessing"),
    Metric("auroc", "AUROC", "ranking", "higher", "chance that a fake ranks above a real picture; 0.5 is guessing"),
    Metric("ap", "Average precision", "ranking", "higher", "area under the precision-recall curve"),
    Metric("eer", "Equal error rate", "ranking", "lower", "error where missed fakes equal false alarms"),
    Metric("tpr_at_1_fpr", "TPR at 1 % FPR", "ranking", "higher", "fakes caught when 1 of 100 real ones is accused"),
    Metric("tpr_at_5_fpr", "TPR at 5 % FPR", "ranking", "higher", "fakes caught when 5 of 100 real ones are accused"),
    Metric("log_loss", "Log loss", "probability", "lower", "in nats; 0.693 is a constant 0.5"),
    Metric("brier", "Brier score", "probability", "lower", "mean squared error of the score; 0.25 is a constant 0.5"),
    Metric("ece", "Calibration error", "probability", "lower", "mean gap between score and share of fakes (15 bins)"),
)


class Confusion(NamedTuple):
    """Counts; positive = fake."""

    tn: int
    fp: int
    fn: int
    tp: int


class Curve(NamedTuple):
    """Points of a curve and the threshold on the logit behind each: everything at or above it is called fake."""

    x: Floats
    y: Floats
    thresholds: Floats


class ClassRow(TypedDict):
    """One line of the classification report."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def confusion(labels: Array, scores: Array, *, threshold: float) -> Confusion:
    """Return the counts of the verdicts `score >= threshold`."""
    fake = np.asarray(labels) == FAKE
    called = np.asarray(scores) >= threshold
    tp, fp = int(np.sum(fake & called)), int(np.sum(~fake & called))
    return Confusion(tn=int(np.sum(~fake)) - fp, fp=fp, fn=int(np.sum(fake)) - tp, tp=tp)


def threshold_metrics(counts: Confusion) -> Scores:
    """Return accuracy, balanced_accuracy, recall, specificity, precision, f1 and mcc (Matthews 1975)."""
    tn, fp, fn, tp = counts
    num_fake, num_real = tp + fn, tn + fp
    recall, specificity = _ratio(tp, num_fake), _ratio(tn, num_real)
    both = num_fake > 0 and num_real > 0
    spread = float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return {
        "accuracy": _ratio(tp + tn, num_fake + num_real),
        "balanced_accuracy": None if recall is None or specificity is None else (recall + specificity) / 2,
        "recall": recall,
        "specificity": specificity,
        "precision": _ratio(tp, tp + fp) if both else None,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn) if both else None,
        "mcc": (float(tp) * tn - float(fp) * fn) / spread**0.5 if both and spread > 0 else None,
    }


def auroc(labels: Array, logits: Array) -> float | None:
    """Return P(fake ranks above real) + P(tie) / 2, the Mann-Whitney statistic over its maximum; None for one class.

    (R - P (P + 1) / 2) / (P N) with R the sum of the fakes' average ranks (Hanley & McNeil 1982).
    """
    fake = np.asarray(labels) == FAKE
    num_fake, num_real = int(fake.sum()), int((~fake).sum())
    if num_fake == 0 or num_real == 0:
        return None
    rank_sum = float(rankdata(logits)[fake].sum())
    return (rank_sum - num_fake * (num_fake + 1) / 2) / (num_fake * num_real)


def roc_curve(labels: Array, logits: Array) -> Curve:
    """Return (FPR, TPR) at every distinct logit, from (0, 0) at threshold +inf to (1, 1).

    Raises:
        ValueError: one class is missing.

    """
    tp, fp, values = _cumulative(labels, logits)
    if tp[-1] == 0 or fp[-1] == 0:
        raise ValueError("a ROC curve needs both classes")
    return Curve(x=np.append(0.0, fp / fp[-1]), y=np.append(0.0, tp / tp[-1]), thresholds=np.append(np.inf, values))


def pr_curve(labels: Array, logits: Array) -> Curve:
    """Return (recall, precision) at every distinct logit, from the strictest threshold down.

    Raises:
        ValueError: one class is missing.

    """
    tp, fp, values = _cumulative(labels, logits)
    if tp[-1] == 0 or fp[-1] == 0:
        raise ValueError("a precision-recall curve needs both classes")
    return Curve(x=tp / tp[-1], y=tp / (tp + fp), thresholds=values)


def average_precision(labels: Array, logits: Array) -> float | None:
    """Return sum over distinct logits of (R_k - R_{k-1}) P_k, from the highest down; None for one class.

    The step-wise sum, not the trapezoid, which is too friendly (Davis & Goadrich 2006).
    """
    if not _both(labels):
        return None
    curve = pr_curve(labels, logits)
    return float(np.sum(np.diff(curve.x, prepend=0.0) * curve.y))


def equal_error_rate(labels: Array, logits: Array) -> float | None:
    """Return the error rate at the point of the ROC curve where FNR = FPR; None for one class.

    The curve's points are joined by straight lines, and the point is interpolated on the line that crosses.
    """
    if not _both(labels):
        return None
    curve = roc_curve(labels, logits)
    gap = (1 - curve.y) - curve.x  # falls from 1 to -1
    after = int(np.argmax(gap <= 0))
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(curve.x[after - 1] + share * (curve.x[after] - curve.x[after - 1]))


def tpr_at_fpr(labels: Array, logits: Array, *, max_fpr: float) -> float | None:
    """Return the highest TPR among real thresholds whose FPR is at most `max_fpr`; None for one class.

    Conservative: no interpolation. With fewer than 1 / max_fpr real pictures, no false alarm at all is allowed.
    """
    if not _both(labels):
        return None
    tp, fp, _ = _cumulative(labels, logits)
    allowed = np.append(0.0, tp / tp[-1])[np.append(0.0, fp) <= num_allowed(int(fp[-1]), max_fpr=max_fpr)]
    return float(allowed[-1])


def num_allowed(num_real: int, *, max_fpr: float) -> int:
    """Return how many of `num_real` pictures may be accused at a false-positive rate of at most `max_fpr`."""
    return int(max_fpr * num_real + 1e-9)  # 0.05 * 20 is 1, not 0.999...


def ranking_metrics(labels: Array, logits: Array) -> Scores:
    """Return auroc, ap, eer, tpr_at_1_fpr and tpr_at_5_fpr; no threshold enters."""
    return {
        "auroc": auroc(labels, logits),
        "ap": average_precision(labels, logits),
        "eer": equal_error_rate(labels, logits),
        "tpr_at_1_fpr": tpr_at_fpr(labels, logits, max_fpr=0.01),
        "tpr_at_5_fpr": tpr_at_fpr(labels, logits, max_fpr=0.05),
    }


def log_losses(labels: Array, scores: Array) -> Floats:
    """Return -log of the score given to the true class, one a row, in nats.

    Scores are clipped to [eps, 1 - eps] of float64, as scikit-learn does: one saturated mistake costs 36, not infinity.
    """
    clipped = np.clip(np.asarray(scores, dtype=np.float64), _EPS, 1 - _EPS)
    return np.where(np.asarray(labels) == FAKE, -np.log(clipped), -np.log1p(-clipped))


def brier_losses(labels: Array, scores: Array) -> Floats:
    """Return (score - label)^2, one a row (Brier 1950)."""
    gaps: Floats = np.asarray(scores, dtype=np.float64) - np.asarray(labels, dtype=np.float64)
    return np.square(gaps)


def probability_metrics(labels: Array, scores: Array, *, base_rate: float | None = None) -> Scores:
    """Return log_loss, brier and ece of the scores as probabilities of fake.

    With `base_rate` they are weighted to that share of fakes; undefined where a class is missing then.
    """
    weights = base_rate_weights(labels, base_rate)
    if len(labels) == 0 or bool(np.isnan(weights).any()):
        return {"log_loss": None, "brier": None, "ece": None}
    return {
        "log_loss": float((weights * log_losses(labels, scores)).mean()),
        "brier": float((weights * brier_losses(labels, scores)).mean()),
        "ece": expected_calibration_error(labels, scores, base_rate=base_rate),
    }


def compute_metrics(
    labels: Array, scores: Array, *, threshold: float, logits: Array | None = None, base_rate: float | None = None
) -> Scores:
    """Return every metric of METRICS.

    Args:
        labels: (N,) of 0 and 1.
        scores: (N,) probabilities of fake in [0, 1].
        threshold: scores at or above it are called fake.
        logits: (N,) what ranks; give them wherever they exist, scores may be saturated. None: rank on scores.
        base_rate: share of fakes that scores speak of, for log_loss, brier and ece; None: that of `labels`.

    """
    return {
        **threshold_metrics(confusion(labels, scores, threshold=threshold)),
        **ranking_metrics(labels, scores if logits is None else logits),
        **probability_metrics(labels, scores, base_rate=base_rate),
    }


def classification_report(counts: Confusion) -> dict[str, ClassRow]:
    """Return precision, recall, F1 and support of 'real' and 'fake', and their 'macro' and 'weighted' averages.

    An average is undefined where a class that counts in it is: macro counts both, weighted those with support.
    """
    fake = threshold_metrics(counts)
    # The same question asked about real pictures: the roles of the classes swap.
    real = threshold_metrics(Confusion(tn=counts.tp, fp=counts.fn, fn=counts.fp, tp=counts.tn))
    support = {REAL: counts.tn + counts.fp, FAKE: counts.tp + counts.fn}
    rows: dict[str, ClassRow] = {
        CLASS_NAMES[label]: ClassRow(
            precision=row["precision"], recall=row["recall"], f1=row["f1"], support=support[label]
        )
        for label, row in ((REAL, real), (FAKE, fake))
    }
    total = sum(support.values())
    for name, weights in (("macro", {REAL: 1, FAKE: 1}), ("weighted", support)):
        rows[name] = ClassRow(
            precision=_average([real["precision"], fake["precision"]], weights),
            recall=_average([real["recall"], fake["recall"]], weights),
            f1=_average([real["f1"], fake["f1"]], weights),
            support=total,
        )
    return rows


def _average(values: list[float | None], weights: dict[int, int]) -> float | None:
    counted = [(value, weights[label]) for label, value in enumerate(values) if weights[label] > 0]
    total = sum(weight for _, weight in counted)
    result = 0.0
    for value, weight in counted:
        if value is None:
            return None
        result += value * weight / total
    return result if total else None


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _both(labels: Array) -> bool:
    return bool(np.unique(np.asarray(labels)).size == 2)


def _cumulative(labels: Array, logits: Array) -> tuple[Floats, Floats, Floats]:
    """Return how many fakes and how many real pictures lie at or above each distinct logit, highest first."""
    values, inverse = np.unique(np.asarray(logits, dtype=np.float64), return_inverse=True)
    fake = np.asarray(labels) == FAKE
    tp: Floats = np.cumsum(np.bincount(inverse, weights=fake, minlength=values.size)[::-1], dtype=np.float64)
    fp: Floats = np.cumsum(np.bincount(inverse, weights=~fake, minlength=values.size)[::-1], dtype=np.float64)
    return tp, fp, values[::-1]
