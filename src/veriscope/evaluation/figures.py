"""A figure: a value with its interval; shares get Wilson's, or that of the cluster bootstrap where rows have groups."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.evaluation.intervals import Codes, Interval, wilson

LEVEL = 0.95


class Figure(NamedTuple):
    """A metric's value and interval; None = undefined."""

    value: float | None
    interval: Interval | None


def figure(value: float | None, interval: Interval | None) -> Figure:
    """Return the figure, its interval widened where need be to hold the value.

    Resampling makes ties, which raise AP and lower TPR at a fixed FPR, so that with few rows the percentiles can miss
    the figure itself. Widening to hold it keeps the interval honest and is never narrower.
    """
    if value is None or interval is None:
        return Figure(value, None)
    return Figure(value, interval._replace(low=min(interval.low, value), high=max(interval.high, value)))


def share_figure(hits: npt.NDArray[np.bool_], *, groups: Codes | None, drawn: Interval | None) -> Figure:
    """Return the share of hits with Wilson's interval; with groups, that of `interval_over_groups`."""
    if hits.size == 0:
        return Figure(None, None)
    share = float(hits.mean())
    if groups is None:
        return Figure(share, wilson(int(hits.sum()), hits.size, level=LEVEL))
    return figure(share, interval_over_groups(hits, groups=groups, drawn=drawn, level=LEVEL))


def interval_over_groups(
    hits: npt.NDArray[np.bool_], *, groups: Codes, drawn: Interval | None, level: float
) -> Interval | None:
    """Return `drawn`, the cluster bootstrap's interval of the share of hits.

    Where there is none, or none with a spread (all right, or all wrong), Wilson's over the groups, each all right or
    all wrong: the most that rows of one group can depend on each other. Groups of unequal size are then worth
    n^2 / sum n_k^2 equal ones, the number under which the share has the same variance (Kish 1965). None of no rows,
    and of a single group of several.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    if hits.size == 0 or sizes.size == 1 < hits.size:
        return None
    if drawn is not None and drawn.low < drawn.high:
        return drawn
    trials = hits.size**2 / float(np.sum(sizes**2))
    return wilson(float(hits.mean()) * trials, trials, level=level, method="wilson over groups")


def figure_dict(found: Figure) -> dict[str, Any]:
    """Return the figure as a JSON-able dict."""
    if found.interval is None:
        return {"value": found.value, "low": None, "high": None, "method": None}
    interval = found.interval
    return {"value": found.value, "low": interval.low, "high": interval.high, "method": interval.method}
