"""The few lines that an evaluation leaves on the terminal."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from veriscope.errors import printable
from veriscope.evaluation.judge import Judgement
from veriscope.evaluation.metrics import METRICS
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.reliance import Reliance
from veriscope.evaluation.report import ReportFacts, figure_text, threshold_title
from veriscope.progress import say

_SHOWN = (
    "accuracy", "balanced_accuracy", "recall", "specificity", "precision", "f1", "auroc", "ap", "eer", "tpr_at_1_fpr",
    "tpr_at_5_fpr", "log_loss", "brier",
)  # fmt: skip


def print_summary(
    judgement: Judgement,
    table: PredictionTable,
    facts: ReportFacts,
    *,
    reliance: Reliance,
    folder: Path,
    bundle: Path,
    console: Console,
    more: Sequence[str] = (),
) -> None:
    """Print warnings, the verdict, the main figures at every threshold, how far they can be relied on, `more`
    sentences, and where the report and the rest lie."""
    console.print(f"[bold]{_safe(facts.title)}[/]: {_safe(facts.subset)}", highlight=False, soft_wrap=True)
    if table.meta.base_rate is not None:
        say(console, f"Scores are corrected to a share of fakes of {table.meta.base_rate:.4g}, as stated.")
    for text in facts.warnings:
        console.print(f"[bold red]Don't trust these figures.[/] {_safe(text)}", highlight=False, soft_wrap=True)
    for text in facts.notices:
        console.print(f"[yellow]{_safe(text)}[/]", highlight=False, soft_wrap=True)
    for text in judgement.verdict():
        say(console, text)
    grid = Table(box=box.SIMPLE, pad_edge=False)
    grid.add_column("")
    for name, threshold in judgement.thresholds.items():
        grid.add_column(threshold_title(name, threshold))
    for metric in METRICS:
        if metric.key in _SHOWN:
            found = [judgement.at[name].get(metric.key) for name in judgement.thresholds]
            figures = [figure for figure in found if figure is not None] or [judgement.free[metric.key]]
            cells = [" ".join(part for part in (value, f"({span.rstrip('*')})" if span else "") if part)
                     for value, span in map(figure_text, figures)]  # fmt: skip
            grid.add_row(metric.label, *cells)
    console.print(grid)
    for paragraph in reliance.paragraphs():
        say(console, f"{paragraph.title}: {' '.join(paragraph.sentences)}")
    for text in more:
        say(console, text)
    if table.num_unreadable:
        console.print(f"{table.num_unreadable} of {len(table)} files got no verdict; the report lists them.")
    for name, path in (
        ("report", folder / "report.html"),
        ("table", folder / "predictions.parquet"),
        ("bundle", bundle),
    ):
        say(console, f"{name}: {path}")
    say(console, f"next: veriscope predict {shlex.quote(str(bundle))} PICTURE_OR_FOLDER")


def _safe(text: str) -> str:
    return escape(printable(text))
