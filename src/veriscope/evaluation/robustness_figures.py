"""From logits of the same pictures, clean and damaged, to figures: what each cell costs, how often verdicts flip."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.augment.grid import Cell
from veriscope.evaluation.column_draws import column_draws, percentile_interval
from veriscope.evaluation.figures import LEVEL, Figure, share_figure
from veriscope.evaluation.intervals import Codes, Method
from veriscope.evaluation.metrics import auroc
from veriscope.types import FAKE, REAL

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
DRAWS = 1000  # a grid has 51 columns; 1,000 draws move a bound by less than its second digit tells


@dataclass(frozen=True, slots=True)
class CellFigures:
    """One cell of the grid. Shares carry Wilson's interval, the others the paired bootstrap's; None = undefined.

    With groups, `accuracy`, `flips`, `to_fake` and `to_real` carry the cluster bootstrap's as well, and the shares
    among one class Wilson's over groups (`figures.share_figure`).

    `auroc_drop` and `accuracy_drop` are clean less damaged, on the same pictures. `flips` is the share of pictures
    whose verdict changes, `to_fake` and `to_real` its two directions (they add up to it); `accused` is the share of
    really real pictures that were called real and are called fake now.
    """

    kind: str
    title: str
    severity: int
    name: str
    level: str
    num_images: int
    auroc: Figure
    accuracy: Figure
    recall: Figure
    specificity: Figure
    auroc_drop: Figure
    accuracy_drop: Figure
    flips: Figure
    to_fake: Figure
    to_real: Figure
    accused: Figure


@dataclass(frozen=True, slots=True)
class GridFigures:
    """The whole grid. Means are over cells with every kind weighing the same; the clean pictures are not among them.

    `flips`, `to_fake` and `to_real` are means of the cells' flip rates; `ever_flipped` the share of pictures whose
    verdict at least one cell changes, `ever_accused` the share of real pictures called real that at least one cell
    turns into fake ones.
    `worst_by` names what the worst cell is lowest in: AUROC, or accuracy where there is one class only.
    """

    cells: tuple[CellFigures, ...]
    clean_auroc: Figure
    clean_accuracy: Figure
    mean_auroc: Figure
    mean_accuracy: Figure
    auroc_drop: Figure
    accuracy_drop: Figure
    flips: Figure
    to_fake: Figure
    to_real: Figure
    ever_flipped: Figure
    ever_accused: Figure
    worst: CellFigures
    worst_by: str
    draws: int


@dataclass(frozen=True, slots=True)
class Treated:
    """Logits and verdicts (called fake) of the same pictures under some treatment, one row a treatment."""

    logits: Floats
    called: Bools

    @classmethod
    def stack(cls, parts: Sequence["Treated"]) -> "Treated":
        """Return the rows of all parts, in order."""
        return cls(np.concatenate([p.logits for p in parts]), np.concatenate([p.called for p in parts]))


def grid_figures(
    cells: Sequence[Cell],
    *,
    labels: npt.NDArray[Any],
    clean: Treated,
    damaged: Treated,
    groups: Codes | None = None,
    draws: int,
    seed: int,
) -> GridFigures:
    """Return every figure of the grid.

    Args:
        cells: what the rows of `damaged` are.
        labels: (N,) of 0 and 1.
        clean: one row, the pictures as they are.
        damaged: one row a cell.
        groups: (N,) which group each picture belongs to; None: pictures are independent.
        draws: of the paired bootstrap.
        seed: of the draws.

    """
    label = np.asarray(labels)
    drawn = partial(_drawn, method="bootstrap" if groups is None else "cluster bootstrap")
    rows = Treated.stack((clean, damaged))
    right = rows.called == (label == FAKE)
    before = rows.called[0]
    flipped = {"flips": rows.called != before, "to_fake": rows.called & ~before, "to_real": ~rows.called & before}
    found = column_draws(
        label, rows.logits, np.concatenate([right, *flipped.values()]), groups=groups, draws=draws, seed=seed
    )
    right_draws, *parts = np.split(found.share, 4, axis=1)
    flip_draws = dict(zip(flipped, parts, strict=True))
    areas = [auroc(label, row) for row in rows.logits]
    rights: list[float] = right.mean(axis=1).tolist()
    share_draws = {"accuracy": right_draws, **flip_draws}
    per_cell = _per_cell(cells, label, rows.called, areas, found.auroc, share_draws, groups)
    weights = kind_weights(cells)
    known = None if areas[1] is None else float(np.dot(weights, np.array(areas[1:], dtype=np.float64)))
    accuracy = float(np.dot(weights, rights[1:]))
    mean_auroc, mean_accuracy = found.auroc[:, 1:] @ weights, right_draws[:, 1:] @ weights
    by = "auroc" if known is not None else "accuracy"
    return GridFigures(
        cells=tuple(per_cell),
        clean_auroc=drawn(areas[0], found.auroc[:, 0]),
        clean_accuracy=share(right[0], groups=groups, draws=right_draws[:, 0]),
        mean_auroc=drawn(known, mean_auroc),
        mean_accuracy=drawn(accuracy, mean_accuracy),
        auroc_drop=drawn(_less(areas[0], known), found.auroc[:, 0] - mean_auroc),
        accuracy_drop=drawn(rights[0] - accuracy, right_draws[:, 0] - mean_accuracy),
        **{
            name: drawn(float(weights @ changed[1:].mean(axis=1)), flip_draws[name][:, 1:] @ weights)
            for name, changed in flipped.items()
        },
        ever_flipped=share(np.asarray(flipped["flips"].any(axis=0)), groups=groups),
        ever_accused=_ever_accused(label, rows.called, groups),
        worst=min(per_cell, key=lambda cell: (getattr(cell, by).value, cell.accuracy.value)),
        worst_by=by,
        draws=draws,
    )


def _per_cell(
    cells: Sequence[Cell],
    label: npt.NDArray[Any],
    called: Bools,
    areas: list[float | None],
    area_draws: Floats,
    share_draws: dict[str, Floats],
    groups: Codes | None,
) -> list[CellFigures]:
    """Return the cells' own figures; row 0 of `called`, `areas` and of the draws' columns is the clean pictures."""
    right_draws = share_draws["accuracy"]
    drawn = partial(_drawn, method="bootstrap" if groups is None else "cluster bootstrap")
    rights: list[float] = (called == (label == FAKE)).mean(axis=1).tolist()
    return [
        CellFigures(
            kind=cell.kind,
            title=cell.title,
            severity=cell.severity,
            name=cell.name,
            level=cell.corruption.level_text,
            num_images=label.size,
            auroc=drawn(areas[index], area_draws[:, index]),
            **_shares(
                label, called[0], called[index], groups, {key: own[:, index] for key, own in share_draws.items()}
            ),
            auroc_drop=drawn(_less(areas[0], areas[index]), area_draws[:, 0] - area_draws[:, index]),
            accuracy_drop=drawn(rights[0] - rights[index], right_draws[:, 0] - right_draws[:, index]),
        )
        for index, cell in enumerate(cells, start=1)
    ]


def _ever_accused(label: npt.NDArray[Any], called: Bools, groups: Codes | None) -> Figure:
    spared = (label == REAL) & ~called[0]
    ever: Bools = np.asarray(called[1:].any(axis=0))
    return share(ever[spared], groups=None if groups is None else groups[spared])


def kind_weights(cells: Sequence[Cell]) -> Floats:
    """Return each cell's weight in a mean: every kind weighs the same, the severities of a kind share its weight."""
    counts = Counter(cell.kind for cell in cells)
    return np.array([1 / (len(counts) * counts[cell.kind]) for cell in cells])


