"""K-fold cross-validation: every fold a process of its own, resumable at any moment, then one judgement of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from veriscope.audit.before import audit_before_training, read_facts, write_facts
from veriscope.config.command import key_of, word
from veriscope.config.load import compose_run
from veriscope.config.schema import RunConfig
from veriscope.data.manifest import Manifest
from veriscope.data.record import refuse_changed_data, write_record
from veriscope.data.sources import load_manifest
from veriscope.data.splits import OUTSIDE_FOLDS, Indices, fold_numbers
from veriscope.errors import RunError
from veriscope.models.detector import check_model
from veriscope.progress import duration, say
from veriscope.provenance import collect, source_commit
from veriscope.run_folder import Progress, RunFolder, create_run_folder, naming_the_way_on
from veriscope.runs.aggregate import Spread, summary_figures
from veriscope.runs.batch import list_commands, logger_words, run_all
from veriscope.runs.ensemble import write_ensemble
from veriscope.runs.estimate import Estimate
from veriscope.runs.fold_report import write_fold_report
from veriscope.runs.pool import Job
from veriscope.runs.results import fold_folder, run_seconds
from veriscope.runs.slots import slots
from veriscope.standing import Standing, differences, standing
from veriscope.tracking import record_whole
from veriscope.types import CLASS_NAMES

RECORD_NAME = "folds.parquet"
_OWN = ("split.fold", "paths.run_dir", "dry_run", "logger.group", "logger.job_type", "crossval.workers",
        "crossval.ensemble", "audit.before_training")  # fmt: skip


@dataclass(frozen=True, slots=True)
class PreparedFolds:
    """A manifest and the fold that validates each of its rows (OUTSIDE_FOLDS: the test)."""

    manifest: Manifest
    numbers: Indices

    def describe(self) -> str:
        """Return one line: how many pictures a fold validates, and how many no fold sees."""
        inside = self.numbers != OUTSIDE_FOLDS
        counts = np.bincount(self.numbers[inside])
        real, fake = np.bincount(self.manifest.labels[inside], minlength=2)
        low, high = counts.min(), counts.max()
        each = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        num_outside = int((~inside).sum())
        return f"{real:,} {CLASS_NAMES[0]} + {fake:,} {CLASS_NAMES[1]} in {len(counts)} folds of {each}" + (
            f"; test {num_outside:,}, which no fold sees" if num_outside else ""
        )


def prepare_folds(config: RunConfig) -> PreparedFolds:
    """Find what the schema can't see, before any folder is made.

    Raises:
        ConfigError, ModelError: a part of the model that doesn't exist, or GPUs that aren't there.
        DataError: the data can't be read, or has too few pictures or groups of a class for the folds.

    """
    check_model(config.model)
    slots(config.trainer, workers=config.crossval.workers, key="crossval.workers")
    manifest = load_manifest(config.data, paths_cache=config.paths.cache)
    return PreparedFolds(manifest, fold_numbers(manifest, config.split))


def start_crossval(config: RunConfig, *, overrides: Sequence[str], multirun_dir: Path | None) -> None:
    """Run every fold in a new folder, or go on in `paths.run_dir` where the same cross-validation lies there.

    Raises:
        VeriscopeError: what the user can mend.

    """
    folds = prepare_folds(config)
    chosen = config.paths.run_dir or multirun_dir
    if config.dry_run:
        folder = RunFolder(chosen or config.paths.runs / "CROSSVAL")
        list_commands([_job(config, folder, overrides, number) for number in range(config.split.num_folds)],
                      console=Console())  # fmt: skip
        return
    if chosen is not None and RunFolder(chosen).config.exists():
        folder = RunFolder(chosen)
        standing(folder, config)  # refuses another configuration
    else:
        inside = ["test" if number == OUTSIDE_FOLDS else "train" for number in folds.numbers]
        audited = folds.manifest.with_splits(inside)
        audit = audit_before_training(config, audited, console=Console(stderr=True))
        folder = create_run_folder(config, multirun_dir=multirun_dir)
        write_facts(folder.audit, audit)
    cross_validate(config, folder, folds, overrides=overrides)


def resume_crossval(config: RunConfig, folder: RunFolder) -> None:
    """Go on with the cross-validation in `folder`, whose own configuration is `config`.

    Raises:
        VeriscopeError: what the user can mend.

    """
    overrides = folder.load_provenance().get("overrides")
    if not isinstance(overrides, list):
        raise RunError(f"'{folder.path / 'provenance.json'}' is missing or damaged; put it back, or start anew")
    found = differences(config, compose_run(overrides))
    if found:
        raise RunError(
            f"conf/ has changed since '{folder.path}' began: {'; '.join(found[:5])}. Take that back, or start anew"
        )
    cross_validate(config, folder, prepare_folds(config), overrides=overrides)


def cross_validate(config: RunConfig, folder: RunFolder, folds: PreparedFolds, *, overrides: Sequence[str]) -> None:
    """Run the folds that aren't complete in `folder`, then write the judgement of all, and the ensemble if wanted.

    Raises:
        RunError: a fold failed, or the folder holds another cross-validation; what is complete stays.
        BundleError: the ensemble can't be made of the folds' bundles.
        KeyboardInterrupt: Ctrl-C, after every fold has ended.

    """
    console = Console(stderr=True)
    way_on = folder.resume_command + (" crossval.ensemble=true" if config.crossval.ensemble else "")
    with folder.locked(), naming_the_way_on(folder, command=way_on):
        _record(folder, folds)
        say(console, f"{config.model.name} on {config.data.name}: {folds.describe()}")
        say(console, f"cross-validation: {folder.path}")
        commit = source_commit()
        facts = collect(seed=config.seed, data_hash=folds.manifest.content_hash, commit=commit)
        folder.save_provenance({**facts, "overrides": list(overrides)}, diff=commit.diff)
        if not folder.config.exists():
            folder.save_config(config)  # the last of what it begins with
        try:
            _run_folds(config, folder, overrides=overrides, console=console)
        except KeyboardInterrupt:
            say(console, f"stopped; go on with: {folder.resume_command}")
            raise
        judged = write_fold_report(
            config,
            folder,
            folds.manifest,
            folds.numbers,
            folds=[fold_folder(folder, number) for number in range(config.split.num_folds)],
            console=console,
        )
        if config.crossval.ensemble:
            write_ensemble(config, folder, judged, console=console)
        record_whole(
            config.logger,
            folder.path,
            job_type="crossval",
            facts=config.model_dump(mode="json", by_alias=True),
            figures={**summary_figures(judged.over, prefix="crossval"), **_monitored(judged.over)},
            pictures={file.stem: file for file in sorted((folder.path / "figures").glob("*.png"))},
            console=console,
        )
        folder.save_progress(Progress(data_hash=folds.manifest.content_hash, complete=True))


def _monitored(over: Mapping[str, Spread]) -> dict[str, float | None]:
    """Return the means under the names that a single run logs: what a W&B agent's sweep looks for."""
    return {f"val/{key}": over[key].mean for key in ("auroc", "ap", "accuracy") if key in over}


