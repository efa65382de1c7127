"""Which pictures of a data set are copies of one another, which lie on both sides of a split, which are elsewhere too.

Exact: the same bytes, or the same upright RGB pixels in another file. Near: `audit.near`. Copies hang together: where A
is a copy of B and B one of C, the three are one cluster, and clusters are what is counted, not n (n - 1) / 2 pairs.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from veriscope.audit.hashing import SIDE
from veriscope.audit.near import Links, components, links_between, near_links
from veriscope.data.manifest import Manifest
from veriscope.types import CLASS_NAMES

Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.object_]


class Cluster(NamedTuple):
    """Copies of one picture: manifest rows, rising; the splits and classes they lie in; whether all are exact."""

    rows: tuple[int, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class Duplicates:
    """The copies among N pictures, in manifest order.

    `exact` and `near`: (N,) the number of the cluster that a picture is in, of exact copies and of all copies; alone
    in one: no copy. `same_bytes`: (N,) whether another picture's file has the same bytes. `links`: what near copies
    rest on, rows of the manifest. `compared`: (N,) which pictures had a hash and were not too plain for near copies;
    `too_plain`: how many were. `group_crosses`: (N,) whether the picture's group lies in more than one split.
    """

    exact: Rows
    near: Rows
    same_bytes: Bools
    links: Links
    compared: Bools
    too_plain: int
    group_crosses: Bools

    def clusters(self, manifest: Manifest) -> list[Cluster]:
        """Return every cluster of two and more pictures, by its first row."""
        order = np.argsort(self.near, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(self.near[order])) + 1) if len(order) else []
        splits, labels = manifest.splits, manifest.labels
        found = [
            Cluster(
                rows=tuple(part.tolist()),
                splits=tuple(sorted({splits[row] for row in part} - {None})),
                classes=tuple(CLASS_NAMES[label] for label in np.unique(labels[part])),
                exact=np.unique(self.exact[part]).size == 1,
            )
            for part in parts
            if len(part) > 1
        ]
        return sorted(found)


@dataclass(frozen=True, slots=True)
class Shared:
    """What a data set of N pictures has in common with another.

    `exact`, `near`: (N,) the row of a copy in the other data set, -1 for none; a picture with an exact copy has no near
    one. `compared`: (N,) as in `Duplicates`, 0 of them where the other has no hashes. `num_unread` of the other's
    `num_other` files can't be read, so copies of them can't be found.
    """

    name: str
    exact: Rows
    near: Rows
    relabelled: Bools
    compared: Bools
    num_unread: int
    num_other: int


def find_duplicates(manifest: Manifest, table: pa.Table, *, likeness: float) -> Duplicates:
    """Return the copies among the pictures of a manifest.

    Args:
        manifest: of N pictures.
        table: their inspection, N rows; without its columns `pixels` and `hashes` only equal files are found.
        likeness: from which correlation on a pair is a near copy.

    """
    num_rows = len(manifest)
    files, pixels = _codes(table, "sha256"), _codes(table, "pixels")
    links_of = [_to_first(codes) for codes in (files, pixels)]
    first, second = (np.concatenate([links[side] for links in links_of]) for side in (0, 1))
    exact = components(first, second, num_rows)
    hashed, hashes = _hashes(table)
    links = near_links(hashes, likeness=likeness)
    compared = np.zeros(num_rows, bool)
    compared[hashed[~links.plain]] = True
    links = Links(
        hashed[links.first], hashed[links.second], links.likeness, links.mirrored, links.plain, links.other_plain
    )
    everything = np.concatenate([first, links.first]), np.concatenate([second, links.second])
    known = files >= 0
    counts = np.bincount(files[known], minlength=1)
    same_bytes = np.zeros(num_rows, bool)
    same_bytes[known] = counts[files[known]] > 1
    return Duplicates(
        exact=exact,
        near=components(*everything, num_rows),
        same_bytes=same_bytes,
        links=links,
        compared=compared,
        too_plain=int(links.plain.sum()),
        group_crosses=holds_several(_word_codes(manifest.groups), manifest.splits),
    )


def find_shared(
    manifest: Manifest, table: pa.Table, other: Manifest, other_table: pa.Table, *, likeness: float, name: str
) -> Shared:
    """Return which pictures of a manifest are in another data set too.

    Args:
        manifest: of N pictures.
        table: their inspection.
        other: the other data set.
        other_table: its inspection.
        likeness: from which correlation on a pair is a near copy.
        name: of the other data set, for people.

    """
    exact = np.full(len(manifest), -1, dtype=np.int64)
    for column in ("sha256", "pixels"):
        matched = _matched(table, other_table, column)
        exact = np.where(exact < 0, matched, exact)
    (hashed, hashes), (other_hashed, other_hashes) = _hashes(table), _hashes(other_table)
    links = links_between(hashes, other_hashes, likeness=likeness)
    near = np.full(len(manifest), -1, dtype=np.int64)
    # Rising likeness: of several copies the likeliest is written last.
    order = np.lexsort((-links.second, links.likeness))
    near[hashed[links.first[order]]] = other_hashed[links.second[order]]
    near[exact >= 0] = -1
    compared = np.zeros(len(manifest), bool)
    if len(other_hashed):
        compared[hashed[~links.plain]] = True
    copy = np.maximum(exact, near)
    relabelled = (copy >= 0) & (other.labels[np.maximum(copy, 0)] != manifest.labels) if len(other) else copy >= 0
    unread = len(other) - int(other_table["problem"].null_count) if "problem" in other_table.column_names else 0
    return Shared(
        name=name,
        exact=exact,
        near=near,
        relabelled=relabelled,
        compared=compared,
        num_unread=unread,
        num_other=len(other),
    )


def holds_several(codes: Rows, values: npt.NDArray[Any]) -> Bools:
    """Return (N,) whether rows of the same code have two different values or more; no value (None) is none.

    A negative code belongs to nothing.
    """
    value_codes = _word_codes(values)
    known = (codes >= 0) & (value_codes >= 0)
    pairs = np.unique(np.stack([codes[known], value_codes[known]]), axis=1)
    size = int(codes.max(initial=-1)) + 1
    num_values = np.bincount(pairs[0], minlength=max(size, 1))
    found = np.zeros(len(codes), bool)
    found[codes >= 0] = num_values[codes[codes >= 0]] > 1
    return found


def within_parts(codes: Rows, splits: Words, labels: npt.NDArray[Any]) -> Rows:
    """Return codes that two pictures share if they share one of `codes`, split and class."""
    keys = np.stack([codes, _word_codes(splits), labels.astype(np.int64)])
    return np.asarray(np.unique(keys, axis=1, return_inverse=True)[1], dtype=np.int64).reshape(-1)


def _word_codes(words: npt.NDArray[Any]) -> Rows:
    codes = np.full(len(words), -1, dtype=np.int64)
    known = np.array([word is not None for word in words], dtype=bool)
    if known.any():
        codes[known] = np.unique(words[known].astype(str), return_inverse=True)[1]
    return codes


def _wanted(table: pa.Table, column: str) -> pa.ChunkedArray | None:
    """Return a column with nulls where the file doesn't decode: a hundred empty files are no copies of a picture."""
    if column not in table.column_names:
        return None
    if "problem" not in table.column_names:
        return table[column]
    return pc.if_else(pc.is_null(table["problem"]), table[column], pa.scalar(None, table[column].type))


