"""The end of a run: calibrate and choose the threshold on val, write the bundle, judge it on val."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console

from veriscope.audit.before import read_facts
from veriscope.bundle.bundle import Bundle
from veriscope.bundle.record import TrainingFacts
from veriscope.bundle.save import save_bundle
from veriscope.bundle.scorer import Scored, Scorer
from veriscope.bundle.seen import fingerprints
from veriscope.bundle.torch_network import TorchNetwork
from veriscope.config.command import data_words, override, typed
from veriscope.config.schema import RunConfig
from veriscope.data.manifest import Manifest
from veriscope.data.sources import sources
from veriscope.evaluation import plots
from veriscope.evaluation.judge import Judgement, judge
from veriscope.evaluation.notices import bundle_notices
from veriscope.evaluation.pictures import choose_rows, load_tiles, sheet
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.reliance import Reliance, reliance
from veriscope.evaluation.selection import Selection, select
from veriscope.files import write_text
from veriscope.models.detector import Detector
from veriscope.progress import say, tracked
from veriscope.provenance import device_name, source_commit
from veriscope.run_folder import RunFolder
from veriscope.training.data import TrainingData
from veriscope.training.history import read_history
from veriscope.training.loggers import RunLogger
from veriscope.training.ood import fit_ood, only_what_is_fitted_on

MAIN_FIGURES = ("auroc", "ap", "accuracy", "balanced_accuracy", "eer", "log_loss", "brier")


def finish_run(
    config: RunConfig, folder: RunFolder, data: TrainingData, detector: Detector, *, logger: RunLogger, console: Console
) -> None:
    """Write `bundle/`, `validation/` and the pictures of the run, log them, and say what to type next."""
    val = data.val
    ood, scored = fit_ood(config, val, _score(config, val, detector), console=console)
    chosen, table = _select(config, data, scored)
    judgement = judge(table, thresholds=chosen.terms.thresholds, seed=config.seed)
    strange_from = None if ood is None else ood.threshold
    trusted = reliance(table, judgement, terms=chosen.terms, no_band=chosen.no_band, strange_from=strange_from)
    bundle = save_bundle(
        folder.bundle,
        detector=detector,
        calibration=chosen.terms.calibration,
        thresholds=chosen.terms.thresholds,
        unsure=chosen.terms.unsure,
        training=_facts(config, folder, data, judgement),
        seen={"train": fingerprints(data.train.absolute_paths()), "val": fingerprints(val.absolute_paths())},
        ood=ood,
        audit=read_facts(folder.audit),
        notices=bundle_notices(judgement, synthetic=config.data.kind == "synthetic"),
        overwrite=True,
    )
    pictures = _write_validation(config, folder, bundle, table, judgement, trusted)
    figures = {f"final/{key}": judgement.metrics.get(key) for key in MAIN_FIGURES}
    logger.log_result(figures, pictures, bundle=folder.bundle, notices=bundle.notices)
    _say(config, folder, judgement, trusted, notices=bundle.notices, console=console)


def _score(config: RunConfig, val: Manifest, detector: Detector) -> list[Scored]:
    """Return the answers for val, by the same loop that evaluation and prediction use."""
    network = TorchNetwork(
        detector,
        device="cpu" if config.trainer.accelerator == "cpu" else "auto",
        precision="fp32" if config.trainer.precision == "fp32" else "auto",
    )
    scorer = Scorer(
        network,
        batch_size=config.data.batch_size,
        num_workers=config.data.num_workers,
        max_pixels=config.data.max_pixels,
        keep_vectors=config.ood.method != "none",
    )
    answers = scorer.score_paths(val.absolute_paths())
    answers = only_what_is_fitted_on(answers, count=len(val), seed=config.seed)
    return list(tracked(answers, doing="judging val", total=len(val), shown=config.trainer.progress))


def _select(config: RunConfig, data: TrainingData, scored: list[Scored]) -> tuple[Selection, PredictionTable]:
    """Return what val chose, and val's table with the scores that follow from it."""
    val = data.val
    logits = [answer.logit for answer in scored]
    known = np.array([logit is not None for logit in logits])
    chosen = select(
        val.labels[known],
        np.array([logit for logit in logits if logit is not None]),
        config=config,
        name="val",
        chosen_on=f"{config.data.name} val",
    )
    samples = [val.sample(index) for index in range(len(val))]
    table = PredictionTable.from_columns(
        [sample.path for sample in samples],
        labels=val.labels,
        logits=logits,
        calibration=chosen.terms.calibration,
        meta=TableMeta(data_name=config.data.name, subset="val", data_hash=data.content_hash),
        paths=[str(answer.path) for answer in scored],
        splits=["val"] * len(samples),
        groups=[sample.group for sample in samples],
        generators=[sample.generator for sample in samples],
        sources=sources(val, data_name=config.data.name),
        facts=[answer.facts for answer in scored],
        ood=[answer.ood for answer in scored],
        errors=[answer.error for answer in scored],
    )
    return chosen, table


