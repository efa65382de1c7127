"""Heat lands on the pixels that it came from: what the network is shown, put back, is the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriscope.data.preprocess import fit_to_input
from veriscope.explain.place import input_box, on_picture
from veriscope.types import InputSpec

CROP = InputSpec(size_px=64, fit="crop")
RESIZE = InputSpec(size_px=64, fit="resize")


def picture(height: int, width: int) -> np.ndarray:
    """Two ramps and a bright spot above and left of the middle: no mirror image or turn looks like it."""
    rows, columns = np.indices((height, width))
    image = np.stack([200 * rows / height, 200 * columns / width, np.zeros((height, width))], axis=-1)
    image[height // 4 : height // 3 + 1, width // 5 : width // 4 + 1] = 255
    return image.astype(np.uint8)


@settings(deadline=None, max_examples=60)
@given(st.integers(20, 150), st.integers(20, 150), st.integers(0, 1))
def test_of_a_crop_every_pixel_comes_back(height: int, width: int, channel: int) -> None:
    image = picture(height, width)
    back = on_picture(fit_to_input(image, CROP)[..., channel].astype(np.float32), CROP, height=height, width=width)
    seen = np.isfinite(back)
    np.testing.assert_array_equal(back[seen], image[..., channel][seen])
    assert seen.sum() == min(height, 64) * min(width, 64)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 170), (171, 90), (40, 50)])
def test_resized_it_comes_back_smooth_and_in_place(height: int, width: int) -> None:
    image = picture(height, width)
    back = on_picture(fit_to_input(image, RESIZE)[..., 2].astype(np.float32), RESIZE, height=height, width=width)
    assert np.isfinite(back).all()
    assert np.corrcoef(back.ravel(), image[..., 2].ravel())[0, 1] > 0.9
    centres = [np.average(np.indices((height, width)), axis=(1, 2), weights=one) for one in _twice(back, image)]
    np.testing.assert_allclose(centres[0], centres[1], atol=0.5)


def _twice(back: np.ndarray, image: np.ndarray) -> list[np.ndarray]:
    return [np.stack([weight.astype(float)] * 2) for weight in (back, image[..., 2])]


def test_a_coarse_grid_lies_on_the_whole_input() -> None:
    """Of a 2 x 2 grid each quarter has its own value, unseen parts none."""
    heat = np.array([[1, 2], [3, 4]], dtype=np.float32)
    back = on_picture(heat, CROP, height=128, width=96)
    assert np.isfinite(back[32:96, 16:80]).all()
    assert np.isnan(back[:32]).all()
    assert np.isnan(back[96:]).all()
    assert np.isnan(back[:, :16]).all()
    assert np.isnan(back[:, 80:]).all()
    assert [back[33, 17], back[33, 78], back[94, 17], back[94, 78]] == [1, 2, 3, 4]


@pytest.mark.parametrize("spec", [CROP, RESIZE])
def test_a_smaller_view_shows_the_same(spec: InputSpec) -> None:
    heat = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    whole = on_picture(heat, spec, height=400, width=200)
    view = on_picture(heat, spec, height=400, width=200, view=(200, 100))
    thin = whole.reshape(200, 2, 100, 2).mean(axis=(1, 3))
    both = np.isfinite(view) & np.isfinite(thin)
    assert both.sum() >= 0.95 * np.isfinite(thin).sum()
    np.testing.assert_allclose(view[both], thin[both], atol=0.15)


def test_boxes() -> None:
    assert input_box(RESIZE, height=10, width=20) == (0, 0, 20, 10)
    assert input_box(CROP, height=64, width=165) == (50, 0, 114, 64)
    assert input_box(CROP, height=33, width=64) == (0, -15, 64, 49)


def test_a_view_so_small_that_the_crop_is_less_than_a_pixel() -> None:
    back = on_picture(np.ones((2, 2), dtype=np.float32), CROP, height=20_000, width=100, view=(30, 1))
    assert np.isfinite(back).sum() == 1
