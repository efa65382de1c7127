"""Oracle figures: the best that any threshold could do, found on the judged pictures themselves. Never a headline."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.config.judging import ThresholdRule
from veriscope.evaluation.metrics import confusion, threshold_metrics
from veriscope.evaluation.threshold import choose_threshold

Array = npt.NDArray[Any]
ORACLE_NAME = "oracle (threshold chosen on the judged pictures; not attainable)"


class Oracle(NamedTuple):
    """The best value of `what`, and the threshold on the score that gives it."""

    what: str
    value: float
    threshold: float


def oracle_figures(labels: Array, scores: Array) -> tuple[Oracle, ...]:
    """Return the largest accuracy and the largest recall minus false alarms (Youden 1950) of any threshold on the
    scores; nothing where a class is missing.

    Detectors are often published with them. Nobody who judges new pictures has their labels to choose by.
    """
    if np.unique(np.asarray(labels)).size < 2:
        return ()
    found = []
    kinds: tuple[tuple[str, ThresholdRule], ...] = (("accuracy", "accuracy"), ("recall minus false alarms", "youden"))
    for what, rule in kinds:
        value = choose_threshold(labels, scores, chosen_on="the judged pictures", rule=rule).value
        figures = threshold_metrics(confusion(labels, scores, threshold=value))
        balanced, accuracy = figures["balanced_accuracy"], figures["accuracy"]
        if accuracy is not None and balanced is not None:  # both classes are there
            found.append(Oracle(what, accuracy if rule == "accuracy" else 2 * balanced - 1, value))
    return tuple(found)
