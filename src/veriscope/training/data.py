"""The data of a run: the manifest cut into splits, and the loaders that Lightning asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from veriscope.augment.training import TrainingAugmentation
from veriscope.bundle.record import AuditFacts
from veriscope.config.schema import RunConfig
from veriscope.data.dataset import DetectionDataset, SeededSampler, collate
from veriscope.data.manifest import Manifest
from veriscope.data.preprocess import fit_to_input
from veriscope.data.record import refuse_changed_data, write_record
from veriscope.data.sources import load_manifest, mapped
from veriscope.data.splits import Cut, cut
from veriscope.run_folder import RunFolder
from veriscope.types import CLASS_NAMES


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that a fit and its end are given. It holds no row of test, nor anything that leads to one: a checkpoint, a
    threshold or a calibration can't be chosen on what isn't there."""

    train: Manifest
    val: Manifest
    content_hash: str

    @property
    def class_weights(self) -> tuple[float, float]:
        """Weights of real and fake that give both classes the same say: num_train / (2 * count)."""
        counts = np.bincount(self.train.labels, minlength=2)
        weights = counts.sum() / (2.0 * counts)
        return float(weights[0]), float(weights[1])


@dataclass(frozen=True, slots=True)
class PreparedData:
    """A manifest and its splits, test included: for the record of the split alone. A fit gets `for_training`."""

    manifest: Manifest
    cut: Cut
    audit: AuditFacts | None = None

    @property
    def content_hash(self) -> str:
        """The whole manifest's."""
        return self.manifest.content_hash

    def describe(self) -> str:
        """Return one line as `train 850 + 850, val 150 + 150 (real + fake)`."""
        parts = []
        for name, part in (("train", self.cut.train), ("val", self.cut.val), ("test", self.cut.test)):
            if part is not None:
                counts = np.bincount(part.labels, minlength=2)
                parts.append(f"{name} {counts[0]:,} + {counts[1]:,}")
        return ", ".join(parts) + f" ({CLASS_NAMES[0]} + {CLASS_NAMES[1]})"

    @property
    def splits(self) -> list[str | None]:
        """'train', 'val', 'test' or, for what the run leaves alone, None for each row of the manifest."""
        parts = (("train", self.cut.train), ("val", self.cut.val), ("test", self.cut.test))
        split_of = {path: name for name, part in parts if part is not None for path in part.table["path"].to_pylist()}
        return [split_of.get(path) for path in self.manifest.table["path"].to_pylist()]

    def for_training(self) -> TrainingData:
        """Return what a fit may see."""
        return TrainingData(train=self.cut.train, val=self.cut.val, content_hash=self.content_hash)


def load_data(config: RunConfig) -> PreparedData:
    """Return the data that the configuration names, cut.

    Raises:
        DataError: the data can't be read, or a split lacks a class.

    """
    manifest = load_manifest(config.data, paths_cache=config.paths.cache)
    parts = cut(manifest, config.split)
    parts = Cut(
        train=mapped(parts.train, paths_cache=config.paths.cache),
        val=mapped(parts.val, paths_cache=config.paths.cache),
        test=parts.test,
    )
    return PreparedData(manifest, parts)


