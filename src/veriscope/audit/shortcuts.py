"""How well the label can be told without a look at what the picture shows, over all fakes and for each generator."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from veriscope.audit.additive import (
    Column,
    Design,
    aurocs,
    chance_spreads,
    contributions,
    design,
    out_of_fold,
    ranking_aurocs,
    shuffled_labels,
)
from veriscope.audit.area import auroc_figures
from veriscope.audit.facts import Facts, container_facts, picture_facts
from veriscope.config.audit import ShortcutsConfig
from veriscope.data.splits import assign_parts
from veriscope.evaluation.figures import Figure, figure_dict
from veriscope.evaluation.intervals import Codes
from veriscope.types import CLASS_NAMES, FAKE, REAL

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Family = Literal["container", "pixels"]

NO_GENERATOR = "(not named)"
NO_FIGURE = Figure(None, None)
_EXAMPLES = 5
_TIE = 1e-9


class Fact(NamedTuple):
    """What one fact tells. `auroc` is at least 0.5 for amounts, whose `direction` says where fakes lie; for levels it
    is that of the class shares, out of fold; undefined where fewer than `min_pictures` of a class have the fact.
    `share`: its part in the model. `of_fakes` and `of_real`: the median of an amount, or the share of pictures with
    `level`, the level whose share differs most."""

    name: str
    auroc: Figure
    direction: Literal["higher", "lower", "levels"]
    share: float
    num_fake: int
    num_real: int
    of_fakes: float
    of_real: float
    level: str
    twins: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict."""
        return {**self._asdict(), "auroc": figure_dict(self.auroc), "twins": list(self.twins)}


@dataclass(frozen=True, slots=True)
class Question:
    """Can `family` tell the fakes of `generator` (None: all) from the real pictures?

    `model`: AUROC of all facts together, out of fold. `p`: how often shuffled labels reach what the best of model and
    facts does, each counted in its own spread by chance. `not_measured`: why there is none of all that.
    """

    family: Family
    generator: str | None
    num_fake: int
    num_real: int
    not_measured: str = ""
    model: Figure = NO_FIGURE
    p: float | None = None
    facts: tuple[Fact, ...] = ()
    constant: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def strongest(self) -> Figure:
        """The AUROC that decides: of model and facts the one with the highest lower end. An uncertain 1.00 of a fact
        that few pictures have must not hide a certain 0.98."""
        figures = [self.model, *(fact.auroc for fact in self.facts)]
        return max(figures, key=lambda found: -1.0 if found.interval is None else found.interval.low)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict; undefined figures are null."""
        return {
            "family": self.family,
            "generator": self.generator,
            "num_fake": self.num_fake,
            "num_real": self.num_real,
            "not_measured": self.not_measured or None,
            "model": figure_dict(self.model),
            "p": self.p,
            "facts": [fact.to_dict() for fact in self.facts],
            "constant": list(self.constant),
        }


@dataclass(frozen=True, slots=True)
class Shortcuts:
    """Every question that was asked; `left_out`: rows whose file can't be decoded."""

    questions: tuple[Question, ...]
    left_out: int = 0
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dict."""
        return {
            "left_out": self.left_out,
            "seed": self.seed,
            "questions": [question.to_dict() for question in self.questions],
        }


def find_shortcuts(
    table: pa.Table,
    labels: npt.NDArray[Any],
    *,
    generators: Sequence[str | None] | npt.NDArray[np.object_],
    groups: Codes | None,
    config: ShortcutsConfig,
) -> Shortcuts:
    """Return what facts of the container and of the pixels tell, of all fakes and of each generator's.

    The order of rows changes nothing. Rows with a `problem` are left out, and of files with the same bytes and label
    all but one: a copy is no second witness. Of more than `config.max_pictures` of a class as many are drawn.

    Args:
        table: the inspection, a row a picture; without PIXEL_FACTS the pixels are not asked.
        labels: (N,) of 0 and 1.
        generators: (N,) what made each fake; None where not known.
        groups: (N,) of what stays together in folds (Manifest.group_codes); None: pictures are independent.
        config: measures.

    """
    order = np.asarray(pc.sort_indices(table["path"]).to_numpy(), dtype=np.int64)
    place = np.argsort(order)
    sound = order[np.asarray(pc.is_null(table["problem"]).to_numpy())[order]]
    rows = _without_copies(table, sound, labels)
    fakes, reals = (rows[np.asarray(labels)[rows] == label] for label in (FAKE, REAL))
    names = maker_names(generators)
    known = sorted(set(names[fakes]))
    asked: list[tuple[str | None, Rows]] = [(None, fakes)]
    if len(known) > 1:
        asked += [(name, fakes[names[fakes] == name]) for name in known]
    questions = []
    for generator, own in asked:
        part = np.concatenate([_draw(reals, config), _draw(own, config)])
        part = part[np.argsort(place[part])]
        sample = _Sample(table.take(part), np.asarray(labels)[part], None if groups is None else groups[part])
        for family in ("container", "pixels"):
            found = _ask(family, generator, sample, config)
            questions += [] if found is None else [found]
    return Shortcuts(tuple(questions), left_out=len(order) - len(sound), seed=config.seed)


def maker_names(generators: Sequence[str | None] | npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Return what questions call the generator of each row, NO_GENERATOR where it is not known."""
    return np.array([name or NO_GENERATOR for name in generators], dtype=object)


