"""Pictures over the folds of a cross-validation."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import MaxNLocator

from veriscope.evaluation.metrics import auroc, roc_curve
from veriscope.evaluation.plots import FAKE_COLOUR, MUTED, REAL_COLOUR, THIRD_COLOUR, blank, styled
from veriscope.evaluation.predictions import PredictionTable

Floats = npt.NDArray[np.float64]

_GRID = np.linspace(0, 1, 201)


@styled
def fold_roc_picture(tables: Sequence[PredictionTable]) -> Picture:
    """Return the ROC curve of every fold, their mean at each rate of false alarms, and the band of one standard
    deviation (n - 1) around it."""
    picture, axes = blank("")
    curves, areas = [], []
    for table in tables:
        curve = roc_curve(table.labels, table.logits)
        axes.plot(curve.x, curve.y, color=FAKE_COLOUR, linewidth=0.8, alpha=0.45)
        curves.append(_at(np.asarray(curve.x), np.asarray(curve.y)))
        areas.append(auroc(table.labels, table.logits))
    mean, sd = np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1)
    axes.fill_between(_GRID, np.clip(mean - sd, 0, 1), np.clip(mean + sd, 0, 1), color=REAL_COLOUR, alpha=0.2,
                      linewidth=0, label="± 1 standard deviation")  # fmt: skip
    axes.plot(_GRID, mean, color=REAL_COLOUR, label="mean of the folds")
    axes.plot([], [], color=FAKE_COLOUR, linewidth=0.8, alpha=0.45, label=f"each of {len(tables)} folds")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--")
    known = [area for area in areas if area is not None]
    axes.set_title(f"ROC by fold (AUROC {np.mean(known):.3f} ± {np.std(known, ddof=1):.3f})")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="false alarms: share of real called fake")
    axes.set_ylabel("share of fakes caught")
    axes.legend(loc="lower right")
    return picture


@styled
def fold_history_picture(histories: Sequence[Sequence[Mapping[str, str]]], *, kept: Sequence[int]) -> Picture:
    """Return val AUROC over the epochs of every fold, out of the rows of their history.csv; a ring marks the epoch that
    was kept, by its index."""
    picture, axes = blank("AUROC on each fold's val")
    for number, (rows, best) in enumerate(zip(histories, kept, strict=True)):
        epochs = [int(row["epoch"]) + 1 for row in rows]
        values = [float(row["val/auroc"]) for row in rows]
        colour = (FAKE_COLOUR, REAL_COLOUR, THIRD_COLOUR, MUTED)[number % 4]
        style = ("-", "--", ":", "-.")[number // 4 % 4]
        axes.plot(epochs, values, style, color=colour, marker="o", markersize=2.5, label=f"fold {number}")
        axes.plot(epochs[best], values[best], "o", markersize=8, markerfacecolor="none", color=colour)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right", ncols=2)
    return picture


def _at(x: Floats, y: Floats) -> Floats:
    """Return the curve's height at each rate of `_GRID`; where it rises straight up, the upper end."""
    heights: Floats = np.interp(_GRID, x, y)
    heights[0] = y[np.flatnonzero(x == 0)[-1]]
    return heights
