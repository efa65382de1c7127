"""Images a second of a training step: forward, backward, AdamW."""

import torch
from torch.nn import functional as F

from veriscope.bench.timing import Setting, Speed, measure
from veriscope.config.schema import ModelConfig
from veriscope.models.detector import build_detector
from veriscope.models.precision import autocast


def bench_step(
    config: ModelConfig, setting: Setting, *, device: torch.device, batch_size: int, seconds: float
) -> Speed:
    """Return the speed of training steps on random uint8 pictures that lie on the device already."""
    detector = build_detector(config, load_weights=False).to(device=device, memory_format=setting.torch_format)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(detector.parameter_groups(lr=1e-4, weight_decay=0.01))
    size = config.input.size_px
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=setting.torch_format)
    target_B = torch.arange(batch_size, device=device).remainder(2).float()

    def step() -> None:
        optimizer.zero_grad()
        with autocast(setting.precision, device):
            logit_B = detector(images)
        torch.autograd.backward(F.binary_cross_entropy_with_logits(logit_B, target_B))
        optimizer.step()

    return measure(step, setting, device=device, batch_size=batch_size, seconds=seconds)
