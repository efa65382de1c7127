"""A bundle comes back as it was saved, or not at all."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.helpers.bundles import FACTS, tiny_bundle
from tests.helpers.models import model_config

from veriscope.bundle import load_bundle
from veriscope.bundle.save import save_bundle
from veriscope.errors import BundleError
from veriscope.models.detector import build_detector
from veriscope.types import Calibration, Threshold


def test_a_bundle_comes_back_bit_for_bit_without_a_download(tmp_path: Path) -> None:
    # A pretrained backbone and a weights file that does not exist: neither may be asked for at load.
    config = model_config("test_resnet", "texture_stats", tap="layer1", head_options={"norm": "batch"})
    detector = build_detector(config)
    for parameter in detector.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    backbone = config.backbone.model_copy(update={"pretrained": True, "weights": Path("/nowhere/start.safetensors")})
    detector.config = config.model_copy(update={"backbone": backbone})
    detector.eval()
    thresholds = {"val": Threshold(value=0.3, rule="youden", chosen_on="val")}
    calibration = Calibration(temperature=1.7, fitted_on="val")
    saved = save_bundle(
        tmp_path / "b",
        detector=detector,
        calibration=calibration,
        thresholds=thresholds,
        training=FACTS,
        notices=("synthetic: a check of the machinery",),
    )
    loaded = load_bundle(tmp_path / "b")
    assert loaded == saved
    assert loaded.calibration == calibration
    assert loaded.preferred_threshold == loaded.threshold("val") == thresholds["val"]
    assert loaded.threshold("default").value == 0.5
    assert loaded.threshold("0.25").value == 0.25
    assert loaded.record.training == FACTS
    assert "/nowhere" not in (tmp_path / "b" / "bundle.json").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b"], "a temporary folder was left"
    image = torch.rand(3, 3, 64, 64)
    other = loaded.detector()
    assert not other.training
    with torch.no_grad():
        assert torch.equal(other(image), detector(image))


def test_the_card_holds_what_a_reader_must_know(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    text = (tmp_path / "b" / "MODEL_CARD.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "veriscope"
    assert header["datasets"] == ["generated"]
    for fact in ("0123abcd", "Made for tests.", "0.7500", "undefined", "deadbeef", "0.4 (best balanced accuracy"):
        assert fact in text
    assert bundle.weights_sha256 in text
    assert "started from random weights" in text


def edit_record(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        record = json.loads((folder / "bundle.json").read_text())
        change(record)
        (folder / "bundle.json").write_text(json.dumps(record))

    return damage


def flip_a_bit(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (flip_a_bit, "damaged or of another bundle: its hash is .* Copy the whole folder again"),
        (lambda folder: (folder / "weights.safetensors").unlink(), r"lacks weights\.safetensors"),
        (lambda folder: (folder / "bundle.json").unlink(), r"holds no bundle\.json"),
        (lambda folder: (folder / "bundle.json").write_text('{"format_'), r"bundle\.json' is damaged"),
        (lambda folder: (folder / "bundle.json").write_text("[]"), "is no bundle record of veriscope"),
        (edit_record(lambda r: r.update(format_version=99)), "has format version 99, this veriscope .* reads 1"),
        (edit_record(lambda r: r.update(extra=1)), "is damaged at extra"),
        (edit_record(lambda r: r["calibration"].update(temperature=-1)), r"is damaged at calibration\.temperature"),
        (edit_record(lambda r: r.update(class_map={"fake": 0, "real": 1})), "is not real 0, fake 1"),
        (edit_record(lambda r: r["thresholds"].pop("default")), "thresholds lack 'default'"),
    ],
)
def test_a_damaged_bundle_is_refused_in_words(tmp_path: Path, damage: Callable[[Path], None], expected: str) -> None:
    tiny_bundle(tmp_path / "b")
    damage(tmp_path / "b")
    with pytest.raises(BundleError, match=expected):
        load_bundle(tmp_path / "b")


def test_a_record_of_another_network_does_not_load(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "b")
    edit_record(lambda r: r["model"]["backbone"].update(name="test_convnext"))(tmp_path / "b")
    with pytest.raises(BundleError, match="don't fit its record"):
        load_bundle(tmp_path / "b").detector()
    edit_record(lambda r: r["model"]["backbone"].update(name="no_such_net"))(tmp_path / "b")
    with pytest.raises(BundleError, match="this installation can't build"):
        load_bundle(tmp_path / "b").detector()


def test_wrong_places_are_refused_with_a_hint(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "run" / "bundle")
    with pytest.raises(BundleError, match="no such folder"):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"Did you mean '.*run/bundle'"):
        load_bundle(tmp_path / "run")
    with pytest.raises(BundleError, match="is a file"):
        load_bundle(tmp_path / "run" / "bundle" / "MODEL_CARD.md")
    assert load_bundle(tmp_path / "run" / "bundle" / "bundle.json").folder == tmp_path / "run" / "bundle"


def test_thresholds_are_names_or_numbers(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    for wrong in ("vall", "1.5", "-0.1", "nan"):
        with pytest.raises(BundleError, match=f"threshold '{wrong}'"):
            bundle.threshold(wrong)


def test_only_a_bundle_is_ever_replaced(tmp_path: Path) -> None:
    first = tiny_bundle(tmp_path / "b")
    with pytest.raises(BundleError, match="exists"):
        tiny_bundle(tmp_path / "b", threshold=0.6)
    assert load_bundle(tmp_path / "b") == first
    assert tiny_bundle(tmp_path / "b", threshold=0.6, overwrite=True).threshold("val").value == 0.6
    assert load_bundle(tmp_path / "b").threshold("val").value == 0.6
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(BundleError, match="exists"):
        tiny_bundle(tmp_path / "mine", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "mine"]


def test_weights_are_plain_fp32_tensors(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    tensors = load_file(tmp_path / "b" / "weights.safetensors")
    assert {t.dtype for t in tensors.values()} <= {torch.float32, torch.int64}
    assert set(tensors) == set(bundle.detector().state_dict())


def test_who_may_read_a_bundle_is_the_umask_s_to_say(tmp_path: Path) -> None:
    seen = {part: np.arange(3, dtype=np.uint64) for part in ("train", "val")}
    before = os.umask(0o022)
    try:
        bundle = tiny_bundle(tmp_path / "bundle", seen=seen)
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in bundle.folder.iterdir()}
    assert "seen.safetensors" in modes
    assert set(modes.values()) == {0o644}, modes
