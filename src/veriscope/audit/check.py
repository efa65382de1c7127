"""What a check of a data set comes to."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from veriscope.types import Frozen

Status = Literal["pass", "warn", "stop"]
_WORST: tuple[Status, ...] = ("pass", "warn", "stop")

MEND_FILES = "Store both classes alike: `veriscope align` writes a copy in one format, size and compression."


class Check(Frozen):
    """One question that was asked of the data, and its answer in plain words."""

    name: str = Field(min_length=1, description="as `shortcuts.container`; the same in every audit")
    status: Status
    measured: bool = Field(default=True, description="false: there was too little to tell anything by")
    text: str = Field(min_length=1, description="what was found, with figures")
    mend: str | None = Field(default=None, description="what to do about it; null where nothing has to be done")
    value: float | None = Field(default=None, description="the figure that decided")
    warn_at: float | None = Field(default=None, description="the figure from which the status is warn")
    stop_at: float | None = Field(default=None, description="the figure from which it is stop")
    count: int = Field(default=0, ge=0, description="pictures, or pairs, concerned")
    examples: tuple[str, ...] = Field(default=(), description="paths of some of them")

    @property
    def headline(self) -> str:
        """The first sentence of `text`, without its full stop."""
        return self.text.partition(". ")[0].removesuffix(".")


def worst(checks: Iterable[Check]) -> Status:
    """Return the worst status among `checks`; pass for none."""
    return max((check.status for check in checks), key=_WORST.index, default="pass")


def status_of(value: float, *, warn_at: float | None, stop_at: float | None) -> Status:
    """Return what `value` comes to: from `warn_at` on warn, from `stop_at` on stop; None: never."""
    if stop_at is not None and value >= stop_at:
        return "stop"
    return "warn" if warn_at is not None and value >= warn_at else "pass"
