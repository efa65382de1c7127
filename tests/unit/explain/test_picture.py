"""One picture explained: how strong its colours are, and what is said of it."""

import io
from functools import partial

import numpy as np
import pytest
from PIL import Image
from tests.helpers.patches import PATCH_PX, SIDE_PX, learned, patched

from veriscope.explain.evidence import Evidence
from veriscope.explain.grad_cam import grad_cam
from veriscope.explain.picture import MAX_VIEW_PX, explain_picture
from veriscope.models.detector import Detector
from veriscope.types import ClassName, InputSpec

SPEC = InputSpec(size_px=32)


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def saying(*rows: list[float], rest: float = 0.0) -> object:
    """Return a method with a known answer."""

    def method(image_BCHW: np.ndarray) -> Evidence:
        assert image_BCHW.shape == (1, 3, 32, 32)
        assert image_BCHW.dtype == np.uint8
        heat = np.array([rows], dtype=np.float32)
        return Evidence(heat.mean(axis=(1, 2)) + rest, heat, np.array([rest], dtype=np.float32), noise=2)

    return method


def test_full_colour_is_the_strongest_place_of_either_sign() -> None:
    found = explain_picture(picture(), saying([8, 0], [-16, 0]), spec=SPEC)
    assert found.full_scale == 16
    assert np.nanmax(found.strength) == pytest.approx(0.5)
    assert found.peak == 8
    assert found.logit == -2
    other = explain_picture(picture(), saying([8, 0], [-16, 0]), spec=SPEC, target="real")
    assert other.peak == 16
    np.testing.assert_array_equal(other.evidence, -found.evidence)
    np.testing.assert_array_equal(other.strength, -found.strength)


def test_noise_is_not_stretched() -> None:
    found = explain_picture(picture(), saying([0.1, -0.1], [0.05, 0]), spec=SPEC)
    assert found.full_scale == 2
    assert found.is_weak
    assert found.sentence == "Little speaks for fake: no place has more than 5% of full colour."
    strong = explain_picture(picture(), saying([20, -0.1], [0.05, 0]), spec=SPEC)
    assert not strong.is_weak
    assert _colourful(found.overlay) < 0.2 * _colourful(strong.overlay)


def test_the_unit_is_the_calibrations() -> None:
    assert explain_picture(picture(), saying([0.1]), spec=SPEC, logit_unit=3).full_scale == 3 * 2


@pytest.mark.parametrize("target", ["fake", "real"])
def test_no_evidence_no_colour(target: ClassName) -> None:
    against = saying([-5, -7], [-1, -9]) if target == "fake" else saying([5, 7], [1, 9])
    found = explain_picture(picture(), against, spec=SPEC, target=target)
    assert found.sentence == f"No place speaks for {target}."
    assert _colourful(found.overlay) == 0


def test_the_rest_is_spread_evenly() -> None:
    """Everything above 0, and a bias that outweighs it: nothing may be coloured."""
    found = explain_picture(picture(), saying([5, 6], [7, 6], rest=-10), spec=SPEC)
    assert found.sentence == "No place speaks for fake."
    assert found.logit == -4


def test_what_a_crop_left_out_is_said_and_dark() -> None:
    found = explain_picture(picture(40, 90), saying([1, 9]), spec=SPEC.model_copy(update={"fit": "crop"}))
    assert not found.saw_all
    assert np.isfinite(found.strength).sum() == 32 * 32
    assert explain_picture(picture(32, 32), saying([1, 9]), spec=SPEC.model_copy(update={"fit": "crop"})).saw_all


@pytest.mark.parametrize(("height", "width"), [(1000, 3000), (20, 30), (1, 2000)])
def test_the_view_is_no_larger_than_need_be(height: int, width: int) -> None:
    found = explain_picture(picture(height, width), saying([1, 9]), spec=SPEC)
    assert max(found.view.shape) <= MAX_VIEW_PX
    assert found.overlay.shape == found.view.shape
    assert found.strength.shape == found.view.shape[:2]
    if max(height, width) <= MAX_VIEW_PX:
        np.testing.assert_array_equal(found.view, picture(height, width))
    shown = np.asarray(Image.open(io.BytesIO(found.overlay_png)))
    np.testing.assert_array_equal(shown, found.overlay)
    assert found.pair.shape[0] > found.view.shape[0]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return learned()


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 96), (96, 0), (96, 96)])
def test_from_pixels_to_colour_the_patch_keeps_its_corner(detector: Detector, top: int, left: int) -> None:
    """A picture of three times the input's size: what is coloured is the corner that has the patch."""
    data = patched(60, seed=5)
    wanted = (data.labels == 1) & (data.corners == (top // 3, left // 3)).all(axis=1)
    image = data.images[wanted][0].transpose(1, 2, 0)
    large = np.kron(image, np.ones((3, 3, 1), dtype=np.uint8))
    found = explain_picture(large, partial(grad_cam, detector), spec=InputSpec(size_px=SIDE_PX))
    assert found.view.shape == (3 * SIDE_PX, 3 * SIDE_PX, 3)
    y, x = np.unravel_index(found.strength.argmax(), found.strength.shape)
    assert top <= y < top + 3 * PATCH_PX
    assert left <= x < left + 3 * PATCH_PX
    colour = found.overlay.astype(int).max(axis=-1) - found.overlay.astype(int).min(axis=-1)
    inside = colour[top : top + 3 * PATCH_PX, left : left + 3 * PATCH_PX].mean()
    assert inside > 3 * colour.mean()


def _colourful(image: np.ndarray) -> float:
    return float((image.astype(int).max(axis=-1) - image.astype(int).min(axis=-1)).max())
