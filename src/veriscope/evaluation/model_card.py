"""A model card with evaluation figures, from a bundle and reports, in Hugging Face's format (`veriscope card`)."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from veriscope.bundle.bundle import CARD_NAME, Bundle, load_folder
from veriscope.bundle.model_card import markdown_table, model_card
from veriscope.errors import BundleError, DataError, VeriscopeError
from veriscope.evaluation.metrics import METRICS, UNDEFINED
from veriscope.evaluation.report import JSON_NAME, SCHEMA_VERSION
from veriscope.files import write_text

_TASK = {"type": "image-classification", "name": "real or AI-generated or manipulated"}
# Hugging Face's names of metrics, where they differ from ours.
_HUB_TYPES = {"auroc": "roc_auc", "ap": "average_precision", "mcc": "matthews_correlation", "brier": "brier_score"}
_LABELS = {metric.key: metric.label for metric in METRICS}


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Figure(_Part):
    value: float | None
    low: float | None
    high: float | None

    def text(self) -> str:
        if self.value is None:
            return UNDEFINED
        return f"{self.value:.3f}" + ("" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})")


class _Generator(_Part):
    generator: str
    support: int
    recall: dict[str, _Figure]
    auroc: _Figure


class _Spread(_Part):
    mean: float
    minimum: float
    worst: str
    num_groups: int


class _Groups(_Part):
    by: str
    line: str | None
    spread: dict[str, _Spread]


class _At(_Part):
    value: float
    rule: str
    chosen_on: str
    metrics: dict[str, _Figure]


class _Data(_Part):
    name: str
    subset: str
    part: str = "all"
    content_hash: str = "unknown"


class _Intervals(_Part):
    level: float


class _Counts(_Part):
    judged: int
    real: int
    fake: int


class _Section(_Part):
    sentences: list[str] = []


class EvaluationReport(_Part):
    """What a card needs of report.json."""

    schema_version: int
    data: _Data
    corruption: str | None
    base_rate_stated: float | None = None
    warnings: list[str]
    notices: list[str]
    grade: str | None
    verdict: list[str]
    counts: _Counts
    intervals: _Intervals
    headline_threshold: str
    metrics: dict[str, _Figure]
    thresholds: dict[str, _At]
    generators: list[_Generator]
    groups: list[_Groups]
    sections: dict[str, _Section] = Field(default_factory=dict)
    bundle: dict[str, Any]
    provenance: dict[str, Any]

    @model_validator(mode="after")
    def _has_its_headline(self) -> Self:
        where: list[Mapping[str, object]] = [self.thresholds, *(row.recall for row in self.generators)]
        if any(self.headline_threshold not in found for found in where):
            raise ValueError(f"figures at the threshold '{self.headline_threshold}' are missing")
        return self

    @property
    def figures(self) -> dict[str, _Figure]:
        """Every figure: without a threshold, and at the headline one."""
        return {**self.metrics, **self.thresholds[self.headline_threshold].metrics}


def run_card(arguments: argparse.Namespace) -> int:
    """Write the card and say where; return 0.

    Raises:
        VeriscopeError: an unusable bundle or report, a report on another bundle, or a file that is there already.

    """
    bundle = load_folder(arguments.bundle)
    reports = [read_report(folder, bundle=bundle) for folder in arguments.report]
    output: Path = arguments.output if arguments.output is not None else _folder(arguments.report[0]) / CARD_NAME
    if output.is_dir():
        raise VeriscopeError(f"'{output}' is a folder. Name a file with --output.")
    if output.exists() and not arguments.overwrite:
        raise VeriscopeError(f"'{output}' is there already. Name another file with --output, or say --overwrite.")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, evaluated_card(bundle, reports))
    print(output)
    return 0


def read_report(path: Path, *, bundle: Bundle) -> EvaluationReport:
    """Return the report of an evaluation folder, or of its report.json, which must be `bundle`'s.

    Raises:
        DataError: no report there, damaged, or of another version.
        BundleError: it judged another bundle, or this one under other terms.

    """
    file = _folder(path) / JSON_NAME
    try:
        report = EvaluationReport.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DataError(f"'{file}' can't be read ({error.strerror}). Name a folder that evaluate.py wrote.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DataError(
            f"'{file}' is no report of an evaluation that this version reads ({where}: {first['msg']}). Judge again."
        ) from None
    if report.schema_version != SCHEMA_VERSION:
        raise DataError(
            f"'{file}' has version {report.schema_version}, this program reads {SCHEMA_VERSION}. Judge again."
        )
    if report.bundle.get("weights_sha256") != bundle.weights_sha256:
        raise BundleError(f"'{file}' judged another bundle than '{bundle.folder}': its weights have another hash.")
    _check_terms(file, report, bundle)
    return report


def _check_terms(file: Path, report: EvaluationReport, bundle: Bundle) -> None:
    """Refuse figures at another calibration or thresholds than the bundle's, which the same weights may have had.

    At a stated base rate thresholds move; the calibration tells the two apart then.
    """
    told, own = report.bundle.get("calibration"), f"score = {bundle.record.calibration.formula}"
    values = {name: found.value for name, found in report.thresholds.items()}
    wanted = {name: found.value for name, found in bundle.record.thresholds.items()}
    if (told is not None and told != own) or (report.base_rate_stated is None and values != wanted):
        raise BundleError(
            f"'{file}' judged the weights of '{bundle.folder}' under another calibration or other thresholds. Judge "
            "again."
        )


def evaluated_card(bundle: Bundle, reports: Sequence[EvaluationReport]) -> str:
    """Return the bundle's own card with each report's figures in the text and in the header's `model-index`."""
    name = f"{bundle.record.model.name} ({bundle.record.training.data_name})"
    results = [result for report in reports for result in _results(report)]
    header = {"model-index": [{"name": name, "results": results}]}
    return model_card(bundle.record, header=header, evaluation="\n\n".join(_text(report) for report in reports))


