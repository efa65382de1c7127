"""What is chosen once a detector is trained: calibration, threshold and unsure band, all on one set of predictions."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.bundle.terms import Terms
from veriscope.config.schema import RunConfig
from veriscope.evaluation.calibration import fit_calibration
from veriscope.evaluation.threshold import choose_threshold
from veriscope.evaluation.unsure import BandChoice, choose_band
from veriscope.types import DEFAULT_THRESHOLD, preferred_name

Array = npt.NDArray[Any]


class Selection(NamedTuple):
    """What ships. `no_band`: why there is no unsure band, empty where there is one."""

    terms: Terms
    no_band: str


def select(labels: Array, logits: Array, *, config: RunConfig, name: str, chosen_on: str) -> Selection:
    """Return the calibration, the thresholds 'default' and `name`, and the band that `config` asks for.

    Args:
        labels: (N,) of 0 and 1, of val or out of fold. Never of what is to be judged.
        logits: (N,) uncalibrated.
        config: its parts calibration, threshold and unsure.
        name: one of types.TUNED_THRESHOLDS; left out with threshold.rule=0.5.
        chosen_on: the data's name, as 'rvf10k val'.

    """
    calibration = fit_calibration(labels, logits, fitted_on=chosen_on, method=config.calibration.method)
    scores = np.array([calibration.score(float(logit)) for logit in logits])
    thresholds = {"default": DEFAULT_THRESHOLD}
    if config.threshold.rule != "0.5":
        thresholds[name] = choose_threshold(labels, scores, chosen_on=chosen_on, **config.threshold.model_dump())
    around = preferred_name(thresholds)
    choice = BandChoice(None, "none was asked for (unsure.accuracy=null)")
    if config.unsure.accuracy is not None:
        choice = choose_band(
            labels,
            scores,
            threshold=thresholds[around],
            name=around,
            wanted_accuracy=config.unsure.accuracy,
            chosen_on=chosen_on,
        )
    return Selection(Terms(calibration, thresholds, choice.band), choice.reason)
