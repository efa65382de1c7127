"""Every file under conf/ composes and validates; every recipe says what it asks, costs and expects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.load import CONF_DIR, to_plain, validate
from veriscope.config.schema import RunConfig
from veriscope.models.detector import check_model

GROUPS = ("augment", "callbacks", "logger", "loss", "model", "optim", "schedule", "split", "trainer", "paths")
CHOICES = [(group, file.stem) for group in GROUPS for file in sorted((CONF_DIR / group).glob("*.yaml"))]
RECIPES = sorted((CONF_DIR / "experiment").glob("*.yaml")) + sorted((CONF_DIR / "debug").glob("*.yaml"))
# What only the user can know.
NEEDED = {name: ["data.root=somewhere"] for name in ("folder", "custom", "shards")}
NEEDED |= {name: ["data.file=list.csv"] for name in ("manifest", "hf")}


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield


def composed(*overrides: str, config_name: str = "train") -> dict[str, Any]:
    return to_plain(compose(config_name, list(overrides)))


def run_config(*overrides: str) -> RunConfig:
    plain = composed(*overrides)
    plain.pop("resume")
    return validate(RunConfig, plain)


def test_default_is_the_users_own_words() -> None:
    config = run_config()
    assert (config.model.name, config.split.seed, config.seed) == ("xception_texture", 42, 42)
    assert run_config("model=xception_texture", "data=rvf10k", "trainer.devices=2").trainer.devices == 2


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_validates(group: str, name: str) -> None:
    crops = ["model.input.fit=crop"] if name == "forensic" else []
    config = run_config(f"{group}={name}", *crops)
    if group == "model":
        check_model(config.model)


@pytest.mark.parametrize("file", sorted((CONF_DIR / "data").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_data_set_validates_for_training_and_evaluation(file: Path) -> None:
    overrides = [f"data={file.stem}", *NEEDED.get(file.stem, [])]
    assert run_config(*overrides).data.name
    plain = composed(*overrides, "bundle=somewhere", config_name="evaluate")
    assert validate(EvaluateConfig, plain).data == run_config(*overrides).data


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_recipe_validates_and_says_what_it_is(file: Path) -> None:
    config = run_config(f"{file.parent.name}={file.stem}")
    check_model(config.model)
    comments = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    text = "\n".join(comments)
    assert "Asks:" in text
    assert "osts" in text
    if file.parent.name == "experiment":
        assert "Source:" in text
        assert "Expect" in text


def test_source_recipes_keep_their_numbers() -> None:
    two_phase = run_config("experiment=rvf10k_two_phase").schedule.phases
    frozen, everything = two_phase.values()
    assert (frozen.epochs, frozen.lr, frozen.early_stopping, frozen.plateau_patience) == (20, 1e-3, 10, 4)
    assert (frozen.trainable, frozen.min_lr) == ("none", 1e-7)
    assert (everything.epochs, everything.lr, everything.early_stopping, everything.plateau_patience) == (
        30,
        1e-5,
        15,
        7,
    )
    gap = run_config("experiment=xception_gap512")
    assert (gap.optim.name, gap.optim.lr, gap.model.input.size_px) == ("adam", 1e-4, 256)
    assert gap.schedule.phases["main"].plateau_factor == 0.3
    assert gap.schedule.phases["main"].early_stopping == 5
