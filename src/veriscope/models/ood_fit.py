"""Fits the out-of-distribution score of one network on the vectors of its validation pictures."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.errors import ModelError
from veriscope.models.ood import (
    Array,
    Floats,
    Gaussians,
    Method,
    Neighbours,
    Reference,
    of_length_one,
    pairwise_squared,
)

MAX_PICTURES = 5000  # at 2,048 features 20 MB in the bundle; the 99th percentile of 5,000 is good to 0.3 points
MAX_COVARIANCE_FEATURES = 4096  # 64 MB in the bundle
NUM_FOLDS = 10
_ROWS_AT_ONCE = 1024  # of the table of pairs: 20 MB at MAX_PICTURES

Groups = npt.NDArray[np.int64]


class Fitted(NamedTuple):
    """The reference, and how far each of the pictures lies from the others, in their order."""

    reference: Reference
    own_distances: Floats


def choose_pictures(count: int, *, seed: int) -> npt.NDArray[np.int64]:
    """Return the rows to fit on, sorted: all of them, or MAX_PICTURES drawn by the seed."""
    chosen = np.random.default_rng(seed).permutation(count)[:MAX_PICTURES]
    return np.sort(chosen)


def fit_reference(
    vector_ND: Array, *, labels: Array, method: Method, k: int, groups: Groups | None = None, seed: int = 42
) -> Fitted:
    """Return the reference that the vectors make, and their own distances, each to pictures of other groups alone.

    Args:
        vector_ND: of validation pictures, finite.
        labels: 0 or 1 for each; only 'mahalanobis' looks at them.
        method: 'knn' or 'mahalanobis'.
        k: which neighbour counts, of 'knn'.
        groups: what belongs together (frames of one video lie nearer to each other than a new picture can); None: each
            picture is a group of its own.
        seed: of the folds of 'mahalanobis'.

    Raises:
        ModelError: too few pictures or groups, or too many features.

    """
    groups = np.arange(len(vector_ND)) if groups is None else groups
    if method == "knn":
        return _fit_neighbours(vector_ND, k=k, groups=groups)
    return _fit_gaussians(vector_ND, labels=labels, groups=groups, seed=seed)


def _fit_neighbours(vector_ND: Array, *, k: int, groups: Groups) -> Fitted:
    sizes = np.unique(groups, return_counts=True)[1]
    others = len(vector_ND) - int(sizes.max(initial=0))
    if others < k:
        raise ModelError(
            f"ood.k={k} asks for the {k}-th nearest validation picture of another group; there are {others}. "
            "Take a smaller ood.k, more validation pictures, or ood.method=none."
        )
    # Rounded before the distances are taken: they are those to what is stored.
    bank_ND = of_length_one(vector_ND).astype(np.float16).astype(np.float32)
    distance_N, squares_N = np.empty(len(bank_ND)), np.square(bank_ND).sum(axis=1)
    for start in range(0, len(bank_ND), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        squared = pairwise_squared(bank_ND[rows], bank_ND, other_squares=squares_N)
        squared[groups[rows, None] == groups[None]] = np.inf
        distance_N[rows] = np.sqrt(np.partition(squared, k - 1, axis=1)[:, k - 1])
    return Fitted(Neighbours(bank=bank_ND, k=k, distances=np.sort(distance_N)), distance_N)


def _fit_gaussians(vector_ND: Array, *, labels: Array, groups: Groups, seed: int) -> Fitted:
    names, group_of = np.unique(groups, return_inverse=True)
    if vector_ND.shape[1] > MAX_COVARIANCE_FEATURES:
        raise ModelError(
            f"ood.method=mahalanobis keeps the square of {vector_ND.shape[1]:,} features, more than "
            f"{MAX_COVARIANCE_FEATURES:,}; take ood.method=knn."
        )
    fold_of = np.random.default_rng(seed).permutation(len(names))[group_of] % NUM_FOLDS
    distance_N = np.empty(len(vector_ND))
    for fold in np.unique(fold_of):
        own = fold_of == fold
        means, whitening = _covariance(vector_ND[~own], labels[~own])
        distance_N[own] = Gaussians(means, whitening, distances=np.empty(0)).distance(vector_ND[own])
    means, whitening = _covariance(vector_ND, labels)
    return Fitted(Gaussians(means, whitening, distances=np.sort(distance_N)), distance_N)


def _covariance(vector_ND: Array, labels: Array) -> tuple[Array, Array]:
    """Return the classes' means and the inverse square root of their shared covariance, shrunk as Ledoit and Wolf 2004
    say: with fewer pictures than features it has no inverse otherwise."""
    from sklearn.covariance import ledoit_wolf  # here: whoever only reads bundles needs not wait for it

    classes = np.unique(labels)
    if min((int((labels == label).sum()) for label in classes), default=0) < 2 or len(classes) < 2:
        raise ModelError(
            "ood.method=mahalanobis needs validation pictures of both classes, in several groups; there are too few. "
            "Take more validation pictures, or ood.method=none."
        )
    means_CD = np.stack([vector_ND[labels == label].mean(axis=0, dtype=np.float64) for label in classes])
    away_ND = vector_ND - means_CD[np.searchsorted(classes, labels)]
    covariance_DD, _ = ledoit_wolf(away_ND, assume_centered=True)
    values, directions = np.linalg.eigh(covariance_DD)
    # A feature that never changes has no variance: a floor far below the others keeps the root finite.
    values = np.maximum(values, max(values[-1] * 1e-9, 1e-12))
    whitening_DD = (directions / np.sqrt(values)) @ directions.T
    return means_CD.astype(np.float32), whitening_DD.astype(np.float32)
