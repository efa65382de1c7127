"""A matrix of train sets and test sets: its cells, what counts in it, and what it says in words."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from veriscope.errors import printable
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.metrics import METRICS
from veriscope.runs.evaluations import Evaluated, read_evaluation

MatrixMetric = Literal["auroc", "ap", "accuracy", "balanced_accuracy"]
SHOWN: tuple[MatrixMetric, ...] = ("auroc", "ap", "accuracy", "balanced_accuracy")
LABELS = {metric.key: metric.label for metric in METRICS}

Status = Literal["scored", "failed", "left out", "missing"]


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """One bundle on one data set. `own`: the bundle was trained on that data set, so that the figure tells nothing of
    other data; `reason` says why there is no figure."""

    status: Status
    own: bool
    evaluated: Evaluated | None = None
    reason: str = ""

    @property
    def seen(self) -> bool:
        """Whether pictures that are judged had a part in the training."""
        return self.evaluated is not None and self.evaluated.exposure != "unseen"

    @property
    def corrupted(self) -> bool:
        """Whether its pictures were damaged first: what is then measured is the damage, too."""
        return self.evaluated is not None and self.evaluated.corruption is not None

    @property
    def counts(self) -> bool:
        """Whether it tells how the detector does on data of another origin than its own."""
        return self.status == "scored" and not self.own and not self.seen

    @property
    def tag(self) -> str:
        """Which pictures they are, in a few characters: `own test, 500`, `all, 1,500`, `val, selected`."""
        if self.evaluated is None:
            return ""
        part = self.evaluated.part
        if self.seen:
            return f"{part}, {'selected' if self.evaluated.exposure == 'selected' else 'TRAINED ON'}"
        return f"{'own ' if self.own else ''}{part}, {self.evaluated.num_real + self.evaluated.num_fake:,}"

    def figure(self, metric: MatrixMetric) -> Figure:
        """Return its figure; undefined where there is none."""
        return Figure(None, None) if self.evaluated is None else self.evaluated.figure(metric)

    def guessing(self, metric: MatrixMetric) -> float:
        """Return what guessing gets: 0.5; as accuracy the share of the larger class, as average precision that of the
        fakes."""
        if self.evaluated is None or metric in ("auroc", "balanced_accuracy"):
            return 0.5
        real, fake = self.evaluated.num_real, self.evaluated.num_fake
        if real + fake == 0:
            return 0.5
        return (fake if metric == "ap" else max(real, fake)) / (real + fake)

    def skill(self, metric: MatrixMetric) -> float | None:
        """Return the figure on a scale from -1 (always wrong) through 0 (guessing) to 1 (always right)."""
        value, guess = self.figure(metric).value, self.guessing(metric)
        if value is None:
            return None
        room = 1 - guess if value >= guess else guess
        return (value - guess) / room if room else 0.0

    def no_better(self, metric: MatrixMetric) -> bool:
        """Whether the interval doesn't rule out that guessing does as well."""
        found = self.figure(metric)
        return found.interval is not None and found.interval.low <= self.guessing(metric)

    def worse(self, metric: MatrixMetric) -> bool:
        """Whether the interval lies below guessing."""
        found = self.figure(metric)
        return found.interval is not None and found.interval.high < self.guessing(metric)


@dataclass(frozen=True, slots=True)
class Matrix:
    """`cells[r][c]` is the bundle `rows[r]`, called after its training data, on the data `columns[c]`."""

    metric: MatrixMetric
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[MatrixCell, ...], ...]

    def each(self) -> Iterator[tuple[str, str, MatrixCell]]:
        """Yield (row, column, cell), row by row."""
        for row, cells in zip(self.rows, self.cells, strict=True):
            for column, cell in zip(self.columns, cells, strict=True):
                yield row, column, cell

    @property
    def worst(self) -> tuple[str, str, MatrixCell] | None:
        """The lowest figure among the cells that count."""
        known = [(row, column, cell) for row, column, cell in self.each() if cell.counts and self._value(cell) >= 0]
        return min(known, key=lambda one: self._value(one[2]), default=None)

    def own_value(self, row: str) -> float | None:
        """Return the row's figure on what was left out of its own training data."""
        cells = self.cells[self.rows.index(row)]
        known = [self._value(cell) for cell in cells if cell.own and not cell.seen and not cell.corrupted]
        return max((value for value in known if value >= 0), default=None)

    def values(self, *, own: bool) -> list[float]:
        """Return the figures of unseen, undamaged pictures, of the bundles' own data sets or of others."""
        return [self._value(cell) for cell in self.meant(own=own)]

    def meant(self, *, own: bool) -> list[MatrixCell]:
        """Return the cells that enter the mean over the bundles' own data sets, or over others."""
        cells = [cell for _, _, cell in self.each() if not cell.seen and not cell.corrupted and cell.own == own]
        return [cell for cell in cells if self._value(cell) >= 0]

    def _value(self, cell: MatrixCell) -> float:
        value = cell.figure(self.metric).value
        return -1.0 if value is None else value


