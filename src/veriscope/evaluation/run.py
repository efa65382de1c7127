"""One evaluation from a bundle and data to a folder with table, figures, pictures and report."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from rich.console import Console

from veriscope.augment.corruptions import parse_corruption
from veriscope.bundle.bundle import Bundle, load_folder
from veriscope.bundle.scorer import Scored, Scorer
from veriscope.bundle.terms import Terms
from veriscope.config.evaluate import EvaluateConfig
from veriscope.data.sources import load_manifest, sources
from veriscope.data.synthetic import SYNTHETIC_NOTICE
from veriscope.errors import DataError, RunError
from veriscope.evaluation import plots
from veriscope.evaluation.judge import Judgement, judge
from veriscope.evaluation.ood_plots import ood_pictures
from veriscope.evaluation.pictures import choose_rows, load_tiles, sheet
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.reliance import reliance
from veriscope.evaluation.report import ReportFacts, write_report
from veriscope.evaluation.robustness import measure_robustness
from veriscope.evaluation.robustness_report import robustness_section, write_robustness
from veriscope.evaluation.sections import Section
from veriscope.evaluation.subset import Chosen, choose_subset
from veriscope.evaluation.summary import print_summary
from veriscope.files import can_be_replaced, whole_or_not_at_all
from veriscope.progress import say, tracked

Pixels = npt.NDArray[np.uint8]
Transform = Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What an evaluation found, and where it lies. `warnings` say why figures are too good; empty is well."""

    folder: Path
    report: Path
    table: PredictionTable
    judgement: Judgement
    warnings: tuple[str, ...]


def run_evaluation(
    config: EvaluateConfig, *, output_dir: Path, provenance: Mapping[str, Any], console: Console | None = None
) -> EvaluationResult:
    """Judge `config.bundle` on `config.data` and write everything into `output_dir`, which appears whole or not at all.

    It receives predictions.parquet and .csv, report.html and .json, config.yaml, pictures.png and figures/*.png.
    Progress goes to stderr, the summary to `console` (None: stdout).

    Raises:
        VeriscopeError: no usable bundle or data, a part that must not be judged, an output folder that is taken, or
            with on_unreadable=stop a picture that can't be read.

    """
    # Before minutes of scoring: it may name nothing known.
    transform = None if config.corruption is None else parse_corruption(config.corruption)
    with _folder_in_making(output_dir) as folder:
        bundle = load_folder(config.bundle)
        terms = bundle.terms(base_rate=config.base_rate)
        manifest = load_manifest(config.data, paths_cache=config.paths.cache, both_classes=False)
        chosen = choose_subset(manifest, bundle, wanted=config.subset, data_name=config.data.name)
        scorer = _scorer(config, bundle)
        scored = _score(config, scorer, chosen, transform=transform)
        table = _table(config, bundle, chosen, scored, terms=terms, data_hash=manifest.content_hash)
        table.write(folder)
        judgement = judge(table, thresholds=terms.thresholds, draws=config.bootstrap_draws, seed=config.seed)
        trusted = reliance(table, judgement, terms=terms, strange_from=bundle.strange_from)
        robustness = _robustness(
            config, bundle, scorer, table, terms=terms, threshold_name=judgement.headline, folder=folder
        )
        pictures = _draw(table, bundle, terms, folder=folder)
        shown = terms.thresholds[judgement.headline]
        rows = choose_rows(table, shown, seed=config.seed)
        tiles = load_tiles(table, shown, rows=rows, max_pixels=config.data.max_pixels, transform=transform)
        if tiles:
            sheet(tiles).save(folder / "pictures.png")
        facts = _facts(config, bundle, chosen, data_hash=manifest.content_hash, provenance=provenance)
        write_report(
            folder,
            judgement=judgement,
            table=table,
            pictures=pictures,
            tiles=tiles,
            facts=facts,
            reliance=trusted,
            sections=() if robustness is None else (robustness,),
        )
        _write_config(config, folder)
    report = output_dir / "report.html"
    print_summary(
        judgement,
        table,
        facts,
        reliance=trusted,
        folder=output_dir,
        bundle=config.bundle,
        console=console or Console(),
        more=() if robustness is None else robustness.sentences,
    )
    return EvaluationResult(output_dir, report, table, judgement, facts.warnings)


@contextmanager
def _folder_in_making(output_dir: Path) -> Iterator[Path]:
    """Yield a folder beside `output_dir` that takes its name when the block ends well, and goes when it doesn't."""
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        raise RunError(f"'{output_dir}' is not empty; an evaluation is written into a new folder. Name another one.")
    output_dir = Path(os.path.realpath(output_dir))  # no folder can take the name of a link
    if output_dir.exists() and not can_be_replaced(output_dir):  # now, not after hours of scoring
        raise RunError(
            f"'{output_dir}' can't become the evaluation: it is a mount point, or its parent is read-only. Name a new "
            f"folder in it: paths.run_dir={output_dir / 'evaluation'}"
        )
    with whole_or_not_at_all(output_dir) as temporary:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise RunError(f"the folder for the evaluation can't be made: {error}") from error
        yield temporary


def _scorer(config: EvaluateConfig, bundle: Bundle) -> Scorer:
    return bundle.scorer(
        device=config.device,
        precision=config.precision,
        batch_size=config.data.batch_size,
        num_workers=config.data.num_workers,
        max_pixels=config.data.max_pixels,
    )


