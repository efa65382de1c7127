"""A run has begun when its config.yaml is there; what was killed before that begins anew."""

from pathlib import Path

import pytest

from veriscope.config.load import compose_run
from veriscope.errors import RunError
from veriscope.run_folder import RunFolder, create_run_folder


def test_a_folder_that_was_left_before_its_beginning_is_a_new_one(tmp_path: Path) -> None:
    config = compose_run([f"paths.run_dir={tmp_path}/run"])
    folder = create_run_folder(config, multirun_dir=None)
    for name in (
        ".lock",
        ".config.yaml.ab12.partial",
        "provenance.json",
        "split.parquet",
        "folds.parquet",
        "preview.png",
    ):
        (folder.path / name).write_text("{}")
    assert create_run_folder(config, multirun_dir=None) == folder
    folder.save_config(config)
    with pytest.raises(RunError, match="is not empty; choose another, or go on with it"):
        create_run_folder(config, multirun_dir=None)


def test_anything_else_in_it_is_somebodys_work(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="is not empty"):
        create_run_folder(compose_run([f"paths.run_dir={tmp_path}"]), multirun_dir=None)


def test_a_first_start_that_never_began_is_no_start(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_provenance({"overrides": ["old"]}, diff=None)
    folder.save_provenance({"overrides": ["new"]}, diff=None)
    assert folder.load_provenance() == {"overrides": ["new"]}
    folder.save_config(compose_run([]))
    folder.save_provenance({"overrides": ["resume=x"]}, diff=None)
    assert folder.load_provenance() == {"overrides": ["new"], "resumed": [{"overrides": ["resume=x"]}]}
