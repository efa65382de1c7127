"""`veriscope reproduce NAME`: train a recipe, judge it as its entry says, hold the figures against the known."""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from veriscope.config.command import key_of, override, word
from veriscope.config.expected import Expected, ExpectedFigure, Judged
from veriscope.config.load import compose_evaluation, compose_run
from veriscope.config.schema import RunConfig
from veriscope.data.sources import load_manifest
from veriscope.errors import ConfigError, RunError
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.intervals import Interval
from veriscope.evaluation.metrics import UNDEFINED
from veriscope.files import write_text
from veriscope.progress import duration, say
from veriscope.provenance import collect, source_commit
from veriscope.run_folder import RunFolder
from veriscope.runs.batch import list_commands, run_all
from veriscope.runs.estimate import Estimate
from veriscope.runs.evaluations import evaluation_key, evaluation_slots, find_bundle, is_evaluated, read_evaluation
from veriscope.runs.pool import Job
from veriscope.runs.registry import LABELS, expected_text, is_inside, list_registry, read_expected
from veriscope.runs.results import CROSSVAL_NAME
from veriscope.runs.slots import slots_for
from veriscope.standing import differences, standing

INSIDE, OUTSIDE = 0, 1
# What a machine may need to be told, and what changes nothing of what is asked: the rest is the entry's.
_OWN_WORDS = ("paths.data", "paths.cache", "paths.runs", "model.backbone.weights", "data.num_workers", "data.root",
              "trainer.accelerator", "trainer.precision", "trainer.progress")  # fmt: skip
_EVALUATE_WORDS = ("paths.data", "paths.cache", "paths.runs", "data.num_workers", "data.root")


@dataclass(frozen=True, slots=True)
class Compared:
    """One expected figure and what came out."""

    judged: str
    metric: str
    expected: ExpectedFigure
    found: Figure
    inside: bool


def run_reproduce(arguments: argparse.Namespace) -> int:
    """Do what `veriscope reproduce` was asked for; return 0 where every figure is inside, else 1.

    Raises:
        VeriscopeError: an entry or a word that is none, a training or an evaluation that failed.
        KeyboardInterrupt: Ctrl-C; said again, the command goes on.

    """
    if arguments.list:
        list_registry(Console())
        return INSIDE
    if arguments.name is None:
        raise ConfigError("name what to reproduce; veriscope reproduce --list shows what there is")
    name, entry = read_expected(arguments.name)
    words = _checked(arguments.set)
    config = compose_run([*entry.train_words, *words])
    evaluations = {key: _evaluate_words(one, words) for key, one in entry.judged.items() if one.by == "evaluation"}
    for told in evaluations.values():
        compose_evaluation(["bundle=BUNDLE", *told])  # a misspelt word must not wait for the training
    if arguments.output is not None:
        folder = arguments.output
    else:
        own = name if arguments.run_folder is None else f"{name}__{arguments.run_folder.resolve().name}"
        folder = config.paths.runs / "reproduce" / own
    run = RunFolder(arguments.run_folder or folder / "run")
    if arguments.dry_run:
        jobs = [] if arguments.run_folder else [_train_job([*entry.train_words, *words], run)]
        list_commands([*jobs, *(_dry_job(told, run, folder / "judged" / key) for key, told in evaluations.items())],
                      console=Console())  # fmt: skip
        return INSIDE
    if arguments.run_folder is not None:
        run.load_config()  # a run that isn't there must leave no folder behind
    if folder.exists() and not folder.is_dir():
        raise RunError(f"'{folder}' is no folder; choose another --output")
    console = Console(stderr=True)
    say(console, f"{name}: {entry.title}")
    folder.mkdir(parents=True, exist_ok=True)
    with RunFolder(folder).locked():
        if arguments.run_folder is None:
            _train(entry, config, run, words=words, console=console)
        else:
            _say_differences(run, config, console=console)
        found = _judge(entry, evaluations, run, folder, console=console)
        return _conclude(name, entry, found, run, folder, console=console)


