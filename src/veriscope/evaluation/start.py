"""From a composed configuration to a running evaluation; what evaluate.py calls."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.load import multirun_dir, task_overrides, validate
from veriscope.errors import ConfigError


def start_evaluation(plain: Mapping[str, Any]) -> None:
    """Validate, choose the output folder (paths.run_dir, the multirun's own, or a dated one), and evaluate.

    Raises:
        VeriscopeError: what the user can mend.

    """
    config = validate(EvaluateConfig, plain)
    if not any(word.startswith("data=") for word in task_overrides()):
        raise ConfigError(
            "evaluate.py judges a bundle on data: name it, as data=rvf10k or data=folder data.root=DIR. "
            "Training printed the line for its own data."
        )
    from veriscope.evaluation.run import (
        run_evaluation,
    )  # after validation: torch takes seconds, a misspelt key must not
    from veriscope.provenance import collect, source_commit

    output_dir = config.paths.run_dir or multirun_dir() or _dated_folder(config)
    run_evaluation(
        config, output_dir=output_dir, provenance=collect(seed=config.seed, data_hash=None, commit=source_commit())
    )


def _dated_folder(config: EvaluateConfig) -> Path:
    """Return a free folder runs/evaluations/DATE_DATA[_CORRUPTION]."""
    words = [datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), config.data.name, config.corruption or ""]
    name = "_".join(word.replace(":", "-").replace("/", "-") for word in words if word)
    folder = config.paths.runs / "evaluations" / name
    number = 2
    while folder.exists():
        folder = folder.with_name(f"{name}_{number}")
        number += 1
    return folder
