"""`veriscope explain`: heat maps."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, add_faces, positive
from veriscope.commands.predict import add_terms
from veriscope.processes import keep_freed_memory


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        help="where in a picture the evidence lies, as heat maps and a page",
        description="Judge images as veriscope predict does, and write for each a heat map of what speaks for fake, or "
        "for real, and a page of all: DIR/explain.html. It says what a heat map can't tell; docs/explain.md says more.",
        epilog="Exit code: 0 every picture explained; 1 some files without a verdict; 2 bad arguments, bundle or path.",
    )
    parser.add_argument(
        "bundle",
        type=Path,
        metavar="BUNDLE",
        help="folder that a training run left at RUN/bundle, or a file of `veriscope export` (with --method occlusion)",
    )
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="image files, folders, patterns, or -: as veriscope predict"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="new folder for NAME.heat.png and explain.html"
    )
    parser.add_argument(
        "--method",
        choices=("grad_cam", "occlusion"),
        default="grad_cam",
        help="grad_cam: by the network's gradient, one pass more (default); occlusion: hides square by square, which "
        "needs no gradient and some 170 passes a picture",
    )
    parser.add_argument("--target", choices=("fake", "real"), default="fake", help="evidence for which (default: fake)")
    add_terms(parser)
    add_faces(parser)
    parser.add_argument("--batch-size", type=positive, default=32, metavar="N", help="squares a pass (default: 32)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "fp32", "bf16"),
        help="of verdicts and of occlusion, as veriscope predict; Grad-CAM is fp32 always",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.predict.explain import run_explain

    keep_freed_memory()
    return run_explain(arguments)
