"""A matrix as one self-contained page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from veriscope.evaluation.metrics import METRICS
from veriscope.evaluation.report import HTML_NAME
from veriscope.runs.matrix_picture import cell_colour
from veriscope.runs.matrix_table import LABELS, SHOWN, Matrix, MatrixCell, sentences
from veriscope.types import CLASS_MAP_TEXT

_FACTS = ("veriscope", "commit", "started", "command", "device", "python")


def matrix_page(matrix: Matrix, folder: Path, *, provenance: Mapping[str, Any]) -> str:
    """Return the page. It loads nothing; cells whose evaluation lies below `folder` lead to its report."""
    environment = Environment(
        loader=PackageLoader("veriscope.runs"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("matrix.html.j2").render(
        matrix=matrix,
        label=LABELS[matrix.metric],
        meaning=next(metric.meaning for metric in METRICS if metric.key == matrix.metric),
        labels=LABELS,
        says=sentences(matrix),
        rows=[
            (name, [_shown(matrix, cell, folder) for cell in cells])
            for name, cells in zip(matrix.rows, matrix.cells, strict=True)
        ],
        metrics=SHOWN,
        details=[
            (row, column, cell, [figure_text(cell, metric) for metric in SHOWN]) for row, column, cell in matrix.each()
        ],
        any_own=any(cell.own for _, _, cell in matrix.each()),
        any_seen=any(cell.seen for _, _, cell in matrix.each()),
        exact=matrix.metric in ("auroc", "balanced_accuracy"),
        class_map=CLASS_MAP_TEXT,
        scale=[cell_colour(step / 10) for step in range(-10, 11)],
        facts=[(key, _fact(key, provenance)) for key in _FACTS],
    )


def figure_text(cell: MatrixCell, metric: Any) -> tuple[str, str]:
    """Return value and interval as text; empty without a figure."""
    value, interval = cell.figure(metric)
    if value is None:
        return ("" if cell.evaluated is None else "undefined"), ""
    return f"{value:.3f}", "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"


def _fact(key: str, provenance: Mapping[str, Any]) -> str:
    changed = key == "commit" and provenance["dirty"]
    return f"{provenance[key] or 'unknown'}{', with changes that are in no commit' if changed else ''}"


def _shown(matrix: Matrix, cell: MatrixCell, folder: Path) -> dict[str, Any]:
    worst = matrix.worst
    value, interval = figure_text(cell, matrix.metric)
    report = None
    if cell.evaluated is not None and cell.evaluated.folder.resolve().is_relative_to(folder.resolve()):
        place = cell.evaluated.folder.resolve().relative_to(folder.resolve())
        report = quote((place / HTML_NAME).as_posix(), errors="surrogateescape")
    return {
        "value": value or cell.status,
        "interval": interval,
        "tag": cell.tag,
        "why": cell.reason or ("" if cell.evaluated is None else cell.evaluated.explanation),
        "style": f"background-color: {cell_colour(cell.skill(matrix.metric))}",
        "classes": " ".join(
            name
            for name, holds in (
                ("seen", cell.seen),
                ("own", cell.own),
                ("worst", worst is not None and cell is worst[2]),
                ("none", cell.evaluated is None),
            )
            if holds
        ),
        "report": report,
    }
