"""Grad-CAM: which places of the network's maps raised or lowered the logit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from veriscope.explain.evidence import Evidence, Pixels
from veriscope.models.detector import Detector
from veriscope.models.ensemble import AnyDetector

Which = int | Literal["all"]

# A place that would turn even odds to 0.88 if the whole picture were like it.
NOISE = 2.0


def grad_cam(detector: AnyDetector, image_BCHW: Pixels, *, which: Which = -1, averaged: bool = False) -> Evidence:
    """Return the evidence of every place of the map that the head reads, on that map's grid.

    heat(y, x) = H W sum_k g_k(y, x) A_k(y, x), with A the map and g = d logit / d A: the product of map and gradient at
    each place (HiResCAM, Draelos & Carin 2020). Where the head averages over places first (linear, mlp), g is the same
    everywhere, and this is Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2, without its ReLU: the sign is kept) and, of a
    linear head, CAM (Zhou et al. 2016). Where it does not (texture, flatten, texture_stats), g averaged over places
    describes no place; `averaged` takes it all the same, as Selvaraju et al. do. The factor H W makes maps of any grid
    comparable. The rest is what is left of the logit: biases, and maps that were not asked for.

    What is explained is the logit as the detector answers: of `flip_average` the mean of both passes, the mirrored one
    turned back; of an Ensemble the mean of its members, each divided by its temperature. fp32, whatever autocast says.
    The gradient runs through the head alone, so that a frozen backbone makes no difference, and nothing of the detector
    is changed: neither its training flags nor requires_grad nor any gradient.

    Args:
        detector: on any device.
        image_BCHW: RGB, uint8, as the network is shown it.
        which: of several maps that the head reads (texture_stats), the number of one; "all": their sum, on the finest
            grid. -1: the last one.
        averaged: average the gradient over places.

    Raises:
        IndexError: the head reads no such map.

    """
    device = next(detector.parameters()).device
    images = torch.from_numpy(image_BCHW).to(device)
    # Inference tensors can't take part in a gradient, also where the caller works in inference mode.
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False), _judging(detector):
        parts = [
            _explain(member, images.clone(), which=which, averaged=averaged, weight=weight)
            for member, weight in _members(detector)
        ]
    logit_B, heat_BHW = (torch.stack(part).sum(dim=0) for part in zip(*parts, strict=True))
    rest_B = logit_B - heat_BHW.mean(dim=(1, 2))
    logits, heat, rest = (part.cpu().numpy().astype(np.float32) for part in (logit_B, heat_BHW, rest_B))
    return Evidence(logits, heat, rest, noise=NOISE)


def _members(detector: AnyDetector) -> list[tuple[Detector, float]]:
    """Return the networks, and the factor that each one's logit enters the answer with."""
    if isinstance(detector, Detector):
        return [(detector, 1.0)]
    count = len(detector.temperatures)
    members = cast(list[Detector], list(detector.members))
    return [(member, 1 / (t * count)) for member, t in zip(members, detector.temperatures, strict=True)]


@contextmanager
def _judging(detector: nn.Module) -> Iterator[None]:
    """Hold the network in evaluation mode; afterwards every module's flag is what it was."""
    flags = {module: module.training for module in detector.modules()}
    if any(flags.values()):
        detector.eval()
    try:
        yield
    finally:
        for module, flag in flags.items():
            module.training = flag


def _explain(
    detector: Detector, images: Tensor, *, which: Which, averaged: bool, weight: float
) -> tuple[Tensor, Tensor]:
    """Return logit_B and heat_BHW of one network, both times `weight`."""
    logit_B, heat_BHW = _look(detector, images, which=which, averaged=averaged)
    if detector.flip_average:
        mirrored_B, mirrored_BHW = _look(detector, images.flip(-1), which=which, averaged=averaged)
        logit_B, heat_BHW = (logit_B + mirrored_B) / 2, (heat_BHW + mirrored_BHW.flip(-1)) / 2
    return logit_B * weight, heat_BHW * weight


def _look(detector: Detector, images: Tensor, *, which: Which, averaged: bool) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        maps = [map_BCHW.detach().float() for map_BCHW in detector.features(images)]
    chosen = maps if which == "all" else [maps[which]]
    for map_BCHW in chosen:
        map_BCHW.requires_grad_()
    with torch.enable_grad():
        logit_B = detector.classify(tuple(maps))
        # Pictures don't mix in evaluation mode: the gradient of the sum is that of each.
        gradients = torch.autograd.grad(logit_B.sum(), chosen)
    with torch.no_grad():
        heats = []
        for map_BCHW, gradient in zip(chosen, gradients, strict=True):
            height, width = map_BCHW.shape[-2:]
            slope = gradient.mean(dim=(2, 3), keepdim=True) if averaged else gradient
            heats.append((slope * map_BCHW).sum(dim=1) * (height * width))
        return logit_B.detach(), _sum_on_finest(heats)


def _sum_on_finest(heats: list[Tensor]) -> Tensor:
    finest = max((heat.shape[-2:] for heat in heats), key=lambda shape: shape[0] * shape[1])
    return torch.stack([F.interpolate(heat[:, None], finest, mode="bilinear")[:, 0] for heat in heats]).sum(dim=0)
