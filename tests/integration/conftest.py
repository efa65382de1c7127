"""A tiny but whole run: generated pictures, a tiny timm backbone, two epochs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

from veriscope.config.load import CONF_DIR, to_plain, validate
from veriscope.config.schema import RunConfig
from veriscope.run_folder import RunFolder, create_run_folder
from veriscope.training.start import prepare, start_run

SIDE_PX = 48
TINY = (
    "model=timm",
    "model.backbone.name=test_resnet",
    "model.backbone.pretrained=false",
    "model.input.size_px=32",
    "data=folder",
    "augment=color",
    "optim=adam",
    "optim.lr=0.003",
    "schedule=constant",
    "++data.batch_size=8",
    "++data.num_workers=0",
    "trainer.accelerator=cpu",
    "trainer.progress=false",
    "trainer.max_epochs=2",
    "audit.before_training=off",  # a checkerboard makes larger files: these pictures have a shortcut, and say so
)


def write_picture(file: Path, *, fake: bool, seed: int) -> None:
    """Write a JPEG: smooth noise for real, a faint checkerboard on top for fake."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (4, 4, 3)).astype(np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)).astype(float)
    if fake:
        rows, columns = np.indices((SIDE_PX, SIDE_PX))
        image += 24 * (((rows + columns) % 2) - 0.5)[..., None]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file, quality=95)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 41 + 40 training and 11 + 10 validation pictures (odd on purpose), and 6 + 6 for test."""
    root = tmp_path_factory.mktemp("pictures")
    for split, counts in {"train": (41, 40), "val": (11, 10), "test": (6, 6)}.items():
        for label, count in enumerate(counts):
            for number in range(count):
                name = f"{number:03}.jpg"
                file = root / split / ("fake" if label else "real") / name
                write_picture(file, fake=bool(label), seed=number + 1000 * label + 10_000 * len(split))
    return root


@pytest.fixture
def tiny_config(pictures: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Return a builder of tiny configurations: overrides in, RunConfig out."""

    def build(*overrides: str) -> RunConfig:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            words = [*TINY, f"data.root={pictures}", f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache"]
            plain: dict[str, Any] = to_plain(compose("train", [*words, *overrides]))
        plain.pop("resume")
        return validate(RunConfig, plain)

    return build


@pytest.fixture
def train(tiny_config: Callable[..., RunConfig]) -> Callable[..., RunFolder]:
    """Return a function that trains a tiny configuration and returns its folder."""

    def run(*overrides: str) -> RunFolder:
        config = tiny_config(*overrides)
        data = prepare(config)
        folder = create_run_folder(config, multirun_dir=None)
        start_run(config, folder, data, overrides=overrides)
        return folder

    return run
