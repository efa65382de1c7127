"""Judge a bundle. `python evaluate.py --help` shows how."""

from typing import Any

from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.load import run_entry_point
from veriscope.processes import end_with_parent, keep_freed_memory


def main(plain: dict[str, Any]) -> None:
    """Start one evaluation from one composed configuration."""
    from veriscope.evaluation.start import start_evaluation  # late: torch takes seconds, --help must not

    start_evaluation(plain)


if __name__ == "__main__":
    end_with_parent()
    keep_freed_memory()
    run_entry_point("evaluate", EvaluateConfig, main)
