"""Starting weights, options, taps and names: what fits, and what the errors say."""

import logging
import os
import socket
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.helpers.models import model_config

from veriscope.errors import ModelError
from veriscope.models.backbones import describe_weights, import_timm
from veriscope.models.detector import build_detector, check_model
from veriscope.models.registry import Registry

SHARED = Path(os.environ.get("VERISCOPE_SHARED", Path(__file__).parents[4] / "shared"))
XCEPTION = SHARED / "weights" / "legacy_xception_imagenet_fp16.safetensors"


@pytest.fixture
def backbone_file(tmp_path: Path) -> Path:
    net = import_timm().create_model("test_resnet", num_classes=10)
    path = tmp_path / "start.safetensors"
    halves = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    save_file(halves, path)
    return path


def test_a_half_precision_file_loads_as_fp32_and_lists_the_classifier(
    backbone_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file

    with caplog.at_level(logging.INFO):
        detector = build_detector(model_config(weights=str(backbone_file), pretrained=True))
    saved = load_file(backbone_file)
    own = detector.backbone.net.state_dict()
    assert set(saved) - set(own) == {"fc.weight", "fc.bias"}
    for name, value in own.items():
        assert torch.equal(value, saved[name].to(value.dtype))
        assert value.dtype in (torch.float32, torch.int64)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "fc.bias, fc.weight" in warnings[0]


def test_a_tapped_backbone_counts_what_it_does_not_use(backbone_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        detector = build_detector(model_config(weights=str(backbone_file), tap="layer2"))
    assert not any(name.startswith(("layer3", "layer4")) for name, _ in detector.backbone.net.named_modules())
    text = caplog.text
    assert "0 of the unused part" not in text
    assert "of the unused part left out" in text


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda s: {k: v for k, v in s.items() if k != "layer1.0.conv1.weight"},
            "1 of .* missing: layer1.0.conv1.weight",
        ),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, "belong to no part of it: module."),
        (lambda s: {**s, "conv1.0.weight": torch.zeros(1)}, r"another shape: conv1.0.weight \(1,\), not \("),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_names(backbone_file: Path, damage: object, expected: str) -> None:
    from safetensors.torch import load_file

    save_file(damage(load_file(backbone_file)), backbone_file)
    with pytest.raises(ModelError, match=expected):
        build_detector(model_config(weights=str(backbone_file)))


def test_pickles_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    pickle = tmp_path / "model.pth"
    torch.save({}, pickle)
    with pytest.raises(ModelError, match=r"only .safetensors files are read"):
        build_detector(model_config(weights=str(pickle)))
    with pytest.raises(ModelError, match="no such file"):
        build_detector(model_config(weights=str(tmp_path / "no.safetensors")))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="damaged or no safetensors file"):
        build_detector(model_config(weights=str(tmp_path / "bad.safetensors")))
    assert build_detector(model_config(weights=str(pickle)), load_weights=False).num_parameters > 0


def test_position_embeddings_are_resampled_to_the_input_size(tmp_path: Path) -> None:
    net = import_timm().create_model("test_vit", num_classes=0, img_size=160)
    save_file(net.state_dict(), tmp_path / "vit.safetensors")
    config = model_config("test_vit", weights=str(tmp_path / "vit.safetensors"), size_px=96)
    detector = build_detector(config)
    assert detector.backbone.net.pos_embed.shape[1] == 6 * 6 + 1
    assert torch.equal(detector.backbone.net.blocks[0].mlp.fc1.weight, net.blocks[0].mlp.fc1.weight)


