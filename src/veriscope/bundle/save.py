"""Writing a bundle: whole or not at all."""

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save  # save_file leaves files that no other user may read, whatever the umask
from torch import Tensor

from veriscope import __version__
from veriscope.bundle.base import file_sha256
from veriscope.bundle.bundle import CARD_NAME, OOD_NAME, RECORD_NAME, SEEN_NAME, WEIGHTS_NAME, Bundle, is_bundle
from veriscope.bundle.model_card import model_card
from veriscope.bundle.record import AuditFacts, BundleRecord, EnsembleFacts, OodFacts, TrainingFacts, format_version
from veriscope.bundle.seen import Fingerprints, write_seen
from veriscope.config.schema import ModelConfig
from veriscope.errors import BundleError
from veriscope.models.backbones import describe_weights
from veriscope.models.ensemble import AnyDetector, Ensemble
from veriscope.models.ood import Ood, write_ood
from veriscope.types import DEFAULT_THRESHOLD, Calibration, Threshold, UnsureBand


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
        (temporary / WEIGHTS_NAME).write_bytes(save(_plain_state(detector), metadata={"format": "pt"}))
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
            seen_sha256=_write_seen(temporary / SEEN_NAME, seen),
            ood=_write_ood(temporary / OOD_NAME, ood),
            ensemble=ensemble,
            audit=audit,
            notices=notices,
        )
        for name, text in ((RECORD_NAME, record.to_json()), (CARD_NAME, model_card(record))):
            (temporary / name).write_text(text, encoding="utf-8")
    return Bundle(folder=folder, record=record)


def _check_ensemble(detector: AnyDetector, facts: EnsembleFacts | None) -> None:
    divisors = detector.temperatures if isinstance(detector, Ensemble) else ()
    if divisors != (() if facts is None else tuple(member.temperature for member in facts.members)):
        raise ValueError(f"the record of an ensemble has to name its temperatures {divisors}")


def _write_seen(file: Path, seen: Mapping[str, Fingerprints] | None) -> str | None:
    """Write the file and return its SHA-256; None, and no file, of none."""
    if seen is None:
        return None
    write_seen(file, seen)
    return file_sha256(file)


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
