"""Shares of grouped rows against the judgement's own intervals, and the shipped verdict against predict's."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from veriscope.bundle.scorer import Scored
from veriscope.bundle.terms import Terms
from veriscope.evaluation.base_rate import expected_at, group_rates
from veriscope.evaluation.calibration import raw_scores
from veriscope.evaluation.intervals import group_codes, wilson
from veriscope.evaluation.judge import judge
from veriscope.evaluation.metrics import probability_metrics
from veriscope.evaluation.ood import measure_ood
from veriscope.evaluation.plots import reliability_picture
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.reliance import reliance
from veriscope.evaluation.shares import share_figures
from veriscope.evaluation.shipped import measure_shipped
from veriscope.predict.judge import to_verdict
from veriscope.types import Calibration, Threshold, UnsureBand

HALF = Threshold(value=0.5, rule="youden", chosen_on="val")
BAND = UnsureBand(
    low=0.4, high=0.6, threshold="val", wanted_accuracy=0.9, coverage=0.8, accuracy=0.95, num_pictures=500,
    chosen_on="val",
)  # fmt: skip


def table(*, copies=8, num_groups=60, seed=0, ood=True, calibration=None, base_rate=None):
    """Return rows of groups whose pictures are alike; every third fake group also holds a real picture."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(num_groups) % 2
    labels = np.repeat(kinds, copies)
    labels[copies - 1 :: 3 * copies] = 0
    logits = np.repeat(rng.normal(kinds * 2.0 - 1.0, 1.0), copies) + rng.normal(0, 0.1, labels.size)
    strange = rng.random(labels.size)
    return PredictionTable.from_columns(
        [f"{n}.jpg" for n in range(labels.size)],
        labels=labels.tolist(),
        logits=logits.tolist(),
        ood=strange.tolist() if ood else [None] * labels.size,
        groups=[f"video {n // copies}" if copies > 1 else None for n in range(labels.size)],
        calibration=calibration or Calibration(),
        meta=TableMeta(base_rate=base_rate),
    )


def test_shares_have_the_intervals_of_the_judgement():
    rows = table()
    groups = group_codes(rows.column("group"))
    labels, called = rows.labels == 1, rows.scores >= 0.5
    everything = np.ones(labels.size, dtype=bool)
    found = share_figures(
        rows.labels,
        {
            "accuracy": (called == labels, everything),
            "recall": (called, labels),
            "specificity": (~called, ~labels),
            "precision": (labels, called),
        },
        groups=groups,
        draws=4000,
        seed=3,
    )
    own = judge(rows, thresholds={"val": HALF}, draws=4000).at["val"]
    for key, one in found.items():
        assert one.value == pytest.approx(own[key].value)
        assert one.interval.method == own[key].interval.method == "cluster bootstrap"
        assert one.interval[:2] == pytest.approx(own[key].interval[:2], abs=0.02), key
    alone = share_figures(rows.labels, {"recall": (called, labels)}, groups=None)
    assert alone["recall"].interval == wilson(int(called[labels].sum()), int(labels.sum()))
    nothing = share_figures(rows.labels, {"none": (called, ~everything)}, groups=groups)["none"]
    assert nothing == (None, None)


def test_strange_pictures_and_base_rates_are_counted_in_groups():
    rows = table()
    found = measure_ood(rows, strange_from=0.9, threshold=HALF)
    assert found.accuracy_all.interval.method == "cluster bootstrap"
    assert found.accuracy_all.interval[:2] == pytest.approx(
        judge(rows, thresholds={"val": HALF}).at["val"]["accuracy"].interval[:2], abs=0.02
    )
    counts = judge(rows, thresholds={"val": HALF}, draws=100).confusion
    groups = group_codes(rows.column("group"))
    rates = group_rates(rows.labels, rows.scores, thresholds={"val": 0.5}, groups=groups)
    wide = expected_at(0.05, counts, rates=rates)["val"].precision
    narrow = expected_at(0.05, counts)["val"].precision
    assert wide.value == narrow.value
    assert wide.interval.high - wide.interval.low > 1.5 * (narrow.interval.high - narrow.interval.low)
    assert (wide.interval.method, narrow.interval.method) == ("cluster bootstrap, combined", "wilson, combined")
    judged = reliance(
        rows, judge(rows, thresholds={"val": HALF}, draws=200),
        terms=Terms(Calibration(fake_share=0.5, base_rate=0.05), {"val": HALF}, None),
    )  # fmt: skip
    assert judged.at_base_rate["val"].precision.interval.method == "cluster bootstrap, combined"


