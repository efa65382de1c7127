"""`veriscope predict`: the command behind its arguments."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from veriscope.bundle.scorer import InMemory, Scorer
from veriscope.data.decode import MAX_BYTES
from veriscope.errors import DataError
from veriscope.explain.evidence import CAVEAT
from veriscope.predict.face_text import faces_footer
from veriscope.predict.faces import FaceCutter, face_cutter, judge_faces
from veriscope.predict.inputs import MAX_LIST_BYTES, STDIN, Inputs, read_list
from veriscope.predict.judge import Judge, judge_of
from veriscope.predict.output import NO_VERDICT, Format, csv_header, open_output, show_verdict, write_verdicts
from veriscope.predict.unfinished import FORMS, unfinished
from veriscope.predict.video import judge_paths
from veriscope.predict.video_work import VideoWork, suffixes
from veriscope.progress import say, tracked
from veriscope.types import Verdict, VideoVerdict

if TYPE_CHECKING:
    from veriscope.predict.heat_maps import HeatMaps

SUFFIX_FORMATS: dict[str, Format] = {
    ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "lines", ".tsv": "lines",
}  # fmt: skip
FOUND = 3  # exit code: --fail-on has met what it looks for


@dataclass(frozen=True, slots=True)
class _Work:
    """All that turns paths into verdicts; without a `cutter` pictures and frames are judged as wholes."""

    scorer: Scorer
    judge: Judge
    videos: VideoWork
    cutter: FaceCutter | None
    heat: "HeatMaps | None"

    def facts(self) -> dict[str, Any]:
        """Return what decides the verdicts, as plain values for JSON."""
        return {**self.judge.facts(), **self.videos.facts(), **({} if self.cutter is None else self.cutter.facts())}

    def verdicts(self, paths: Iterable[Path], counts: Counter[str]) -> Iterator[Verdict]:
        """Yield the verdicts, counting them by their words."""
        video = partial(self.videos.verdict, scorer=self.scorer)
        for verdict in judge_paths(paths, pictures=self._pictures, video=video):
            counts[verdict.label or NO_VERDICT] += 1
            if self.heat is not None and not isinstance(verdict, VideoVerdict):
                self.heat.write(Path(verdict.path), verdict)
            yield verdict

    def _pictures(self, paths: Iterable[Path]) -> Iterator[Verdict]:
        sources = (_from_stdin() if path == STDIN else path for path in paths)
        if self.cutter is not None:
            return judge_faces(self.scorer, sources, cutter=self.cutter, judge=self.judge)
        return map(self.judge.verdict, self.scorer.score_paths(sources))


def run_predict(arguments: argparse.Namespace) -> int:
    """Judge, write, and return the exit code.

    0: everything has a verdict; 1: something has none; 3: a verdict that --fail-on names.

    Raises:
        VeriscopeError: bad bundle, threshold, device, path or output file.

    """
    form = _format(arguments)
    judge = judge_of(arguments)
    inputs = _inputs(arguments)
    cutter = face_cutter(arguments)
    videos = VideoWork(arguments, inputs, judge=judge, cutter=cutter)
    scorer = judge.bundle.scorer(
        device=arguments.device,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        calibration=judge.terms.calibration,
    )
    heat = _heat_maps(arguments.heat_maps, inputs, scorer, judge)
    work = _Work(scorer, judge, videos, cutter, heat)
    counts = _write(arguments, work, inputs, form=form)
    console = Console(stderr=True)
    said = [f"{_total(counts, judge)}. {judge.footer()} A verdict is a reason to look closer, no proof."]
    if inputs.passed:
        said.append(f"Passed over, no pictures by name: {inputs.passed_over()}.")
    if cutter is not None:
        said.append(faces_footer(cutter))
    said.extend(videos.said())
    if heat is not None:
        said.append(f"Heat maps ({heat.method}) of what speaks for each picture's class: {heat.folder}. {CAVEAT}")
    for text in said:
        console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)
    if arguments.output is not None:
        say(console, f"written: {arguments.output}")
    if any(counts[word] for word in arguments.fail_on):
        return FOUND
    return 1 if counts[NO_VERDICT] else 0


def _write(arguments: argparse.Namespace, work: _Work, inputs: Inputs, *, form: Format) -> Counter[str]:
    """Judge and write; return how often each verdict was given, those of a command that was gone on with included."""
    if arguments.output is not None and form in FORMS:
        rows = unfinished(arguments.output, inputs, form=form, facts=work.facts(), resume=arguments.resume)
        with rows as (stream, left, kept):
            counts = Counter(kept)
            answers = work.verdicts(left, counts)
            bar = tracked(answers, doing="judging", total=len(inputs), done=kept.total())
            write_verdicts(bar, stream, form=form, facts=work.facts())
            return counts
    if arguments.resume:
        raise DataError("--resume goes on with a file of rows: name it with --output FILE.csv or FILE.jsonl.")
    counts = Counter()
    answers = work.verdicts(inputs, counts)
    if form == "table":
        screen = Console()  # the bar stands below the verdicts on one screen
        for verdict in tracked(answers, doing="judging", total=len(inputs), console=screen):
            show_verdict(verdict, screen)
        return counts
    with open_output(arguments.output) as stream:
        if form == "csv":
            stream.write(csv_header())
        write_verdicts(tracked(answers, doing="judging", total=len(inputs)), stream, form=form, facts=work.facts())
    return counts


def _heat_maps(folder: Path | None, inputs: Inputs, scorer: Scorer, judge: Judge) -> "HeatMaps | None":
    if folder is None:
        return None
    if STDIN in inputs.named:
        raise DataError("--heat-maps reads each picture a second time, which standard input can't: name the file.")
    from veriscope.predict.heat_maps import HeatMaps  # late: a page's templates are not needed for verdicts

    return HeatMaps(folder, scorer=scorer, judge=judge)


def _from_stdin() -> InMemory:
    """Return the picture that standard input holds."""
    return InMemory(STDIN, sys.stdin.buffer.read(MAX_BYTES + 1))


def _inputs(arguments: argparse.Namespace) -> Inputs:
    """Return the files that the command line names, or that the lists name which it names.

    Raises:
        DataError: see Inputs and read_list.

    """
    if not arguments.from_lists:
        return Inputs(arguments.paths, suffixes=suffixes())
    lists = [(path, sys.stdin.buffer.read(MAX_LIST_BYTES + 1) if path == STDIN else None) for path in arguments.paths]
    return Inputs([named for path, stdin in lists for named in read_list(path, stdin=stdin)], suffixes=suffixes())


def _total(counts: Counter[str], judge: Judge) -> str:
    """Return '3 fake, 1 real, 2 unsure'."""
    words = ["fake", "real", *(["unsure"] if judge.may_be_unsure or counts["unsure"] else [])]
    found = [f"{counts[word]} {word}" for word in words]
    return ", ".join([*found, f"{counts[NO_VERDICT]} {NO_VERDICT}"] if counts[NO_VERDICT] else found)


def _format(arguments: argparse.Namespace) -> Format:
    """Return the form asked for, else that of the output file's extension, else table or lines."""
    asked: Format
    for asked in ("json", "jsonl", "csv"):
        if getattr(arguments, asked):
            return asked
    if arguments.output is None:
        return "table" if sys.stdout.isatty() else "lines"
    output: Path = arguments.output
    if output.suffix.lower() not in SUFFIX_FORMATS:
        endings = ", ".join(SUFFIX_FORMATS)
        raise DataError(f"--output '{output}': take --json, --jsonl or --csv, or one of the endings {endings}")
    return SUFFIX_FORMATS[output.suffix.lower()]
