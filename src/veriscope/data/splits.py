"""Train, val and test: stratified, group-aware, the same whatever the order of files on disk."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.config.schema import SplitConfig
from veriscope.data.manifest import Manifest
from veriscope.errors import DataError
from veriscope.types import CLASS_NAMES, Split

LOG = logging.getLogger(__name__)

Indices = npt.NDArray[np.int64]
Groups = npt.NDArray[Any] | None
OUTSIDE_FOLDS = -1


@dataclass(frozen=True, slots=True)
class Fold:
    """Row indices of one fold, each sorted."""

    train: Indices
    val: Indices


@dataclass(frozen=True, slots=True)
class Cut:
    """What a run trains on, selects on, and leaves alone. `test` is None where there is none."""

    train: Manifest
    val: Manifest
    test: Manifest | None


def assign_parts(
    labels: npt.NDArray[Any], groups: Groups, *, shares: tuple[float, ...], seed: int
) -> npt.NDArray[np.int64]:
    """Return for each sample the part (0 to len(shares) - 1) that it goes to.

    Every class is shared out as `shares` (which sum to 1) says. Samples without a companion in their group are dealt by
    largest remainder, so class counts are within one of their due; every share above 0 gets at least one sample of a
    class that has enough. Larger groups go first, largest first, each whole to the part where the squared shortfall,
    relative to the class's size, drops most (the greedy rule of scikit-learn's StratifiedGroupKFold); the single
    samples then even out what the groups left uneven.
    """
    labels = np.asarray(labels, dtype=np.int64)
    rng = np.random.default_rng(seed)
    totals = np.bincount(labels, minlength=2).astype(float)
    due = np.outer(np.asarray(shares, dtype=float), totals)  # part x class
    have = np.zeros_like(due)
    parts = np.full(len(labels), -1, dtype=np.int64)
    single = np.ones(len(labels), dtype=bool)
    if groups is not None:
        _, group_of, group_size = np.unique(groups, return_inverse=True, return_counts=True)
        single = group_size[group_of] == 1
        _assign_groups(labels, np.where(single, -1, group_of), rng, due, have, parts)
    for label in range(2):
        rows = rng.permutation(np.flatnonzero(single & (labels == label)))
        counts = _deal(len(rows), due[:, label], have[:, label], have.sum(axis=1))
        parts[rows] = np.repeat(np.arange(len(shares)), counts)
        have[:, label] += counts
    return parts


def _assign_groups(
    labels: Indices, group_of: Indices, rng: np.random.Generator, due: Any, have: Any, parts: Indices
) -> None:
    """Fill `parts` and `have` for the samples with group_of >= 0."""
    rows = np.flatnonzero(group_of >= 0)
    if not rows.size:
        return
    names, inverse = np.unique(group_of[rows], return_inverse=True)
    counts = np.zeros((len(names), 2))
    np.add.at(counts, (inverse, labels[rows]), 1)
    shuffled = rng.permutation(len(names))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    weight = 1.0 / np.maximum(due.sum(axis=0), 1.0) ** 2
    chosen = np.zeros(len(names), dtype=np.int64)
    for group in order:
        # Change of sum((due - have)^2) when this group joins a part; parts with a share of 0 are never chosen.
        change = ((counts[group] ** 2 - 2 * counts[group] * (due - have)) * weight).sum(axis=1)
        change[due.sum(axis=1) == 0] = np.inf
        chosen[group] = int(np.argmin(change))
        have[chosen[group]] += counts[group]
    parts[rows] = chosen[inverse]


def _deal(count: int, due: npt.NDArray[Any], have: npt.NDArray[Any], sizes: npt.NDArray[Any]) -> Indices:
    """Return how many of `count` single samples each part gets: its shortfall, by largest remainder."""
    shortfall = np.maximum(due - have, 0.0)
    if not count or not shortfall.sum():
        return np.zeros(len(due), dtype=np.int64)
    exact = shortfall * (count / shortfall.sum())
    dealt: Indices = np.floor(exact + 1e-9).astype(np.int64)
    left = count - int(dealt.sum())
    # Ties go to the smaller part, so that two classes don't both favour the first fold.
    order = np.lexsort((np.arange(len(due)), sizes, -np.round(exact - dealt, 9)))
    dealt[order[:left]] += 1
    for part in np.flatnonzero((due > 0) & (dealt + have == 0)):
        giver = int(np.argmax(dealt))
        if dealt[giver] > 1:
            dealt[giver] -= 1
            dealt[part] += 1
    return dealt


def stratified_holdout(labels: npt.NDArray[Any], *, groups: Groups, fraction: float, seed: int) -> Fold:
    """Return a Fold whose val is about `fraction` of each class; groups never cross.

    Raises:
        DataError: a class, or the groups, can't fill both parts.

    """
    parts = assign_parts(labels, groups, shares=(1 - fraction, fraction), seed=seed)
    _require_classes(labels, parts, 2, f"a held-out share of {fraction:g}", grouped=groups is not None)
    return Fold(train=np.flatnonzero(parts == 0), val=np.flatnonzero(parts == 1))


def stratified_kfold(labels: npt.NDArray[Any], *, groups: Groups, num_folds: int, seed: int) -> list[Fold]:
    """Return `num_folds` folds; every sample is in val exactly once, class shares kept, groups never cross.

    Raises:
        DataError: more folds than samples, or than groups, of a class.

    """
    parts = assign_parts(labels, groups, shares=(1 / num_folds,) * num_folds, seed=seed)
    _require_classes(labels, parts, num_folds, f"split.num_folds={num_folds}", grouped=groups is not None)
    return [Fold(train=np.flatnonzero(parts != k), val=np.flatnonzero(parts == k)) for k in range(num_folds)]


def _require_classes(labels: npt.NDArray[Any], parts: Indices, num_parts: int, what: str, *, grouped: bool) -> None:
    for label, name in enumerate(CLASS_NAMES):
        filled = len(np.unique(parts[labels == label]))
        if filled < num_parts:
            count = int((labels == label).sum())
            why = " in groups that stay together" if grouped and count >= num_parts else ""
            raise DataError(
                f"{what} needs {name} pictures in each of {num_parts} parts; there are {count}{why}. "
                + ("Use fewer folds." if num_parts > 2 else "Use another share, or more data.")
            )


def cut(manifest: Manifest, config: SplitConfig) -> Cut:
    """Return train, val and test of a run.

    What the data itself says wins: its test is the test. Where only some files name a split, the others are train.
    holdout: the data's val, else val_fraction of train; with no split in the data at all, val_fraction and
    test_fraction of everything. kfold, or split.fold set: that fold of everything that isn't test; with no split in the
    data the same test_fraction is set aside first, for every fold (0: folds over everything).

    Raises:
        DataError: kfold without a fold, nothing to train on, or a class too small for its parts.

    """
    folds = config.name == "kfold" or config.fold is not None
    if folds and config.fold is None:
        last = config.num_folds - 1
        raise DataError(
            f"split=kfold trains one fold a run: add split.fold=0 (up to {last}), "
            f"or -m split.fold={','.join(str(k) for k in range(config.num_folds))} for all."
        )
    pool, val, test = _labelled_rows(manifest, config, folds=folds)
    if config.fold is not None:
        fold = _folds(manifest.take(pool), config)[config.fold]
        pool, val = pool[fold.train], pool[fold.val]
    elif val is None:
        fraction = config.val_fraction if manifest.has_splits else config.val_fraction / (1 - config.test_fraction)
        part = manifest.take(pool)
        held_out = stratified_holdout(part.labels, groups=part.group_codes, fraction=fraction, seed=config.seed)
        pool, val = pool[held_out.train], pool[held_out.val]
    result = Cut(train=manifest.take(pool), val=manifest.take(val), test=None if test is None else manifest.take(test))
    _check(result)
    return result


def fold_numbers(manifest: Manifest, config: SplitConfig) -> Indices:
    """Return for each row the fold that validates it, 0 to num_folds - 1; OUTSIDE_FOLDS for the test, which no fold
    sees. It is the very cut that `cut` makes for each fold.

    Raises:
        DataError: nothing to train on, or more folds than samples, or than groups, of a class.

    """
    pool, _, _ = _labelled_rows(manifest, config, folds=True)
    numbers = np.full(len(manifest), OUTSIDE_FOLDS, dtype=np.int64)
    for number, fold in enumerate(_folds(manifest.take(pool), config)):
        numbers[pool[fold.val]] = number
    return numbers


def _folds(pool: Manifest, config: SplitConfig) -> list[Fold]:
    return stratified_kfold(pool.labels, groups=pool.group_codes, num_folds=config.num_folds, seed=config.seed)


def _labelled_rows(
    manifest: Manifest, config: SplitConfig, *, folds: bool
) -> tuple[Indices, Indices | None, Indices | None]:
    """Return the rows (to train on or cut further, of val or None, of test or None), each sorted."""
    if not manifest.has_splits:
        if config.test_fraction == 0:
            return np.arange(len(manifest)), None, None
        held_out = stratified_holdout(
            manifest.labels, groups=manifest.group_codes, fraction=config.test_fraction, seed=config.seed
        )
        return held_out.train, None, held_out.val
    splits = manifest.splits
    is_test = splits == Split.TEST.value
    is_val = splits == Split.VAL.value
    is_pool = ~is_test if folds else ~is_test & ~is_val
    if not is_pool.any():
        raise DataError(
            f"'{manifest.root}' has nothing to train on: {int(is_val.sum())} files are val, {int(is_test.sum())} test. "
            "Rename a folder, or say what it is: data.splits={valid: train}."
        )
    val = np.flatnonzero(is_val) if is_val.any() and not folds else None
    return np.flatnonzero(is_pool), val, np.flatnonzero(is_test) if is_test.any() else None


def _check(result: Cut) -> None:
    """Refuse a train or val of one class; warn of a group that the data's own splits tear apart."""
    for name, part in (("train", result.train), ("val", result.val)):
        counts = part.class_counts()
        if min(counts.values()) == 0:
            raise DataError(
                f"{name} of '{part.root}' holds {counts['real']} real and {counts['fake']} fake pictures; "
                "training needs both classes in both train and val."
            )
    seen: dict[str, str] = {}
    everything: tuple[tuple[str, Manifest | None], ...] = (
        ("train", result.train),
        ("val", result.val),
        ("test", result.test),
    )
    for name, samples in everything:
        groups = set() if samples is None else set(samples.groups.tolist()) - {None}
        crossing = sorted(group for group in groups if group in seen)
        if crossing:
            LOG.warning(
                "%d groups lie in %s and also in %s (the data's own splits say so), as '%s': %s will look too easy",
                len(crossing),
                seen[crossing[0]],
                name,
                crossing[0],
                name,
            )
        seen |= dict.fromkeys(groups, name)
