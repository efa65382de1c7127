import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import picture

from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.types import InputSpec


def test_resize_is_pils_antialiased_bilinear():
    image = picture(90, 130)
    expected = np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(fit_to_input(image, InputSpec(size_px=32)), expected)


def test_resize_averages_instead_of_skipping():
    stripes = np.zeros((128, 128, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = fit_to_input(stripes, InputSpec(size_px=32))
    assert np.abs(small[:, 2:-2].astype(int) - 127).max() < 12  # without antialiasing: 0 or 255


def test_crop_takes_the_central_pixels_untouched():
    image = picture(101, 200)
    assert np.array_equal(fit_to_input(image, InputSpec(size_px=64, fit="crop")), image[18:82, 68:132])


def test_crop_pads_smaller_pictures_by_reflection():
    image = picture(40, 100)
    out = fit_to_input(image, InputSpec(size_px=64, fit="crop"))
    assert np.array_equal(out[12:52], image[:, 18:82])
    assert np.array_equal(out[11], image[1, 18:82])  # the edge itself is not repeated
    assert np.array_equal(out[52], image[38, 18:82])


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 300), (300, 1)])
def test_crop_pads_wider_than_the_picture(shape):
    image = picture(*shape)
    out = fit_to_input(image, InputSpec(size_px=64, fit="crop"))
    assert out.shape == (64, 64, 3)
    assert set(map(tuple, out.reshape(-1, 3))) <= set(map(tuple, image.reshape(-1, 3)))


def test_to_chw():
    image = picture(20, 30)
    out = to_chw(image)
    assert out.shape == (3, 20, 30)
    assert out.flags.c_contiguous
    assert out[2, 5, 7] == image[5, 7, 2]
