from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from veriscope.config.load import CONF_DIR, compose_run, to_plain, validate
from veriscope.config.schema import RunConfig
from veriscope.errors import ConfigError, RunError
from veriscope.run_folder import Progress, RunFolder
from veriscope.standing import config_hash, differences, standing


def config(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        plain = to_plain(compose("train", list(overrides)))
    plain.pop("resume")
    return validate(RunConfig, plain)


def test_what_decides_the_result_is_hashed_and_nothing_else():
    same = config("paths.runs=elsewhere", "logger=wandb", "trainer.progress=false", "tag=x")
    assert config_hash(same) == config_hash(config())
    assert config_hash(config("split=kfold", "crossval.ensemble=true")) == config_hash(config("split=kfold"))
    for word in ("seed=1", "optim.lr=0.5", "split.fold=0", "data.batch_size=3", "augment=affine"):
        assert config_hash(config(word)) != config_hash(config()), word


def test_the_difference_is_named():
    assert differences(config("optim.lr=0.25"), config("optim.lr=0.5", "seed=7")) == [
        "optim.lr was 0.25, is 0.5",
        "seed was 42, is 7",
    ]


def test_new_begun_complete_and_another(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    assert standing(folder, config()) == "new"
    folder.path.mkdir()
    assert standing(folder, config()) == "new"
    folder.save_config(config())
    assert standing(folder, config("tag=other")) == "begun"
    folder.save_progress(Progress(data_hash="", complete=True))
    assert standing(folder, config()) == "complete"
    with pytest.raises(RunError, match="begun under another configuration: seed was 42, is 1"):
        standing(folder, config("seed=1"))


def test_a_command_line_is_composed_as_train_py_would():
    assert compose_run(["++optim.lr=0.5", "split.fold=2"]) == config("optim.lr=0.5", "split.fold=2")
    with pytest.raises(ConfigError, match="Did you mean 'lr'"):
        compose_run(["optim.lrr=0.5"])
