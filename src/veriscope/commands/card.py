"""`veriscope card`: a model card with figures of evaluations."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the command."""
    text = "a model card with the figures of evaluations, in Hugging Face's format; the bundle's own card stays"
    parser = commands.add_parser("card", help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that a training run left at RUN/bundle")
    parser.add_argument("--report", type=Path, nargs="+", required=True, metavar="FOLDER", help="evaluations of it")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: MODEL_CARD.md in the first FOLDER")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.evaluation.model_card import run_card

    return run_card(arguments)
