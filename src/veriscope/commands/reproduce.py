"""`veriscope reproduce`: known figures again."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "reproduce",
        help="train a recipe of the benchmarks, judge it, and say whether its known figures came out again",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_TEXT,
        epilog="Exit code: 0 every figure is inside; 1 some are outside; 2 bad input, or a training that failed.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="an entry of benchmarks/expected, or a .yaml file")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="where things lie on this machine"
    )
    parser.add_argument("--list", action="store_true", help="what can be reproduced, and what it costs")
    parser.add_argument("--run", dest="run_folder", type=Path, metavar="FOLDER", help="check this run; train nothing")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="instead of runs/reproduce/NAME")
    parser.add_argument("--dry-run", action="store_true", help="list the commands, run nothing")
    parser.set_defaults(run=_run)


_TEXT = """\
Train a recipe as its entry in benchmarks/expected says, judge it, and hold every figure against the known one. Said
again, the same command goes on after Ctrl-C or kill -9.

  veriscope reproduce --list
  veriscope reproduce demo
  veriscope reproduce texture_best --set paths.data=DIR model.backbone.weights=FILE
                                            where things lie on this machine; nothing else may be changed
  veriscope reproduce texture_best --run runs/MINE          check a run that is there
  veriscope reproduce my_entry.yaml                         an entry of your own
"""


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.runs.reproduce import run_reproduce

    return run_reproduce(arguments)
