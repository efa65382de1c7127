"""`veriscope summary`: a table of many runs."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "summary",
        help="one table of the runs in a folder: what differs, what came of it, the spread over seeds or folds",
        description="Sum up the run folders in FOLDER, as python train.py -m does at its end: after a launcher's jobs "
        "have ended on a cluster, or for any runs that you put side by side. Writes summary.csv and summary.json "
        "there, and the report of a cross-validation where the runs are all its folds.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of run folders, as runs/sweeps/DATE")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from veriscope.runs.summary import summarise

    summarise(arguments.folder, console=Console())
    return 0
