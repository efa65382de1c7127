"""A bundle of several networks: one that averages them, and everything that is said of it."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tests.helpers.bundles import FACTS, tiny_bundle, write_pictures
from tests.helpers.models import model_config

from veriscope.bundle import Bundle, load_bundle
from veriscope.bundle.ensemble import Part, save_ensemble
from veriscope.bundle.save import save_bundle
from veriscope.bundle.seen import merge_seen
from veriscope.errors import BundleError
from veriscope.models.detector import build_detector
from veriscope.models.ensemble import Ensemble
from veriscope.types import Calibration, Threshold, preferred_name

TEMPERATURES = (0.5, 2.0)
POOLED = Threshold(value=0.3, rule="youden", chosen_on="generated out of fold, by single members")


def single(folder: Path, seed: int, *, size_px: int = 32, **changes: object) -> Bundle:
    torch.manual_seed(seed)
    settings = {
        "detector": build_detector(model_config(size_px=size_px)),
        "calibration": Calibration(temperature=7.0, fitted_on="val"),
        "thresholds": {"val": Threshold(value=0.9, rule="youden", chosen_on="val")},
        "training": FACTS,
    }
    return save_bundle(folder, **(settings | changes))


def ensemble(root: Path, parts: list[Part] | None = None, **changes: object) -> Bundle:
    if parts is None:
        parts = [Part(f"fold {k}", single(root / f"fold_{k}", k), TEMPERATURES[k]) for k in range(2)]
    settings = {
        "calibration": Calibration(temperature=1.25, fitted_on=POOLED.chosen_on),
        "thresholds": {"out_of_fold": POOLED},
        "training": FACTS.model_copy(update={"num_val": 0, "val": {}}),
        "out_of_fold": {"auroc": 0.875, "eer": None},
    }
    return save_ensemble(root / "bundle", parts, **(settings | changes))


def test_an_ensemble_comes_back_and_answers_with_the_mean(tmp_path: Path) -> None:
    saved = ensemble(tmp_path)
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded == saved
    detector = loaded.detector()
    assert isinstance(detector, Ensemble)
    assert not detector.training
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        each = [load_bundle(tmp_path / f"fold_{k}").detector()(images) for k in range(2)]
        assert torch.allclose(detector(images), (each[0] / 0.5 + each[1] / 2.0) / 2, atol=1e-6)
    assert loaded.record.num_parameters == 2 * load_bundle(tmp_path / "fold_0").record.num_parameters
    assert [member.weights_sha256 for member in loaded.record.ensemble.members] == [
        load_bundle(tmp_path / f"fold_{k}").weights_sha256 for k in range(2)
    ]


def test_the_scorer_takes_it_like_any_other(tmp_path: Path) -> None:
    bundle = ensemble(tmp_path)
    paths = write_pictures(tmp_path / "pictures", 3)

    def logits(model: Bundle) -> np.ndarray:
        scorer = model.scorer(device="cpu", precision="fp32", batch_size=2)
        return np.array([scored.logit for scored in scorer.score_paths(paths)])

    by_hand = (logits(load_bundle(tmp_path / "fold_0")) / 0.5 + logits(load_bundle(tmp_path / "fold_1")) / 2.0) / 2
    assert np.allclose(logits(bundle), by_hand, atol=1e-5)
    for scored in bundle.scorer(device="cpu", precision="fp32").score_paths(paths):
        assert scored.score == pytest.approx(1 / (1 + math.exp(-scored.logit / 1.25)))
    assert bundle.preferred_threshold == bundle.threshold("out_of_fold") == POOLED


def test_bundles_of_one_network_stay_what_they_were(tmp_path: Path) -> None:
    """Programs that know no ensembles refuse a key that they don't know, and call it damage."""
    record = json.loads((tiny_bundle(tmp_path / "b").folder / "bundle.json").read_text())
    assert record["format_version"] == 1
    assert "ensemble" not in record
    ensemble(tmp_path)
    assert json.loads((tmp_path / "bundle" / "bundle.json").read_text())["format_version"] == 2


def change(key: str, value: object) -> Callable[[dict], object]:
    return lambda record: record.update({key: value})


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (change("format_version", 1), "format version 1 doesn't fit what it holds, which takes 2"),
        (lambda r: r.pop("ensemble"), "format version 2 doesn't fit what it holds, which takes 1"),
        (lambda r: r["ensemble"]["members"].pop(), "is damaged at ensemble.members"),
        (
            lambda r: r["ensemble"]["members"][0].update(temperature=0.0),
            r"damaged at ensemble\.members\.0\.temperature",
        ),
        (lambda r: r["ensemble"]["members"][0].update(extra=1), r"damaged at ensemble\.members\.0\.extra"),
        (change("format_version", 4), "has format version 4, this veriscope .* reads 1 to 3"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path: Path, damage: Callable[[dict], object], expected: str) -> None:
    ensemble(tmp_path)
    file = tmp_path / "bundle" / "bundle.json"
    record = json.loads(file.read_text())
    damage(record)
    file.write_text(json.dumps(record))
    with pytest.raises(BundleError, match=expected):
        load_bundle(tmp_path / "bundle")


