"""What renders veriscope's pages: one style, everything escaped."""

import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from veriscope.evaluation.metrics import UNDEFINED
from veriscope.evaluation.pictures import score_text


def page_environment(package: str = "veriscope.evaluation") -> Environment:
    """Return what renders the templates of `package`, which may include the report's: autoescaped, an unknown name is
    an error; `style` is the report's CSS."""
    report = PackageLoader("veriscope.evaluation")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), report]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["num"] = number_text
    environment.filters["share"] = lambda value: UNDEFINED if value is None else f"{value:.1%}".replace("%", " %")
    environment.filters["score"] = score_text
    environment.filters["prose"] = prose
    source, _, _ = report.get_source(environment, "report.html.j2")
    environment.globals["style"] = Markup(source.partition("<style>")[2].partition("</style>")[0])
    return environment


def prose(text: str) -> Markup:
    """Return a sentence that a terminal could show, too, for a page: escaped, and what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def number_text(value: Any) -> str:
    """Return a number as people read it, anything else as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
