"""What `veriscope compare` reads: prediction tables of the same pictures, and the threshold that belongs to each."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.errors import DataError
from veriscope.evaluation.intervals import Codes, group_codes
from veriscope.evaluation.predictions import PARQUET_NAME, PredictionTable, some
from veriscope.evaluation.strata import codes_of
from veriscope.files import is_there
from veriscope.types import DEFAULT_THRESHOLD, FAKE, REAL, Threshold, preferred_name

_FIGURES = ("report.json", "figures.json")  # beside a table of an evaluation, and of a run's validation
_VALIDATION = "validation"
_MAX_MODELS = 200  # 19,900 pairs of each metric: a page of 30 MB. A thousand models would take hours and a gigabyte
_FEW = 30  # groups, or pictures of a class: below it the errors, and resamples, are rough

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Entry:
    """One detector's table. `notices` are what has to be said wherever its figures stand."""

    name: str
    path: Path
    table: PredictionTable
    threshold: Threshold
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Matched:
    """The pictures that every detector judged, by id; rows of `logits` and `scores`, (K, N), are the entries in order.

    `groups`: (N,) codes from 0 on, None where no two pictures belong together. `rows[k][i]`: where picture i stands
    among the judged rows of entry k.
    """

    entries: tuple[Entry, ...]
    ids: tuple[str, ...]
    labels: Labels
    logits: Floats
    scores: Floats
    groups: Codes | None
    rows: tuple[Codes, ...]
    notices: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The entries' names."""
        return [entry.name for entry in self.entries]

    def num_witnesses(self, metric: str) -> int:
        """Return how many independent witnesses, groups or single pictures, a metric asks: recall the fakes alone."""
        asked = {"recall": self.labels == FAKE, "specificity": self.labels == REAL}.get(metric)
        codes = np.arange(len(self.labels)) if self.groups is None else self.groups
        return int(np.unique(codes if asked is None else codes[asked]).size)

    @property
    def base_rate(self) -> float | None:
        """The share of fakes that all scores were corrected to; None: to none."""
        return self.entries[0].table.meta.base_rate


def read_entries(inputs: Sequence[str]) -> list[Entry]:
    """Return the tables named by `inputs`: each a folder or a predictions.parquet, or NAME=one of them.

    Raises:
        DataError: fewer than two or too many, nothing to read there, or a name twice.

    """
    if len(inputs) < 2:
        raise DataError("veriscope compare takes at least two evaluations; name the folders that evaluate.py wrote.")
    if len(inputs) > _MAX_MODELS:
        pairs = len(inputs) * (len(inputs) - 1) // 2
        raise DataError(
            f"{len(inputs):,} models make {pairs:,} pairs of each metric, too many to correct for and to read: name "
            f"{_MAX_MODELS} at most."
        )
    named = [_split(text) for text in inputs]
    files = [_table_file(path) for _, path in named]
    given = [name for name, _ in named if name is not None]
    twice = [name for name, count in Counter(given).items() if count > 1]
    if twice:
        raise DataError(f"the name '{twice[0]}' is given twice; name each evaluation once: NAME=FOLDER.")
    own = _distinct([path for name, path in named if name is None], taken=set(given))
    names = [name if name is not None else own.pop(0) for name, _ in named]
    return [_read(name, path, file) for name, (_, path), file in zip(names, named, files, strict=True)]


def match(entries: Sequence[Entry]) -> Matched:
    """Return the rows of the tables side by side, sorted by id; only pictures that all have judged.

    Raises:
        DataError: tables of different pictures, labels, data, corruptions or base rates; or no picture that all have
            judged.

    """
    first = entries[0]
    notices = [notice for entry in entries for notice in entry.notices]
    rate = first.table.meta.base_rate
    if rate is not None:
        notices.append(
            f"Scores are corrected to a share of fakes of {rate:.4g}, as was stated; log loss and Brier score are "
            "weighted to it."
        )
    for other in entries[1:]:
        _check_same(first, other)
    notices += _check_hashes(entries)
    kept = sorted(set.intersection(*(set(entry.table.column("id")) for entry in entries)))
    if not kept:
        raise DataError("there is no picture that all have judged and whose label is known: nothing to compare.")
    left_out = len(first.table) - len(kept)
    if left_out:
        counts = ", ".join(f"{e.name} {len(e.table) - len(e.table.labels):,}" for e in entries)
        notices.append(
            f"{left_out:,} of {len(first.table):,} pictures count nowhere, because not all have judged them "
            f"(without verdict or label: {counts})."
        )
    rows = tuple(_rows(entry.table, kept) for entry in entries)
    groups, said = _groups(entries, rows)
    said += _few_pictures(first.table.labels[rows[0]])
    return Matched(
        entries=tuple(entries),
        ids=tuple(kept),
        labels=first.table.labels[rows[0]],
        logits=np.stack([entry.table.logits[own] for entry, own in zip(entries, rows, strict=True)]),
        scores=np.stack([entry.table.scores[own] for entry, own in zip(entries, rows, strict=True)]),
        groups=groups,
        rows=rows,
        notices=tuple(dict.fromkeys([*notices, *_same_models(entries), *said])),
    )


