"""What a matrix leaves behind: matrix.json, .csv, .png, a page, and the table on the terminal."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from veriscope.evaluation.metrics import UNDEFINED
from veriscope.evaluation.plots import save_png
from veriscope.files import safe_cell, write_text
from veriscope.progress import say
from veriscope.provenance import collect, source_commit
from veriscope.runs.matrix_page import matrix_page
from veriscope.runs.matrix_picture import matrix_picture
from veriscope.runs.matrix_table import LABELS, SHOWN, Matrix, MatrixCell, sentences, summary

NAME = "matrix"


def write_matrix(matrix: Matrix, folder: Path, *, console: Console) -> None:
    """Write matrix.json, matrix.csv, matrix.png and matrix.html into `folder`, and show the table and what it says."""
    provenance = collect(seed=42, data_hash=None, commit=source_commit())
    write_text(folder / f"{NAME}.csv", matrix_csv(matrix, folder))
    record = matrix_record(matrix, folder) | {"provenance": provenance}
    write_text(folder / f"{NAME}.json", json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    save_png(matrix_picture(matrix), folder / f"{NAME}.png")
    write_text(folder / f"{NAME}.html", matrix_page(matrix, folder, provenance=provenance))
    console.print(terminal_table(matrix))
    for row, column, cell in matrix.each():
        if cell.status in ("failed", "left out"):
            say(console, f"{row} on {column}: {cell.status}. {cell.reason}")
    for text in sentences(matrix):
        say(console, text)
    say(console, f"page: {folder / NAME}.html, picture: {NAME}.png, figures: {NAME}.json, {NAME}.csv")


def matrix_record(matrix: Matrix, folder: Path) -> dict[str, Any]:
    """Return what matrix.json holds; `cells` stand row by row."""
    return {
        "schema_version": 1,
        "kind": "matrix",
        "metric": matrix.metric,
        "rows": list(matrix.rows),
        "columns": list(matrix.columns),
        "summary": _plain_summary(matrix),
        "says": sentences(matrix),
        "cells": [_cell_record(row, column, cell, folder) for row, column, cell in matrix.each()],
    }


def _plain_summary(matrix: Matrix) -> dict[str, Any]:
    facts = summary(matrix)
    worst = facts["worst"]
    if worst is not None:
        interval = worst.pop("interval")
        worst |= {"low": None, "high": None} if interval is None else {"low": interval.low, "high": interval.high}
    return facts


def _cell_record(row: str, column: str, cell: MatrixCell, folder: Path) -> dict[str, Any]:
    one = cell.evaluated
    facts: dict[str, Any] = {
        "trained_on": row,
        "tested_on": column,
        "status": cell.status,
        "own_data": cell.own,
        "reason": cell.reason or None,
    }
    if one is None:
        return facts
    facts |= {
        "model": one.model,
        "part": one.part,
        "exposure": one.exposure,
        "counts_elsewhere": cell.counts,
        "corruption": one.corruption,
        "base_rate_stated": one.base_rate,
        "real": one.num_real,
        "fake": one.num_fake,
        "bundle": one.bundle_hash,
        "data": one.data_hash,
        "threshold": one.headline,
        "folder": relative(one.folder, folder),
    }
    for metric in SHOWN:
        value, interval = cell.figure(metric)
        facts[metric] = value
        facts[f"{metric}_low"] = None if interval is None else interval.low
        facts[f"{metric}_high"] = None if interval is None else interval.high
    return facts


def matrix_csv(matrix: Matrix, folder: Path) -> str:
    """Return one line a cell, with every metric."""
    rows = [_cell_record(row, column, cell, folder) for row, column, cell in matrix.each()]
    text = io.StringIO()
    names = dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row)
    writer = csv.DictWriter(text, list(names), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: safe_cell(value) if isinstance(value, str) else value for key, value in row.items()})
    return text.getvalue()


def relative(place: Path, folder: Path) -> str:
    """Return the path from `folder` where it lies below, else the whole one."""
    inside = place.resolve().is_relative_to(folder.resolve())
    return place.resolve().relative_to(folder.resolve()).as_posix() if inside else str(place.resolve())


def cell_texts(cell: MatrixCell, matrix: Matrix) -> tuple[str, str]:
    """Return a cell's figure and its interval: `0.992`, `0.986-0.997`; its status where there is no figure."""
    if cell.evaluated is None:
        return cell.status, ""
    value, interval = cell.figure(matrix.metric)
    if value is None:
        return UNDEFINED, ""
    return f"{value:.3f}", "" if interval is None else f"{interval.low:.3f}\N{EN DASH}{interval.high:.3f}"


def terminal_table(matrix: Matrix) -> Table:
    """Return one row a bundle, one column a data set; bold: the worst of what counts, dim: seen pictures."""
    worst = matrix.worst
    grid = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, title=f"{LABELS[matrix.metric]}, 95 % interval", title_justify="left"
    )
    grid.add_column("trained on", overflow="fold")
    for column in matrix.columns:
        grid.add_column(Text(f"on {column}"), overflow="fold")
    for row, cells in zip(matrix.rows, matrix.cells, strict=True):
        texts = []
        for cell in cells:
            style = "dim" if cell.seen or cell.evaluated is None else "bold red" if worst and cell is worst[2] else ""
            texts.append(Text("\n".join([*filter(None, (*cell_texts(cell, matrix), cell.tag))]), style=style))
        grid.add_row(Text(row), *texts, end_section=True)
    return grid
