"""`veriscope align`: a copy of a data set in which format, size and JPEG history tell nothing about the class."""

import argparse
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
from rich.console import Console

from veriscope.audit.align_facts import HeaderFacts, header_facts
from veriscope.audit.align_folder import AlignFolder, Done, is_complete, open_folder, out_paths, refuse_other
from veriscope.audit.align_picture import align_picture
from veriscope.audit.align_plan import AlignPlan, plan_alignment
from veriscope.audit.align_text import Cost, Outcome, outcome_lines, plan_lines, summary_of
from veriscope.config.named_data import data_title, named_data
from veriscope.config.schema import DataConfig
from veriscope.data.decode import MAX_PIXELS, read_file
from veriscope.data.manifest import Manifest
from veriscope.data.scan import scan_folder
from veriscope.data.sources import load_manifest
from veriscope.errors import ConfigError, DataError, DecodeError
from veriscope.processes import num_cores
from veriscope.progress import say, tracked
from veriscope.provenance import collect, source_commit
from veriscope.types import CLASS_NAMES, FAKE

VERSION = 1  # raise it whenever the same options make other pictures
_BATCH = 512  # pictures handed to the workers at a time
_SAMPLE = 24  # pictures that time and disk are estimated from

T = TypeVar("T")
R = TypeVar("R")
Facts = Sequence[HeaderFacts | str]


@dataclass(frozen=True, slots=True)
class Job:
    """A data set, what is to be done to it, and where."""

    title: str
    config: DataConfig
    manifest: Manifest
    facts: Facts
    plan: AlignPlan
    paths: list[str]
    out: Path
    key: dict[str, Any]
    num_workers: int


def run_align(arguments: argparse.Namespace) -> int:
    """Align, say what it came to, and return the exit code: 0 done, 1 done but for pictures that can't be read.

    Raises:
        VeriscopeError: no usable data, options that don't fit, a folder that is taken, too little disk.

    """
    console = Console(stderr=True)
    job = prepare(arguments)
    for line in plan_lines(job.title, job.manifest, job.facts, job.plan, strata=strata_of(job.manifest)):
        say(console, line)
    refuse_other(job.out, key=job.key)
    if is_complete(job.out):
        say(console, f"'{job.out}' is complete: nothing to do.")
        return 0
    if arguments.dry_run:
        say(console, f"{estimate(job, job.plan.rows)}. Nothing was written.")
        return 0
    with open_folder(job.out, key=job.key, paths=job.paths, rows=job.plan.rows) as folder:
        done = folder.load_done()
        rows = [row for row in job.plan.rows if row not in done]
        cost = estimate(job, rows)
        say(console, f"{cost}" + (f"; {len(done):,} are there already." if done else "."))
        cost.refuse_full_disk(job.out)
        done |= _write_all(job, folder, rows, num_before=len(done), console=console)
        outcome = _outcome(job, done)
        _check_opens(job, outcome)
        summary = summary_of(
            outcome,
            plan=job.plan,
            manifest=job.manifest,
            title=job.title,
            provenance=collect(seed=arguments.seed, data_hash=job.manifest.content_hash, commit=source_commit()),
        )
        folder.finish(job.manifest, done, summary=summary)
    for line in outcome_lines(outcome, plan=job.plan, out=job.out):
        say(console, line)
    return 1 if outcome.unreadable else 0


def prepare(arguments: argparse.Namespace) -> Job:
    """Return the job that the command line asks for; every header is read, nothing is written.

    Raises:
        ConfigError: unknown data or options.
        DataError: unusable data, or data and folder lie in each other.

    """
    config, paths = named_data(arguments.data, settings=arguments.set)
    if config.shuffle_labels:
        raise ConfigError("data.shuffle_labels=true would align by labels that are wrong on purpose; leave it out.")
    manifest = load_manifest(config, paths_cache=paths.cache)
    out = Path(arguments.out).expanduser().absolute()
    refuse_overlap(out, manifest, is_folder=config.kind != "manifest")
    num_workers = arguments.workers or num_cores()
    files = list(manifest.absolute_paths())
    header = partial(_header, max_pixels=config.max_pixels)
    found = tracked(_in_order(header, files, num_workers), doing="reading headers", total=len(files))
    facts = list(found)
    plan = plan_alignment(
        facts,
        names=manifest.table["path"].to_pylist(),
        strata=strata_of(manifest),
        size=arguments.size,
        file_format=arguments.format,
        quality=arguments.quality,
        seed=arguments.seed,
    )
    key = {
        "version": VERSION,
        "data": manifest.content_hash,
        "headers": hashlib.sha256(repr(facts).encode()).hexdigest(),
        "size": arguments.size,
        "format": arguments.format,
        "quality": arguments.quality or "match",
        "seed": arguments.seed,
        "pillow": PIL.__version__,
    }
    suffix = ".jpg" if plan.format == "jpeg" else ".png"
    return Job(
        data_title(config), config, manifest, facts, plan, out_paths(manifest, suffix=suffix), out, key, num_workers
    )


def strata_of(manifest: Manifest) -> list[str]:
    """Return what each row has to be like the others in: its class, of fakes with the generator."""
    return [
        f"{CLASS_NAMES[label]} {generator}" if label == FAKE and generator is not None else CLASS_NAMES[label]
        for label, generator in zip(manifest.labels.tolist(), manifest.generators.tolist(), strict=True)
    ]


