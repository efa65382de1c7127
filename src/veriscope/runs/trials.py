"""One trial of a sweep: its words, what its files say while it runs, and what it came to."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from veriscope.config.schema import RunConfig
from veriscope.config.sweep import LOGGED, SPEED
from veriscope.errors import RunError
from veriscope.run_folder import RunFolder
from veriscope.runs.results import CROSSVAL_NAME, best_epoch, fold_folder, history_rows, read_figures, run_seconds


def trial_folder(sweep: RunFolder, number: int) -> RunFolder:
    """Return where one trial trains."""
    return RunFolder(sweep.path / f"trial_{number:03}")


def log_file(sweep: RunFolder, number: int) -> Path:
    """Return where all that one trial says is kept."""
    return sweep.path / f"trial_{number:03}.log"


def params_text(params: Mapping[str, Any]) -> str:
    """Return `lr 0.00012, tap block3`: short names, for people."""
    names = short_names(params)
    return ", ".join(f"{names[key]} {number_text(value)}" for key, value in params.items())


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return for each dotted key as much of its end as tells it from the others: `lr` for optim.lr."""
    parts = {key: key.split(".") for key in keys}
    found = {}
    for key, words in parts.items():
        for length in range(1, len(words) + 1):
            tail = words[-length:]
            if sum(other[-length:] == tail for other in parts.values()) == 1:
                break
        found[key] = ".".join(tail)
    return found


def number_text(value: Any) -> str:
    """Return a number in four digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def logged(folder: RunFolder, config: RunConfig, *, metric: str) -> list[float]:
    """Return the objective as it stood after each epoch; of a cross-validation its mean after each complete fold.

    Folds count in their order: the mean of one and three would be no step on the way to the mean of all.
    """
    if not config.split.all_folds:
        return [_number(row.get(metric)) for row in history_rows(folder)]
    figures: list[float] = []
    for number in range(config.split.num_folds):
        fold = fold_folder(folder, number)
        progress = fold.load_progress() if fold.config.exists() else None
        if progress is None or not progress.complete:
            break
        value = read_figures(fold.validation / "figures.json")[metric.removeprefix("val/")]
        figures.append(math.nan if value is None else value)
    return [statistics.fmean(figures[: count + 1]) for count in range(len(figures))]


def outcome(folder: RunFolder, config: RunConfig, *, objectives: Sequence[str], data_hash: str) -> tuple[float, ...]:
    """Return the objectives of a complete trial, all finite.

    `val/...` is of the epoch that ships. Of a cross-validation each is the mean over folds.

    Raises:
        RunError: one is undefined, files are missing or damaged, or the trial's data isn't that of `data_hash`.

    """
    read = _folds_outcome if config.split.all_folds else _run_outcome
    values, found_hash = read(folder, config, objectives)
    if found_hash != data_hash:
        raise RunError("the pictures have changed since the sweep began")
    for objective, value in zip(objectives, values, strict=True):
        if not math.isfinite(value):
            raise RunError(f"{objective} is undefined")
    return tuple(values)


def _run_outcome(folder: RunFolder, config: RunConfig, objectives: Sequence[str]) -> tuple[list[float], str]:
    progress = folder.load_progress()
    rows = history_rows(folder)
    if progress is None or not rows:
        raise RunError(f"'{folder.path}' holds no finished run")
    best = rows[best_epoch(rows, monitor=config.callbacks.monitor)]
    figures = read_figures(folder.validation / "figures.json")
    values = []
    for objective in objectives:
        if objective in LOGGED:
            values.append(_number(best[objective]))
        elif objective == SPEED:
            values.append(statistics.median(_number(row[SPEED]) for row in rows))
        else:
            values.append(_number(figures[objective]))
    return values, progress.data_hash


def _folds_outcome(folder: RunFolder, config: RunConfig, objectives: Sequence[str]) -> tuple[list[float], str]:
    file = folder.path / CROSSVAL_NAME
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        values = []
        for objective in objectives:
            if objective == SPEED:
                values.append(statistics.fmean(fold[SPEED] for fold in summary["folds"]))
            else:
                spread = summary["metrics"].get(objective.removeprefix("val/"))
                values.append(math.nan if spread is None else float(spread["mean"]))
        return values, str(summary["data_hash"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{file}' is missing or damaged ({type(error).__name__})") from None


def trial_seconds(folder: RunFolder, *, measured_s: float = 0.0) -> float:
    """Return how long a trial took: as measured, or the time of its epochs where an earlier start had a part in it."""
    return max(measured_s, run_seconds(folder))


def _number(value: Any) -> float:
    return math.nan if value in (None, "") else float(value)
