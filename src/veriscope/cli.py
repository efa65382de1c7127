"""The `veriscope` command. Nothing heavy is imported before a command is known and its arguments are sound."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from veriscope import __version__
from veriscope.errors import (
    INTERRUPTED,
    PIPE_CLOSED,
    TERMINATED,
    ConfigError,
    Terminated,
    VeriscopeError,
    drop_stdout,
    machine_trouble,
    printable,
)
from veriscope.processes import close_on_sigterm

if TYPE_CHECKING:
    # "_SubParsersAction" is argparse's own name for what add_subparsers returns.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 done in part, 2 bad input, 130 interrupted, 141 pipe closed."""
    arguments = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = arguments.run
    close_on_sigterm()
    try:
        return run(arguments)
    except VeriscopeError as error:
        print(f"veriscope: {printable(str(error), keep=chr(10))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        drop_stdout()
        return PIPE_CLOSED
    except Terminated:
        print("veriscope: ended by SIGTERM", file=sys.stderr)
        return TERMINATED
    except KeyboardInterrupt:
        print("veriscope: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        trouble = machine_trouble(error)
        if trouble is None:
            raise
        print(f"veriscope: {trouble}", file=sys.stderr)
        return VeriscopeError.exit_code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="veriscope",
        description="Judge pictures with a trained detector of deepfakes and AI-generated images.",
        epilog="Training and evaluation: python train.py --help, python evaluate.py --help.",
    )
    parser.add_argument("--version", action="version", version=f"veriscope {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_compare(commands)
    _add_matrix(commands)
    _add_predict(commands)
    _add_reproduce(commands)
    _add_summary(commands)
    _add_sweep(commands)
    _add_bench(commands)
    return parser


def _add_compare(commands: "Commands") -> None:
    parser = commands.add_parser(
        "compare",
        help="which of several models is better on the same pictures, and is it more than luck",
        description="Compare evaluations of the same pictures with paired tests: DeLong for AUROC, McNemar for "
        "accuracy, a paired bootstrap for the rest, corrected for the number of pairs (Holm).",
        epilog="Exit code: 0 compared; 2 bad arguments, or tables of different pictures.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="[NAME=]PATH",
        help="folder that evaluate.py wrote, its predictions.parquet, or a run (its validation, which are selected "
        "figures); two or more",
    )
    parser.add_argument("--metric", default="auroc", metavar="KEY", help="what ranks them (default: auroc)")
    parser.add_argument("--level", type=_level, default=0.95, metavar="0.xx", help="of intervals (default: 0.95)")
    parser.add_argument(
        "--draws", type=_draws, default=2000, metavar="N", help="bootstrap resamples, 100 or more (default: 2000)"
    )
    parser.add_argument("--seed", type=_not_negative, default=42, metavar="N", help="of the resamples (default: 42)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write compare.html, .png, .json, .csv there")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from veriscope.evaluation.compare_output import run_compare

    return run_compare(arguments)


def _add_matrix(commands: "Commands") -> None:
    parser = commands.add_parser(
        "matrix",
        help="every detector on every data set, as one table and heat map",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_MATRIX_TEXT,
        epilog="Exit code: 0 done; 1 some cells failed, the others are done; 2 bad input; 130 interrupted, after what "
        "is there was written up.",
    )
    parser.add_argument("bundles", nargs="*", metavar="BUNDLE", help="bundle or run folder, or LABEL=BUNDLE")
    parser.add_argument("--data", nargs="+", action="extend", default=[], metavar="DATA", help="data sets, see above")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="words for every evaluate.py"
    )
    parser.add_argument(
        "--metric",
        choices=("auroc", "ap", "accuracy", "balanced_accuracy"),
        default="auroc",
        help="what the cells show (default: auroc); accuracies are at the threshold that each bundle brings along",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="else a dated one under runs/matrix")
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="cells side by side (default: one a GPU, or one)"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the commands, run nothing")
    parser.add_argument(
        "--from",
        dest="from_folders",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FOLDER",
        help="score nothing: make the table of the evaluations in or below these folders",
    )
    parser.set_defaults(run=_matrix)


_MATRIX_TEXT = """\
Judge every detector on every data set: does it know fakes, or only the data set that it was trained on? Each cell is
one `python evaluate.py WORDS` process; one that is complete for the same bundle, pictures and settings is skipped.

  veriscope matrix runs/A runs/B/bundle --data rvf10k gan_faces cifake
  veriscope matrix stylegan=runs/A ... --data ...                LABEL= names a row, or a column, otherwise
  veriscope matrix ... --data rvf10k:subset=val rvf10k:corruption=jpeg:75 folder:data.root=DIR
                                      a file of conf/data, then what evaluate.py has to know of it: :KEY=VALUE
  veriscope matrix ... --set paths.data=DIR device=cpu           words for every evaluate.py
  veriscope matrix ... --output FOLDER                           go on there after Ctrl-C or kill -9; add rows, columns
  veriscope matrix --from runs/evaluations                       the table of evaluations that are there
"""


def _matrix(arguments: argparse.Namespace) -> int:
    from veriscope.runs.matrix import run_matrix

    return run_matrix(arguments)


def _add_predict(commands: "Commands") -> None:
    parser = commands.add_parser(
        "predict",
        help="real or fake? for files and folders",
        description="Judge images: real, fake or unsure, with the calibrated probability of fake.",
        epilog="Exit code: 0 everything judged, if only as unsure; 1 some files without a verdict; 2 bad arguments, "
        "bundle or path.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder that a training run left at RUN/bundle")
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="image file, or folder searched recursively for images"
    )
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON document instead of the table")
    forms.add_argument("--csv", action="store_true", help="CSV instead of the table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there instead of standard output")
    parser.add_argument(
        "--threshold",
        metavar="val|default|0.xx",
        help="score from which on a picture is called fake (default: val, the one chosen on the validation data; of an "
        "ensemble out_of_fold)",
    )
    parser.add_argument(
        "--base-rate",
        type=_share,
        metavar="SHARE",
        help="share of fakes among such pictures, as 0.05: scores are corrected to it (default: no correction)",
    )
    parser.add_argument(
        "--ood-threshold", type=float, metavar="SHARE", help="stranger than this share of val: unsure (1: never)"
    )
    parser.add_argument("--no-unsure", action="store_true", help="call every picture real or fake, never unsure")
    parser.add_argument("--batch-size", type=_positive, default=32, metavar="N", help="images a pass (default: 32)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16"), help="auto: bf16 where the hardware has it"
    )
    parser.add_argument(
        "--workers",
        type=_not_negative,
        default=min(4, os.cpu_count() or 1),
        metavar="N",
        help="threads that decode (default: 4, or as many as there are cores)",
    )
    parser.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from veriscope.predict.command import run_predict

    return run_predict(arguments)