@pytest.mark.parametrize(("band", "strange_from"), [(BAND, 0.9), (None, 0.9), (BAND, None), (None, None), (BAND, 1.0)])
def test_the_shipped_verdict_is_that_of_predict(band, strange_from):
    rows = table(copies=1, num_groups=400)
    found = measure_shipped(rows, band=band, strange_from=strange_from, threshold=HALF)
    shown = None if strange_from == 1.0 else strange_from
    columns = zip(rows.logits, rows.scores, rows.column("ood"), strict=True)
    said = [
        to_verdict(Scored(Path("p"), logit, score, None, ood=ood), threshold=HALF, band=band, strange_from=shown).label
        for logit, score, ood in columns
    ]
    assert {name: sum(row.values()) for name, row in found.counts.items()} == {
        name: said.count(name) for name in ("real", "fake", "unsure")
    }
    answered = [(word == "fake") == (label == 1) for word, label in zip(said, rows.labels, strict=True) if
                word != "unsure"]  # fmt: skip
    assert found.coverage.value == pytest.approx(len(answered) / 400)
    assert found.accuracy.value == pytest.approx(np.mean(answered))
    assert found.coverage.interval == wilson(len(answered), 400)
    text = " ".join(found.sentences())
    assert f"{said.count('real')} 'real' and {said.count('fake')} 'fake'" in text
    if band is not None and shown is not None:
        inside = (rows.scores >= 0.4) & (rows.scores < 0.6)
        assert found.by_score.value == pytest.approx(inside.mean())
        assert found.strange.value == pytest.approx(np.mean(np.array(rows.column("ood")) >= np.float32(0.9)))
        assert found.by_score.value + found.strange.value > 1 - found.coverage.value, "some are both"
    json.dumps(found.to_dict(), allow_nan=False)


def test_reliance_holds_the_shipped_verdict_and_says_by_its_score():
    rows = table(copies=1, num_groups=200)
    judged = judge(rows, thresholds={"val": HALF}, draws=100)
    found = reliance(rows, judged, terms=Terms(Calibration(), {"val": HALF}, BAND), strange_from=0.9)
    assert found.to_dict()["shipped_verdict"]["coverage"]["value"] == found.shipped.coverage.value < 0.95
    without = reliance(rows, judged, terms=Terms(Calibration(), {"val": HALF}, None), strange_from=0.9)
    text = " ".join(" ".join(part.sentences) for part in without.paragraphs())
    assert "Every verdict is real or fake" not in text
    assert "No verdict is unsure by its score" in text
    reason = reliance(rows, judged, terms=Terms(Calibration(), {"val": HALF}, None, "it stays"), strange_from=0.9)
    assert reason.no_band == "it stays"


def test_before_calibration_has_the_prior_shift_as_well():
    """Else what the stated rate does would look like what calibration does: here calibration does nothing."""
    known = Calibration(fake_share=0.5, base_rate=0.05)
    rows = table(copies=1, num_groups=200, calibration=known, base_rate=0.05)
    found = reliance(rows, judge(rows, thresholds={"val": HALF}, draws=100), terms=Terms(known, {"val": HALF}, None))
    assert found.uncalibrated == pytest.approx(found.calibrated)
    unshifted = probability_metrics(rows.labels, raw_scores(rows.logits), base_rate=0.05)
    assert unshifted["ece"] > 2 * found.uncalibrated["ece"]
    assert raw_scores(rows.logits, moved_by=known) == pytest.approx(rows.scores)

    def kinds(fake_share):
        axes = reliability_picture(rows, fake_share=fake_share).axes[0]
        return [text.get_text() for text in axes.get_legend().get_texts()]

    assert not any("before" in text for text in kinds(None)), "not known what to shift by: left out"
    assert any("before" in text for text in kinds(0.3))


def test_the_reliability_title_fits_its_picture_at_a_base_rate():
    rate = 0.0125
    known = Calibration(fake_share=0.5, base_rate=rate)
    picture = reliability_picture(table(copies=1, num_groups=200, calibration=known, base_rate=rate), fake_share=0.5)
    picture.draw_without_rendering()
    title = picture.axes[0].get_title(loc="left")
    assert "1.25 % are fakes" in title
    (box,) = [found.get_window_extent() for found in picture.findobj(Text) if found.get_text() == title]
    assert box.x1 <= picture.bbox.x1
