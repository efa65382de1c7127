"""A folder tree becomes a Manifest: class folders, with split folders above them or without."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR

import numpy as np

from veriscope.data.decode import IMAGE_SUFFIXES
from veriscope.data.manifest import Manifest
from veriscope.data.names import USUAL_CLASSES, class_table, is_generator, split_table
from veriscope.errors import DataError, nearest
from veriscope.types import CLASS_NAMES, REAL, ClassName, Split

LOG = logging.getLogger(__name__)

_SOME_SUFFIXES = ", ".join(sorted(IMAGE_SUFFIXES)[:5])
_REAL_SOUNDS = ("real", "nature", "original", "authentic", "genuine", "camera")
_HIDDEN = ("__macosx", "thumbs.db", "desktop.ini", "align.json", "manifest.csv")  # the last two: veriscope align's


@dataclass(slots=True)
class _Rows:
    """What a scan collects, one entry a file in every list; `met`: casefolded names where classes were expected."""

    paths: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    generators: list[str | None] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    seen: dict[tuple[int, int], tuple[Path, str]] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What folder names mean in this scan."""

    root: Path
    classes: dict[str, int]
    splits: dict[str, Split]
    class_map: Mapping[str, str]


def scan_folder(
    root: Path,
    *,
    class_map: Mapping[str, ClassName] | None = None,
    splits: Mapping[str, Split] | None = None,
    both_classes: bool = True,
) -> Manifest:
    """Return the manifest of the layout root/[split/]class/any/depth/picture.

    Names are read in any letter case (data.names); `class_map` and `splits` add to them and win. A folder of
    `class_map` that is no usual class word becomes the generator of its pictures; below a usual fake folder the first
    sub-folder does. Links are followed, each real folder once, so a circle ends. Files are pictures by extension;
    others are counted in a log line. Broken links and files without permission stay, with size 0: loading counts them.
    `both_classes=False` allows data of one class, which can be evaluated but not trained on.

    Raises:
        DataError: the root or a folder can't be read, holds no class folder or an unknown one with pictures, a class
            is missing or empty, or split folders stand below class folders.

    """
    root = Path(root)
    if not root.exists():
        raise DataError(f"data.root '{root}' does not exist.{_near_folder(root)}")
    if not root.is_dir():
        raise DataError(f"data.root '{root}' is a file, not a folder; a CSV or Parquet list goes into data=manifest.")
    rules = _Rules(root, class_table(class_map or {}), split_table(splits or {}), class_map or {})
    rows = _Rows()
    folders, loose = _list(root, rows, meaning="")
    in_splits = [name for name in folders if name.casefold() in rules.splits and name.casefold() not in rules.classes]
    if in_splits:
        others = [name for name in folders if name not in in_splits and _holds_pictures(root / name)]
        if others:
            raise DataError(
                f"data.root '{root}' holds the split folders {in_splits} beside {others}. Name what the others are: "
                f"data.splits={{{others[0]}: test}}, or move them away."
            )
        for name in in_splits:
            inner, inner_loose = _list(root / name, rows, meaning="")
            loose += inner_loose
            split = rules.splits[name.casefold()]
            _scan_classes(name, inner, len(inner_loose), split, rules, rows, both_classes=both_classes)
    else:
        _scan_classes("", folders, len(loose), None, rules, rows, both_classes=both_classes)
    _report(root, rows.ignored, len(loose))
    _check_classes(rules, rows, both_classes=both_classes)
    return Manifest.from_columns(
        rows.paths,
        root=root,
        labels=np.array(rows.labels, dtype=np.int8),
        size_bytes=np.array(rows.sizes, dtype=np.int64),
        splits=rows.splits,
        generators=rows.generators,
    )


