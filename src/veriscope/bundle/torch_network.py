"""A bundle's network in torch."""

from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from veriscope import __version__
from veriscope.bundle.network import NetworkAnswer, Pixels
from veriscope.bundle.record import BundleRecord
from veriscope.errors import BundleError, ModelError
from veriscope.models.detector import Answer, build_detector
from veriscope.models.ensemble import AnyDetector, Ensemble
from veriscope.models.precision import Precision, autocast, resolve_device, resolve_precision


class TorchNetwork:
    """Answers with a Detector or an Ensemble.

    Args:
        detector: in memory; it is moved to the device and stays there.
        device: 'auto' (CUDA where there is one), 'cpu', 'cuda', 'cuda:N'.
        precision: 'auto' (bf16 where the hardware multiplies it natively), 'fp32', 'bf16'. Logits are fp32 always.

    Raises:
        ConfigError: a device that this machine has not.

    """

    def __init__(self, detector: AnyDetector, *, device: str = "auto", precision: str = "auto") -> None:
        self._device = resolve_device(device)
        self._precision = resolve_precision(cast(Precision, precision), self._device)
        self.device, self.precision = str(self._device), str(self._precision)
        # torch's stubs lack the overload of Module.to with memory_format alone.
        self.detector: AnyDetector = detector.to(device=self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.input = detector.config.input

    def answer(self, image_BCHW: Pixels, *, describe: bool) -> NetworkAnswer:
        """Return logit_B, and with `describe` Answer.vectors; the detector's training mode is as before."""
        images = torch.from_numpy(image_BCHW)
        if self._device.type == "cuda":
            images = images.pin_memory().to(self._device, non_blocking=True)
        was_training = self.detector.training
        self.detector.eval()
        try:
            with torch.inference_mode(), autocast(self._precision, self._device):
                images = images.contiguous(memory_format=torch.channels_last)
                answer = self.detector.answer(images) if describe else Answer(self.detector(images), ())
        finally:
            self.detector.train(was_training)
        return NetworkAnswer(answer.logits.cpu().numpy(), tuple(vector.cpu().numpy() for vector in answer.vectors))


def build_network(record: BundleRecord, weights: Path, *, folder: Path) -> AnyDetector:
    """Return what the record describes with its weights, in evaluation mode, on the CPU; `folder` stands in errors.

    Raises:
        BundleError: the weights don't fit the record, or this installation can't build the network.

    """
    try:
        detector = _build(record)
    except ModelError as error:
        raise BundleError(
            f"bundle '{folder}' needs a network that this installation can't build: {error} "
            f"It was made by veriscope {record.veriscope_version}, this is {__version__}."
        ) from error
    try:
        detector.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise BundleError(f"the weights of bundle '{folder}' don't fit its record: {reason}") from error
    return detector.eval()


def _build(record: BundleRecord) -> AnyDetector:
    """Return what the record describes, with random weights."""
    members = [build_detector(record.model, load_weights=False) for _ in range(record.num_members)]
    if record.ensemble is None:
        return members[0]
    return Ensemble(members, temperatures=[member.temperature for member in record.ensemble.members])
