"""Near copies: the same picture compressed again, resized, mirrored or slightly cropped, found among a million others.

Three steps. Candidates: every picture is described by the lower frequencies of its hash, each weighted so that it
counts about as much as the others (amplitudes of natural pictures fall as 1/f: Field 1987), as a vector of length 1;
the vectors are compared within cells around pivots (an inverted file: Sivic & Zisserman 2003), also mirrored and
without a margin. Verification: one picture of a pair is registered on the other (Gauss-Newton on the four edges of a
window: Lucas & Kanade 1981), and finer frequencies must agree, too. Links: pairs whose pictures hang together already
need no verification, so that a thousand copies of one picture cost about a thousand links, not half a million.

Whatever the order of the pictures, the result is the same: they are sorted by their hashes first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from veriscope.audit.hashing import SIDE

Hashes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LIKENESS = 0.95  # of a verified pair; measured in benchmarks/duplicates.md, as all that follows
CANDIDATE_LIKENESS = 0.85
COARSE, FINE = 10, 16  # frequencies in half waves a side: of candidates, of verification
WINDOWS = ((0.0, 0.0, 0.0, 0.0), (0.035, 0.035, 0.035, 0.035))  # margins left, right, top, bottom, in sides
MAX_CANDIDATES = 16  # nearest ones of a picture: a flood of look-alikes must not cost its square
CELL_SIZE, PROBES = 1000, 6  # pictures around a pivot, nearest cells that are searched
MIN_DETAIL, MIN_PATTERNS, MAX_STRIPES = 200.0, 4.5, 0.9  # beyond them a picture is too plain to be recognised

_MARGINS = (-0.06, 0.12)  # how far a registration may go
_STEPS = 4  # of Gauss-Newton
_SLICE = 4096  # pairs, or pictures, worked on at once
_CHUNK = 50_000  # queries a pass over the cells
_BATCHES = (1024, 32_768)  # pairs verified before links are looked at again: at first, and at most; they double


@dataclass(frozen=True, slots=True)
class Links:
    """Verified pairs, K of them: rows `first` and `second`, the correlation, whether one is the other mirrored.

    They join what belongs together, and are not all pairs of it. `plain` and `other_plain` mark the pictures that were
    left out as too plain: what is nearly one colour, or one gradient, looks like every other such picture.
    """

    first: Rows
    second: Rows
    likeness: Floats
    mirrored: Bools
    plain: Bools
    other_plain: Bools


@dataclass(frozen=True, slots=True)
class _Pairs:
    query: Rows
    member: Rows
    likeness: Floats
    variant: npt.NDArray[np.int8]  # 2 * window + mirrored, of the query


def near_links(hashes_NHW: Hashes, *, likeness: float = LIKENESS) -> Links:
    """Return what links the near copies among pictures; `first` < `second`.

    Args:
        hashes_NHW: (N, 32, 32), as `hashing.as_pictures` gives them.
        likeness: correlation of a pair after registration, from which on it counts.

    """
    plain = too_plain(hashes_NHW)
    unique, inverse = _sorted_unique(hashes_NHW, np.flatnonzero(~plain))
    vectors = _describe(hashes_NHW, unique)
    found = _search(hashes_NHW, unique, hashes_NHW, unique, vectors, same=True)
    links = _verify(found, (hashes_NHW, unique), (hashes_NHW, unique), offset=0, likeness=likeness)
    # Equal hashes: each hangs on the first of its kind, which stands for all in the search.
    rows = np.flatnonzero(~plain)
    heads = unique[inverse]
    twins = rows != heads
    first = np.concatenate([unique[links.query], heads[twins]])
    second = np.concatenate([unique[links.member], rows[twins]])
    return Links(
        first=np.minimum(first, second),
        second=np.maximum(first, second),
        likeness=np.concatenate([links.likeness, np.ones(int(twins.sum()), np.float32)]),
        mirrored=np.concatenate([links.variant % 2 == 1, np.zeros(int(twins.sum()), bool)]),
        plain=plain,
        other_plain=np.zeros(0, bool),
    )


def links_between(hashes_NHW: Hashes, other_MHW: Hashes, *, likeness: float = LIKENESS) -> Links:
    """Return what links pictures to near copies in another data set; `second` are rows of that one."""
    plain, other_plain = too_plain(hashes_NHW), too_plain(other_MHW)
    rows, others = np.flatnonzero(~plain), np.flatnonzero(~other_plain)
    unique, inverse = _sorted_unique(hashes_NHW, rows)
    other_unique, other_inverse = _sorted_unique(other_MHW, others)
    here = _search(hashes_NHW, unique, other_MHW, other_unique, _describe(other_MHW, other_unique), same=False)
    there = _search(other_MHW, other_unique, hashes_NHW, unique, _describe(hashes_NHW, unique), same=False)
    offset = len(unique)
    both = _Pairs(
        query=np.concatenate([here.query, there.query + offset]),
        member=np.concatenate([here.member + offset, there.member]),
        likeness=np.concatenate([here.likeness, there.likeness]),
        variant=np.concatenate([here.variant, there.variant]),
    )
    links = _verify(both, (hashes_NHW, unique), (other_MHW, other_unique), offset=offset, likeness=likeness)
    left = np.minimum(links.query, links.member)
    right = np.maximum(links.query, links.member) - offset
    # A picture that stands for equal ones gives its links to each of them.
    first, at = _spread(left, rows, inverse)
    second, again = _spread(right[at], others, other_inverse)
    at, first = at[again], first[again]
    return Links(first, second, links.likeness[at], links.variant[at] % 2 == 1, plain, other_plain)


def components(first: Rows, second: Rows, num_rows: int) -> Rows:
    """Return (num_rows,) the number of the cluster that each row is in; rows without a link are alone in theirs."""
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(num_rows, num_rows))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def too_plain(hashes_NHW: Hashes) -> Bools:
    """Return (N,) which pictures have too little detail, too few patterns or nothing but stripes to tell a copy by.

    Detail: the root of the sum of the weighted energies e of the fine frequencies. Patterns: their participation ratio
    (sum e)^2 / sum e^2; a linear gradient has 1.3, photographs mostly 10 to 60. Stripes: the share of the energy in
    frequencies along one axis; a horizon between even sea and sky has 1, photographs mostly 0.1 to 0.5.
    """
    plain = np.ones(len(hashes_NHW), dtype=bool)
    weights, wanted = _weights(FINE)
    basis = _cosines(FINE)
    row, column = np.nonzero(wanted)
    for part in _slices(len(hashes_NHW)):
        coefficients = (basis @ hashes_NHW[part].astype(np.float32) @ basis.T)[:, wanted] * weights
        energy = coefficients.astype(np.float64) ** 2
        total = energy.sum(axis=1)
        patterns = total**2 / np.maximum((energy**2).sum(axis=1), 1e-9)
        striped = np.maximum(energy[:, row == 0].sum(axis=1), energy[:, column == 0].sum(axis=1)) > MAX_STRIPES * total
        plain[part] = (np.sqrt(total) < MIN_DETAIL) | (patterns < MIN_PATTERNS) | striped
    return plain


def _sorted_unique(hashes: Hashes, rows: Rows) -> tuple[Rows, Rows]:
    """Return one row for each different hash, in the order of their bytes, and for each of `rows` which it is."""
    keys = np.ascontiguousarray(hashes[rows]).reshape(len(rows), SIDE * SIDE).view(f"V{SIDE * SIDE}")[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return rows[first], np.asarray(inverse, dtype=np.int64)


def _spread(numbers: Rows, rows: Rows, inverse: Rows) -> tuple[Rows, Rows]:
    """Return every row whose hash is one of `numbers`, and the place in `numbers` that it belongs to."""
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], numbers)
    counts = np.searchsorted(inverse[order], numbers, side="right") - starts
    at = np.repeat(np.arange(len(numbers)), counts)
    within = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows[order[np.repeat(starts, counts) + within]], at


def _search(
    queries: Hashes, query_rows: Rows, members: Hashes, member_rows: Rows, vectors: Floats, *, same: bool
) -> _Pairs:
    """Return for each query its `MAX_CANDIDATES` likeliest members at most, those above `CANDIDATE_LIKENESS`."""
    if not len(query_rows) or not len(member_rows):
        return _Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int8))
    num_cells = max(len(member_rows) // CELL_SIZE, 1)
    # Evenly spaced in the order of the hashes: a fair sample, so dense regions get as many pivots as they need.
    pivots = vectors[np.linspace(0, len(vectors) - 1, num_cells).astype(np.int64)]
    cell_of = np.concatenate([(vectors[part] @ pivots.T).argmax(axis=1) for part in _slices(len(vectors), _CHUNK)])
    order = np.argsort(cell_of, kind="stable")
    cells = np.split(order, np.searchsorted(cell_of[order], np.arange(1, num_cells)))
    kept = []
    for part in _slices(len(query_rows), _CHUNK):
        rows = query_rows[part]
        found = []
        for mirrored in (False, True):
            variants = np.stack([_describe(queries, rows, window=w, mirrored=mirrored) for w in WINDOWS])
            for hit_query, hit_member, hit_likeness, window in _in_cells(variants, pivots, cells, vectors):
                strange = (hit_query + part.start != hit_member) if same else np.ones(len(hit_query), bool)
                hits = (hit_query + part.start, hit_member, hit_likeness, 2 * window + mirrored)
                found.append(_Pairs(*(column[strange] for column in hits)))
        kept.append(_nearest(_joined(found)))
    return _joined(kept)


def _in_cells(
    variants_VND: Floats, pivots: Floats, cells: list[Rows], vectors: Floats
) -> Iterator[tuple[Rows, Rows, Floats, npt.NDArray[np.int8]]]:
    """Yield for each cell what queries near its pivot found there: queries, members, likeness, number of the window."""
    probes = min(PROBES, len(cells))
    near = np.argpartition(variants_VND[0] @ pivots.T, len(cells) - probes, axis=1)[:, len(cells) - probes :]
    asked = near.ravel()
    order = np.argsort(asked, kind="stable")
    bounds = np.searchsorted(asked[order], np.arange(len(cells) + 1))
    for cell, members in enumerate(cells):
        everyone = order[bounds[cell] : bounds[cell + 1]] // probes
        for part in _slices(len(everyone), max(1, 20_000_000 // max(len(members), 1))):
            those = everyone[part]
            alike_VQM = variants_VND[:, those] @ vectors[members].T
            alike = alike_VQM.max(axis=0)
            hits = alike >= CANDIDATE_LIKENESS
            crowded = np.flatnonzero(hits.sum(axis=1) > MAX_CANDIDATES + 1)  # one may be the query itself
            if crowded.size:
                best = np.argpartition(-alike[crowded], MAX_CANDIDATES, axis=1)[:, : MAX_CANDIDATES + 1]
                hits[crowded] = False
                hits[crowded[:, None], best] = True
            query, member = np.nonzero(hits)
            window = alike_VQM[:, query, member].argmax(axis=0).astype(np.int8)
            yield those[query], members[member], alike[query, member], window


def _nearest(pairs: _Pairs) -> _Pairs:
    """Return of each query the likeliest members, each once."""
    order = np.lexsort((pairs.variant, -pairs.likeness, pairs.member, pairs.query))
    query, member = pairs.query[order], pairs.member[order]
    new = np.ones(len(order), bool)
    new[1:] = (query[1:] != query[:-1]) | (member[1:] != member[:-1])
    order = order[new]
    order = order[np.lexsort((pairs.member[order], -pairs.likeness[order], pairs.query[order]))]
    query = pairs.query[order]
    rank = np.arange(len(order)) - np.searchsorted(query, query)
    return _taken(pairs, order[rank < MAX_CANDIDATES])


def _verify(
    pairs: _Pairs, here: tuple[Hashes, Rows], there: tuple[Hashes, Rows], *, offset: int, likeness: float
) -> _Pairs:
    """Return the pairs that stand up to registration, likeliest first, without those that others link already.

    Numbers below `offset` are pictures of `here`, from it on of `there`; 0: all are of `here`.
    """
    low, high = np.minimum(pairs.query, pairs.member), np.maximum(pairs.query, pairs.member)
    order = np.lexsort((pairs.variant, pairs.query, -pairs.likeness, high, low))
    new = np.ones(len(order), bool)
    new[1:] = (low[order][1:] != low[order][:-1]) | (high[order][1:] != high[order][:-1])
    order = order[new]  # the same pair from both sides: the likelier
    order = order[np.lexsort((high[order], low[order], -pairs.likeness[order]))]
    num_pictures = offset + len(there[1]) if offset else len(here[1])

    def picture(numbers: Rows) -> Floats:
        if not offset:
            return here[0][here[1][numbers]].astype(np.float32)
        ours = numbers < offset
        found = np.empty((len(numbers), SIDE, SIDE), np.float32)
        found[ours] = here[0][here[1][numbers[ours]]]
        found[~ours] = there[0][there[1][numbers[~ours] - offset]]
        return found

    kept: list[_Pairs] = []
    cluster = np.arange(num_pictures)
    start, size = 0, _BATCHES[0]
    while start < len(order):
        batch = _taken(pairs, order[start : start + size])
        start, size = start + size, min(2 * size, _BATCHES[1])
        batch = _taken(batch, np.flatnonzero(cluster[batch.query] != cluster[batch.member]))
        values = np.zeros(len(batch.query), np.float32)
        for some in _slices(len(values)):
            moving, still = picture(batch.query[some]), picture(batch.member[some])
            mirrored = batch.variant[some] % 2 == 1
            moving[mirrored] = moving[mirrored, :, ::-1]
            values[some] = _registered(moving, still, np.array(WINDOWS, np.float32)[batch.variant[some] // 2])
        passed = np.flatnonzero(values >= likeness)
        if passed.size:
            kept.append(_Pairs(batch.query[passed], batch.member[passed], values[passed], batch.variant[passed]))
            links = _joined(kept)
            cluster = components(links.query, links.member, num_pictures)
    return _joined(kept)


def _registered(moving_NHW: Floats, still_NHW: Floats, margins_N4: Floats) -> Floats:
    """Return (N,) the best correlation of a window of one picture with the other, Gauss-Newton from `margins_N4` on.

    Minimises |f(margins) - g|^2, f and g the weighted fine frequencies at length 1, so it maximises f g. The derivative
    is numerical; the normal equations are damped a little (Levenberg 1944), as a plain picture may not say where it is.
    """
    step = np.float32(0.01)
    target = _fine(still_NHW, np.zeros_like(margins_N4))
    best = np.full(len(moving_NHW), -1, np.float32)
    margins = margins_N4
    for turn in range(_STEPS + 1):
        seen = _fine(moving_NHW, margins)
        best = np.maximum(best, np.einsum("nk,nk->n", seen, target))
        if turn == _STEPS:
            break
        moves = step * np.eye(4, dtype=np.float32)
        slope = np.stack([(_fine(moving_NHW, margins + move) - seen) / step for move in moves], axis=1)
        normal = slope @ slope.transpose(0, 2, 1)
        damping = 1e-3 * np.trace(normal, axis1=1, axis2=2) + 1e-6
        normal += damping[:, None, None] * np.eye(4, dtype=np.float32)
        change = np.linalg.solve(normal, slope @ (target - seen)[:, :, None])[:, :, 0]
        margins = np.clip(margins + np.clip(change, -0.04, 0.04), *_MARGINS).astype(np.float32)
    return best


def _fine(pictures_NHW: Floats, margins_N4: Floats) -> Floats:
    """Return (N, K) the fine frequencies of a window of each picture, weighted, at length 1."""
    weights, wanted = _weights(FINE)
    across, down = _resampled(margins_N4[:, 0], margins_N4[:, 1]), _resampled(margins_N4[:, 2], margins_N4[:, 3])
    found = (_cosines(FINE) @ down) @ pictures_NHW @ (_cosines(FINE) @ across).transpose(0, 2, 1)
    return _of_length_1(found[:, wanted] * weights)


def _describe(
    hashes: Hashes, rows: Rows, *, window: tuple[float, float, float, float] = WINDOWS[0], mirrored: bool = False
) -> Floats:
    """Return (rows, D) the coarse frequencies of a window of the pictures, weighted, at length 1."""
    weights, wanted = _weights(COARSE)
    margins = np.array([window], np.float32)
    across = (_cosines(COARSE) @ _resampled(margins[:, 0], margins[:, 1]))[0]
    down = (_cosines(COARSE) @ _resampled(margins[:, 2], margins[:, 3]))[0]
    vectors = np.empty((len(rows), len(weights)), np.float32)
    for part in _slices(len(rows)):
        pictures = hashes[rows[part]].astype(np.float32)
        pictures = pictures[:, :, ::-1] if mirrored else pictures
        vectors[part] = _of_length_1((down @ pictures @ across.T)[:, wanted] * weights)
    return vectors


def _resampled(before: Floats, after: Floats) -> Floats:
    """Return (N, 32, 32) matrices that stretch a line without its margins to 32 values, by straight lines between."""
    places = np.arange(SIDE, dtype=np.float32)
    at = (places + 0.5) * (1 - before - after)[:, None] + before[:, None] * SIDE - 0.5
    matrices: Floats = np.maximum(0, 1 - np.abs(np.clip(at, 0, SIDE - 1)[:, :, None] - places)).astype(np.float32)
    return matrices


@lru_cache(maxsize=2)
def _cosines(count: int) -> Floats:
    """Return (count, 32): the first vectors of the orthonormal DCT-II (Ahmed, Natarajan & Rao 1974)."""
    angles = np.pi * (np.arange(SIDE) + 0.5) * np.arange(count)[:, None] / SIDE
    scale = np.where(np.arange(count) == 0, 1, np.sqrt(2))[:, None] / np.sqrt(SIDE)
    vectors: Floats = (np.cos(angles) * scale).astype(np.float32)
    return vectors


@lru_cache(maxsize=2)
def _weights(count: int) -> tuple[Floats, Bools]:
    """Return the weights f exp(-2 f^2 / count^2) of frequencies 0 < f <= count, and (count, count) where they are."""
    squares = np.arange(count)[:, None] ** 2 + np.arange(count)[None, :] ** 2
    wanted = (squares > 0) & (squares <= count**2)
    return (np.sqrt(squares) * np.exp(-2 * squares / count**2))[wanted].astype(np.float32), wanted


def _of_length_1(vectors: Floats) -> Floats:
    scaled: Floats = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6))
    return scaled


def _slices(length: int, size: int = _SLICE) -> Iterator[slice]:
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def _taken(pairs: _Pairs, at: Rows) -> _Pairs:
    return _Pairs(pairs.query[at], pairs.member[at], pairs.likeness[at], pairs.variant[at])


def _joined(parts: list[_Pairs]) -> _Pairs:
    empty = _Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int8))
    parts = [empty, *parts]
    return _Pairs(
        query=np.concatenate([part.query for part in parts]),
        member=np.concatenate([part.member for part in parts]),
        likeness=np.concatenate([part.likeness for part in parts]),
        variant=np.concatenate([part.variant for part in parts]),
    )
