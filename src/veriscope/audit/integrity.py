"""Whether files and counts are sound: what can't be read, what is read with a loss, who is rare."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from veriscope.audit.check import MEND_FILES, Check, status_of
from veriscope.config.audit import IntegrityConfig
from veriscope.data.manifest import Manifest
from veriscope.evaluation.intervals import wilson
from veriscope.types import CLASS_NAMES, FAKE, REAL

MAX_EXAMPLES = 5
Mask = npt.NDArray[np.bool_]

_SUFFIXES = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"),
    "PNG": ("png",),
    "WEBP": ("webp",),
    "GIF": ("gif",),
    "BMP": ("bmp",),
    "TIFF": ("tif", "tiff"),
    "AVIF": ("avif",),
}
_MEND_MODES = (
    "take as many of each kind in both classes, or leave the rare kind out: grey pictures stay grey, however they are "
    "stored"
)
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


@dataclass(frozen=True, slots=True)
class Integrity:
    """What was found. `problems`: (path, reason) of every file that can't be read; the tables go by name, then by
    class: how many pictures have that format, that kind of colours, that size."""

    checks: tuple[Check, ...]
    problems: tuple[tuple[str, str], ...]
    counts: dict[str, dict[str, dict[str, int]]]

    def to_dict(self) -> dict[str, Any]:
        """Return the figures beside the checks, JSON-able."""
        return {"counts": self.counts, "problems": [{"path": path, "reason": text} for path, text in self.problems]}


def check_integrity(manifest: Manifest, table: pa.Table, *, config: IntegrityConfig) -> Integrity:
    """Return the checks of `integrity.*`; `table` is audit.inspection's of `manifest`."""
    problems = [(path, text) for path, text in _columns(table, "path", "problem") if text is not None]
    kinds = np.array([_colours(mode) for mode in table["mode"].to_pylist()], dtype=object)
    formats = np.array(table["format"].to_pylist(), dtype=object)
    labels = manifest.labels
    checks = (
        _unreadable(problems, table, labels, config=config),
        _gap_check("formats", "file format", formats, labels, table, config, mend=MEND_FILES),
        _gap_check("modes", "kind of colours", kinds, labels, table, config, mend=_MEND_MODES),
        _lossy(table),
        _sizes(table, config),
        _balance(manifest, config),
        _class_sizes(manifest, config),
    )
    sizes = [f"{w} x {h}" if w else None for w, h in _columns(table, "width_px", "height_px")]
    counts = {
        "splits": _by_class([word or "no split" for word in manifest.splits], labels),
        "generators": _by_class(manifest.generators, labels),
        "formats": _by_class(formats, labels),
        "colours": _by_class(kinds, labels),
        "sizes": _by_class(sizes, labels),
        "problems": _by_class(table["problem"].to_pylist(), labels),
    }
    return Integrity(checks, tuple(problems), {name: found for name, found in counts.items() if found})


def _unreadable(
    problems: Sequence[tuple[str, str]], table: pa.Table, labels: npt.NDArray[np.int8], *, config: IntegrityConfig
) -> Check:
    """Return whether all files can be read; what decides is the class that is worst off: it may be a small one."""
    name, num_files = "integrity.unreadable", len(labels)
    if not problems:
        return Check(name=name, status="pass", text=f"all {num_files:,} files can be read", value=0.0)
    bad = np.array(table["problem"].is_valid().to_numpy(), dtype=bool)
    shares = [float(bad[labels == label].mean()) if (labels == label).any() else 0.0 for label in (REAL, FAKE)]
    share = max(shares)
    of = "" if min(shares) == share or num_files in np.bincount(labels) else (
        " of the fakes" if share == shares[FAKE] else " of the real ones"
    )  # fmt: skip
    reasons = Counter(_general(text) for _, text in problems)
    listed = "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common(5))
    return Check(
        name=name,
        status="stop" if share >= config.stop_unreadable and share > 0 else "warn",
        text=f"{len(problems):,} of {num_files:,} files can't be read ({_percent(share)}{of}): {listed}",
        mend="bring sound copies of the files in unreadable.csv, or take them out of the data",
        value=share,
        stop_at=config.stop_unreadable,
        count=len(problems),
        examples=tuple(path for path, _ in problems[:MAX_EXAMPLES]),
    )


def _general(reason: str) -> str:
    """Return a reason without what differs from file to file."""
    for start in ("too large", "broken link", "damaged"):
        if reason.startswith(start):
            return start
    return reason