def labelled(names: Sequence[str], *more: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each with as much of `more` as tells it from the others, and at last with a number."""
    found = [printable(name) for name in names]  # bundles and reports of other people name them
    for further in more:
        twice = {name for name in found if found.count(name) > 1}
        found = [f"{name}, {extra}" if name in twice else name for name, extra in zip(found, further, strict=True)]
    for name in {name for name in found if found.count(name) > 1}:
        for number, index in enumerate([i for i, other in enumerate(found) if other == name]):
            found[index] = f"{name} ({number + 1})"
    return tuple(found)


def read_cell(folder: Path) -> Evaluated:
    """Return the evaluation in `folder`, which has every figure that a matrix shows.

    Raises:
        RunError: its report.json is missing, damaged, none of an evaluation, or lacks one.

    """
    found = read_evaluation(folder)
    for metric in SHOWN:
        found.figure(metric)
    return found


def summary(matrix: Matrix) -> dict[str, Any]:
    """Return the figures that sum the matrix up; None where no cell counts."""
    own, elsewhere, worst = matrix.values(own=True), matrix.values(own=False), matrix.worst
    cells = [cell for _, _, cell in matrix.each()]
    return {
        "own_mean": statistics.fmean(own) if own else None,
        "num_own": len(own),
        "elsewhere_mean": statistics.fmean(elsewhere) if elsewhere else None,
        "num_elsewhere": len(elsewhere),
        "num_like_guessing": sum(cell.no_better(matrix.metric) for cell in matrix.meant(own=False)),
        "num_corrupted": sum(cell.corrupted and not cell.seen for cell in cells),
        "num_seen": sum(cell.seen for cell in cells),
        "worst": None
        if worst is None
        else {"row": worst[0], "column": worst[1], **worst[2].figure(matrix.metric)._asdict()},
    }


def sentences(matrix: Matrix) -> list[str]:
    """Return the matrix in plain words, the main thing first."""
    facts, name = summary(matrix), LABELS[matrix.metric]
    found = []
    if facts["num_elsewhere"]:
        guess = facts["num_like_guessing"]
        verb = "is" if guess == 1 else "are"
        toss = f"; {guess} of them {verb} no better than guessing" if guess else ""
        count = facts["num_elsewhere"]
        found.append(f"On data sets that they were not trained on: mean {name} {facts['elsewhere_mean']:.3f} over "
                     f"{count} {'cell' if count == 1 else 'cells'}{toss}.")  # fmt: skip
    elif facts["num_corrupted"] and facts["worst"] is not None:
        found.append("Every cell of other data than the detector's own is of corrupted pictures, so no mean is made.")
    else:
        found.append("No cell tells how a detector does on data of another origin than its own.")
    found += _worst_sentence(matrix)
    if facts["num_own"]:
        count = facts["num_own"]
        found.append(f"On what was left out of their own training data: mean {name} {facts['own_mean']:.3f} over "
                     f"{count} {'cell' if count == 1 else 'cells'}.")  # fmt: skip
    if facts["num_corrupted"]:
        number = facts["num_corrupted"]
        found.append(f"{number} {'cell is' if number == 1 else 'cells are'} of corrupted pictures and in no mean.")
    found += _guesses(matrix)
    if facts["num_seen"]:
        found.append(f"Hatched cells ({facts['num_seen']}) hold pictures that had a part in the training: too good, "
                     "and in no mean.")  # fmt: skip
    return found + _gaps(matrix)


def _guesses(matrix: Matrix) -> list[str]:
    """Say where a mean is over columns that guessing does differently well on."""
    if matrix.metric not in ("ap", "accuracy"):
        return []
    guesses = [cell.guessing(matrix.metric) for own in (True, False) for cell in matrix.meant(own=own)]
    if not guesses or max(guesses) - min(guesses) < 0.005:
        return []
    name = "average precision" if matrix.metric == "ap" else "accuracy"
    return [f"Guessing differs between the columns ({min(guesses):.3f} to {max(guesses):.3f} as {name}), so a mean "
            "over them tells little; AUROC and balanced accuracy don't have this."]  # fmt: skip


def _worst_sentence(matrix: Matrix) -> list[str]:
    worst = matrix.worst
    if worst is None:
        return []
    row, column, cell = worst
    value, interval = cell.figure(matrix.metric)
    assert value is not None  # `worst` is among the cells with a figure
    own = matrix.own_value(row)
    fall = f"falls from {own:.3f} on its own data to" if own is not None and own > value else "gets"
    span = "" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})"
    toss = ", no better than guessing" if cell.no_better(matrix.metric) else ""
    toss = ", worse than guessing" if cell.worse(matrix.metric) else toss
    return [f"Worst: trained on {row} it {fall} {value:.3f}{span} on {column}{toss}."]


def _gaps(matrix: Matrix) -> list[str]:
    """Return what is missing, and what keeps cells from being compared."""
    cells = list(matrix.each())
    texts: dict[Status, str] = {
        "failed": "failed",
        "left out": "empty, for no picture was left to judge on",
        "missing": "not scored yet",
    }
    found = [
        f"{number} {'cell' if number == 1 else 'cells'} {text}."
        for status, text in texts.items()
        if (number := sum(cell.status == status for _, _, cell in cells))
    ]
    mixed = []
    for column in matrix.columns:
        parts = {cell.evaluated.part for _, name, cell in cells if name == column and cell.evaluated is not None}
        mixed += [column] * (len(parts) > 1)
    if mixed:
        found.append("A bundle is judged on what was left out of its own data, the others on all that the data offers: "
                     f"the cells of {', '.join(mixed)} are not all of the same pictures.")  # fmt: skip
    return found
