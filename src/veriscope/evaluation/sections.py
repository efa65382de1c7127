"""A section of the report that another part of the program fills: texts, tables and charts, without a template."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure as Picture

_ANCHOR = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of texts: what heads it, its columns, and its rows. `folded`: long, shown when asked for."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One section of report.html, and under its anchor of report.json's `sections`.

    `sentences` say in plain words what was found, the main thing first; `pictures` are name to picture and caption,
    drawn with plots' colours, which follow the page; `notes` are small print; `data` is for machines, JSON-able.

    Raises:
        ValueError: an anchor other than lower-case letters, digits and hyphens.

    """

    title: str
    anchor: str
    sentences: tuple[str, ...] = ()
    tables: tuple[TextTable, ...] = ()
    pictures: Mapping[str, tuple[Picture, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _ANCHOR.fullmatch(self.anchor):
            raise ValueError(f"section anchor {self.anchor!r}: only a to z, 0 to 9 and hyphens, a letter first")

    def to_dict(self) -> dict[str, Any]:
        """Return what report.json holds of it."""
        return {"title": self.title, "sentences": list(self.sentences), "notes": list(self.notes), **self.data}
