"""Figures per group: by generator, source, format, size and compression, the worst and the minimum beside averages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.evaluation.figures import Figure, figure, figure_dict, share_figure
from veriscope.evaluation.intervals import Codes, bootstrap_intervals
from veriscope.evaluation.metrics import auroc
from veriscope.evaluation.predictions import PredictionTable
from veriscope.types import FAKE, REAL

MIN_ROWS = 20  # a share of fewer rows has a Wilson interval wider than 0.4 around a half: it names nobody the worst
UNKNOWN = "(not known)"
NO_GENERATOR = "(not named)"
_DRAWS = 500  # data sets name dozens of groups; a row's interval need not have three digits
_SHORT_SIDES_PX = (128, 256, 512, 1024)
_BITS_A_PIXEL = (1, 2, 4)
_CONFOUNDED = 0.5  # total variation between the classes' shares of the groups: guessing by group is right 3 times of 4

Bools = npt.NDArray[np.bool_]
Names = npt.NDArray[np.object_]


class GeneratorRow(NamedTuple):
    """How one generator's fakes fare. `recall`: threshold's name to share caught; `auroc` is against all real ones."""

    generator: str
    support: int
    recall: dict[str, Figure]
    auroc: Figure
    mean_score: float

    @property
    def small(self) -> bool:
        """Whether there are too few rows to call it the worst."""
        return self.support < MIN_ROWS


class GroupRow(NamedTuple):
    """How the pictures of one group fare at the headline threshold. AUROC is within the group."""

    name: str
    num_real: int
    num_fake: int
    accuracy: Figure
    recall: Figure
    specificity: Figure
    auroc: Figure

    @property
    def small(self) -> bool:
        """Whether there are too few rows to call it the worst."""
        return self.num_real + self.num_fake < MIN_ROWS


class Spread(NamedTuple):
    """A figure over groups: the plain mean, every group counting once, and the smallest with its group's name."""

    mean: float
    minimum: float
    worst: str
    num_groups: int


@dataclass(frozen=True, slots=True)
class GroupTable:
    """One way to group. `rows` worst first, small ones last; `spread` leaves small ones out.

    `line` stands in place of a table where all rows share one value. `warning` says in plain words that the groups and
    the classes go together, else ''.
    """

    key: str
    title: str
    rows: tuple[GroupRow, ...]
    spread: Mapping[str, Spread]
    line: str = ""
    warning: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the table as a JSON-able dict."""
        return {
            "by": self.key,
            "line": self.line or None,
            "warning": self.warning or None,
            "groups": [
                {
                    "name": row.name,
                    "real": row.num_real,
                    "fake": row.num_fake,
                    "small": row.small,
                    **{key: figure_dict(getattr(row, key)) for key in ("accuracy", "recall", "specificity", "auroc")},
                }
                for row in self.rows
            ],
            "spread": {key: found._asdict() for key, found in self.spread.items()},
        }


def by_generator(
    table: PredictionTable, *, thresholds: Mapping[str, float], groups: Codes | None, draws: int, seed: int
) -> tuple[GeneratorRow, ...]:
    """Return a row a generator, the worst caught first, small ones last; nothing where no fake names its generator."""
    labels, logits, scores = table.labels, table.logits, table.scores
    names = _names(table, "generator", NO_GENERATOR)
    fake = labels == FAKE
    known = sorted(set(names[fake]))
    if known in ([], [NO_GENERATOR]):
        return ()
    rows = []
    for name in known:
        own = fake & (names == name)
        kept = own | ~fake
        spans = bootstrap_intervals(
            labels[kept], logits[kept], scores[kept], thresholds=thresholds, groups=_part(groups, kept),
            draws=min(draws, _DRAWS), seed=seed,
        )  # fmt: skip
        recall = {
            key: share_figure(scores[own] >= value, groups=_part(groups, own), drawn=spans.at[key]["recall"])
            for key, value in thresholds.items()
        }
        rows.append(
            GeneratorRow(
                generator=str(name),
                support=int(own.sum()),
                recall=recall,
                auroc=figure(auroc(labels[kept], logits[kept]), spans.free["auroc"]),
                mean_score=float(scores[own].mean()),
            )
        )
    return tuple(sorted(rows, key=lambda row: (row.small, min(_value(f) for f in row.recall.values()), row.generator)))


def generator_spread(rows: Sequence[GeneratorRow]) -> dict[str, Spread]:
    """Return mean and minimum over generators of recall, under each threshold's name, and of 'auroc'."""
    large = [row for row in rows if not row.small]
    names = rows[0].recall if rows else ()
    return _spreads(
        {
            **{name: [(row.generator, row.recall[name].value) for row in large] for name in names},
            "auroc": [(row.generator, row.auroc.value) for row in large],
        }
    )


def by_groups(
    table: PredictionTable, *, threshold: float, groups: Codes | None, draws: int, seed: int
) -> tuple[GroupTable, ...]:
    """Return the tables by source, format, size class and JPEG compression, those that the rows know of."""
    found = []
    for key, title, names in (
        ("source", "By data set of origin", _names(table, "source", UNKNOWN)),
        ("format", "By file format", _names(table, "format", UNKNOWN)),
        ("size", "By size: the shorter side of the stored picture", _size_names(table)),
        ("compression", "By JPEG compression", _compression_names(table)),
    ):
        values = sorted(set(names))
        if values in ([], [UNKNOWN]) or (key == "compression" and len([v for v in values if v[0] != "("]) < 2):
            continue
        found.append(_group_table(table, key, title, names, threshold, groups=groups, draws=draws, seed=seed))
    return tuple(found)


