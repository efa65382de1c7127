"""How strange a picture is to a network: the distance of its vector from validation's, and its rank among theirs.

The vector is the mean of each channel that the head reads (Detector.answer). numpy alone scores; ood_fit fits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from veriscope.errors import BundleError

Method = Literal["knn", "mahalanobis"]
Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class Reference(Protocol):
    """What was kept of the validation pictures of one network."""

    @property
    def distances(self) -> Floats:
        """Return how far each validation picture lies from the others, sorted: no picture was compared with itself."""
        ...

    def distance(self, vector_BD: Array) -> Floats:
        """Return how far each vector lies from validation, (B,); only its order means anything."""
        ...

    def tensors(self) -> dict[str, Array]:
        """Return what has to be stored."""
        ...


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Distance to the k-th nearest validation vector, all of length 1 (Sun et al. 2022, "deep nearest neighbors").

    `bank` (N, D) is kept in half precision, which moves a distance by less than 0.001 of itself, and read as fp32.
    """

    bank: Array
    k: int
    distances: Floats
    squares: Array = field(init=False, repr=False)  # taken anew for each batch they would cost more than the product

    def __post_init__(self) -> None:
        object.__setattr__(self, "squares", np.square(self.bank).sum(axis=1))

    def distance(self, vector_BD: Array) -> Floats:
        """Return the distance to the k-th neighbour, 0 to 2."""
        squared_BN = pairwise_squared(of_length_one(vector_BD), self.bank, other_squares=self.squares)
        kept: Floats = np.sqrt(np.partition(squared_BN, self.k - 1, axis=1)[:, self.k - 1].astype(np.float64))
        return kept

    def tensors(self) -> dict[str, Array]:
        """Return bank, k and distances."""
        return {
            "bank": self.bank.astype(np.float16),
            "k": np.array([self.k], dtype=np.int64),
            "distances": self.distances,
        }


@dataclass(frozen=True, slots=True)
class Gaussians:
    """Squared Mahalanobis distance to the nearer class, the classes sharing one covariance (Lee et al. 2018).

    `means` (2, D) are the classes' centres; `whitening` (D, D), W, is symmetric, W W the inverse of the covariance.
    """

    means: Array
    whitening: Array
    distances: Floats

    def distance(self, vector_BD: Array) -> Floats:
        """Return the smaller of the two squared distances."""
        away_CBD = vector_BD[None].astype(np.float32) - self.means[:, None]
        squared_CB = np.square(away_CBD @ self.whitening).sum(axis=-1, dtype=np.float64)
        nearest: Floats = squared_CB.min(axis=0)
        return nearest

    def tensors(self) -> dict[str, Array]:
        """Return means, whitening and distances."""
        return {"means": self.means, "whitening": self.whitening, "distances": self.distances}


