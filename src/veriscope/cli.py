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
from veriscope.errors import (
    INTERRUPTED,
    PIPE_CLOSED,
    TERMINATED,
    Terminated,
    VeriscopeError,
    complain,
    drop_stdout,
    machine_trouble,
    open_closed_streams,
    printable,
)
from veriscope.processes import close_on_sigterm, terminated

ENDED = "veriscope: ended by SIGTERM"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 done in part, 2 bad input, 130 interrupted, 141 pipe closed."""
    open_closed_streams()
    parser = build_parser()
    arguments, unknown = parser.parse_known_args(argv)
    settable = hasattr(arguments, "set")
    if unknown:
        hint = "; KEY=VALUE stands behind --set" if settable and "=" in unknown[0] else ""
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
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
    parser = argparse.ArgumentParser(
        prog="veriscope",
        description="Look at data, and judge pictures with trained detectors of deepfakes and AI-generated images.",
        epilog="Training and evaluation: python train.py --help, python evaluate.py --help.",
    )
    parser.add_argument("--version", action="version", version=f"veriscope {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (
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
    ):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
