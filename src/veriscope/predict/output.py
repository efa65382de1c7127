"""Verdicts as a table for people, as lines for pipes, as JSON, as JSON lines and as CSV."""

import csv
import errno
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.text import Text

from veriscope.errors import DataError, printable
from veriscope.files import safe_cell, whole_or_not_at_all
from veriscope.predict.face_text import faces_json, faces_line
from veriscope.predict.video_text import video_json, video_line
from veriscope.types import FacesVerdict, Verdict, VideoVerdict

Format = Literal["table", "lines", "json", "jsonl", "csv"]
COLUMNS = ("path", "verdict", "score", "logit", "threshold", "error", "unsure_because", "ood", "video", "faces")
NO_VERDICT = "no verdict"
COLOURS = {"real": "green", "fake": "red", "unsure": "yellow", None: "magenta"}


def write_verdicts(verdicts: Iterable[Verdict], stream: TextIO, *, form: Format, facts: dict[str, Any]) -> None:
    """Write all verdicts to the stream as they come, in constant memory. `table` is for terminals: see `show_verdict`.

    `facts`, which decide the verdicts, stand above those of a JSON document. `csv` is its rows alone, so that a file
    can be gone on with; the header is `csv_header`.
    """
    if form == "json":
        _write_json(verdicts, stream, facts=facts)
        return
    to_text = {"lines": _line, "csv": csv_row, "jsonl": json_line}[form]
    for verdict in verdicts:
        stream.write(to_text(verdict))


def _cell(text: str) -> str:
    return printable(safe_cell(text))


def _word(verdict: Verdict) -> str:
    return verdict.label or NO_VERDICT


def _figure(verdict: Verdict) -> str:
    return verdict.error or "" if verdict.score is None else f"{verdict.score:.4f}"


def _line(verdict: Verdict) -> str:
    told = "; ".join(text for text in (printable(verdict.unsure_because or ""), _told(verdict)) if text)
    cells = (_word(verdict), _figure(verdict), printable(verdict.path), *([told] if told else []))
    return "\t".join(cells) + "\n"


def _told(verdict: Verdict) -> str:
    """Return what is said of a video, or of a picture's faces, in a line; '' of a picture judged as a whole."""
    if isinstance(verdict, VideoVerdict):
        return printable(video_line(verdict))
    return printable(faces_line(verdict)) if isinstance(verdict, FacesVerdict) else ""


def show_verdict(verdict: Verdict, console: Console) -> None:
    """Print one verdict for people; above a progress bar, where the console shows one."""
    text = Text(f"{_word(verdict):<10}", style=COLOURS[verdict.label])
    score = "" if verdict.score is None else f"{verdict.score:.4f}"
    text.append(f" {score:6}  {printable(verdict.path)}", style="default")
    if verdict.error is not None:
        text.append(f"  ({printable(verdict.error)})", style="yellow")
    if verdict.unsure_because is not None:
        text.append(f"  ({verdict.unsure_because})", style="dim")
    if _told(verdict):
        text.append(f"  ({_told(verdict)})", style="dim")
    console.print(text, soft_wrap=True, highlight=False)


def csv_row(verdict: Verdict) -> str:
    """Return one line of CSV, its end included; no cell of it is a formula, and no name breaks the line."""
    error = "" if verdict.error is None else _cell(verdict.error)
    figures = ("" if verdict.score is None else verdict.score, "" if verdict.logit is None else verdict.logit)
    strange = "" if verdict.ood is None else round(verdict.ood, 6)
    reason = "" if verdict.unsure_because is None else _cell(verdict.unsure_because)
    faces = isinstance(verdict, FacesVerdict)
    told = (error, reason, strange, "" if faces else _cell(_told(verdict)), _cell(_told(verdict)) if faces else "")
    return _csv_line([_cell(verdict.path), _word(verdict), *figures, verdict.threshold, *told])


def csv_header() -> str:
    """Return the first line of CSV."""
    return _csv_line(COLUMNS)


def json_line(verdict: Verdict) -> str:
    """Return one line of JSON, its end included: the row, and the threshold that it was judged at."""
    return json.dumps({**row(verdict), "threshold": verdict.threshold}) + "\n"


def row(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values, `verdict` None where there is none; a video's frames stand under `video`, the
    faces of a picture that was judged by them under `faces`."""
    plain: dict[str, Any] = {
        "path": verdict.path,
        "verdict": verdict.label,
        "score": verdict.score,
        "logit": verdict.logit,
        "error": verdict.error,
        "unsure_because": verdict.unsure_because,
        "ood": verdict.ood,
    }
    if isinstance(verdict, FacesVerdict):
        plain["faces"] = faces_json(verdict)
    return {**plain, "video": video_json(verdict)} if isinstance(verdict, VideoVerdict) else plain


def path_cell(path: Path, *, form: Format) -> str:
    """Return what stands for a path in a row of `form`, to find it again."""
    return _cell(str(path)) if form == "csv" else str(path)


def read_row(line: str, *, form: Format) -> tuple[str, str]:
    """Return what `path_cell` gave and the verdict's word ('no verdict' of none), from a line of csv or jsonl.

    Raises:
        ValueError: no such line.

    """
    if form == "csv":
        cells = next(csv.reader([line]), [])
        if len(cells) != len(COLUMNS):
            raise ValueError(line)
        return cells[0], cells[1]
    plain = json.loads(line)
    if not isinstance(plain, dict) or not {"path", "verdict"} <= plain.keys():
        raise ValueError(line)
    return str(plain["path"]), str(plain["verdict"] or NO_VERDICT)


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _write_json(verdicts: Iterable[Verdict], stream: TextIO, *, facts: dict[str, Any]) -> None:
    """Write one document: facts first, then one line for each picture."""
    stream.write(json.dumps(facts, indent=1)[:-2] + ',\n "verdicts": [')
    separator = "\n  "
    for verdict in verdicts:
        stream.write(separator + json.dumps(row(verdict)))
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
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with whole_or_not_at_all(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise DataError(f"'{path}' can't be written: {error.strerror or error}") from error
