"""The one bundle of a cross-validation: all folds' models, averaged."""

from collections.abc import Iterable, Sequence

from rich.console import Console

from veriscope.audit.before import read_facts
from veriscope.bundle.bundle import Bundle, load_folder
from veriscope.bundle.ensemble import Part, save_ensemble, why_no_ood
from veriscope.bundle.record import TrainingFacts
from veriscope.config.command import data_words, override, typed
from veriscope.config.schema import RunConfig
from veriscope.errors import RunError
from veriscope.evaluation.notices import bundle_notices
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.selection import select
from veriscope.progress import say
from veriscope.run_folder import RunFolder
from veriscope.runs.fold_report import JudgedFolds

ENSEMBLE_WORD = "crossval.ensemble=true"


def write_ensemble(config: RunConfig, folder: RunFolder, judged: JudgedFolds, *, console: Console) -> Bundle:
    """Write `folder`/bundle, which averages the folds' logits, and return it.

    Each fold's logits are divided by its cross-fitted temperature (runs.pooled). What is left of calibration, the
    threshold 'out_of_fold' and the unsure band are fitted on the pooled out-of-fold predictions: one model a picture,
    for the average of all has learned every picture, and can't be asked about them. So scores come out rather too
    cautious than too sure (Rahaman & Thiery 2021, "Uncertainty quantification and deep ensembles").

    Raises:
        BundleError: a fold's bundle is missing or damaged, or `folder`/bundle can't be written.
        RunError: a fold's bundle is not the one that was judged.

    """
    parts = _parts(judged)
    table = judged.table
    where = f"{config.data.name} out of fold, by single members"
    chosen, no_band = select(table.labels, table.logits, config=config, name="out_of_fold", chosen_on=where)
    bundle = save_ensemble(
        folder.bundle,
        parts,
        calibration=chosen.calibration,
        thresholds=chosen.thresholds,
        unsure=chosen.unsure,
        audit=read_facts(folder.audit),
        training=_facts(config, folder, parts, num_pictures=len(table)),
        out_of_fold=judged.judgement.metrics,
        notices=bundle_notices(judged.judgement, synthetic=config.data.kind == "synthetic"),
        overwrite=True,
    )
    _say(config, judged, bundle, missing=lacks(parts, no_band=no_band), console=console)
    return bundle


def lacks(parts: Sequence[Part], *, no_band: str) -> list[str]:
    """Return what an ensemble of the parts goes without, and why; `no_band` is Selection's."""
    found = {"unsure band": no_band, "out-of-distribution score": why_no_ood(parts)}
    return [f"no {what}: {reason}" for what, reason in found.items() if reason]


def _parts(judged: JudgedFolds) -> list[Part]:
    parts = []
    for fold, run in zip(judged.folds, judged.runs, strict=True):
        bundle = load_folder(run.folder.bundle)
        if PredictionTable.read(run.folder.validation).meta.bundle_hash != bundle.weights_sha256:
            raise RunError(
                f"'{bundle.folder}' is not the bundle that '{run.folder.validation}' judged: its temperature would be "
                f"another's. Remove '{run.folder.path}' and go on"
            )
        parts.append(Part(name=f"fold {fold.number}", bundle=bundle, temperature=fold.calibration.temperature))
    return parts


def _facts(config: RunConfig, folder: RunFolder, parts: Sequence[Part], *, num_pictures: int) -> TrainingFacts:
    """Return where the weights come from. Every picture of the folds is train: all members but one learned it."""
    trained = [part.bundle.record.training for part in parts]
    seconds = [facts.seconds for facts in trained if facts.seconds is not None]
    return TrainingFacts(
        data_name=config.data.name,
        data_hash=trained[0].data_hash,
        num_train=num_pictures,
        num_val=0,
        split=config.split.model_dump(mode="json"),
        seed=config.seed,
        commit=_joined(facts.commit for facts in trained),
        command=_command(folder),
        precision=_joined(facts.precision for facts in trained),
        date=max(facts.date for facts in trained),
        device=_joined(facts.device for facts in trained) or "unknown",
        epochs=sum(facts.epochs for facts in trained),
        seconds=sum(seconds) if len(seconds) == len(trained) else None,
    )


def _command(folder: RunFolder) -> str | None:
    """Return what trained the folds and averages them; None of a multirun, whose folds were started one by one."""
    overrides = folder.load_provenance().get("overrides")
    if overrides is None:
        return None
    asked = ENSEMBLE_WORD in (word.lstrip("+") for word in overrides)
    return typed([*overrides, *(() if asked else (ENSEMBLE_WORD,))])  # asked for when the cross-validation was over


def _joined(values: Iterable[str | None]) -> str | None:
    """Return what the members say, once where they agree."""
    return ", ".join(dict.fromkeys(value for value in values if value)) or None


def _say(config: RunConfig, judged: JudgedFolds, bundle: Bundle, *, missing: Sequence[str], console: Console) -> None:
    num = bundle.record.num_members
    data = data_words(judged.runs[0].folder.load_provenance().get("overrides", []), name=config.data.name)
    say(console, f"ensemble: {bundle.folder} (the average of {num} models, {num} times the cost of one)")
    for notice in (*bundle.notices, *missing):
        say(console, f"  {notice}")
    say(console, "  only pictures that no fold saw can judge it, as the data's test part or other data:")
    say(console, f"  python evaluate.py {override('bundle', bundle.folder)} {data}")
