"""compare.html: one self-contained page of a comparison, in the report's style."""

from typing import NamedTuple

import numpy as np

from veriscope.augment.corruptions import parse_corruption
from veriscope.config.schema import DataConfig
from veriscope.evaluation.compare import Comparison, p_text, sentence
from veriscope.evaluation.compare_output import cell, difference_text, footnote
from veriscope.evaluation.compare_plots import panel_pictures
from veriscope.evaluation.metrics import METRICS
from veriscope.evaluation.page import page_environment
from veriscope.evaluation.pictures import Tile, load_tiles
from veriscope.evaluation.report import inline_svg
from veriscope.types import CLASS_MAP_TEXT, CLASS_NAMES

NUM_TILES = 12
_METRICS = {metric.key: metric for metric in METRICS}
_CAPTIONS = {
    "figures": "Each model's figure with its interval. Intervals that overlap don't say that models are equal: they "
    "were judged on the same pictures, and what counts is the difference.",
    "differences": "The difference between two models on the same pictures. An interval that holds 0 may be luck; the "
    "filled ones remain after correction for the number of pairs.",
    "agreement": "Mistakes of two models: those of both need another model or other data; those of one alone are "
    "what an ensemble could win.",
}


class SplitTile(NamedTuple):
    """A picture on which two models differ; `verdicts`: (model, called, score, whether right) of each."""

    tile: Tile
    verdicts: tuple[tuple[str, str, float, bool], ...]


def render_page(comparison: Comparison) -> str:
    """Return the page. It loads nothing: pictures are inline, and its content policy forbids any request."""
    pictures = panel_pictures(comparison)
    matched = comparison.matched
    first = matched.entries[0].table.meta
    return page_environment().get_template("compare.html.j2").render(
        comparison=comparison,
        title=f"{len(matched.entries)} models on {first.data_name}",
        corruption=first.corruption,
        base_rate=matched.base_rate,
        sentences=comparison.sentences(),
        shown=[_METRICS[key] for key in comparison.shown],
        standings=comparison.standings,
        cell=cell,
        tables=[
            (
                _METRICS[key],
                [
                    (
                        pair, difference_text(pair), p_text(pair.test.p, comparison=comparison),
                        p_text(pair.corrected, comparison=comparison), sentence(pair, comparison=comparison),
                    )
                    for pair in comparison.pairs_of(key)
                ],
            )
            for key in comparison.shown
        ],
        charts=[(inline_svg(pictures[name]), text) for name, text in _CAPTIONS.items()],
        tiles=split_tiles(comparison),
        footnote=footnote(comparison),
        class_map=CLASS_MAP_TEXT,
        num_real=int((matched.labels == 0).sum()),
        num_fake=int((matched.labels == 1).sum()),
        level=f"{100 * comparison.level:g} %",
    )  # fmt: skip


def split_tiles(comparison: Comparison) -> list[SplitTile]:
    """Return the pictures on which the two best models differ most; files that have gone are left out.

    Those come first of which only one is judged right, then the larger gap between scores: scores alone would show how
    the models are calibrated. Shown as the models saw them: with the corruption that was applied.
    """
    matched = comparison.matched
    places = [matched.names.index(standing.entry.name) for standing in comparison.standings[:2]]
    gaps = np.abs(matched.scores[places[0]] - matched.scores[places[1]])
    called = [matched.scores[place] >= matched.entries[place].threshold.value for place in places]
    order = np.lexsort((-gaps, called[0] == called[1]))
    chosen = [int(index) for index in order[:NUM_TILES] if gaps[index] > 0]
    entry = matched.entries[places[0]]
    tiles = load_tiles(
        entry.table,
        entry.threshold,
        rows=[int(matched.rows[places[0]][index]) for index in chosen],
        max_pixels=DataConfig.model_fields["max_pixels"].default,
        transform=None if entry.table.meta.corruption is None else parse_corruption(entry.table.meta.corruption),
    )
    by_id = {tile.id: tile for tile in tiles}
    found = []
    for index in chosen:
        tile = by_id.get(matched.ids[index])
        if tile is None:
            continue
        verdicts = []
        for place in places:
            score = float(matched.scores[place, index])
            word = CLASS_NAMES[int(score >= matched.entries[place].threshold.value)]
            verdicts.append((matched.names[place], word, score, word == tile.truth))
        found.append(SplitTile(tile, tuple(verdicts)))
    return found
