"""`veriscope download`: known data sets from Kaggle and Hugging Face."""

import argparse
import sys
from pathlib import Path

from veriscope.commands.arguments import Commands
from veriscope.errors import ConfigError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "download",
        help="fetch a known data set to where data=NAME finds it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_TEXT,
        epilog="Exit code: 0 done; 1 with --check: a file is not as downloaded; 2 it can't be done, with what to do by "
        "hand; 130 interrupted: the same command goes on.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="as --list shows, or kaggle:OWNER/NAME, hf:OWNER/NAME")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: paths.data (./data, or VERISCOPE_DATA)")
    parser.add_argument("--yes", action="store_true", help="the licence has been read and is accepted")
    parser.add_argument("--list", action="store_true", help="the known data sets")
    parser.add_argument("--check", action="store_true", help="compare a downloaded set with its recorded checksums")
    parser.set_defaults(run=_run)


_TEXT = """\
Fetch a data set from Kaggle or Hugging Face by their own libraries (pip install 'veriscope[hub]').

  veriscope download --list
  veriscope download rvf10k                 shows the licence, asks, downloads to ./data/rvf10k
  veriscope download rvf10k --check         is it still as downloaded?

Keys are taken from their usual places: ~/.kaggle or KAGGLE_API_TOKEN, `hf auth login` or HF_TOKEN.
"""


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from veriscope.config.load import compose_run
    from veriscope.data.download import check_download, download
    from veriscope.data.known_sets import KNOWN_SETS, KnownSet, known_set
    from veriscope.progress import say

    def size(known: KnownSet) -> str:
        return "size unknown" if known.num_bytes is None else f"about {known.num_bytes / 1e9:.1f} GB"

    console = Console()
    to: Path = arguments.to if arguments.to is not None else compose_run([]).paths.data
    if arguments.list:
        for known in KNOWN_SETS:
            there = ", there already" if (to / known.name).exists() else ""
            say(
                console,
                f"{known.name}  {known.title} ({size(known)}{there})\n  {known.page}\n  licence: {known.licence}",
            )
        return 0
    if arguments.name is None:
        raise ConfigError("veriscope download NAME: name a data set; --list shows the known ones")
    known = known_set(arguments.name)
    if arguments.check:
        faults = check_download(known, to=to)
        for fault in faults:
            say(console, fault)
        say(console, f"'{to / known.name}': {f'{len(faults)} files differ' if faults else 'all as downloaded'}")
        return 1 if faults else 0
    say(console, f"{known.title} ({size(known)})\n  {known.page}\n  licence: {known.licence}")
    say(console, f"  cite: {known.citation}\n  note: {known.note}")
    if not arguments.yes and not _accepted():
        raise ConfigError("not downloaded: read the licence on its page; --yes says that you accept it")
    target = download(known, to=to)
    say(console, f"downloaded: {target}\nwith checksums: {target}.download.json")
    opened = {"kaggle": f"data=folder data.root={target}", "huggingface": f"data=hf data.file={target}"}
    say(console, f"python train.py {f'data={known.name}' if known in KNOWN_SETS else opened[known.hub]}")
    return 0


def _accepted() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("Do you accept its terms? [y/N] ").strip().lower() in ("y", "yes")