def _record(folder: RunFolder, folds: PreparedFolds) -> None:
    """Write folds.parquet once; afterwards the data must be the same."""
    file = folder.path / RECORD_NAME
    known = folder.load_provenance().get("data_hash")
    if file.exists() and folder.config.exists():
        refuse_changed_data(file, folds.manifest)
        return
    if folder.config.exists() and known != folds.manifest.content_hash:
        raise RunError(f"'{file}' is missing, and the data set has changed since; put both back, or start anew")
    numbers = [None if number == OUTSIDE_FOLDS else int(number) for number in folds.numbers]
    write_record(file, folds.manifest, column="fold", values=numbers)


def _run_folds(config: RunConfig, folder: RunFolder, *, overrides: Sequence[str], console: Console) -> None:
    """Run the folds that aren't complete.

    Raises:
        RunError: a fold failed, or was begun under another configuration.

    """
    jobs, known_s = [], []
    for number in range(config.split.num_folds):
        fold = fold_folder(folder, number)
        where = _standing_of(fold, config, number)
        if where == "complete":
            known_s.append(run_seconds(fold))
            say(console, f"fold {number} is complete ({duration(known_s[-1])})")
        else:
            # Audited once, here; the fold's bundle still says what came of it.
            fold.path.mkdir(parents=True, exist_ok=True)
            write_facts(fold.audit, read_facts(folder.audit))
            jobs.append(_job(config, folder, overrides, number, resumed=where == "begun"))
    places = slots(config.trainer, workers=config.crossval.workers, key="crossval.workers")
    failed = run_all(
        jobs,
        slots=places,
        estimate=Estimate(num_runs=config.split.num_folds, places=len(places), known_s=known_s),
        num_epochs=config.planned_epochs,
        stop_at_failure=True,
        console=console,
    )
    if failed:
        first = failed[0]
        raise RunError(
            f"{first.job.name} failed: {first.reason}\nAll that it said: {first.job.log}. The other folds' work is "
            f"kept; when this is mended, go on with: {folder.resume_command}"
        )
    for number in range(config.split.num_folds):
        fold = fold_folder(folder, number)
        if _standing_of(fold, config, number) != "complete":  # compared again: conf/ may have been edited meanwhile
            raise RunError(
                f"fold {number} ended without an error and isn't complete; see '{folder.path}/fold_{number}.log'"
            )


def _standing_of(fold: RunFolder, config: RunConfig, number: int) -> Standing:
    """Return where a fold stands.

    Raises:
        RunError: it was begun under another configuration, or it is complete and its bundle is gone.

    """
    where = standing(fold, fold_config(config, number))
    if where == "complete" and not fold.bundle.is_dir():
        raise RunError(
            f"fold {number} is complete, but '{fold.bundle}' is gone. Put it back, or remove '{fold.path}' to have the "
            "fold trained again"
        )
    return where


def fold_config(config: RunConfig, number: int) -> RunConfig:
    """Return what one fold's configuration has to be."""
    return config.model_copy(update={"split": config.split.model_copy(update={"fold": number})})


def _job(config: RunConfig, folder: RunFolder, overrides: Sequence[str], number: int, *, resumed: bool = False) -> Job:
    place = fold_folder(folder, number).path
    words: tuple[str, ...] = (word("resume", place),)
    if not resumed:
        said = [said for said in overrides if key_of(said) not in _OWN]
        words = (
            *said,
            f"split.fold={number}",
            "audit.before_training=off",
            word("paths.run_dir", place),
            *logger_words(config.logger, group=folder.path.name, job_type="fold"),
        )
    return Job(name=f"fold {number}", words=words, folder=place, log=folder.path / f"fold_{number}.log")
