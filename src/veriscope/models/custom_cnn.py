"""The plain convolutional stack of the tutorials, as a baseline without pretrained weights."""

from typing import Annotated, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from veriscope.models.registry import BACKBONES

Channels = tuple[Annotated[int, Field(ge=1)], ...]


@BACKBONES.register("custom_cnn")
class CustomCNN(nn.Module):
    """Conv 3x3 + ReLU + MaxPool 2, once for each entry of `channels`.

    The defaults are the convnet of Chollet 2018, "Deep Learning with Python", listing 5.5 (there at 150 px).
    Convolutions are initialised as in Keras (Glorot uniform, zero bias).
    """

    def __init__(self, *, channels: Channels = (32, 64, 128, 128), padding: Literal["valid", "same"] = "valid") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for num_in, num_out in zip((3, *channels), channels, strict=False):
            conv = nn.Conv2d(num_in, num_out, 3, padding=padding)
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(cast(Tensor, conv.bias))
            layers += [conv, nn.ReLU(), nn.MaxPool2d(2)]
        self.layers = nn.Sequential(*layers)

    def forward_features(self, image_BCHW: Tensor) -> Tensor:
        """Return the last map; 256 px gives 14 x 14 with 128 channels."""
        return cast(Tensor, self.layers(image_BCHW))