def _checked(words: Sequence[str]) -> list[str]:
    for said in words:
        if "=" not in said or key_of(said) not in _OWN_WORDS:
            raise ConfigError(
                f"--set {said} would change what is reproduced; it takes {', '.join(_OWN_WORDS)}. For another recipe "
                "copy the entry and name its file"
            )
    return list(words)


def _evaluate_words(one: Judged, words: Sequence[str]) -> list[str]:
    return [
        word("data", one.data),
        *([] if one.subset == "auto" else [f"subset={one.subset}"]),
        *([] if one.corruption is None else [word("corruption", one.corruption)]),
        *one.words,
        *(said for said in words if key_of(said) in _EVALUATE_WORDS),
    ]


def _train_job(words: Sequence[str], run: RunFolder) -> Job:
    told = (*words, word("paths.run_dir", run.path))
    return Job(name="training", words=told, folder=run.path, log=run.path.with_name("run.log"))


def _dry_job(words: Sequence[str], run: RunFolder, place: Path) -> Job:
    told = (word("bundle", run.bundle), *words, word("paths.run_dir", place))
    return Job(name="", words=told, folder=place, log=place, program="evaluate")


def _train(entry: Expected, config: RunConfig, run: RunFolder, *, words: Sequence[str], console: Console) -> None:
    """Train the entry's run where it isn't complete.

    Raises:
        RunError: it failed, or another run lies there.

    """
    where = standing(run, config)
    if where == "complete":
        commit = run.load_provenance().get("commit") or "unknown"
        say(console, f"the run is complete (commit {commit[:12]}): {run.path}; remove it to train anew")
        return
    cost = f"expect {duration(60 * entry.cost.minutes)} on {entry.cost.machine}"
    say(console, f"{'goes on with' if where == 'begun' else 'trains in'} {run.path}; {cost}")
    begun = Job("training", (word("resume", run.path),), run.path, run.path.with_name("run.log"))
    failed = run_all(
        [begun if where == "begun" else _train_job([*entry.train_words, *words], run)],
        slots=slots_for([config], workers=1, key="reproduce"),
        estimate=Estimate(num_runs=1, places=1),
        num_epochs=config.planned_epochs,
        stop_at_failure=True,
        console=console,
    )
    if failed:
        raise RunError(f"the training failed: {failed[0].reason} (all it said: {failed[0].job.log}). The same command "
                       "goes on with it")  # fmt: skip


def _say_differences(run: RunFolder, config: RunConfig, *, console: Console) -> None:
    """Say what an existing run was trained with beside the entry: its figures then say nothing of the entry."""
    found = differences(config, run.load_config())
    if found:
        shown = "; ".join(line.replace(" was ", " should be ") for line in found[:8])
        say(console, f"Mind: '{run.path}' is another recipe than the entry's: {shown}" + ("; ..." * (len(found) > 8)))


def _judge(
    entry: Expected, evaluations: dict[str, list[str]], run: RunFolder, folder: Path, *, console: Console
) -> list[Compared]:
    """Judge the run in each of the entry's ways and return every figure beside the expected one.

    Raises:
        RunError: an evaluation failed, or the run left no bundle or no folds.

    """
    places: dict[str, Path] = {}
    jobs, slots = [], [dict[str, str]()]
    for key, words in evaluations.items():
        bundle = find_bundle(run.path)
        config = compose_evaluation([word("bundle", bundle.folder), *words])
        manifest = load_manifest(config.data, paths_cache=config.paths.cache, both_classes=False)
        made = evaluation_key(config, bundle, data_hash=manifest.content_hash)
        known = next((place for place in places.values() if place.name.endswith(f"__{made}")), None)
        places[key] = place = known or folder / "judged" / f"{key}__{made}"
        slots = evaluation_slots(config, workers=1, key="reproduce")
        if known is None and not is_evaluated(place):
            told = (word("bundle", bundle.folder), *words, word("paths.run_dir", place))
            log = place.with_name(f"{place.name}.log")
            jobs.append(Job(f"judging {key}", told, place, log, program="evaluate", quiet=True))
    if jobs:
        estimate = Estimate(num_runs=len(jobs), places=1, noun="judgement")
        failed = run_all(jobs, slots=slots, estimate=estimate, stop_at_failure=False, console=console)
        if failed:
            raise RunError(f"{failed[0].job.name} failed: {failed[0].reason} (all it said: {failed[0].job.log})")
    found = []
    for key, one in entry.judged.items():
        for metric, expected in one.figures.items():
            if one.by == "folds":
                figure = _folds_figure(run, metric)
            else:
                figure = read_evaluation(places[key]).figure(metric, threshold=one.threshold)
            found.append(Compared(key, metric, expected, figure, is_inside(expected, figure, rule=entry.rule)))
    return found


