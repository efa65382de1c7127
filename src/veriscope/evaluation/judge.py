"""From a PredictionTable to a Judgement: figures with intervals, and the verdict on the model in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.evaluation.intervals import Interval, bootstrap_intervals, wilson
from veriscope.evaluation.metrics import (
    METRICS,
    ClassRow,
    Confusion,
    Scores,
    auroc,
    classification_report,
    compute_metrics,
    confusion,
)
from veriscope.evaluation.predictions import PredictionTable
from veriscope.types import FAKE, REAL, Threshold, preferred_name

DEFAULT_DRAWS = 2000
LEVEL = 0.95
_GENERATOR_DRAWS = 500  # data sets name dozens of generators; a row's interval need not have three digits
NO_GENERATOR = "(not named)"


class Figure(NamedTuple):
    """A metric's value and interval; None = undefined."""

    value: float | None
    interval: Interval | None


class GeneratorRow(NamedTuple):
    """How one generator's fakes fare. `recall`: threshold's name to share caught; `auroc` is against all real ones."""

    generator: str
    support: int
    recall: dict[str, Figure]
    auroc: Figure
    mean_score: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that follows from a table and thresholds. Dicts `at`, `confusion`, `by_class` go by threshold name.

    `free` holds the metrics that need no threshold. `headline` names the threshold that the verdict speaks of.
    """

    num_images: int
    num_judged: int
    num_real: int
    num_fake: int
    num_unreadable: int
    num_unlabelled: int
    thresholds: dict[str, Threshold]
    headline: str
    free: dict[str, Figure]
    at: dict[str, dict[str, Figure]]
    confusion: dict[str, Confusion]
    by_class: dict[str, dict[str, ClassRow]]
    by_generator: tuple[GeneratorRow, ...]
    draws: int
    seed: int

    @property
    def metrics(self) -> Scores:
        """Every metric's value at the headline threshold."""
        return {key: figure.value for key, figure in {**self.free, **self.at[self.headline]}.items()}

    def verdict(self) -> list[str]:
        """Return the verdict on the model as two to four plain sentences, the main one first."""
        return _verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the judgement as a JSON-able dict; undefined figures are null."""
        return {
            "counts": {
                "images": self.num_images,
                "judged": self.num_judged,
                "real": self.num_real,
                "fake": self.num_fake,
                "unreadable": self.num_unreadable,
                "unlabelled": self.num_unlabelled,
            },
            "headline_threshold": self.headline,
            "verdict": self.verdict(),
            "intervals": {"level": LEVEL, "bootstrap_draws": self.draws, "bootstrap_seed": self.seed},
            "metrics": {key: figure_dict(figure) for key, figure in self.free.items()},
            "thresholds": {
                name: {
                    **threshold.model_dump(),
                    "metrics": {key: figure_dict(figure) for key, figure in self.at[name].items()},
                    "confusion": self.confusion[name]._asdict(),
                    "classification_report": self.by_class[name],
                }
                for name, threshold in self.thresholds.items()
            },
            "generators": [
                {
                    "generator": row.generator,
                    "support": row.support,
                    "recall": {name: figure_dict(figure) for name, figure in row.recall.items()},
                    "auroc": figure_dict(row.auroc),
                    "mean_score": row.mean_score,
                }
                for row in self.by_generator
            ],
        }


def judge(
    table: PredictionTable,
    *,
    thresholds: Mapping[str, Threshold],
    headline: str | None = None,
    draws: int = DEFAULT_DRAWS,
    seed: int = 42,
) -> Judgement:
    """Return every figure of the judged rows of `table`, at each threshold.

    Accuracy, recall, specificity and precision carry Wilson's interval, which stays honest at 0 and 1; the others the
    stratified bootstrap's, widened where need be to hold the figure. One class is enough; what compares the classes is
    then undefined.

    Args:
        table: the predictions.
        thresholds: name to threshold, as a bundle holds them ({'default', 'val'}).
        headline: the threshold that the verdict speaks of; None: types.preferred_name.
        draws: bootstrap resamples.
        seed: of the resamples.

    Raises:
        ValueError: no thresholds, or an unknown headline.

    """
    name = headline if headline is not None else preferred_name(thresholds)
    if name not in thresholds:
        raise ValueError(f"headline threshold {name!r} is not among {sorted(thresholds)}")
    labels, logits, scores = table.labels, table.logits, table.scores
    values = {key: threshold.value for key, threshold in thresholds.items()}
    counts = {key: confusion(labels, scores, threshold=value) for key, value in values.items()}
    rate = table.meta.base_rate
    points = {
        key: compute_metrics(labels, scores, threshold=value, logits=logits, base_rate=rate)
        for key, value in values.items()
    }
    spans = bootstrap_intervals(labels, logits, scores, thresholds=values, draws=draws, seed=seed, base_rate=rate)
    free_keys = [metric.key for metric in METRICS if metric.kind != "threshold"]
    threshold_keys = [metric.key for metric in METRICS if metric.kind == "threshold"]
    return Judgement(
        num_images=len(table),
        num_judged=len(labels),
        num_real=int(np.sum(labels == REAL)),
        num_fake=int(np.sum(labels == FAKE)),
        num_unreadable=table.num_unreadable,
        num_unlabelled=table.num_unlabelled,
        thresholds=dict(thresholds),
        headline=name,
        free={key: _figure(points[name][key], spans.free.get(key)) for key in free_keys},
        at={
            key: {
                metric: _figure(points[key][metric], _shares(counts[key]).get(metric, spans.at[key].get(metric)))
                for metric in threshold_keys
            }
            for key in values
        },
        confusion=counts,
        by_class={key: classification_report(found) for key, found in counts.items()},
        by_generator=_by_generator(table, values, draws=draws, seed=seed),
        draws=draws,
        seed=seed,
    )


def _by_generator(
    table: PredictionTable, thresholds: Mapping[str, float], *, draws: int, seed: int
) -> tuple[GeneratorRow, ...]:
    """Return a row a generator, the worst caught first; nothing where no fake names its generator."""
    labels, logits, scores = table.labels, table.logits, table.scores
    names = np.array([name or NO_GENERATOR for name in table.column("generator")], dtype=object)
    fake = labels == FAKE
    known = sorted(set(names[fake]))
    if known in ([], [NO_GENERATOR]):
        return ()
    rows = []
    for name in known:
        own = fake & (names == name)
        kept = own | ~fake
        spans = bootstrap_intervals(
            labels[kept], logits[kept], scores[kept], thresholds={}, draws=min(draws, _GENERATOR_DRAWS), seed=seed
        )
        recall = {key: _share(scores[own] >= value) for key, value in thresholds.items()}
        rows.append(
            GeneratorRow(
                generator=str(name),
                support=int(own.sum()),
                recall=recall,
                auroc=_figure(auroc(labels[kept], logits[kept]), spans.free.get("auroc")),
                mean_score=float(scores[own].mean()),
            )
        )
    return tuple(sorted(rows, key=lambda row: (min(f.value or 0.0 for f in row.recall.values()), row.generator)))


def _shares(counts: Confusion) -> dict[str, Interval | None]:
    """Return Wilson's interval of the metrics that are plain shares."""
    tn, fp, fn, tp = counts
    return {
        "accuracy": wilson(tp + tn, tn + fp + fn + tp, level=LEVEL),
        "recall": wilson(tp, tp + fn, level=LEVEL),
        "specificity": wilson(tn, tn + fp, level=LEVEL),
        "precision": wilson(tp, tp + fp, level=LEVEL),
    }


