"""The Detector: pictures in, logits out. Plain PyTorch, no Lightning."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from veriscope.config.schema import ModelConfig, Trainable
from veriscope.errors import ModelError, nearest
from veriscope.models.backbones import build_backbone, check_backbone
from veriscope.models.features import FeatureExtractor
from veriscope.models.heads import Head, init_keras
from veriscope.models.registry import HEADS, check_options
from veriscope.models.streams import STREAMS
from veriscope.models.weights import count_parameters


class Answer(NamedTuple):
    """What one pass says of a batch, fp32: `logits` (B,), and of each network a vector a picture, `vectors` (B, D)."""

    logits: Tensor
    vectors: tuple[Tensor, ...]


class Detector(nn.Module):
    """Returns one fp32 logit for each picture; positive means fake.

    Normalisation with the InputSpec's mean and standard deviation happens inside, so that whoever holds a Detector
    can't forget it. Any spatial size that the backbone and head accept works; `config.input.size_px` is the one of
    evaluation. `backbone` is a FeatureExtractor, whose `net` holds the network under its own module names.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig, *, backbone: FeatureExtractor, head: Head) -> None:
        super().__init__()
        self.config = config
        self.flip_average = config.flip_average
        self.backbone = backbone
        self.head = head
        self.classifier = nn.Linear(head.out_features, 1)
        init_keras(self.classifier)
        self.register_buffer("mean", torch.tensor(config.input.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.input.std).view(1, 3, 1, 1), persistent=False)
        self._trainable: Trainable = "all"
        self.set_trainable(config.backbone.trainable)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logit_B, fp32, also under autocast.

        Args:
            image_BCHW: RGB, uint8 in 0..255 or floating point in [0, 1].

        """
        return self._answer(image_BCHW, describe=False).logits

    def answer(self, image_BCHW: Tensor) -> Answer:
        """Return the logits of `forward`, bit for bit, and what the pictures look like to the backbone.

        The vector holds the mean of every channel of each map that the head reads. The head's own vector, one layer
        later, is worse at telling what the network has never seen: it keeps what separates the classes, and noise lies
        where pictures do (benchmarks/ood.md). Of a picture and its mirror image it is the mean.
        """
        return self._answer(image_BCHW, describe=True)

    def _answer(self, image_BCHW: Tensor, *, describe: bool) -> Answer:
        if not self.flip_average or self.training:
            return self._look(image_BCHW, describe=describe)
        first, mirrored = (self._look(image, describe=describe) for image in (image_BCHW, image_BCHW.flip(-1)))
        vectors = tuple((one + other) / 2 for one, other in zip(first.vectors, mirrored.vectors, strict=True))
        return Answer((first.logits + mirrored.logits) / 2, vectors)

    def _look(self, image_BCHW: Tensor, *, describe: bool) -> Answer:
        maps_BCHW = self.features(image_BCHW)
        logit_B = self.classify(maps_BCHW)
        if not describe:
            return Answer(logit_B, ())
        means_BC = [map_BCHW.mean(dim=(2, 3), dtype=torch.float32) for map_BCHW in maps_BCHW]
        return Answer(logit_B, (torch.cat(means_BC, dim=1),))

    def features(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the maps that the head reads (one, for texture_stats one or more), each BCHW."""
        image = image_BCHW.float() / 255 if image_BCHW.dtype == torch.uint8 else image_BCHW.float()
        image = STREAMS[self.config.stream](image)
        return cast(tuple[Tensor, ...], self.backbone((image - self.mean) / self.std))

    def classify(self, features: tuple[Tensor, ...]) -> Tensor:
        """Return logit_B of the maps."""
        vector_BD = self.head(*features)
        # bf16 has 8 bits of mantissa: saturated logits fall together and the ranking goes (AUROC 0.984 -> 0.793).
        with torch.autocast(vector_BD.device.type, enabled=False):
            return cast(Tensor, self.classifier(vector_BD.float())).squeeze(1)

    def set_trainable(self, spec: Trainable) -> None:
        """Choose what of the backbone learns: 'all', 'none', or the modules of these names. The head always does.

        Everything else is frozen: no gradients, and held in evaluation mode whatever `.train()` says, so that
        batch-norm statistics stay and dropout is off.

        Raises:
            ModelError: a name that is no module of the backbone (up to its tap), with the nearest names.

        """
        modules = dict(self.backbone.net.named_modules())
        if isinstance(spec, tuple):
            for name in spec:
                if name not in modules or not name:
                    where = "the backbone" if self.config.head.tap is None else "the part of the backbone that is used"
                    known = [known for known in modules if known and known.count(".") <= name.count(".")]
                    raise ModelError(
                        f"model.backbone.trainable '{name}' is no module of {where}. {nearest(name, known)}"
                    )
        self._trainable = spec
        for name, parameter in self.backbone.net.named_parameters():
            in_use = f"net.{name}" not in self.backbone.unused_parameters
            parameter.requires_grad_(in_use and self._learns(name))
            if not parameter.requires_grad:
                parameter.grad = None  # an optimiser that still holds it must not move it by an old gradient
        self.train(self.training)

    def _learns(self, name: str) -> bool:
        """Return whether a module or parameter of the network, by name, lies in a part that trains."""
        if isinstance(self._trainable, str):
            return self._trainable == "all"
        return any(name == chosen or name.startswith(chosen + ".") for chosen in self._trainable)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen parts stay in evaluation."""
        super().train(mode)
        if mode and self._trainable != "all":
            self.backbone.eval()
            for name, module in self.backbone.net.named_modules():
                if self._learns(name):
                    module.training = True
        return self

    def parameter_groups(self, *, lr: float, head_lr: float | None = None, weight_decay: float) -> list[dict[str, Any]]:
        """Return optimiser groups 'backbone' and 'head' (classifier included); frozen parameters are left out.

        The weight decay applies to all of a group, biases and norms too, as in Keras and torch's own optimisers.
        """
        head: Iterable[nn.Parameter] = [*self.head.parameters(), *self.classifier.parameters()]
        rates = {"backbone": (self.backbone.parameters(), lr), "head": (head, lr if head_lr is None else head_lr)}
        groups = []
        for name, (parameters, rate) in rates.items():
            learning = [p for p in parameters if p.requires_grad]
            if learning:
                groups.append({"name": name, "params": learning, "lr": rate, "weight_decay": weight_decay})
        return groups

    def l2_penalty(self) -> Tensor:
        """Return the head's 0-d L2 term, to be added to the loss."""
        return self.head.l2_penalty()

    @property
    def num_parameters(self) -> int:
        """Number of parameters, frozen ones included."""
        return count_parameters(self.parameters())

    @property
    def num_trainable_parameters(self) -> int:
        """Number of parameters that learn."""
        return count_parameters(p for p in self.parameters() if p.requires_grad)


