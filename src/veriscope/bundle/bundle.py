"""Bundle: weights, preprocessing, class map, calibration, thresholds and provenance in one folder."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from veriscope import __version__
from veriscope.bundle.model_card import model_card
from veriscope.bundle.record import (
    ENSEMBLE_FORMAT_VERSION,
    FORMAT_VERSION,
    VERDICT_FORMAT_VERSION,
    AuditFacts,
    BundleRecord,
    EnsembleFacts,
    OodFacts,
    TrainingFacts,
    format_version,
)
from veriscope.bundle.seen import Fingerprints, read_seen, write_seen
from veriscope.bundle.terms import Terms, terms
from veriscope.config.schema import ModelConfig
from veriscope.errors import BundleError, ModelError
from veriscope.models.backbones import describe_weights
from veriscope.models.detector import build_detector
from veriscope.models.ensemble import AnyDetector, Ensemble
from veriscope.models.ood import Ood, OutOfDistribution, read_ood, write_ood
from veriscope.types import DEFAULT_THRESHOLD, Calibration, InputSpec, Threshold, UnsureBand

WEIGHTS_NAME = "weights.safetensors"
RECORD_NAME = "bundle.json"
SEEN_NAME = "seen.safetensors"
OOD_NAME = "ood.safetensors"
CARD_NAME = "MODEL_CARD.md"

__all__ = ["Bundle", "BundleRecord", "TrainingFacts", "load_bundle", "save_bundle"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk: `record` is its bundle.json, `folder` where it lies. Made by load_bundle and save_bundle."""

    folder: Path
    record: BundleRecord

    @property
    def input(self) -> InputSpec:
        """What the network is shown."""
        return self.record.model.input

    @property
    def calibration(self) -> Calibration:
        """From logit to score."""
        return self.record.calibration

    @property
    def notices(self) -> tuple[str, ...]:
        """What must stand wherever figures or verdicts of this bundle are shown."""
        return self.record.notices

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights, hexadecimal: the bundle's identity."""
        return self.record.weights_sha256

    @property
    def preferred_threshold(self) -> Threshold:
        """The threshold that was chosen on data where there is one, else the default."""
        return self.terms().preferred

    def seen(self) -> dict[str, Fingerprints] | None:
        """Return the fingerprints of 'train' and 'val' (bundle.seen); None where the bundle holds none.

        Raises:
            BundleError: the file is missing or damaged.

        """
        if self.record.seen_sha256 is None:
            return None
        file = self.folder / SEEN_NAME
        if not file.is_file() or file_sha256(file) != self.record.seen_sha256:
            raise BundleError(f"'{file}' is missing or damaged; copy the whole folder again.")
        return read_seen(file)

    @property
    def strange_from(self) -> float | None:
        """The `ood` from which its verdicts are unsure; None: it can't tell what is strange."""
        return None if self.record.ood is None else self.record.ood.threshold

    def ood(self) -> OutOfDistribution | None:
        """Return what tells how strange a picture is to it (models.ood); None where the bundle holds nothing of it.

        Raises:
            BundleError: the file is missing or damaged.

        """
        if self.record.ood is None:
            return None
        file = self.folder / OOD_NAME
        if not file.is_file() or file_sha256(file) != self.record.ood.sha256:
            raise BundleError(f"'{file}' is missing or damaged; copy the whole folder again.")
        return read_ood(file)

    def threshold(self, name: str) -> Threshold:
        """Return a threshold by name or by value; see Terms.threshold."""
        return self.terms().threshold(name)

    def terms(self, *, base_rate: float | None = None) -> Terms:
        """Return what turns its logits into verdicts, corrected to a share of fakes where one is stated.

        Raises:
            BundleError: see bundle.terms.

        """
        return terms(self.record, base_rate=base_rate)

    def detector(self) -> AnyDetector:
        """Return the network, or the Ensemble of networks, with its weights, in evaluation mode, on the CPU. Nothing is
        downloaded.

        Raises:
            BundleError: the weights don't fit the record, or this installation can't build the network.

        """
        try:
            detector = self._build()
        except ModelError as error:
            raise BundleError(
                f"bundle '{self.folder}' needs a network that this installation can't build: {error} "
                f"It was made by veriscope {self.record.veriscope_version}, this is {__version__}."
            ) from error
        try:
            detector.load_state_dict(load_file(self.folder / WEIGHTS_NAME), strict=True)
        except (RuntimeError, SafetensorError, OSError) as error:
            reason = str(error).split("\n")[0]
            raise BundleError(f"the weights of bundle '{self.folder}' don't fit its record: {reason}") from error
        return detector.eval()

    def _build(self) -> AnyDetector:
        """Return what the record describes, with random weights."""
        members = [build_detector(self.record.model, load_weights=False) for _ in range(self.record.num_members)]
        if self.record.ensemble is None:
            return members[0]
        return Ensemble(members, temperatures=[member.temperature for member in self.record.ensemble.members])


