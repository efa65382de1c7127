"""One table of many runs: what differs between them, what came of them, and the spread over seeds or folds."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from veriscope.config.schema import RunConfig
from veriscope.data.sources import load_manifest
from veriscope.data.splits import fold_numbers
from veriscope.errors import RunError
from veriscope.evaluation.metrics import METRICS
from veriscope.files import write_text
from veriscope.progress import duration, say
from veriscope.run_folder import RunFolder
from veriscope.runs.aggregate import Spread, figure_text, metric_spreads, spread_text
from veriscope.runs.ensemble import write_ensemble
from veriscope.runs.fold_report import write_fold_report
from veriscope.runs.results import RunResult, read_run
from veriscope.standing import essence

_REPEATS = ("seed", "split.fold")  # runs that differ in these alone ask the same question again
_SHOWN = ("auroc", "accuracy", "recall", "specificity")
_LABELS = {metric.key: metric.label for metric in METRICS}
NAME = "summary"


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in seed or fold alone. `setting`: what sets the group apart from the other groups."""

    setting: dict[str, Any]
    runs: tuple[RunResult, ...]
    spreads: dict[str, Spread]

    @property
    def name(self) -> str:
        """The setting in words."""
        return ", ".join(f"{key}={value}" for key, value in self.setting.items()) or "all"

    @property
    def all_folds(self) -> bool:
        """Whether every fold was trained once."""
        folds = sorted(-1 if run.config.split.fold is None else run.config.split.fold for run in self.runs)
        return folds == list(range(self.runs[0].config.split.num_folds))


def summarise(folder: Path, *, console: Console) -> list[Group]:
    """Print a table of the runs below `folder`, write it there as summary.csv and summary.json, and judge folds.

    Returns the complete runs, those that ask the same question in one group. Where the runs are all folds of a
    cross-validation, its report is written too.

    Raises:
        RunError: no run lies there, or a run's files are damaged.

    """
    runs = read_runs(folder)
    varied = varying(runs)
    done = [run for run in runs if run.status == "complete"]
    groups = grouped(done, varied)
    _write(folder, runs, varied, groups)
    _print(runs, varied, groups, console=console)
    whole = [group for group in groups if group.all_folds and len(group.runs) > 1]
    for number, group in enumerate(whole):
        place = folder if len(whole) == 1 else folder / f"crossval_{number}"
        place.mkdir(exist_ok=True)
        _judge_folds(group, place, console=console)
    say(console, f"summary: {folder / NAME}.csv, {NAME}.json")
    return groups


def read_runs(folder: Path) -> list[RunResult]:
    """Return the results of the run folders in `folder`, in the order of their numbers.

    Raises:
        RunError: there is none, or one is damaged.

    """
    if not folder.is_dir():
        raise RunError(f"there is no folder '{folder}'; name one that holds run folders, as runs/sweeps/...")
    places = [place for place in folder.iterdir() if not (place / "study.db").exists()]  # a sweep has its own table
    found = [RunFolder(place) for place in places if RunFolder(place).config.is_file()]
    if not found:
        raise RunError(f"'{folder}' holds no run folders: none of its folders has a config.yaml")
    return [read_run(run) for run in sorted(found, key=lambda run: (len(run.path.name), run.path.name))]


def varying(runs: Sequence[RunResult]) -> list[str]:
    """Return the dotted keys in which the runs differ."""
    flat = [essence(run.config) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    return [key for key in keys if len({json.dumps(one.get(key)) for one in flat}) > 1]


def grouped(runs: Sequence[RunResult], varied: Sequence[str]) -> list[Group]:
    """Return the runs that ask the same question, group by group, with the spread of each figure over them."""
    by_setting: dict[str, tuple[dict[str, Any], list[RunResult]]] = {}
    same_data = len({run.data_hash for run in runs}) == 1
    for run in runs:
        flat = essence(run.config)
        setting = {key: flat.get(key) for key in varied if key not in _REPEATS}
        if not same_data:  # the same words, but other pictures: another question
            setting["data_hash"] = run.data_hash[:12]
        by_setting.setdefault(json.dumps(setting, sort_keys=True), (setting, []))[1].append(run)
    return [Group(setting, tuple(members), _spreads(members)) for setting, members in by_setting.values()]


def _spreads(runs: Sequence[RunResult]) -> dict[str, Spread]:
    folds = {run.config.split.fold for run in runs}
    ratio = 1 / (runs[0].config.split.num_folds - 1) if len(folds) > 1 else 0.0
    return metric_spreads([run.figures for run in runs], val_to_train=ratio)


def _write(folder: Path, runs: Sequence[RunResult], varied: Sequence[str], groups: Sequence[Group]) -> None:
    keys = [metric.key for metric in METRICS]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["run", "status", *varied, *keys, "seconds", "images_per_s"])
    writer.writeheader()
    rows = [_row(run, varied) for run in runs]
    writer.writerows(rows)
    write_text(folder / f"{NAME}.csv", text.getvalue())
    content = {
        "schema_version": 1,
        "kind": "multirun",
        "varied": list(varied),
        "runs": rows,
        "groups": [
            {
                "setting": group.setting,
                "runs": [run.name for run in group.runs],
                "metrics": {key: value._asdict() for key, value in group.spreads.items()},
            }
            for group in groups
        ],
    }
    write_text(folder / f"{NAME}.json", json.dumps(content, indent=2) + "\n")


def _row(run: RunResult, varied: Sequence[str]) -> dict[str, Any]:
    flat = essence(run.config)
    return {
        "run": run.name,
        "status": run.status,
        **{key: flat.get(key) for key in varied},
        **run.figures,
        "seconds": round(run.seconds, 1),
        "images_per_s": run.images_per_s,
    }


def _print(runs: Sequence[RunResult], varied: Sequence[str], groups: Sequence[Group], *, console: Console) -> None:
    shown = [key for key in varied if key not in ("model.name", "experiment")][:6]
    grid = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("run", *shown, *(_LABELS[key] for key in _SHOWN), "training"):
        grid.add_column(name)
    for run in runs:
        flat = essence(run.config)
        figures = [figure_text(run.figures.get(key)) for key in _SHOWN] if run.figures else [run.status] + [""] * 3
        grid.add_row(run.name, *(str(flat.get(key)) for key in shown), *figures, duration(run.seconds))
    console.print(grid)
    for group in groups:
        if len(group.runs) > 1:
            parts = []
            for key in ("auroc", "accuracy"):
                value, span = spread_text(group.spreads.get(key))
                parts.append(f"{_LABELS[key]} {value}" + (f" (95 % interval of the mean {span})" if span else ""))
            say(console, f"{group.name}: {len(group.runs)} runs, {', '.join(parts)}")
    say(console, "figures of val, at the threshold 0.5; val also chose each run's best epoch and its temperature")


def _judge_folds(group: Group, folder: Path, *, console: Console) -> None:
    """Write the report of a cross-validation whose folds were trained as separate points; if wanted, the ensemble."""
    config: RunConfig = group.runs[0].config
    split = config.split.model_copy(update={"name": "kfold", "fold": None})
    manifest = load_manifest(config.data, paths_cache=config.paths.cache)
    by_fold = sorted(group.runs, key=lambda run: run.config.split.fold or 0)
    whole = config.model_copy(update={"split": split})
    judged = write_fold_report(
        whole,
        RunFolder(folder),
        manifest,
        fold_numbers(manifest, split),
        folds=[run.folder for run in by_fold],
        console=console,
    )
    if config.crossval.ensemble:
        write_ensemble(whole, RunFolder(folder), judged, console=console)
