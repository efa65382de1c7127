"""What the page draws of the facts that tell the classes apart."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import picture

from veriscope.audit.histograms import NUM_BINS, histogram
from veriscope.audit.run import Data, run_audit
from veriscope.audit.telling import telling_facts
from veriscope.config.audit import AuditConfig
from veriscope.data.decode import MAX_PIXELS
from veriscope.data.scan import scan_folder

LABELS = np.array([0, 0, 0, 1, 1], dtype=np.int8)


def test_fakes_without_a_generators_name_are_drawn_beside_those_that_have_one(tmp_path: Path) -> None:
    for folder, ending in {"real": "jpg", "fake/gan": "jpg", "fake": "png"}.items():
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        for number in range(24):
            file = tmp_path / "data" / folder / f"{number:03}.{ending}"
            Image.fromarray(picture(40, 40, seed=number + 100 * len(folder))).save(file)
    audit = run_audit(
        Data("mine", scan_folder(tmp_path / "data"), MAX_PIXELS),
        config=AuditConfig(),
        depth="headers",
        cache=tmp_path / "cache",
        workers=1,
        warn=print,
        shown=False,
    )
    charts = {chart.title: chart for chart in telling_facts(audit, limit=6)}
    chart = charts["file format, (not named) against real"]
    assert dict(zip(chart.words, zip(chart.real, chart.fake, strict=True), strict=True)) == {
        "JPEG": (1.0, 0.0),
        "PNG": (0.0, 1.0),
    }


def test_bars_are_shares_of_each_class() -> None:
    found = histogram("x", np.array([0.0, 1.0, np.nan, 1.0, 1.0]), LABELS)
    assert found is not None
    assert len(found.real) == NUM_BINS
    assert (found.real[0], found.real[-1], found.fake[-1]) == (0.5, 0.5, 1.0)
    assert sum(found.real) == sum(found.fake) == pytest.approx(1)
    words = histogram("x", np.array([1.0, 0.0, 0.0, 1.0, np.nan]), LABELS, levels=("a", "b"))
    assert words is not None
    assert (words.words, words.real, words.fake) == (("a", "b"), (2 / 3, 1 / 3), (0.0, 1.0))


def test_a_class_without_the_fact_is_not_drawn() -> None:
    assert histogram("x", np.array([0.0, 1.0, 2.0, np.nan, np.nan]), LABELS) is None
