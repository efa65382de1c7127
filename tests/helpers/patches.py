"""Pictures whose only trace of a fake is a patch in one corner, and networks that have learned it."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from tests.helpers.models import model_config
from torch import nn

from veriscope.models.detector import Detector, build_detector

SIDE_PX, PATCH_PX = 48, 16


class Patched(NamedTuple):
    """Pictures (B, 3, SIDE_PX, SIDE_PX), uint8; their labels; top and left of the patch that fakes have."""

    images: np.ndarray
    labels: np.ndarray
    corners: np.ndarray


def patched(count: int, *, seed: int) -> Patched:
    """Return smooth noise; every second one is a fake, with a faint checkerboard in one of its corners."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((PATCH_PX, PATCH_PX))
    board = 30 * ((rows + columns) % 2 - 0.5)
    corners = rng.integers(0, 2, (count, 2)) * (SIDE_PX - PATCH_PX)
    images = np.empty((count, 3, SIDE_PX, SIDE_PX), dtype=np.uint8)
    for number, (top, left) in enumerate(corners):
        coarse = Image.fromarray(rng.integers(40, 216, (4, 4, 3), dtype=np.uint8))
        image = np.asarray(coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)).astype(float)
        image += rng.normal(0, 4, image.shape)
        if number % 2:
            image[top : top + PATCH_PX, left : left + PATCH_PX] += board[..., None]
        images[number] = image.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)
    return Patched(images, np.arange(count) % 2, corners)


def learned(head: str = "linear", *, steps: int = 120, seed: int = 0) -> Detector:
    """Return a small network that tells them apart; a few seconds on one core."""
    torch.manual_seed(seed)
    options = {"channels": [12, 16], "padding": "same"}
    detector = build_detector(model_config("custom_cnn", head, size_px=SIDE_PX, options=options))
    data = patched(256, seed=seed)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels).float()
    optimizer = torch.optim.Adam(detector.parameters(), lr=3e-3)
    order = torch.Generator().manual_seed(seed)
    detector.train()
    for _ in range(steps):
        chosen = torch.randint(0, len(images), (32,), generator=order)
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(detector(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    return detector.eval()