def test_weights_of_more_members_than_the_record_names_do_not_load(tmp_path: Path) -> None:
    parts = [Part(f"fold {k}", single(tmp_path / f"fold_{k}", k), 1.0) for k in range(3)]
    ensemble(tmp_path, parts)
    file = tmp_path / "bundle" / "bundle.json"
    record = json.loads(file.read_text())
    record["ensemble"]["members"].pop()
    file.write_text(json.dumps(record))
    with pytest.raises(BundleError, match="don't fit its record"):
        load_bundle(tmp_path / "bundle").detector()


def test_only_bundles_of_one_configuration_are_averaged(tmp_path: Path) -> None:
    first = Part("a", single(tmp_path / "a", 0), 1.0)
    with pytest.raises(BundleError, match="two bundles or more, not 1"):
        ensemble(tmp_path, [first])
    larger = Part("b", single(tmp_path / "b", 1, size_px=64), 1.0)
    with pytest.raises(BundleError, match=r"'.*/b' is another network than '.*/a', or is shown other input"):
        ensemble(tmp_path, [first, larger])
    whole = Part("c", ensemble(tmp_path), 1.0)
    with pytest.raises(BundleError, match="can't be a member of another"):
        ensemble(tmp_path / "again", [whole, whole])
    (tmp_path / "a" / "weights.safetensors").write_bytes(b"cut off")
    with pytest.raises(BundleError, match="don't fit"):
        ensemble(tmp_path / "damaged", [first, Part("d", single(tmp_path / "d", 2), 1.0)])
    assert not (tmp_path / "damaged").exists()


def test_a_record_with_other_temperatures_is_a_mistake(tmp_path: Path) -> None:
    networks = [build_detector(model_config(size_px=32)) for _ in range(2)]
    with pytest.raises(ValueError, match="has to name its temperatures"):
        single(tmp_path / "b", 0, detector=Ensemble(networks, temperatures=[1.0, 2.0]))
    assert not (tmp_path / "b").exists()


def prints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def test_what_any_member_learned_is_learned(tmp_path: Path) -> None:
    folds = [{"train": prints(3, 1), "val": prints(2)}, {"train": prints(2, 1), "val": prints(3)}]
    seeds = [{"train": prints(1, 2), "val": prints(9)}, {"train": prints(2, 5), "val": prints(9)}]
    merged = merge_seen(seeds)
    assert (merged["train"].tolist(), merged["val"].tolist()) == ([1, 2, 5], [9])
    parts = [Part(f"fold {k}", single(tmp_path / f"{k}", k, seen=folds[k]), 1.0) for k in range(2)]
    seen = load_bundle(ensemble(tmp_path, parts).folder).seen()
    assert (seen["train"].tolist(), seen["val"].tolist()) == ([1, 2, 3], [])
    unknown = [parts[0], Part("old", single(tmp_path / "old", 3), 1.0)]
    assert ensemble(tmp_path, unknown, overwrite=True).seen() is None


def test_what_some_members_have_to_say_is_passed_on_with_their_names(tmp_path: Path) -> None:
    notices = [("Made.", "Not usable."), ("Made.",), ("Made.", "Not usable.")]
    parts = [Part(f"fold {k}", single(tmp_path / f"{k}", k, notices=notices[k]), 1.0) for k in range(3)]
    assert ensemble(tmp_path, parts, notices=("Made.",)).notices == (
        "Made.",
        "Of its members, fold 0, fold 2: Not usable.",
    )


def test_the_card_says_what_it_is_and_whose_figures_it_shows(tmp_path: Path) -> None:
    bundle = ensemble(tmp_path)
    text = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert yaml.safe_load(text.split("---")[1])["metrics"] == ["auroc", "eer"]
    for fact in (
        "the average of 2 models",
        "None of them is the average's own",
        "predictions of single members, one member a picture",
        "0.8750",
        "A verdict costs 2 times the computing",
        "member 'fold 1' | temperature 2; weights of its own bundle (SHA-256): "
        + bundle.record.ensemble.members[1].weights_sha256,
        "10, each learned by 1 of 2 members",
        "mean over the members of their logit / temperature",
        "temperature fitted on: generated out of fold, by single members",
        "threshold 'out_of_fold' | 0.3 (youden; chosen on: generated out of fold, by single members)",
    ):
        assert fact in text
    assert "Figures on the validation data" not in text


def test_the_threshold_that_was_chosen_on_data_is_preferred() -> None:
    half = Threshold(value=0.5, rule="fixed", chosen_on="none")
    assert preferred_name({"default": half, "val": POOLED}) == "val"
    assert preferred_name({"out_of_fold": POOLED, "default": half}) == "out_of_fold"
    assert preferred_name({"mine": POOLED, "default": half}) == "default"
    assert preferred_name({"mine": POOLED}) == "mine"
    assert preferred_name({}) == ""
