"""`veriscope predict`: verdicts."""

import argparse
import os
from pathlib import Path

from veriscope.commands.arguments import Commands, above_zero, add_faces, not_negative, positive, share
from veriscope.processes import keep_freed_memory


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        help="real or fake? for files and folders",
        description="Judge images and videos: real, fake or unsure, with the calibrated probability of fake.",
        epilog="Exit code: 0 everything judged, if only as unsure; 1 some files without a verdict; 2 bad arguments, "
        "bundle or path; 3 a verdict that --fail-on names.",
    )
    _add_inputs(parser)
    _add_outputs(parser)
    add_terms(parser)
    add_faces(parser)
    _add_videos(parser)
    _add_speed(parser)
    parser.set_defaults(run=_run)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle",
        type=Path,
        metavar="BUNDLE",
        help="folder that a training run left at RUN/bundle, or a file of `veriscope export`",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="image or video; folder, searched recursively for both; pattern as 'a/**/*.png'; - for a picture that "
        "standard input holds",
    )
    parser.add_argument(
        "--from-lists",
        action="store_true",
        help="the PATHs are lists that name files, one a line, or ended by null bytes (-: standard input is one)",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    forms.add_argument("--jsonl", action="store_true", help="one line of JSON for each picture, as it is judged")
    forms.add_argument("--csv", action="store_true", help="CSV instead of the table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of standard output")
    parser.add_argument(
        "--resume", action="store_true", help="go on with an --output FILE.csv or FILE.jsonl that was ended"
    )
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=("fake", "unsure"),
        help="exit code 3 where a picture got this verdict; may stand twice",
    )

    parser.add_argument(
        "--heat-maps",
        type=Path,
        metavar="DIR",
        help="write a heat map of each picture, too: what speaks for its class (a page of them: veriscope explain)",
    )


def add_terms(parser: argparse.ArgumentParser) -> None:
    """Add what turns scores into verdicts."""
    parser.add_argument(
        "--threshold",
        metavar="val|default|0.xx",
        help="score from which on a picture is called fake (default: val, the one chosen on the validation data; of an "
        "ensemble out_of_fold)",
    )
    parser.add_argument(
        "--base-rate",
        type=share,
        metavar="SHARE",
        help="share of fakes among such pictures, as 0.05: scores are corrected to it (default: no correction)",
    )
    parser.add_argument(
        "--ood-threshold", type=float, metavar="SHARE", help="stranger than this share of val: unsure (1: never)"
    )
    parser.add_argument("--no-unsure", action="store_true", help="call every picture real or fake, never unsure")


def _add_videos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames-per-second",
        type=above_zero,
        default=2.0,
        metavar="X",
        help="of a video: frames judged a second (default: 2; 0.1: one every ten seconds)",
    )
    parser.add_argument(
        "--max-frames",
        type=positive,
        default=200,
        metavar="N",
        help="of a video: the most frames judged, spread evenly over it (default: 200)",
    )
    parser.add_argument("--timeline", type=Path, metavar="DIR", help="write a picture of each video's scores over time")


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="images a pass (default: 32)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16"), help="auto: bf16 where the hardware has it"
    )
    parser.add_argument(
        "--workers",
        type=not_negative,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="threads that decode (default: 4, or as many as there are cores)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.predict.command import run_predict

    keep_freed_memory()
    return run_predict(arguments)
