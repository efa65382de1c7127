"""The folder that receives an aligned data set: names that nothing can lead astray, and a record to go on from."""

import csv
import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from veriscope.data.manifest import Manifest
from veriscope.data.names import USUAL_CLASSES, USUAL_SPLITS
from veriscope.errors import DataError, RunError
from veriscope.files import safe_cell, whole_or_not_at_all, write_text
from veriscope.types import CLASS_NAMES, FAKE, Split

MANIFEST_FILE = "manifest.csv"
ALIGN_FILE = "align.json"
_WORK = ".align"  # hidden: a scan passes over it
_LONGEST_NAME = 80


class Done(NamedTuple):
    """A picture that was dealt with. `problem` says why there is none at `out`; else its size and its source's hash."""

    row: int
    size_bytes: int = 0
    source_sha256: str = ""
    converted: bool = False
    problem: str = ""


def out_paths(manifest: Manifest, *, suffix: str) -> list[str]:
    """Return where each row's picture goes, posix, relative to the folder: [split/]class/[generator/]name.suffix.

    Names keep what is harmless of the old ones; where two would meet, or a name was changed, each gets a hash of its
    source's path. Where only some rows name a split, the others go to train, as every cut of the data takes them.
    """
    sources = manifest.table["path"].to_pylist()
    wanted = []
    for path, label, split, generator in zip(
        sources, manifest.labels.tolist(), splits_of(manifest), manifest.generators.tolist(), strict=True
    ):
        parts = [CLASS_NAMES[label]] if split is None else [split, CLASS_NAMES[label]]
        parts += [folder_name(str(generator))] if label == FAKE and generator is not None else []
        wanted.append(("/".join(parts), *_stem(path)))
    # Letter case doesn't count: the folder may be carried to a disk that doesn't see it.
    taken = Counter(f"{folder}/{stem}".casefold() for folder, stem, _ in wanted)
    result = []
    for path, (folder, stem, whole) in zip(sources, wanted, strict=True):
        alone = whole and taken[f"{folder}/{stem}".casefold()] == 1
        result.append(f"{folder}/{stem if alone else f'{stem}-{_short_hash(path)}'}{suffix}")
    return result


def splits_of(manifest: Manifest) -> list[str | None]:
    """Return each row's split; train for those without one beside others that have one."""
    if not manifest.has_splits:
        return [None] * len(manifest)
    return [Split.TRAIN.value if split is None else str(split) for split in manifest.splits.tolist()]


def folder_name(name: str) -> str:
    """Return a folder's name for a generator: harmless, and no word that stands for a class or a split."""
    clean = _harmless(name)
    usual = clean.casefold() in USUAL_CLASSES or clean.casefold() in USUAL_SPLITS
    return clean if clean == name and not usual else f"{clean}-{_short_hash(name)}"


def _stem(path: str) -> tuple[str, bool]:
    """Return a file's harmless name without its ending, and whether that is all of the old one."""
    stem = os.path.splitext(path.rpartition("/")[2])[0]  # noqa: PTH122 - a Path a row is slow for a million
    clean = _harmless(stem)
    return clean, clean == stem


def _harmless(name: str) -> str:
    return re.sub(r"[^\w-]|^[_-]+", "_", re.sub(r"\.", "_", name))[:_LONGEST_NAME].lstrip("_-") or "x"


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=5).hexdigest()


class AlignFolder:
    """The folder in making. `key` is everything that decides what lies in it."""

    def __init__(self, path: Path, *, key: Mapping[str, Any], paths: Sequence[str]) -> None:
        """Adopt a folder that `open_folder` has prepared."""
        self.path = path
        self.paths = paths
        self._key = key
        self._record = path / _WORK / "done.jsonl"

    def load_done(self) -> dict[int, Done]:
        """Return the pictures that lie there from an earlier start, by row; what ended badly is tried again."""
        found: dict[int, Done] = {}
        if not self._record.is_file():
            return found
        for line in self._record.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                done = Done(**json.loads(line))
                lies_there = self._lies_there(done)
            except (ValueError, TypeError):  # cut off by kill -9, or hurt by a disk
                continue
            if not done.problem and lies_there:
                found[done.row] = done
        return found

    def _lies_there(self, done: Done) -> bool:
        try:
            entry = (self.path / self.paths[done.row]).lstat()
        except (OSError, IndexError):
            return False
        return done.row >= 0 and stat.S_ISREG(entry.st_mode) and entry.st_size == done.size_bytes

    def write(self, row: int, data: bytes) -> None:
        """Write one picture, whole or not at all; a link of its name is replaced, not followed."""
        with whole_or_not_at_all(self.path / self.paths[row]) as temporary:
            temporary.write_bytes(data)

    @contextmanager
    def recording(self) -> Iterator["Recorder"]:
        """Yield what notes each picture that was dealt with."""
        broken = self._record.is_file() and not self._record.read_bytes().endswith(b"\n")
        with self._record.open("a", encoding="utf-8") as lines:
            if broken:
                lines.write("\n")
            yield Recorder(lines)

    def finish(self, manifest: Manifest, done: Mapping[int, Done], *, summary: Mapping[str, Any]) -> None:
        """Write the list of files and, last of all, align.json; the record goes."""
        _write_manifest(self.path / MANIFEST_FILE, manifest, done, paths=self.paths)
        write_text(
            self.path / ALIGN_FILE,
            json.dumps({**summary, "key": dict(self._key)}, indent=2, ensure_ascii=False) + "\n",
        )
        for name in ("done.jsonl", "plan.json"):
            (self.path / _WORK / name).unlink(missing_ok=True)


