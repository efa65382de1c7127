"""What verdicts are worth where fakes are as frequent as stated, and not as in the judged data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from veriscope.evaluation.intervals import Interval, wilson
from veriscope.evaluation.judge import LEVEL, Figure, figure_dict
from veriscope.evaluation.metrics import Confusion

# Two intervals at this level hold both shares at LEVEL or above (Bonferroni).
_EACH = 1 - (1 - LEVEL) / 2


@dataclass(frozen=True, slots=True)
class RateFigures:
    """At one threshold and a stated share of fakes.

    `precision`: share of fake verdicts that would be right; `real_right`: of real verdicts; `called_fake`: share of all
    pictures that would be called fake.
    """

    precision: Figure
    real_right: Figure
    called_fake: Figure

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict."""
        return {name: figure_dict(getattr(self, name)) for name in ("precision", "real_right", "called_fake")}


def expected_at(base_rate: float, counts: Mapping[str, Confusion]) -> dict[str, RateFigures]:
    """Return threshold's name to what its verdicts are worth at `base_rate`, by Bayes' theorem from recall and false
    alarms, which don't depend on how many fakes there are.

    precision = TPR p / (TPR p + FPR (1 - p)). Its interval takes the worst, and the best, of Wilson's intervals of TPR
    and FPR at 97.5 % each, so it holds at 95 % or more. Undefined where a class is missing.
    """
    return {name: _figures(base_rate, found) for name, found in counts.items()}


def _figures(rate: float, counts: Confusion) -> RateFigures:
    num_fake, num_real = counts.tp + counts.fn, counts.tn + counts.fp
    recall, alarms = wilson(counts.tp, num_fake, level=_EACH), wilson(counts.fp, num_real, level=_EACH)
    if recall is None or alarms is None:
        nothing = Figure(None, None)
        return RateFigures(nothing, nothing, nothing)

    def precision(tpr: float, fpr: float) -> float | None:
        return _part(tpr * rate, fpr * (1 - rate))

    def real_right(tpr: float, fpr: float) -> float | None:
        return _part((1 - fpr) * (1 - rate), (1 - tpr) * rate)

    tpr, fpr = counts.tp / num_fake, counts.fp / num_real
    flagged = [tpr * rate + fpr * (1 - rate) for tpr, fpr in (
        (tpr, fpr), (recall.low, alarms.low), (recall.high, alarms.high))]  # fmt: skip
    return RateFigures(
        precision=_figure(precision(tpr, fpr), precision(recall.low, alarms.high), precision(recall.high, alarms.low)),
        real_right=_figure(
            real_right(tpr, fpr), real_right(recall.low, alarms.high), real_right(recall.high, alarms.low)
        ),
        called_fake=_figure(flagged[0], flagged[1], flagged[2]),
    )


def _part(right: float, wrong: float) -> float | None:
    return right / (right + wrong) if right + wrong > 0 else None


def _figure(value: float | None, low: float | None, high: float | None) -> Figure:
    if value is None or low is None or high is None:
        return Figure(value, None)
    return Figure(value, Interval(low, high, LEVEL, "wilson"))
