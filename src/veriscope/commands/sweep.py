"""`veriscope sweep`: a search for settings."""

import argparse

from veriscope.commands.arguments import Commands
from veriscope.errors import ConfigError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="search for good settings: many training runs, each a trial",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_TEXT,
        epilog="Exit code: 0 done; 2 bad input, or no trial came to its end; 130 interrupted, after what is there was "
        "written up.",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the first trials' commands, run nothing")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="WORD", help="KEY=VALUE, see above")
    parser.set_defaults(run=_run, show_help=parser.print_help)


_TEXT = """\
Search for good settings. Each trial is one `python train.py WORDS` process with values for the searched keys.

  veriscope sweep data=rvf10k                            the sweep of conf/sweep/optuna_xception.yaml
  veriscope sweep sweep=auroc_speed data=rvf10k          another file of conf/sweep
  veriscope sweep sweep.trials=8 sweep.workers=2 ...     any value of the sweep
  veriscope sweep 'sweep.space.optim.lr.high=1e-2' ...   another range; ~sweep.space.optim.lr leaves a key out
  veriscope sweep data=folder data.root=DIR trainer.max_epochs=5 logger=wandb
                                                         every other word goes to each trial's train.py
  veriscope sweep paths.run_dir=DIR ...                  the sweep's folder (else a dated one under runs/sweeps)
  veriscope sweep resume=FOLDER [sweep.trials=50]        go on after Ctrl-C, kill -9 or the last trial
"""


def _run(arguments: argparse.Namespace) -> int:
    words: list[str] = arguments.words
    if "--help" in words or "-h" in words:
        arguments.show_help()
        return 0
    dry_run = arguments.dry_run or "--dry-run" in words or "dry_run=true" in words
    words = [word for word in words if word != "--dry-run"]
    wrong = next((word for word in words if "=" not in word and not word.startswith("~")), None)
    if wrong is not None:
        raise ConfigError(f"'{wrong}' is no word of a sweep: they read KEY=VALUE; see veriscope sweep --help")

    from veriscope.runs.sweep_plan import read_sweep

    folder, plan = read_sweep(words)  # before torch and Optuna are imported: a misspelt key should not take seconds

    from veriscope.runs.sweep import run_sweep

    run_sweep(plan, folder, words=words, dry_run=dry_run)
    return 0
