import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit

from veriscope.config.schema import SplitConfig
from veriscope.data.manifest import Manifest
from veriscope.data.splits import OUTSIDE_FOLDS, assign_parts, cut, fold_numbers, stratified_holdout, stratified_kfold
from veriscope.errors import DataError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def labels_of(num_real, num_fake, seed=0):
    return np.random.default_rng(seed).permutation(np.r_[np.zeros(num_real, int), np.ones(num_fake, int)])


@QUICK
@given(st.integers(5, 80), st.integers(5, 80), st.integers(2, 5), st.integers(0, 10**6))
def test_every_sample_is_validated_once_and_shares_hold(num_real, num_fake, num_folds, seed):
    labels = labels_of(num_real, num_fake, seed)
    folds = stratified_kfold(labels, groups=None, num_folds=num_folds, seed=seed)
    assert np.array_equal(np.sort(np.concatenate([fold.val for fold in folds])), np.arange(len(labels)))
    for fold in folds:
        assert np.array_equal(np.sort(np.r_[fold.train, fold.val]), np.arange(len(labels)))
        for label, total in enumerate((num_real, num_fake)):
            assert abs((labels[fold.val] == label).sum() - total / num_folds) < 1
    sizes = [len(fold.val) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@QUICK
@given(st.integers(2, 90), st.integers(2, 90), st.floats(0.05, 0.6), st.integers(0, 10**6))
def test_holdout_keeps_class_shares(num_real, num_fake, fraction, seed):
    labels = labels_of(num_real, num_fake, seed)
    fold = stratified_holdout(labels, groups=None, fraction=fraction, seed=seed)
    assert np.array_equal(np.sort(np.r_[fold.train, fold.val]), np.arange(len(labels)))
    for label, total in enumerate((num_real, num_fake)):
        in_val = int((labels[fold.val] == label).sum())
        assert 1 <= in_val < total
        assert abs(in_val - fraction * total) <= 1


@QUICK
@given(st.data())
def test_groups_never_cross(data):
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=14, max_size=40))
    seed = data.draw(st.integers(0, 10**6))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.repeat(np.arange(len(sizes)) % 2, sizes)  # pure groups, as identities are
    try:
        folds = stratified_kfold(labels, groups=groups, num_folds=3, seed=seed)
    except DataError:
        assume(False)
    assert np.array_equal(np.sort(np.concatenate([fold.val for fold in folds])), np.arange(len(labels)))
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.val])
        for label in (0, 1):
            due = (labels == label).sum() / 3
            assert abs((labels[fold.val] == label).sum() - due) <= 6  # within the largest group


def test_counts_agree_with_scikit_learn():
    labels = labels_of(53, 101)
    ours = sorted(
        tuple(np.bincount(labels[fold.val])) for fold in stratified_kfold(labels, groups=None, num_folds=5, seed=0)
    )
    theirs = [np.bincount(labels[val]) for _, val in StratifiedKFold(5, shuffle=True).split(labels, labels)]
    assert sorted(count[0] for count in ours) == sorted(count[0] for count in theirs)
    assert sorted(count[1] for count in ours) == sorted(count[1] for count in theirs)
    _, val = next(StratifiedShuffleSplit(1, test_size=0.2).split(labels, labels))
    holdout = stratified_holdout(labels, groups=None, fraction=0.2, seed=0).val
    assert np.abs(np.bincount(labels[val]) - np.bincount(labels[holdout])).max() <= 1


def test_uneven_groups_come_out_nearly_even():
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 60, 3000)
    labels = (rng.random(60) < 0.4).astype(int)[groups]
    for fold in stratified_kfold(labels, groups=groups, num_folds=5, seed=0):
        assert abs(labels[fold.val].mean() - labels.mean()) < 0.05
        assert abs(len(fold.val) - 600) < 60


