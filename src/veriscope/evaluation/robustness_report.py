"""Robustness in words, tables and files: for the page, the terminal, and machines."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure as Picture

from veriscope.evaluation.figures import LEVEL, Figure, figure_dict
from veriscope.evaluation.robustness import Robustness, Shortcut
from veriscope.evaluation.robustness_figures import CellFigures, GridFigures
from veriscope.evaluation.robustness_plots import by_kind, curves_picture, flips_picture
from veriscope.evaluation.sections import Section, TextTable
from veriscope.files import whole_or_not_at_all, write_text

JSON_NAME, PARQUET_NAME = "robustness.json", "robustness.parquet"
SCHEMA_VERSION = 1
# A fact of the files that ranks the classes better than this tells them apart; below, it is what chance and content do.
TELLING = 0.6
# Below it "no shortcut shows" holds: a gap that might be larger is one that too few pictures were measured on.
SMALL_GAP = 0.05
AT_THRESHOLD = "called fake or real at the threshold, unsure left aside"
_FIGURES = (
    "auroc", "accuracy", "recall", "specificity", "auroc_drop", "accuracy_drop", "flips", "to_fake", "to_real",
    "accused",
)  # fmt: skip


def robustness_section(found: Robustness) -> Section:
    """Return the section of a report."""
    tables: list[TextTable] = []
    pictures: dict[str, tuple[Picture, str]] = {}
    if found.grid is not None:
        tables = [_kind_table(found.grid), _cell_table(found.grid)]
        pictures = {
            "robustness": (
                curves_picture(found.grid),
                "What each kind of damage does, from mild to strong, with 95 % bands; levels are those of corruption=.",
            ),
            "flips": (
                flips_picture(found.grid),
                "The same photo, delivered once more: how often the verdict changes, and in which direction.",
            ),
        }
    if found.shortcut is not None:
        tables.append(_shortcut_table(found.shortcut))
    return Section(
        "Robustness",
        "robustness",
        sentences=tuple(sentences(found)),
        tables=tuple(tables),
        pictures=pictures,
        notes=tuple(_notes(found)),
        data=robustness_dict(found),
    )


def sentences(found: Robustness) -> list[str]:
    """Return what was found in plain words, the main thing first."""
    lines: list[str] = []
    if found.grid is not None:
        lines += _grid_sentences(found.grid)
    if found.shortcut is not None:
        lines += _shortcut_sentences(found.shortcut, num_images=found.num_images)
    if _is_part(found):
        lines.append(
            f"All this is of {found.num_images:,} of the {found.num_judged:,} pictures, so that figures without damage "
            "differ from those of all."
        )
    return lines


def _is_part(found: Robustness) -> bool:
    return found.num_images + found.num_left_out < found.num_judged


def robustness_dict(found: Robustness) -> dict[str, Any]:
    """Return everything as a JSON-able dict; undefined figures are null."""
    grid, shortcut = found.grid, found.shortcut
    plain: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "sentences": sentences(found),
        "extent": found.extent,
        "pictures": {
            "used": found.num_images,
            "judged": found.num_judged,
            "left_out": found.num_left_out,
            "subset_seed": found.seed,
        },
        "threshold": {"name": found.threshold_name, **found.threshold.model_dump()},
        "interval_level": LEVEL,
        "grid": None,
        "shortcut": None,
    }
    if grid is not None:
        names = (
            "clean_auroc", "clean_accuracy", "mean_auroc", "mean_accuracy", "auroc_drop", "accuracy_drop", "flips",
            "to_fake", "to_real", "ever_flipped", "ever_accused",
        )  # fmt: skip
        plain["grid"] = {
            **{name: figure_dict(getattr(grid, name)) for name in names},
            "worst_cell": grid.worst.name,
            "worst_by": grid.worst_by,
            "bootstrap_draws": grid.draws,
            "cells": [
                {**_cell_facts(cell), **{name: figure_dict(getattr(cell, name)) for name in _FIGURES}}
                for cell in grid.cells
            ],
        }
    if shortcut is not None:
        plain["shortcut"] = {
            **{name: figure_dict(Figure(*figure)) for name, figure in asdict(shortcut.gap).items()},
            "alignment": shortcut.plan.to_dict(),
            "classes": shortcut.classes,
            "auroc_of_file_facts": shortcut.differences,
        }
    return plain


def write_robustness(folder: Path, found: Robustness) -> None:
    """Write robustness.json, and where there is a grid robustness.parquet: one row a cell."""
    write_text(folder / JSON_NAME, json.dumps(robustness_dict(found), indent=2, allow_nan=False) + "\n")
    if found.grid is None:
        return
    rows = [_flat(cell) for cell in found.grid.cells]
    with whole_or_not_at_all(folder / PARQUET_NAME) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


def _cell_facts(cell: CellFigures) -> dict[str, Any]:
    return {
        "kind": cell.kind,
        "severity": cell.severity,
        "corruption": cell.name,
        "level": cell.level,
        "num_images": cell.num_images,
    }


def _flat(cell: CellFigures) -> dict[str, Any]:
    row = _cell_facts(cell)
    for name in _FIGURES:
        value, interval = getattr(cell, name)
        row |= {
            name: None if value is None else float(value),
            f"{name}_low": None if interval is None else float(interval.low),
            f"{name}_high": None if interval is None else float(interval.high),
        }
    return row


def _grid_sentences(grid: GridFigures) -> list[str]:
    number = len(grid.cells)
    lines = []
    if grid.mean_auroc.value is None:
        lines.append(
            f"Under {number} kinds and levels of damage accuracy is {_text(grid.mean_accuracy)} on average; without "
            f"damage it is {_text(grid.clean_accuracy)}. Worst: {_worst(grid)}: {_text(grid.worst.accuracy)}."
        )
    else:
        lines.append(
            f"Under {number} kinds and levels of damage AUROC is {_text(grid.mean_auroc)} on average, without damage "
            f"{_text(grid.clean_auroc, span=False)}; accuracy {_text(grid.mean_accuracy)}, without damage "
            f"{_text(grid.clean_accuracy, span=False)}. Worst: {_worst(grid)}, AUROC {_text(grid.worst.auroc)}, "
            f"accuracy {_text(grid.worst.accuracy, span=False)}."
        )
    lines.append(
        f"Delivered once more, {_percent(grid.flips)} of pictures change sides: {_percent(grid.to_fake, span=False)} "
        f"turn from real to fake, {_percent(grid.to_real, span=False)} from fake to real ({AT_THRESHOLD})."
    )
    if grid.ever_accused.value is not None:
        lines.append(
            f"Of the real pictures that are called real, {_percent(grid.ever_accused)} are called fake under at least "
            f"one of the {number}."
        )
    return lines


def _worst(grid: GridFigures) -> str:
    return f"{grid.worst.title.lower()} ({grid.worst.name})"


def _shortcut_sentences(shortcut: Shortcut, *, num_images: int) -> list[str]:
    gap, plan = shortcut.gap, shortcut.plan
    kind, raw, aligned, between = (
        ("accuracy", gap.raw_accuracy, gap.aligned_accuracy, gap.accuracy_gap)
        if gap.auroc_gap.value is None
        else ("AUROC", gap.raw_auroc, gap.aligned_auroc, gap.auroc_gap)
    )
    telling = [f"{name} ({area:.2f})" for name, area in shortcut.differences.items() if area >= TELLING]
    history = "one JPEG history" if plan.qualities else "no JPEG (the data holds none)"
    how = f"with both classes at {plan.side_px} px and {history}"
    low, high = (0.0, 1.0) if between.interval is None else between.interval[:2]
    if low == high == 0 and num_images > 0:
        # Nothing changed, in no draw. Of n pictures of a class that leaves up to 3 / n open: the rule of three
        # (Hanley & Lippman-Hand 1983), with half of the pictures for n.
        high = min(1.0, 6 / num_images)
    if low <= 0 and high > SMALL_GAP:
        first = (
            f"Whether format or size is a shortcut these pictures can't tell: {how}, {kind} is {_text(aligned)}; as "
            f"they are {_text(raw)} (shortcut gap {_text(between)}). More pictures would narrow it down."
        )
    elif low <= 0:
        first = (
            f"No shortcut by format or size shows: {how}, {kind} is {_text(aligned)}; as they are {_text(raw)} "
            f"(shortcut gap {_text(between)})."
        )
    elif telling:
        first = (
            f"Of the {kind} of {_text(raw, span=False)}, up to {_text(between)} rests on format, size or JPEG history, "
            f"the cost of one more compression included: {how} it is {_text(aligned)}."
        )
    else:
        first = (
            f"{how[0].upper()}{how[1:]}, {kind} falls from {_text(raw, span=False)} to {_text(aligned)}. The classes "
            "come in like formats and sizes, so that is the cost of one more compression rather than a shortcut."
        )
    if not telling:
        return [first]
    return [first, f"By these facts of the files alone the classes can be told apart, as AUROC: {', '.join(telling)}."]


def _kind_table(grid: GridFigures) -> TextTable:
    rows = []
    for cells in by_kind(grid).values():
        means = [_mean([getattr(cell, name) for cell in cells]) for name in ("auroc", "accuracy", "flips", "to_fake")]
        worst = min(cells, key=lambda cell: getattr(cell, grid.worst_by).value)
        worst_text = _text(getattr(worst, grid.worst_by), span=False)
        rows.append((cells[0].title, *means, f"{worst.name}: {worst_text}"))
    measure = "AUROC" if grid.worst_by == "auroc" else "accuracy"
    return TextTable(
        "By kind of damage, mean over severities",
        ("damage", "AUROC", "accuracy", "verdicts changed", "changed from real to fake", f"worst {measure}"),
        tuple(rows),
    )


def _cell_table(grid: GridFigures) -> TextTable:
    columns = ("auroc", "auroc_drop", "accuracy", "recall", "specificity", "flips", "to_fake", "to_real", "accused")
    rows = tuple((cell.name, *(_text(getattr(cell, name)) for name in columns)) for cell in grid.cells)
    header = (
        "damage", "AUROC", "AUROC lost", "accuracy", "fakes caught", "real left in peace", "verdicts changed",
        "real to fake", "fake to real", "real accused anew",
    )  # fmt: skip
    return TextTable(f"All {len(rows)} cells", header, rows, folded=True)


def _shortcut_table(shortcut: Shortcut) -> TextTable:
    gap = shortcut.gap
    return TextTable(
        "Both classes brought to one format",
        ("", "as they are", "aligned", "shortcut gap"),
        (
            ("AUROC", _text(gap.raw_auroc), _text(gap.aligned_auroc), _text(gap.auroc_gap)),
            ("accuracy", _text(gap.raw_accuracy), _text(gap.aligned_accuracy), _text(gap.accuracy_gap)),
        ),
    )


def _notes(found: Robustness) -> list[str]:
    part = (
        f"{found.num_images:,} of {found.num_judged:,} pictures, drawn by class and generator (seed {found.seed})"
        if _is_part(found)
        else f"{found.num_images:,} pictures"
    )
    notes = [f"Measured on {part} at the threshold {found.threshold.value:.4g} ({found.threshold_name})."]
    if found.grid is not None:
        notes.append(
            f"For flips and accusations pictures are {AT_THRESHOLD}: either may concern verdicts that read 'unsure' "
            "elsewhere in this report."
        )
    if found.shortcut is not None:
        notes += [f"As they are, {name} pictures come as {text}." for name, text in found.shortcut.classes.items()]
    if found.num_left_out:
        notes.append(
            f"{found.num_left_out:,} pictures are left out: the network returned no number for them under some damage."
        )
    if found.grid is not None:
        notes.append("Means count every kind alike and leave out the pictures as they are. " + _intervals(found.grid))
    return notes


def _intervals(grid: GridFigures) -> str:
    span, draws = grid.mean_accuracy.interval, f"a bootstrap of {grid.draws:,} draws in which all columns see the same"
    if span is not None and span.method == "cluster bootstrap":
        return (
            f"AUROC, accuracy, changed verdicts, means and what is lost carry the interval of {draws} groups of "
            "pictures; the shares of one class alone, and of pictures changed at least once, Wilson's over the groups."
        )
    return f"Shares carry Wilson's interval; AUROC, means and what is lost {draws} pictures."


def _mean(figures: list[Figure]) -> str:
    values = [figure.value for figure in figures if figure.value is not None]
    return f"{np.mean(values):.3f}" if len(values) == len(figures) else "undefined"


def _text(figure: Figure, *, span: bool = True) -> str:
    if figure.value is None:
        return "undefined"
    if figure.interval is None or not span:
        return f"{figure.value:.3f}"
    if figure.interval.low == figure.interval.high:  # every resample gave the same: no certainty, too few mistakes
        return f"{figure.value:.3f} (no spread)"
    return f"{figure.value:.3f} ({figure.interval.low:.3f} to {figure.interval.high:.3f})"


def _percent(figure: Figure, *, span: bool = True) -> str:
    if figure.value is None:
        return "undefined"
    if figure.interval is None or not span:
        return f"{100 * figure.value:.1f} %"
    if figure.interval.low == figure.interval.high:
        return f"{100 * figure.value:.1f} % (no spread)"
    return f"{100 * figure.value:.1f} % ({100 * figure.interval.low:.1f} to {100 * figure.interval.high:.1f})"