def _group_table(
    table: PredictionTable,
    key: str,
    title: str,
    names: Names,
    threshold: float,
    *,
    groups: Codes | None,
    draws: int,
    seed: int,
) -> GroupTable:
    values = sorted(set(names))
    if len(values) == 1:
        line = f"{len(names):,} pictures, all of one kind: {values[0]}."
        return GroupTable(key, title, (), {}, line=line)
    rows = [_row(table, name, names == name, threshold, groups=groups, draws=draws, seed=seed) for name in values]
    rows.sort(key=lambda row: (row.small, _value(row.accuracy), row.name))
    large = [row for row in rows if not row.small]
    keys = ("accuracy", "recall", "specificity", "auroc")
    spread = _spreads({key: [(row.name, getattr(row, key).value) for row in large] for key in keys})
    return GroupTable(key, title, tuple(rows), spread, warning=confounding(table.labels, names, key=key))


def _row(
    table: PredictionTable, name: str, own: Bools, threshold: float, *, groups: Codes | None, draws: int, seed: int
) -> GroupRow:
    labels, logits, scores, codes = table.labels[own], table.logits[own], table.scores[own], _part(groups, own)
    spans = bootstrap_intervals(
        labels, logits, scores, thresholds={"": threshold}, groups=codes, draws=min(draws, _DRAWS), seed=seed
    )
    fake, called = labels == FAKE, scores >= threshold

    def share(key: str, hits: Bools, among: Bools) -> Figure:
        return share_figure(hits[among], groups=_part(codes, among), drawn=spans.at[""][key])

    return GroupRow(
        name=name,
        num_real=int(np.sum(~fake)),
        num_fake=int(np.sum(fake)),
        accuracy=share("accuracy", called == fake, np.ones_like(fake)),
        recall=share("recall", called, fake),
        specificity=share("specificity", ~called, ~fake),
        auroc=figure(auroc(labels, logits), spans.free["auroc"]),
    )


def confounding(labels: npt.NDArray[Any], names: Names, *, key: str) -> str:
    """Return a plain warning where a picture's group tells its class; '' where it tells little, or rows are few.

    Guessing each group's more likely class has the balanced accuracy (1 + TV) / 2, where TV, the total variation
    distance, is half the sum over groups of |share of the fakes - share of the real pictures|.
    """
    fakes, reals = names[labels == FAKE], names[labels == REAL]
    if min(fakes.size, reals.size) < MIN_ROWS:
        return ""
    values = sorted(set(names))
    distance = sum(abs(float(np.mean(fakes == value)) - float(np.mean(reals == value))) for value in values) / 2
    if distance < _CONFOUNDED:
        return ""
    what = {"source": "data set", "format": "file format", "size": "size", "compression": "compression"}[key]
    if distance > 1 - 1e-12:
        sides = " and ".join(
            f"every {word} picture {_listed(sorted(set(own)), key)}" for word, own in (("real", reals), ("fake", fakes))
        )
        return (
            f"Here {sides}: whoever looks at the {what} alone is right every time. These figures can't tell a model "
            f"that sees fakes from one that sees the {what}."
        )
    right = f"{100 * (1 + distance) / 2:.0f}"
    return (
        f"Here the {what} alone tells real from fake {right} times of 100 (50 is guessing): where it tells nothing, "
        "the model may be much worse than these figures."
    )


def _listed(values: Sequence[str], key: str) -> str:
    shown = ", ".join(values[:3]) + (", ..." if len(values) > 3 else "")
    return f"comes from {shown}" if key == "source" else f"is {shown}"


def _spreads(figures: Mapping[str, Sequence[tuple[str, float | None]]]) -> dict[str, Spread]:
    """Return the spread of each figure that at least two groups have."""
    found = {}
    for key, pairs in figures.items():
        defined = [(value, name) for name, value in pairs if value is not None]
        if len(defined) > 1:
            minimum, worst = min(defined)
            found[key] = Spread(float(np.mean([value for value, _ in defined])), minimum, worst, len(defined))
    return found


def _value(found: Figure) -> float:
    return 0.0 if found.value is None else found.value


def _part(groups: Codes | None, rows: Bools) -> Codes | None:
    """Return the groups of `rows`; None where none of them has two of these."""
    if groups is None:
        return None
    part = groups[rows]
    return None if np.unique(part).size == part.size else part


def _names(table: PredictionTable, column: str, missing: str) -> Names:
    return np.array([name or missing for name in table.column(column)], dtype=object)


def _size_names(table: PredictionTable) -> Names:
    edges = _SHORT_SIDES_PX
    words = [f"below {edges[0]} px", *(f"{a} to {b - 1} px" for a, b in pairwise(edges))]
    words.append(f"{edges[-1]} px and more")
    sides = zip(table.column("width_px"), table.column("height_px"), strict=True)
    return np.array(
        [
            UNKNOWN if width is None or height is None else words[int(np.digitize(min(width, height), edges))]
            for width, height in sides
        ],
        dtype=object,
    )


def _compression_names(table: PredictionTable) -> Names:
    """Return classes of bits a pixel for JPEG; other formats reach other qualities with as many bits."""
    edges = _BITS_A_PIXEL
    words = [f"below {edges[0]} bit a pixel", *(f"{a} to {b} bits a pixel" for a, b in pairwise(edges))]
    words.append(f"{edges[-1]} bits a pixel and more")
    columns = [table.column(name) for name in ("format", "width_px", "height_px", "size_bytes")]
    return np.array(
        [
            UNKNOWN
            if kind is None or not (width and height and size)
            else ("(no JPEG)" if kind != "JPEG" else words[int(np.digitize(8 * size / (width * height), edges))])
            for kind, width, height, size in zip(*columns, strict=True)
        ],
        dtype=object,
    )
