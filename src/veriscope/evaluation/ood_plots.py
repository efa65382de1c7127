"""The picture of how strange the judged pictures are."""

import numpy as np
from matplotlib.figure import Figure as Picture

from veriscope.evaluation.plots import CLASS_COLOURS, INK, MUTED, blank, styled
from veriscope.evaluation.predictions import Floats, Labels, PredictionTable
from veriscope.types import CLASS_NAMES

NUM_BINS = 20


def ood_pictures(table: PredictionTable, *, strange_from: float | None) -> dict[str, Picture]:
    """Return 'ood' and its picture; nothing where the model can't tell, or the table doesn't say."""
    ood = table.ood.astype(np.float64)
    if strange_from is None or not np.isfinite(ood).any():
        return {}
    return {"ood": _ood_picture(ood, table.labels, strange_from=strange_from)}


@styled
def _ood_picture(ood: Floats, labels: Labels, *, strange_from: float) -> Picture:
    """Return how `ood` lies for each class against validation's, which is even."""
    picture, axes = blank("How strange the pictures are")
    edges = np.linspace(0, 1, NUM_BINS + 1)
    for label, name in enumerate(CLASS_NAMES):
        own = ood[np.isfinite(ood) & (labels == label)]
        if own.size:
            share = np.histogram(own, bins=edges)[0] / own.size
            axes.stairs(share, edges, color=CLASS_COLOURS[label], linewidth=1.8, label=f"{name} ({own.size:,})")
    axes.axhline(1 / NUM_BINS, color=MUTED, linewidth=1, linestyle="--", label="validation")
    if strange_from < 1:
        axes.axvline(strange_from, color=INK, linewidth=1, linestyle=":", label=f"unsure from {strange_from:g}")
    axes.set(xlim=(0, 1.01), xlabel="share of validation pictures that are less strange", ylabel="share of the class")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    return picture
