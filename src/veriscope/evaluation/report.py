"""report.html, one self-contained page for people, and report.json, the same for machines."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure as Picture
from PIL import Image

from veriscope.evaluation import plots
from veriscope.evaluation.figures import LEVEL, Figure
from veriscope.evaluation.groups import MIN_ROWS
from veriscope.evaluation.judge import Judgement
from veriscope.evaluation.metrics import METRICS, UNDEFINED
from veriscope.evaluation.page import number_text, page_environment
from veriscope.evaluation.pictures import Tile
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.reliance import Reliance
from veriscope.evaluation.sections import Section
from veriscope.evaluation.verdict import grade
from veriscope.files import write_text
from veriscope.types import CLASS_MAP_TEXT, CLASS_NAMES, Threshold

SCHEMA_VERSION = 2
HTML_NAME, JSON_NAME = "report.html", "report.json"
_MAX_UNREADABLE_SHOWN = 200  # the page stays readable; report.json and the table hold them all

# matplotlib's colours become CSS variables, so that one drawing serves light, dark and print.
_SVG_COLOURS = {
    plots.REAL_COLOUR: "var(--real)",
    plots.FAKE_COLOUR: "var(--fake)",
    plots.THIRD_COLOUR: "var(--third)",
    plots.INK: "var(--ink)",
    plots.MUTED: "var(--muted)",
    plots.GRID: "var(--line)",
    "#ffffff": "var(--card)",
    "#cccccc": "var(--line)",
}
_CAPTIONS = {
    "roc": "Share of fakes caught against share of real pictures accused, at every threshold. The dashes are guessing.",
    "roc_low_fpr": "The same curve with its left end stretched: what is caught when hardly anybody may be accused.",
    "pr": "How many fake verdicts are right, as more fakes are caught. It depends on the share of fakes in the data.",
    "scores": "Scores of each class; the less the two overlap, the better. Lines mark the thresholds.",
    "reliability": "Of pictures scored 0.8, 80 of 100 should be fake. Dots on the dashes are calibrated; "
    "large dots hold many pictures. Squares: before calibration.",
    "ood": "How strange the pictures are to the model; pictures like its validation's would lie along the dashes. What "
    "lies at the right end is unlike anything it was trained with.",
    "history": "The training run behind the bundle, an epoch a point.",
}
_FOLD_CAPTIONS = {
    **_CAPTIONS,
    "roc": "Share of fakes caught against share of real pictures accused, one curve a fold: how far apart they lie is "
    "what other training pictures would change.",
    "history": "The training of each fold; a ring marks the epoch that was kept.",
}
_SHEET_PX = 900  # width of a fold's sheet of verdicts on the page


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What a report says beside the figures. `warnings` make a figure untrustworthy, `notices` belong to the data."""

    title: str
    model_name: str
    data_name: str
    subset: str
    warnings: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    bundle: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoldsSection:
    """What a cross-validation's report says beside the pooled figures.

    `rows`: (metric, meaning, one text a fold, (mean and deviation, interval)). `sheets`: (title, PNG of verdicts).
    """

    header: Sequence[str]
    rows: Sequence[tuple[str, str, Sequence[str], tuple[str, str]]]
    notes: Sequence[str]
    sheets: Sequence[tuple[str, Path]]


def write_report(
    folder: Path,
    *,
    judgement: Judgement,
    table: PredictionTable,
    pictures: Mapping[str, Picture],
    tiles: list[Tile],
    facts: ReportFacts,
    folds: FoldsSection | None = None,
    reliance: Reliance | None = None,
    sections: Sequence[Section] = (),
) -> Path:
    """Write report.html and report.json into `folder`, each whole or not at all; return the page's path.

    `sections` stand between the curves and the pictures, in their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = report_dict(judgement, table=table, facts=facts, reliance=reliance, sections=sections)
    if folds is not None:
        content["kind"] = "cross-validation"
    write_text(folder / JSON_NAME, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    page = render(
        judgement, table=table, pictures=pictures, tiles=tiles, facts=facts, folds=folds, reliance=reliance,
        sections=sections,
    )  # fmt: skip
    write_text(folder / HTML_NAME, page)
    return folder / HTML_NAME


def report_dict(
    judgement: Judgement,
    *,
    table: PredictionTable,
    facts: ReportFacts,
    reliance: Reliance | None = None,
    sections: Sequence[Section] = (),
) -> dict[str, Any]:
    """Return everything machine-readable; the keys stay within one `schema_version`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "evaluation",
        "class_map": {name: label for label, name in enumerate(CLASS_NAMES)},
        "model": facts.model_name,
        "data": {"name": facts.data_name, "subset": facts.subset, **facts.data},
        "corruption": table.meta.corruption,
        "base_rate_stated": table.meta.base_rate,
        "warnings": list(facts.warnings),
        "notices": list(facts.notices),
        "grade": grade(judgement),
        **judgement.to_dict(),
        **({} if reliance is None else reliance.to_dict()),
        "sections": {section.anchor: section.to_dict() for section in sections},
        "unreadable": [{"id": name, "reason": reason} for name, reason in table.unreadable],
        "bundle": dict(facts.bundle),
        "provenance": dict(facts.provenance),
    }


