"""Pictures of the robustness grid: curves of each kind of damage, and how often it changes a verdict."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import PercentFormatter

from veriscope.evaluation.figures import Figure
from veriscope.evaluation.plots import FAKE_COLOUR, MUTED, REAL_COLOUR, THIRD_COLOUR, styled
from veriscope.evaluation.robustness_figures import CellFigures, GridFigures

_COLUMNS = 2  # so that a phone shows the text at reading size
_SERIES = (
    ("auroc", "AUROC", THIRD_COLOUR, "o-"),
    ("recall", "fakes caught", FAKE_COLOUR, "s--"),
    ("specificity", "real pictures left in peace", REAL_COLOUR, "^-."),
)


def by_kind(grid: GridFigures) -> dict[str, list[CellFigures]]:
    """Return kind to its cells, in the grid's order."""
    found: dict[str, list[CellFigures]] = {}
    for cell in grid.cells:
        found.setdefault(cell.kind, []).append(cell)
    return found


@styled
def curves_picture(grid: GridFigures) -> Picture:
    """Return one small plot a kind: AUROC, recall and specificity against severity with bands of their intervals.

    The grey line is the AUROC (or, with one class, the accuracy) of the pictures as they are.
    """
    kinds = by_kind(grid)
    num_rows = -(-len(kinds) // _COLUMNS)
    picture = Picture(figsize=(5.6, 1.7 * num_rows + 0.7), layout="constrained")
    FigureCanvasAgg(picture)
    plots = picture.subplots(num_rows, _COLUMNS, sharey=True, squeeze=False).ravel()
    clean = grid.clean_auroc.value if grid.clean_auroc.value is not None else grid.clean_accuracy.value
    for axes, cells in zip(plots, kinds.values(), strict=False):
        _curves(axes, cells)
        if clean is not None:
            axes.axhline(clean, color=MUTED, linewidth=0.9)
        axes.set_title(cells[0].title, fontsize=9)
        axes.set_xticks([cell.severity for cell in cells], [cell.level for cell in cells], fontsize=7)
        axes.set(ylim=(-0.03, 1.03), xlim=(cells[0].severity - 0.3, cells[-1].severity + 0.3))
        axes.set_yticks([0, 0.5, 1])
    for axes in plots[len(kinds) :]:
        axes.set_axis_off()
    handles, names = plots[0].get_legend_handles_labels()
    picture.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8)
    measure = "AUROC" if grid.clean_auroc.value is not None else "accuracy"
    picture.supxlabel(f"level of the damage, from mild to strong; grey line: {measure} without damage", fontsize=8)
    return picture


@styled
def flips_picture(grid: GridFigures) -> Picture:
    """Return a bar a kind: the mean share of verdicts that its damage changes, in both directions."""
    kinds = by_kind(grid)
    picture = Picture(figsize=(4.6, 0.3 * len(kinds) + 1.5), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.subplots()
    places = np.arange(len(kinds))[::-1]
    to_fake, to_real = (
        np.array([np.mean([_value(getattr(cell, name)) for cell in cells]) for cells in kinds.values()])
        for name in ("to_fake", "to_real")
    )
    axes.barh(places, to_fake, color=FAKE_COLOUR, height=0.62, label="real to fake: an accusation")
    axes.barh(places, to_real, left=to_fake, color=REAL_COLOUR, alpha=0.75, height=0.62, label="fake to real")
    axes.set_yticks(places, [cells[0].title for cells in kinds.values()])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlim(0, max(0.02, 1.08 * float((to_fake + to_real).max())))
    axes.set_xlabel("share of pictures, mean over severities")
    axes.set_title("Verdicts that change", loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.16 - 0.5 / len(kinds)), ncols=2)
    return picture


def _curves(axes: Axes, cells: list[CellFigures]) -> None:
    x = [cell.severity for cell in cells]
    for name, label, colour, line in _SERIES:
        figures: list[Figure] = [getattr(cell, name) for cell in cells]
        if any(figure.value is None for figure in figures):
            continue
        axes.plot(x, [_value(f) for f in figures], line, color=colour, label=label, markersize=3, linewidth=1.4)
        bounds = [figure.interval for figure in figures if figure.interval is not None]
        if len(bounds) == len(x):
            low, high = [bound.low for bound in bounds], [bound.high for bound in bounds]
            axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)


def _value(figure: Figure) -> float:
    return float("nan") if figure.value is None else figure.value
