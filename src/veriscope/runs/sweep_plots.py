"""Pictures of a sweep: what mattered, how the trials lie, and the front between two objectives."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Picture

from veriscope.config.sweep import Direction, ParamConfig
from veriscope.evaluation.plots import FAKE_COLOUR, INK, MUTED, REAL_COLOUR, THIRD_COLOUR, blank, styled
from veriscope.runs.study import TrialRecord
from veriscope.runs.trials import number_text, short_names

_PATCH = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
_COLOURS = (REAL_COLOUR, FAKE_COLOUR, THIRD_COLOUR)


@styled
def importance_picture(shares: Mapping[str, Mapping[str, float]], *, num_trials: int) -> Picture:
    """Return a bar for each key: its share in the variance of each objective (objective to key to share)."""
    keys = sorted({key for by_key in shares.values() for key in by_key},
                  key=lambda key: max(by_key.get(key, 0) for by_key in shares.values()))  # fmt: skip
    picture, axes = blank(f"What moved the figure, over {num_trials} trials")
    picture.set_size_inches(4.6, 1.3 + 0.32 * len(keys) * max(1, 0.7 * len(shares)))
    picture.supxlabel("")
    names = short_names(keys)
    height = 0.8 / len(shares)
    for index, (objective, by_key) in enumerate(shares.items()):
        at = np.arange(len(keys)) + (len(shares) - 1 - 2 * index) * height / 2
        bars = axes.barh(at, [by_key.get(key, 0.0) for key in keys], height=height * 0.9, color=_COLOURS[index],
                         label=objective)  # fmt: skip
        axes.bar_label(bars, fmt="{:.0%}", padding=3, fontsize=8, color=MUTED)
    axes.set_yticks(range(len(keys)), [names[key] for key in keys])
    axes.set_xlim(0, 1.1 * max(0.01, *(share for by_key in shares.values() for share in by_key.values())))
    axes.xaxis.set_visible(False)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    if len(shares) > 1:
        axes.legend(loc="lower right")
    else:
        picture.supxlabel(f"share in the variance of {next(iter(shares))}", fontsize=8, color=MUTED)
    return picture


@dataclass(frozen=True, slots=True)
class _Axis:
    """One upright axis: where each trial stands on it, from 0 to 1, and the marks beside it."""

    name: str
    heights: Sequence[float]
    marks: Sequence[tuple[float, str]]


@styled
def parallel_picture(
    records: Sequence[TrialRecord],
    *,
    space: Mapping[str, ParamConfig],
    objectives: Sequence[str],
    directions: Sequence[Direction],
    best: Sequence[int],
) -> Picture:
    """Return the complete trials as lines over one upright axis a key, the objectives last; dark is good, and the best
    are drawn thick.
    """
    names = short_names(space)
    axes_ = [_param_axis(names[key], param, [record.params[key] for record in records]) for key, param in space.items()]
    for index, objective in enumerate(objectives):
        axes_.append(_number_axis(objective, [record.values[index] for record in records]))
    picture = Picture(figsize=(max(4.6, 1.35 * len(axes_)), 3.9), layout="constrained")
    FigureCanvasAgg(picture)
    axes: Axes = picture.subplots()
    axes.set_title(f"{len(records)} complete trials, the best thick")
    goodness = np.asarray(axes_[len(space)].heights)
    goodness = goodness if directions[0] == "maximize" else 1 - goodness
    colours = mpl.colormaps["cividis_r"]
    for place in np.argsort(goodness):
        record = records[place]
        line = [axis.heights[place] for axis in axes_]
        chosen = record.number in best
        axes.plot(range(len(axes_)), line, color=FAKE_COLOUR if chosen else colours(0.1 + 0.9 * goodness[place]),
                  linewidth=2.6 if chosen else 1.1, alpha=1.0 if chosen else 0.75, zorder=3 if chosen else 2,
                  clip_on=False)  # fmt: skip
    for position, axis in enumerate(axes_):
        axes.axvline(position, color=INK, linewidth=0.9)
        for height, text in axis.marks:
            axes.annotate(text, (position, height), xytext=(-4, 0), textcoords="offset points", fontsize=7.5, zorder=4,
                          ha="right", va="center", color=INK, bbox=_PATCH)  # fmt: skip
    axes.set_xticks(range(len(axes_)), [axis.name for axis in axes_], color=INK)
    axes.set(xlim=(-0.55, len(axes_) - 0.8), ylim=(-0.03, 1.03))
    axes.yaxis.set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(axis="x", length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return picture


def _param_axis(name: str, param: ParamConfig, values: Sequence[object]) -> _Axis:
    if param.kind != "choice":
        return _number_axis(name, [float(str(value)) for value in values], log=param.log)
    texts = list(param.texts)
    place = {text: index / max(1, len(texts) - 1) if len(texts) > 1 else 0.5 for index, text in enumerate(texts)}
    return _Axis(name, [place[str(value)] for value in values], [(height, text) for text, height in place.items()])


def _number_axis(name: str, values: Sequence[float], *, log: bool = False) -> _Axis:
    scaled = [math.log(value) if log else value for value in values]
    low, high = min(scaled), max(scaled)
    if low == high:
        return _Axis(name, [0.5] * len(values), [(0.5, number_text(values[0]))])
    marks = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        at = low + share * (high - low)
        marks.append((share, f"{math.exp(at) if log else at:.3g}"))
    return _Axis(name, [(value - low) / (high - low) for value in scaled], marks)


@styled
def front_picture(
    records: Sequence[TrialRecord],
    *,
    objectives: Sequence[str],
    directions: Sequence[Direction],
    best: Sequence[int],
) -> Picture:
    """Return the complete trials by their first two objectives, with the front of those that none beats in both."""
    picture, axes = blank(f"{len(best)} of {len(records)} trials are beaten by none in both")
    picture.supxlabel("")
    front = sorted((record.values[0], record.values[1], record.number) for record in records if record.number in best)
    others = [record for record in records if record.number not in best]
    axes.plot([record.values[0] for record in others], [record.values[1] for record in others], "o", color=MUTED,
              alpha=0.6, markersize=5, label="beaten")  # fmt: skip
    axes.plot([x for x, _, _ in front], [y for _, y, _ in front], "-o", color=FAKE_COLOUR, markersize=7, label="front")
    for x, y, number in front:
        axes.annotate(str(number), (x, y), xytext=(5, 5), textcoords="offset points", fontsize=8.5, color=INK)
    words = [f"{objective} ({'higher' if direction == 'maximize' else 'lower'} is better)"
             for objective, direction in zip(objectives, directions, strict=True)]  # fmt: skip
    axes.set(xlabel=words[0], ylabel=words[1])
    axes.margins(0.12)
    if others:
        axes.legend(loc="best")
    return picture
