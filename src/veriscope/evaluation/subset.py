"""Which part of a data set a bundle may be judged on, and what has to be said about it."""

import json
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import ValidationError

from veriscope.bundle.bundle import Bundle
from veriscope.bundle.seen import count_seen, fingerprints
from veriscope.config.schema import SplitConfig
from veriscope.data.manifest import Manifest
from veriscope.data.splits import OUTSIDE_FOLDS, cut, fold_numbers
from veriscope.errors import BundleError, DataError
from veriscope.types import Split

Wanted = Literal["auto", "train", "val", "test", "all"]
Exposure = Literal["unseen", "selected", "trained"]

_WARNING = {
    "trained": "The model was trained on pictures that are judged here. It may know them by heart: these figures say "
    "nothing about pictures that it has not seen.",
    "selected": "These pictures chose the checkpoint, the temperature and the threshold of this model. The figures "
    "come out better than on pictures that chose nothing.",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is judged. `exposure`: what the model had to do with it; `text`: one sentence for the report."""

    manifest: Manifest
    name: str
    exposure: Exposure
    text: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the figures too good; empty for unseen data."""
        return () if self.exposure == "unseen" else (_WARNING[self.exposure],)


def choose_subset(manifest: Manifest, bundle: Bundle, *, wanted: Wanted, data_name: str) -> Chosen:
    """Return the rows to judge, and what the model has to do with them.

    Data whose content hash the bundle names as its own is cut again as in training, so that `test` is what training
    left alone; `auto` takes that, and refuses where nothing was left. Of other data `auto` takes its test folder or
    column where it has one, else everything. Whatever is chosen is compared with the training and validation pictures,
    file by file: the same pictures come in other folders and under other names.

    Raises:
        DataError: nothing to judge, a part that the data doesn't have, or `auto` on data that was wholly trained on.

    """
    if len(manifest) == 0:
        raise DataError(f"data '{data_name}' holds no pictures: there is nothing to judge.")
    own = manifest.content_hash == bundle.record.training.data_hash
    choose = _from_own_data if own else _from_other_data
    return _compared(choose(manifest, bundle, wanted=wanted, data_name=data_name), bundle)


def _compared(chosen: Chosen, bundle: Bundle) -> Chosen:
    """Return the same choice, with what the files themselves tell where they are known to the bundle."""
    seen = bundle.seen()
    if seen is None:
        return replace(chosen, text=f"{chosen.text} The bundle can't tell single pictures that it was made with.")
    if chosen.exposure != "unseen":
        return chosen
    prints = fingerprints(chosen.manifest.absolute_paths())
    kinds: tuple[tuple[Exposure, str], ...] = (("trained", "train"), ("selected", "val"))
    for exposure, name in kinds:
        count = count_seen(prints, seen[name])
        if count:
            text = (
                f"{chosen.text} But {count:,} of its {len(prints):,} files are among the model's own {name} pictures."
            )
            return replace(chosen, exposure=exposure, text=text)
    return chosen


def _from_other_data(manifest: Manifest, bundle: Bundle, *, wanted: Wanted, data_name: str) -> Chosen:
    unseen = f"The model was trained on '{bundle.record.training.data_name}'."
    num_test = len(manifest.only(Split.TEST)) if manifest.has_splits else 0
    name = ("test" if num_test else "all") if wanted == "auto" else wanted
    if name == "all":
        return Chosen(manifest, name, "unseen", f"Judged on all of '{data_name}'. {unseen}")
    part = manifest.only(Split(name)) if manifest.has_splits else None
    if part is None or len(part) == 0:
        raise DataError(f"data '{data_name}' has no '{name}' part: judge it whole with subset=all.")
    return Chosen(part, name, "unseen", f"Judged on the {name} part of '{data_name}'. {unseen}")


def _from_own_data(manifest: Manifest, bundle: Bundle, *, wanted: Wanted, data_name: str) -> Chosen:
    if wanted == "all":
        text = f"Judged on all of '{data_name}', most of which the model was trained on."
        return Chosen(manifest, "all", "trained", text)
    split = _split_of(bundle)
    name = "test" if wanted == "auto" else wanted
    if split.all_folds:
        return _from_folds(manifest, split, name=name, data_name=data_name)
    parts = cut(manifest, split)
    if name == "test":
        if parts.test is None:
            raise DataError(
                f"the bundle was trained on this very data ('{data_name}'), and its split left no test part. Judge it "
                f"on other data, or say subset=val ({len(parts.val):,} pictures that chose checkpoint and threshold: "
                "a little too good) or subset=all (with the training pictures: far too good)."
            )
        text = f"Judged on the test part of '{data_name}', which training did not touch."
        return Chosen(parts.test, name, "unseen", text)
    if name == "val":
        text = f"Judged on the val part of '{data_name}', which chose checkpoint, temperature and threshold."
        return Chosen(parts.val, name, "selected", text)
    return Chosen(parts.train, name, "trained", f"Judged on the train part of '{data_name}', which the model learned.")


def _from_folds(manifest: Manifest, split: SplitConfig, *, name: str, data_name: str) -> Chosen:
    """Return the part for an ensemble of a cross-validation's folds: train is what the folds were made of; no val."""
    outside = fold_numbers(manifest, split) == OUTSIDE_FOLDS
    whose = f"the bundle averages the models of a cross-validation on this very data ('{data_name}')"
    if name == "test":
        if not outside.any():
            raise DataError(
                f"{whose}, which left no test part: every picture was learned by {split.num_folds - 1} of "
                f"{split.num_folds} models. Judge it on other data; what single models are worth on pictures that they "
                "had not learned stands in the cross-validation's own report. subset=all would be far too good."
            )
        text = f"Judged on the test part of '{data_name}', which no fold of the cross-validation touched."
        return Chosen(manifest.take(np.flatnonzero(outside)), name, "unseen", text)
    if name == "val":
        raise DataError(
            f"{whose}: there is no val part, for what one model was selected on the others have learned. Say "
            f"{'subset=test' if outside.any() else 'other data'}, or subset=train, which is far too good."
        )
    text = f"Judged on the pictures of '{data_name}' that the folds were made of; all models but one learned each."
    return Chosen(manifest.take(np.flatnonzero(~outside)), name, "trained", text)


def _split_of(bundle: Bundle) -> SplitConfig:
    try:
        return SplitConfig.model_validate_json(json.dumps(bundle.record.training.split))
    except ValidationError as error:
        raise BundleError(
            f"bundle '{bundle.folder}' does not say how its data was split, so its test part can't be had again "
            f"({error.error_count()} faults). Judge it on other data."
        ) from error
