"""A comparison on the terminal, as JSON, CSV and page; the body of `veriscope compare`."""

import csv
import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from veriscope.errors import DataError, printable
from veriscope.evaluation.compare import Comparison, Pair, compare, metric_of, p_text
from veriscope.evaluation.compare_inputs import read_entries
from veriscope.evaluation.figures import Figure, figure_dict
from veriscope.evaluation.metrics import METRICS
from veriscope.evaluation.report import figure_text
from veriscope.files import safe_cell, whole_or_not_at_all, write_text
from veriscope.progress import say
from veriscope.types import CLASS_NAMES

SCHEMA_VERSION = 1
NAME = "compare"
_LABELS = {metric.key: metric.label for metric in METRICS}
_MARKS = {"best": "  best", "equal": "  = best", "": ""}


def run_compare(arguments: Namespace) -> int:
    """Compare what the command line names, print it, write it with --out; return the exit code.

    Raises:
        DataError: nothing that can be compared, or an output folder that is taken.

    """
    out: Path | None = arguments.out
    metric_of(arguments.metric)
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"'{out}' is not empty; a comparison is written into a new folder. Name another one.")
    found = compare(
        read_entries(arguments.inputs),
        metric=arguments.metric,
        level=arguments.level,
        draws=arguments.draws,
        seed=arguments.seed,
        shown=True,
    )
    if out is not None:
        write_comparison(found, out)
    if arguments.json:
        sys.stdout.write(json_text(found))
        return 0
    console = Console()
    print_comparison(found, console=console)
    if out is not None:
        say(console, f"page: {out / NAME}.html   picture: {NAME}.png   figures: {NAME}.json, {NAME}.csv")
    return 0


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write compare.json, .csv, .png and .html into `folder`, which appears whole or not at all."""
    # Not before a folder is asked for: matplotlib costs a second.
    from veriscope.evaluation.compare_page import render_page
    from veriscope.evaluation.compare_plots import comparison_picture
    from veriscope.evaluation.plots import save_png

    with _new_folder(folder) as making:
        write_text(making / f"{NAME}.json", json_text(comparison))
        write_text(making / f"{NAME}.csv", csv_text(comparison))
        save_png(comparison_picture(comparison), making / f"{NAME}.png")
        write_text(making / f"{NAME}.html", render_page(comparison))


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole_or_not_at_all(folder) as making:
            making.mkdir()
            yield making
    except OSError as error:
        raise DataError(f"'{folder}' can't be written: {error.strerror or error}") from error


def print_comparison(comparison: Comparison, *, console: Console) -> None:
    """Print notices, the table of detectors, the table of pairs, and what they say in words."""
    for text in comparison.notices:
        console.print(Text(printable(text), style="yellow"), soft_wrap=True)
    console.print(_leaderboard(comparison))
    console.print(_pair_table(comparison.pairs_of(comparison.metric.key), comparison))
    for text in comparison.sentences():
        say(console, printable(text))
    say(console, footnote(comparison))


def footnote(comparison: Comparison) -> str:
    """Return what a reader must know of the figures: which interval, which correction, what they don't cover."""
    level = f"{100 * comparison.level:g} %"
    num_pairs = len(comparison.pairs_of(comparison.metric.key))
    family = f" Holm's correction over the {num_pairs} pairs of a metric." if num_pairs > 1 else ""
    return (
        f"{level} intervals on {len(comparison.matched.ids):,} pictures that all judged; {comparison.draws:,} draws, "
        f"seed {comparison.seed}.{family} They cover the luck of which pictures were drawn, not other data, other "
        "generators or another training run."
    )


def _leaderboard(comparison: Comparison) -> Table:
    grid = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("model", overflow="fold")
    for key in comparison.shown:
        grid.add_column(_LABELS[key], min_width=len("0.000-0.000"))
    for standing in comparison.standings:
        # A dash, not "to": two lines a model and five metrics then fit into 80 columns.
        cells = ["\n".join(cell(standing.figures[key])).replace(" to ", "-") for key in comparison.shown]
        style = "bold" if standing.mark == "best" else ""
        name = Text("\n".join([printable(standing.entry.name), _MARKS[standing.mark]]).rstrip())
        grid.add_row(name, *cells, style=style)
    return grid


