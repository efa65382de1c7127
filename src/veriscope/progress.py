"""The bar that long work shows."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from veriscope.errors import printable

T = TypeVar("T")


def tracked(
    items: Iterable[T],
    *,
    doing: str,
    total: int,
    shown: bool = True,
    done: int = 0,
    console: Console | None = None,
) -> Iterator[T]:
    """Yield `items`; meanwhile a bar shows how many of `total` are through and for how long it will go on.

    It stands on `console`, standard error where there is none; `done` were through before. Where that is no terminal,
    or `shown` is False, there is no bar. It goes when the last item is through, before the caller prints what came of
    them.
    """
    console = Console(stderr=True) if console is None else console
    bar = Progress(
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not (shown and console.is_terminal),
    )
    with bar:
        yield from bar.track(items, total=total, completed=done)


def say(console: Console, text: str) -> None:
    """Print a line as it is: brackets in a path are no markup, and a path that is cut can't be copied. Control
    characters, which names may hold, come out escaped."""
    console.print(printable(text, keep="\n"), highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Return `40 s`, `12 min` or `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
