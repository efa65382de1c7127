"""The facts that tell the classes apart best, drawn: those that a check warns of, else the best of all."""

import numpy as np

from veriscope.audit.facts import CONTAINER_UNITS, CONTAINER_WORDS, PIXEL_WORDS, container_facts, picture_facts
from veriscope.audit.histograms import Histogram, histogram
from veriscope.audit.run import Audit
from veriscope.audit.shortcuts import Question, maker_names
from veriscope.errors import printable
from veriscope.types import REAL

_WORDS = {**CONTAINER_WORDS, **PIXEL_WORDS}
_RANKS = 2  # of each question its best facts


def telling_facts(audit: Audit, *, limit: int) -> list[Histogram]:
    """Return how real pictures and fakes lie in the facts that tell most, `limit` at most."""
    asked = audit.shortcuts.questions
    checks = audit.checks[len(audit.checks) - len(asked) :]
    urgent = [question for question, check in zip(asked, checks, strict=True) if check.status != "pass"]
    shown = [question for question in urgent or asked if question.facts and (urgent or question.generator is None)]
    chosen = [
        (question, fact.name)
        for rank in range(_RANKS)
        for question in shown
        for fact in question.facts[rank : rank + 1]
    ]
    facts = [container_facts(audit.table), picture_facts(audit.table)]
    columns = {column.name: column for found in facts if found is not None for column in found.columns}
    charts = []
    for question, name in chosen[:limit]:
        column = columns[name]
        rows = _rows(audit, question)
        unit = f" ({CONTAINER_UNITS[name]})" if name in CONTAINER_UNITS else ""
        against = "" if question.generator is None else f", {printable(question.generator)} against real"
        title = _WORDS[name] + unit + against
        charts.append(histogram(title, column.values[rows], audit.data.manifest.labels[rows], levels=column.levels))
    return [chart for chart in charts if chart is not None]


def _rows(audit: Audit, question: Question) -> np.ndarray:
    manifest = audit.data.manifest
    sound = np.asarray(audit.table["problem"].is_null().to_numpy())
    if question.generator is None:
        return sound
    own = np.asarray(maker_names(manifest.generators) == question.generator)
    return np.asarray(sound & (own | (manifest.labels == REAL)))