def cell(figure: Figure) -> tuple[str, str]:
    """Return value and interval as text."""
    value, span = figure_text(figure)
    return value, span.rstrip("*")


def _pair_table(pairs: list[Pair], comparison: Comparison) -> Table:
    grid = Table(box=box.SIMPLE, pad_edge=False)
    grid.add_column("first less second", overflow="fold")
    for name in (f"{comparison.metric.label} difference", "p", "corrected p", "test"):
        grid.add_column(name)
    for pair in pairs:
        told = pair.corrected is not None and pair.corrected < 1 - comparison.level
        p_texts = (p_text(p, comparison=comparison) for p in (pair.test.p, pair.corrected))
        names = Text(f"{printable(pair.first)} - {printable(pair.second)}")
        grid.add_row(names, difference_text(pair), *p_texts, pair.test.method, style="bold" if told else "")
    return grid


def difference_text(pair: Pair) -> str:
    """Return a difference with its interval."""
    span = "" if pair.test.low is None else f" ({pair.test.low:+.3f} to {pair.test.high:+.3f})"
    return f"{pair.test.difference:+.3f}{span}"


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as a JSON-able dict; undefined figures are null."""
    matched = comparison.matched
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "comparison",
        "class_map": {name: label for label, name in enumerate(CLASS_NAMES)},
        "metric": comparison.metric.key,
        "level": comparison.level,
        "bootstrap_draws": comparison.draws,
        "bootstrap_seed": comparison.seed,
        "correction": "Holm, over the pairs of each metric",
        "pictures": len(matched.ids),
        "real": int((matched.labels == 0).sum()),
        "fake": int((matched.labels == 1).sum()),
        "groups": None if matched.groups is None else int(matched.groups.max()) + 1,
        "data": {"name": matched.entries[0].table.meta.data_name, "hash": matched.entries[0].table.meta.data_hash},
        "corruption": matched.entries[0].table.meta.corruption,
        "base_rate": matched.base_rate,
        "notices": list(comparison.notices),
        "sentences": comparison.sentences(),
        "models": [
            {
                "name": standing.entry.name,
                "path": str(standing.entry.path),
                "mark": standing.mark,
                "bundle_hash": standing.entry.table.meta.bundle_hash,
                "subset": standing.entry.table.meta.subset,
                "threshold": standing.entry.threshold.model_dump(mode="json"),
                "metrics": {key: figure_dict(figure) for key, figure in standing.figures.items()},
            }
            for standing in comparison.standings
        ],
        "pairs": [
            {
                "metric": pair.metric,
                "first": pair.first,
                "second": pair.second,
                **pair.test._asdict(),
                "p_corrected": pair.corrected,
            }
            for pair in comparison.pairs
        ],
        "agreement": [one._asdict() for one in comparison.agreements],
    }


def json_text(comparison: Comparison) -> str:
    """Return the comparison as a JSON document."""
    return json.dumps(to_dict(comparison), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(comparison: Comparison) -> str:
    """Return the table of detectors as CSV, the best first: value, low and high of each metric."""
    text = io.StringIO()
    spans = [f"{key}{end}" for key in comparison.shown for end in ("", "_low", "_high")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "mark", "threshold", "pictures", *spans])
    for standing in comparison.standings:
        found = [figure_dict(standing.figures[key]) for key in comparison.shown]
        cells = ["" if one[end] is None else one[end] for one in found for end in ("value", "low", "high")]
        name = safe_cell(standing.entry.name)
        writer.writerow([name, standing.mark, standing.entry.threshold.value, len(comparison.matched.ids), *cells])
    return text.getvalue()
