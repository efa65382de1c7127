"""`veriscope bench`: this machine's speed."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, not_negative, positive, size
from veriscope.processes import keep_freed_memory


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="how many images a second this machine loads, trains and judges",
        description="Measure this machine: JSON on standard output, for step and predict a table of every precision "
        "and memory format on standard error. Weights are random: they don't change the speed.",
    )
    parser.add_argument(
        "what",
        choices=("step", "predict", "loader", "manifest", "copies", "near"),
        help="step: forward, backward, AdamW; predict: forward; loader: decode and fit the pictures of --folder; "
        "manifest: what a list of --rows files costs; copies: which planted copies of pictures below --folder an audit "
        "finds; near: its search among --rows hashes, made up, or drawn like the pictures below --folder",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="loader: class folders, or shards; else: pictures")
    parser.add_argument("--batches", type=positive, default=30, metavar="N", help="loader (default: 30)")
    parser.add_argument("--window-shards", type=positive, metavar="N", help="loader: as data.window_shards")
    parser.add_argument("--workers", type=not_negative, default=2, metavar="N", help="loader: processes (default: 2)")
    parser.add_argument(
        "--rows", type=positive, default=1_000_000, metavar="N", help="manifest, near (default: 1,000,000)"
    )
    parser.add_argument("--planted", type=positive, default=300, metavar="N", help="copies: originals (default: 300)")
    parser.add_argument("--backbone", default="xception", help="any backbone's name (default: xception)")
    parser.add_argument("--size-px", type=size, default=128, metavar="N", help="side of the input (default: 128)")
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N", help="images a batch (default: 16)")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each setting (default: 5)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from veriscope.bench.report import run_bench

    keep_freed_memory()
    return run_bench(arguments)
