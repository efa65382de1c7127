"""Choosing the threshold above which a score is called fake: on validation data, never on test data."""

from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.config.judging import ThresholdRule
from veriscope.evaluation.metrics import num_allowed
from veriscope.types import CLASS_NAMES, Threshold

Floats = npt.NDArray[np.float64]


def choose_threshold(
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    *,
    chosen_on: str,
    rule: ThresholdRule = "youden",
    max_fpr: float | None = None,
    cost_false_alarm: float | None = None,
    cost_miss: float | None = None,
    base_rate: float | None = None,
) -> Threshold:
    """Return the threshold that is best by `rule` on (labels, scores).

    Candidates lie midway between neighbouring distinct scores, and beyond both ends, so that the choice leaves the same
    margin to both sides; of candidates that are equally good the middle one is taken, by fpr the one with the fewest
    false alarms. One class alone can't choose: then 0.5, and the rule says so. '0.5' chooses nothing.

    Args:
        labels: (N,) of 0 and 1.
        scores: (N,) calibrated probabilities of fake, in [0, 1].
        chosen_on: the data's name, as 'val'.
        rule: youden: largest TPR - FPR (Youden 1950); accuracy: largest share of right verdicts; fpr: largest TPR among
            the thresholds that call at most `max_fpr` of the real pictures fake, rounded down to whole pictures; cost:
            smallest `cost_false_alarm` * false alarms + `cost_miss` * misses.
        max_fpr: fpr only.
        cost_false_alarm: cost only; above 0, in any unit.
        cost_miss: cost only; in the same unit.
        base_rate: cost only; share of fakes at which costs arise. None: that of `labels`.

    """
    if rule == "0.5":
        return Threshold(value=0.5, rule="0.5, as asked for", chosen_on="none")
    label = np.asarray(labels)
    classes = np.unique(label)
    if classes.size < 2:
        what = f"only {CLASS_NAMES[int(classes[0])]} pictures" if classes.size else "no pictures"
        return Threshold(value=0.5, rule=f"0.5, not chosen: {what} in {chosen_on}", chosen_on="none")
    cuts = Cuts(label, np.asarray(scores, dtype=np.float64))
    if rule == "fpr":
        if max_fpr is None:
            raise ValueError("rule 'fpr' needs max_fpr")
        return _at_most(cuts, max_fpr, chosen_on=chosen_on)
    if rule == "cost":
        if cost_false_alarm is None or cost_miss is None:
            raise ValueError("rule 'cost' needs cost_false_alarm and cost_miss")
        at = "" if base_rate is None else f" where {base_rate:.4g} of the pictures are fake"
        text = f"smallest cost{at}: {cost_false_alarm:.4g} for a false alarm, {cost_miss:.4g} for a missed fake"
        shares = (cuts.num_fake, cuts.num_real) if base_rate is None else (base_rate, 1 - base_rate)
        # Expected cost times P * N: exact in whole numbers where the costs are whole, so that equal cuts tie.
        weights = (cost_miss * shares[0] * cuts.num_real, cost_false_alarm * shares[1] * cuts.num_fake)
    elif rule == "accuracy":
        text, weights = "largest accuracy", (1.0, 1.0)
    else:
        text, weights = "largest recall of fakes minus false alarms (Youden 1950)", (cuts.num_real, cuts.num_fake)
    gain = cuts.hits * weights[0] - cuts.false_alarms * weights[1]
    best = np.flatnonzero(gain >= gain.max() - 1e-12 * max(weights) * len(label))
    return Threshold(value=cuts.value(int(best[(best.size - 1) // 2])), rule=text, chosen_on=chosen_on)


def _at_most(cuts: "Cuts", max_fpr: float, *, chosen_on: str) -> Threshold:
    allowed = num_allowed(int(cuts.num_real), max_fpr=max_fpr)
    text = f"highest recall with at most {max_fpr:.4g} of real pictures called fake ({allowed} of {cuts.num_real:.0f})"
    kept = np.flatnonzero(cuts.false_alarms <= allowed)
    if kept.size == 0:  # so many real pictures score exactly 1
        text = f"1, not kept: {cuts.false_alarms[-1]:.0f} of {cuts.num_real:.0f} real pictures score 1; wanted: {text}"
        return Threshold(value=1.0, rule=text, chosen_on=chosen_on)
    most = kept[cuts.hits[kept] == cuts.hits[kept].max()]
    return Threshold(value=cuts.value(int(most[-1])), rule=text, chosen_on=chosen_on)


class Cuts:
    """Every way to part scores in two: cut k calls the scores from `values[k]` on fake, cut len(values) none.

    `hits` and `false_alarms` hold the fakes and the real pictures called fake by each cut.
    """

    def __init__(self, labels: npt.NDArray[Any], scores: Floats) -> None:
        self.values, inverse = np.unique(scores, return_inverse=True)
        fakes = np.bincount(inverse, weights=labels, minlength=self.values.size)
        reals = np.bincount(inverse, weights=1 - labels, minlength=self.values.size)
        self.num_fake, self.num_real = float(fakes.sum()), float(reals.sum())
        # No threshold in [0, 1] lies above a score of 1.
        num_cuts = self.values.size + (self.values.size == 0 or self.values[-1] < 1.0)
        self.hits: Floats = np.append(np.cumsum(fakes[::-1])[::-1], 0.0)[:num_cuts]
        self.false_alarms: Floats = np.append(np.cumsum(reals[::-1])[::-1], 0.0)[:num_cuts]

    def value(self, cut: int) -> float:
        """Return the threshold of a cut, midway between its neighbours."""
        return between(self.values, cut)


def between(values: npt.NDArray[np.float64], cut: int) -> float:
    """Return the number midway between values[cut - 1] and values[cut], with 0 and 1 as the outermost neighbours."""
    below = float(values[cut - 1]) if cut > 0 else 0.0
    above = float(values[cut]) if cut < values.size else 1.0
    middle = (below + above) / 2
    # Between neighbouring floats the midpoint rounds to one of them; the lower one must stay below the threshold.
    return above if cut > 0 and middle <= below else middle
