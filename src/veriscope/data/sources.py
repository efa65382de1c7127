"""From a DataConfig to a Manifest, whatever kind of source it names."""

import os
import zlib
from pathlib import Path

import numpy as np

from veriscope.config.schema import DataConfig
from veriscope.data.hugging_face import load_hugging_face
from veriscope.data.manifest import Manifest
from veriscope.data.readers import read_manifest_file
from veriscope.data.scan import scan_folder
from veriscope.data.shards import ShardRules, load_shards
from veriscope.data.synthetic import ensure_synthetic
from veriscope.errors import DataError
from veriscope.types import Split


def load_manifest(config: DataConfig, *, paths_cache: Path, both_classes: bool = True) -> Manifest:
    """Return the data that `config` names; `paths_cache` receives the synthetic pictures.

    `both_classes=False` lets data of one class through, which can be evaluated but not trained on. Labels come
    permuted where config.shuffle_labels says so.

    Raises:
        DataError: the source can't be used; the text says what, where and how to mend it.

    """
    manifest = _load(config, paths_cache, both_classes)
    return shuffle_labels(manifest) if config.shuffle_labels else manifest


def sources(manifest: Manifest, *, data_name: str) -> list[str]:
    """Return each row's data set of origin: what the manifest names, else `data_name`."""
    return [data_name if name is None else str(name) for name in manifest.sources]


def mapped(manifest: Manifest, *, paths_cache: Path) -> Manifest:
    """Return the same manifest mapped from a file in `paths_cache`, so that loader processes share one copy of it.

    Where that can't be written (a read-only or full disk) the manifest itself: every loader process then holds its own.
    """
    # Named by content, so two runs can't disturb each other, and by root and slices, which the content hash leaves out.
    root_key = zlib.crc32(os.fsencode(manifest.root.absolute()), manifest.slice_key)
    try:
        return manifest.save(paths_cache / "manifests" / f"{manifest.content_hash[:32]}-{root_key:08x}.arrow")
    except OSError:
        return manifest


def _load(config: DataConfig, cache: Path, both_classes: bool) -> Manifest:
    if config.kind == "synthetic":
        if config.synthetic is None:
            raise DataError("data.kind=synthetic needs data.synthetic, see conf/data/synthetic.yaml")
        root = ensure_synthetic(config.synthetic, cache / "synthetic")
        return scan_folder(root)
    if config.kind == "manifest":
        if config.file is None:
            raise DataError("data.kind=manifest needs data.file=PATH.csv or PATH.parquet")
        return read_manifest_file(
            config.file,
            root=config.root,
            class_map=config.class_map,
            splits=config.splits,
            group_column=config.group_column,
            source_column=config.source_column,
            both_classes=both_classes,
        )
    if config.kind == "hf":
        if config.file is None:
            raise DataError("data.kind=hf needs data.file=DIR or the name of a data set on the hub")
        return load_hugging_face(str(config.file.expanduser()), rules=_rules(config), both_classes=both_classes)
    if config.root is None:
        raise DataError(f"data.kind={config.kind} needs data.root=DIR")
    if config.kind == "shards":
        return load_shards(config.root.expanduser(), rules=_rules(config), cache=cache, both_classes=both_classes)
    return scan_folder(
        config.root.expanduser(), class_map=config.class_map, splits=config.splits, both_classes=both_classes
    )


def _rules(config: DataConfig) -> ShardRules:
    return ShardRules(
        class_map=config.class_map,
        splits=config.splits,
        image_column=config.image_column,
        label_column=config.label_column,
        group_column=config.group_column,
        source_column=config.source_column,
    )


def shuffle_labels(manifest: Manifest, *, seed: int = 0) -> Manifest:
    """Return the manifest with labels permuted within each split: class counts stay, every relation to pictures goes.

    A sound pipeline then scores 0.5; anything better on val or test has leaked (Zhang et al. 2017 use it to probe
    memorisation). Deterministic by `seed`.
    """
    labels = manifest.labels.copy()
    splits = manifest.splits
    rng = np.random.default_rng(seed)
    for split in (*Split, None):
        rows = np.flatnonzero(splits == (None if split is None else split.value))
        labels[rows] = rng.permutation(labels[rows])
    return manifest.with_labels(labels)