class _Sample(NamedTuple):
    table: pa.Table
    labels: npt.NDArray[Any]
    groups: Codes | None


def _ask(family: Family, generator: str | None, sample: _Sample, config: ShortcutsConfig) -> Question | None:
    facts = container_facts(sample.table) if family == "container" else picture_facts(sample.table)
    if facts is None:
        return None
    labels, groups = sample.labels, _own_groups(sample.groups)
    num_fake, num_real = int(np.sum(labels == FAKE)), int(np.sum(labels == REAL))
    asked = Question(family, generator, num_fake, num_real, constant=facts.constant)
    folds = assign_parts(labels, groups, shares=(1 / config.num_folds,) * config.num_folds, seed=config.seed)
    reason = _too_few(labels, groups, folds, config)
    if reason:
        return Question(family, generator, num_fake, num_real, not_measured=reason)
    if not facts.columns:
        return asked
    # A stream of its own: what one generator is asked doesn't depend on which others there are.
    rng = np.random.default_rng([config.seed, zlib.crc32(f"{family}/{generator}".encode())])
    shuffled = shuffled_labels(labels, folds, groups, count=config.num_permutations, rng=rng)
    scored = _score(facts, np.column_stack([labels, shuffled]), folds)
    figures = _figures(scored, labels, groups, config)
    strongest = np.max((scored.areas - 0.5) / scored.spreads, axis=0)
    parts = contributions(scored.table, labels, folds, num_facts=len(facts.columns))
    told = [
        _fact(column, found, part, labels, facts.twins, lower=bool(flipped))
        for column, found, part, flipped in zip(facts.columns, figures[1:], parts, scored.flipped, strict=True)
    ]
    clearest = np.argsort(-np.where(labels == FAKE, scored.scores[0], -np.inf), kind="stable")[:_EXAMPLES]
    return Question(
        family,
        generator,
        num_fake,
        num_real,
        model=figures[0],
        p=float((1 + np.sum(strongest[1:] >= strongest[0] - _TIE)) / (1 + config.num_permutations)),
        # Of equal ones first what has names: subsampling explains the byte size, not the other way round.
        facts=tuple(sorted(told, key=lambda fact: (-(fact.auroc.value or 0.0), fact.direction != "levels", fact.name))),
        constant=facts.constant,
        examples=tuple(sample.table["path"].take(pa.array(clearest)).to_pylist()),
    )


class _Scored(NamedTuple):
    """`scores`: (1 + F, N), of the model and of each fact, under the true labels, fakes high. `areas`: (1 + F, L),
    their AUROCs under every labelling, the true one first; `spreads`: the standard deviation that chance alone would
    give them. `flipped`: (F,) which facts are lower in fakes."""

    table: Design
    scores: Floats
    areas: Floats
    spreads: Floats
    flipped: npt.NDArray[np.bool_]


