"""`veriscope predict`: the command behind its arguments."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console

from veriscope.bundle.bundle import Bundle, load_bundle
from veriscope.errors import DataError, printable
from veriscope.predict.images import collect_images, judge_images
from veriscope.predict.output import Format, footer, open_output, write_verdicts
from veriscope.progress import say, tracked
from veriscope.types import Verdict, VerdictName

SUFFIX_FORMATS: dict[str, Format] = {".json": "json", ".csv": "csv", ".txt": "lines", ".tsv": "lines"}


def run_predict(arguments: argparse.Namespace) -> int:
    """Judge, write, and return the exit code: 0 everything judged, 1 something without a verdict.

    Raises:
        VeriscopeError: bad bundle, threshold, device, path or output file.

    """
    form = _format(arguments)
    bundle = load_bundle(arguments.bundle)
    terms = bundle.terms(base_rate=arguments.base_rate)
    threshold = terms.preferred if arguments.threshold is None else terms.threshold(arguments.threshold)
    band = None if arguments.no_unsure else terms.band(threshold)
    strange_from = None if arguments.no_unsure else _strange_from(bundle, asked=arguments.ood_threshold)
    paths, passed = collect_images(arguments.paths)
    scorer = bundle.scorer(
        device=arguments.device,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        calibration=terms.calibration,
    )
    console = Console(stderr=True)
    counts = Counter[VerdictName | None]()

    def counted(verdicts: Iterable[Verdict]) -> Iterator[Verdict]:
        for verdict in verdicts:
            counts[verdict.label] += 1
            yield verdict

    with open_output(arguments.output) as stream:
        answers = counted(judge_images(scorer, paths, threshold=threshold, band=band, strange_from=strange_from))
        verdicts = tracked(answers, doing="judging", total=len(paths))
        write_verdicts(
            verdicts,
            stream,
            form=form,
            bundle=bundle,
            terms=terms,
            threshold=threshold,
            band=band,
            strange_from=strange_from,
        )
    total = f"{counts['fake']} fake, {counts['real']} real" + (
        f", {counts['unsure']} unsure" if band or strange_from else ""
    )
    total += f", {counts[None]} no verdict" if counts[None] else ""
    text = footer(bundle, threshold, terms=terms, band=band, strange_from=strange_from)
    console.print(f"{total}. {text}", style="dim", highlight=False, markup=False, soft_wrap=True)
    if passed:
        kinds = ", ".join(f"{count} {printable(suffix)}" for suffix, count in sorted(passed.items()))
        console.print(f"Passed over, no pictures by name: {kinds}.", style="dim", highlight=False, markup=False)
    if arguments.output is not None:
        say(console, f"written: {arguments.output}")
    return 1 if counts[None] else 0


def _strange_from(bundle: Bundle, *, asked: float | None) -> float | None:
    """Return the `ood` from which a picture is unsure: what was asked for, else the bundle's; None: none is.

    Raises:
        DataError: asked of a bundle that can't tell, or no share.

    """
    own = bundle.record.ood
    if asked is None:
        return None if own is None or own.threshold >= 1 else own.threshold
    if own is None:
        raise DataError(
            f"--ood-threshold: bundle '{bundle.folder}' has no out-of-distribution score. "
            "Leave the option out, or train anew with ood.method=knn."
        )
    if not 0.5 < asked <= 1:
        raise DataError(f"--ood-threshold {asked:g}: a share of validation above 0.5 and at most 1, as 0.99 (1: none).")
    return None if asked >= 1 else asked


def _format(arguments: argparse.Namespace) -> Format:
    """Return the form asked for, else that of the output file's extension, else table or lines."""
    if arguments.json:
        return "json"
    if arguments.csv:
        return "csv"
    if arguments.output is None:
        return "table" if sys.stdout.isatty() else "lines"
    output: Path = arguments.output
    if output.suffix.lower() not in SUFFIX_FORMATS:
        raise DataError(f"--output '{output}': take --json or --csv, or one of the endings {', '.join(SUFFIX_FORMATS)}")
    return SUFFIX_FORMATS[output.suffix.lower()]
