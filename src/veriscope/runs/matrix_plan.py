"""A matrix before it starts: bundles and data sets, and for each pair which pictures may be judged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from veriscope.bundle.bundle import Bundle
from veriscope.config.command import key_of, word
from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.load import compose_evaluation
from veriscope.data.manifest import Manifest
from veriscope.data.sources import load_manifest
from veriscope.errors import BundleError, ConfigError, DataError, RunError, nearest
from veriscope.evaluation.subset import Wanted, choose_subset
from veriscope.files import is_there
from veriscope.runs.evaluations import evaluation_key, find_bundle, is_evaluated
from veriscope.runs.matrix_table import labelled, read_cell
from veriscope.runs.pool import Job

_OVERRIDE = re.compile(r":(?=[A-Za-z_][\w.]*=)")  # the colon of a value, as in jpeg:75, is followed by no KEY=
_COLUMN_KEYS = ("subset", "corruption", "on_unreadable")
_OWN_KEYS = ("bundle", "data", "paths.run_dir")
UNNAMED = ("folder", "manifest", "shards", "hf")  # conf/data files that name no data set: it is called after its folder
_PATHS = ("data.root", "data.file")


@dataclass(frozen=True, slots=True)
class Row:
    """A bundle, called after the data that it was trained on."""

    label: str
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Column:
    """A data set: what evaluate.py is told of it, what that comes to for any bundle, and its pictures."""

    label: str
    words: tuple[str, ...]
    config: EvaluateConfig
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell to be: `job` is None, and `reason` says why, where no picture may be judged. `own`: see matrix_table."""

    row: str
    column: str
    own: bool
    job: Job | None
    reason: str = ""

    @property
    def done(self) -> bool:
        """Whether it was scored before, and the report can be read."""
        if self.job is None or not is_evaluated(self.job.folder):
            return False
        try:
            read_cell(self.job.folder)
        except RunError:
            return False
        return True


def read_rows(texts: Sequence[str]) -> tuple[Row, ...]:
    """Return the bundles that the command line names, as BUNDLE or LABEL=BUNDLE.

    Raises:
        BundleError: one is missing or damaged.
        ConfigError: the same one twice, or a label twice.

    """
    split = [("", text) if is_there(text) or "=" not in text else tuple(text.split("=", 1)) for text in texts]
    bundles = [find_bundle(Path(path).expanduser()) for _, path in split]
    places = [bundle.folder.resolve() for bundle in bundles]
    _refuse_twice([str(place) for place in places], what="bundle")
    given = [label or bundle.record.training.data_name for (label, _), bundle in zip(split, bundles, strict=True)]
    _refuse_twice([label for label, _ in split if label], what="label")
    labels = labelled(given, [bundle.record.model.name for bundle in bundles], [_run_name(place) for place in places])
    return tuple(Row(label, bundle) for label, bundle in zip(labels, bundles, strict=True))


def _run_name(bundle: Path) -> str:
    return bundle.parent.name if bundle.name == "bundle" else bundle.name


def read_columns(texts: Sequence[str], *, common: Sequence[str]) -> tuple[Column, ...]:
    """Return the data sets that the command line names, each with its pictures listed.

    Args:
        texts: as `rvf10k`, `rvf10k:subset=val`, `folder:data.root=DIR`, `phones=folder:data.root=DIR`.
        common: words for every evaluate.py.

    Raises:
        ConfigError: a word that evaluate.py doesn't know, or a data set twice.
        DataError: one that can't be read.

    """
    for said in common:
        if "=" not in said or key_of(said) in _OWN_KEYS:
            raise ConfigError(
                f"--set {said}: it takes KEY=VALUE of evaluate.py; bundles, data and folder have their own place"
            )
    found = [_column(text, common) for text in texts]
    _refuse_twice([column.label for column in found], what="data set", way_out="; name one, as LABEL=NAME:...")
    return tuple(found)