def _gap_check(
    name: str,
    what: str,
    words: npt.NDArray[np.object_],
    labels: npt.NDArray[np.int8],
    table: pa.Table,
    config: IntegrityConfig,
    *,
    mend: str,
) -> Check:
    """Return whether one class has a word far more often than the other."""
    counts = Counter(word for word in words if word is not None)
    told = _listed(counts)
    text = (f"{told}" if counts else f"no {what} is known") + (_misnamed(table) if name == "formats" else "")
    gaps = {word: _gap(words, labels, word) for word in counts}
    # Of two words alone both lie as far apart: the rarer one is what strikes.
    worst = max(gaps, key=lambda word: (round(gaps[word][0], 9), -counts[word]), default=None)
    gap = 0.0 if worst is None else gaps[worst][0]
    if worst is None or gap < config.warn_class_gap:
        return Check(name=f"integrity.{name}", status="pass", text=text, value=gap, warn_at=config.warn_class_gap)
    real, fake = gaps[worst][1:]
    rows = np.flatnonzero((words == worst) & (labels == (FAKE if fake > real else REAL)))
    return Check(
        name=f"integrity.{name}",
        status="warn",
        text=f"the {what} hints at the class: {_percent(real)} of the real pictures are {worst}, "
        f"{_percent(fake)} of the fakes ({told})",
        mend=mend,
        value=gap,
        warn_at=config.warn_class_gap,
        count=len(rows),
        examples=_paths(table, rows),
    )


def _gap(words: npt.NDArray[np.object_], labels: npt.NDArray[np.int8], word: str) -> tuple[float, float, float]:
    """Return how far apart the classes' shares of `word` are at least, and the shares of real and fake.

    The lower end of Newcombe's 95 % interval of a difference (Newcombe 1998, method 10): 1 picture of 10 is no gap.
    """
    known = np.array([one is not None for one in words], dtype=bool)
    shares, halves = [], []
    for label in (REAL, FAKE):
        own = known & (labels == label)
        hits, total = int(np.sum(words[own] == word)), int(own.sum())
        span = wilson(hits, total)
        if span is None:
            return 0.0, 0.0, 0.0
        shares.append(hits / total)
        halves.append((shares[-1] - span.low, span.high - shares[-1]))
    high = int(shares[1] > shares[0])
    lower = abs(shares[1] - shares[0]) - sqrt(halves[high][0] ** 2 + halves[1 - high][1] ** 2)
    return max(lower, 0.0), shares[REAL], shares[FAKE]


def _misnamed(table: pa.Table) -> str:
    """Return how many files are named as another format than they are; every reader here goes by what they are."""
    count = sum(
        kind is not None and path.rpartition(".")[2].lower() not in _SUFFIXES.get(kind, ())
        for path, kind in _columns(table, "path", "format")
    )
    return f"; {count:,} of them named otherwise" if count else ""


def _colours(mode: str | None) -> str | None:
    """Return the kind of colours of a PIL mode, in words."""
    if mode is None:
        return None
    if mode in _GREY:
        return "grey"
    if mode in ("P", "PA"):
        return "palette"
    return "CMYK" if mode == "CMYK" else "colour"


def _lossy(table: pa.Table) -> Check:
    """Return what is read with a loss: the decoder's answers to what a network can't be shown."""
    rules: tuple[tuple[str, str, Callable[[dict[str, Any]], bool]], ...] = (
        ("alpha", "have transparency, which is laid on white", lambda row: row["alpha"]),
        ("frames", "are animations or hold several pages, of which the first is taken", _has_frames),
        ("mode", "have 16 bits a sample, of which 8 are taken", lambda row: row["mode"].startswith("I")),
    )
    columns = [name for name, _, _ in rules]
    rows = [dict(zip([*columns, "format"], row, strict=True)) for row in _columns(table, *columns, "format")]
    found, concerned = [], np.zeros(len(rows), dtype=bool)
    for _, words, holds in rules:
        hits = np.array([row["mode"] is not None and holds(row) for row in rows], dtype=bool)
        concerned |= hits
        if hits.any():
            found.append(f"{int(hits.sum()):,} {words}")
    name = "integrity.lossy"
    if not found:
        return Check(name=name, status="pass", text="every picture is read as it is: no transparency, no animation")
    return Check(
        name=name,
        status="warn",
        text="; ".join(found),
        mend="see whether these pictures belong here; where the classes differ in it, a detector may learn that",
        count=int(concerned.sum()),
        examples=_paths(table, np.flatnonzero(concerned)),
    )


def _has_frames(row: dict[str, Any]) -> bool:
    return bool(row["frames"] > 1 and row["format"] != "JPEG")  # a phone's JPEG holds a preview


