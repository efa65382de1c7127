"""A bundle as training writes it: weights, preprocessing, class map, calibration, thresholds, provenance: a folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from veriscope import __version__
from veriscope.bundle.base import BaseBundle, file_sha256
from veriscope.bundle.network import Network
from veriscope.bundle.record import ENSEMBLE_FORMAT_VERSION, FORMAT_VERSION, VERDICT_FORMAT_VERSION, BundleRecord
from veriscope.bundle.seen import Fingerprints, read_seen
from veriscope.errors import BundleError
from veriscope.models.ood import OutOfDistribution, read_ood

if TYPE_CHECKING:  # torch is loaded with the weights, not before: much of a command's work comes first
    from veriscope.models.ensemble import AnyDetector

WEIGHTS_NAME = "weights.safetensors"
RECORD_NAME = "bundle.json"
SEEN_NAME = "seen.safetensors"
OOD_NAME = "ood.safetensors"
CARD_NAME = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Bundle(BaseBundle):
    """A bundle on disk: `record` is its bundle.json, `folder` where it lies. Made by load_bundle and save_bundle."""

    folder: Path
    record: BundleRecord

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder

    def seen(self) -> dict[str, Fingerprints] | None:
        """Return the fingerprints of 'train' and 'val' (bundle.seen); None where the bundle holds none.

        Raises:
            BundleError: the file is missing or damaged.

        """
        if self.record.seen_sha256 is None:
            return None
        return read_seen(self._checked(SEEN_NAME, self.record.seen_sha256))

    def ood(self) -> OutOfDistribution | None:
        """Return what tells how strange a picture is to it (models.ood); None where the bundle holds nothing of it.

        Raises:
            BundleError: the file is missing or damaged.

        """
        if self.record.ood is None:
            return None
        return read_ood(self._checked(OOD_NAME, self.record.ood.sha256))

    def _checked(self, name: str, sha256: str) -> Path:
        file = self.folder / name
        if not file.is_file() or file_sha256(file) != sha256:
            raise BundleError(f"'{file}' is missing or damaged; copy the whole folder again.")
        return file

    def detector(self) -> "AnyDetector":
        """Return the network, or the Ensemble of networks, with its weights, in evaluation mode, on the CPU. Nothing is
        downloaded.

        Raises:
            BundleError: the weights don't fit the record, or this installation can't build the network.

        """
        from veriscope.bundle.torch_network import build_network

        return build_network(self.record, self.folder / WEIGHTS_NAME, folder=self.folder)

    def network(self, *, device: str = "auto", precision: str = "auto") -> Network:
        """Return the network on its device, ready to answer.

        Raises:
            VeriscopeError: as `detector`, or a device that this machine has not.

        """
        from veriscope.bundle.torch_network import TorchNetwork

        return TorchNetwork(self.detector(), device=device, precision=precision)


def load_bundle(folder: Path) -> Bundle:
    """Return the bundle in `folder`, its record validated and its weights checked against their hash.

    Raises:
        BundleError: missing, damaged, of another version, or no bundle; the text says how to mend it.

    """
    if folder.name in (RECORD_NAME, WEIGHTS_NAME) and folder.is_file():
        folder = folder.parent  # what a shell's completion leads to
    if not folder.exists():
        raise BundleError(f"there is no bundle '{folder}': no such folder. A training run leaves one at RUN/bundle.")
    if not folder.is_dir():
        raise BundleError(f"'{folder}' is a file; a bundle is a folder with {RECORD_NAME} and {WEIGHTS_NAME}.")
    if not (folder / RECORD_NAME).is_file():
        inside = folder / "bundle"
        hint = f"Did you mean '{inside}'?" if is_bundle(inside) else "A training run leaves one at RUN/bundle."
        raise BundleError(f"'{folder}' is no bundle: it holds no {RECORD_NAME}. {hint}")
    record = _read_record(folder / RECORD_NAME)
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        raise BundleError(f"bundle '{folder}' lacks {WEIGHTS_NAME}; copy the whole folder again.")
    try:
        found = file_sha256(weights)
    except OSError as error:
        raise BundleError(f"'{weights}' can't be read: {error.strerror}.") from error
    if found != record.weights_sha256:
        raise BundleError(
            f"'{weights}' is damaged or of another bundle: its hash is {found[:12]}, {RECORD_NAME} says "
            f"{record.weights_sha256[:12]}. Copy the whole folder again."
        )
    return Bundle(folder=folder, record=record)


def is_bundle(folder: Path) -> bool:
    """Return whether the folder looks like a bundle, without checking it."""
    return (folder / RECORD_NAME).is_file()


def _read_record(path: Path) -> BundleRecord:
    """Return the validated record.

    Raises:
        BundleError: no JSON, another version, or a field that doesn't fit.

    """
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"'{path}' is damaged ({error}); copy the whole folder again.") from error
    version = plain.get("format_version") if isinstance(plain, dict) else None
    if version is None:
        raise BundleError(f"'{path}' is no bundle record of veriscope: it holds no format_version.")
    known = (FORMAT_VERSION, ENSEMBLE_FORMAT_VERSION, VERDICT_FORMAT_VERSION)
    if version not in known:
        raise BundleError(
            f"'{path}' has format version {version}, this veriscope ({__version__}) reads {known[0]} to {known[-1]}. "
            f"It was made by veriscope {plain.get('veriscope_version', 'of unknown version')}: install that one."
        )
    try:
        return BundleRecord.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the record"
        raise BundleError(f"'{path}' is damaged at {place}: {first['msg']}. Copy the whole folder again.") from error
