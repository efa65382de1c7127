"""The judgement of a cross-validation: figures over folds, pooled predictions, one report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Picture
from rich import box
from rich.console import Console
from rich.table import Table

from veriscope.config.schema import RunConfig
from veriscope.data.manifest import Manifest
from veriscope.data.splits import Indices
from veriscope.data.synthetic import SYNTHETIC_NOTICE
from veriscope.errors import RunError
from veriscope.evaluation import fold_plots, plots
from veriscope.evaluation.judge import Judgement, judge
from veriscope.evaluation.metrics import METRICS
from veriscope.evaluation.pictures import choose_rows, load_tiles
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.report import FoldsSection, ReportFacts, write_report
from veriscope.files import write_text
from veriscope.progress import duration, say
from veriscope.run_folder import HARDWARE_FACTS, RunFolder
from veriscope.runs.aggregate import Spread, figure_text, metric_spreads, spread_text
from veriscope.runs.pooled import FoldJudged, judge_folds, pool
from veriscope.runs.results import CROSSVAL_NAME, RunResult, best_epoch, history_rows, read_run
from veriscope.standing import config_hash
from veriscope.types import DEFAULT_THRESHOLD

_SHOWN = ("auroc", "ap", "accuracy", "balanced_accuracy", "recall", "specificity", "eer", "log_loss")
_NOTES = (
    "Each picture was judged once, by the fold's model that had not learned it. The verdict above and the figures of "
    "all folds together rank the pictures of all models in one list, so they differ a little from the means here.",
    "The same pictures chose that model's best epoch ({monitor}), so figures come out a little too good; the fixed "
    "threshold 0.5 was chosen on nothing, temperature and the tuned threshold of each fold on the other folds alone.",
    "Interval of the mean: Student's t, widened because folds share training pictures (Nadeau & Bengio 2003).",
)


@dataclass(frozen=True, slots=True)
class JudgedFolds:
    """A judged cross-validation: its folds and their runs in order, the pooled table and what follows from it, and the
    spread of each figure over folds."""

    folds: list[FoldJudged]
    runs: list[RunResult]
    table: PredictionTable
    judgement: Judgement
    over: dict[str, Spread]


def write_fold_report(
    config: RunConfig,
    folder: RunFolder,
    manifest: Manifest,
    numbers: Indices,
    *,
    folds: Sequence[RunFolder],
    console: Console,
) -> JudgedFolds:
    """Judge the complete runs of all `folds`, in their order.

    `folder` receives crossval.json, predictions.parquet and .csv (out-of-fold), report.html and .json, figures/*.png.

    Raises:
        RunError: a fold's files are damaged, or of other data.

    """
    runs = [read_run(fold) for fold in folds]
    judged = judge_folds([PredictionTable.read(run.folder.validation) for run in runs], rule=config.threshold)
    ids = np.array(manifest.table["path"].to_pylist(), dtype=object)
    table = pool(
        judged,
        expected=[set(ids[numbers == fold.number]) for fold in judged],
        data_hash=manifest.content_hash,
    )
    judgement = judge(table, thresholds={"default": DEFAULT_THRESHOLD}, seed=config.seed)
    over, tuned = spreads(judged)
    table.write(folder.path)
    summary = _summary(config, judged, runs, over=over, tuned=tuned, judgement=judgement)
    write_text(folder.path / CROSSVAL_NAME, json.dumps(summary, indent=2) + "\n")
    pictures = _pictures(folder, judged, runs, table)
    for name, picture in pictures.items():
        plots.save_png(picture, folder.path / "figures" / f"{name}.png")
    rows = choose_rows(table, DEFAULT_THRESHOLD, seed=config.seed)
    write_report(
        folder.path,
        judgement=judgement,
        table=table,
        pictures=pictures,
        tiles=load_tiles(table, DEFAULT_THRESHOLD, rows=rows, max_pixels=config.data.max_pixels),
        facts=_facts(config, folder, manifest, runs),
        folds=_section(config, judged, runs, over=over, tuned=tuned),
    )
    _print(judged, runs, over=over, tuned=tuned, folder=folder, console=console)
    return JudgedFolds(judged, runs, table, judgement, over)


def spreads(folds: Sequence[FoldJudged]) -> tuple[dict[str, Spread], dict[str, Spread]]:
    """Return metric to spread over folds: at the threshold 0.5 (with every metric that needs none), and at the
    thresholds that the other folds chose. What is undefined in a fold is left out."""
    ratio = 1 / (len(folds) - 1)

    figures, tuned = [fold.figures for fold in folds], [fold.tuned for fold in folds]
    return metric_spreads(figures, val_to_train=ratio), metric_spreads(tuned, val_to_train=ratio)


def _summary(
    config: RunConfig,
    folds: Sequence[FoldJudged],
    runs: Sequence[RunResult],
    *,
    over: Mapping[str, Spread],
    tuned: Mapping[str, Spread],
    judgement: Judgement,
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": "cross-validation",
        "config_hash": config_hash(config),
        "data_hash": folds[0].table.meta.data_hash,
        "num_folds": len(folds),
        "metrics": {key: value._asdict() for key, value in over.items()},
        "metrics_at_tuned_threshold": {key: value._asdict() for key, value in tuned.items()},
        "folds": [
            {
                "fold": fold.number,
                "folder": run.folder.path.name,
                "num_val": len(fold.table),
                "seconds": round(run.seconds, 1),
                "images_per_s": run.images_per_s,
                "temperature": fold.calibration.temperature,
                "threshold": fold.threshold.value,
                "metrics": fold.figures,
                "metrics_at_tuned_threshold": fold.tuned,
            }
            for fold, run in zip(folds, runs, strict=True)
        ],
        "pooled": judgement.to_dict(),
    }


def _pictures(
    folder: RunFolder, folds: Sequence[FoldJudged], runs: Sequence[RunResult], table: PredictionTable
) -> dict[str, Picture]:
    """Return the pooled pictures, with the ROC curve of every fold in place of the pooled one."""
    histories = [history_rows(run.folder) for run in runs]
    empty = next((run for run, rows in zip(runs, histories, strict=True) if not rows), None)
    if empty is not None:
        raise RunError(f"'{empty.folder.history}' is missing or empty; put it back, or train that fold anew")
    kept = [best_epoch(rows, monitor=run.config.callbacks.monitor) for rows, run in zip(histories, runs, strict=True)]
    found = plots.figures(table, {"default": DEFAULT_THRESHOLD})
    own = {
        "roc": fold_plots.fold_roc_picture([fold.table for fold in folds]),
        "history": fold_plots.fold_history_picture(histories, kept=kept),
    }
    return {**found, **own}


def _facts(config: RunConfig, folder: RunFolder, manifest: Manifest, runs: Sequence[RunResult]) -> ReportFacts:
    num_folds = config.split.num_folds
    return ReportFacts(
        title=f"{config.model.name} on {config.data.name}: {num_folds}-fold cross-validation",
        model_name=config.model.name,
        data_name=config.data.name,
        subset=f"Judged out of fold: {num_folds} models, each on the part of the pictures that it had not learned.",
        notices=(SYNTHETIC_NOTICE,) if config.data.kind == "synthetic" else (),
        warnings=unlike(runs),
        data={
            "data_set": config.data.name,
            "files": len(manifest),
            "content_hash": manifest.content_hash,
            "root": str(manifest.root),
            "split_seed": config.split.seed,
            "num_folds": num_folds,
        },
        provenance={
            key: value for key, value in folder.load_provenance().items() if key not in ("overrides", "resumed")
        }
        | {"config_hash": config_hash(config), "training_time": duration(sum(run.seconds for run in runs))},
    )


def unlike(runs: Sequence[RunResult]) -> tuple[str, ...]:
    """Return what has to be said where 'auto' came to something else in one fold than in another."""
    found = []
    for key in HARDWARE_FACTS:
        values = sorted({run.hardware.get(key, "unknown") for run in runs})
        if len(values) > 1:
            found.append(f"The folds were not trained alike: {key.replace('_', ' ')} {' and '.join(values)}.")
    return tuple(found)


def _section(
    config: RunConfig,
    folds: Sequence[FoldJudged],
    runs: Sequence[RunResult],
    *,
    over: Mapping[str, Spread],
    tuned: Mapping[str, Spread],
) -> FoldsSection:
    return FoldsSection(
        header=[f"fold {fold.number}" for fold in folds],
        rows=[
            (metric.label, metric.meaning, [figure_text(fold.figures[metric.key]) for fold in folds],
             spread_text(over.get(metric.key)))
            for metric in METRICS
        ]
        + [
            (f"{metric.label}, tuned", "at the threshold that the other folds chose",
             [figure_text(fold.tuned[metric.key]) for fold in folds], spread_text(tuned.get(metric.key)))
            for metric in METRICS
            if metric.key in ("accuracy", "recall", "specificity")
        ],
        notes=[note.format(monitor=config.callbacks.monitor) for note in _NOTES],
        sheets=[(f"Fold {fold.number}", run.folder.validation / "verdicts.png")
                for fold, run in zip(folds, runs, strict=True)],
    )  # fmt: skip


def _print(
    folds: Sequence[FoldJudged],
    runs: Sequence[RunResult],
    *,
    over: Mapping[str, Spread],
    tuned: Mapping[str, Spread],
    folder: RunFolder,
    console: Console,
) -> None:
    labels = {metric.key: metric.label for metric in METRICS}
    grid = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", *(f"fold {fold.number}" for fold in folds), "mean ± sd", "95 % interval"):
        grid.add_column(name)
    for key in _SHOWN:
        grid.add_row(labels[key], *(figure_text(fold.figures[key]) for fold in folds), *spread_text(over.get(key)))
    accuracy = [figure_text(fold.tuned["accuracy"]) for fold in folds]
    grid.add_row("Accuracy, tuned", *accuracy, *spread_text(tuned.get("accuracy")))
    grid.add_row("training, s", *(f"{run.seconds:.0f}" for run in runs), "", "")
    console.print(grid)
    path: Path = folder.path
    say(console, "at 0.5; tuned: at the threshold that the other folds chose")
    say(console, f"report: {path / 'report.html'}")
    say(console, f"table: {path / 'predictions.parquet'} (out of fold), figures: {path / CROSSVAL_NAME}")