def test_seed_decides():
    labels = labels_of(40, 40)
    first, again, other = (stratified_kfold(labels, groups=None, num_folds=4, seed=seed)[0].val for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_singletons_even_out_what_groups_left():
    groups = np.r_[np.zeros(10, int), np.arange(1, 31)]
    labels = np.zeros(40, int)
    parts = assign_parts(labels, groups, shares=(0.5, 0.5), seed=0)
    assert np.bincount(parts).tolist() == [20, 20]


def test_fifty_thousand_groups_take_seconds():
    import time

    groups = np.arange(200_000) // 4
    started = time.process_time()
    assign_parts(groups % 2, groups, shares=(0.2,) * 5, seed=0)
    assert time.process_time() - started < 10


def test_too_many_folds():
    with pytest.raises(DataError, match=r"split\.num_folds=5 needs real pictures in each of 5 parts; there are 4"):
        stratified_kfold(labels_of(4, 50), groups=None, num_folds=5, seed=0)
    groups = np.r_[np.zeros(20, int), np.arange(1, 21)]
    labels = np.r_[np.zeros(20, int), np.ones(20, int)]
    with pytest.raises(DataError, match="20 in groups that stay together"):
        stratified_kfold(labels, groups=groups, num_folds=3, seed=0)


def manifest(splits=None, groups=None, num=60, order=None):
    paths = [f"{'fake' if i % 2 else 'real'}/{i:03d}.jpg" for i in range(num)]
    order = np.arange(num) if order is None else order
    pick = lambda values: None if values is None else [values[i] for i in order]  # noqa: E731
    return Manifest.from_columns(
        pick(paths),
        root="/x",
        labels=[i % 2 for i in order],
        size_bytes=[1] * num,
        splits=pick(splits),
        groups=pick(groups),
    )


def paths(part):
    return set() if part is None else set(part.table["path"].to_pylist())


@QUICK
@given(st.permutations(range(60)), st.sampled_from([{}, {"fold": 1}]))
def test_file_order_changes_nothing(order, options):
    groups = [f"person {i // 3}" for i in range(60)]
    config = SplitConfig(**options)
    straight, shuffled = cut(manifest(groups=groups), config), cut(manifest(groups=groups, order=order), config)
    for part in ("train", "val", "test"):
        assert paths(getattr(straight, part)) == paths(getattr(shuffled, part))


def check_partition(whole, parts):
    names = [paths(part) for part in (parts.train, parts.val, parts.test)]
    assert set.union(*names) == paths(whole)
    assert sum(map(len, names)) == len(whole)


def test_nothing_labelled():
    whole = manifest()
    parts = cut(whole, SplitConfig(val_fraction=0.2, test_fraction=0.2))
    check_partition(whole, parts)
    assert [len(parts.train), len(parts.val), len(parts.test)] == [36, 12, 12]
    without_test = cut(whole, SplitConfig(val_fraction=0.2, test_fraction=0.0))
    assert without_test.test is None
    assert len(without_test.val) == 12


def test_the_datas_own_splits_win():
    own = ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    whole = manifest(own)
    parts = cut(whole, SplitConfig())
    check_partition(whole, parts)
    assert set(parts.train.splits) == {"train"}
    assert set(parts.val.splits) == {"val"}
    assert set(parts.test.splits) == {"test"}


def test_val_is_cut_from_train_only():
    whole = manifest(["train"] * 40 + ["test"] * 20)
    parts = cut(whole, SplitConfig(val_fraction=0.25))
    check_partition(whole, parts)
    assert len(parts.val) == 10
    assert set(parts.val.splits) == {"train"}
    assert set(parts.test.splits) == {"test"}


def test_unlabelled_rows_beside_labelled_ones_are_train():
    whole = manifest([None] * 40 + ["val"] * 10 + ["test"] * 10)
    parts = cut(whole, SplitConfig())
    assert len(parts.train) == 40


def test_folds_leave_the_test_outside_and_cover_the_rest():
    whole = manifest(["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    folds = [cut(whole, SplitConfig(name="kfold", num_folds=5, fold=k)) for k in range(5)]
    validated = [name for parts in folds for name in paths(parts.val)]
    assert len(validated) == len(set(validated)) == 50
    assert {frozenset(paths(parts.test)) for parts in folds} == {frozenset(paths(folds[0].test))}
    for parts in folds:
        check_partition(whole, parts)


def test_folds_of_unlabelled_data_share_one_test():
    whole = manifest()
    folds = [cut(whole, SplitConfig(num_folds=4, fold=k, test_fraction=0.2)) for k in range(4)]
    assert {len(parts.test) for parts in folds} == {12}
    assert len({frozenset(paths(parts.test)) for parts in folds}) == 1
    assert len({name for parts in folds for name in paths(parts.val)}) == 48
    assert cut(whole, SplitConfig(fold=0, test_fraction=0.0)).test is None


def test_kfold_without_a_fold_says_how():
    with pytest.raises(DataError, match=r"split\.fold=0 \(up to 4\), or -m split\.fold=0,1,2,3,4"):
        cut(manifest(), SplitConfig(name="kfold"))


def test_nothing_to_train_on():
    with pytest.raises(DataError, match=r"nothing to train on: 0 files are val, 60 test.*data\.splits"):
        cut(manifest(["test"] * 60), SplitConfig())


def test_a_split_of_one_class_is_refused():
    own = ["val" if i % 2 and i < 20 else "train" for i in range(60)]
    with pytest.raises(DataError, match="val of '/x' holds 0 real and 10 fake"):
        cut(manifest(own), SplitConfig())


def test_groups_that_the_data_tears_apart_are_named(caplog):
    groups = ["anna" if i in (1, 59) else None for i in range(60)]
    with caplog.at_level(logging.WARNING):
        cut(manifest(["train"] * 50 + ["test"] * 10, groups), SplitConfig())
    assert "'anna'" in caplog.text


@QUICK
@given(st.data())
def test_fold_numbers_are_the_cut_of_every_fold(data):
    """Each picture is validated once or outside, never learned by the fold that judges it; groups stay whole."""
    num_folds = data.draw(st.integers(2, 5))
    grouped = data.draw(st.booleans())
    groups = [f"person {i // data.draw(st.integers(1, 3))}" for i in range(60)] if grouped else None
    own = data.draw(st.sampled_from([None, ["train"] * 40 + ["val"] * 8 + ["test"] * 12]))
    seed = data.draw(st.integers(0, 10**6))
    whole = manifest(own, groups)
    config = SplitConfig(name="kfold", num_folds=num_folds, seed=seed)
    try:
        numbers = fold_numbers(whole, config)
    except DataError:
        assume(False)
    names = np.array(whole.table["path"].to_pylist(), dtype=object)
    for fold in range(num_folds):
        parts = cut(whole, config.model_copy(update={"fold": fold}))
        assert paths(parts.val) == set(names[numbers == fold])
        assert paths(parts.train) == set(names[(numbers != fold) & (numbers != OUTSIDE_FOLDS)])
        assert paths(parts.test) == set(names[numbers == OUTSIDE_FOLDS])
        assert not paths(parts.val) & paths(parts.train)
        if grouped:
            assert not set(parts.val.groups) & set(parts.train.groups)
    if own is not None:
        assert (numbers == OUTSIDE_FOLDS).sum() == 12
