"""Occlusion: against a drop that can be worked out, and with its promises on batches and coverage."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriscope.explain.occlusion import hidden, occlusion, starts

SIDE = 20


def pictures(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)


def weights() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(3, SIDE, SIDE)) / 1000


def linear(image_BCHW: np.ndarray) -> np.ndarray:
    return (image_BCHW * weights()).sum(axis=(1, 2, 3)).astype(np.float32) + 5


def test_of_a_linear_function_the_fall_is_known() -> None:
    """Windows side by side: each one's pixels say what hiding it takes away."""
    images = pictures()
    found = occlusion(linear, images, window_px=5, stride_px=5)
    np.testing.assert_allclose(found.logits, linear(images), rtol=1e-6)
    for image, heat in zip(images, found.heat, strict=True):
        lost = ((image.astype(float) - hidden(image)) * weights()).sum(axis=0)
        sums = lost.reshape(4, 5, 4, 5).sum(axis=(1, 3))
        np.testing.assert_allclose(heat, np.kron(sums, np.ones((5, 5))), rtol=1e-3, atol=1e-4)
    assert found.rest.tolist() == [0, 0]


def test_where_windows_overlap_their_mean_counts() -> None:
    image = pictures(1)
    heat = occlusion(linear, image, window_px=10, stride_px=5).heat[0]
    lost = ((image[0].astype(float) - hidden(image[0])) * weights()).sum(axis=0)
    over = [lost[top : top + 10, left : left + 10].sum() for top in (0, 5) for left in (5, 10)]
    assert heat[7, 12] == pytest.approx(np.mean(over), rel=1e-3)
    assert heat[0, 0] == pytest.approx(lost[:10, :10].sum(), rel=1e-3)


def test_batches_are_of_the_size_asked_for_and_change_nothing() -> None:
    seen: list[int] = []

    def counted(image_BCHW: np.ndarray) -> np.ndarray:
        seen.append(len(image_BCHW))
        return linear(image_BCHW)

    images = pictures(3)
    whole = occlusion(linear, images, window_px=6, stride_px=4, batch_size=1000)
    parts = occlusion(counted, images, window_px=6, stride_px=4, batch_size=2)
    assert max(seen) == 2
    assert sum(seen) == 3 + 3 * 5 * 5
    np.testing.assert_allclose(parts.heat, whole.heat, atol=1e-5)


def test_what_is_hidden_outside_counts_nothing() -> None:
    """A logit that reads one quarter alone: nothing of the others may be coloured."""

    def corner(image_BCHW: np.ndarray) -> np.ndarray:
        return image_BCHW[:, :, :10, 10:].astype(np.float32).std(axis=(1, 2, 3))

    heat = occlusion(corner, pictures(1), window_px=5, stride_px=5).heat[0]
    assert heat[:10, 10:].min() > 0
    assert np.abs(heat[10:]).max() == np.abs(heat[:, :10]).max() == 0


def test_the_picture_is_left_alone_and_the_fill_keeps_its_colour() -> None:
    images = pictures()
    before = images.copy()
    occlusion(linear, images)
    np.testing.assert_array_equal(images, before)
    plain = np.full((3, SIDE, SIDE), 77, dtype=np.uint8)
    np.testing.assert_array_equal(hidden(plain), plain)
    np.testing.assert_allclose(hidden(images[0]).mean(axis=(1, 2)), images[0].mean(axis=(1, 2)), atol=6)


@given(st.integers(1, 200), st.data())
def test_windows_cover_a_side_and_stay_in_it(length: int, data: st.DataObject) -> None:
    window = data.draw(st.integers(1, length))
    stride = data.draw(st.integers(1, window))
    found = starts(length, window=window, stride=stride)
    covered = {pixel for start in found for pixel in range(start, start + window)}
    assert covered == set(range(length))
    assert len(found) == len(set(found))


def test_no_pictures_and_bad_windows() -> None:
    assert occlusion(linear, pictures(0)).heat.shape == (0, SIDE, SIDE)
    for window, stride in ((0, 1), (SIDE + 1, 1), (5, 6), (5, 0)):
        with pytest.raises(ValueError, match="doesn't cover"):
            occlusion(linear, pictures(), window_px=window, stride_px=stride)


def test_no_torch_is_needed() -> None:
    code = (
        "import sys, veriscope.explain.occlusion, veriscope.explain.picture\n"
        "print([m for m in ('torch', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