def _split(text: str) -> tuple[str | None, Path]:
    """Return the name, if one is given, and the path; a path that exists may hold '='."""
    name, equals, path = text.partition("=")
    if not equals or not name or not path or "/" in name or is_there(text):
        return None, Path(text)
    return name, Path(path)


def _table_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise DataError(f"'{path}' does not exist; name a folder that evaluate.py wrote, a run, or {PARQUET_NAME}.")
    for file in (path / PARQUET_NAME, path / _VALIDATION / PARQUET_NAME):
        if file.is_file():
            return file
    if (path / "study.db").exists() or any(path.glob("*/config.yaml")):
        raise DataError(
            f"'{path}' holds many runs: seeds, folds or trials. veriscope summary {path} sums those up; compare takes "
            "one evaluation each."
        )
    raise DataError(f"'{path}' holds no {PARQUET_NAME}; name a folder that evaluate.py wrote, or a finished run.")


def _distinct(paths: Sequence[Path], *, taken: set[str]) -> list[str]:
    """Return a name a path: as many of its last folders as tell it from the others; a number where it comes twice."""
    parts = [[part for part in _named_part(path).parts if part != "/"] for path in paths]
    names: list[str] = []
    for own in parts:
        depth = 1
        while depth < len(own) and sum(other[-depth:] == own[-depth:] for other in parts if other != own):
            depth += 1
        name, number = "/".join(own[-depth:]) or "table", 1
        while (unique := name if number == 1 else f"{name} #{number}") in taken.union(names):
            number += 1
        names.append(unique)
    return names


def _named_part(path: Path) -> Path:
    """Return the part of a path that says which model it is about."""
    whole = path.absolute()
    whole = whole.parent if whole.name == PARQUET_NAME else whole
    return whole.parent if whole.name in (_VALIDATION, "evaluation") and whole.parent.name else whole


def _read(name: str, path: Path, file: Path) -> Entry:
    table = PredictionTable.read(file)
    threshold, warnings = _beside(file, table)
    notices = [f"{name}: {text}" for text in warnings]
    if threshold is None:
        threshold = DEFAULT_THRESHOLD
        notices.append(f"{name}: no {_FIGURES[0]} lies beside the table, so verdicts are taken at the threshold 0.5.")
    subset = table.meta.subset
    if file.parent.name == _VALIDATION or subset in ("val", "train"):
        part = subset if subset in ("val", "train") else "val"
        what = "it was trained on them" if part == "train" else "they chose its epoch, calibration and threshold"
        notices.append(f"{name}: figures of {part} are selected figures, too good by an unknown amount: {what}.")
    if subset == "out-of-fold":
        notices.append(f"{name}: out-of-fold, each picture judged by the fold that hadn't learned it; not one model.")
    return Entry(name, path, table, threshold, tuple(notices))


def _beside(file: Path, table: PredictionTable) -> tuple[Threshold | None, list[str]]:
    """Return the preferred threshold of the figures beside a table, and their warnings; None where there are none."""
    found = next((file.with_name(name) for name in _FIGURES if file.with_name(name).is_file()), None)
    if found is None:
        return None, []
    try:
        content: Any = json.loads(found.read_text(encoding="utf-8"))
        fields = Threshold.model_fields
        known = {
            name: Threshold.model_validate({key: value for key, value in one.items() if key in fields})
            for name, one in content["thresholds"].items()
        }
        name = content.get("headline_threshold") or preferred_name(known)
        warnings = [str(text) for key in ("warnings", "notices") for text in content.get(key, [])]
        told = (content.get("bundle", {}).get("weights_sha256"), content.get("data", {}).get("content_hash"))
        found_threshold = known[name]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"'{found}' is damaged ({type(error).__name__}); put it back, or move it away to compare at 0.5."
        ) from None
    for what, own, its in zip(("bundle", "data"), told, (table.meta.bundle_hash, table.meta.data_hash), strict=True):
        if None not in (own, its) and own != its:
            raise DataError(
                f"'{found}' and '{file.name}' beside it are of different evaluations: another {what}. Put together "
                "what belongs together, or move the first away to compare at 0.5."
            )
    return found_threshold, warnings


