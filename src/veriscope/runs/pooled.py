"""Out-of-fold predictions: every picture judged once, by the one model that had not learned it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from veriscope.config.judging import ThresholdConfig
from veriscope.errors import RunError
from veriscope.evaluation.calibration import fit_temperature
from veriscope.evaluation.metrics import Scores, compute_metrics, confusion, threshold_metrics
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.threshold import choose_threshold
from veriscope.types import DEFAULT_THRESHOLD, Calibration, Threshold

_DEFAULT_RULE = ThresholdConfig()


@dataclass(frozen=True, slots=True)
class FoldJudged:
    """One fold's val, calibrated by the other folds.

    `table` holds logits divided by `calibration`'s temperature: the fold's own scale, the root mean square of its
    logits, times a temperature that was fitted on the other folds' scaled logits. The scale needs no labels, and
    without it a model that is surer than the others would rank all its pictures before and after theirs. `figures` are
    at 0.5, `tuned` at `threshold`, which the other folds chose.
    """

    number: int
    table: PredictionTable
    calibration: Calibration
    threshold: Threshold
    figures: Scores
    tuned: Scores


def judge_folds(tables: Sequence[PredictionTable], *, rule: ThresholdConfig = _DEFAULT_RULE) -> list[FoldJudged]:
    """Return each fold's val as the other folds would have it judged; `tables` are the runs' own, by fold.

    Folds come onto one scale by temperature, whatever calibration the runs' own bundles have; `rule` is the
    configuration's, by which thresholds are chosen.

    The runs' own temperatures and thresholds were fitted on the very pictures that they would be reported on.
    """
    judged = []
    scales = [_scale(table) for table in tables]
    for number, table in enumerate(tables):
        others = [index for index in range(len(tables)) if index != number]
        labels = np.concatenate([tables[index].labels for index in others])
        scaled = np.concatenate([tables[index].logits / scales[index] for index in others])
        shared = fit_temperature(labels, scaled, fitted_on="the other folds")
        scores = np.array([shared.score(logit) for logit in scaled])
        calibration = shared.model_copy(update={"temperature": shared.temperature * scales[number]})
        threshold = choose_threshold(labels, scores, chosen_on="the other folds", **rule.model_dump())
        own = _calibrated(table, calibration, number=number)
        judged.append(
            FoldJudged(
                number=number,
                table=own,
                calibration=calibration,
                threshold=threshold,
                figures=compute_metrics(own.labels, own.scores, threshold=DEFAULT_THRESHOLD.value, logits=own.logits),
                tuned=threshold_metrics(confusion(own.labels, own.scores, threshold=threshold.value)),
            )
        )
    return judged


def _scale(table: PredictionTable) -> float:
    """Return the root mean square of the logits; 1 where all are 0."""
    return float(np.sqrt(np.mean(table.logits**2))) or 1.0


def pool(folds: Sequence[FoldJudged], *, expected: Sequence[set[str]], data_hash: str) -> PredictionTable:
    """Return the rows of all folds as one table; `expected` holds the ids that each fold has to validate.

    Raises:
        RunError: a fold judged other data than that of `data_hash`, or other pictures than its own: its run began on
            other data, or its files were mixed up.

    """
    for fold, wanted in zip(folds, expected, strict=True):
        if fold.table.meta.data_hash != data_hash:
            raise RunError(
                f"fold {fold.number} was trained on other data than there is now (hash "
                f"{str(fold.table.meta.data_hash)[:12]}, now {data_hash[:12]}); bring it back, or train the fold anew"
            )
        found = set(fold.table.table["id"].to_pylist())
        if found != wanted:
            raise RunError(
                f"fold {fold.number} judged {len(found - wanted):,} pictures of other folds and left out "
                f"{len(wanted - found):,} of its own: its folder is another cross-validation's. Remove it and go on"
            )
    meta = folds[0].table.meta.model_copy(update={"subset": "out-of-fold", "bundle_hash": None})
    return PredictionTable(pa.concat_tables([fold.table.table for fold in folds]), meta)


def _calibrated(table: PredictionTable, calibration: Calibration, *, number: int) -> PredictionTable:
    logits = [None if logit is None else logit / calibration.temperature for logit in table.table["logit"].to_pylist()]
    return table.rescored(
        logits,
        splits=[f"fold_{number}"] * len(logits),
        calibration=Calibration(),
        meta=TableMeta(data_name=table.meta.data_name, subset=f"fold {number}", data_hash=table.meta.data_hash),
    )