def record_split(data: PreparedData, folder: RunFolder) -> None:
    """Write split.parquet, which file served as what, so that nobody has to guess afterwards.

    Raises:
        RunError: the run in `folder` began on other data; the difference is counted.

    """
    file = folder.path / "split.parquet"
    if file.exists() and folder.config.exists():
        refuse_changed_data(file, data.manifest)
        return
    write_record(file, data.manifest, column="split", values=data.splits)


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """How an epoch of training is dealt to processes: the same global batches, whatever their number.

    A global batch is what all processes see in one step: `batch_size` times `processes` images.
    """

    num_samples: int
    batch_size: int
    processes: int

    @property
    def num_used(self) -> int:
        """Images that an epoch learns from.

        The last, incomplete global batch is left out of sets of two and more, and wherever it would be a single image,
        of which batch normalisation can't take a variance.
        """
        rest = self.num_samples % self._whole
        dropped = self.num_samples >= 2 * self._whole or (self.num_samples > self._whole and rest == 1)
        return self.num_samples - rest if dropped else self.num_samples

    @property
    def num_drawn(self) -> int:
        """Images that the processes load in all: those used, and copies that make their last batches equally long."""
        steps, rest = divmod(self.num_used, self._whole)
        # Two at least, for batch normalisation.
        last = max(-(-rest // self.processes), min(2, self.batch_size)) if rest else 0
        return self.processes * (steps * self.batch_size + last)

    def share(self, batch_idx: int, *, rank: int) -> tuple[int, int]:
        """Return how many images of batch `batch_idx` are no copies: the first ones of this rank's, and of all."""
        everywhere = min(self._whole, self.num_used - batch_idx * self._whole)
        return len(range(rank, everywhere, self.processes)), everywhere

    @property
    def _whole(self) -> int:
        return self.batch_size * self.processes


class DetectionDataModule(pl.LightningDataModule):
    """Loaders of train and val. There is no test loader: a fit can't reach the test split."""

    def __init__(self, config: RunConfig, data: TrainingData, *, phase_index: int, first_epoch: int = 0) -> None:
        """`first_epoch` is the one that the phase begins or goes on with: Lightning lets loader processes fetch their
        first batches before it reads from the checkpoint which epoch that is."""
        super().__init__()
        self._first_epoch = first_epoch
        self._config = config
        self._train = data.train
        self._val = data.val
        # A phase counts its epochs from 0 again; its own seed keeps it from repeating the draws of the one before.
        self._seed = config.seed + 1000 * phase_index

    def train_dataloader(self) -> Any:
        """Return the shuffled, augmented batches of this rank."""
        augmentation = TrainingAugmentation(self._config.augment, self._config.model.input, fit=fit_to_input)
        dataset = self._dataset(self._train, "train", augmentation)
        return self._loader(dataset, shuffle=True, num_drawn=self._plan.num_drawn)

    def share(self, batch_idx: int) -> tuple[int, int]:
        """Return how many images of training batch `batch_idx` are no copies: of this rank's batch, and of all."""
        return self._plan.share(batch_idx, rank=self._rank)

    def val_dataloader(self) -> Any:
        """Return every val image in order; ranks are padded to equal length, and `index` tells the copies.

        Where only some batches are wanted, they are drawn once: the first ones would hold one class alone, and another
        draw each epoch would compare epochs on different pictures.
        """
        return self._loader(self._dataset(self._judged(), "eval", None), shuffle=False, num_drawn=None)

    def _judged(self) -> Manifest:
        limit = self._config.trainer.limit_val_batches
        if limit is None:
            return self._val
        drawn = np.random.default_rng(self._config.seed).permutation(len(self._val))
        return self._val.take(drawn[: limit * self._config.data.batch_size * self._processes])

    def train_paths(self, indices: Sequence[int]) -> list[str]:
        """Paths of training images by index."""
        return [self._train.sample(index).path for index in indices]

    def val_paths(self, indices: Sequence[int]) -> list[str]:
        """Paths of the images that `val_dataloader` gives, by index."""
        judged = self._judged()
        return [judged.sample(index).path for index in indices]

    @property
    def _processes(self) -> int:
        return 1 if self.trainer is None else int(self.trainer.world_size)

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else int(self.trainer.global_rank)

    @property
    def _plan(self) -> EpochPlan:
        return EpochPlan(len(self._train), self._config.data.batch_size, self._processes)

    def _dataset(self, manifest: Manifest, mode: Any, augmentation: TrainingAugmentation | None) -> DetectionDataset:
        return DetectionDataset(
            manifest,
            self._config.model.input,
            max_pixels=self._config.data.max_pixels,
            augmentation=augmentation,
            seed=self._seed,
            mode=mode,
        )

    def _loader(self, dataset: DetectionDataset, *, shuffle: bool, num_drawn: int | None) -> Any:
        window = self._config.data.window_shards
        sampler = SeededSampler(
            len(dataset),
            seed=self._seed,
            shuffle=shuffle,
            num_replicas=self._processes,
            rank=self._rank,
            num_drawn=num_drawn,
            shards=None if window is None else dataset.shards,
            window=window or 1,
        )
        sampler.set_epoch(self._first_epoch)
        return DataLoader(
            dataset,
            batch_size=self._config.data.batch_size,
            sampler=sampler,
            num_workers=self._config.data.num_workers,
            persistent_workers=self._config.data.num_workers > 0,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
        )