class Recorder:
    """Notes pictures, one line each, behind the reach of kill -9."""

    def __init__(self, lines: Any) -> None:
        """Adopt an open text file."""
        self._lines = lines

    def note(self, done: Done) -> None:
        """Write one line."""
        self._lines.write(json.dumps(done._asdict()) + "\n")
        self._lines.flush()


@contextmanager
def open_folder(
    path: Path, *, key: Mapping[str, Any], paths: Sequence[str], rows: Sequence[int]
) -> Iterator[AlignFolder]:
    """Yield the folder, new or begun with the same `key`, locked against a second process, with the sub-folders that
    the pictures `rows` need.

    Raises:
        DataError: it holds something else, or leads elsewhere by a link.
        RunError: another process writes there.

    """
    refuse_other(path, key=key)
    (path / _WORK).mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / _WORK / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(f"another process aligns into '{path}'; wait for it, or name another folder.") from None
    try:
        folders = _folders(path, [paths[row] for row in rows])
        _make_folders(folders)
        _clear_partials(folders)
        write_text(path / _WORK / "plan.json", json.dumps(dict(key)))
        yield AlignFolder(path, key=key, paths=paths)
    finally:
        lock.release()
        if (path / ALIGN_FILE).is_file():
            (path / _WORK / "lock").unlink(missing_ok=True)
            (path / _WORK).rmdir()


def is_complete(path: Path) -> bool:
    """Return whether an alignment was finished at `path`."""
    return (path / ALIGN_FILE).is_file()


def refuse_other(path: Path, *, key: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but an alignment with this `key`, or that is a link.

    Raises:
        DataError: it does.

    """
    if path.is_symlink() or (path / _WORK).is_symlink():
        raise DataError(f"'{path}' is a link, or holds one where the record lies; name the folder itself.")
    if not path.exists():
        return
    if not path.is_dir():
        raise DataError(f"'{path}' is a file; name a new folder.")
    begun = next((file for file in (path / ALIGN_FILE, path / _WORK / "plan.json") if file.is_file()), None)
    if begun is None:
        # A process that ended before it wrote its plan leaves nothing but its lock.
        if any(entry.name != _WORK for entry in path.iterdir()):
            raise DataError(f"'{path}' is not empty and no alignment; name a new folder.")
        return
    try:
        said = json.loads(begun.read_text(encoding="utf-8"))
        known = said["key"] if begun.name == ALIGN_FILE else said
    except (ValueError, KeyError, TypeError, OSError):
        raise DataError(f"'{begun}' is damaged; name a new folder.") from None
    others = sorted(name for name in {*key, *known} if known.get(name) != key.get(name))
    if others:
        raise DataError(
            f"'{path}' was made otherwise: {_differences(others, known, key)}. Name a new folder, or remove this one."
        )


def _differences(names: Sequence[str], known: Mapping[str, Any], key: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {str(known.get(name))[:24]}, now {str(key.get(name))[:24]}" for name in names)


def _folders(path: Path, paths: Sequence[str]) -> list[Path]:
    """Return every folder of these pictures, `path` first."""
    lowest = {path / name.rpartition("/")[0] for name in paths}
    return sorted({path} | lowest | {above for one in lowest for above in one.parents if above.is_relative_to(path)})


def _make_folders(folders: Sequence[Path]) -> None:
    for folder in folders:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise DataError(f"'{folder}' is a link or a file; remove it: nothing is written through it.")
        folder.mkdir(exist_ok=True)


def _clear_partials(folders: Sequence[Path]) -> None:
    """Remove what a killed process had begun to write."""
    for folder in folders:
        for left in folder.glob(".*.partial"):
            left.unlink()


def _write_manifest(file: Path, manifest: Manifest, done: Mapping[int, Done], *, paths: Sequence[str]) -> None:
    header = ["path", "label", "split", "group", "generator", "source", "source_path", "source_sha256"]
    columns = [manifest.groups, manifest.generators, manifest.sources]
    originals = manifest.table["path"].to_pylist()
    splits = splits_of(manifest)
    labels = manifest.labels
    written = sorted((row for row in done if not done[row].problem), key=lambda row: paths[row])
    with whole_or_not_at_all(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(header)
        for row in written:
            words = [None if column[row] is None else str(column[row]) for column in columns]
            cells = [splits[row], *words, originals[row]]
            table.writerow(
                [
                    paths[row],
                    CLASS_NAMES[labels[row]],
                    *("" if cell is None else safe_cell(cell) for cell in cells),
                    done[row].source_sha256,
                ]
            )
