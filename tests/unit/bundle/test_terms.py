"""What turns logits into verdicts: kept in bundles of every format version, corrected to a base rate."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.bundles import tiny_bundle

from veriscope.bundle import load_bundle
from veriscope.bundle.model_card import model_card
from veriscope.bundle.record import OodFacts
from veriscope.errors import BundleError
from veriscope.types import Calibration, Threshold, UnsureBand, name_verdict

BAND = UnsureBand(
    low=0.2, high=0.6, threshold="val", wanted_accuracy=0.95, coverage=0.8, accuracy=0.96, num_pictures=500,
    chosen_on="val",
)  # fmt: skip


def text(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    return found


def test_a_bundle_with_nothing_new_is_written_as_ever(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "b")
    record = text(tmp_path / "b")
    assert record["format_version"] == 1
    assert record["calibration"] == {"temperature": 2.0, "fitted_on": "val"}
    assert "unsure" not in record


def test_what_an_earlier_program_would_judge_otherwise_has_a_version_that_it_refuses(tmp_path: Path) -> None:
    saved = tiny_bundle(tmp_path / "b", unsure=BAND)
    assert text(tmp_path / "b")["format_version"] == 3
    assert load_bundle(tmp_path / "b") == saved
    assert load_bundle(tmp_path / "b").record.unsure == BAND
    card = (tmp_path / "b" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "scores from 0.2 to 0.6 (around threshold 'val'" in card
    tiny_bundle(tmp_path / "share", fake_share=0.25)
    assert text(tmp_path / "share")["format_version"] == 3
    record = text(tmp_path / "b")
    record["format_version"] = 1
    (tmp_path / "b" / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="format version 1 doesn't fit what it holds, which takes 3"):
        load_bundle(tmp_path / "b")


def test_a_band_belongs_to_its_threshold(tmp_path: Path) -> None:
    terms = tiny_bundle(tmp_path / "b", unsure=BAND).terms()
    assert terms.band(terms.threshold("val")) == BAND
    assert terms.band(terms.threshold("default")) is None
    assert terms.band(terms.threshold("0.4")) is None, "a number by hand is another threshold"
    with pytest.raises(ValueError, match="belongs to the threshold 'other'"):
        tiny_bundle(tmp_path / "c", unsure=BAND.model_copy(update={"threshold": "other"}))


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.9])
def test_a_base_rate_moves_every_score_and_no_verdict_at_a_chosen_threshold(tmp_path: Path, rate: float) -> None:
    bundle = tiny_bundle(tmp_path / "b", unsure=BAND, fake_share=0.4)
    plain, moved = bundle.terms(), bundle.terms(base_rate=rate)
    logits = np.linspace(-20, 20, 401)
    scores = [[terms.calibration.score(logit) for logit in logits] for terms in (plain, moved)]
    assert (np.diff(scores[1]) > 0).all(), "what ranked above still does"
    verdicts = [
        [name_verdict(score, threshold=terms.preferred.value, band=terms.band(terms.preferred)) for score in own]
        for terms, own in zip((plain, moved), scores, strict=True)
    ]
    assert verdicts[0] == verdicts[1]
    assert set(verdicts[0]) == {"real", "unsure", "fake"}
    assert (scores[1][200] < scores[0][200]) == (rate < 0.4)
    assert moved.thresholds["default"] == plain.thresholds["default"], "0.5 speaks of the probability"
    assert moved.calibration.base_rate == rate
    assert bundle.terms().calibration == bundle.calibration


def test_the_band_stays_only_where_its_threshold_moves_with_the_scores(tmp_path: Path) -> None:
    """Moved alone, it would have ended below the 0.5 that it was chosen around: fakes above it, and none wanted."""
    around_half = BAND.model_copy(update={"threshold": "default"})
    bundle = tiny_bundle(tmp_path / "b", unsure=around_half, fake_share=0.4)
    plain, moved = bundle.terms(), bundle.terms(base_rate=0.05)
    assert (plain.unsure, plain.no_band) == (around_half, "")
    assert moved.unsure is None
    assert moved.band(moved.threshold("default")) is None
    assert "around the threshold 'default', which stays at 0.5 " in moved.no_band
    followed = tiny_bundle(tmp_path / "c", unsure=BAND, fake_share=0.4).terms(base_rate=0.05)
    assert followed.unsure is not None
    assert followed.unsure.low < followed.threshold("val").value < followed.unsure.high


def test_a_band_holds_its_threshold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the band from 0\.2 to 0\.6 doesn't hold its threshold 'val', 0\.7"):
        tiny_bundle(tmp_path / "b", unsure=BAND, threshold=0.7)
    low = Threshold(value=0.2, rule="youden", chosen_on="val")
    assert tiny_bundle(tmp_path / "c", unsure=BAND, threshold=low.value).record.unsure == BAND, "the ends belong to it"


def test_the_card_says_what_is_strange_beside_what_is_unsure(tmp_path: Path) -> None:
    record = tiny_bundle(tmp_path / "b").record
    facts = OodFacts(sha256="0" * 64, method="knn", threshold=0.99, num_pictures=1200, fitted_on="my val")
    card = model_card(record.model_copy(update={"ood": facts}))
    assert "| unsure by its score | never |" in card
    assert "| unsure as strange | from an ood of 0.99 on: knn, fitted on my val, 1,200 pictures |" in card
    assert "| unsure as strange | never: it can't tell what is strange |" in model_card(record)
    for words in ("robustness=full", "--base-rate", "ood"):
        assert words in model_card(record).split("## Model")[0], words
    assert "nothing in the score shows that" not in card


def test_a_base_rate_needs_the_share_that_it_corrects_from(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"calibration\.method=platt, or leave the base rate out"):
        tiny_bundle(tmp_path / "b").terms(base_rate=0.05)
    with pytest.raises(BundleError, match="above 0 and below 1, not 1"):
        tiny_bundle(tmp_path / "c", fake_share=0.5).terms(base_rate=1.0)
    assert Calibration(fake_share=0.5).at_base_rate(0.1).at_base_rate(None).score(0.0) == 0.5


def test_a_refused_base_rate_names_the_reason_that_the_bundle_knows(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no share of fakes to correct from: they lie too high or too low"):
        tiny_bundle(tmp_path / "leans", unsure=BAND).terms(base_rate=0.05)
    with pytest.raises(BundleError) as error:
        tiny_bundle(tmp_path / "none", unsure=BAND, fitted_on="none").terms(base_rate=0.05)
    assert "nothing calibrated them" in str(error.value)
    assert "too high" not in str(error.value)
    with pytest.raises(BundleError) as error:
        tiny_bundle(tmp_path / "old").terms(base_rate=0.05)
    assert "or veriscope" in str(error.value), "a bundle of version 1 doesn't tell the one from the other"


def test_the_card_speaks_to_people_and_not_in_pythons_words(tmp_path: Path) -> None:
    record = tiny_bundle(tmp_path / "b", unsure=BAND.model_copy(update={"low": 0.4, "high": 0.4})).record
    head = record.model.head.model_copy(update={"tap": ("block3", None)})
    facts = record.training.model_copy(update={"split": {"name": "holdout", "val_fraction": 0.1, "fold": None}})
    card = model_card(record.model_copy(update={
        "model": record.model.model_copy(update={"head": head}), "training": facts,
    }))  # fmt: skip
    assert "linear, at block3, the last layer" in card
    assert "| split | name=holdout, val_fraction=0.1 |" in card
    assert "are right as they are |" in card
    assert "None" not in card.replace("None yet", "").replace("None recorded", "")