def check_model(config: ModelConfig) -> None:
    """Check names and options of backbone and head, without building anything or touching weights.

    Raises:
        ModelError: unknown name or option (with the nearest), wrong type, or a head without the tap that it needs.

    """
    head = HEADS[config.head.name]
    check_options(head, config.head.options, what=f"head '{config.head.name}'", place="model.head")
    if len(config.head.taps) > 1 and not head.reads_several:
        several = ", ".join(name for name in HEADS if HEADS[name].reads_several)
        raise ModelError(
            f"head '{config.head.name}' reads one map, model.head.tap names {len(config.head.taps)}. "
            f"Heads that read several: {several}."
        )
    check_backbone(config.backbone)


def build_detector(config: ModelConfig, *, load_weights: bool = True) -> Detector:
    """Return the Detector that the configuration describes, in training mode.

    Args:
        config: the model's part of the run configuration.
        load_weights: take the backbone's starting weights (download or file); False where a checkpoint follows.

    Raises:
        ModelError: whatever does not fit; the text says where and how to mend it.

    """
    check_model(config)
    head_class = HEADS[config.head.name]
    backbone, shapes = build_backbone(
        config.backbone, taps=config.head.taps, size_px=config.input.size_px, load_weights=load_weights
    )
    return Detector(config, backbone=backbone, head=head_class(shapes, **config.head.options))
