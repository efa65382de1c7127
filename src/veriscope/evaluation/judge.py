"""From a PredictionTable to a Judgement: figures with intervals, and the verdict on the model in plain words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriscope.evaluation.figures import LEVEL, Figure, figure, figure_dict, share_figure
from veriscope.evaluation.groups import (
    GeneratorRow,
    GroupTable,
    Spread,
    by_generator,
    by_groups,
    generator_spread,
)
from veriscope.evaluation.intervals import Codes, Interval, bootstrap_intervals, group_codes
from veriscope.evaluation.metrics import (
    METRICS,
    ClassRow,
    Confusion,
    Scores,
    classification_report,
    compute_metrics,
    confusion,
)
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.verdict import verdict_sentences
from veriscope.types import FAKE, REAL, Threshold, preferred_name

DEFAULT_DRAWS = 2000
_THRESHOLD_KEYS = tuple(metric.key for metric in METRICS if metric.kind == "threshold")
_FREE_KEYS = tuple(metric.key for metric in METRICS if metric.kind != "threshold")


@dataclass(frozen=True, slots=True)
class Judgement:
    """Everything that follows from a table and thresholds. Dicts `at`, `confusion`, `by_class` go by threshold name.

    `free` holds the metrics that need no threshold. `headline` names the threshold that the verdict speaks of.
    `num_groups`: how many independent lots (videos, persons, single pictures) the rows form where rows share groups,
    else None. `group_tables` are at the headline threshold.
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
    group_tables: tuple[GroupTable, ...]
    num_groups: int | None
    draws: int
    seed: int
    base_rate: float | None = None

    @property
    def generator_spread(self) -> dict[str, Spread]:
        """Mean and minimum over generators of recall, by threshold's name, and of 'auroc'."""
        return generator_spread(self.by_generator)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What the figures can't tell because of how the data was gathered: groups that give the class away."""
        return tuple(found.warning for found in self.group_tables if found.warning)

    @property
    def metrics(self) -> Scores:
        """Every metric's value at the headline threshold."""
        return {key: figure.value for key, figure in {**self.free, **self.at[self.headline]}.items()}

    def verdict(self) -> list[str]:
        """Return the verdict on the model as plain sentences, the main one first."""
        return verdict_sentences(self)

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
            "intervals": {
                "level": LEVEL,
                "bootstrap_draws": self.draws,
                "bootstrap_seed": self.seed,
                "groups": self.num_groups,
            },
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
                    "small": row.small,
                }
                for row in self.by_generator
            ],
            "generator_spread": {key: found._asdict() for key, found in self.generator_spread.items()},
            "groups": [found.to_dict() for found in self.group_tables],
            "caveats": list(self.caveats),
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
    stratified bootstrap's, widened where need be to hold the figure. Where rows share groups, all carry the cluster
    bootstrap's. One class is enough; what compares the classes is then undefined.

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
    labels, logits, scores, rate = table.labels, table.logits, table.scores, table.meta.base_rate
    values = {key: threshold.value for key, threshold in thresholds.items()}
    groups = group_codes(table.column("group"))
    drawn: dict[str, Any] = {"groups": groups, "draws": draws, "seed": seed}
    spans = bootstrap_intervals(labels, logits, scores, thresholds=values, base_rate=rate, **drawn)
    points = {
        key: compute_metrics(labels, scores, threshold=value, logits=logits, base_rate=rate)
        for key, value in values.items()
    }
    counts = {key: confusion(labels, scores, threshold=value) for key, value in values.items()}
    return Judgement(
        num_images=len(table),
        num_judged=len(labels),
        num_real=int(np.sum(labels == REAL)),
        num_fake=int(np.sum(labels == FAKE)),
        num_unreadable=table.num_unreadable,
        num_unlabelled=table.num_unlabelled,
        thresholds=dict(thresholds),
        headline=name,
        free={key: figure(points[name][key], spans.free.get(key)) for key in _FREE_KEYS},
        at={
            key: _at(table, points[key], spans.at[key], threshold=value, groups=groups) for key, value in values.items()
        },
        confusion=counts,
        by_class={key: classification_report(found) for key, found in counts.items()},
        by_generator=by_generator(table, thresholds=values, groups=groups, draws=draws, seed=seed),
        group_tables=by_groups(table, threshold=values[name], groups=groups, draws=draws, seed=seed),
        num_groups=None if groups is None else int(np.unique(groups).size),
        draws=draws,
        seed=seed,
        base_rate=rate,
    )


def _at(
    table: PredictionTable,
    points: Scores,
    spans: dict[str, Interval | None],
    *,
    threshold: float,
    groups: Codes | None,
) -> dict[str, Figure]:
    """Return the figures at one threshold; the plain shares with the intervals of shares."""
    fake, called = table.labels == FAKE, table.scores >= threshold
    rows = {
        "accuracy": (called == fake, np.ones_like(fake)),
        "recall": (called, fake),
        "specificity": (~called, ~fake),
        "precision": (fake, called),
    }
    found = {}
    for key in _THRESHOLD_KEYS:
        if key in rows and points[key] is not None:
            hits, among = rows[key]
            own = None if groups is None else groups[among]
            found[key] = share_figure(hits[among], groups=own, drawn=spans[key])
        else:
            found[key] = figure(points[key], spans[key])
    return found
