"""The data set that loaders draw from, its sampler, and how its items become batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, Sampler

from veriscope.data.decode import MAX_PIXELS, decode_image
from veriscope.data.manifest import Manifest
from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.errors import DataError, DecodeError
from veriscope.types import CLASS_NAMES, InputSpec

Pixels = npt.NDArray[np.uint8]
Augmentation = Callable[[Pixels, int], Pixels]
Item = dict[str, Any]

MAX_REPLACEMENTS = 20  # at the 5 % of unreadable files that training allows, 20 in a row mean a lost disk, not luck


def sample_seed(seed: int, epoch: int, index: int, *, stream: int = 0) -> int:
    """Return a 63-bit seed that depends on its arguments only, so on no worker, rank or order of loading.

    NumPy's SeedSequence mixes them (O'Neill's seed_seq); `stream` keeps independent uses of one sample apart.
    """
    state = np.random.SeedSequence([seed, epoch, index, stream]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


class DetectionDataset(Dataset[Item]):
    """Pictures of a manifest as network inputs.

    An item is `image` (uint8 tensor, 3 x S x S), `label` (float32 scalar, 1 = fake), `index` (int64 scalar, the row
    asked for) and `unreadable` ('' or, where the file gave no picture, its path, a tab, the reason).

    mode='train': an unreadable picture is replaced by another of its class, drawn from (seed, epoch, index).
    mode='eval': it becomes a black picture with `unreadable` set, which the consumer has to mask.
    """

    def __init__(
        self,
        manifest: Manifest,
        spec: InputSpec,
        *,
        mode: Literal["train", "eval"],
        seed: int = 0,
        max_pixels: int = MAX_PIXELS,
        augmentation: Augmentation | None = None,
        corruption: Callable[[Pixels], Pixels] | None = None,
    ) -> None:
        """`augmentation(image_HWC, seed)` replaces the evaluation fit; `corruption` acts first, on native pixels."""
        self._manifest = manifest
        self._spec = spec
        self._mode = mode
        self._seed = seed
        self._max_pixels = max_pixels
        self._augmentation = augmentation
        self._corruption = corruption

    def __len__(self) -> int:
        return len(self._manifest)

    @property
    def shards(self) -> npt.NDArray[np.int64]:
        """A number for the file that each sample's picture is a slice of; those in files of their own share one."""
        return np.unique(self._manifest.files.astype(str), return_inverse=True)[1].astype(np.int64)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """Return the item of row `index` as drawn in `epoch`; a plain int stands for epoch 0.

        Raises:
            DataError: in training, MAX_REPLACEMENTS pictures in a row can't be read.

        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        unreadable = ""
        try:
            image = self._decode(index)
        except DecodeError as error:
            unreadable = f"{self._manifest.sample(index).path}\t{error.reason}"
            if self._mode == "eval":
                side = self._spec.size_px
                return self._item(np.zeros((side, side, 3), dtype=np.uint8), index, unreadable)
            image = self._replacement(epoch, index, unreadable)
        return self._item(self._fit(image, epoch, index), index, unreadable)

    def _decode(self, index: int) -> Pixels:
        image = decode_image(self._manifest.absolute_path(index), max_pixels=self._max_pixels)
        return image if self._corruption is None else self._corruption(image)

    def _fit(self, image_HWC: Pixels, epoch: int, index: int) -> Pixels:
        if self._augmentation is None:
            return fit_to_input(image_HWC, self._spec)
        return self._augmentation(image_HWC, sample_seed(self._seed, epoch, index))

    def _replacement(self, epoch: int, index: int, unreadable: str) -> Pixels:
        labels = self._manifest.labels
        others = np.flatnonzero(labels == labels[index])
        rng = np.random.default_rng(sample_seed(self._seed, epoch, index, stream=1))
        for other in rng.permutation(others)[: MAX_REPLACEMENTS + 1]:
            if other == index:
                continue
            try:
                return self._decode(int(other))
            except DecodeError:
                continue
        path, _, reason = unreadable.partition("\t")
        raise DataError(
            f"'{self._manifest.root / path}' can't be read ({reason}), nor can up to {MAX_REPLACEMENTS} other "
            f"{CLASS_NAMES[labels[index]]} pictures tried in its place; is the disk still there?"
        )

    def _item(self, image_HWC: Pixels, index: int, unreadable: str) -> Item:
        return {
            "image": torch.from_numpy(to_chw(image_HWC)),
            "label": torch.tensor(float(self._manifest.labels[index]), dtype=torch.float32),
            "index": torch.tensor(index, dtype=torch.int64),
            "unreadable": unreadable,
        }


def shard_order(shards: npt.NDArray[np.int64], *, window: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return a permutation of the samples that reads about `window` shards side by side, and each of them once.

    `shards` is the shard of each sample (N,). Shards come in random order and are dealt to `window` lanes; a lane gives
    the samples of its shards, shuffled within each, and lanes take turns. Where `window` is a multiple of the number of
    ranks, a rank's turns are always the same lanes: it reads its own shards only, until the first lane has ended.
    """
    _, code = np.unique(shards, return_inverse=True)
    place = rng.permutation(int(code.max(initial=-1)) + 1)[code]  # of a sample's shard in the order of shards
    order = rng.permutation(len(shards))
    order = order[np.argsort(place[order], kind="stable")]
    lane = place[order] % window
    turn = np.empty(len(order), dtype=np.int64)
    for number in range(window):
        own = lane == number
        turn[own] = np.arange(int(own.sum()))
    return order[np.lexsort((lane, turn))]


class SeededSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index); the order depends on seed and epoch only, and ranks take turns in it.

    pad=True gives every rank the same number of samples by repeating the first ones (DDP would hang otherwise);
    pad=False gives every sample to exactly one rank. `num_drawn`, a multiple of `num_replicas`, says how many of the
    order an epoch takes in all: fewer than there are, or more, beginning anew. `shards` and `window` shuffle as
    `shard_order` does, in place of freely.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        num_replicas: int = 1,
        rank: int = 0,
        pad: bool = True,
        num_drawn: int | None = None,
        shards: npt.NDArray[np.int64] | None = None,
        window: int = 1,
    ) -> None:
        if not 0 <= rank < num_replicas:
            raise ValueError(f"rank {rank} of {num_replicas} replicas")
        if num_drawn is not None and num_drawn % num_replicas:
            raise ValueError(f"{num_drawn} samples don't give {num_replicas} ranks the same number")
        self._num_samples = num_samples
        self._seed = seed
        self._shuffle = shuffle
        self._num_replicas = num_replicas
        self._rank = rank
        self._pad = pad
        self._num_drawn = num_drawn
        self._shards = shards
        self._window = window
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`; Lightning calls it at the start of every epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        if self._num_drawn is not None:
            return self._num_drawn // self._num_replicas
        if self._pad:
            return -(-self._num_samples // self._num_replicas)
        return len(range(self._rank, self._num_samples, self._num_replicas))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self._num_samples)
        if self._shuffle:
            rng = np.random.default_rng([self._seed, self._epoch])
            shards = self._shards
            order = rng.permutation(order) if shards is None else shard_order(shards, window=self._window, rng=rng)
        if (self._pad or self._num_drawn is not None) and self._num_samples:
            order = np.resize(order, len(self) * self._num_replicas)
        for index in order[self._rank :: self._num_replicas]:
            yield self._epoch, int(index)


def collate(items: Sequence[Item]) -> Item:
    """Return a batch: image uint8 BCHW, label float32 B, index int64 B, unreadable a list of B texts."""
    return {
        "image": torch.stack([item["image"] for item in items]),
        "label": torch.stack([item["label"] for item in items]),
        "index": torch.stack([item["index"] for item in items]),
        "unreadable": [item["unreadable"] for item in items],
    }
