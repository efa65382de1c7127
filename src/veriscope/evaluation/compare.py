"""Several detectors on the same pictures: who is better, by how much, and is it more than luck."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.errors import DataError, nearest
from veriscope.evaluation.column_draws import percentile_interval
from veriscope.evaluation.compare_inputs import Entry, Matched, match
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.intervals import Method, wilson
from veriscope.evaluation.metrics import METRICS, Metric, Scores, compute_metrics
from veriscope.evaluation.resample import RESAMPLED, paired_draws
from veriscope.evaluation.significance import PairTest, bootstrap_test, delong_areas, delong_test, holm, mcnemar_test
from veriscope.types import FAKE, REAL

Floats = npt.NDArray[np.float64]

SHOWN = ("auroc", "accuracy", "balanced_accuracy", "log_loss", "brier")
DEFAULT_METRIC = "auroc"
_BY_KEY = {metric.key: metric for metric in METRICS}


class Pair(NamedTuple):
    """One metric of two detectors, by name. `test` is of first less second; `corrected`: p after Holm's correction."""

    metric: str
    first: str
    second: str
    test: PairTest
    corrected: float | None


class Agreement(NamedTuple):
    """How many pictures both get right, one of them alone, and neither, each at its own threshold."""

    first: str
    second: str
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One detector in the table. `mark`: 'best', 'equal' (can't be told from the best by `metric`), or ''."""

    entry: Entry
    figures: dict[str, Figure]
    mark: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that follows from the tables; `standings` are by `metric`, the best first.

    `pairs` hold every metric of every pair, the better placed detector first. p are corrected within a metric.
    """

    matched: Matched
    metric: Metric
    level: float
    draws: int
    seed: int
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    agreements: tuple[Agreement, ...]
    notices: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The keys of the metrics in the table, what ranks first."""
        return tuple(dict.fromkeys((self.metric.key, *SHOWN)))

    def pairs_of(self, key: str) -> list[Pair]:
        """Return the pairs of one metric."""
        return [pair for pair in self.pairs if pair.metric == key]

    def sentences(self) -> list[str]:
        """Return what was found in plain words: of more than two who is best, then the best against each other one."""
        best = self.standings[0].entry.name
        mine = [pair for pair in self.pairs_of(self.metric.key) if pair.first == best]
        equals = [standing.entry.name for standing in self.standings if standing.mark == "equal"]
        summary = f"{best} is best of {len(self.standings)} by {_in_sentence(self.metric)}; " + (
            f"{', '.join(equals)} can't be told from it." if equals else "every other one is worse."
        )
        return [summary] * (len(self.standings) > 2) + [sentence(pair, comparison=self) for pair in mine]


def compare(
    entries: Sequence[Entry],
    *,
    metric: str = DEFAULT_METRIC,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 42,
    shown: bool = False,
) -> Comparison:
    """Return figures with intervals and the tests of all pairs, on the pictures that all have judged.

    Args:
        entries: two or more.
        metric: key of what ranks them; it and the metrics of SHOWN are tested.
        level: of intervals; who is told apart at 1 - level, after correction over all pairs, is better.
        draws: bootstrap resamples.
        seed: of the resamples.
        shown: whether a terminal sees a bar.

    Raises:
        DataError: tables that can't be compared, or a metric that can't be tested or isn't defined here.

    """
    chosen = metric_of(metric)
    matched = match(entries)
    keys = tuple(dict.fromkeys((metric, *SHOWN)))
    values = _values(matched)
    if any(scores[metric] is None for scores in values):
        raise DataError(
            f"{chosen.label} is undefined on these pictures ({_counts_text(matched)}); name another --metric, as "
            "accuracy."
        )
    resampled = paired_draws(
        matched.labels,
        matched.logits,
        matched.scores,
        thresholds=[entry.threshold.value for entry in matched.entries],
        groups=matched.groups,
        draws=draws,
        seed=seed,
        base_rate=matched.base_rate,
        shown=shown,
    )
    order = sorted(range(len(entries)), key=lambda k: (_signed(values[k][metric], chosen), matched.names[k]))
    pairs = _pairs(matched, keys, values, resampled, order=order, level=level)
    return Comparison(
        matched=matched,
        metric=chosen,
        level=level,
        draws=draws,
        seed=seed,
        standings=_standings(matched, values, {key: resampled[key] for key in keys}, pairs, order=order, level=level),
        pairs=tuple(pairs),
        agreements=_agreements(matched, order),
        notices=(*matched.notices, *_draws_notice(pairs, level=level, draws=draws)),
    )


def _standings(
    matched: Matched,
    values: Sequence[Scores],
    resampled: dict[str, Floats],
    pairs: Sequence[Pair],
    *,
    order: Sequence[int],
    level: float,
) -> tuple[Standing, ...]:
    """Return the detectors in `order`; pairs of the first metric of `resampled` say who can't be told from the best."""
    best, ranking = matched.names[order[0]], next(iter(resampled))
    worse = {
        pair.second
        for pair in pairs
        if pair.metric == ranking and pair.first == best and pair.corrected is not None and pair.corrected < 1 - level
    }
    return tuple(
        Standing(
            entry=matched.entries[k],
            figures=_figures(matched, k, values[k], {key: draws[k] for key, draws in resampled.items()}, level=level),
            mark="best" if k == order[0] else "" if matched.names[k] in worse else "equal",
        )
        for k in order
    )


def metric_of(key: str) -> Metric:
    """Return the metric of that key.

    Raises:
        DataError: unknown, or one that has no test.

    """
    if key not in RESAMPLED:
        known = f"'{key}' has no test: resampling biases it." if key in _BY_KEY else f"metric '{key}' is unknown."
        raise DataError(f"{known} {nearest(key, RESAMPLED)}")
    return _BY_KEY[key]


def sentence(pair: Pair, *, comparison: Comparison) -> str:
    """Return what a pair's test says in plain words."""
    metric, test = _BY_KEY[pair.metric], pair.test
    size = f"{len(comparison.matched.ids):,} pictures"
    gap = f"{test.difference:+.3f} {_in_sentence(metric)}" + (
        "" if test.low is None else f" ({test.low:+.3f} to {test.high:+.3f})"
    )
    if test.p is None or pair.corrected is None:
        groups = comparison.matched.groups
        why = "nothing varies" if groups is None else "all of one group" if groups.max() == 0 else "too few groups vary"
        why = (
            "there is but one picture" if groups is None and comparison.matched.num_witnesses(pair.metric) < 2 else why
        )
        return f"{pair.first} against {pair.second}: {gap}; {why}, so that no test says whether it is luck."
    told = p_text(pair.corrected, comparison=comparison, sign=True)
    if pair.corrected >= 1 - comparison.level:
        return f"{pair.first} and {pair.second} can't be told apart on {size}: {gap}, {told}."
    better = test.difference > 0 if metric.better == "higher" else test.difference < 0
    ahead = {"ranking": "ranks better than", "threshold": "judges better than", "probability": "has better scores than"}
    if not better:  # only where --metric ranked them otherwise than this one
        ahead = {key: text.replace("better", "worse") for key, text in ahead.items()}
    return f"{pair.first} {ahead[metric.kind]} {pair.second} on {size}: {gap}, {told}."


def p_text(p: float | None, *, comparison: Comparison, sign: bool = False) -> str:
    """Return a p as text; with `sign` as 'p = 0.003', and what it was corrected for."""
    if p is None:
        return "undefined"
    text = "< 0.001" if p < 0.001 else f"{p:.3f}"
    if not sign:
        return text
    num_pairs = len(comparison.pairs_of(comparison.metric.key))
    return f"p {'' if text[0] == '<' else '= '}{text}" + (f" after correction for {num_pairs} pairs" * (num_pairs > 1))


def _values(matched: Matched) -> list[Scores]:
    return [
        compute_metrics(
            matched.labels, scores, threshold=entry.threshold.value, logits=logits, base_rate=matched.base_rate
        )
        for entry, logits, scores in zip(matched.entries, matched.logits, matched.scores, strict=True)
    ]


def _signed(value: float | None, metric: Metric) -> float:
    assert value is not None  # checked before
    return -value if metric.better == "higher" else value


def _pairs(
    matched: Matched,
    keys: Sequence[str],
    values: Sequence[Scores],
    resampled: dict[str, Floats],
    *,
    order: Sequence[int],
    level: float,
) -> list[Pair]:
    """Return the tests of every metric and pair; Holm's family is the pairs of one metric."""
    both = np.unique(matched.labels).size == 2
    areas = delong_areas(matched.labels, matched.logits, groups=matched.groups) if both else None
    right = _right(matched)
    found = []
    for key in keys:
        tests = []
        for a, b in combinations(order, 2):
            ours, theirs = values[a][key], values[b][key]
            if ours is None or theirs is None:
                continue
            if key == "auroc" and areas is not None:
                test = delong_test(areas, a, b, level=level)
            elif key == "accuracy":
                test = mcnemar_test(right[a], right[b], groups=matched.groups, level=level)
            else:
                test = bootstrap_test(ours - theirs, resampled[key][a] - resampled[key][b], level=level)
            tests.append((a, b, _no_surer_than(test, matched.num_witnesses(key))))
        corrected = holm([test.p for _, _, test in tests])
        found += [
            Pair(key, matched.names[a], matched.names[b], test, p)
            for (a, b, test), p in zip(tests, corrected, strict=True)
        ]
    return found


def _no_surer_than(test: PairTest, witnesses: int) -> PairTest:
    """Return the test with a p that so few witnesses can give: all of them of one mind has, where chance alone decides,
    the probability 2^(1 - n), as in the sign test. The bootstrap and DeLong's normal know of no such bound: of two
    pictures that agree every draw agrees, too. A single witness says nothing."""
    if witnesses < 2:
        return test._replace(low=None, high=None, p=None)
    return test if test.p is None else test._replace(p=max(test.p, 2.0 ** (1 - witnesses)))


def _right(matched: Matched) -> npt.NDArray[np.bool_]:
    thresholds = np.array([[entry.threshold.value] for entry in matched.entries])
    return np.asarray((matched.scores >= thresholds) == (matched.labels == FAKE))


def _agreements(matched: Matched, order: Sequence[int]) -> tuple[Agreement, ...]:
    right = _right(matched)
    return tuple(
        Agreement(
            matched.names[a],
            matched.names[b],
            both_right=int(np.sum(right[a] & right[b])),
            only_first=int(np.sum(right[a] & ~right[b])),
            only_second=int(np.sum(~right[a] & right[b])),
            both_wrong=int(np.sum(~right[a] & ~right[b])),
        )
        for a, b in combinations(order, 2)
    )


def _figures(
    matched: Matched, number: int, values: Scores, draws: dict[str, Floats], *, level: float
) -> dict[str, Figure]:
    """Return a detector's figures: accuracy with Wilson's interval, as in its report, the others with the bootstrap's.

    Groups have no Wilson's interval: it counts every picture as a witness of its own.
    """
    method: Method = "bootstrap" if matched.groups is None else "cluster bootstrap"
    found = {
        key: Figure(values[key], percentile_interval(own, values[key], level=level, method=method))
        for key, own in draws.items()
    }
    if matched.groups is None:
        called = matched.scores[number] >= matched.entries[number].threshold.value
        hits = int(np.sum(called == (matched.labels == FAKE)))
        found["accuracy"] = Figure(values["accuracy"], wilson(hits, len(matched.ids), level=level))
    return found


def _draws_notice(pairs: Sequence[Pair], *, level: float, draws: int) -> list[str]:
    """Say it where so few draws can't give a corrected p below 1 - level, however large a difference is."""
    by_bootstrap = [pair.metric for pair in pairs if pair.test.method == "paired bootstrap"]
    keys = list(dict.fromkeys(by_bootstrap))
    family = max((by_bootstrap.count(key) for key in keys), default=0)
    if not family or 2 * family / (draws + 1) < 1 - level:
        return []
    return [
        f"{draws:,} draws are too few for {family} pairs: by {', '.join(_in_sentence(_BY_KEY[key]) for key in keys)} "
        f"nothing could ever be told apart; take --draws {int(np.ceil(4 * family / (1 - level)))}."
    ]


def _counts_text(matched: Matched) -> str:
    return f"{int(np.sum(matched.labels == REAL)):,} real, {int(np.sum(matched.labels == FAKE)):,} fake"


def _in_sentence(metric: Metric) -> str:
    return metric.label if metric.label[:2].isupper() else metric.label[0].lower() + metric.label[1:]
