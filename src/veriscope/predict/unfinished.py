"""Verdicts that are written down as they come, so that a judging of many files goes on where it was ended."""

import errno
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, TextIO

from rich.console import Console

from veriscope.errors import DataError
from veriscope.files import refuse_special, write_text
from veriscope.predict.output import Format, csv_header, path_cell, read_row
from veriscope.progress import say

FORMS = ("csv", "jsonl")  # forms whose rows stand for themselves


class Unfinished(NamedTuple):
    """`stream` takes the rows of `left`, the files that have none yet; `kept` counts the verdicts of the others."""

    stream: TextIO
    left: Iterator[Path]
    kept: Counter[str]


@contextmanager
def unfinished(
    output: Path, files: Iterable[Path], *, form: Format, facts: dict[str, Any], resume: bool
) -> Iterator[Unfinished]:
    """Yield what is left to do, and where its rows go.

    Rows go into `OUTPUT.part`, line by line; it takes the name `output` when the block ends well, and stays when it
    doesn't, also after kill -9. `OUTPUT.part.json` keeps what decides the verdicts.

    Args:
        output: the file to be.
        files: all that are to be judged; gone through from the start each time, in the same order.
        form: one of FORMS.
        facts: what decides the verdicts (Judge.facts): what was begun with others can't be gone on with.
        resume: go on with what an earlier command left, if there is anything.

    Raises:
        DataError: an unfinished file that isn't to be gone on with, or was begun with other terms or files; another
            process writes it; it can't be written.

    """
    part, terms = output.with_name(output.name + ".part"), output.with_name(output.name + ".part.json")
    decided = {**facts, "form": form}
    decided.pop("bundle")  # where it lies decides nothing
    try:
        refuse_special(output)
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with part.open("a+b") as rows:
            _lock(rows, part)
            begun = rows.tell() > 0
            if begun and not resume:
                raise DataError(
                    f"'{part}' holds the verdicts of a command that was ended: --resume goes on with it; delete it to "
                    "start anew."
                )
            if begun:
                kept = _checked(rows, part, terms, files, form=form, decided=decided)
            else:
                write_text(terms, json.dumps(decided, indent=1))
                kept = Counter()
            with part.open("a", encoding="utf-8", newline="", buffering=1) as stream:
                if form == "csv" and not stream.tell():
                    stream.write(csv_header())
                yield Unfinished(stream, islice(iter(files), kept.total(), None), kept)
            part.replace(output)
            terms.unlink(missing_ok=True)
    except KeyboardInterrupt:
        say(Console(stderr=True), f"'{part}' keeps what was judged: the same command with --resume goes on.")
        raise
    except OSError as error:
        raise DataError(f"'{output}' can't be written: {error.strerror or error}") from error


def _lock(rows: IO[bytes], part: Path) -> None:
    try:
        fcntl.flock(rows, fcntl.LOCK_EX | fcntl.LOCK_NB)  # falls with the process, however it ends
    except BlockingIOError:
        raise DataError(f"'{part}' is being written by another process.") from None


def _checked(
    rows: IO[bytes], part: Path, terms: Path, files: Iterable[Path], *, form: Format, decided: dict[str, Any]
) -> Counter[str]:
    """Return how often each verdict stands in the whole rows; a torn last row is cut off.

    Raises:
        DataError: it was begun with other terms, or its rows are not those of the first files.

    """
    anew = f"delete '{part}' to start anew, or name another --output."
    try:
        begun_with = json.loads(terms.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"'{terms}', which says what '{part}' was begun with, is missing or damaged: {anew}") from None
    asked = json.loads(json.dumps(decided))
    other = [key for key in {**asked, **begun_with} if begun_with.get(key) != asked.get(key)]
    if other:
        raise DataError(f"'{part}' was begun with another {', '.join(other)}: {anew}")
    left, kept, sound = iter(files), Counter[str](), 0
    rows.seek(0)
    for line in rows:
        if not line.endswith(b"\n"):
            break
        is_header = form == "csv" and not sound
        sound += len(line)
        if is_header:
            continue
        path = next(left, None)
        try:
            name, verdict = read_row(line.decode(), form=form)
        except ValueError:
            name, verdict = "", ""
        if path is None or name != path_cell(path, form=form):
            raise DataError(f"row {kept.total() + 1} of '{part}' isn't of '{path}', the files have changed: {anew}")
        kept[verdict] += 1
    os.ftruncate(rows.fileno(), sound)
    return kept
