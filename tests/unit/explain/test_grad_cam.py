"""Grad-CAM of every network: against CAM, against gradients taken by hooks, and against the logit."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.helpers.models import model_config

from veriscope.explain.grad_cam import grad_cam
from veriscope.models.detector import Detector, build_detector
from veriscope.models.ensemble import Ensemble
from veriscope.models.registry import BACKBONES, HEADS

SIZE = 64
# As tests/unit/models/test_contract.py: one network of each kind of feature map.
TAPS = {
    "test_resnet": "layer2",
    "test_efficientnet": "blocks.1",
    "test_convnext": "stages.1",
    "test_mambaout": "stages.1",
    "test_vit": "blocks.1",
    "mobilenetv3_small_050": "blocks.1",
    "custom_cnn": "layers.2",
    "xception": "block7",
}
PAIRS = [(backbone, head) for backbone in TAPS for head in HEADS]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(backbone: str, head: str, *, seed: int = 0, **changes: object) -> Detector:
    torch.manual_seed(seed)
    tap = [TAPS[backbone], None] if HEADS[head].reads_several else None
    detector = build_detector(model_config(backbone, head, size_px=SIZE, tap=tap, **changes)).eval()
    with torch.no_grad():
        detector.classifier.bias.fill_(0.7)  # trained ones are not 0
    return detector


def pictures(count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)


def logits(detector: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return detector(torch.from_numpy(images)).numpy()


def by_hooks(detector: Detector, images: np.ndarray) -> np.ndarray:
    """Grad-CAM as its paper writes it down: alpha_k is the mean of d logit / d A_k, the map is sum_k alpha_k A_k."""
    kept: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _args: object, maps: tuple[torch.Tensor, ...]) -> None:
        maps[-1].retain_grad()
        kept.append(maps[-1])

    hook = detector.backbone.register_forward_hook(keep)
    detector(torch.from_numpy(images)).sum().backward()
    hook.remove()
    alpha = kept[0].grad.mean(dim=(2, 3), keepdim=True)
    return (alpha * kept[0]).sum(dim=1).detach().numpy()


def test_the_list_is_whole() -> None:
    assert set(BACKBONES) <= set(TAPS)


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_every_network_has_a_finite_map_whose_mean_is_the_logit(backbone: str, head: str) -> None:
    detector, images = build(backbone, head), pictures()
    found = grad_cam(detector, images)
    with torch.no_grad():
        grid = detector.features(torch.from_numpy(images))[-1].shape[-2:]
    assert found.heat.shape == (2, *grid)
    assert found.heat.dtype == np.float32
    assert np.isfinite(found.heat).all()
    assert np.abs(found.heat).max() > 0
    np.testing.assert_allclose(found.logits, logits(detector, images), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.local.mean(axis=(1, 2)), found.logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_averaged_it_is_the_papers(backbone: str, head: str) -> None:
    detector, images = build(backbone, head), pictures()
    height, width = (found := grad_cam(detector, images, averaged=True)).heat.shape[1:]
    expected = by_hooks(detector, images) * height * width
    np.testing.assert_allclose(found.heat, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("backbone", TAPS)
def test_of_a_linear_head_it_is_cam(backbone: str) -> None:
    """Zhou et al. 2016, eq. 2: M(y, x) = sum_k w_k f_k(y, x)."""
    detector, images = build(backbone, "linear"), pictures()
    with torch.no_grad():
        maps = detector.features(torch.from_numpy(images))[0]
        cam = torch.einsum("k,bkyx->byx", detector.classifier.weight[0], maps).numpy()
    found = grad_cam(detector, images)
    np.testing.assert_allclose(found.heat, cam, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.rest, 0.7, atol=1e-4)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "custom_cnn"])
def test_of_a_flatten_head_every_place_keeps_its_own_weight(backbone: str) -> None:
    """Built so that only the first place is read: averaging the gradient would colour all of them."""
    detector, images = build(backbone, "flatten"), pictures()
    head = detector.head
    with torch.no_grad():
        weight = head.dense.weight.view(head.out_features, head.in_shape.channels, -1)
        weight[:, :, 1:] = 0
    heat = grad_cam(detector, images).heat.reshape(2, -1)
    assert np.abs(heat[:, 0]).min() > 0
    assert np.abs(heat[:, 1:]).max() == 0
    assert np.abs(grad_cam(detector, images, averaged=True).heat.reshape(2, -1)[:, 1:]).max() > 0


def test_deviations_count() -> None:
    """The gradient of a standard deviation has the mean 0: averaged, that half of texture_stats would be invisible."""
    detector, images = build("test_resnet", "texture_stats"), pictures()
    channels = detector.head.out_features // 2
    with torch.no_grad():
        detector.backbone(torch.zeros(1, 3, SIZE, SIZE))
        sizes = [m.shape[1] for m in detector.features(torch.from_numpy(images))]
        means = torch.cat([torch.arange(size) + 2 * sum(sizes[:number]) for number, size in enumerate(sizes)])
        detector.classifier.weight[0, means] = 0
    assert len(means) == channels
    assert np.abs(grad_cam(detector, images).heat).max() > 0.01
    np.testing.assert_allclose(grad_cam(detector, images, averaged=True).heat, 0, atol=1e-4)


def test_several_maps() -> None:
    detector, images = build("test_resnet", "texture_stats"), pictures()
    first, last, every = (grad_cam(detector, images, which=which) for which in (0, -1, "all"))
    assert first.heat.shape == every.heat.shape == (2, 8, 8)
    assert last.heat.shape == (2, 2, 2)
    larger = torch.nn.functional.interpolate(torch.from_numpy(last.heat)[:, None], (8, 8), mode="bilinear")[:, 0]
    np.testing.assert_allclose(every.heat, first.heat + larger.numpy(), rtol=1e-4, atol=1e-4)
    with pytest.raises(IndexError):
        grad_cam(detector, images, which=2)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "custom_cnn"])
def test_flip_average_is_explained_as_it_answers(backbone: str) -> None:
    detector, images = build(backbone, "texture", flip_average=True), pictures()
    found, mirrored = grad_cam(detector, images), grad_cam(detector, images[..., ::-1].copy())
    np.testing.assert_allclose(found.logits, logits(detector, images), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.heat, mirrored.heat[..., ::-1], rtol=1e-4, atol=1e-5)
    detector.flip_average = False
    one, other = grad_cam(detector, images), grad_cam(detector, images[..., ::-1].copy())
    assert not np.allclose(one.heat, other.heat[..., ::-1])
    np.testing.assert_allclose(found.heat, (one.heat + other.heat[..., ::-1]) / 2, rtol=1e-4, atol=1e-5)


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    members = [build("test_resnet", "mlp", seed=seed, flip_average=seed == 1) for seed in (0, 1, 2)]
    temperatures = [0.5, 1.0, 2.5]
    found = grad_cam(Ensemble(members, temperatures=temperatures).eval(), pictures())
    parts = [grad_cam(member, pictures()) for member in members]
    expected = np.mean([part.heat / t for part, t in zip(parts, temperatures, strict=True)], axis=0)
    np.testing.assert_allclose(found.heat, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found.logits, logits(Ensemble(members, temperatures=temperatures).eval(), pictures()), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("trainable", ["none", ["layer4"]])
def test_a_frozen_backbone_makes_no_difference(trainable: object) -> None:
    expected = grad_cam(build("test_resnet", "mlp"), pictures())
    found = grad_cam(build("test_resnet", "mlp", trainable=trainable), pictures())
    np.testing.assert_array_equal(found.heat, expected.heat)


def test_the_residual_stream() -> None:
    plain = model_config("test_resnet", "linear", size_px=SIZE)
    torch.manual_seed(0)
    detector = build_detector(plain.model_copy(update={"stream": "residual"})).eval()
    found = grad_cam(detector, pictures())
    np.testing.assert_allclose(found.logits, logits(detector, pictures()), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.local.mean(axis=(1, 2)), found.logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("head", list(HEADS))
def test_nothing_of_the_detector_is_changed(head: str, training: bool) -> None:
    detector = build("test_resnet", head, trainable=["layer4"]).train(training)
    before = copy.deepcopy(detector.state_dict())
    flags = [module.training for module in detector.modules()]
    wanted = [p.requires_grad for p in detector.parameters()]
    first = grad_cam(detector, pictures())
    assert [module.training for module in detector.modules()] == flags
    assert [p.requires_grad for p in detector.parameters()] == wanted
    assert all(p.grad is None for p in detector.parameters())
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())
    assert not any(module._forward_hooks or module._backward_hooks for module in detector.modules())
    np.testing.assert_array_equal(grad_cam(detector.eval(), pictures()).heat, first.heat)


def test_whatever_the_caller_has_switched_on() -> None:
    detector, images = build("test_resnet", "texture"), pictures()
    expected = grad_cam(detector, images)
    with torch.inference_mode():
        np.testing.assert_array_equal(grad_cam(detector, images).heat, expected.heat)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(grad_cam(detector, images).heat, expected.heat)


def test_pictures_of_a_batch_are_strangers() -> None:
    detector, images = build("test_vit", "mlp"), pictures(3)
    whole = grad_cam(detector, images)
    for number in range(3):
        alone = grad_cam(detector, images[number : number + 1])
        np.testing.assert_allclose(alone.heat[0], whole.heat[number], rtol=1e-3, atol=1e-4)