def save_bundle(
    folder: Path,
    *,
    detector: AnyDetector,
    calibration: Calibration,
    thresholds: Mapping[str, Threshold],
    training: TrainingFacts,
    unsure: UnsureBand | None = None,
    seen: Mapping[str, Fingerprints] | None = None,
    ood: Ood | None = None,
    ensemble: EnsembleFacts | None = None,
    audit: AuditFacts | None = None,
    notices: tuple[str, ...] = (),
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle and return it. The folder appears whole or not at all.

    Args:
        folder: to be made; its parents, too.
        detector: the trained network; its configuration is `detector.config`.
        calibration: fitted on val.
        thresholds: by name; 'default' (0.5) is added, one of types.TUNED_THRESHOLDS is the one to use.
        training: where the weights come from.
        unsure: the band of scores that are called unsure; None: none.
        seen: fingerprints of the pictures of 'train' and 'val' (bundle.seen).
        ood: what tells how strange a picture is to it; None: nothing does.
        ensemble: where `detector` is an Ensemble, which bundle.ensemble saves.
        audit: what the audit of the training data came to; None: there was none.
        notices: sentences shown wherever figures or verdicts are.
        overwrite: replace a bundle that lies there. Any other folder is left alone.

    Raises:
        BundleError: the folder is taken, or can't be written.
        ValueError: `ensemble` names other temperatures than `detector` divides by, or belongs to no Ensemble.

    """
    _check_ensemble(detector, ensemble)
    _refuse_taken(folder, overwrite=overwrite)
    with _whole_folder(folder) as temporary:
        save_file(_plain_state(detector), temporary / WEIGHTS_NAME, metadata={"format": "pt"})
        if seen is not None:
            write_seen(temporary / SEEN_NAME, seen)
        record = BundleRecord(
            format_version=format_version(calibration, ensemble=ensemble, unsure=unsure, ood=ood),
            veriscope_version=__version__,
            model=_portable(detector.config),
            calibration=calibration,
            thresholds={"default": DEFAULT_THRESHOLD, **thresholds},
            unsure=unsure,
            training=training,
            weights_sha256=file_sha256(temporary / WEIGHTS_NAME),
            num_parameters=detector.num_parameters,
            initial_weights=describe_weights(detector.config.backbone),
            seen_sha256=None if seen is None else file_sha256(temporary / SEEN_NAME),
            ood=_write_ood(temporary / OOD_NAME, ood),
            ensemble=ensemble,
            audit=audit,
            notices=notices,
        )
        (temporary / RECORD_NAME).write_text(record.to_json(), encoding="utf-8")
        (temporary / CARD_NAME).write_text(model_card(record), encoding="utf-8")
    return Bundle(folder=folder, record=record)


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


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _check_ensemble(detector: AnyDetector, facts: EnsembleFacts | None) -> None:
    divisors = detector.temperatures if isinstance(detector, Ensemble) else ()
    if divisors != (() if facts is None else tuple(member.temperature for member in facts.members)):
        raise ValueError(f"the record of an ensemble has to name its temperatures {divisors}")


def _write_ood(file: Path, ood: Ood | None) -> OodFacts | None:
    """Write the file and return what the record says of it; None, and no file, of none."""
    if ood is None:
        return None
    write_ood(file, ood.reference)
    return OodFacts(
        sha256=file_sha256(file),
        method=ood.method,
        threshold=ood.threshold,
        num_pictures=ood.reference.num_pictures,
        fitted_on=ood.fitted_on,
    )


def _plain_state(detector: AnyDetector) -> dict[str, Tensor]:
    """Return the state as contiguous CPU tensors that share no memory, as safetensors wants them."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in detector.state_dict().items()}


def _portable(config: ModelConfig) -> ModelConfig:
    """Return the configuration without the path on the machine that trained: the file's name is enough to know it."""
    if config.backbone.weights is None:
        return config
    backbone = config.backbone.model_copy(update={"weights": Path(config.backbone.weights.name)})
    return config.model_copy(update={"backbone": backbone})


def _refuse_taken(folder: Path, *, overwrite: bool) -> None:
    if folder.exists() and not (overwrite and is_bundle(folder)):
        raise BundleError(f"'{folder}' exists; a bundle is written into a new folder. Name another one.")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` that takes its place when the block ends well, and goes when it doesn't.

    Raises:
        BundleError: it can't be written.

    """
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        _move_into_place(temporary, folder)
    except OSError as error:
        raise BundleError(f"bundle '{folder}' can't be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    old = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:12]}.old"
    folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
