"""A matrix as a heat map."""

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, to_hex
from matplotlib.figure import Figure as Picture
from matplotlib.patches import Rectangle

from veriscope.evaluation.metrics import UNDEFINED
from veriscope.evaluation.plots import INK, MUTED, drawable, styled
from veriscope.runs.matrix_table import LABELS, Matrix, MatrixCell

_CELL_IN = (1.3, 0.74)
_EMPTY = "#eceff2"
_LABEL_CHARACTERS = 19


def skill_colours() -> Colormap:
    """Return the scale from always wrong (orange) through guessing (near white) to always right (sky blue): two colours
    of Okabe and Ito 2008, which every common colour blindness tells apart, and on which dark text can be read."""
    return LinearSegmentedColormap.from_list("skill", ["#e69f00", "#f7f7f7", "#56b4e9"])


def cell_colour(skill: float | None) -> str:
    """Return the background of a cell as #rrggbb; `skill` from -1 to 1, None: no figure. INK is read on all of them."""
    return _EMPTY if skill is None else to_hex(skill_colours()((skill + 1) / 2))


@styled
def matrix_picture(matrix: Matrix) -> Picture:
    """Return the heat map: a row a bundle, a column a data set; colour says how far from guessing.

    Hatched: pictures that had a part in the training. Dotted frame: the bundle's own data. Thick frame: the worst cell
    of those that count.
    """
    num_rows, num_columns = len(matrix.rows), len(matrix.columns)
    size = max(5.6, 2.0 + _CELL_IN[0] * num_columns), 2.3 + _CELL_IN[1] * num_rows
    picture = Picture(figsize=size, layout="constrained")
    FigureCanvasAgg(picture)
    axes: Axes = picture.subplots()
    worst = matrix.worst
    for row, cells in enumerate(matrix.cells):
        for column, cell in enumerate(cells):
            _draw(axes, matrix, cell, column=column, row=row, is_worst=worst is not None and cell is worst[2])
    axes.set(xlim=(-0.5, num_columns - 0.5), ylim=(num_rows - 0.5, -0.5))
    axes.set_xticks(range(num_columns), [_wrapped(name) for name in matrix.columns], color=INK, fontsize=9)
    axes.set_yticks(range(num_rows), [_wrapped(name) for name in matrix.rows], color=INK, fontsize=9)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("judged on", color=MUTED, fontsize=9)
    axes.set_ylabel("trained on", color=MUTED, fontsize=9)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    picture.suptitle(f"{LABELS[matrix.metric]} across data sets", x=0.01, ha="left", fontsize=11, fontweight="bold")
    bar = picture.colorbar(ScalarMappable(Normalize(-1, 1), skill_colours()), ax=axes, location="bottom", aspect=26,
                           fraction=0.15 / size[1], pad=0.03, ticks=[-1, 0, 1])  # fmt: skip
    exact = matrix.metric in ("auroc", "balanced_accuracy")
    bar.ax.set_xticklabels(["0: always wrong", "0.5: guessing" if exact else "guessing", "1: always right"], fontsize=8)
    bar.outline.set_visible(False)
    picture.supxlabel(textwrap.fill(_legend(matrix), int(size[0] * 17)), fontsize=7.5, color=MUTED)
    return picture


def _draw(axes: Axes, matrix: Matrix, cell: MatrixCell, *, column: int, row: int, is_worst: bool) -> None:
    back = cell_colour(cell.skill(matrix.metric))
    corner = (column - 0.47, row - 0.46)
    axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor=back, edgecolor="none"))
    if cell.seen:
        axes.add_patch(
            Rectangle(corner, 0.94, 0.92, facecolor="none", edgecolor=MUTED, alpha=0.6, hatch="////", linewidth=0)
        )
    if cell.own:
        axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor="none", edgecolor=INK, linestyle=":", linewidth=1.4))
    if is_worst:
        axes.add_patch(Rectangle(corner, 0.94, 0.92, facecolor="none", edgecolor=INK, linewidth=2.6, zorder=3))
    value, interval = cell.figure(matrix.metric)
    patch = {"boxstyle": "round,pad=0.12", "facecolor": back, "alpha": 0.85, "linewidth": 0}
    style: Any = {
        "ha": "center",
        "va": "center",
        "color": INK if cell.evaluated else MUTED,
        "bbox": patch if cell.seen else None,
        "zorder": 4,
    }
    if cell.evaluated is None:
        axes.text(column, row, cell.status, fontsize=8.5, **style)
        return
    axes.text(column, row - 0.2, UNDEFINED if value is None else f"{value:.3f}",
              fontsize=12 if value is not None else 9, fontweight="bold", **style)  # fmt: skip
    if interval is not None:
        axes.text(column, row + 0.08, f"{interval.low:.3f}\N{EN DASH}{interval.high:.3f}", fontsize=7.5, **style)
    tag = f"{cell.tag}; worst" if is_worst else cell.tag
    axes.text(column, row + 0.31, drawable(tag), fontsize=7, **style)


def _wrapped(name: str) -> str:
    return drawable(textwrap.fill(name, _LABEL_CHARACTERS, break_long_words=True))


def _legend(matrix: Matrix) -> str:
    parts = ["Below each figure its 95 % interval, and which pictures were judged."]
    cells = [cell for _, _, cell in matrix.each()]
    if any(cell.own for cell in cells):
        parts.append("Dotted frame: the detector's own data set.")
    if any(cell.seen for cell in cells):
        parts.append("Hatched: pictures that had a part in the training, too good.")
    if matrix.worst is not None:
        parts.append("Thick frame: the worst on other data.")
    return " ".join(parts)
