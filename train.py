"""Train a detector. `python train.py --help` shows how."""

from pathlib import Path
from typing import Any

from veriscope.config.load import multirun_dir, run_entry_point, task_overrides, validate
from veriscope.config.schema import RunConfig
from veriscope.processes import end_with_parent, keep_freed_memory


def main(plain: dict[str, Any]) -> None:
    """Start, or resume, one run or one cross-validation from one composed configuration."""
    resume, overrides = plain.pop("resume"), task_overrides()
    if resume is None:
        config = validate(RunConfig, plain)  # before torch is imported: a misspelt key should not take seconds
    else:
        from veriscope.run_folder import open_run_folder

        folder, config = open_run_folder(Path(str(resume)), overrides=overrides)
    if config.split.all_folds:
        from veriscope.runs.crossval import resume_crossval, start_crossval

        if resume is None:
            start_crossval(config, overrides=overrides, multirun_dir=multirun_dir())
        else:
            resume_crossval(config, folder)
    else:
        from veriscope.training.start import resume_training, start_training

        if resume is None:
            start_training(config, overrides=overrides, multirun_dir=multirun_dir())
        else:
            resume_training(config, folder, overrides=overrides)


if __name__ == "__main__":
    end_with_parent()
    keep_freed_memory()
    run_entry_point("train", RunConfig, main)
