"""`veriscope matrix`: every detector on every data set."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, positive


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "matrix",
        help="every detector on every data set, as one table and heat map",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_TEXT,
        epilog="Exit code: 0 done; 1 some cells failed, the others are done; 2 bad input; 130 interrupted, after what "
        "is there was written up.",
    )
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="bundle or run folder, or LABEL=BUNDLE")
    parser.add_argument("--data", nargs="+", action="extend", default=[], metavar="DATA", help="data sets, see above")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="words for every evaluate.py"
    )
    parser.add_argument(
        "--metric",
        choices=("auroc", "ap", "accuracy", "balanced_accuracy"),
        default="auroc",
        help="what the cells show (default: auroc); accuracies are at the threshold that each bundle brings along",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="else a dated one under runs/matrix")
    parser.add_argument("--workers", type=positive, metavar="N", help="cells side by side (default: one a GPU, or one)")
    parser.add_argument("--dry-run", action="store_true", help="list the commands, run nothing")
    parser.add_argument(
        "--from",
        dest="from_folders",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FOLDER",
        help="score nothing: make the table of the evaluations in or below these folders",
    )
    parser.set_defaults(run=_run)


_TEXT = """\
Judge every detector on every data set: does it know fakes, or only the data set that it was trained on? Each cell is
one `python evaluate.py WORDS` process; one that is complete for the same bundle, pictures and settings is skipped.

  veriscope matrix runs/A runs/B/bundle --data rvf10k gan_faces cifake
  veriscope matrix stylegan=runs/A ... --data ...                LABEL= names a row, or a column, otherwise
  veriscope matrix ... --data rvf10k:subset=val rvf10k:corruption=jpeg:75 folder:data.root=DIR
                                      a file of conf/data, then what evaluate.py has to know of it: :KEY=VALUE
  veriscope matrix ... --set paths.data=DIR device=cpu           words for every evaluate.py
  veriscope matrix ... --output FOLDER                           go on there after Ctrl-C or kill -9; add rows, columns
  veriscope matrix --from runs/evaluations                       the table of evaluations that are there
"""


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.runs.matrix import run_matrix

    return run_matrix(arguments)
