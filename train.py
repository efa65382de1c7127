"""Train a detector. `python train.py --help` shows how."""

from pathlib import Path
from typing import Any

from veriscope.config.load import multirun_dir, run_entry_point, task_overrides, validate
from veriscope.config.schema import RunConfig


def main(plain: dict[str, Any]) -> None:
    """Start, or resume, one run from one composed configuration."""
    resume = plain.pop("resume")
    if resume is None:
        config = validate(RunConfig, plain)  # before torch is imported: a misspelt key should not take seconds

    from veriscope.training.data import load_data
    from veriscope.training.run_folder import open_run_folder
    from veriscope.training.start import new_folder, prepare, start_run

    if resume is None:
        data = prepare(config)
        folder = new_folder(config, multirun_dir=multirun_dir())
    else:
        folder, config = open_run_folder(Path(str(resume)), overrides=task_overrides())
        data = load_data(config)
    start_run(config, folder, data, overrides=task_overrides())


if __name__ == "__main__":
    run_entry_point("train", RunConfig, main)
