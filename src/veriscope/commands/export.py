"""`veriscope export`: a bundle as one file that runs without torch."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, checked, positive
from veriscope.processes import keep_freed_memory


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="a bundle as one ONNX file, which predict and serve run without torch",
        description="Write a bundle as one ONNX file with all that its scores mean, after comparing its answers with "
        "torch's: on made pictures always, and with --check over the whole chain from your files to their verdicts.",
        epilog="Exit code: 0 written; 2 bad arguments, or answers that differ too much: then nothing is written. "
        "Needs: pip install 'veriscope[export]'.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that a training run left at RUN/bundle")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.onnx", help="default: BUNDLE.onnx beside it")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="what to write (default: onnx)")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="DIR",
        help="pictures to compare on; class folders (real, fake) give the AUROC too",
    )
    parser.add_argument(
        "--int8", action="store_true", help="8 bits: a quarter of the size, and other scores; needs both folders"
    )
    parser.add_argument(
        "--calibrate", type=Path, metavar="DIR", help="--int8: pictures like yours, which set its ranges; not --check's"
    )
    parser.add_argument(
        "--max-flips",
        type=checked(float, lambda value: 0 <= value <= 1, "is not between 0 and 1"),
        default=0.05,
        metavar="SHARE",
        help="--int8: not written where more verdicts of --check change (default: 0.05)",
    )
    parser.add_argument(
        "--pictures", type=positive, default=200, metavar="N", help="drawn from each folder (default: 200)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.export.command import run_export

    keep_freed_memory()
    return run_export(arguments)
