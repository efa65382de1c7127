"""Verdicts as a table for people, as lines for pipes, as JSON and as CSV."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from veriscope.bundle.bundle import Bundle
from veriscope.bundle.terms import Terms
from veriscope.errors import DataError, printable
from veriscope.files import safe_cell, whole_or_not_at_all
from veriscope.types import CLASS_MAP_TEXT, Threshold, UnsureBand, Verdict

Format = Literal["table", "lines", "json", "csv"]
COLUMNS = ("path", "verdict", "score", "logit", "threshold", "error", "unsure_because", "ood")
COLOURS = {"real": "green", "fake": "red", "unsure": "yellow", None: "magenta"}


def write_verdicts(
    verdicts: Iterable[Verdict],
    stream: TextIO,
    *,
    form: Format,
    bundle: Bundle,
    terms: Terms,
    threshold: Threshold,
    band: UnsureBand | None = None,
    strange_from: float | None = None,
) -> None:
    """Write all verdicts to the stream. All forms but the table are written as they come, in constant memory."""
    if form == "table":
        _write_table(verdicts, stream)
    elif form == "lines":
        for verdict in verdicts:
            stream.write(f"{_word(verdict)}\t{_figure(verdict)}\t{printable(verdict.path)}\n")
    elif form == "csv":
        _write_csv(verdicts, stream)
    else:
        _write_json(
            verdicts, stream, bundle=bundle, terms=terms, threshold=threshold, band=band, strange_from=strange_from
        )


def footer(
    bundle: Bundle,
    threshold: Threshold,
    *,
    terms: Terms,
    band: UnsureBand | None = None,
    strange_from: float | None = None,
) -> str:
    """Return what a reader must know beside the verdicts: class map, threshold and its origin, what is unsure, a base
    rate, the bundle's notices."""
    origin = threshold.rule if threshold.chosen_on == "none" else f"{threshold.rule}, chosen on {threshold.chosen_on}"
    lines = [f"{CLASS_MAP_TEXT}; fake from {threshold.value:.4g} on ({origin})."]
    if band is not None and band.low < band.high:
        lines.append(
            f"Unsure: scores from {band.low:.4g} to {band.high:.4g}; of the other verdicts "
            f"{100 * band.accuracy:.1f} % were right on {band.chosen_on}, which chose the band."
        )
    elif terms.no_band:
        lines.append(f"No verdict is 'unsure' by its score: {terms.no_band}.")
    elif band is None and terms.unsure is not None and terms.unsure.low < terms.unsure.high:
        lines.append(
            "No verdict is 'unsure' by its score: the bundle's band is left out, or belongs to another threshold."
        )
    if bundle.record.ood is None:
        lines.append("This bundle can't tell what it has never seen: it has no out-of-distribution score.")
    elif strange_from is not None:
        lines.append(
            f"Unsure, too: what is stranger to it than {100 * strange_from:.4g} % of {bundle.record.ood.fitted_on}."
        )
    rate, own = terms.calibration.base_rate, terms.calibration.fake_share
    if rate is not None and own is not None:
        lines.append(
            f"Scores are corrected to a share of fakes of {rate:.4g}, as you stated; the calibration's data held "
            f"{own:.4g}."
        )
    return printable(" ".join([*lines, *bundle.notices]))


def _cell(text: str) -> str:
    return printable(safe_cell(text))


def _word(verdict: Verdict) -> str:
    return verdict.label or "no verdict"


def _figure(verdict: Verdict) -> str:
    return verdict.error or "" if verdict.score is None else f"{verdict.score:.4f}"


def _write_table(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("file", overflow="fold")
    for verdict in verdicts:
        name = Text(printable(verdict.path))
        if verdict.error is not None:
            name.append(f"  ({printable(verdict.error)})", style="yellow")
        if verdict.unsure_because is not None:
            name.append(f"  ({verdict.unsure_because})", style="dim")
        score = "" if verdict.score is None else f"{verdict.score:.4f}"
        table.add_row(Text(_word(verdict), style=COLOURS[verdict.label]), score, name)
    Console(file=stream).print(table)


def _write_csv(verdicts: Iterable[Verdict], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for verdict in verdicts:
        error = "" if verdict.error is None else _cell(verdict.error)
        figures = ("" if verdict.score is None else verdict.score, "" if verdict.logit is None else verdict.logit)
        strange = "" if verdict.ood is None else round(verdict.ood, 6)
        reason = "" if verdict.unsure_because is None else _cell(verdict.unsure_because)
        writer.writerow([_cell(verdict.path), _word(verdict), *figures, verdict.threshold, error, reason, strange])


def _write_json(
    verdicts: Iterable[Verdict],
    stream: TextIO,
    *,
    bundle: Bundle,
    terms: Terms,
    threshold: Threshold,
    band: UnsureBand | None,
    strange_from: float | None,
) -> None:
    """Write one document: facts first, then one line for each picture."""
    facts = {
        "bundle": str(bundle.folder),
        "weights_sha256": bundle.weights_sha256,
        "class_map": bundle.record.class_map,
        "threshold": threshold.model_dump(),
        "unsure": None if band is None else band.model_dump(),
        "ood": None if bundle.record.ood is None else {**bundle.record.ood.model_dump(), "unsure_from": strange_from},
        "calibration": terms.calibration.model_dump(),
        "notices": list(bundle.notices),
    }
    stream.write(json.dumps(facts, indent=1)[:-2] + ',\n "verdicts": [')
    separator = "\n  "
    for verdict in verdicts:
        row = {
            "path": verdict.path,
            "verdict": verdict.label,
            "score": verdict.score,
            "logit": verdict.logit,
            "error": verdict.error,
            "unsure_because": verdict.unsure_because,
            "ood": verdict.ood,
        }
        stream.write(separator + json.dumps(row))
        separator = ",\n  "
    stream.write("\n ]\n}\n")


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Yield standard output, or a temporary file that becomes `path` only when all went well.

    Raises:
        DataError: the file can't be written.

    """
    if path is None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # a name that the locale can't show is no crash
        yield sys.stdout
        sys.stdout.flush()
        return
    try:
        with whole_or_not_at_all(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise DataError(f"'{path}' can't be written: {error.strerror or error}") from error
