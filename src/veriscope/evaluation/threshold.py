"""Choosing the threshold above which a score is called fake: on validation data, never on test data."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from veriscope.types import CLASS_NAMES, Threshold

Rule = Literal["youden", "accuracy"]

_RULE_TEXT: dict[Rule, str] = {
    "youden": "largest recall of fakes minus false alarms (Youden 1950)",
    "accuracy": "largest accuracy",
}


def choose_threshold(
    labels: npt.NDArray[Any], scores: npt.NDArray[Any], *, chosen_on: str, rule: Rule = "youden"
) -> Threshold:
    """Return the threshold that is best by `rule` on (labels, scores).

    `youden` maximises TPR - FPR (Youden 1950), `accuracy` the share of right verdicts. Candidates lie midway between
    neighbouring distinct scores, and beyond both ends, so that the choice leaves the same margin to both sides; of
    candidates that are equally good the middle one is taken. One class alone can't choose: then 0.5, and the rule
    says so.

    Args:
        labels: (N,) of 0 and 1.
        scores: (N,) calibrated probabilities of fake, in [0, 1].
        chosen_on: the data's name, as 'val'.
        rule: what is maximised.

    """
    label = np.asarray(labels)
    classes = np.unique(label)
    if classes.size < 2:
        what = f"only {CLASS_NAMES[int(classes[0])]} pictures" if classes.size else "no pictures"
        return Threshold(value=0.5, rule=f"0.5, not chosen: {what} in {chosen_on}", chosen_on="none")
    values, inverse = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    num_fake = np.bincount(inverse, weights=label, minlength=values.size)
    num_real = np.bincount(inverse, weights=1 - label, minlength=values.size)
    # Cut k calls values[k:] fake; cut len(values) calls nothing fake.
    hits = np.append(np.cumsum(num_fake[::-1])[::-1], 0.0)
    false_alarms = np.append(np.cumsum(num_real[::-1])[::-1], 0.0)
    # Youden's index times P * N: whole numbers, so that equally good cuts tie exactly.
    weights = (num_real.sum(), num_fake.sum()) if rule == "youden" else (1.0, 1.0)
    gain = hits * weights[0] - false_alarms * weights[1]
    if values[-1] >= 1.0:
        gain = gain[:-1]  # no threshold in [0, 1] lies above a score of 1
    best = np.flatnonzero(gain == gain.max())
    cut = int(best[(best.size - 1) // 2])
    return Threshold(value=_between(values, cut), rule=_RULE_TEXT[rule], chosen_on=chosen_on)


def _between(values: npt.NDArray[np.float64], cut: int) -> float:
    """Return the number midway between values[cut - 1] and values[cut], with 0 and 1 as the outermost neighbours."""
    below = float(values[cut - 1]) if cut > 0 else 0.0
    above = float(values[cut]) if cut < values.size else 1.0
    middle = (below + above) / 2
    # Between neighbouring floats the midpoint rounds to one of them; the lower one must stay below the threshold.
    return above if cut > 0 and middle <= below else middle