@pytest.mark.parametrize("name", ["test_resnet", "legacy_xception"])  # from the hub; from a plain URL
def test_without_a_network_the_error_comes_at_once_and_names_both_ways_out(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"  # bound, not listening: refuses every connection
        for key in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(key, dead)
        for key in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(key, "")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        start = time.monotonic()
        with pytest.raises(ModelError) as caught:
            build_detector(model_config(name, pretrained=True))
    assert time.monotonic() - start < 20
    text = str(caught.value)
    assert "model.backbone.weights=FILE" in text
    assert "model.backbone.pretrained=false" in text
    assert "\n" not in text
    assert not constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE"), "the setting was not put back"


def test_the_published_xception_weights_load_strictly() -> None:
    if not XCEPTION.is_file():
        pytest.skip(f"{XCEPTION} is not here; set VERISCOPE_SHARED to the folder that holds weights/")
    from safetensors.torch import load_file

    detector = build_detector(
        model_config(
            "xception",
            "texture",
            weights=str(XCEPTION),
            trainable=["block12.skip", "block12.skipbn", "conv3", "bn3", "conv4", "bn4"],
        )
    ).eval()
    saved = load_file(XCEPTION)
    own = detector.backbone.net.state_dict()
    assert set(own) == set(saved)
    assert all(torch.equal(own[name], saved[name].float()) for name in own if own[name].is_floating_point())
    assert sum(p.numel() for p in detector.backbone.parameters()) == 20_806_952  # Keras's Xception without its top
    with torch.no_grad():
        assert detector(torch.rand(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"head": "texture", "head_options": {"dropuot": 0.1}},
            "model.head.dropuot is not an argument of head 'texture'. Did you mean 'dropout'?",
        ),
        ({"head": "mlp", "head_options": {"hidden": "big"}}, "model.head.hidden='big' does not fit head 'mlp'"),
        ({"head": "mlp", "head_options": {"dropout": 1.5}}, "model.head.dropout=1.5 does not fit head 'mlp'"),
        ({"head": "textur"}, "model.head.name 'textur' is unknown. Did you mean 'texture'"),
        ({"head": "linear", "tap": ["layer1", "layer2"]}, "Heads that read several: texture_stats"),
        ({"backbone": "resnet_18"}, "model.backbone.name 'resnet_18' is unknown. Did you mean"),
        ({"backbone": "costum_cnn"}, "Did you mean 'custom_cnn'"),
        (
            {"backbone": "test_resnet", "options": {"drop_ratee": 0.1}},
            "model.backbone.options.drop_ratee is not an argument of timm's 'test_resnet'. Did you mean 'drop_rate'",
        ),
        ({"backbone": "test_resnet", "options": {"num_classes": 2}}, "num_classes is set by veriscope itself"),
        ({"backbone": "custom_cnn", "options": {"chanels": [1]}}, "Did you mean 'channels'"),
    ],
)
def test_wrong_names_and_options_are_answered_with_the_nearest(config: dict[str, object], expected: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_model(model_config(**config))
    assert expected in str(caught.value)


def test_unknown_taps_and_trainable_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"model.head.tap 'layer22' is no module .* 'layer2'"):
        build_detector(model_config(tap="layer22"))
    with pytest.raises(ModelError, match=r"model.backbone.trainable 'layer33' .* 'layer3'"):
        build_detector(model_config(trainable=["layer33"]))
    with pytest.raises(ModelError, match="'layer4' is no module of the part of the backbone that is used"):
        build_detector(model_config(tap="layer2", trainable=["layer4"]))


def test_timm_options_reach_the_network() -> None:
    """Trap 13: a knob without a test does nothing."""
    detector = build_detector(model_config("test_resnet", options={"drop_path_rate": 0.5}))
    rates = [m.drop_prob for m in detector.modules() if type(m).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.5)


def test_too_small_inputs_are_an_error_in_words() -> None:
    config = model_config("custom_cnn", size_px=32, options={"channels": [8] * 6})
    with pytest.raises(ModelError, match=r"can't take model.input.size_px=32"):
        build_detector(config)


def test_a_registry_refuses_a_second_name() -> None:
    registry: Registry[object] = Registry("head")
    registry.register("x")(int)
    with pytest.raises(ModelError, match=r"'x' is registered twice: by builtins and by pathlib"):
        registry.register("x")(Path)


def test_the_origin_of_the_weights_is_told() -> None:
    xception = describe_weights(model_config("xception", pretrained=True).backbone)
    assert "legacy_xception.tf_in1k" in xception
    assert "apache-2.0" in xception
    assert describe_weights(model_config("test_resnet").backbone) == "started from random weights"
    assert "other.safetensors" in describe_weights(model_config(weights="/x/other.safetensors").backbone)