@dataclass(frozen=True, slots=True)
class OutOfDistribution:
    """The score `ood` in [0, 1) of pictures, from one Reference a network.

    Of one network it is the number of validation pictures that are less strange, divided by their number plus one: one
    minus the conformal p-value (Vovk et al. 2005; Bates et al. 2023). So of new pictures like validation's about the
    share 1 - t reaches t. At most, were the network and the distance chosen without these pictures and all of them
    independent. They are not quite: validation chose the checkpoint, pictures of one group are alike, and Mahalanobis
    distances of validation come from fits without the picture's fold, those of others from the fit to all. With fewer
    than 99 pictures nothing reaches 0.99.

    Of an ensemble it is the mean over members, each by its own validation pictures. Of such pictures about
    2 (1 - t) at most reach t (a mean of p-values, doubled, is one: Rueschendorf 1982), usually fewer than 1 - t.
    """

    members: tuple[Reference, ...]

    @property
    def num_pictures(self) -> int:
        """How many validation pictures the score counts among, of the member that has fewest."""
        return min(len(member.distances) for member in self.members)

    def score(self, vectors: Sequence[Array]) -> Floats:
        """Return `ood` of each picture, (B,).

        Args:
            vectors: Answer.vectors, (B, D) for each network.

        Raises:
            ValueError: another number of networks.

        """
        ranks = [rank(m.distance(v), m.distances) for m, v in zip(self.members, vectors, strict=True)]
        mean: Floats = np.mean(ranks, axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Ood:
    """The score, and what is said of it: pictures at or above `threshold` are called strange; 1: none ever is."""

    reference: OutOfDistribution
    method: Method
    threshold: float
    fitted_on: str

    @property
    def pictures_needed(self) -> int | None:
        """With fewer validation pictures nothing reaches the threshold; None of the threshold 1."""
        if self.threshold >= 1:
            return None
        return math.ceil(round(self.threshold / (1 - self.threshold), 6))


def is_strange(ood: float | None, threshold: float) -> bool:
    """Return whether the score reaches the threshold; in fp32, as which tables store it. What is not known does not."""
    return ood is not None and bool(np.float32(ood) >= np.float32(threshold))


def rank(distance_B: Array, sorted_N: Floats) -> Floats:
    """Return for each distance how many of the sorted ones are smaller, divided by N + 1: 0 to N / (N + 1).

    What is no number counts as strangest.
    """
    smaller: Floats = np.searchsorted(sorted_N, distance_B, side="left") / (len(sorted_N) + 1)
    return smaller


def ranks_among_themselves(sorted_N: Floats, distance_N: Floats) -> Floats:
    """Return the rank of each reference picture among the others: what it would have scored, had it not been kept."""
    smaller: Floats = np.searchsorted(sorted_N, distance_N, side="left") / len(sorted_N)
    return smaller


def of_length_one(vector_BD: Array) -> Array:
    """Return the vectors divided by their length, fp32; zeros stay zeros."""
    vector_BD = vector_BD.astype(np.float32)
    length_B1 = np.linalg.norm(vector_BD, axis=1, keepdims=True)
    unit_BD: Array = vector_BD / np.maximum(length_B1, np.float32(1e-12))
    return unit_BD


def pairwise_squared(one_BD: Array, other_ND: Array, *, other_squares: Array) -> Array:
    """Return the squared Euclidean distance of every pair, (B, N); `other_squares` (N,) are squared lengths."""
    squares_B1 = np.square(one_BD).sum(axis=1, keepdims=True)
    squared_BN: Array = np.maximum(squares_B1 + other_squares - 2 * (one_BD @ other_ND.T), 0)
    return squared_BN


def write_ood(file: Path, ood: OutOfDistribution) -> None:
    """Write the references, each tensor's name beginning with its member's number."""
    named = {f"{n}.{name}": value for n, member in enumerate(ood.members) for name, value in member.tensors().items()}
    file.write_bytes(save({name: np.ascontiguousarray(value) for name, value in named.items()}))


def read_ood(file: Path) -> OutOfDistribution:
    """Return what write_ood wrote.

    Raises:
        BundleError: no such file, or one that holds something else.

    """
    try:
        return parse_ood(file.read_bytes(), name=str(file))
    except OSError as error:
        raise BundleError(f"'{file}' can't be read: {error.strerror}.") from error


def parse_ood(data: bytes, *, name: str) -> OutOfDistribution:
    """Return what the content of such a file holds; `name` stands in the error.

    Raises:
        BundleError: it holds something else.

    """
    try:
        tensors = load(data)
        numbers = sorted({int(name.partition(".")[0]) for name in tensors})
        members = tuple(_reference(tensors, prefix=f"{number}.") for number in numbers)
        if not members:
            raise ValueError("it holds nothing")
    except (SafetensorError, KeyError, ValueError, IndexError) as error:
        raise BundleError(f"'{name}' is no reference of an out-of-distribution score: {error}.") from error
    return OutOfDistribution(members)


def _reference(tensors: Mapping[str, Array], *, prefix: str) -> Reference:
    own = {name: value for name, value in tensors.items() if name.startswith(prefix)}
    if not all(np.isfinite(value).all() for value in own.values()):
        raise ValueError("it holds what is no number")
    distances = tensors[prefix + "distances"].astype(np.float64)
    if distances.ndim != 1 or not distances.size or np.any(np.diff(distances) < 0):
        raise ValueError("its distances don't rise")
    if prefix + "bank" in tensors:
        bank_ND, k = tensors[prefix + "bank"].astype(np.float32), int(tensors[prefix + "k"][0])
        if bank_ND.ndim != 2 or not 1 <= k <= len(bank_ND):
            raise ValueError(f"it holds no {k} neighbours")
        return Neighbours(bank=bank_ND, k=k, distances=distances)
    means_CD, whitening_DD = tensors[prefix + "means"], tensors[prefix + "whitening"]
    if means_CD.ndim != 2 or whitening_DD.shape != (means_CD.shape[1],) * 2:
        raise ValueError("its centres and its covariance don't fit")
    return Gaussians(means_CD, whitening_DD, distances)
