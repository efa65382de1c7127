"""The `veriscope` command. Nothing heavy is imported before a command is known and its arguments are sound."""

import argparse
import sys
from collections.abc import Callable, Sequence

from veriscope import __version__
from veriscope.commands import (
    align,
    audit,
    bench,
    card,
    compare,
    download,
    matrix,
    pack,
    predict,
    reproduce,
    serve,
    summary,
    sweep,
)
from veriscope.errors import (
    INTERRUPTED,
    PIPE_CLOSED,
    TERMINATED,
    Terminated,
    VeriscopeError,
    drop_stdout,
    machine_trouble,
    printable,
)
from veriscope.processes import close_on_sigterm


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
    using = (align, audit, card, compare, download, matrix, pack, predict, reproduce, serve, summary, sweep, bench)
    for command in using:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
