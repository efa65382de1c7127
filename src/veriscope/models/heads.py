"""Heads: from feature maps to the vector that the Detector's final Linear reads. Initialised as in Keras."""

from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from veriscope.errors import ModelError
from veriscope.models.features import FeatureShape
from veriscope.models.registry import HEADS

Dropout = Annotated[float, Field(ge=0, lt=1)]
Width = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Head(nn.Module):
    """Base of all heads.

    A head is built with the shapes of the maps that it will read, sets `out_features`, and returns a (B, out_features)
    tensor from its forward. Its options are keyword-only, annotated arguments: they are the keys under model.head.
    Heads with `reads_several` are given a map for each module in model.head.tap; all others exactly one.
    """

    reads_several: ClassVar[bool] = False
    out_features: int

    def l2_penalty(self) -> Tensor:
        """Return the 0-d L2 term to be added to the loss; zero unless the head has one."""
        return next(self.parameters()).new_zeros(()) if any(True for _ in self.parameters()) else torch.zeros(())


def init_keras(module: nn.Module) -> None:
    """Initialise one Conv or Linear as Keras does: Glorot uniform (Glorot and Bengio 2010), zero bias."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def global_average(features_BCHW: Tensor) -> Tensor:
    """Return the mean of each channel, (B, C)."""
    return features_BCHW.mean(dim=(2, 3))


def halve(features_BCHW: Tensor) -> Tensor:
    """Max-pool 2 x 2 as Keras does (an odd last row is dropped); a side of 1 stays 1 instead of failing."""
    height, width = features_BCHW.shape[-2:]
    return F.max_pool2d(features_BCHW, 2, ceil_mode=min(height, width) < 2)


@HEADS.register("linear")
class LinearHead(Head):
    """Global average pooling and dropout: logistic regression on the features."""

    def __init__(self, in_shapes: tuple[FeatureShape, ...], *, dropout: Dropout = 0.0) -> None:
        super().__init__()
        self.out_features = in_shapes[0].channels
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, C)."""
        return cast(Tensor, self.dropout(global_average(features_BCHW)))


@HEADS.register("mlp")
class MLPHead(Head):
    """Global average pooling, Dense + ReLU, BatchNorm, Dropout: the order of the Keras recipes.

    `l2` is Keras's kernel_regularizer on the dense layer: l2 * sum(w^2) of its weights, added to the loss.
    Training batches of one picture fail with batch_norm, as anywhere.
    """

    def __init__(
        self,
        in_shapes: tuple[FeatureShape, ...],
        *,
        hidden: Width = 512,
        batch_norm: bool = True,
        dropout: Dropout = 0.3,
        l2: NonNegative = 0.0,
    ) -> None:
        super().__init__()
        self.l2 = l2
        self.out_features = hidden
        self.dense = nn.Linear(in_shapes[0].channels, hidden)
        self.norm = nn.BatchNorm1d(hidden) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.apply(init_keras)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, hidden)."""
        return cast(Tensor, self.dropout(self.norm(F.relu(self.dense(global_average(features_BCHW))))))

    def l2_penalty(self) -> Tensor:
        """Return l2 * sum of the squared dense weights, without the bias."""
        return self.l2 * self.dense.weight.square().sum()


@HEADS.register("texture")
class TextureHead(Head):
    """Two small convolutions on the map before pooling, which keep the local arrangement that plain pooling loses.

    Conv 32 3x3 + ReLU + MaxPool, Conv 64 3x3 + ReLU + MaxPool, global average pooling, Dense 256 + ReLU, Dropout.
    Convolutions pad as Keras's 'same'; maps down to 1 x 1 work (4 x 4, the last map of Xception at 128 px,
    becomes 2 x 2 and 1 x 1).
    """

    def __init__(
        self,
        in_shapes: tuple[FeatureShape, ...],
        *,
        channels: tuple[Width, Width] = (32, 64),
        hidden: Width = 256,
        dropout: Dropout = 0.5,
    ) -> None:
        super().__init__()
        self.out_features = hidden
        self.conv1 = nn.Conv2d(in_shapes[0].channels, channels[0], 3, padding="same")
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, padding="same")
        self.dense = nn.Linear(channels[1], hidden)
        self.dropout = nn.Dropout(dropout)
        self.apply(init_keras)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, hidden)."""
        x = halve(F.relu(self.conv1(features_BCHW)))
        x = halve(F.relu(self.conv2(x)))
        return cast(Tensor, self.dropout(F.relu(self.dense(global_average(x)))))


@HEADS.register("texture_stats")
class TextureStatsHead(Head):
    """How texture is spread over the picture: mean and standard deviation of every channel of each map it reads.

    Channel statistics describe texture without its place (Gatys et al. 2015, reduced to the diagonal). Early maps hold
    the fine traces of upsampling and compression, later ones what they belong to: model.head.tap=[block3,block7].
    """

    reads_several = True

    def __init__(
        self,
        in_shapes: tuple[FeatureShape, ...],
        *,
        norm: Literal["none", "layer", "batch"] = "batch",
        dropout: Dropout = 0.2,
    ) -> None:
        super().__init__()
        self.out_features = 2 * sum(shape.channels for shape in in_shapes)
        norms = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
        self.norm = norms[norm](self.out_features)
        self.dropout = nn.Dropout(dropout)

    def forward(self, *maps_BCHW: Tensor) -> Tensor:
        """Return (B, 2 * the maps' channels): for each map its means, then its deviations."""
        # Variances are differences of near numbers: fp32 even under bf16 autocast.
        with torch.autocast(maps_BCHW[0].device.type, enabled=False):
            statistics = []
            for feature_map in maps_BCHW:
                variance_BC, mean_BC = torch.var_mean(feature_map.float(), dim=(2, 3), correction=0)
                statistics += [mean_BC, (variance_BC + 1e-5).sqrt()]
            return cast(Tensor, self.dropout(self.norm(torch.cat(statistics, dim=1))))


@HEADS.register("flatten")
class FlattenHead(Head):
    """Flatten, Dropout, Dense + ReLU: the classifier of the tutorials. It fixes the input size.

    Chollet 2018, "Deep Learning with Python", listing 5.13: Dropout 0.5, Dense 512.
    """

    def __init__(self, in_shapes: tuple[FeatureShape, ...], *, hidden: Width = 512, dropout: Dropout = 0.5) -> None:
        super().__init__()
        self.in_shape = in_shapes[0]
        self.out_features = hidden
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(self.in_shape.channels * self.in_shape.height * self.in_shape.width, hidden)
        self.apply(init_keras)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return (B, hidden).

        Raises:
            ModelError: a map of another size than the head was built for.

        """
        shape = FeatureShape(*features_BCHW.shape[1:])
        if shape != self.in_shape:
            raise ModelError(
                f"head 'flatten' was built for a {self.in_shape.height} x {self.in_shape.width} map and got "
                f"{shape.height} x {shape.width}: train on model.input.size_px, or take a head that pools."
            )
        return F.relu(self.dense(self.dropout(features_BCHW.flatten(1))))