def _score(facts: Facts, labels_NL: npt.NDArray[Any], folds: Codes) -> _Scored:
    table = design(facts.columns)
    together = out_of_fold(table, labels_NL, folds)
    scores, areas, flipped = [together[:, 0]], [aurocs(together, labels_NL)], []
    spreads = [chance_spreads(labels_NL)]
    for number, column in enumerate(facts.columns):
        spreads.append(chance_spreads(labels_NL[np.isfinite(column.values)]))
        if column.levels:
            own = out_of_fold(table.only(number), labels_NL, folds)
            scores.append(own[:, 0])
            areas.append(aurocs(own, labels_NL))
            flipped.append(False)
        else:
            found = ranking_aurocs(column.values, labels_NL)
            flipped.append(found[0] < 0.5)
            scores.append(-column.values if flipped[-1] else column.values)
            areas.append(np.maximum(found, 1 - found))
    return _Scored(table, np.stack(scores), np.stack(areas), np.stack(spreads), np.array(flipped, dtype=bool))


def _figures(scored: _Scored, labels: npt.NDArray[Any], groups: Codes | None, config: ShortcutsConfig) -> list[Figure]:
    """Return the figure of the model and of each fact, of the rows that have it; none where those are too few."""
    figures: dict[int, Figure] = {}
    known = np.isfinite(scored.scores)
    for pattern in np.unique(known, axis=0):
        members = np.flatnonzero((known == pattern).all(axis=1))
        part = None if groups is None else _own_groups(groups[pattern])
        values = scored.areas[members, 0]
        if min(int(np.sum(labels[pattern] == label)) for label in (REAL, FAKE)) < config.min_pictures:
            found = [NO_FIGURE] * len(members)
        else:
            scores = scored.scores[members][:, pattern]
            found = auroc_figures(labels[pattern], scores, values, groups=part, seed=config.seed)
        figures |= dict(zip(members.tolist(), found, strict=True))
    return [figures[index] for index in range(len(scored.scores))]


def _fact(
    column: Column,
    found: Figure,
    share: float,
    labels: npt.NDArray[Any],
    twins: Any,
    *,
    lower: bool,
) -> Fact:
    known = np.isfinite(column.values)
    fakes, reals = (column.values[known & (labels == label)] for label in (FAKE, REAL))
    level, of_fakes, of_real = "", *(float(np.median(side)) if side.size else 0.0 for side in (fakes, reals))
    direction: Literal["higher", "lower", "levels"] = "lower" if lower else "higher"
    if column.levels:
        counts = [np.bincount(side.astype(np.int64), minlength=len(column.levels)) for side in (fakes, reals)]
        shares = [count / count.sum() for count in counts]
        index = int(np.argmax(np.abs(shares[0] - shares[1])))
        direction, level = "levels", column.levels[index]
        of_fakes, of_real = float(shares[0][index]), float(shares[1][index])
    return Fact(
        name=column.name,
        auroc=found,
        direction=direction,
        share=float(share),
        num_fake=fakes.size,
        num_real=reals.size,
        of_fakes=of_fakes,
        of_real=of_real,
        level=level,
        twins=twins.get(column.name, ()),
    )


def _too_few(labels: npt.NDArray[Any], groups: Codes | None, folds: Codes, config: ShortcutsConfig) -> str:
    """Return why nothing can be measured, '' where it can."""
    for label, name in enumerate(CLASS_NAMES):
        rows = labels == label
        if rows.sum() < config.min_pictures:
            return f"{int(rows.sum()):,} {name} pictures; {config.min_pictures} are needed"
        if np.unique(folds[rows]).size < config.num_folds:
            count = int(rows.sum()) if groups is None else np.unique(groups[rows]).size
            return f"{name} pictures of {count:,} groups can't fill {config.num_folds} folds"
    return ""


def _own_groups(groups: Codes | None) -> Codes | None:
    """Return the groups, or None where each holds one picture."""
    return None if groups is None or np.unique(groups).size == groups.size else groups


def _without_copies(table: pa.Table, rows: Rows, labels: npt.NDArray[Any]) -> Rows:
    """Return the first row of each content and label."""
    if "sha256" not in table.column_names:
        return rows
    digests = table["sha256"].take(pa.array(rows)).combine_chunks().dictionary_encode().indices
    codes = pc.fill_null(digests, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = np.where(codes < 0, -1 - np.arange(len(rows)), codes)  # no digest: no copy
    first = np.unique(2 * codes + np.asarray(labels)[rows], return_index=True)[1]
    return rows[np.sort(first)]


def _draw(rows: Rows, config: ShortcutsConfig) -> Rows:
    if len(rows) <= config.max_pictures:
        return rows
    chosen = np.random.default_rng(config.seed).permutation(len(rows))[: config.max_pictures]
    return rows[np.sort(chosen)]