@dataclass(frozen=True, slots=True)
class GapFigures:
    """Raw less aligned, on the same pictures, with paired intervals."""

    raw_auroc: Figure
    aligned_auroc: Figure
    auroc_gap: Figure
    raw_accuracy: Figure
    aligned_accuracy: Figure
    accuracy_gap: Figure


def gap_figures(
    labels: npt.NDArray[Any], *, raw: Treated, aligned: Treated, groups: Codes | None = None, draws: int, seed: int
) -> GapFigures:
    """Return the figures of the pictures as they are beside those of the same pictures aligned (one row each)."""
    label = np.asarray(labels)
    drawn = partial(_drawn, method="bootstrap" if groups is None else "cluster bootstrap")
    rows = Treated.stack((raw, aligned))
    right = rows.called == (label == FAKE)
    found = column_draws(label, rows.logits, right, groups=groups, draws=draws, seed=seed)
    before, after = (auroc(label, row) for row in rows.logits)
    return GapFigures(
        raw_auroc=drawn(before, found.auroc[:, 0]),
        aligned_auroc=drawn(after, found.auroc[:, 1]),
        auroc_gap=drawn(_less(before, after), found.auroc[:, 0] - found.auroc[:, 1]),
        raw_accuracy=share(right[0], groups=groups, draws=found.share[:, 0]),
        aligned_accuracy=share(right[1], groups=groups, draws=found.share[:, 1]),
        accuracy_gap=drawn(float(right[0].mean() - right[1].mean()), found.share[:, 0] - found.share[:, 1]),
    )


def share(hits: Bools, *, groups: Codes | None, draws: Floats | None = None) -> Figure:
    """Return the share of hits with Wilson's interval; undefined for none.

    With groups the cluster bootstrap's, from `draws`, the share in each draw of groups; without them Wilson's over the
    groups.
    """
    if groups is None or draws is None or hits.size == 0:
        return share_figure(hits, groups=groups, drawn=None)
    drawn = percentile_interval(draws, float(hits.mean()), level=LEVEL, method="cluster bootstrap")
    return share_figure(hits, groups=groups, drawn=drawn)


def _shares(
    label: npt.NDArray[Any], before: Bools, after: Bools, groups: Codes | None, draws: dict[str, Floats]
) -> dict[str, Figure]:
    fake = label == FAKE
    whole = {
        "accuracy": after == fake,
        "flips": before != after,
        "to_fake": ~before & after,
        "to_real": before & ~after,
    }

    def among(rows: Bools, hits: Bools) -> Figure:
        return share(hits[rows], groups=None if groups is None else groups[rows])

    return {
        **{key: share(hits, groups=groups, draws=draws[key]) for key, hits in whole.items()},
        "recall": among(fake, after),
        "specificity": among(~fake, ~after),
        "accused": among(~fake, ~before & after),
    }


def _less(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else before - after


def _drawn(value: float | None, values: Floats, method: Method) -> Figure:
    return Figure(value, percentile_interval(values, value, level=LEVEL, method=method))