def _facts(config: RunConfig, folder: RunFolder, data: TrainingData, judgement: Judgement) -> TrainingFacts:
    provenance, history = folder.load_provenance(), read_history(folder.history)
    return TrainingFacts(
        data_name=config.data.name,
        data_hash=data.content_hash,
        num_train=len(data.train),
        num_val=len(data.val),
        split=config.split.model_dump(mode="json"),
        seed=config.seed,
        commit=str(source_commit()) or None,
        command=typed(provenance.get("overrides", [])),
        precision=provenance.get("precision"),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        device=device_name(),
        epochs=len(history),
        seconds=sum(float(row["seconds"]) for row in history),
        val=judgement.metrics,
    )


def _write_validation(
    config: RunConfig,
    folder: RunFolder,
    bundle: Bundle,
    table: PredictionTable,
    judgement: Judgement,
    trusted: Reliance,
) -> dict[str, Path]:
    """Write table, figures and pictures of val; return the pictures' files by name."""
    thresholds = bundle.record.thresholds
    table = PredictionTable(table.table, table.meta.model_copy(update={"bundle_hash": bundle.weights_sha256}))
    table.write(folder.validation)
    write_text(
        folder.validation / "figures.json",
        json.dumps({**judgement.to_dict(), **trusted.to_dict(), "notices": bundle.notices}, indent=2) + "\n",
    )
    files: dict[str, Path] = {}
    for name, picture in plots.figures(table, thresholds, history=folder.history).items():
        place = folder.path if name == "history" else folder.validation
        files[name] = plots.save_png(picture, place / f"{name}.png", note=" ".join(bundle.notices))
    rows = choose_rows(table, bundle.preferred_threshold)
    tiles = load_tiles(table, bundle.preferred_threshold, rows=rows, max_pixels=config.data.max_pixels)
    if tiles:
        files["verdicts"] = folder.validation / "verdicts.png"
        sheet(tiles).save(files["verdicts"])
    return files


def _say(
    config: RunConfig,
    folder: RunFolder,
    judgement: Judgement,
    trusted: Reliance,
    *,
    notices: tuple[str, ...],
    console: Console,
) -> None:
    auroc = judgement.free["auroc"]
    span = "" if auroc.interval is None else f" (95 % interval {auroc.interval.low:.3f} to {auroc.interval.high:.3f})"
    value = "undefined" if auroc.value is None else f"{auroc.value:.4f}"
    # Everything that the command line said of the data, or evaluation would see other data, or another test.
    data = data_words(folder.load_provenance().get("overrides", []), name=config.data.name)
    bundle = override("bundle", folder.bundle)
    lines = [
        f"val AUROC {value}{span}",
        f"  {_unsure_text(trusted)}",
        f"  checkpoint, {config.calibration.method} and threshold were chosen on val, so judge on other data:",
        f"  bundle: {folder.bundle}",
        f"  python evaluate.py {bundle} {data}",
        f"  veriscope predict {shlex.quote(str(folder.bundle))} PICTURE_OR_FOLDER",
    ]
    if trusted.calibration.fake_share is None and trusted.calibration.fitted_on != "none":
        lines.insert(2, "  its scores lie too high or too low for val's share of fakes, so no base rate can be stated; "
                        "calibration.method=platt mends that")  # fmt: skip
    lines[1:1] = [f"  {notice}" for notice in notices]
    for line in lines:
        say(console, line)


def _unsure_text(trusted: Reliance) -> str:
    if trusted.band is None:
        return f"no verdict will be 'unsure' by its score: {trusted.no_band}"
    band = trusted.band.band
    if band.low == band.high:
        right = f"{100 * band.accuracy:.1f} % of those on val are right as they are"
        return f"no verdict will be 'unsure' by its score: {right}"
    return (
        f"scores from {band.low:.3g} to {band.high:.3g} are called unsure ({100 - 100 * band.coverage:.1f} % of val); "
        f"{100 * band.accuracy:.1f} % of the other verdicts on val are right"
    )