def _codes(table: pa.Table, column: str) -> Rows:
    """Return (N,) the same number for the same value, -1 for null."""
    values = _wanted(table, column)
    if values is None or not len(values):
        return np.full(table.num_rows, -1, dtype=np.int64)
    indices = values.dictionary_encode().unify_dictionaries().combine_chunks().indices
    return np.asarray(pc.fill_null(indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _to_first(codes: Rows) -> tuple[Rows, Rows]:
    """Return links from the first row of each code to its other rows."""
    rows = np.flatnonzero(codes >= 0)
    _, first, inverse = np.unique(codes[rows], return_index=True, return_inverse=True)
    heads = rows[first[inverse]] if len(rows) else rows
    return heads[heads != rows], rows[heads != rows]


def _matched(table: pa.Table, other: pa.Table, column: str) -> Rows:
    """Return (N,) the first row of the other table with the same value, -1 for none."""
    mine, theirs = _wanted(table, column), _wanted(other, column)
    if mine is None or theirs is None or not len(mine):
        return np.full(table.num_rows, -1, dtype=np.int64)
    plain = pa.binary()  # the two may come from tables with fixed and with free length
    found = pc.index_in(mine.cast(plain), value_set=theirs.cast(plain), skip_nulls=True)
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)


def _hashes(table: pa.Table) -> tuple[Rows, npt.NDArray[np.uint8]]:
    """Return which rows have a hash, and the hashes, (K, 32, 32)."""
    column = _wanted(table, "hashes")
    if column is None:
        return np.zeros(0, np.int64), np.zeros((0, SIDE, SIDE), np.uint8)
    rows = np.flatnonzero(column.is_valid().to_numpy())
    parts = [np.zeros(0, np.uint8)]
    for chunk in column.drop_null().chunks:
        # The buffer itself: a Python object a picture would cost more than its hash.
        large = chunk.cast(pa.large_binary())
        _, offsets, data = large.buffers()
        ends = np.frombuffer(offsets, np.int64, len(large) + 1, large.offset * 8)
        if len(large):
            parts.append(np.frombuffer(data, np.uint8)[ends[0] : ends[-1]])
    return rows, np.concatenate(parts).reshape(-1, SIDE, SIDE)
