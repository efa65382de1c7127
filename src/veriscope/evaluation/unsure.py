"""The unsure band: chosen on val so that the other verdicts can be relied on, and measured on what is judged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from veriscope.evaluation.figures import LEVEL, Figure, figure_dict
from veriscope.evaluation.intervals import Codes
from veriscope.evaluation.shares import DRAWS, Mask, share_figures
from veriscope.evaluation.threshold import between
from veriscope.types import CLASS_NAMES, FAKE, REAL, Threshold, UnsureBand

Array = npt.NDArray[Any]


class BandChoice(NamedTuple):
    """A band, or None and the `reason` why there is none."""

    band: UnsureBand | None
    reason: str


def choose_band(
    labels: Array, scores: Array, *, threshold: Threshold, name: str, wanted_accuracy: float, chosen_on: str
) -> BandChoice:
    """Return the band around `threshold` that leaves the fewest pictures unsure, of those outside which verdicts are
    right as often as wanted.

    Its ends lie midway between neighbouring distinct scores, at the threshold itself where a side needs no band, and at
    0 or 1 where no verdict of that side would do. Of equally good bands the one with the most right verdicts is taken,
    then the narrowest, then the lowest. So few verdicts that even without a mistake Wilson's interval would reach below
    the wanted accuracy show nothing (73 for 0.95): then there is no band.

    Args:
        labels: (N,) of 0 and 1.
        scores: (N,) calibrated.
        threshold: inside the band.
        name: the threshold's.
        wanted_accuracy: share of verdicts outside the band that have to be right.
        chosen_on: the data's name.

    """
    label, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    needed = num_needed(wanted_accuracy)
    if np.unique(label).size < 2:
        return BandChoice(None, f"pictures of one class, as those of {chosen_on}, show no accuracy")
    if label.size < needed:
        why = f"{label.size} pictures of {chosen_on} can't show an accuracy of {wanted_accuracy:g}: it takes {needed}"
        return BandChoice(None, why)
    values, inverse = np.unique(score, return_inverse=True)
    fakes = np.append(0, np.cumsum(np.bincount(inverse, weights=label == FAKE)))  # [k]: of the lowest k values
    reals = np.append(0, np.cumsum(np.bincount(inverse, weights=label == REAL)))
    first = int(np.searchsorted(values, threshold.value, side="left"))
    lows = np.arange(first + 1)  # cut k calls the lowest k values real
    last = values.size - (values[-1] >= 1.0 and first < values.size)  # no end in [0, 1] lies above a score of 1
    highs = np.arange(first, last + 1)  # cut k calls the values from k on fake
    real_right, real_all = reals[lows], (reals + fakes)[lows]
    fake_right, fake_all = fakes[-1] - fakes[highs], label.size - (reals + fakes)[highs]
    surplus_real, surplus_fake = real_right - wanted_accuracy * real_all, fake_right - wanted_accuracy * fake_all
    # For each low end the most fake verdicts, which come first, that keep the sum of both surpluses at 0 or above.
    found = np.searchsorted(np.maximum.accumulate(surplus_fake), -surplus_real - 1e-9, side="left")
    kept = np.flatnonzero(found < highs.size)
    totals = real_all[kept] + fake_all[found[kept]]
    if totals.size == 0 or totals.max() < needed:
        why = f"no {needed} verdicts or more on {chosen_on} are right as often as {wanted_accuracy:g}"
        return BandChoice(None, why)
    best = kept[totals == totals.max()]
    right = real_right[best] + fake_right[found[best]]
    ends = [_ends(values, int(low), int(highs[found[low]]), first=first, threshold=threshold.value)
            for low in best[right == right.max()]]  # fmt: skip
    low, high = min(ends, key=lambda band: (band[1] - band[0], band[0]))
    band = UnsureBand(
        low=low,
        high=high,
        threshold=name,
        wanted_accuracy=wanted_accuracy,
        coverage=float(totals.max() / label.size),
        accuracy=float(right.max() / totals.max()),
        num_pictures=int(label.size),
        chosen_on=chosen_on,
    )
    return BandChoice(band, "")


def num_needed(accuracy: float) -> int:
    """Return how many verdicts, all of them right, put the lower end of Wilson's interval at `accuracy` or above."""
    z = float(norm.ppf(0.5 + LEVEL / 2))
    return math.ceil(accuracy * z * z / (1 - accuracy) - 1e-9)


def _ends(values: Array, low: int, high: int, *, first: int, threshold: float) -> tuple[float, float]:
    """Return the scores at which two cuts lie; a side that needs no band ends at the threshold."""
    below = between(values, low) if low > 0 else 0.0
    above = between(values, high) if high < values.size else 1.0
    return (threshold if low == first else below), (threshold if high == first else above)