def _add_reproduce(commands: "Commands") -> None:
    parser = commands.add_parser(
        "reproduce",
        help="train a recipe of the benchmarks, judge it, and say whether its known figures came out again",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_REPRODUCE_TEXT,
        epilog="Exit code: 0 every figure is inside; 1 some are outside; 2 bad input, or a training that failed.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="an entry of benchmarks/expected, or a .yaml file")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="where things lie on this machine"
    )
    parser.add_argument("--list", action="store_true", help="what can be reproduced, and what it costs")
    parser.add_argument("--run", dest="run_folder", type=Path, metavar="FOLDER", help="check this run; train nothing")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="instead of runs/reproduce/NAME")
    parser.add_argument("--dry-run", action="store_true", help="list the commands, run nothing")
    parser.set_defaults(run=_reproduce)


_REPRODUCE_TEXT = """\
Train a recipe as its entry in benchmarks/expected says, judge it, and hold every figure against the known one. Said
again, the same command goes on after Ctrl-C or kill -9.

  veriscope reproduce --list
  veriscope reproduce demo
  veriscope reproduce texture_best --set paths.data=DIR model.backbone.weights=FILE
                                            where things lie on this machine; nothing else may be changed
  veriscope reproduce texture_best --run runs/MINE          check a run that is there
  veriscope reproduce my_entry.yaml                         an entry of your own
"""


def _reproduce(arguments: argparse.Namespace) -> int:
    from veriscope.runs.reproduce import run_reproduce

    return run_reproduce(arguments)


def _add_summary(commands: "Commands") -> None:
    parser = commands.add_parser(
        "summary",
        help="one table of the runs in a folder: what differs, what came of it, the spread over seeds or folds",
        description="Sum up the run folders in FOLDER, as python train.py -m does at its end: after a launcher's jobs "
        "have ended on a cluster, or for any runs that you put side by side. Writes summary.csv and summary.json "
        "there, and the report of a cross-validation where the runs are all its folds.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of run folders, as runs/sweeps/DATE")
    parser.set_defaults(run=_summary)


def _summary(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from veriscope.runs.summary import summarise

    summarise(arguments.folder, console=Console())
    return 0


def _add_sweep(commands: "Commands") -> None:
    parser = commands.add_parser(
        "sweep",
        help="search for good settings: many training runs, each a trial",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_SWEEP_TEXT,
        epilog="Exit code: 0 done; 2 bad input, or no trial came to its end; 130 interrupted, after what is there was "
        "written up.",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the first trials' commands, run nothing")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="WORD", help="KEY=VALUE, see above")
    parser.set_defaults(run=_sweep, show_help=parser.print_help)


_SWEEP_TEXT = """\
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


def _sweep(arguments: argparse.Namespace) -> int:
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


def _add_bench(commands: "Commands") -> None:
    parser = commands.add_parser(
        "bench",
        help="how many images a second this machine loads, trains and judges",
        description="Measure this machine: JSON on standard output, for step and predict a table of every precision "
        "and memory format on standard error. Weights are random: they don't change the speed.",
    )
    parser.add_argument(
        "what",
        choices=("step", "predict", "loader", "manifest"),
        help="step: forward, backward, AdamW; predict: forward; loader: decode and fit the pictures of --folder; "
        "manifest: what a list of --rows files costs",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="loader: class folders of pictures, as real/ fake/")
    parser.add_argument("--workers", type=_not_negative, default=2, metavar="N", help="loader: processes (default: 2)")
    parser.add_argument("--rows", type=_positive, default=1_000_000, metavar="N", help="manifest (default: 1,000,000)")
    parser.add_argument("--backbone", default="xception", help="any backbone's name (default: xception)")
    parser.add_argument("--size-px", type=_size, default=128, metavar="N", help="side of the input (default: 128)")
    parser.add_argument("--batch-size", type=_positive, default=16, metavar="N", help="images a batch (default: 16)")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each setting (default: 5)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.set_defaults(run=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from veriscope.bench.report import run_bench

    return run_bench(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{value:g} is not between 0 and 1")
    return value


def _draws(text: str) -> int:
    value = int(text)
    if not 100 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{value} is not between 100 and 1,000,000")
    return value


def _level(text: str) -> float:
    value = float(text)
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 1, as 0.95")
    return value


def _size(text: str) -> int:
    value = int(text)
    if not 32 <= value <= 2048:
        raise argparse.ArgumentTypeError(f"{value} is not between 32 and 2048")
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
