"""A tiny bundle and generated pictures."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from tests.helpers.models import model_config

from veriscope.bundle import Bundle
from veriscope.bundle.record import TrainingFacts
from veriscope.bundle.save import save_bundle
from veriscope.models.detector import build_detector
from veriscope.types import Calibration, Threshold

FACTS = TrainingFacts(
    data_name="generated",
    data_hash="0123abcd",
    num_train=10,
    num_val=4,
    split={"name": "holdout", "val_fraction": 0.15, "seed": 42, "fold": None},
    seed=42,
    commit="deadbeef",
    date="2026-01-31T12:00:00+00:00",
    device="cpu",
    epochs=1,
    val={"auroc": 0.75, "eer": None},
)


def tiny_bundle(
    folder: Path,
    *,
    threshold: float = 0.4,
    fake_share: float | None = None,
    fitted_on: str = "val",
    fit: Literal["resize", "crop"] = "resize",
    **changes: object,
) -> Bundle:
    """Write a bundle of a random network of 32 px; its logits differ from picture to picture."""
    torch.manual_seed(0)
    config = model_config("test_resnet", "linear", size_px=32)
    config = config.model_copy(update={"input": config.input.model_copy(update={"fit": fit})})
    detector = build_detector(config)
    return save_bundle(
        folder,
        detector=detector,
        calibration=Calibration(temperature=2.0, fitted_on=fitted_on, fake_share=fake_share),
        thresholds={"val": Threshold(value=threshold, rule="best balanced accuracy", chosen_on="val")},
        training=FACTS,
        notices=("Made for tests.",),
        **changes,
    )


def write_pictures(folder: Path, count: int, *, side: int = 40) -> list[Path]:
    """Write PNG pictures of different brightness and grain; return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        low = 200 * index // max(count, 1)
        path = folder / f"{index:03}.png"
        Image.fromarray(rng.integers(low, low + 50, (side, side, 3), dtype=np.uint8)).save(path)
        paths.append(path)
    return paths