def _share(hits: npt.NDArray[np.bool_]) -> Figure:
    return Figure(float(hits.mean()), wilson(int(hits.sum()), hits.size, level=LEVEL))


def _figure(value: float | None, interval: Interval | None) -> Figure:
    if value is None or interval is None:
        return Figure(value, None)
    # Resampling makes ties, which raise AP and lower TPR at a fixed FPR, so that with few rows the percentiles can miss
    # the figure itself. Widening to hold it keeps the interval honest and is never narrower.
    return Figure(value, interval._replace(low=min(interval.low, value), high=max(interval.high, value)))


def figure_dict(figure: Figure) -> dict[str, Any]:
    """Return a figure as a JSON-able dict."""
    if figure.interval is None:
        return {"value": figure.value, "low": None, "high": None, "method": None}
    return {
        "value": figure.value,
        "low": figure.interval.low,
        "high": figure.interval.high,
        "method": figure.interval.method,
    }


def _verdict(judgement: Judgement) -> list[str]:
    recall, specificity = judgement.at[judgement.headline]["recall"], judgement.at[judgement.headline]["specificity"]
    ranking = judgement.free["auroc"]
    if judgement.num_judged == 0:
        return ["There is nothing to judge: no picture has both a verdict and a known label."]
    sentences = []
    if ranking.interval is not None and ranking.interval.low <= 0.5:
        upside_down = ranking.interval.high < 0.5
        sentences.append(
            "It has the classes upside down: real pictures rank as more fake than fakes."
            if upside_down
            else "It can't be told from a coin's toss: the interval of its AUROC includes 0.5."
        )
    parts = []
    if recall.value is not None:
        parts.append(f"of 100 fakes it catches {_of_100(recall.value)}{_span_100(recall.interval)}")
    if specificity.value is not None:
        wrong = None if specificity.interval is None else (1 - specificity.interval.high, 1 - specificity.interval.low)
        span = "" if wrong is None else f" ({_of_100(wrong[0])} to {_of_100(wrong[1])})"
        joint = "it accuses" if parts else "of 100 real pictures it accuses"
        object_ = " of 100 real pictures wrongly" if parts else " wrongly"
        parts.append(f"{joint} {_of_100(1 - specificity.value)}{object_}{span}")
    text = ", and ".join(parts)
    sentences.append(text[0].upper() + text[1:] + ".")
    if ranking.value is not None:
        sentences.append(
            f"Shown one fake and one real picture, it ranks the fake higher {_of_100(ranking.value)} times of 100."
        )
    if judgement.num_fake == 0 or judgement.num_real == 0:
        only = "real" if judgement.num_fake == 0 else "fake"
        sentences.append(f"The data holds only {only} pictures: what compares the two classes is undefined.")
    if judgement.num_unreadable:
        sentences.append(
            f"{judgement.num_unreadable} of {judgement.num_images} files got no verdict and count nowhere."
        )
    return sentences


def _of_100(share: float) -> str:
    """Return a share as a whole number of 100 that never rounds a rest away to 0 or 100."""
    percent = 100 * share
    if 0 < percent < 0.5:
        return "less than 1"
    if 99.5 < percent < 100:
        return "more than 99"
    return str(int(percent + 0.5))


def _span_100(interval: Interval | None) -> str:
    if interval is None:
        return ""
    return f" (95 % interval {_of_100(interval.low)} to {_of_100(interval.high)})"