def _check_classes(rules: _Rules, rows: _Rows, *, both_classes: bool) -> None:
    """Say which names of the class map were not met, and refuse what holds no picture, or of one class only."""
    unmet = [name for name in rules.class_map if name.casefold() not in rows.met]
    if unmet:
        LOG.warning("'%s': data.class_map names %s, but no class folder is called so", rules.root, ", ".join(unmet))
    counts = Counter(rows.labels)
    if not counts:
        raise DataError(f"data.root '{rules.root}' holds no picture; expected files as {_SOME_SUFFIXES}, ...")
    if both_classes and len(counts) == 1:
        found, missing = CLASS_NAMES[next(iter(counts))], CLASS_NAMES[1 - next(iter(counts))]
        raise DataError(
            f"data.root '{rules.root}' holds only the class {found}; training needs pictures of {missing} too."
        )


def _scan_classes(
    parent: str,
    folders: list[str],
    num_loose: int,
    split: Split | None,
    rules: _Rules,
    rows: _Rows,
    *,
    both_classes: bool,
) -> None:
    """Add the class folders below root/parent, which holds `folders` and `num_loose` pictures of no class."""
    here = rules.root / parent
    rows.met.update(name.casefold() for name in folders)
    known = [name for name in folders if name.casefold() in rules.classes]
    strange = [name for name in folders if name not in known and _holds_pictures(here / name)]
    if strange or not known:
        raise DataError(_unknown_text(here, rules, folders, strange, num_loose=num_loose))
    for name in known:
        before = len(rows.paths)
        label = rules.classes[name.casefold()]
        generator = name if is_generator(name, rules.class_map, label) else None
        _scan_files(f"{parent}/{name}" if parent else name, label, split, generator, rules, rows)
        if len(rows.paths) == before:
            text = f"'{here / name}' is the {CLASS_NAMES[label]} class and holds no picture"
            if both_classes:
                raise DataError(f"{text}; expected files as {_SOME_SUFFIXES}, ...")
            LOG.warning("%s", text)


def _scan_files(top: str, label: int, split: Split | None, generator: str | None, rules: _Rules, rows: _Rows) -> None:
    """Add every picture below root/top. Iterative: a deep tree must not meet Python's recursion limit."""
    meaning = CLASS_NAMES[label] if split is None else f"{CLASS_NAMES[label]} in {split}"
    waiting = [(top, generator)]
    while waiting:
        folder, made_by = waiting.pop()
        subfolders, pictures = _list(rules.root / folder, rows, meaning=meaning)
        for name in reversed(subfolders):
            if folder == top:
                _refuse_confusing(rules.root / folder, name, label, rules)
            first_below_fake = folder == top and generator is None and label == 1
            inner = name if first_below_fake and name.casefold() not in USUAL_CLASSES else made_by
            waiting.append((f"{folder}/{name}", inner))
        for name, size in pictures:
            rows.paths.append(f"{folder}/{name}")
            rows.labels.append(label)
            rows.splits.append(None if split is None else split.value)
            rows.generators.append(made_by)
            rows.sizes.append(size)


def _refuse_confusing(class_folder: Path, name: str, label: int, rules: _Rules) -> None:
    key = name.casefold()
    if key in rules.splits and key not in rules.classes:
        raise DataError(
            f"'{class_folder / name}' is a split folder below a class folder; expected the split above the class: "
            f"'{rules.root / name / class_folder.name}'."
        )
    if rules.classes.get(key, label) != label:
        raise DataError(
            f"'{class_folder / name}' is a {CLASS_NAMES[1 - label]} folder inside a {CLASS_NAMES[label]} one; "
            f"move it out, or say what it is: 'data.class_map={{{name}: {CLASS_NAMES[label]}}}'."
        )


def _list(folder: Path, rows: _Rows, *, meaning: str) -> tuple[list[str], list[tuple[str, int]]]:
    """Return sorted sub-folders and (picture, bytes) of a folder; a real folder met before gives nothing.

    `meaning` is what its pictures are, empty above the classes. The same folder under two meanings is refused: which
    of them counted would go by the alphabet.
    """
    folders, pictures = [], []
    try:
        stat = folder.stat()
        known_as, meant = rows.seen.setdefault((stat.st_dev, stat.st_ino), (folder, meaning))
        if meant not in ("", meaning):
            raise DataError(
                f"'{known_as}' and '{folder}' are one folder by a link, but not one thing: {meant}, and "
                f"{meaning or 'a folder of classes'}. Remove the link that is wrong."
            )
        if known_as != folder:
            LOG.warning("'%s' is left out: it is the folder '%s' again (a link)", folder, known_as)
            return [], []
        for name, is_folder, size in _entries(folder):
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path a file doubles the time of a scan
            if is_folder:
                folders.append(name)
            elif suffix in IMAGE_SUFFIXES:
                pictures.append((name, size))
            else:
                rows.ignored[suffix or "without extension"] += 1
    except PermissionError:
        raise DataError(
            f"no permission to read the folder '{folder}'; grant it (chmod a+rx) or move it away."
        ) from None
    return sorted(folders), sorted(pictures)