def _score(config: EvaluateConfig, scorer: Scorer, chosen: Chosen, *, transform: Transform | None) -> list[Scored]:
    manifest = chosen.manifest
    answers = scorer.score_paths(manifest.absolute_paths(), transform=transform)
    answers = tracked(answers, doing=f"judging {chosen.name}", total=len(manifest))
    scored = []
    for answer in answers:
        if answer.error is not None and config.on_unreadable == "stop":
            raise DataError(
                f"{answer.path}: {answer.error}. Mend or remove it, or let on_unreadable=report list such files."
            )
        scored.append(answer)
    return scored


def _draw(table: PredictionTable, bundle: Bundle, terms: Terms, *, folder: Path) -> plots.Pictures:
    """Return the pictures of the report by name; each lies in `folder`/figures, too."""
    pictures = plots.figures(table, terms.thresholds, fake_share=terms.calibration.fake_share)
    try:
        curves = plots.history_picture(bundle.folder.parent / "history.csv")
        pictures |= {} if curves is None else {"history": curves}
    except DataError as error:  # it says nothing of these pictures
        say(Console(stderr=True), f"the report goes without the training's curves: {error}")
    pictures |= ood_pictures(table, strange_from=bundle.strange_from)
    for name, picture in pictures.items():
        plots.save_png(picture, folder / "figures" / f"{name}.png", note=" ".join(bundle.notices))
    return pictures


def _robustness(
    config: EvaluateConfig,
    bundle: Bundle,
    scorer: Scorer,
    table: PredictionTable,
    *,
    terms: Terms,
    threshold_name: str,
    folder: Path,
) -> Section | None:
    """Return what the report says about damage and alignment, with its files and pictures written into `folder`."""
    found = measure_robustness(
        config.robustness,
        table=table,
        bundle=bundle,
        terms=terms,
        scorer=scorer,
        threshold_name=threshold_name,
        cache=config.paths.cache,
        draws=config.bootstrap_draws,
        seed=config.seed,
    )
    if found is None:
        return None
    write_robustness(folder, found)
    section = robustness_section(found)
    for name, (picture, _) in section.pictures.items():
        plots.save_png(picture, folder / "figures" / f"{name}.png", note=" ".join(bundle.notices))
    return section


def _table(
    config: EvaluateConfig, bundle: Bundle, chosen: Chosen, scored: list[Scored], *, terms: Terms, data_hash: str
) -> PredictionTable:
    manifest = chosen.manifest
    table = PredictionTable.from_columns(
        manifest.table["path"].to_pylist(),
        paths=[str(answer.path) for answer in scored],
        labels=manifest.labels,
        splits=manifest.splits.tolist() if chosen.name == "all" else [chosen.name] * len(scored),
        groups=manifest.groups.tolist(),
        generators=manifest.generators.tolist(),
        sources=sources(manifest, data_name=config.data.name),
        facts=[answer.facts for answer in scored],
        ood=[answer.ood for answer in scored],
        logits=[answer.logit for answer in scored],
        errors=[answer.error for answer in scored],
        calibration=terms.calibration,
        meta=TableMeta(
            data_name=config.data.name,
            subset=chosen.name,
            data_hash=data_hash,
            bundle_hash=bundle.weights_sha256,
            corruption=config.corruption,
            base_rate=config.base_rate,
        ),
    )
    if len(table.labels) == 0:
        name, reason = table.unreadable[0]
        raise DataError(f"none of the {len(table)} pictures of '{config.data.name}' gave a verdict; {name}: {reason}.")
    return table


def _facts(
    config: EvaluateConfig, bundle: Bundle, chosen: Chosen, *, data_hash: str, provenance: Mapping[str, Any]
) -> ReportFacts:
    record = bundle.record
    own = (SYNTHETIC_NOTICE,) if config.data.kind == "synthetic" else ()
    counts = chosen.manifest.class_counts()
    return ReportFacts(
        title=f"{record.model.name} on {config.data.name}",
        model_name=record.model.name,
        data_name=config.data.name,
        subset=chosen.text,
        warnings=chosen.warnings,
        notices=tuple(dict.fromkeys((*own, *bundle.notices))),
        data={
            "data_set": config.data.name,
            "part": chosen.name,
            "exposure": chosen.exposure,
            "files_in_part": len(chosen.manifest),
            "real": counts["real"],
            "fake": counts["fake"],
            "content_hash": data_hash,
            "root": str(chosen.manifest.root),
        },
        bundle={
            "weights_sha256": bundle.weights_sha256,
            "input_px": record.model.input.size_px,
            "parameters": record.num_parameters,
            **({} if record.ensemble is None else {"members": record.num_members}),
            "initial_weights": record.initial_weights,
            "trained_on": record.training.data_name,
            "training_data_hash": record.training.data_hash,
            "training_pictures": record.training.num_train,
            **({} if record.ood is None else {"ood": record.ood.model_dump(exclude={"sha256"})}),
            "training_seed": record.training.seed,
            "training_commit": record.training.commit,
            "training_ended": record.training.date,
            "calibration": f"score = {record.calibration.formula}",
            "calibration_fitted_on": record.calibration.fitted_on,
            "calibration_share_of_fakes": record.calibration.fake_share,
        },
        provenance={**provenance, "data_hash": data_hash},
    )


def _write_config(config: EvaluateConfig, folder: Path) -> None:
    plain = json.loads(config.model_dump_json())
    (folder / "config.yaml").write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