def refuse_overlap(out: Path, manifest: Manifest, *, is_folder: bool) -> None:
    """Refuse a folder inside the data, or around it; links are followed to where they lead.

    Raises:
        DataError: they lie in each other.

    """
    target = out.resolve()
    parents = {(manifest.root / path).parent for path in map(Path, manifest.table["path"].to_pylist())}
    places = {folder.resolve() for folder in parents} | ({manifest.root.resolve()} if is_folder else set())
    for place in sorted(places):
        if target.is_relative_to(place) or place.is_relative_to(target):
            raise DataError(f"'{out}' and the data in '{place}' lie in each other; name a folder elsewhere.")


def estimate(job: Job, rows: Sequence[int]) -> Cost:
    """Return what the pictures `rows` will cost, measured on a few of them; nothing is written."""
    sample = rows[:: max(len(rows) // _SAMPLE, 1)][:_SAMPLE]
    start = time.perf_counter()
    sizes = [len(made) for made, _ in _in_order(lambda row: _made(job, row), sample, job.num_workers) if made]
    seconds = (time.perf_counter() - start) / max(len(sample), 1) * len(rows)
    above = next(folder for folder in (job.out, *job.out.parents) if folder.exists())
    return Cost(
        num_pictures=len(rows),
        seconds=seconds,
        num_workers=job.num_workers,
        size_bytes=round(float(np.mean(sizes)) * len(rows)) if sizes else 0,
        free_bytes=shutil.disk_usage(above).free,
    )


def _made(job: Job, row: int) -> tuple[bytes, Done]:
    """Return one aligned file, empty where there is none, and what to note of it."""
    treatment = job.plan.treatments[row]
    if treatment is None:
        raise ValueError(f"row {row} has no treatment")
    try:
        source = read_file(job.manifest.absolute_path(row))
        data, converted = align_picture(source, treatment, max_pixels=job.config.max_pixels)
    except DecodeError as error:
        return b"", Done(row, problem=error.reason)
    return data, Done(row, len(data), hashlib.sha256(source).hexdigest(), converted)


def _write_all(
    job: Job, folder: AlignFolder, rows: Sequence[int], *, num_before: int, console: Console
) -> dict[int, Done]:
    """Write the pictures `rows`; return what was noted of each."""

    def work(row: int) -> Done:
        data, done = _made(job, row)
        if data:
            folder.write(row, data)
        return done

    found: dict[int, Done] = {}
    try:
        with folder.recording() as recorder:
            for done in tracked(_in_order(work, rows, job.num_workers), doing="aligning", total=len(rows)):
                recorder.note(done)
                found[done.row] = done
    except KeyboardInterrupt:
        num = num_before + len(found)
        say(console, f"stopped: {num:,} of {len(job.plan.rows):,} are done; the same command goes on behind them.")
        raise
    return found


def _outcome(job: Job, done: Mapping[int, Done]) -> Outcome:
    written = [row for row in sorted(done) if not done[row].problem]
    names = job.manifest.table["path"].to_pylist()
    files = [job.out / job.paths[row] for row in written]
    after = list(tracked(_in_order(_header, files, job.num_workers), doing="checking", total=len(files)))
    broken = [file for file, fact in zip(files, after, strict=True) if isinstance(fact, str)]
    if broken:
        raise DataError(f"'{broken[0]}' was written and can't be read; remove it and start again.")
    return Outcome(
        labels=job.manifest.labels[written],
        generators=[job.manifest.generators[row] for row in written],
        before=[fact for row in written if isinstance(fact := job.facts[row], HeaderFacts)],
        after=[fact for fact in after if isinstance(fact, HeaderFacts)],
        past=job.plan.past[written],
        left_out={names[row]: reason for row, reason in job.plan.left_out.items()},
        unreadable={names[row]: str(job.facts[row]) for row in job.plan.left_out if isinstance(job.facts[row], str)}
        | {names[row]: one.problem for row, one in done.items() if one.problem},
        num_converted=sum(one.converted for one in done.values()),
    )


def _check_opens(job: Job, outcome: Outcome) -> None:
    """Read the folder as anybody would, and compare the counts: nothing else may lie in it.

    Raises:
        DataError: it isn't the data set that was written.

    """
    found = scan_folder(job.out)
    if len(found) != len(outcome.after) or int(found.labels.sum()) != int(outcome.labels.sum()):
        raise DataError(
            f"'{job.out}' holds {len(found):,} pictures, but {len(outcome.after):,} were written; remove what is "
            "not of the alignment."
        )


def _header(path: Path, *, max_pixels: int = MAX_PIXELS) -> HeaderFacts | str:
    try:
        return header_facts(path, max_pixels=max_pixels)
    except DecodeError as error:
        return error.reason


def _in_order(work: Callable[[T], R], items: Sequence[T], num_workers: int) -> Iterator[R]:
    """Yield what `work` makes of each item, in order. Threads: the codecs and SHA-256 release Python's lock."""
    pool = ThreadPoolExecutor(max_workers=num_workers)
    try:
        for start in range(0, len(items), _BATCH):
            yield from pool.map(work, items[start : start + _BATCH])  # a million at once would be a million futures
    finally:
        pool.shutdown(cancel_futures=True)
