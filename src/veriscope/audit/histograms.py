"""How the two classes lie in one fact of their files, as numbers to draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from veriscope.types import FAKE, REAL

NUM_BINS = 30
MAX_WORDS = 8  # of a fact that is a word, as format; the rest is one bar
_REST = "others"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of each class's pictures. `words` name the bars of a fact that is a word; else the bars go from `low` to
    `high` in equal steps, and the outermost hold what lies beyond."""

    title: str
    real: tuple[float, ...]
    fake: tuple[float, ...]
    low: float = 0.0
    high: float = 0.0
    words: tuple[str, ...] = ()

    @property
    def ends(self) -> tuple[str, ...]:
        """What stands below the first bar, the middle and the last bar."""
        precise = max(abs(self.low), abs(self.high)) < 1000
        ends = (self.low, (self.low + self.high) / 2, self.high)
        return tuple(f"{end:.3g}" if precise else f"{end:,.0f}" for end in ends)

    @property
    def top(self) -> float:
        """The largest share; 1 where there is none."""
        return max((*self.real, *self.fake), default=0.0) or 1.0


def histogram(
    title: str, values: npt.NDArray[np.float64], labels: npt.NDArray[np.int8], *, levels: Sequence[str] = ()
) -> Histogram | None:
    """Return how the classes lie in one fact; None where a class has no value.

    Args:
        title: what it is called.
        values: (N,) amounts, NaN where not known; or numbers of `levels`.
        labels: (N,) of 0 and 1.
        levels: the words that a fact which is no amount may be.

    """
    known = np.isfinite(values)
    if any(not (known & (labels == label)).any() for label in (REAL, FAKE)):
        return None
    if levels:
        return _of_words(title, np.array(levels, dtype=str)[values[known].astype(np.int64)], labels[known])
    return _of_numbers(title, values[known], labels[known])


def _of_words(title: str, values: npt.NDArray[np.str_], labels: npt.NDArray[np.int8]) -> Histogram:
    names, counts = np.unique(values, return_counts=True)
    shown = [str(name) for name in names[np.argsort(-counts, kind="stable")][:MAX_WORDS]]
    words = shown + ([_REST] if len(names) > len(shown) else [])
    shares = []
    for label in (REAL, FAKE):
        own = values[labels == label]
        found = [float(np.mean(own == word)) for word in shown]
        shares.append((*found, *([max(1 - sum(found), 0.0)] if len(words) > len(shown) else [])))
    return Histogram(title, shares[REAL], shares[FAKE], words=tuple(words))


def _of_numbers(title: str, values: npt.NDArray[np.float64], labels: npt.NDArray[np.int8]) -> Histogram:
    low, high = (float(found) for found in np.percentile(values, [0.5, 99.5]))
    if low == high:
        low, high = float(values.min()), float(values.max())
    if low == high:
        high = low + 1.0
    edges = np.linspace(low, high, NUM_BINS + 1)
    shares = []
    for label in (REAL, FAKE):
        own = np.clip(values[labels == label], low, high)
        counts, _ = np.histogram(own, edges)
        shares.append(tuple(float(share) for share in counts / len(own)))
    return Histogram(title, shares[REAL], shares[FAKE], low=low, high=high)
