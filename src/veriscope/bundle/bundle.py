"""A bundle as training writes it: weights, preprocessing, class map, calibration, thresholds, provenance: a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from veriscope.bundle.base import BaseBundle, file_sha256
from veriscope.bundle.network import Network
from veriscope.bundle.onnx_bundle import is_onnx, load_onnx
from veriscope.bundle.record import BundleRecord, parse_record
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
    """A bundle on disk: `record` is its bundle.json, `folder` where it lies. Made by load_folder and save_bundle."""

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
        try:
            from veriscope.bundle.torch_network import build_network
        except ModuleNotFoundError as error:
            raise BundleError(
                f"bundle '{self.folder}' needs {error.name}, which isn't here: pip install veriscope. Without it a "
                "file runs that `veriscope export` made of the bundle elsewhere."
            ) from error

        return build_network(self.record, self.folder / WEIGHTS_NAME, folder=self.folder)

    def network(self, *, device: str = "auto", precision: str = "auto") -> Network:
        """Return the network on its device, ready to answer.

        Raises:
            VeriscopeError: as `detector`, or a device that this machine has not.

        """
        detector = self.detector()
        from veriscope.bundle.torch_network import TorchNetwork

        return TorchNetwork(detector, device=device, precision=precision)


def load_bundle(path: Path) -> BaseBundle:
    """Return the bundle at `path`, checked against its hash: a folder as training leaves it, or an exported .onnx file.

    Raises:
        BundleError: missing, damaged, of another version, or no bundle; the text says how to mend it.

    """
    return load_onnx(path) if is_onnx(path) else load_folder(path)


def load_folder(folder: Path) -> Bundle:
    """Return the bundle in `folder`, its record validated and its weights checked against their hash.

    For what needs the network itself or what was seen in training; verdicts alone need load_bundle.

    Raises:
        BundleError: as load_bundle, and for a .onnx file.

    """
    if is_onnx(folder):
        raise BundleError(f"'{folder}' only gives verdicts; name the bundle's folder that it was exported from.")
    if folder.name in (RECORD_NAME, WEIGHTS_NAME) and folder.is_file():
        folder = folder.parent  # what a shell's completion leads to
    if not folder.exists():
        raise BundleError(f"there is no bundle '{folder}': no such folder. A training run leaves one at RUN/bundle.")
    if not folder.is_dir():
        raise BundleError(
            f"'{folder}' is a file; a bundle is a folder with {RECORD_NAME} and {WEIGHTS_NAME}, as training leaves at "
            "RUN/bundle. predict and serve take a file of `veriscope export`, too, NAME.onnx."
        )
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
        BundleError: no text, no JSON, another version, or a field that doesn't fit.

    """
    again = "copy the whole folder again"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BundleError(f"'{path}' is damaged ({error}); {again}.") from error
    return parse_record(text, name=str(path), again=again)
