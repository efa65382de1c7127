"""`veriscope align`: both classes in one format, size and JPEG history."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, not_negative, positive, quality


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "align",
        help="copy a data set with both classes in one format, size and JPEG history",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_TEXT,
        epilog="Exit code: 0 done; 1 done, but for pictures that can't be read (all are listed in align.json); 2 bad "
        "input; 130 interrupted.",
    )
    parser.add_argument("data", metavar="DATA", help="folder, CSV or Parquet list, or a name of conf/data")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder, or one that was begun with the same options")
    parser.add_argument("--format", choices=("auto", "jpeg", "png"), default="auto", help="auto: jpeg where any is one")
    parser.add_argument(
        "--size",
        default="auto",
        metavar="POLICY",
        help="auto, keep, crop, crop:N (native pixels), resize or resize:N (scaled); see above",
    )
    parser.add_argument(
        "--quality",
        type=quality,
        metavar="match|N",
        help="match (default): all get the distribution of the coarsest; N: nothing finer than N, all stored with N",
    )
    parser.add_argument("--seed", type=not_negative, default=42, metavar="N", help="of ties and draws (default: 42)")
    parser.add_argument("--workers", type=positive, metavar="N", help="pictures side by side (default: one a core)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, in which time; write nothing")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="words about the data, as train.py takes them",
    )
    parser.set_defaults(run=_run)


_TEXT = """\
Write a copy of DATA in which format, size and JPEG compression tell nothing about the class. DATA stays as it is.

  veriscope align gan_faces aligned/gan_faces                    a data set of conf/data
  veriscope align DIR OUT                                        a folder with real/ and fake/
  veriscope align list.csv OUT --set data.root=DIR               a list of files
  veriscope align DIR OUT --set 'data.class_map={ai: fake}'
  veriscope align DIR OUT --dry-run                              counts, time, disk; writes nothing

Sizes: auto keeps where all pictures have one size; else it crops, where the median picture of each class keeps half of
its shorter side; else it resizes. Pictures smaller than the common size are left out and listed, never enlarged.

After Ctrl-C or kill -9 the same command goes on. OUT opens as data: veriscope align ... OUT; train.py data=folder
data.root=OUT, or, with groups, data=manifest data.file=OUT/manifest.csv.
"""


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.audit.align import run_align

    return run_align(arguments)