def _check_same(first: Entry, other: Entry) -> None:
    ours, theirs = first.table, other.table
    if ours.meta.corruption != theirs.meta.corruption:
        said = [f"'{e.name}' {e.table.meta.corruption or 'none'}" for e in (first, other)]
        raise DataError(f"the pictures were put through different corruptions: {said[0]}, {said[1]}.")
    if ours.meta.base_rate != theirs.meta.base_rate:
        rates = [(e.name, e.table.meta.base_rate) for e in (first, other)]
        said = [f"'{name}' {'none' if rate is None else f'{rate:.4g}'}" for name, rate in rates]
        raise DataError(f"the scores were corrected to different base rates: {said[0]}, {said[1]}.")
    labels = [dict(zip(t.table["id"].to_pylist(), t.table["label"].to_pylist(), strict=True)) for t in (ours, theirs)]
    missing = [sorted(set(one) - set(two)) for one, two in (labels, labels[::-1])]
    if missing[0] or missing[1]:
        parts = [
            f"{len(ids):,} only in '{entry.name}' ({some(ids)})"
            for entry, ids in zip((first, other), missing, strict=True)
            if ids
        ]
        raise DataError(
            f"the tables hold different pictures: {len(set(labels[0]) & set(labels[1])):,} in both, "
            f"{', '.join(parts)}. Evaluate both on the same data and subset."
        )
    differ = sorted(key for key, label in labels[0].items() if label != labels[1][key])
    if differ:
        raise DataError(
            f"'{first.name}' and '{other.name}' label {len(differ):,} pictures differently: {some(differ)}. "
            "Evaluate both with the same class map."
        )


def _check_hashes(entries: Sequence[Entry]) -> list[str]:
    """Return what to say of tables that don't name their data; all others have to name the same."""
    known = [entry for entry in entries if entry.table.meta.data_hash is not None]
    for other in known[1:]:
        hashes = [str(entry.table.meta.data_hash)[:12] for entry in (known[0], other)]
        if known[0].table.meta.data_hash != other.table.meta.data_hash:
            raise DataError(
                f"'{known[0].name}' and '{other.name}' name the same files, but their data differs (hash "
                f"{hashes[0]}, {hashes[1]}): other pictures under the same names, or other groups. "
                "Evaluate both anew on the same data."
            )
    return [
        f"{entry.name}: its table doesn't name its data (no hash): that these are the same pictures is known by their "
        "names and labels alone."
        for entry in entries
        if entry.table.meta.data_hash is None
    ]


def _same_models(entries: Sequence[Entry]) -> list[str]:
    """Return what to say of entries that are one and the same model."""
    said = []
    for one, two in combinations(entries, 2):
        ours, theirs = one.table, two.table
        if ours.meta.bundle_hash is not None and ours.meta.bundle_hash == theirs.meta.bundle_hash:
            said.append(f"{one.name} and {two.name} are the same model: their weights have the same hash.")
        elif ours.table["logit"].equals(theirs.table["logit"]) and ours.table["id"].equals(theirs.table["id"]):
            said.append(f"{one.name} and {two.name} gave every picture the same logit: the same model twice?")
    return said


def _few_pictures(labels: Labels) -> list[str]:
    counts = {"real pictures": int(np.sum(labels == REAL)), "fakes": int(np.sum(labels == FAKE))}
    few = [f"{count} {what}" for what, count in counts.items() if 0 < count < _FEW]
    return [f"With so few pictures ({', '.join(few)}) intervals and p are rough, and too sure rather than too cautious."
            ] if few else []  # fmt: skip


def _rows(table: PredictionTable, kept: Sequence[str]) -> Codes:
    place = {name: row for row, name in enumerate(table.column("id"))}
    return np.array([place[name] for name in kept], dtype=np.int64)


def _groups(entries: Sequence[Entry], rows: Sequence[Codes]) -> tuple[Codes | None, list[str]]:
    """Return the groups of the pictures as codes, of the first table that names any; a picture without is its own."""
    named = []
    for entry, own in zip(entries, rows, strict=True):
        groups = entry.table.column("group")
        named.append([groups[row] for row in own])
    chosen = next((groups for groups in named if any(group is not None for group in groups)), None)
    if chosen is None:
        return None, []
    said = []
    if any(groups != chosen for groups in named):
        said.append("The tables name different groups; the first that names any is followed.")
    known = group_codes(chosen)
    if known is None:
        return None, said
    codes = codes_of(known)
    num_groups = int(codes.max()) + 1
    if num_groups == 1:
        said.append("All pictures are of one group: it says nothing of others, so there is no interval and no p.")
        return codes, said
    said.append(
        f"Pictures of one group count as one witness: {len(codes):,} pictures in {num_groups:,} groups."
        + (" With so few groups, intervals and p are rough." if num_groups < _FEW else "")
    )
    return codes, said
