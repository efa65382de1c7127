"""What a Detector computes, against values worked out by hand or by plain torch."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from tests.helpers.models import model_config
from torch.nn import functional as F

from veriscope.errors import ConfigError, ModelError
from veriscope.models import precision
from veriscope.models.detector import build_detector
from veriscope.models.features import FeatureShape
from veriscope.models.heads import TextureHead, TextureStatsHead, halve
from veriscope.models.precision import native_bf16, resolve_device, resolve_precision


def test_the_linear_detector_is_backbone_pooling_and_dot_product() -> None:
    detector = build_detector(model_config("test_resnet", "linear", mean=0.4, std=0.2)).eval()
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps = detector.backbone.net.forward_features((image / 255 - 0.4) / 0.2)
        expected = maps.mean((2, 3)) @ detector.classifier.weight[0] + detector.classifier.bias
        assert torch.allclose(detector(image), expected, atol=1e-5)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_a_tap_reads_the_module_s_own_output(backbone: str) -> None:
    tap = {"test_resnet": "layer2", "test_efficientnet": "blocks.2"}[backbone]
    full = build_detector(model_config(backbone, "linear")).eval()
    cut = build_detector(model_config(backbone, "linear", tap=tap)).eval()
    both = build_detector(model_config(backbone, "texture_stats", tap=[None, tap])).eval()
    state = full.backbone.state_dict()
    assert cut.num_parameters < full.num_parameters / 2
    cut.backbone.load_state_dict({name: state[name] for name in cut.backbone.state_dict()})
    both.backbone.load_state_dict(state)
    seen = []
    full.backbone.net.get_submodule(tap).register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        (last,) = full.features(image)
        assert torch.equal(cut.features(image)[0], seen[0])
        got_last, got_tap = both.features(image)
    assert torch.equal(got_last, last)
    assert torch.equal(got_tap, seen[0])


def test_tokens_become_the_grid_that_the_patches_were() -> None:
    detector = build_detector(model_config("test_vit", "linear")).eval()
    net = detector.backbone.net
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        tokens = net.forward_features((image - 0.5) / 0.5)
        (grid,) = detector.features(image)
    assert grid.shape == (1, 64, 4, 4)
    assert torch.equal(grid[0, :, 2, 1], tokens[0, 1 + 2 * 4 + 1])


def test_a_detector_can_be_copied_and_pickled() -> None:
    detector = build_detector(model_config("test_resnet", "texture_stats", tap="layer1")).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = detector(image)
        assert torch.equal(copy.deepcopy(detector)(image), expected)
        assert torch.equal(pickle.loads(pickle.dumps(detector))(image), expected)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_detector_can_be_built_where_gradients_are_off(context: type) -> None:
    with context():
        detector = build_detector(model_config("mobilenetv3_small_050", "linear"))
    assert not detector.backbone.unused_parameters
    assert not any(name.startswith("conv_head") for name in detector.backbone.net.state_dict())


def test_freezing_can_change_and_survives_train_calls() -> None:
    detector = build_detector(model_config("test_resnet", "mlp", trainable="none"))
    frozen = detector.num_trainable_parameters
    detector.train()
    assert not any(module.training for module in detector.backbone.modules())
    assert detector.head.training
    detector.set_trainable(("layer4",))
    assert [n for n, m in detector.backbone.net.named_children() if m.training] == ["layer4"]
    assert all(m.training for m in detector.backbone.net.layer4.modules())
    detector.set_trainable("all")
    assert all(module.training for module in detector.modules())
    assert detector.num_trainable_parameters == detector.num_parameters > frozen
    detector.eval()
    detector.set_trainable(("layer4",))
    assert not any(module.training for module in detector.modules())


def test_parameter_groups_hold_each_learning_parameter_once() -> None:
    detector = build_detector(model_config("test_resnet", "mlp", trainable=["layer4"]))
    groups = detector.parameter_groups(lr=1e-4, head_lr=1e-3, weight_decay=0.05)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("backbone", 1e-4, 0.05),
        ("head", 1e-3, 0.05),
    ]
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in detector.parameters() if p.requires_grad)
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in detector.backbone.net.layer4.parameters()}
    detector.set_trainable("none")
    assert [g["name"] for g in detector.parameter_groups(lr=1e-4, weight_decay=0.0)] == ["head"]


def test_l2_is_the_keras_kernel_regularizer() -> None:
    detector = build_detector(model_config("test_resnet", "mlp", head_options={"l2": 0.01}))
    with torch.no_grad():
        detector.head.dense.weight.fill_(0.5)
        detector.head.dense.bias.fill_(9.0)
    assert detector.l2_penalty().item() == pytest.approx(0.01 * 512 * 96 * 0.25)
    assert detector.l2_penalty().requires_grad
    assert build_detector(model_config()).l2_penalty().item() == 0


@pytest.mark.parametrize(("side", "expected"), [(4, 2), (5, 2), (2, 1), (1, 1)])
def test_halving_is_keras_pooling_but_never_empty(side: int, expected: int) -> None:
    image = torch.arange(side * side, dtype=torch.float32).view(1, 1, side, side)
    assert halve(image).shape[-2:] == (expected, expected)
    assert halve(image)[0, 0, 0, 0] == image[0, 0, min(side, 2) - 1, min(side, 2) - 1]


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
def test_the_texture_head_takes_any_map(side: int) -> None:
    head = TextureHead((FeatureShape(8, side, side),))
    assert head(torch.rand(2, 8, side, side)).shape == (2, 256)


def test_texture_statistics_are_mean_and_deviation() -> None:
    head = TextureStatsHead((FeatureShape(2, 1, 1), FeatureShape(1, 1, 2)), norm="none", dropout=0.0)
    last = torch.tensor([[[[3.0]], [[4.0]]]])
    early = torch.tensor([[[[1.0, 5.0]]]])  # mean 3, deviation 2
    flat = 1e-5**0.5  # the deviation of a single pixel: what keeps the root's gradient finite
    assert torch.allclose(head(last, early), torch.tensor([[3.0, 4.0, flat, flat, 3.0, 2.0]]), atol=1e-5)


def test_the_mlp_head_is_dense_relu_batchnorm_dropout() -> None:
    detector = build_detector(model_config("test_resnet", "mlp", head_options={"hidden": 8})).eval()
    head = detector.head
    head.norm.running_mean.uniform_(-1, 1)
    maps = torch.rand(2, 96, 2, 2)
    with torch.no_grad():
        expected = (F.relu(head.dense(maps.mean((2, 3)))) - head.norm.running_mean) / (1 + 1e-5) ** 0.5
        assert torch.allclose(head(maps), expected, atol=1e-6)


def test_flatten_says_that_it_needs_its_size() -> None:
    detector = build_detector(model_config("custom_cnn", "flatten", size_px=64)).eval()
    with pytest.raises(ModelError, match="head 'flatten' was built for a 2 x 2 map and got 4 x 4"):
        detector(torch.rand(1, 3, 96, 96))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse", True),
        ("flags : amx_tile amx_bf16", True),
        ("Features : fp asimd bf16", True),
        ("flags : avx512f avx512_vnni", False),
        ("model name : bf16", False),
    ],
)
def test_bf16_is_native_only_where_the_flags_say_so(
    text: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor : 0\n{text}\n")
    monkeypatch.setattr(precision, "CPU_INFO", info)
    cpu = torch.device("cpu")
    assert native_bf16(cpu) is expected
    assert resolve_precision("auto", cpu) == ("bf16" if expected else "fp32")
    assert resolve_precision("bf16", cpu) == "bf16"


def test_devices_that_are_not_here_are_refused() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    for wrong in ("gpu", "cuda:99", "meta"):
        with pytest.raises(ConfigError, match="device"):
            resolve_device(wrong)
