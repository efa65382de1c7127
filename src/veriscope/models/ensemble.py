"""The Ensemble: several trained Detectors of one configuration that answer as one."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from veriscope.config.schema import ModelConfig
from veriscope.models.detector import Answer, Detector
from veriscope.models.weights import count_parameters


class Ensemble(nn.Module):
    """Returns one fp32 logit for each picture, the mean over members of logit / temperature; positive means fake.

    Each member's temperature brings its logits onto the scale of probabilities (Guo et al. 2017) before they are
    averaged, so that a member that is too sure of itself doesn't outvote the others. It costs as many forward passes,
    and as much memory for weights, as it has members. It is for judging alone: members are trained one by one.
    """

    def __init__(self, members: Sequence[Detector], *, temperatures: Sequence[float]) -> None:
        """Take the members as they are.

        Args:
            members: two or more, of equal configuration.
            temperatures: one a member, above 0.

        Raises:
            ValueError: fewer than two members, or not a temperature for each, or members that are shown different
                input.

        """
        super().__init__()
        if len(members) < 2 or len(members) != len(temperatures):
            raise ValueError(f"{len(members)} members with {len(temperatures)} temperatures make no ensemble")
        if any(member.config.input != members[0].config.input for member in members):
            raise ValueError("members of an ensemble are shown the same input")
        if min(temperatures) <= 0:
            raise ValueError(f"temperatures are above 0, not {min(temperatures)}")
        self.members = nn.ModuleList(members)
        self.temperatures = tuple(float(temperature) for temperature in temperatures)

    @property
    def config(self) -> ModelConfig:
        """What every member is made of and shown."""
        return next(self._detectors()).config

    @property
    def num_parameters(self) -> int:
        """Number of parameters of all members together."""
        return count_parameters(self.parameters())

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logit_B, fp32, also under autocast; a member's NaN makes the answer NaN.

        Args:
            image_BCHW: RGB, uint8 in 0..255 or floating point in [0, 1].

        """
        return self._mean(member(image_BCHW) for member in self.members)

    def answer(self, image_BCHW: Tensor) -> Answer:
        """Return the logits of `forward`, and the vector of each member in their order."""
        answers = [member.answer(image_BCHW) for member in self._detectors()]
        return Answer(self._mean(answer.logits for answer in answers), tuple(answer.vectors[0] for answer in answers))

    def _mean(self, logits: Iterable[Tensor]) -> Tensor:
        return torch.stack([logit_B / t for logit_B, t in zip(logits, self.temperatures, strict=True)]).mean(dim=0)

    def _detectors(self) -> Iterator[Detector]:
        for member in self.members:
            assert isinstance(member, Detector)  # nn.ModuleList forgets what it holds
            yield member


AnyDetector = Detector | Ensemble
