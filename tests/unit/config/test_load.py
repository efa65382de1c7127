"""A wrong configuration names the key, the place and the nearest right key."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from veriscope.config.load import CONF_DIR, command_line, known_keys, settable, to_plain, validate
from veriscope.config.schema import RunConfig, TargetSpec
from veriscope.config.targets import resolve
from veriscope.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def plain() -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        composed = to_plain(compose("train"))
    composed.pop("resume")
    return composed


def train(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "train.py", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_composed_default_is_valid_and_frozen(plain: dict[str, Any]) -> None:
    config = validate(RunConfig, plain)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("optim", "lrr"), 1.0, ["unknown key 'optim.lrr'", "'lr'"]),
        (("model", "backbone", "pretraned"), True, ["model.backbone.pretraned", "'pretrained'"]),
        (("schedule", "phases", "main", "epoch"), 3, ["schedule.phases.main.epoch", "'epochs'"]),
        (("optim", "lr"), "fast", ["optim.lr='fast'", "number"]),
        (("optim", "lr"), -1.0, ["optim.lr=-1.0", "greater than 0"]),
        (("seed",), 1.5, ["seed=1.5"]),
        (("trainer", "precision"), "fp8", ["trainer.precision='fp8'", "'bf16'"]),
        (("split", "fold"), 9, ["split.fold=9", "0 to 4"]),
        (("data", "kind"), "folder", ["data.root=DIR"]),
        (("augment", "crop_px"), 64, ["model.input.fit=crop"]),
    ],
)
def test_a_fault_is_named(plain: dict[str, Any], path: tuple[str, ...], value: object, words: list[str]) -> None:
    node = plain
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ConfigError) as caught:
        validate(RunConfig, plain)
    for word in words:
        assert word in str(caught.value)


def test_every_fault_is_named_not_only_the_first(plain: dict[str, Any]) -> None:
    plain["optim"]["lrr"] = 1
    plain["seed"] = -1
    with pytest.raises(ConfigError) as caught:
        validate(RunConfig, plain)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("split.fold=1", "++split.fold=1"),
        ("data.class_map.began=fake", "++data.class_map.began=fake"),
        ("schedule.phases.mian.epochs=1", "schedule.phases.mian.epochs=1"),
        ("optim.lrr=1", "optim.lrr=1"),
        ("model=custom_cnn", "model=custom_cnn"),
        ("--help", "--help"),
        ("-m", "-m"),
    ],
)
def test_any_key_of_the_schema_can_be_set(argument: str, expected: str) -> None:
    assert settable(argument, RunConfig) == expected


def test_multirun_may_stand_anywhere() -> None:
    words = ["data=rvf10k", "-m", "optim.lr=1,2"]
    assert command_line(words, RunConfig) == ["-m", "data=rvf10k", "++optim.lr=1,2"]


def test_known_keys_walks_models_and_mappings() -> None:
    assert "lr_schedule" in known_keys(RunConfig, ["schedule", "phases", "anything"])
    assert known_keys(RunConfig, ["nowhere"]) == []


def test_targets_stay_inside_the_allowed_packages_and_bind() -> None:
    kind, arguments = resolve(TargetSpec(_target_="pytorch_lightning.callbacks.EarlyStopping", monitor="m"), key="x")
    assert kind.__name__ == "EarlyStopping"
    assert arguments["monitor"] == "m"
    for spec, words in (
        (TargetSpec(_target_="os.system", command="true"), "not allowed"),
        (TargetSpec(_target_="torch.optim.SGD", params=[]), "not allowed"),
        (TargetSpec(_target_="pytorch_lightning.callbacks.Timerr"), "'Timer'"),
        (TargetSpec(_target_="pytorch_lightning.callbacks.Timer", intervall="epoch"), "'interval'"),
        (TargetSpec(_target_="pytorch_lightning.callbacks.EarlyStopping"), "monitor"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve(spec, key="x")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["optm.lr=3"], ["'optm.lr'", "command line", "'optim'"]),
        (["+optim.lrr=3"], ["'optim.lrr'", "command line", "'lr'"]),
        (["model=xceptoin_texture"], ["'xceptoin_texture'", "'xception_texture'"]),
        (["model.head.dropuot=0.3"], ["'dropout'"]),
        (["trainer.devices=0"], ["trainer.devices"]),
        (["trainer.strategy=fsdp", "callbacks.ema_decay=0.9"], ["callbacks.ema_decay=null", "trainer.strategy=ddp"]),
        (["trainer.strategy=fsdp", "trainer.precision=fp16"], ["trainer.strategy=fsdp", "fp16", "bf16"]),
        (["trainer.strategy=fsdp", "trainer.sync_batchnorm=true"], ["trainer.sync_batchnorm=false"]),
        (["model.backbone.name=xceptoin"], ["xceptoin", "xception"]),
        (["data=rvf10k", "paths.data=/nowhere", "model.backbone.pretrained=false"], ["/nowhere/rvf10k", "data.root"]),
    ],
)
def test_the_command_line_answers_in_a_line_or_two_without_traceback(arguments: list[str], words: list[str]) -> None:
    done = train(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    for word in words:
        assert word in done.stderr


def test_help_is_readable_and_imports_nothing_heavy() -> None:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "python train.py model=xception_texture data=rvf10k" in done.stdout
    for heavy in ("torch", "pytorch_lightning", "timm", "wandb", "albumentations", "sklearn"):
        assert f" {heavy}\n" not in done.stderr, f"--help imports {heavy}"
    assert time.perf_counter() - started < 30  # the bar of 3 s is measured in benchmarks/, this only catches a hang
