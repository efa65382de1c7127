"""`veriscope pack`: a data set as tar shards."""

import argparse
from pathlib import Path

from veriscope.commands.arguments import Commands, not_negative, positive
from veriscope.errors import ConfigError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "pack",
        help="write a data set as tar shards that hold the files' own bytes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_TEXT,
        epilog="Exit code: 0 done; 1 with --check: a file is not as it was packed; 2 bad input; 130 interrupted.",
    )
    parser.add_argument("data", metavar="DATA", help="folder, CSV or Parquet list, or name of conf/data; --check: OUT")
    parser.add_argument("out", type=Path, metavar="OUT", nargs="?", help="new folder for the shards")
    parser.add_argument("--shard-mb", type=positive, default=500, metavar="N", help="size of a shard (default: 500 MB)")
    parser.add_argument("--seed", type=not_negative, default=42, metavar="N", help="deals pictures out (default: 42)")
    parser.add_argument("--check", action="store_true", help="compare the packed set DATA with its recorded checksums")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="words about the data, as for train.py",
    )
    parser.set_defaults(run=_run)


_TEXT = """\
Write DATA as tar shards in WebDataset's layout, pictures byte for byte as they are, with an index and checksums.

  veriscope pack rvf10k shards/rvf10k           a data set of conf/data
  veriscope pack DIR OUT --shard-mb 1000        a folder with real/ and fake/
  veriscope pack OUT --check                    is OUT still as it was packed?

Then: python train.py data=shards data.root=OUT. It is the same data: same content hash, splits and results.
"""


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from veriscope.data.pack import check_pack, pack
    from veriscope.progress import say

    console = Console()
    if arguments.check:
        faults = check_pack(Path(arguments.data))
        for fault in faults:
            say(console, fault)
        say(console, f"'{arguments.data}': {f'{len(faults)} files differ' if faults else 'all as packed'}")
        return 1 if faults else 0
    if arguments.out is None:
        raise ConfigError("veriscope pack DATA OUT: name the new folder OUT for the shards")
    from veriscope.config.command import override
    from veriscope.config.named_data import named_data
    from veriscope.data.sources import load_manifest

    data, paths = named_data(arguments.data, settings=arguments.set)
    manifest = load_manifest(data, paths_cache=paths.cache, both_classes=False)
    packed = pack(manifest, arguments.out, shard_bytes=arguments.shard_mb * 1_000_000, seed=arguments.seed)
    shards = f"{packed.num_shards} shard{'s' if packed.num_shards != 1 else ''}"
    say(console, f"{packed.num_pictures:,} pictures in {shards}, {packed.num_bytes / 1e6:,.1f} MB")
    if packed.num_unreadable:
        say(console, f"{packed.num_unreadable} of them could not be read and are empty; loading counts them")
    say(console, f"content hash {packed.content_hash[:12]}, the same as that of the source")
    say(console, f"train on it: python train.py data=shards {override('data.root', packed.folder)}")
    return 0
