"""The test split can't be reached from a fit, and nothing that ships depends on it."""

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.model_helpers import is_overridden
from tests.integration.conftest import write_picture
from tests.integration.runs import Train

from veriscope.config.schema import RunConfig
from veriscope.models.detector import build_detector
from veriscope.run_folder import RunFolder
from veriscope.training.data import DetectionDataModule, PreparedData, TrainingData, load_data
from veriscope.training.module import DetectionModule

# Instances whose attributes are followed. Beyond them lies the interpreter, where everything leads to everything.
_FOLLOWED = ("veriscope.", "torch.utils.data.", "pytorch_lightning.")


def inside(thing: Any) -> Iterator[Any]:
    """Yield what an object holds: items, attributes, slots, the columns of Arrow tables."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        yield from thing
    elif isinstance(thing, np.ndarray) and thing.dtype == object:
        yield from thing.ravel().tolist()
    elif isinstance(thing, pa.Table):
        for column in thing.columns:
            yield column.to_pylist()
            # A dictionary keeps every word that it was made with, also of rows that are gone.
            yield from (chunk.dictionary.to_pylist() for chunk in column.chunks if pa.types.is_dictionary(chunk.type))
    elif type(thing).__module__.startswith(_FOLLOWED):
        yield dict(getattr(thing, "__dict__", {}))
        names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
        yield [getattr(thing, name) for name in names if hasattr(thing, name)]


def texts_in(start: object) -> set[str]:
    """Return every text that can be reached from `start`."""
    found: set[str] = set()
    seen: set[int] = set()
    left, kept = [start], []  # kept: ids are only unique among the living
    while left:
        thing = left.pop()
        if isinstance(thing, str | Path):
            found.add(str(thing))
        elif id(thing) not in seen:
            seen.add(id(thing))
            kept.append(thing)
            left.extend(inside(thing))
    return found


def of_test(texts: set[str]) -> list[str]:
    return sorted(text for text in texts if text.startswith("test/"))


@pytest.fixture
def data(tiny_config: Callable[..., RunConfig]) -> tuple[RunConfig, PreparedData]:
    config = tiny_config()
    return config, load_data(config)


def test_what_a_fit_is_given_leads_to_no_row_of_test(data: tuple[RunConfig, PreparedData]) -> None:
    config, prepared = data
    assert len(of_test(texts_in(prepared))) == 12, "the search finds test where it is"
    given = prepared.for_training()
    module = DetectionDataModule(config, given, phase_index=0)
    batch = next(iter(module.train_dataloader()))
    for start in (given, module, module.train_dataloader(), module.val_dataloader(), batch):
        texts = texts_in(start)
        assert of_test(texts) == []
    assert sum(text.startswith(("train/", "val/")) for text in texts_in(given)) == 41 + 40 + 11 + 10
    assert set(TrainingData.__annotations__) == {"train", "val", "content_hash"}


def test_lightning_is_offered_no_test(data: tuple[RunConfig, PreparedData], tmp_path: Path) -> None:
    config, prepared = data
    loaders = DetectionDataModule(config, prepared.for_training(), phase_index=0)
    detector = build_detector(config.model, load_weights=False)
    module = DetectionModule(config.model_dump(mode="json", by_alias=True), "main", (1.0, 1.0), detector)
    for hook in ("test_dataloader", "predict_dataloader"):
        assert not is_overridden(hook, loaders, pl.LightningDataModule), hook
    for hook in ("test_step", "test_dataloader"):
        assert not is_overridden(hook, module, pl.LightningModule), hook
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    with pytest.raises(MisconfigurationException, match="test"):
        trainer.test(module, datamodule=loaders)


def test_other_test_pictures_and_labels_ship_the_same_detector(train: Train, pictures: Path, tmp_path: Path) -> None:
    """Every picture of test is replaced, every label turned round and one added: nothing that was chosen moves."""
    copy = tmp_path / "copy"
    shutil.copytree(pictures, copy)
    shutil.rmtree(copy / "test")
    for number in range(7):
        for name in ("real", "fake"):
            write_picture(copy / "test" / name / f"{number:03}.jpg", fake=name == "real", seed=777 + number)
    words = ("trainer.max_epochs=1", "calibration.method=platt", "threshold.rule=accuracy", "unsure.accuracy=0.6")
    first, second = train(*words), train(*words, f"data.root={copy}")

    def shipped(folder: RunFolder) -> tuple[bytes, bytes, dict[str, Any], dict[str, Any]]:
        record = json.loads((folder.bundle / "bundle.json").read_text(encoding="utf-8"))
        whole_data, _ = record["training"].pop("data_hash"), record["training"].pop("date")
        record["training"].pop("command")
        assert record["training"].pop("seconds") > 0
        figures = json.loads((folder.validation / "figures.json").read_text(encoding="utf-8"))
        assert len(whole_data) == 64
        return (
            (folder.bundle / "weights.safetensors").read_bytes(),
            (folder.bundle / "seen.safetensors").read_bytes() + (folder.bundle / "ood.safetensors").read_bytes(),
            record,
            figures,
        )

    one, other = shipped(first), shipped(second)
    assert one == other
    assert one[2]["calibration"]["method"] == "platt"
    assert one[2]["calibration"]["fitted_on"] == "folder val"
    assert one[2]["calibration"]["fake_share"] == 10 / 21
    assert one[2]["thresholds"]["val"]["rule"] == "largest accuracy"
    assert one[2]["thresholds"]["val"]["chosen_on"] == "folder val"
    assert one[2]["format_version"] == 3
    assert one[2]["ood"]["num_pictures"] == 21
    assert set(one[3]["uncalibrated"]) == {"ece", "brier", "log_loss"}
