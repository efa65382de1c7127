"""Trained networks whose evidence lies in a known place: both methods find it, and weights decide what is found."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tests.helpers.patches import PATCH_PX, SIDE_PX, Patched, learned, patched
from torch.nn import functional as F

from veriscope.explain.evidence import Evidence
from veriscope.explain.grad_cam import grad_cam
from veriscope.explain.occlusion import hidden, occlusion
from veriscope.models.detector import Detector
from veriscope.models.registry import HEADS


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=list(HEADS))
def detector(request: pytest.FixtureRequest) -> Detector:
    return learned(request.param)


@pytest.fixture(scope="module")
def linear() -> Detector:
    return learned("linear")


def logits(detector: Detector, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return detector(torch.from_numpy(images)).numpy()


def by_occlusion(detector: Detector, images: np.ndarray) -> Evidence:
    return occlusion(lambda batch: logits(detector, batch), images, window_px=8, stride_px=4)


def in_pixels(evidence: Evidence) -> np.ndarray:
    heat = torch.from_numpy(evidence.local)[:, None]
    return F.interpolate(heat, (SIDE_PX, SIDE_PX), mode="bilinear")[:, 0].numpy()


def fakes(count: int = 40) -> Patched:
    data = patched(2 * count, seed=99)
    return Patched(*(part[data.labels == 1] for part in data))


def found(heat: np.ndarray, data: Patched) -> float:
    """The pointing game (Zhang et al. 2016): the share of pictures whose highest place lies in the patch."""
    hits = []
    for one, (top, left) in zip(heat, data.corners, strict=True):
        y, x = np.unravel_index(one.argmax(), one.shape)
        hits.append(top <= y < top + PATCH_PX and left <= x < left + PATCH_PX)
    return float(np.mean(hits))


def test_the_patch_is_found_with_every_head(detector: Detector) -> None:
    """A patch covers a ninth of the picture, and lies in one of four corners."""
    data = patched(80, seed=99)
    assert ((logits(detector, data.images) > 0) == data.labels).mean() > 0.95, "it has learned"
    data = fakes()
    for evidence in (grad_cam(detector, data.images), by_occlusion(detector, data.images)):
        heat = in_pixels(evidence)
        assert found(heat, data) > 0.9
        pairs = zip(heat, data.corners, strict=True)
        inside = [one[top : top + PATCH_PX, left : left + PATCH_PX].mean() for one, (top, left) in pairs]
        assert np.mean(inside) > heat.mean() + 0.2 * np.abs(heat).max(axis=(1, 2)).mean()


def test_hiding_what_is_hot_takes_more_than_hiding_anything(detector: Detector) -> None:
    """Deletion (Samek et al. 2017): the hottest tenth of the picture against a tenth drawn at random in squares."""
    data = fakes(20)
    fill = np.stack([hidden(image) for image in data.images])
    rng = np.random.default_rng(0)
    drawn = np.kron(rng.normal(size=(len(data.images), 12, 12)), np.ones((4, 4)))
    before = logits(detector, data.images)

    def fall(heat: np.ndarray) -> float:
        hot = heat >= np.quantile(heat, 0.9, axis=(1, 2), keepdims=True)
        changed = np.where(hot[:, None], fill, data.images)
        return float((before - logits(detector, changed)).mean())

    by_chance = fall(drawn)
    assert fall(in_pixels(grad_cam(detector, data.images))) > 2 * abs(by_chance)
    assert fall(in_pixels(by_occlusion(detector, data.images))) > 2 * abs(by_chance)


def test_real_pictures_have_little_that_speaks_for_fake(linear: Detector) -> None:
    data = patched(80, seed=99)
    local = grad_cam(linear, data.images).local
    peaks = local.max(axis=(1, 2))
    assert peaks[data.labels == 1].min() > peaks[data.labels == 0].max()


def rank_correlation(one: Evidence, other: Evidence) -> float:
    pairs = zip(one.heat, other.heat, strict=True)
    return float(np.mean([spearmanr(a.ravel(), b.ravel()).statistic for a, b in pairs]))


def test_random_weights_have_another_map(linear: Detector) -> None:
    """Adebayo et al. 2018, cascading randomisation: layer by layer from the top the weights are drawn anew.

    A method that only draws the edges of the picture would go on showing the same map (guided backpropagation does).
    """
    data = fakes(20)
    trained = grad_cam(linear, data.images)
    assert rank_correlation(trained, grad_cam(linear, data.images)) == pytest.approx(1)
    trained_occlusion = by_occlusion(linear, data.images)
    falls: dict[str, list[float]] = {}
    for seed in range(4):
        broken = learned("linear", steps=0)
        broken.load_state_dict(linear.state_dict())
        torch.manual_seed(seed)
        for name, layer in top_first(broken):
            layer.reset_parameters()
            falls.setdefault(name, []).append(rank_correlation(trained, grad_cam(broken, data.images)))
        falls.setdefault("occlusion", []).append(rank_correlation(trained_occlusion, by_occlusion(broken, data.images)))
    assert list(falls) == ["classifier", "backbone.net.layers.3", "backbone.net.layers.0", "occlusion"]
    for name, correlations in falls.items():
        assert abs(np.mean(correlations)) < 0.5, name


def top_first(detector: Detector) -> list[tuple[str, torch.nn.Conv2d | torch.nn.Linear]]:
    layers = [(n, m) for n, m in detector.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    return layers[::-1]