def render(
    judgement: Judgement,
    *,
    table: PredictionTable,
    pictures: Mapping[str, Picture],
    tiles: list[Tile],
    facts: ReportFacts,
    folds: FoldsSection | None = None,
    reliance: Reliance | None = None,
    sections: Sequence[Section] = (),
) -> str:
    """Return the page. It loads nothing: pictures are inline, and its content policy forbids any request."""
    captions = _CAPTIONS if folds is None else _FOLD_CAPTIONS
    template = page_environment().get_template("report.html.j2")
    return template.render(
        judgement=judgement,
        table=table,
        facts=facts,
        folds=folds,
        grade=grade(judgement),
        contents=_contents(
            judgement, table, folds=folds, reliance=reliance, sections=sections, tiles=tiles, pictures=pictures
        ),
        reliance=[] if reliance is None else reliance.paragraphs(),
        sections=[
            (section, [(inline_svg(picture), caption) for picture, caption in section.pictures.values()])
            for section in sections
        ],
        min_rows=MIN_ROWS,
        sheets=[] if folds is None else [(title, sheet_uri(file)) for title, file in folds.sheets if file.is_file()],
        class_map=CLASS_MAP_TEXT,
        class_names=CLASS_NAMES,
        level=f"{LEVEL:.0%}".replace("%", " %"),
        threshold_rows=_threshold_rows(judgement),
        free_rows=_free_rows(judgement),
        threshold_titles={name: threshold_title(name, value) for name, value in judgement.thresholds.items()},
        threshold_place=_threshold_place(judgement),
        degenerate=_any_degenerate(judgement),
        figure_text=figure_text,
        charts=[(name, inline_svg(pictures[name]), text) for name, text in captions.items() if name in pictures],
        wrong=[tile for tile in tiles if not tile.right],
        right=[tile for tile in tiles if tile.right],
        num_wrong=judgement.confusion[judgement.headline].fp + judgement.confusion[judgement.headline].fn,
        max_unreadable=_MAX_UNREADABLE_SHOWN,
        data_rows=_flat(facts.data),
        bundle_rows=_flat(facts.bundle),
        provenance_rows=_flat(facts.provenance),
    )


def _contents(
    judgement: Judgement,
    table: PredictionTable,
    *,
    folds: FoldsSection | None,
    reliance: Reliance | None,
    sections: Sequence[Section],
    tiles: list[Tile],
    pictures: Mapping[str, Picture],
) -> list[tuple[str, str]]:
    """Return (anchor, title) of the page's sections below the verdict."""
    parts = [
        ("folds", "Over the folds", folds is not None),
        ("figures", "Figures", judgement.num_judged > 0),
        ("verdicts", "Right and wrong", judgement.num_judged > 0),
        ("reliance", "How far to rely on it", reliance is not None),
        ("groups", "Group by group", bool(judgement.by_generator or judgement.group_tables)),
        ("curves", "Curves", any(name in pictures for name in _CAPTIONS)),
        *((section.anchor, section.title, True) for section in sections),
        ("pictures", "Pictures", bool(tiles)),
        ("no-verdict", "No verdict", table.num_unreadable > 0),
        ("provenance", "Where this comes from", True),
    ]
    return [(anchor, title) for anchor, title, there in parts if there]


def threshold_title(name: str, threshold: Threshold) -> str:
    """Return what heads a threshold's column: its name and value."""
    known = {"default": "fixed", "val": "chosen on val", "out_of_fold": "chosen out of fold"}
    return f"{known.get(name, name)}: {threshold.value:.4g}"


def _threshold_place(judgement: Judgement) -> str:
    """Return the headline threshold for a sentence, as `0.4784 (chosen on val)`."""
    name, _, value = threshold_title(judgement.headline, judgement.thresholds[judgement.headline]).rpartition(": ")
    return f"{value} ({name})"


def figure_text(figure: Figure) -> tuple[str, str]:
    """Return a figure's value and interval as text: 'undefined' and '' where it can't be had."""
    if figure.value is None:
        return UNDEFINED, ""
    if figure.interval is None:
        return f"{figure.value:.3f}", ""
    if figure.interval.low == figure.interval.high:
        return f"{figure.value:.3f}", "no spread*"
    return f"{figure.value:.3f}", f"{figure.interval.low:.3f} to {figure.interval.high:.3f}"


def sheet_uri(file: Path) -> str:
    """Return a PNG as a smaller JPEG in a data: URI."""
    packed = io.BytesIO()
    with Image.open(file) as image:
        image.thumbnail((_SHEET_PX, 10 * _SHEET_PX), Image.Resampling.LANCZOS)
        image.convert("RGB").save(packed, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def inline_svg(picture: Picture) -> Markup:
    """Return the picture as SVG whose colours follow the page. matplotlib escapes every text that it draws."""
    text = plots.svg_text(picture)
    for colour, variable in _SVG_COLOURS.items():
        text = text.replace(colour, variable)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # The viewBox alone lets the drawing take the width that it is given.
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return Markup(text)  # made by matplotlib from numbers and our own words


def _threshold_rows(judgement: Judgement) -> list[dict[str, Any]]:
    return [
        {
            "label": metric.label,
            "meaning": metric.meaning,
            "cells": {name: figure_text(found[metric.key]) for name, found in judgement.at.items()},
        }
        for metric in METRICS
        if metric.kind == "threshold"
    ]


def _free_rows(judgement: Judgement) -> list[dict[str, Any]]:
    return [
        {"label": metric.label, "meaning": metric.meaning, "cell": figure_text(judgement.free[metric.key])}
        for metric in METRICS
        if metric.kind != "threshold"
    ]


def _any_degenerate(judgement: Judgement) -> bool:
    figures = [*judgement.free.values(), *(figure for found in judgement.at.values() for figure in found.values())]
    return any(figure_text(figure)[1].endswith("*") for figure in figures)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested facts as (words, text) rows."""
    rows: list[tuple[str, str]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}: ")
        elif value is None:
            rows.append((name, "unknown"))
        elif isinstance(value, bool):
            rows.append((name, "yes" if value else "no"))
        elif isinstance(value, list | tuple):
            rows.append((name, ", ".join(str(item) for item in value) or "none"))
        else:
            rows.append((name, number_text(value)))
    return rows