def _folds_figure(run: RunFolder, metric: str) -> Figure:
    """Return a cross-validation's mean with the interval of the mean, Student's t over the folds."""
    file = run.path / CROSSVAL_NAME
    try:
        over = json.loads(file.read_text(encoding="utf-8"))["metrics"][metric]
        mean, low, high = (float(over[key]) for key in ("mean", "low", "high"))
        if not all(map(math.isfinite, (mean, low, high))):
            raise ValueError(f"{mean} ({low} to {high}) is no figure")
        return Figure(mean, Interval(low, high, 0.95, "student t"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"'{file}' is missing or damaged ({type(error).__name__}), or has no {metric}") from None


def _conclude(
    name: str, entry: Expected, found: Sequence[Compared], run: RunFolder, folder: Path, *, console: Console
) -> int:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("judged on", "figure", "expected", "found", ""):
        grid.add_column(title)
    for one in found:
        style = "" if one.inside else "bold red"
        grid.add_row(one.judged, LABELS[one.metric], expected_text(one.expected), found_text(one.found), said(one),
                     style=style)  # fmt: skip
    Console().print(grid)
    inside = all(one.inside for one in found)
    num_inside = sum(one.inside for one in found)
    write_text(folder / "reproduce.json", json.dumps(_record(name, entry, found, run), indent=2) + "\n")
    say(console, f"{'inside' if inside else 'OUTSIDE'}: {num_inside} of {len(found)} figures of '{name}' are had again "
                 f"(expected by {entry.source.name})")  # fmt: skip
    if entry.notes and not inside:
        say(console, f"note: {entry.notes.strip()}")
    say(console, f"run: {run.path}, judgements: {folder / 'judged'}, record: {folder / 'reproduce.json'}")
    return INSIDE if inside else OUTSIDE


def found_text(figure: Figure) -> str:
    """Return `0.990 (0.973 to 1.000)`."""
    if figure.value is None:
        return UNDEFINED
    span = "" if figure.interval is None else f" ({figure.interval.low:.3f} to {figure.interval.high:.3f})"
    return f"{figure.value:.3f}{span}"


def said(one: Compared) -> str:
    """Return `inside`, or on which side of the expected interval the figure lies."""
    if one.inside:
        return "inside"
    if one.found.value is None:
        return "outside: undefined"
    return "outside: below" if one.found.value < one.expected.low else "outside: above"


def _record(name: str, entry: Expected, found: Sequence[Compared], run: RunFolder) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "reproduction",
        "name": name,
        "inside": all(one.inside for one in found),
        "rule": entry.rule,
        "figures": [
            {
                "judged": one.judged,
                "metric": one.metric,
                "expected": one.expected.model_dump(),
                "found": {
                    "value": one.found.value,
                    "low": None if one.found.interval is None else one.found.interval.low,
                    "high": None if one.found.interval is None else one.found.interval.high,
                },
                "inside": one.inside,
                "says": said(one),
            }
            for one in found
        ],
        "entry": entry.model_dump(mode="json"),
        "run": {
            "folder": str(run.path),
            "resume": override("resume", run.path),
            "provenance": {key: value for key, value in run.load_provenance().items() if key != "resumed"},
        },
        "provenance": collect(seed=42, data_hash=None, commit=source_commit()),
    }
