"""The pictures of a comparison: figures with intervals, differences with intervals, and who gets what wrong."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture
from matplotlib.transforms import ScaledTranslation

from veriscope.evaluation.compare import Agreement, Comparison, Pair
from veriscope.evaluation.plots import FAKE_COLOUR, GRID, INK, MUTED, REAL_COLOUR, THIRD_COLOUR, drawable, styled

_ALL_PAIRS_UPTO = 4  # detectors; of more, each is shown against the best alone
_NAME_LETTERS = 26
_ROW_IN = 0.42
_MIN_LABELLED = 0.05  # of the longest bar: a narrower part has no room for its number


@styled
def comparison_picture(comparison: Comparison) -> Picture:
    """Return the three panels side by side in one picture."""
    picture = Picture(figsize=(15, max(_height(rows) for rows in _num_rows(comparison))), layout="constrained")
    FigureCanvasAgg(picture)
    for draw, axes in zip((_draw_figures, _draw_differences, _draw_agreement), picture.subplots(1, 3), strict=True):
        draw(axes, comparison)
    return picture


@styled
def panel_pictures(comparison: Comparison) -> dict[str, Picture]:
    """Return name to picture: figures, differences, agreement, each on its own."""
    found = {}
    draws = {"figures": _draw_figures, "differences": _draw_differences, "agreement": _draw_agreement}
    for (name, draw), rows in zip(draws.items(), _num_rows(comparison), strict=True):
        found[name] = Picture(figsize=(6.2, _height(rows)), layout="constrained")
        FigureCanvasAgg(found[name])
        draw(found[name].subplots(), comparison)
    return found


def shown_pairs(comparison: Comparison) -> list[Pair]:
    """Return the pairs of the ranking metric that have room: all of few detectors, else each against the best."""
    pairs = comparison.pairs_of(comparison.metric.key)
    best = comparison.standings[0].entry.name
    return [pair for pair in pairs if len(comparison.standings) <= _ALL_PAIRS_UPTO or pair.first == best]


def shown_agreements(comparison: Comparison) -> list[Agreement]:
    """Return the agreements of the same pairs."""
    best = comparison.standings[0].entry.name
    few = len(comparison.standings) <= _ALL_PAIRS_UPTO
    return [one for one in comparison.agreements if few or one.first == best]


def _num_rows(comparison: Comparison) -> tuple[int, int, int]:
    pairs = len(shown_pairs(comparison))
    return len(comparison.standings), pairs, pairs


def _height(rows: int) -> float:
    return 1.6 + _ROW_IN * rows


def _draw_figures(axes: Axes, comparison: Comparison) -> None:
    """Draw the ranking metric of every detector: filled for the best, half filled for its equals, else hollow."""
    key = comparison.metric.key
    for row, standing in enumerate(comparison.standings):
        value, interval = standing.figures[key]
        if value is None:
            continue
        colour = THIRD_COLOUR if standing.mark else MUTED
        if interval is not None:
            axes.plot([interval.low, interval.high], [row, row], color=colour)
        filled = {"best": colour, "equal": GRID}.get(standing.mark, "#ffffff")
        axes.plot(value, row, "o", color=colour, markersize=7, markerfacecolor=filled)
    names = [f"{_short(s.entry.name)}{' =' if s.mark == 'equal' else ''}" for s in comparison.standings]
    _rows(axes, names)
    better = comparison.metric.better
    axes.set_title(f"{comparison.metric.label} ({better} is better)")
    axes.set_xlabel(f"{_percent(comparison.level)} interval; filled: best; = can't be told from it")


def _draw_differences(axes: Axes, comparison: Comparison) -> None:
    """Draw the differences of the ranking metric, first less second, with their intervals around 0."""
    pairs = shown_pairs(comparison)
    axes.axvline(0, color=INK, linewidth=1)
    for row, pair in enumerate(pairs):
        told = pair.corrected is not None and pair.corrected < 1 - comparison.level
        colour = THIRD_COLOUR if told else MUTED
        if pair.test.low is not None and pair.test.high is not None:
            axes.plot([pair.test.low, pair.test.high], [row, row], color=colour)
        axes.plot(
            pair.test.difference, row, "s", color=colour, markersize=6, markerfacecolor=colour if told else "#ffffff"
        )
    _rows(axes, [f"{_short(pair.first)}\nless {_short(pair.second)}" for pair in pairs])
    axes.set_title(f"Difference in {comparison.metric.label}")
    axes.set_xlabel(f"{_percent(comparison.level)} interval of each; filled: told apart after correction")


def _draw_agreement(axes: Axes, comparison: Comparison) -> None:
    """Draw which share of the pictures only one of a pair, and both, get wrong."""
    found = shown_agreements(comparison)
    size = len(comparison.matched.ids)
    parts = (
        ("both wrong", [one.both_wrong for one in found], FAKE_COLOUR),
        ("only the first wrong", [one.only_second for one in found], GRID),
        ("only the second wrong", [one.only_first for one in found], REAL_COLOUR),
    )
    start = np.zeros(len(found))
    for label, counts, colour in parts:
        shares = np.array(counts) / size
        axes.barh(range(len(found)), shares, left=start, color=colour, height=0.55, label=label)
        for row, (count, left, share) in enumerate(zip(counts, start, shares, strict=True)):
            if share > _MIN_LABELLED * float(max(sum(own) for own in zip(*(p[1] for p in parts), strict=True))) / size:
                colour_on = INK if colour == GRID else "white"
                axes.text(left + share / 2, row, f"{count:,}", ha="center", va="center", fontsize=8, color=colour_on)
        start += shares
    _rows(axes, [f"{_short(one.first)}\nand {_short(one.second)}" for one in found])
    axes.set_xlim(0, max(float(start.max()) * 1.05, 0.01))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
    axes.set_title("Pictures they get wrong")
    axes.set_xlabel(f"share of {size:,} pictures, each at its own threshold")
    below = axes.transAxes + ScaledTranslation(0, -40 / 72, axes.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
    axes.legend(loc="upper center", bbox_to_anchor=(0.35, 0), bbox_transform=below, ncols=3, fontsize=8)


def _rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK, labelsize=9)


def _short(name: str) -> str:
    """Return a name that leaves room for the plot: its end, which tells folders apart, and dots for the rest."""
    shown = name if len(name) <= _NAME_LETTERS else "…" + name[1 - _NAME_LETTERS :]
    return drawable(shown)


def _percent(level: float) -> str:
    return f"{100 * level:g} %"
