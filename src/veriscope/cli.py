"""The `veriscope` command. Nothing heavy is imported before a command is known and its arguments are sound."""

import argparse
import re
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
    explain,
    export,
    matrix,
    pack,
    predict,
    reproduce,
    serve,
    summary,
    sweep,
)
from veriscope.commands.arguments import Parser
from veriscope.errors import (
    INTERRUPTED,
    PIPE_CLOSED,
    TERMINATED,
    Terminated,
    VeriscopeError,
    complain,
    drop_stdout,
    machine_trouble,
    nearest,
    open_closed_streams,
    printable,
)
from veriscope.processes import close_on_sigterm, terminated

ENDED = "veriscope: ended by SIGTERM"

COMMANDS = (
    align,
    audit,
    card,
    compare,
    download,
    explain,
    export,
    matrix,
    pack,
    predict,
    reproduce,
    serve,
    summary,
    sweep,
    bench,
)
NAMES = tuple(command.__name__.rpartition(".")[2] for command in COMMANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 done in part, 2 bad input, 130 interrupted, 141 pipe closed."""
    open_closed_streams()
    words = sys.argv[1:] if argv is None else argv
    parser = build_parser()
    if words and not words[0].startswith("-") and words[0] not in NAMES:
        parser.error(f"there is no command '{words[0]}'. {nearest(words[0], NAMES)}")
    arguments = parser.parse_args(words)
    settable = hasattr(arguments, "set")
    run: Callable[[argparse.Namespace], int] = arguments.run
    close_on_sigterm()
    try:
        return run(arguments)
    except VeriscopeError as error:
        if terminated():  # pydantic takes what is raised while it validates for a fault in the file
            complain(ENDED)
            return TERMINATED
        text = str(error)
        # Readers speak to whoever types train.py, where such words stand alone.
        hint = (
            " Say it behind --set."
            if settable and "--set" not in text and re.search(r"\b(data|paths)\.\w+=", text)
            else ""
        )
        complain(f"veriscope: {printable(text, keep=chr(10))}{hint}")
        return error.exit_code
    except BrokenPipeError:
        drop_stdout()
        return PIPE_CLOSED
    except Terminated:
        complain(ENDED)
        return TERMINATED
    except KeyboardInterrupt:
        complain("veriscope: interrupted")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "veriscope":
            raise
        complain(f"veriscope: this needs {error.name}, which isn't here: pip install veriscope")
        return VeriscopeError.exit_code
    except Exception as error:
        trouble = machine_trouble(error)
        if trouble is None:
            raise
        complain(f"veriscope: {trouble}")
        return VeriscopeError.exit_code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="veriscope",
        description="Look at data, and judge pictures with trained detectors of deepfakes and AI-generated images.",
        epilog="Training and evaluation: python train.py --help, python evaluate.py --help.",
    )
    parser.add_argument("--version", action="version", version=f"veriscope {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
