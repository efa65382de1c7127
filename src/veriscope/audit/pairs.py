"""Copies as pairs: all of them as a list, the worst side by side on the page."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow.compute as pc
from PIL import Image

from veriscope.audit.run import Audit, Data
from veriscope.data.decode import decode_image
from veriscope.errors import DecodeError, printable
from veriscope.types import CLASS_NAMES

THUMB_PX = 144
MAX_PAIRS = 24  # on the page
_EACH = 8  # of one kind, while there are others

Kind = Literal["same file", "same pixels", "near copy"]


class Copies(NamedTuple):
    """Two pictures of which one is a copy of the other; `likeness` is their correlation, `second_data` is empty where
    both are of the audited data set."""

    kind: Kind
    first: str
    first_split: str
    first_label: str
    second: str
    second_split: str
    second_label: str
    likeness: float
    mirrored: bool
    second_data: str

    @property
    def rank(self) -> int:
        """How bad it is: 0 the same picture on both sides, in classes or splits, or in the other data set."""
        label, split = self.first_label != self.second_label, self.first_split != self.second_split
        near = self.kind == "near copy"
        return 3 * near + (0 if label else 1 if split or self.second_data else 2)


@dataclass(frozen=True, slots=True)
class Half:
    """One picture of a pair: a small JPEG as data: URI, and the words below it."""

    uri: str
    words: str
    path: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures and what they are to each other."""

    title: str
    left: Half
    right: Half


class _Rows:
    """What is said of a row of a data set."""

    def __init__(self, data: Data) -> None:
        self._paths = data.manifest.table["path"]
        self._splits = data.manifest.splits
        self._labels = data.manifest.labels

    def of(self, row: int) -> tuple[str, str, str]:
        """Return path, split ('' for none) and class."""
        return str(self._paths[row].as_py()), str(self._splits[row] or ""), CLASS_NAMES[self._labels[row]]


def find_pairs(audit: Audit) -> list[Copies]:
    """Return every pair, the worst first: exact copies with the first of their kind, near ones as they are linked."""
    rows, found = _Rows(audit.data), []
    files = audit.table["sha256"].to_pylist()
    heads: dict[int, int] = {}
    for row in np.flatnonzero(np.bincount(audit.duplicates.exact, minlength=1)[audit.duplicates.exact] > 1):
        head = heads.setdefault(int(audit.duplicates.exact[row]), int(row))
        if head != row:
            kind: Kind = "same file" if files[head] == files[row] else "same pixels"
            found.append(Copies(kind, *rows.of(head), *rows.of(int(row)), 1.0, False, ""))
    links = audit.duplicates.links
    for first, second, likeness, mirrored in zip(
        links.first.tolist(), links.second.tolist(), links.likeness.tolist(), links.mirrored.tolist(), strict=True
    ):
        if audit.duplicates.exact[first] != audit.duplicates.exact[second]:
            found.append(Copies("near copy", *rows.of(first), *rows.of(second), round(likeness, 4), mirrored, ""))
    return sorted([*found, *_with_other(audit)], key=lambda pair: (pair.rank, -pair.likeness, pair.first, pair.second))


def _with_other(audit: Audit) -> list[Copies]:
    if audit.shared is None or audit.against is None:
        return []
    rows, others, name = _Rows(audit.data), _Rows(audit.against), audit.against.name
    found = []
    for copies, kind in ((audit.shared.exact, "same pixels"), (audit.shared.near, "near copy")):
        for row in np.flatnonzero(copies >= 0).tolist():
            pair = (*rows.of(row), *others.of(int(copies[row])))
            found.append(Copies(kind, *pair, 1.0 if kind == "same pixels" else float("nan"), False, name))  # type: ignore[arg-type]
    return found


def duplicates_dict(audit: Audit) -> dict[str, Any]:
    """Return clusters of copies, JSON-able: of each its paths, splits and classes, and whether all are exact."""
    paths = audit.data.manifest.table["path"]
    return {
        "clusters": [
            {
                "paths": [str(paths[row].as_py()) for row in cluster.rows],
                "splits": list(cluster.splits),
                "classes": list(cluster.classes),
                "exact": cluster.exact,
            }
            for cluster in audit.duplicates.clusters(audit.data.manifest)
        ],
        "compared": int(audit.duplicates.compared.sum()),
        "too_plain": audit.duplicates.too_plain,
    }


def shown_pairs(audit: Audit, copies: list[Copies]) -> list[Pair]:
    """Return the worst pairs with their pictures, some of every kind; those that have gone since are left out."""
    by_rank: dict[int, list[Copies]] = {}
    for one in copies:
        by_rank.setdefault(one.rank, []).append(one)
    chosen = [one for rank in sorted(by_rank) for one in by_rank[rank][:_EACH]][:MAX_PAIRS]
    pairs = []
    for one in chosen:
        left = _half(audit.data, one.first, one.first_split, one.first_label)
        other = audit.against if one.second_data and audit.against is not None else audit.data
        right = _half(other, one.second, one.second_split, one.second_label, of=one.second_data)
        if left is not None and right is not None:
            pairs.append(Pair(_title(one), left, right))
    return pairs


def _title(one: Copies) -> str:
    where = []
    if one.first_label != one.second_label:
        where.append("both classes")
    if one.second_data:
        where.append(f"also in {printable(one.second_data)}")
    elif one.first_split != one.second_split:
        where.append("two splits")
    kind = one.kind + (", mirrored" if one.mirrored else "")
    known = one.kind == "near copy" and not np.isnan(one.likeness)
    return ", ".join([kind + (f" {_likeness(one.likeness)}" if known else ""), *where])


def _likeness(value: float) -> str:
    return f"{min(value, 0.999):.3f}"  # 1.000 would be the same picture


def _half(data: Data, path: str, split: str, label: str, *, of: str = "") -> Half | None:
    row = pc.index(data.manifest.table["path"], path).as_py()
    uri = thumbnail(data.manifest.absolute_path(row), max_pixels=data.max_pixels)
    words = " ".join(filter(None, (printable(of), split, label)))
    return None if uri is None else Half(uri, words, printable(path))


def thumbnail(path: Path, *, max_pixels: int) -> str | None:
    """Return a picture at THUMB_PX as JPEG in a data: URI; None for one that has gone since it was looked at."""
    try:
        image = Image.fromarray(decode_image(path, max_pixels=max_pixels))
    except DecodeError:
        return None
    image.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")
