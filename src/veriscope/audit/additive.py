"""A small model on a dozen facts, and what it comes to under every shuffling of the labels, from one factorisation.

Each fact becomes steps (is it at least this much?) or levels (is it this one?), and a ridge regression of the label on
all of them gives a curve per fact whose sum is the score: a generalised additive model (Hastie & Tibshirani 1986) with
curves in steps. It sees any shape of a curve, not what only two facts together tell. On the data sets of
benchmarks/shortcuts.md its AUROC lies within 0.02 of gradient-boosted trees', and it is refitted to hundreds of
shuffled labels in the time of one: they share the matrix.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve
from scipy.stats import rankdata

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

NUM_STEPS = 16
_MAX_LEVELS = 30
_MIN_LEVEL_ROWS = 5
_RIDGE = 50.0  # pictures that have to agree before a step is believed half; best of 3 to 100 on the three data sets
_DECIMALS = 9  # rows with equal facts tie: their sums differ by rounding


class Column(NamedTuple):
    """One fact of N pictures. `values`: (N,), NaN where not known; where `levels` has names, an index into them."""

    name: str
    values: Floats
    levels: tuple[str, ...] = ()


class Design(NamedTuple):
    """(N, C) numbers from 0 to 1, and for each of the C columns the index of its fact."""

    matrix: Floats
    fact_of: Codes

    def only(self, fact: int) -> "Design":
        """Return the columns of one fact."""
        kept = self.fact_of == fact
        return Design(self.matrix[:, kept], self.fact_of[kept])


def design(columns: Sequence[Column]) -> Design:
    """Return the steps and levels of all facts. Labels take no part: edges are quantiles of all rows."""
    parts = [_levels(column) if column.levels else _steps(column.values) for column in columns]
    fact_of = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    return Design(np.concatenate(parts, axis=1), fact_of)


def out_of_fold(table: Design, labels_NL: npt.NDArray[Any], folds: Codes) -> Floats:
    """Return (N, L): each row's score under each of L labellings, by a model fitted without the row's fold.

    Scores are deviations from the mean of what was fitted on, so that a fold with more fakes has none the lower scores.
    """
    matrix, labels = table.matrix, np.asarray(labels_NL, dtype=np.float64)
    scores = np.zeros(labels.shape)
    for fold, (mean, weights) in _fits(matrix, labels, folds).items():
        scores[folds == fold] = (matrix[folds == fold] - mean) @ weights
    return np.round(scores, _DECIMALS)


def contributions(table: Design, labels: npt.NDArray[Any], folds: Codes, *, num_facts: int) -> Floats:
    """Return each fact's share, (num_facts,), of the gap between the classes' mean out-of-fold scores.

    0 where a fact narrows the gap; they sum to 1, or are all 0. Facts that say the same share what they say.
    """
    matrix, fake = table.matrix, np.asarray(labels) == 1
    gaps = np.zeros(matrix.shape[1])
    for fold, (mean, weights) in _fits(matrix, fake[:, None].astype(np.float64), folds).items():
        inside = folds == fold
        parts = (matrix[inside] - mean) * weights[:, 0]
        gaps += parts[fake[inside]].sum(axis=0) / fake.sum() - parts[~fake[inside]].sum(axis=0) / (~fake).sum()
    shares = np.maximum(np.bincount(table.fact_of, weights=gaps, minlength=num_facts), 0.0)
    return np.asarray(shares / (shares.sum() or 1.0), dtype=np.float64)


def aurocs(scores_NL: Floats, labels_NL: npt.NDArray[Any]) -> Floats:
    """Return the AUROC of each column of scores for its column of labels; 0.5 where a class is missing."""
    fake = np.asarray(labels_NL) == 1
    num_fake = fake.sum(axis=0)
    pairs = num_fake * (len(fake) - num_fake)
    sums = np.where(fake, rankdata(scores_NL, axis=0), 0.0).sum(axis=0)
    return np.where(pairs > 0, (sums - num_fake * (num_fake + 1) / 2) / np.maximum(pairs, 1), 0.5)


def ranking_aurocs(values: Floats, labels_NL: npt.NDArray[Any]) -> Floats:
    """Return the AUROC of one fact for each of L labellings, (L,), among the rows that have it."""
    known = np.isfinite(values)
    fake = np.asarray(labels_NL)[known] == 1
    num_fake = fake.sum(axis=0)
    pairs = num_fake * (len(fake) - num_fake)
    sums = np.einsum("n,nl->l", rankdata(values[known]), fake.astype(np.float64))
    return np.where(pairs > 0, (sums - num_fake * (num_fake + 1) / 2) / np.maximum(pairs, 1), 0.5)


def chance_spreads(labels_NL: npt.NDArray[Any]) -> Floats:
    """Return (L,) the standard deviation of an AUROC that only chance makes, under each of L labellings of N rows.

    sqrt((m + n + 1) / (12 m n)) for m fakes and n real ones (Mann & Whitney 1947); infinite where a class is missing.
    """
    num_fake = np.sum(np.asarray(labels_NL) == 1, axis=0)
    pairs = num_fake * (len(labels_NL) - num_fake)
    return np.where(pairs > 0, np.sqrt((len(labels_NL) + 1) / (12 * np.maximum(pairs, 1))), np.inf)


def shuffled_labels(
    labels: npt.NDArray[Any], folds: Codes, groups: Codes | None, *, count: int, rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    """Return (N, count) labellings as likely as the true one if no fact had to do with the label.

    Rows swap labels within their fold, so that folds stay stratified. With `groups`, groups of one class swap as wholes
    (their rows are alike for reasons of their own), and rows of a group that holds both classes swap within it.
    """
    found = np.repeat(np.asarray(labels, dtype=np.int8)[:, None], count, axis=1)
    if groups is None:
        for fold in np.unique(folds):
            found[folds == fold] = rng.permuted(found[folds == fold], axis=0)
        return found
    codes = np.unique(groups, return_inverse=True)[1]
    shares = np.bincount(codes, weights=labels) / np.bincount(codes)
    mixed = (shares > 0) & (shares < 1)
    for group in np.flatnonzero(mixed):
        found[codes == group] = rng.permuted(found[codes == group], axis=0)
    pure = rng.permuted(np.repeat(shares[~mixed, None], count, axis=1), axis=0)
    number = np.cumsum(~mixed) - 1
    rows = ~mixed[codes]
    found[rows] = pure[number[codes[rows]]]
    return found


def _fits(matrix: Floats, labels: Floats, folds: Codes) -> dict[int, tuple[Floats, Floats]]:
    """Return, for each fold, the means of all other rows' columns and the (C, L) weights fitted to them."""
    gram, cross, sums, label_sums = matrix.T @ matrix, matrix.T @ labels, matrix.sum(axis=0), labels.sum(axis=0)
    found = {}
    for fold in np.unique(folds):
        inside = folds == fold
        left_out, count = matrix[inside], int((~inside).sum())
        mean = (sums - left_out.sum(axis=0)) / count
        label_mean = (label_sums - labels[inside].sum(axis=0)) / count
        centred = gram - left_out.T @ left_out - count * np.outer(mean, mean)
        centred[np.diag_indices_from(centred)] += _RIDGE
        target = cross - left_out.T @ labels[inside] - count * np.outer(mean, label_mean)
        found[int(fold)] = (mean, np.asarray(solve(centred, target, assume_a="pos"), dtype=np.float64))
    return found


def _steps(values: Floats) -> Floats:
    """Return columns of 0 and 1 for each edge that a value reaches, its rank where there are more values than edges,
    and whether it is missing."""
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    many = distinct.size > NUM_STEPS
    edges = np.unique(np.quantile(values[known], np.arange(1, NUM_STEPS) / NUM_STEPS)) if many else distinct[1:]
    columns: list[npt.NDArray[Any]] = [values[:, None] >= edges]
    if many:
        ranks = np.zeros((len(values), 1))
        ranks[known, 0] = rankdata(values[known]) / known.sum()
        columns.append(ranks)
    if not known.all():
        columns.append(~known[:, None])
    return np.concatenate(columns, axis=1).astype(np.float64)


def _levels(column: Column) -> Floats:
    """Return a column of 0 and 1 for each frequent level; rare ones are zeros together."""
    counts = np.bincount(column.values.astype(np.int64), minlength=len(column.levels))
    order = np.argsort(-counts, kind="stable")[:_MAX_LEVELS]
    frequent = order[counts[order] >= _MIN_LEVEL_ROWS]
    return np.asarray(column.values[:, None] == frequent, dtype=np.float64)
