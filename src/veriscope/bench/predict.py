"""Images a second of the network at prediction, without decoding."""

import torch

from veriscope.bench.timing import Setting, Speed, measure
from veriscope.config.schema import ModelConfig
from veriscope.models.detector import build_detector
from veriscope.models.precision import autocast


def bench_predict(
    config: ModelConfig, setting: Setting, *, device: torch.device, batch_size: int, seconds: float
) -> Speed:
    """Return the speed of forward passes on random uint8 pictures that lie on the device already."""
    detector = build_detector(config, load_weights=False).to(device=device, memory_format=setting.torch_format)  # type: ignore[call-overload]
    detector.eval()
    size = config.input.size_px
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=setting.torch_format)

    def forward() -> None:
        with torch.inference_mode(), autocast(setting.precision, device):
            detector(images)

    return measure(forward, setting, device=device, batch_size=batch_size, seconds=seconds)
