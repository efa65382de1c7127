"""benchmarks/expected/*.yaml: the figures that can be had again with one command."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from veriscope.config.command import ROOT
from veriscope.config.expected import Expected, ExpectedFigure
from veriscope.config.load import validate
from veriscope.errors import ConfigError, nearest
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.metrics import METRICS
from veriscope.progress import duration

EXPECTED_DIR = ROOT / "benchmarks" / "expected"
LABELS = {metric.key: metric.label for metric in METRICS}


def read_expected(name: str) -> tuple[str, Expected]:
    """Return an entry's own name and the entry; `name` is one of the registry, or the path of a .yaml file.

    Raises:
        ConfigError: there is no such entry, or it is misspelt; the nearest right word is named.

    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else EXPECTED_DIR / f"{name}.yaml"
    if not file.is_file():
        if file.parent == EXPECTED_DIR:
            raise ConfigError(f"there is no '{name}' to reproduce. {nearest(name, known())}")
        raise ConfigError(f"there is no file '{file}'")
    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
        plain = json.loads(json.dumps(plain, default=str))
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        line = str(error).replace("\n", " ")
        raise ConfigError(f"'{file}' can't be read: {line}") from None
    if not isinstance(plain, Mapping):
        raise ConfigError(f"'{file}' is no mapping of keys to values")
    try:
        return file.stem, validate(Expected, plain)
    except ConfigError as error:
        raise ConfigError("\n".join(f"{file.name}: {line}" for line in str(error).splitlines())) from None


def known() -> list[str]:
    """Return the names of all entries.

    Raises:
        ConfigError: there are none, as in a package without its checkout.

    """
    found = sorted(file.stem for file in EXPECTED_DIR.glob("*.yaml"))
    if not found:
        raise ConfigError(f"'{EXPECTED_DIR}' holds no expected figures: they, conf/ and train.py are of a checkout")
    return found


def list_registry(console: Console) -> None:
    """Print what can be reproduced, with what it costs.

    Raises:
        ConfigError: an entry is misspelt.

    """
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("name and what", "cost and source"):
        grid.add_column(title, overflow="fold")
    for name in known():
        entry = read_expected(name)[1]
        commit = f" ({entry.source.commit})" if entry.source.commit else ""
        figures = []
        for judged, one in entry.judged.items():
            figures.append(f"  {judged}:")
            figures += [f"    {LABELS[key]} {expected_text(figure)}" for key, figure in one.figures.items()]
        grid.add_row(
            Text("\n").join([Text(name, style="bold"), Text(entry.title), *map(Text, figures)]),
            Text(
                f"{duration(60 * entry.cost.minutes)}, {entry.cost.machine}\n{entry.source.name}{commit}\n"
                f"needs {', '.join(entry.needs) or 'nothing'}"
            ),
            end_section=True,
        )
    console.print(grid)


def expected_text(figure: ExpectedFigure) -> str:
    """Return `0.992 (0.986 to 0.997)`."""
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def is_inside(expected: ExpectedFigure, found: Figure, *, rule: str) -> bool:
    """Return whether `found` reproduces `expected`: it lies in the expected interval, or by the rule 'overlap' its own
    interval meets that one. What is undefined reproduces nothing; what is better than the interval doesn't either."""
    if found.value is None:
        return False
    if expected.low <= found.value <= expected.high:
        return True
    if rule != "overlap" or found.interval is None:
        return False
    return found.interval.low <= expected.high and expected.low <= found.interval.high