def _column(text: str, common: Sequence[str]) -> Column:
    head, *overrides = _OVERRIDE.split(text)
    label, _, name = head.rpartition("=")
    for said in overrides:
        key = key_of(said)
        if key not in _COLUMN_KEYS and not key.startswith("data."):
            known = nearest(key, [*_COLUMN_KEYS, "data.root", "data.file"])
            raise ConfigError(f"--data {text}: '{key}' is nothing to say of a data set. {known}")
    # A path may hold what Hydra's grammar means otherwise; every other value is typed as for evaluate.py.
    told = [
        word(key_of(said), Path(said.partition("=")[2]).expanduser()) if key_of(said) in _PATHS else said
        for said in overrides
    ]
    words = (word("data", name), *told)
    try:
        config = compose_evaluation(["bundle=BUNDLE", *words, *common])
        manifest = load_manifest(config.data, paths_cache=config.paths.cache, both_classes=False)
    except (ConfigError, DataError) as error:
        raise type(error)(f"--data {text}: {error}") from None
    return Column(label if label and label != "data" else _label(config, overrides), words, config, manifest)


def _label(config: EvaluateConfig, overrides: Sequence[str]) -> str:
    source = config.data.root if config.data.file is None else config.data.file
    name = source.stem if config.data.name in UNNAMED and source is not None else config.data.name
    further = [said.partition("=")[2] for said in overrides if key_of(said) in ("subset", "corruption")]
    return ", ".join([name, *further])


def plan_cells(rows: Sequence[Row], columns: Sequence[Column], *, common: Sequence[str], folder: Path) -> list[Planned]:
    """Return the cells row by row; each has a folder of its own below `folder`, named by all that decides its figures.

    Raises:
        BundleError: a bundle doesn't say what it has seen, or can't be corrected to the base rate that is stated.

    """
    return [_planned(row, column, common=common, folder=folder) for row in rows for column in columns]


def _planned(row: Row, column: Column, *, common: Sequence[str], folder: Path) -> Planned:
    config, training = column.config, row.bundle.record.training
    try:
        row.bundle.terms(base_rate=config.base_rate)
    except BundleError as error:
        raise BundleError(f"'{row.label}' ({row.bundle.folder}): {error}") from None
    own_hash = column.manifest.content_hash == training.data_hash
    own = own_hash or (config.data.name == training.data_name and config.data.name not in UNNAMED)
    # auto takes what training left alone. Where it left nothing, val is the next best, and the cell says so.
    tried: tuple[Wanted, ...] = ("auto", "val") if config.subset == "auto" and own_hash else (config.subset,)
    reasons = []
    for subset in tried:
        try:
            choose_subset(column.manifest, row.bundle, wanted=subset, data_name=config.data.name)
        except DataError as error:
            reasons.append(str(error))
            continue
        chosen = config.model_copy(update={"subset": subset})
        key = evaluation_key(chosen, row.bundle, data_hash=column.manifest.content_hash)
        # Cut in bytes: a file system's names end at 255, and three of them are a letter in half of the world.
        name = re.sub(r"[^\w.-]+", "-", f"{row.label}__{column.label}").encode()[:80].decode(errors="ignore")
        place = folder / "cells" / f"{name}__{key}"
        words = (
            word("bundle", row.bundle.folder),
            *column.words,
            *common,
            *(("subset=val",) if subset != config.subset else ()),
            word("paths.run_dir", place),
        )
        job = Job(
            name=f"{row.label} on {column.label}",
            words=words,
            folder=place,
            log=place.with_name(f"{place.name}.log"),
            program="evaluate",
            quiet=True,
        )
        return Planned(row.label, column.label, own, job)
    return Planned(row.label, column.label, own, None, reasons[0])


def _refuse_twice(names: Sequence[str], *, what: str, way_out: str = "") -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"the {what} '{twice[0]}' is named twice{way_out}")
