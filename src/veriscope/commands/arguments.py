"""What arguments of the command line may be."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from veriscope.errors import nearest

if TYPE_CHECKING:
    # "_SubParsersAction" is argparse's own name for what add_subparsers returns.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object


class Parser(argparse.ArgumentParser):
    """Says what is wrong, the nearest right word, and where the rest stands, in two lines; exit code 2."""

    def error(self, message: str) -> NoReturn:
        """End with the message. The usage of a command with thirty options would bury it."""
        self.exit(2, f"{self.prog}: error: {message}\n  {self.prog} --help lists what it takes.\n")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Refuse what is unknown here, where the command that it was said to is known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._about(unknown, settable=hasattr(found, "set")))
        return found, unknown

    def _about(self, unknown: list[str], *, settable: bool) -> str:
        option = unknown[0].partition("=")[0]
        if option.startswith("-"):
            near = nearest(option, self._option_string_actions)
            return f"there is no {option}.{' ' + near if near.startswith('Did') else ''}"
        hint = "; KEY=VALUE stands behind --set" if settable and "=" in unknown[0] else ""
        return f"unrecognized arguments: {' '.join(unknown)}{hint}"


def add_faces(parser: argparse.ArgumentParser) -> None:
    """Add what makes a command judge faces in place of whole pictures."""
    group = parser.add_argument_group("faces", "A picture is judged by its faces, each cut out with a margin.")
    group.add_argument("--faces", action="store_true", help="find faces, and judge them; needs veriscope[faces]")
    group.add_argument(
        "--face-model", type=Path, metavar="FILE", help="YuNet as an ONNX file (default: the one of veriscope[faces])"
    )
    group.add_argument(
        "--face-margin",
        type=margin,
        metavar="SHARE",
        help="of the face's longer side, added on each of its sides (default: 0.15)",
    )
    group.add_argument("--face-min-px", type=positive, metavar="N", help="smaller faces are not judged (default: 64)")
    group.add_argument(
        "--no-face",
        choices=("whole", "nothing"),
        help="a picture without a face: judge the whole of it, or give it no verdict (default: whole)",
    )


def margin(text: str) -> float:
    """Return a share between 0 and 3.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = float(text)
    if not 0 <= value <= 3:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3")
    return value


def positive(text: str) -> int:
    """Return a whole number of at least 1.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def above_zero(text: str) -> float:
    """Return a number above 0 and at most 1,000.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1,000")
    return value


def share(text: str) -> float:
    """Return a share between 0 and 1, both left out.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{value:g} is not between 0 and 1")
    return value


def draws(text: str) -> int:
    """Return a number of resamples.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = int(text)
    if not 100 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{value} is not between 100 and 1,000,000")
    return value


def level(text: str) -> float:
    """Return an interval's level.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = float(text)
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.5 and 1, as 0.95")
    return value


def size(text: str) -> int:
    """Return the side of an input in pixels.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = int(text)
    if not 32 <= value <= 2048:
        raise argparse.ArgumentTypeError(f"{value} is not between 32 and 2048")
    return value


def not_negative(text: str) -> int:
    """Return a whole number of at least 0.

    Raises:
        ArgumentTypeError: anything else.

    """
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is below 0")
    return value


def quality(text: str) -> int | None:
    """Return a JPEG quality, None for `match`.

    Raises:
        ArgumentTypeError: anything else.

    """
    if text == "match":
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text} is neither match nor a quality of 1 to 100")
    return int(text)