@dataclass(frozen=True, slots=True)
class BandFigures:
    """How a band fares on the judged pictures.

    `coverage`: share with a verdict other than unsure. `accuracy`: share of those that is right, `real_right` and
    `fake_right` of each of the two verdicts. `accuracy_inside`: of the unsure ones, had the threshold decided.
    `counts`: verdict to class to number of pictures.
    """

    band: UnsureBand
    coverage: Figure
    accuracy: Figure
    real_right: Figure
    fake_right: Figure
    accuracy_inside: Figure
    counts: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict; undefined figures are null."""
        names = ("coverage", "accuracy", "real_right", "fake_right", "accuracy_inside")
        return {
            "band": self.band.model_dump(mode="json"),
            **{name: figure_dict(getattr(self, name)) for name in names},
            "counts": self.counts,
        }

    def sentences(self) -> list[str]:
        """Return what a reader should know, for a report or a terminal."""
        band = self.band
        if band.low == band.high:
            return [
                f"No picture is called unsure by its score: on {band.chosen_on} {100 * band.accuracy:.1f} % of the "
                f"verdicts were right as they are, and {100 * band.wanted_accuracy:g} % were wanted."
            ]
        unsure = complement(self.coverage)
        return [
            f"Scores from {band.low:.3g} to {band.high:.3g} are called unsure: {share_text(unsure)} of these pictures. "
            f"Of the other verdicts {share_text(self.accuracy)} are right: {share_text(self.real_right)} of 'real', "
            f"{share_text(self.fake_right)} of 'fake'. Of the unsure ones the threshold would get "
            f"{share_text(self.accuracy_inside)} right.",
            f"The band was chosen on {band.chosen_on} ({band.num_pictures:,} pictures), for "
            f"{100 * band.wanted_accuracy:g} % of the other verdicts to be right: there "
            f"{100 - 100 * band.coverage:.1f} % were unsure and {100 * band.accuracy:.1f} % of the others right. On "
            "other pictures that is no promise.",
        ]


def measure_band(
    labels: Array,
    scores: Array,
    *,
    band: UnsureBand,
    threshold: Threshold,
    groups: Codes | None = None,
    draws: int = DRAWS,
    seed: int = 42,
) -> BandFigures:
    """Return the figures of `band`, around `threshold`, on judged rows, with the intervals of shares.share_figures."""
    label, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    inside = (score >= band.low) & (score < band.high)
    right = (score >= threshold.value) == (label == FAKE)
    verdicts = by_verdict(score, threshold=threshold, unsure=inside)
    shares = {
        "coverage": (~inside, np.ones_like(inside)),
        "accuracy": (right, ~inside),
        "real_right": (right, verdicts["real"]),
        "fake_right": (right, verdicts["fake"]),
        "accuracy_inside": (right, inside),
    }
    found = share_figures(label, shares, groups=groups, draws=draws, seed=seed)
    return BandFigures(
        band=band,
        coverage=found["coverage"],
        accuracy=found["accuracy"],
        real_right=found["real_right"],
        fake_right=found["fake_right"],
        accuracy_inside=found["accuracy_inside"],
        counts=count_verdicts(label, verdicts),
    )


def by_verdict(scores: Array, *, threshold: Threshold, unsure: Mask) -> dict[str, Mask]:
    """Return verdict to the rows that get it: unsure where it says so, else real or fake by the threshold."""
    called = np.asarray(scores) >= threshold.value
    return {"real": ~unsure & ~called, "fake": ~unsure & called, "unsure": unsure}


def count_verdicts(labels: Array, verdicts: Mapping[str, Mask]) -> dict[str, dict[str, int]]:
    """Return verdict to class to number of pictures."""
    return {
        verdict: {name: int(np.sum(rows & (labels == index))) for index, name in enumerate(CLASS_NAMES)}
        for verdict, rows in verdicts.items()
    }


def complement(figure: Figure) -> Figure:
    """Return the share of the others."""
    if figure.value is None:
        return figure
    span = figure.interval
    return Figure(1 - figure.value, None if span is None else span._replace(low=1 - span.high, high=1 - span.low))


def share_text(figure: Figure) -> str:
    """Return `93.1 % (90.2 to 95.4 %)`; `undefined` for a share of nothing."""
    if figure.value is None:
        return "undefined"
    if figure.interval is None:  # of a single group
        return f"{100 * figure.value:.1f} %"
    return f"{100 * figure.value:.1f} % ({100 * figure.interval.low:.1f} to {100 * figure.interval.high:.1f} %)"