def _results(report: EvaluationReport) -> list[dict[str, Any]]:
    """Return model-index entries: one for the data, one for each generator. Undefined figures are left out."""
    dataset: dict[str, Any] = {
        "name": ", ".join([report.data.name, *filter(None, [report.corruption]), *_base_rate_words(report)]),
        "type": re.sub(r"[^a-z0-9_.-]+", "-", report.data.name.lower()).strip("-") or "data",
        "split": report.data.part,
        "args": {"content_hash": report.data.content_hash, "pictures": report.counts.judged},
    }
    found = [{"task": dict(_TASK), "dataset": dict(dataset), "metrics": _metrics(report.figures)}]
    for row in report.generators:
        own = {**dataset, "config": row.generator, "args": {**dataset["args"], "fakes": row.support}}
        figures = {"recall": row.recall[report.headline_threshold], "auroc": row.auroc}
        found.append({"task": dict(_TASK), "dataset": own, "metrics": _metrics(figures)})
    return [entry for entry in found if entry["metrics"]]


def _metrics(figures: Mapping[str, _Figure]) -> list[dict[str, Any]]:
    return [
        {
            "type": _HUB_TYPES.get(key, key),
            "name": _LABELS.get(key, key)
            + ("" if figure.low is None else f" (95 % interval {figure.low:.4f} to {figure.high:.4f})"),
            "value": round(figure.value, 6),
        }
        for key, figure in figures.items()
        if figure.value is not None
    ]


def _text(report: EvaluationReport) -> str:
    chosen = report.thresholds[report.headline_threshold]
    damage = f" after {report.corruption}" if report.corruption else ""
    rows = {_LABELS.get(key, key): figure.text() for key, figure in report.figures.items()}
    parts = [
        f"### {report.data.name}, {report.data.part}{damage}",
        *(f"> **Don't trust these figures.** {text}" for text in report.warnings),
        *(f"> {text}" for text in report.notices),
        *_base_rate_text(report),
        " ".join(report.verdict),
        f"{report.data.subset} {report.counts.judged:,} pictures: {report.counts.real:,} real, "
        f"{report.counts.fake:,} fake. A score of {chosen.value:.4g} or more is called fake ({chosen.rule}; chosen "
        f"on: {chosen.chosen_on}). In brackets the {100 * report.intervals.level:.0f} % interval.",
        markdown_table(rows),
        *_generator_text(report),
        *_group_text(report),
        *_robustness_text(report),
        markdown_table(
            {
                "data hash": report.data.content_hash,
                "judged": str(report.provenance.get("started", "unknown")),
                "device": str(report.provenance.get("device", "unknown")),
                "command": str(report.provenance.get("command", "unknown")),
                "source": f"veriscope {report.provenance.get('veriscope', 'unknown')}, commit "
                f"{report.provenance.get('commit') or 'unknown'}",
            }
        ),
    ]
    return "\n\n".join(parts)


def _base_rate_words(report: EvaluationReport) -> list[str]:
    return [] if report.base_rate_stated is None else [f"base rate {report.base_rate_stated:g}"]


def _base_rate_text(report: EvaluationReport) -> list[str]:
    if report.base_rate_stated is None:
        return []
    return [f"> Scores were corrected to a share of fakes of {report.base_rate_stated:g}, stated by whoever judged."]


def _generator_text(report: EvaluationReport) -> list[str]:
    rows = {
        f"{row.generator} ({row.support:,} fakes)": f"caught {row.recall[report.headline_threshold].text()}; AUROC "
        f"against all real pictures {row.auroc.text()}"
        for row in report.generators
    }
    return ["Generators, the worst first:", markdown_table(rows)] if rows else []


def _group_text(report: EvaluationReport) -> list[str]:
    rows = {
        f"by {found.by}": f"accuracy: mean of {spread.num_groups} groups {spread.mean:.3f}, worst {spread.minimum:.3f} "
        f"({spread.worst})"
        for found in report.groups
        if (spread := found.spread.get("accuracy")) is not None
    }
    rows |= {f"by {found.by}": found.line for found in report.groups if found.line}
    return [markdown_table(rows)] if rows else []


def _robustness_text(report: EvaluationReport) -> list[str]:
    sentences = report.sections.get("robustness", _Section()).sentences
    return ["Robustness: " + " ".join(sentences)] if sentences else []


def _folder(path: Path) -> Path:
    return path.parent if path.name == JSON_NAME else path
