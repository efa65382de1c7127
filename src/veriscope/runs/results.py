"""What a run folder says of its run: standing, figures, time. Read from its files alone."""

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from veriscope.config.schema import RunConfig
from veriscope.config.sweep import LOGGED
from veriscope.errors import RunError
from veriscope.evaluation.metrics import METRICS, Scores
from veriscope.run_folder import HARDWARE_FACTS, RunFolder

# Tuned on val itself, the threshold "val" flatters the figures at it; 0.5 was never tuned.
JUDGED_AT = "default"
COMPARED = "val/auroc"  # what pictures over folds draw
CROSSVAL_NAME = "crossval.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run of many. `figures` are of val, at the threshold 0.5; empty unless the run is complete. `hardware` holds
    what 'auto' came to (HARDWARE_FACTS)."""

    name: str
    folder: RunFolder
    config: RunConfig
    status: Literal["complete", "unfinished"]
    figures: Scores
    seconds: float
    images_per_s: float | None
    data_hash: str
    hardware: dict[str, str]


def read_run(folder: RunFolder) -> RunResult:
    """Return the result of the run in `folder`.

    Raises:
        RunError: no run lies there, or its files are damaged.

    """
    progress = folder.load_progress()
    complete = progress is not None and progress.complete
    provenance = folder.load_provenance()
    speeds = [float(row["images_per_s"]) for row in history_rows(folder)]
    return RunResult(
        name=folder.path.name,
        folder=folder,
        config=folder.load_config(),
        status="complete" if complete else "unfinished",
        figures=_figures(folder) if complete else {},
        seconds=run_seconds(folder),
        images_per_s=statistics.median(speeds) if speeds else None,
        data_hash="" if progress is None else progress.data_hash,
        hardware={key: str(provenance[key]) for key in HARDWARE_FACTS if key in provenance},
    )


def _figures(folder: RunFolder) -> Scores:
    """Return a run's figures; of a cross-validation the means over its folds."""
    file = folder.path / CROSSVAL_NAME
    if not file.is_file():
        return read_figures(folder.validation / "figures.json")
    try:
        means = json.loads(file.read_text(encoding="utf-8"))["metrics"]
        return {metric.key: means[metric.key]["mean"] if metric.key in means else None for metric in METRICS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{file}' is damaged ({type(error).__name__}); remove it and resume") from None


def read_figures(file: Path) -> Scores:
    """Return every metric's value out of a judgement's JSON, at the threshold 0.5.

    Raises:
        RunError: the file is missing or damaged.

    """
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        found = {**plain["metrics"], **plain["thresholds"][JUDGED_AT]["metrics"]}
        return {metric.key: found[metric.key]["value"] for metric in METRICS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{file}' is missing or damaged ({type(error).__name__}); start that run anew") from None


def fold_folder(folder: RunFolder, number: int) -> RunFolder:
    """Return where one fold of the cross-validation in `folder` trains."""
    return RunFolder(folder.path / f"fold_{number}")


def run_seconds(folder: RunFolder) -> float:
    """Return the time that the epochs took, of a cross-validation those of all folds; start and end come on top."""
    own = sum(float(row["seconds"]) for row in history_rows(folder))
    return own + sum(run_seconds(RunFolder(fold)) for fold in sorted(folder.path.glob("fold_*")) if fold.is_dir())


def first_epoch_s(folder: RunFolder) -> float | None:
    """Return how long the run's first epoch took; None before it is done."""
    rows = history_rows(folder)
    return float(rows[0]["seconds"]) if rows else None


def best_epoch(rows: Sequence[Mapping[str, str]], *, monitor: str) -> int:
    """Return the index of the epoch that ships: the one with the best `monitor`, of equals the latest."""
    sign = 1 if LOGGED[monitor] == "maximize" else -1
    known = [(sign * float(row[monitor]), index) for index, row in enumerate(rows) if row[monitor] not in ("", "nan")]
    return max(known, default=(0.0, len(rows) - 1))[1]


def history_rows(folder: RunFolder) -> list[dict[str, str]]:
    """Return the rows of history.csv; empty before the first epoch is done.

    Raises:
        RunError: it is damaged.

    """
    if not folder.history.is_file():
        return []
    try:
        with folder.history.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            float(row["seconds"]), float(row["images_per_s"]), row[COMPARED].strip()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"'{folder.history}' is damaged ({type(error).__name__}); put it back") from None
    return rows