def _entries(folder: Path) -> Iterator[tuple[str, bool, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _HIDDEN:
                continue
            try:
                stat = entry.stat()  # follows links
                yield entry.name, S_ISDIR(stat.st_mode), stat.st_size
            except OSError as error:  # a broken link, or one that runs in a circle
                if isinstance(error, PermissionError) and not entry.is_symlink():
                    raise  # the folder may be listed but not entered: nothing below it can be told apart
                yield entry.name, False, 0


def _holds_pictures(folder: Path) -> bool:
    """Return whether a picture lies below `folder`; looks at 10,000 names at most."""
    looked = 0
    for _, _, names in os.walk(folder):
        for name in names:
            looked += 1
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
                return True
        if looked > 10_000:
            return False
    return False


def _unknown_text(here: Path, rules: _Rules, folders: list[str], strange: list[str], *, num_loose: int) -> str:
    """Return the error for a level where classes were expected."""
    start = f"data.root '{here}'"
    if not folders:
        what = f"{num_loose} pictures but no class folder" if num_loose else "no folder and no picture"
        return f"{start} holds {what}; expected the folders real and fake, or train/real, train/fake, ..."
    inner = [name for name in folders if here == rules.root and _holds_classes(here / name, rules)]
    if inner and not any(name.casefold() in rules.classes for name in folders):
        what = f"only the folder '{inner[0]}'" if len(folders) == 1 else f"the data sets {inner}"
        return f"{start} holds {what}. Did you mean data.root={here / inner[0]}?"
    unknown = strange or folders
    hint = nearest(unknown[0].casefold(), {*CLASS_NAMES, *(name.casefold() for name in rules.class_map)})
    near = f" {hint}" if hint.startswith("Did") else ""
    example = ", ".join(f"{name}: {meaning}" for name, meaning in _example_map(unknown, folders, rules).items())
    return (
        f"{start} holds the classes {sorted(folders)}; expected real and fake.{near} "
        f"Name them, as 'data.class_map={{{example}}}' (the quotes are for the shell)."
    )


def _holds_classes(folder: Path, rules: _Rules) -> bool:
    try:
        names = {entry.name.casefold() for entry in folder.iterdir() if entry.is_dir()}
    except OSError:
        return False
    return bool(names & (rules.classes.keys() | rules.splits.keys()))


def _example_map(unknown: list[str], folders: list[str], rules: _Rules) -> dict[str, str]:
    """Return a class_map that would work: where a real folder is there, the others are likely the fakes."""
    example = dict.fromkeys(unknown[:8], "fake")
    if any(rules.classes.get(name.casefold()) == REAL for name in folders):
        return example
    sounding_real = [name for name in example if nearest(name.casefold(), _REAL_SOUNDS).startswith("Did")]
    return example | dict.fromkeys(sounding_real or unknown[:1], "real")


def _near_folder(root: Path) -> str:
    parent = root.parent
    if not parent.is_dir():
        return f" Nor does '{parent}'. Say where data sets lie: paths.data=DIR (or the variable VERISCOPE_DATA)."
    names = [entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    near = nearest(root.name, names) if names else ""
    return f" {near}" if near.startswith("Did you mean") else f" '{parent}' holds no such folder."


def _report(root: Path, ignored: Counter[str], num_loose: int) -> None:
    if num_loose:
        LOG.warning("'%s': %d pictures lie outside the class folders and are left out", root, num_loose)
    if ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common(5))
        LOG.warning("'%s': %d files are no pictures and are left out (%s)", root, ignored.total(), kinds)
