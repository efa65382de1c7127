"""What delivery does to a model's verdicts, and how much of its score rests on formats and sizes."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from veriscope.augment.grid import Cell, grid_cells
from veriscope.bundle.bundle import Bundle
from veriscope.bundle.scorer import Scorer
from veriscope.bundle.terms import Terms
from veriscope.config.evaluate import RobustnessConfig
from veriscope.data.container import ContainerFacts, container_facts
from veriscope.data.decode import read_file
from veriscope.errors import DataError, DecodeError
from veriscope.evaluation.alignment import AlignmentPlan, class_differences, describe_classes, plan_alignment
from veriscope.evaluation.intervals import group_codes
from veriscope.evaluation.predictions import PredictionTable
from veriscope.evaluation.robustness_cells import Job, cell_store, score_jobs
from veriscope.evaluation.robustness_figures import DRAWS, GapFigures, GridFigures, Treated, gap_figures, grid_figures
from veriscope.types import Threshold

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shortcut:
    """The aligned figures. `differences`: how well a fact of the files alone tells the classes apart, as AUROC."""

    gap: GapFigures
    plan: AlignmentPlan
    classes: dict[str, str]
    differences: dict[str, float]


@dataclass(frozen=True, slots=True)
class Robustness:
    """What was found. `grid` or `shortcut` is None where it wasn't asked for.

    `num_images` of `num_judged` pictures were drawn; `num_left_out` of them got no number from the network under some
    damage and count nowhere, so that all cells speak of the same pictures.
    """

    threshold_name: str
    threshold: Threshold
    extent: str
    num_images: int
    num_judged: int
    num_left_out: int
    seed: int
    grid: GridFigures | None
    shortcut: Shortcut | None


def measure_robustness(
    config: RobustnessConfig,
    *,
    table: PredictionTable,
    bundle: Bundle,
    terms: Terms,
    scorer: Scorer,
    threshold_name: str,
    cache: Path,
    draws: int,
    seed: int,
) -> Robustness | None:
    """Return the figures of the judged pictures under the grid and aligned; None where `config` asks for neither.

    Cells are kept under `cache`; progress goes to stderr.

    Raises:
        DataError: a picture that was judged can't be read any more.

    """
    cells = () if config.grid == "off" else grid_cells(config.grid)
    if not cells and not config.aligned:
        return None
    rows = choose_images(table, max_images=config.max_images, seed=seed)
    paths = [Path(path) for path in np.array(table.column("path"), dtype=object)[rows]]
    labels = table.labels[rows]
    facts = _facts(paths, max_pixels=scorer.max_pixels) if config.aligned else {}
    plan = plan_alignment([facts[path] for path in paths], labels, seed=seed) if config.aligned else None
    store = cell_store(cache / "robustness", bundle=bundle, scorer=scorer, paths=paths)
    console = Console(stderr=True)
    logits = score_jobs(_jobs(cells, plan, facts), scorer=scorer, paths=paths, store=store, console=console)
    kept: npt.NDArray[np.bool_] = np.asarray(np.isfinite(logits).all(axis=0))
    labels, logits = labels[kept], logits[:, kept]
    if labels.size == 0:
        raise DataError("robustness: no picture got a number from the network under every kind of damage.")
    groups = group_codes(np.array(table.column("group"), dtype=object)[rows][kept].tolist())
    threshold = terms.thresholds[threshold_name]
    damaged = Treated(logits, np.vectorize(terms.calibration.score, otypes=[float])(logits) >= threshold.value)
    clean = Treated(table.logits[rows][kept][None], (table.scores[rows][kept] >= threshold.value)[None])
    few = min(draws, DRAWS)
    grid, shortcut = None, None
    if cells:
        own = Treated(damaged.logits[: len(cells)], damaged.called[: len(cells)])
        grid = grid_figures(cells, labels=labels, clean=clean, damaged=own, groups=groups, draws=few, seed=seed)
    if plan is not None:
        last = Treated(damaged.logits[-1:], damaged.called[-1:])
        judged = [facts[path] for path, keep in zip(paths, kept, strict=True) if keep]
        gap = gap_figures(labels, raw=clean, aligned=last, groups=groups, draws=few, seed=seed)
        shortcut = Shortcut(gap, plan, describe_classes(judged, labels), class_differences(judged, labels))
    return Robustness(
        threshold_name=threshold_name,
        threshold=threshold,
        extent=config.grid,
        num_images=int(labels.size),
        num_judged=len(table.labels),
        num_left_out=int((~kept).sum()),
        seed=seed,
        grid=grid,
        shortcut=shortcut,
    )


def choose_images(table: PredictionTable, *, max_images: int | None, seed: int) -> Rows:
    """Return rows of the judged part, in order: all, or `max_images` drawn by class and generator.

    Each stratum gets its share of the places (largest remainders), at least one where there are places enough.
    """
    total = len(table.labels)
    if max_images is None or max_images >= total:
        return np.arange(total)
    strata = np.array(
        [f"{label}|{name}" for label, name in zip(table.labels.tolist(), table.column("generator"), strict=True)],
        dtype=object,
    )
    counts = Counter(strata.tolist())
    places = _shares_of(max_images, counts)
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.flatnonzero(strata == name), size=places[name], replace=False) for name in sorted(counts)]
    return np.sort(np.concatenate(drawn))


def _shares_of(places: int, counts: Counter[str]) -> dict[str, int]:
    total = sum(counts.values())
    names = sorted(counts, key=lambda name: (-counts[name], name))
    least = 1 if places >= len(names) else 0
    exact = {name: places * counts[name] / total for name in names}
    given = {name: max(int(exact[name]), least) for name in names}
    while sum(given.values()) < places:
        given[max(names, key=lambda name: exact[name] - given[name])] += 1
    while sum(given.values()) > places:
        given[max(names, key=lambda name: (given[name] > least, given[name] - exact[name]))] -= 1
    return given


def _jobs(cells: Sequence[Cell], plan: AlignmentPlan | None, facts: dict[Path, ContainerFacts]) -> list[Job]:
    jobs = [Job(cell.name, lambda _, damage=cell.corruption: damage) for cell in cells]  # type: ignore[misc]
    if plan is not None:
        words = json.dumps(plan.to_dict(), sort_keys=True)
        jobs.append(Job(f"aligned {words}", lambda path: plan.transform_for(facts[path])))
    return jobs


def _facts(paths: Sequence[Path], *, max_pixels: int) -> dict[Path, ContainerFacts]:
    try:
        return {path: container_facts(read_file(path), name=str(path), max_pixels=max_pixels) for path in paths}
    except DecodeError as error:
        raise DataError(f"a picture was judged a moment ago and its header can't be read now: {error}.") from error
