"""`veriscope compare`: models on the same pictures."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, draws, level, not_negative


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="which of several models is better on the same pictures, and is it more than luck",
        description="Compare evaluations of the same pictures with paired tests: DeLong for AUROC, McNemar for "
        "accuracy, a paired bootstrap for the rest, corrected for the number of pairs (Holm).",
        epilog="Exit code: 0 compared; 2 bad arguments, or tables of different pictures.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="[NAME=]PATH",
        help="folder that evaluate.py wrote, its predictions.parquet, or a run (its validation, which are selected "
        "figures); two or more",
    )
    parser.add_argument("--metric", default="auroc", metavar="KEY", help="what ranks them (default: auroc)")
    parser.add_argument("--level", type=level, default=0.95, metavar="0.xx", help="of intervals (default: 0.95)")
    parser.add_argument(
        "--draws", type=draws, default=2000, metavar="N", help="bootstrap resamples, 100 or more (default: 2000)"
    )
    parser.add_argument("--seed", type=not_negative, default=42, metavar="N", help="of the resamples (default: 42)")
    # --output is what the other commands call it.
    parser.add_argument(
        "--out", "--output", type=Path, metavar="FOLDER", help="write compare.html, .png, .json, .csv there"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.evaluation.compare_output import run_compare

    return run_compare(arguments)
