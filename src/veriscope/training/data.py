"""The data of a run: the manifest cut into splits, and the loaders that Lightning asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from veriscope.augment.training import TrainingAugmentation
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
class PreparedData:
    """A manifest and its splits."""

    manifest: Manifest
    cut: Cut

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
    def class_weights(self) -> tuple[float, float]:
        """Weights of real and fake that give both classes the same say: num_train / (2 * count)."""
        counts = np.bincount(self.cut.train.labels, minlength=2)
        weights = counts.sum() / (2.0 * counts)
        return float(weights[0]), float(weights[1])


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
    if file.exists():
        refuse_changed_data(file, data.manifest)
        return
    parts = (("train", data.cut.train), ("val", data.cut.val), ("test", data.cut.test))
    split_of = {path: name for name, part in parts if part is not None for path in part.table["path"].to_pylist()}
    splits = [split_of.get(path) for path in data.manifest.table["path"].to_pylist()]
    write_record(file, data.manifest, column="split", values=splits)


class DetectionDataModule(pl.LightningDataModule):
    """Loaders of train and val. There is no test loader: a fit can't reach the test split."""

    def __init__(self, config: RunConfig, parts: Cut, *, phase_index: int) -> None:
        super().__init__()
        self._config = config
        self._train = parts.train
        self._val = parts.val
        # A phase counts its epochs from 0 again; its own seed keeps it from repeating the draws of the one before.
        self._seed = config.seed + 1000 * phase_index

    def train_dataloader(self) -> Any:
        """Return the shuffled, augmented batches of this rank.

        The last, incomplete batch is left out of sets of two batches and more, and wherever it would be a single image,
        of which batch normalisation can't take a variance.
        """
        augmentation = TrainingAugmentation(self._config.augment, self._config.model.input, fit=fit_to_input)
        dataset = self._dataset(self._train, "train", augmentation)
        batch_size = self._config.data.batch_size
        share = -(-len(dataset) // (1 if self.trainer is None else self.trainer.world_size))
        drop_last = share >= 2 * batch_size or (share > batch_size and share % batch_size == 1)
        return self._loader(dataset, shuffle=True, drop_last=drop_last)

    def val_dataloader(self) -> Any:
        """Return every val image in order; ranks are padded to equal length, and `index` tells the copies.

        Where only some batches are wanted, they are drawn once: the first ones would hold one class alone, and another
        draw each epoch would compare epochs on different pictures.
        """
        val, limit = self._val, self._config.trainer.limit_val_batches
        if limit is not None:
            world_size = 1 if self.trainer is None else self.trainer.world_size
            drawn = np.random.default_rng(self._config.seed).permutation(len(val))
            val = val.take(drawn[: limit * self._config.data.batch_size * world_size])
        return self._loader(self._dataset(val, "eval", None), shuffle=False, drop_last=False)

    def train_paths(self, indices: Sequence[int]) -> list[str]:
        """Paths of training images by index."""
        return [self._train.sample(index).path for index in indices]

    def _dataset(self, manifest: Manifest, mode: Any, augmentation: TrainingAugmentation | None) -> DetectionDataset:
        return DetectionDataset(
            manifest,
            self._config.model.input,
            max_pixels=self._config.data.max_pixels,
            augmentation=augmentation,
            seed=self._seed,
            mode=mode,
        )

    def _loader(self, dataset: DetectionDataset, *, shuffle: bool, drop_last: bool) -> Any:
        trainer = self.trainer
        sampler = SeededSampler(
            len(dataset),
            seed=self._seed,
            shuffle=shuffle,
            num_replicas=1 if trainer is None else trainer.world_size,
            rank=0 if trainer is None else trainer.global_rank,
        )
        return DataLoader(
            dataset,
            batch_size=self._config.data.batch_size,
            sampler=sampler,
            num_workers=self._config.data.num_workers,
            persistent_workers=self._config.data.num_workers > 0,
            drop_last=drop_last,
            collate_fn=collate,
            pin_memory=torch.cuda.is_available(),
        )