def _sizes(table: pa.Table, config: IntegrityConfig) -> Check:
    sides = np.array([pair for pair in _columns(table, "width_px", "height_px") if None not in pair], dtype=np.int64)
    name = "integrity.sizes"
    if not len(sides):
        return Check(name=name, status="pass", text="no size is known")
    number = len(np.unique(sides, axis=0))
    low, high = sides[np.argmin(sides.prod(axis=1))], sides[np.argmax(sides.prod(axis=1))]
    text = f"all {low[0]} x {low[1]} px" if number == 1 else (
        f"{number:,} sizes, from {low[0]} x {low[1]} to {high[0]} x {high[1]} px, "
        f"the median short side is {int(np.median(sides.min(axis=1)))} px"
    )  # fmt: skip
    shorter = [side is not None and min(side) < config.warn_side_px for side in _sides(table)]
    tiny = np.flatnonzero(np.array(shorter, dtype=bool))
    if not len(tiny):
        return Check(name=name, status="pass", text=text)
    return Check(
        name=name,
        status="warn",
        text=f"{len(tiny):,} pictures have a side below {config.warn_side_px} px, too little to judge by ({text})",
        mend="leave them out",
        count=len(tiny),
        examples=_paths(table, tiny),
    )


def _sides(table: pa.Table) -> list[tuple[int, int] | None]:
    return [None if width is None else (width, height) for width, height in _columns(table, "width_px", "height_px")]


def _balance(manifest: Manifest, config: IntegrityConfig) -> Check:
    """Return whether one class is much larger, in all or in the split where it is worst."""
    name = "integrity.balance"
    counts = manifest.class_counts()
    if min(counts.values()) == 0:
        only = "real pictures" if counts["real"] else "fakes"
        return Check(
            name=name,
            status="warn",
            text=f"there are only {only}: good for an evaluation, not for training; shortcuts can't be looked for",
            mend="add the other class",
        )
    parts = {"all": np.ones(len(manifest), dtype=bool), **_splits(manifest)}
    ratios = {part: _ratio(manifest.labels[rows]) for part, rows in parts.items()}
    worst = max(ratios, key=lambda part: ratios[part])
    status = status_of(ratios[worst], warn_at=config.warn_imbalance, stop_at=None)
    text = f"{counts['real']:,} real and {counts['fake']:,} fake"
    if status == "warn":
        where = "" if worst == "all" else f" in {worst}"
        text = f"{ratios[worst]:.1f} pictures of one class for one of the other{where} ({text} in all)"
    return Check(
        name=name,
        status=status,
        text=text,
        mend="loss.class_weight=balanced, or more of the rare class" if status == "warn" else None,
        value=ratios[worst],
        warn_at=config.warn_imbalance,
    )


def _ratio(labels: npt.NDArray[np.int8]) -> float:
    fake = int(labels.sum())
    return max(fake, len(labels) - fake) / max(min(fake, len(labels) - fake), 1)


def _class_sizes(manifest: Manifest, config: IntegrityConfig) -> Check:
    """Return which class of a split, or which generator, has too few pictures to say much about."""
    labels, generators = manifest.labels, manifest.generators
    sizes: dict[str, int] = {}
    for split, rows in (_splits(manifest) or {"": np.ones(len(manifest), dtype=bool)}).items():
        for label in (REAL, FAKE):
            if (labels == label).any():
                sizes[" ".join(filter(None, (split, CLASS_NAMES[label])))] = int((labels[rows] == label).sum())
    sizes |= {f"generator {name}": count for name, count in Counter(generators[labels == FAKE]).items() if name}
    small = {part: size for part, size in sizes.items() if size < config.warn_class_size}
    least = min(sizes.values(), default=0)
    name = "integrity.class_size"
    if not small:
        text = f"every class, split and generator has {least:,} pictures or more"
        return Check(name=name, status="pass", text=text, value=float(least))
    few = ", ".join(f"{part} {size:,}" for part, size in sorted(small.items(), key=lambda item: item[1])[:6])
    return Check(
        name=name,
        status="warn",
        text=f"fewer than {config.warn_class_size} pictures: {few}{', ...' if len(small) > 6 else ''}",
        mend="figures on so few pictures have wide intervals; add more, or join parts",
        value=float(least),
        count=sum(small.values()),
    )


def _splits(manifest: Manifest) -> dict[str, Mask]:
    words = manifest.splits
    return {str(word): words == word for word in ("train", "val", "test") if (words == word).any()}


def _by_class(
    words: Sequence[str | None] | npt.NDArray[np.object_], labels: npt.NDArray[np.int8]
) -> dict[str, dict[str, int]]:
    """Return word to class to count, the most frequent word first; rows without a word are left out."""
    counts = Counter(
        (str(word), CLASS_NAMES[label]) for word, label in zip(words, labels, strict=True) if word is not None
    )
    totals = Counter[str]()
    for (word, _), count in counts.items():
        totals[word] += count
    return {word: {name: counts[word, name] for name in CLASS_NAMES} for word, _ in totals.most_common()}


def _listed(counts: Counter[str]) -> str:
    shown = ", ".join(f"{word} {count:,}" for word, count in counts.most_common(6))
    return shown + (", ..." if len(counts) > 6 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _columns(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def _paths(table: pa.Table, rows: npt.NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(str(path) for path in table["path"].take(pa.array(rows[:MAX_EXAMPLES])).to_pylist())
