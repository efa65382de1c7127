"""Known data sets from their hubs to where `data=NAME` finds them, with a record of what came.

The hubs' own libraries do the transfer: they know the usual places of keys, and go on where a download stopped.
"""

import json
import logging
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from veriscope.data.checksums import checksum, faults, recorded
from veriscope.data.known_sets import KnownSet
from veriscope.data.names import USUAL_CLASSES, USUAL_SPLITS
from veriscope.errors import DataError
from veriscope.files import write_text
from veriscope.progress import tracked

_SPACE_FACTOR = 2.2  # the archive, its content, and a little


def record_of(known: KnownSet, to: Path) -> Path:
    """Return the file that records a download: beside the set's folder, so that nobody takes it for a part of it."""
    return to / f"{known.name}.download.json"


def download(known: KnownSet, *, to: Path) -> Path:
    """Return `to`/NAME with the set in it: class or split folders at its top, as `data=NAME` expects them.

    What was fetched so far waits in `to`/.download, and the next attempt goes on from there.

    Raises:
        DataError: the folder is there already, the disk is too small, or the hub can't be reached or refuses; the text
            says what to do by hand.

    """
    target = to / known.name
    if target.exists():
        raise DataError(f"'{target}' is there already; compare it by --check, or remove it for a fresh download.")
    to.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(to).free
    need = int((known.num_bytes or 0) * _SPACE_FACTOR)
    if free < need:
        raise DataError(
            f"'{to}' has {free / 1e9:.1f} GB free, about {need / 1e9:.1f} are needed; name a place: --to DIR."
        )
    waiting = to / ".download"
    fetched = _fetch(known, waiting / known.name, target=target)
    top = _top_folder(fetched)
    _move_loose_files(fetched, top)
    found = sorted(path for path in top.rglob("*") if path.is_file())
    files = [
        checksum(file, path=file.relative_to(top).as_posix())
        for file in tracked(found, doing="checksums", total=len(found))
    ]
    record = {
        "name": known.name,
        "hub": known.hub,
        "id": known.id,
        "page": known.page,
        "licence": known.licence,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": [{"path": one.path, "bytes": one.size_bytes, "sha256": one.sha256} for one in files],
    }
    write_text(record_of(known, to), json.dumps(record, indent=0) + "\n")
    top.replace(target)
    shutil.rmtree(waiting / known.name, ignore_errors=True)
    if not any(waiting.iterdir()):
        waiting.rmdir()
    return target


def check_download(known: KnownSet, *, to: Path) -> list[str]:
    """Return one line for each file that is missing, not as it was downloaded, or was not downloaded; none: all are.

    Raises:
        DataError: there is no record of a download, it is damaged, or it names a file outside the set.

    """
    file = record_of(known, to)
    try:
        files = [recorded(one, key="path") for one in json.loads(file.read_text(encoding="utf-8"))["files"]]
    except FileNotFoundError:
        raise DataError(f"'{file}' is not there: only what veriscope downloaded can be checked.") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"'{file}' is damaged: nothing can be checked against it.") from None
    top, listed = to / known.name, {one.path for one in files}
    found = sorted(place.relative_to(top).as_posix() for place in top.rglob("*") if not place.is_dir())
    added = [f"{path}: was not downloaded" for path in found if path not in listed]
    return [*faults(top, files, record=file, were="downloaded"), *added]


def _fetch(known: KnownSet, waiting: Path, *, target: Path) -> Path:
    """Return the folder that the hub's library filled."""
    by_hand = f"By hand: get {known.page} and unpack it so that '{target}' holds the class or split folders."
    try:
        return _from_kaggle(known, waiting) if known.hub == "kaggle" else _from_hugging_face(known, waiting)
    except ImportError as error:
        raise DataError(f"veriscope download needs {error.name}: pip install 'veriscope[hub]'. {by_hand}") from None
    except OSError as error:
        if error.errno is not None and error.filename is not None:  # the disk's, which says so itself
            raise
        raise DataError(f"'{known.name}' can't be downloaded: {_reason(known, error)}. {by_hand}") from None
    except Exception as error:  # noqa: BLE001 - both libraries have errors of their own, and pass on those of HTTP
        raise DataError(f"'{known.name}' can't be downloaded: {_reason(known, error)}. {by_hand}") from None


def _from_kaggle(known: KnownSet, waiting: Path) -> Path:
    # Its cache, unlike its output_dir, keeps a half archive and goes on with it; here it lies on the target's disk, so
    # that the last step is a rename.
    os.environ["KAGGLEHUB_CACHE"] = os.fspath(waiting.absolute())
    import kagglehub

    return Path(kagglehub.dataset_download(known.id))


def _from_hugging_face(known: KnownSet, waiting: Path) -> Path:
    from huggingface_hub import snapshot_download

    # Retries are said in one line at the end, not in ten on the way.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return Path(snapshot_download(known.id, repo_type="dataset", local_dir=waiting))


def _reason(known: KnownSet, error: Exception) -> str:
    """Return what went wrong, in few words."""
    kind, text = type(error).__name__, " ".join(str(error).split())
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "resolve" in text or "Connection" in kind or "Timeout" in kind or kind == "LocalEntryNotFoundError":
        return f"{'kaggle.com' if known.hub == 'kaggle' else 'huggingface.co'} can't be reached from here"
    if status in (401, 403) or kind in ("UnauthenticatedError", "CredentialError", "GatedRepoError"):
        where = (
            "a token from https://www.kaggle.com/settings in ~/.kaggle, or KAGGLE_API_TOKEN"
            if known.hub == "kaggle"
            else "`hf auth login`, or HF_TOKEN"
        )
        return f"it asks for a key ({where}), or for consent to its terms on its page"
    if status == 404 or kind in ("NotFoundError", "RepositoryNotFoundError"):
        return f"there is no '{known.id}', or it is not yours to see"
    return f"{kind}: {text[:200]}"


def _top_folder(fetched: Path) -> Path:
    """Return the folder below `fetched` that holds class or split folders; archives wrap them once or twice."""
    top = fetched
    while True:
        folders = [entry for entry in sorted(top.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
        named = any(entry.name.casefold() in USUAL_CLASSES.keys() | USUAL_SPLITS.keys() for entry in folders)
        if named or len(folders) != 1:
            return top
        top = folders[0]


def _move_loose_files(fetched: Path, top: Path) -> None:
    """Bring the files above `top`, as lists and read-mes, into it."""
    above = [folder for folder in top.parents if folder.is_relative_to(fetched)]
    for folder in above:
        for entry in folder.iterdir():
            if entry.is_file() and not (top / entry.name).exists():
                entry.replace(top / entry.name)
    shutil.rmtree(top / ".cache", ignore_errors=True)  # huggingface_hub's notes on a local_dir
