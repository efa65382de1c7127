"""What arguments of the command line may be."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from veriscope.errors import nearest

if TYPE_CHECKING:
    # "_SubParsersAction" is argparse's own name for what add_subparsers returns.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object
Number = TypeVar("Number", int, float)


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


def checked(read: Callable[[str], Number], fits: Callable[[Number], bool], wrong: str) -> Callable[[str], Number]:
    """Return an argument's type: what `read` makes of its text, refused with the words `wrong` where it doesn't fit."""

    def convert(text: str) -> Number:
        try:
            value = read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is no {'whole number' if read is int else 'number'}") from None
        if not fits(value):
            raise argparse.ArgumentTypeError(f"{text} {wrong}")
        return value

    return convert


margin = checked(float, lambda value: 0 <= value <= 3, "is not between 0 and 3")
positive = checked(int, lambda value: value >= 1, "is not at least 1")
not_negative = checked(int, lambda value: value >= 0, "is below 0")
above_zero = checked(float, lambda value: 0 < value <= 1000, "is not above 0 and at most 1,000")
share = checked(float, lambda value: 0 < value < 1, "is not between 0 and 1")
draws = checked(int, lambda value: 100 <= value <= 1_000_000, "is not between 100 and 1,000,000")
level = checked(float, lambda value: 0.5 <= value < 1, "is not between 0.5 and 1, as 0.95")
size = checked(int, lambda value: 32 <= value <= 2048, "is not between 32 and 2048")


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
        "--max-faces", type=positive, metavar="N", help="of a picture or frame: judge the N largest (default: 16)"
    )
    group.add_argument(
        "--no-face",
        choices=("whole", "nothing"),
        help="a picture without a face: judge the whole of it, or give it no verdict (default: whole)",
    )


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
