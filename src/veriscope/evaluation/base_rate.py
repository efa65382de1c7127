"""What verdicts are worth where fakes are as frequent as stated, and not as in the judged data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.evaluation.figures import LEVEL, Figure, figure, figure_dict, interval_over_groups
from veriscope.evaluation.intervals import Codes, Interval, Method, wilson
from veriscope.evaluation.metrics import Confusion
from veriscope.evaluation.shares import DRAWS, drawn_shares
from veriscope.types import FAKE

# Were each to hold its share exactly so often, both would at LEVEL or above (Bonferroni).
_EACH = 1 - (1 - LEVEL) / 2


class Rates(NamedTuple):
    """Intervals at 97.5 % of recall and of false alarms; None where a class is missing or one group is all."""

    recall: Interval | None
    alarms: Interval | None


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


def expected_at(
    base_rate: float, counts: Mapping[str, Confusion], *, rates: Mapping[str, Rates] | None = None
) -> dict[str, RateFigures]:
    """Return threshold's name to what its verdicts are worth at `base_rate`, by Bayes' theorem from recall and false
    alarms, which don't depend on how many fakes there are.

    precision = TPR p / (TPR p + FPR (1 - p)). Its interval takes the worst, and the best, of the intervals of TPR and
    FPR at 97.5 % each, so it holds at about 95 %, rather more often than less. Undefined where a class is missing.

    Args:
        base_rate: the stated share of fakes.
        counts: threshold's name to what was counted at it.
        rates: `group_rates` where rows have groups; None: Wilson's intervals of the counts.

    """
    return {name: _figures(base_rate, found, None if rates is None else rates[name]) for name, found in counts.items()}


def group_rates(
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    thresholds: Mapping[str, float],
    groups: Codes,
    draws: int = DRAWS,
    seed: int = 42,
) -> dict[str, Rates]:
    """Return threshold's name to the intervals of recall and false alarms over draws of whole groups.

    Where the draws have no spread it is Wilson's over groups (figures.interval_over_groups).
    """
    fake = np.asarray(labels) == FAKE
    found = {}
    for name, threshold in thresholds.items():
        called = np.asarray(scores) >= threshold
        shares = {"recall": (called, fake), "alarms": (called, ~fake)}
        drawn = drawn_shares(labels, shares, groups=groups, draws=draws, seed=seed, level=_EACH)
        found[name] = Rates(
            *(
                interval_over_groups(called[rows], groups=groups[rows], drawn=drawn[key], level=_EACH)
                for key, (_, rows) in shares.items()
            )
        )
    return found


def _figures(rate: float, counts: Confusion, rates: Rates | None) -> RateFigures:
    num_fake, num_real = counts.tp + counts.fn, counts.tn + counts.fp
    recall, alarms = rates or (wilson(counts.tp, num_fake, level=_EACH), wilson(counts.fp, num_real, level=_EACH))
    if num_fake == 0 or num_real == 0:
        nothing = Figure(None, None)
        return RateFigures(nothing, nothing, nothing)

    def precision(tpr: float, fpr: float) -> float | None:
        return _part(tpr * rate, fpr * (1 - rate))

    def real_right(tpr: float, fpr: float) -> float | None:
        return _part((1 - fpr) * (1 - rate), (1 - tpr) * rate)

    def called_fake(tpr: float, fpr: float) -> float:
        return tpr * rate + fpr * (1 - rate)

    tpr, fpr = counts.tp / num_fake, counts.fp / num_real
    if recall is None or alarms is None:
        return RateFigures(*(Figure(of(tpr, fpr), None) for of in (precision, real_right, called_fake)))
    grouped = any(span.method == "cluster bootstrap" for span in (recall, alarms))
    method: Method = "cluster bootstrap, combined" if grouped else "wilson, combined"
    worst, best = (recall.low, alarms.high), (recall.high, alarms.low)
    return RateFigures(
        precision=_figure(precision(tpr, fpr), precision(*worst), precision(*best), method),
        real_right=_figure(real_right(tpr, fpr), real_right(*worst), real_right(*best), method),
        called_fake=_figure(
            called_fake(tpr, fpr),
            called_fake(recall.low, alarms.low),
            called_fake(recall.high, alarms.high),
            method,
        ),
    )


def _part(right: float, wrong: float) -> float | None:
    return right / (right + wrong) if right + wrong > 0 else None


def _figure(value: float | None, low: float | None, high: float | None, method: Method) -> Figure:
    if value is None or low is None or high is None:
        return Figure(value, None)
    return figure(value, Interval(low, high, LEVEL, method))
