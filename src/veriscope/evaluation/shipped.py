"""The verdict as `veriscope predict` gives it, measured: unsure for the score, for being strange, or for both."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from veriscope.evaluation.figures import Figure, figure_dict
from veriscope.evaluation.intervals import group_codes
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.shares import DRAWS, Share, share_figures
from veriscope.evaluation.unsure import by_verdict, count_verdicts, share_text
from veriscope.types import FAKE, Threshold, UnsureBand


@dataclass(frozen=True, slots=True)
class ShippedFigures:
    """How the three-way verdict fares on the judged pictures.

    `coverage`: share with a verdict other than unsure. `accuracy`: share of those that is right, `real_right` and
    `fake_right` of each of the two. `by_score` and `strange`: share unsure for either reason; some are so for both.
    `counts`: verdict to class to number of pictures.
    """

    coverage: Figure
    accuracy: Figure
    real_right: Figure
    fake_right: Figure
    by_score: Figure
    strange: Figure
    counts: dict[str, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict; undefined figures are null."""
        names = ("coverage", "accuracy", "real_right", "fake_right", "by_score", "strange")
        return {**{name: figure_dict(getattr(self, name)) for name in names}, "counts": self.counts}

    def sentences(self) -> list[str]:
        """Return what a reader should know, for a report or a terminal."""
        total = {name: sum(row.values()) for name, row in self.counts.items()}
        return [
            f"As `veriscope predict` answers, {total['real']:,} 'real' and {total['fake']:,} 'fake', "
            f"{total['unsure']:,} 'unsure': {share_text(self.coverage)} of these pictures get a verdict, and of those "
            f"{share_text(self.accuracy)} are right ({share_text(self.real_right)} of 'real', "
            f"{share_text(self.fake_right)} of 'fake').",
            f"Unsure by the score are {share_text(self.by_score)}, for being strange {share_text(self.strange)}; some "
            "may be both.",
        ]


def measure_shipped(
    table: PredictionTable,
    *,
    band: UnsureBand | None,
    strange_from: float | None,
    threshold: Threshold,
    draws: int = DRAWS,
    seed: int = 42,
) -> ShippedFigures:
    """Return the figures of the judged rows, with the intervals of shares.share_figures.

    Args:
        table: the predictions.
        band: around `threshold`; None: no picture is unsure by its score.
        strange_from: the `ood` from which a picture is strange, in fp32; None, or 1 and above: none is.
        threshold: scores from it on are called fake.
        draws: of groups, where rows have any.
        seed: of the draws.

    """
    labels, scores = table.labels, table.scores
    everything = np.ones(labels.size, dtype=bool)
    by_score = ~everything if band is None else (scores >= band.low) & (scores < band.high)
    strange = ~everything
    if strange_from is not None and strange_from < 1:
        strange = table.ood >= np.float32(strange_from)
    right = (scores >= threshold.value) == (labels == FAKE)
    verdicts = by_verdict(scores, threshold=threshold, unsure=by_score | strange)
    shares: dict[str, Share] = {
        "coverage": (~verdicts["unsure"], everything),
        "accuracy": (right, ~verdicts["unsure"]),
        "real_right": (right, verdicts["real"]),
        "fake_right": (right, verdicts["fake"]),
        "by_score": (by_score, everything),
        "strange": (strange, everything),
    }
    groups = group_codes(table.column("group"))
    return ShippedFigures(
        **share_figures(labels, shares, groups=groups, draws=draws, seed=seed),
        counts=count_verdicts(labels, verdicts),
    )
