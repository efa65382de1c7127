"""What is to be done to each picture so that format, size and JPEG history tell nothing about its class."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.audit.align_facts import NO_JPEG, HeaderFacts
from veriscope.augment.corruptions import LONGEST_JPEG_PX
from veriscope.errors import ConfigError, DataError

SizeKind = Literal["keep", "crop", "resize"]
Numbers = npt.NDArray[np.int64]

GRID_PX = 16  # of a 4:2:0 JPEG's blocks: 8 x 8 samples of chroma
PLAIN_QUALITY = 95  # of the last encoding where the data hold no JPEG to take one from
_STEP_PX = 8
_TOO_SMALL_SHARE = 0.02  # of a generator's pictures may be left out as too small
_SHRUNK_TO = 7 / 8  # so that each picture of both classes is resampled, and none enlarged
_CROP_KEEPS = 0.5  # of the shorter side; below it a crop shows another kind of thing


class SizePolicy(NamedTuple):
    """keep: every picture as it is. crop: its central `side_px` square at native pixels. resize: its whole central
    square, scaled. A picture with a shorter side than `side_px` is left out: enlarging leaves traces of its own."""

    kind: SizeKind
    side_px: int

    def __str__(self) -> str:
        return self.kind if self.kind == "keep" else f"{self.kind}:{self.side_px}"


class Treatment(NamedTuple):
    """What is done to one picture, in this order; None: not done.

    `history`: it is packed as JPEG of this quality, the past that it lacks. Then the size policy. `final`: the quality
    that it is stored with; None: as PNG.
    """

    history: int | None
    size: SizePolicy
    final: int | None


@dataclass(frozen=True, slots=True)
class AlignPlan:
    """The treatments of all pictures, in row order; None where `left_out` (row to reason) says why there is none.

    `past` is the quality of each picture's last compression after its history was brought in line, NO_JPEG for none.
    """

    size: SizePolicy
    format: Literal["jpeg", "png"]
    treatments: tuple[Treatment | None, ...]
    past: Numbers
    left_out: dict[int, str]

    @property
    def rows(self) -> list[int]:
        """The rows that have a treatment."""
        return [row for row, treatment in enumerate(self.treatments) if treatment is not None]

    def qualities(self) -> Counter[int]:
        """Return how many pictures are stored with which quality; empty for PNG."""
        return Counter(one.final for one in self.treatments if one is not None and one.final is not None)


def parse_size(text: str) -> tuple[SizeKind | Literal["auto"], int | None]:
    """Return kind and side of `auto`, `keep`, `crop`, `crop:256`, `resize`, `resize:256`; None: the data decide.

    Raises:
        ConfigError: anything else.

    """
    found = re.fullmatch(r"(auto|keep)|(crop|resize)(?::([1-9]\d{0,4}))?", text.strip().lower())
    if found is None or (found[3] and not 8 <= int(found[3]) <= LONGEST_JPEG_PX):
        raise ConfigError(f"--size {text}: take auto, keep, crop, resize, crop:N or resize:N with N of 8 px or more.")
    return found[1] or found[2], int(found[3]) if found[3] else None  # type: ignore[return-value]


def plan_alignment(
    facts: Sequence[HeaderFacts | str],
    *,
    names: Sequence[str],
    strata: Sequence[str],
    size: str = "auto",
    file_format: Literal["auto", "jpeg", "png"] = "auto",
    quality: int | None = None,
    seed: int = 42,
) -> AlignPlan:
    """Return the plan for these pictures.

    Args:
        facts: what the headers say; a text: why a file can't be read.
        names: the pictures' paths, which break ties between equal qualities.
        strata: what must come out alike: the class, and of fakes the generator.
        size: as `parse_size` reads it. auto keeps where all pictures have one size, else crops where the median picture
            of every stratum keeps half of its shorter side or more, else resizes.
        file_format: auto is jpeg where the data hold one.
        quality: of the last encoding, and the best history that a picture may have; None: matched (see match_history).
        seed: of ties and draws.

    Raises:
        ConfigError: an unknown size policy.
        DataError: nothing, or nothing of one stratum, is left.

    """
    readable = [row for row, fact in enumerate(facts) if isinstance(fact, HeaderFacts)]
    known = {row: fact for row, fact in enumerate(facts) if isinstance(fact, HeaderFacts)}
    left_out = {row: fact for row, fact in enumerate(facts) if isinstance(fact, str)}
    if not readable:
        raise DataError("none of the pictures can be read; there is nothing to align.")
    policy = choose_size(size, [known[row] for row in readable], [strata[row] for row in readable])
    for row, fact in known.items():
        if policy.kind != "keep" and fact.shorter_px < policy.side_px:
            left_out[row] = f"shorter side {fact.shorter_px} px, below the common {policy.side_px}"
        elif max(fact.width_px, fact.height_px) > LONGEST_JPEG_PX:
            left_out[row] = f"longer than the {LONGEST_JPEG_PX} px that a JPEG holds"
    rows = [row for row in readable if row not in left_out]
    for stratum in dict.fromkeys(strata):
        if all(strata[row] != stratum for row in rows):
            raise DataError(f"no picture of '{stratum}' would be left under --size {policy}. Take a smaller size.")
    keys = np.array([_key(names[row], seed) for row in rows], dtype=np.uint64)
    own = np.array([known[row].quality for row in rows], dtype=np.int64)
    past = match_history(own, strata=[strata[row] for row in rows], keys=keys)
    if quality is not None:
        past = np.minimum(own, quality)
    # One chroma resolution for everybody, too: a 4:2:0 past where any picture has one.
    halved = any(known[row].subsampling == "4:2:0" for row in rows)
    finer = np.array([halved and known[row].subsampling != "4:2:0" for row in rows])
    packed = (past < own) | (finer & (past < NO_JPEG))
    form = file_format if file_format != "auto" else "jpeg" if (own < NO_JPEG).any() else "png"
    finals = np.full(len(rows), quality) if quality is not None else _finals(past, keys)
    treatments: list[Treatment | None] = [None] * len(facts)
    everywhere = np.full(len(facts), NO_JPEG, dtype=np.int64)
    for place, row in enumerate(rows):
        history = int(past[place]) if packed[place] else None
        treatments[row] = Treatment(history, policy, int(finals[place]) if form == "jpeg" else None)
        everywhere[row] = past[place]
    return AlignPlan(policy, form, tuple(treatments), everywhere, dict(sorted(left_out.items())))


def match_history(quality: npt.NDArray[Any], *, strata: Sequence[str], keys: npt.NDArray[Any]) -> Numbers:
    """Return for each picture the JPEG quality that its past should have: never above its own, and distributed the same
    way in every stratum.

    A compression can't be undone, so all are brought to the coarsest: at each share of pictures, ordered by quality,
    the lowest quality that any stratum has there (the pointwise least of the quantile functions). `quality` is NO_JPEG
    for a picture without a past. `keys` orders equals.
    """
    named = np.array(strata, dtype=object)
    result = np.asarray(quality, dtype=np.int64).copy()
    members = {name: np.flatnonzero(named == name) for name in sorted(set(strata))}
    ordered = {name: rows[np.lexsort((keys[rows], result[rows]))] for name, rows in members.items()}
    curves = {name: result[rows] for name, rows in ordered.items()}
    for rows in ordered.values():
        # In whole numbers: 2 i + 1 of 2 n, so that a stratum meets its own curve exactly.
        places = 2 * np.arange(len(rows), dtype=np.int64) + 1
        found = [curve[places * len(curve) // (2 * len(rows))] for curve in curves.values()]
        result[rows] = np.min(found, axis=0)
    return result


def choose_size(text: str, facts: Sequence[HeaderFacts], strata: Sequence[str]) -> SizePolicy:
    """Return the size policy that `text` names, its side taken from the pictures where `text` has none.

    The side is the largest multiple of 8 that leaves at most 2 in 100 pictures of any stratum too small; of resize 7/8
    of it, so that every picture of both classes is shrunk.

    Raises:
        ConfigError: an unknown policy.
        DataError: the pictures are too small for one.

    """
    kind, side = parse_size(text)
    if kind == "keep" or (kind == "auto" and len({(fact.width_px, fact.height_px) for fact in facts}) == 1):
        return SizePolicy("keep", 0)
    if side is not None:
        return SizePolicy("crop" if kind == "crop" else "resize", side)
    shorter = np.array([fact.shorter_px for fact in facts])
    named = np.array(strata, dtype=object)
    parts = [shorter[named == name] for name in sorted(set(strata))]
    least = min(int(np.quantile(part, _TOO_SMALL_SHARE, method="lower")) for part in parts)
    kept = min(least / float(np.median(part)) for part in parts)
    crops = kind == "crop" or (kind == "auto" and kept >= _CROP_KEEPS)
    common = int(least if crops else least * _SHRUNK_TO) // _STEP_PX * _STEP_PX
    if common < _STEP_PX:
        raise DataError(f"the smallest pictures have {least} px; name a size, as --size crop:128, to leave them out")
    return SizePolicy("crop" if crops else "resize", common)


def _finals(past: Numbers, keys: npt.NDArray[np.uint64]) -> Numbers:
    """Return the quality of each picture's last encoding: that of its past once more, which changes it least.

    A picture without a past draws one among those of the others, by its key.
    """
    pool = np.sort(past[past < NO_JPEG])
    if not len(pool):
        return np.full(len(past), PLAIN_QUALITY, dtype=np.int64)
    drawn = pool[(keys % np.uint64(len(pool))).astype(np.int64)]
    return np.where(past < NO_JPEG, past, drawn)


def _key(name: str, seed: int) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8, salt=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little")
