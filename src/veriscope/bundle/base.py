"""What every bundle is, in whatever form it is shipped. No torch here: a graph of ONNX needs none."""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path

from veriscope.bundle.network import Network
from veriscope.bundle.record import BundleRecord
from veriscope.bundle.scorer import Scorer
from veriscope.bundle.terms import Terms, terms
from veriscope.data.decode import MAX_PIXELS
from veriscope.models.ood import OutOfDistribution
from veriscope.types import Calibration, InputSpec, Threshold


class BaseBundle(ABC):
    """A network with everything that its scores mean. `record` says what it is."""

    __slots__ = ()

    record: BundleRecord

    @property
    @abstractmethod
    def path(self) -> Path:
        """Where it lies."""

    @abstractmethod
    def ood(self) -> OutOfDistribution | None:
        """Return what tells how strange a picture is to it; None where it holds nothing of it."""

    @abstractmethod
    def network(self, *, device: str = "auto", precision: str = "auto") -> Network:
        """Return the network on its device, ready to answer."""

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

    @property
    def strange_from(self) -> float | None:
        """The `ood` from which its verdicts are unsure; None: it can't tell what is strange."""
        return None if self.record.ood is None else self.record.ood.threshold

    def threshold(self, name: str) -> Threshold:
        """Return a threshold by name or by value; see Terms.threshold."""
        return self.terms().threshold(name)

    def terms(self, *, base_rate: float | None = None) -> Terms:
        """Return what turns its logits into verdicts, corrected to a share of fakes where one is stated.

        Raises:
            BundleError: see bundle.terms.

        """
        return terms(self.record, base_rate=base_rate)

    def scorer(
        self,
        *,
        device: str = "auto",
        precision: str = "auto",
        calibration: Calibration | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        max_pixels: int = MAX_PIXELS,
    ) -> Scorer:
        """Return a Scorer of it; the arguments are those of `network` and of Scorer, its own calibration for None.

        Raises:
            VeriscopeError: a damaged bundle, or a device that this machine has not.

        """
        return Scorer(
            self.network(device=device, precision=precision),
            calibration=self.calibration if calibration is None else calibration,
            ood=self.ood(),
            batch_size=batch_size,
            num_workers=num_workers,
            max_pixels=max_pixels,
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
