"""`veriscope audit`: could a detector cheat on this data set?"""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, positive
from veriscope.processes import num_cores


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "audit",
        help="could a detector cheat on this data set? before any training",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_TEXT,
        epilog="Exit code: 0 the verdict is pass or warn; 1 it is stop; 2 bad input; 130 interrupted, what was looked "
        "at is kept.",
    )
    parser.add_argument(
        "data",
        metavar="DATA",
        help="folder (pictures, tar shards, save_to_disk), list of files (.csv, .parquet), or a file of conf/data",
    )
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="of data, audit and paths, see above"
    )
    parser.add_argument("--against", metavar="DATA", help="look for copies between the two data sets, too")
    parser.add_argument("--quick", action="store_true", help="names, sizes, headers and file hashes only")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="else a dated one under runs/audits")
    parser.add_argument(
        "--workers", type=positive, default=num_cores(), metavar="N", help="processes (default: the cores)"
    )
    parser.set_defaults(run=_run)


_TEXT = """\
Look at a data set before any training, and say whether a detector could cheat on it: files that can't be read, copies
that stand on both sides of a split, facts that tell the label without a look at the picture. Each check says pass, warn
or stop. What was found out about a file is kept by its content: the next audit takes a moment.

  veriscope audit rvf10k                                  a file of conf/data
  veriscope audit DIR                                     your own folders, as for data=folder data.root=DIR
  veriscope audit LIST.csv --set data.root=DIR            a list of files
  veriscope audit DIR --set 'data.class_map={camera: real, sd: fake}'   what the folders mean
  veriscope audit rvf10k --set audit.shortcuts.warn_auroc=0.65 paths.data=DIR
  veriscope audit rvf10k --against cifake                 copies between the two, too

Then: veriscope align DIR OUT where files of the two classes differ; veriscope audit OUT.
"""


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.audit.command import audit_command

    return audit_command(arguments)
