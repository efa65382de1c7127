import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tests.helpers.badfiles import picture

from veriscope.augment.corruptions import parse_corruption
from veriscope.errors import ConfigError


def corrupt(image, text):
    return parse_corruption(text)(image)


def textured(seed=0):
    noise = np.random.default_rng(seed).normal(0, 15, (64, 80, 3))
    return np.clip(picture(64, 80) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("text", ["jpeg:75", "webp:50", "blur:1.5", "noise:5", "resize:0.5"])
def test_deterministic_and_not_idle(text):
    image = textured()
    before = image.copy()
    out = corrupt(image, text)
    assert out.dtype == np.uint8
    assert np.array_equal(out, corrupt(image, text))
    assert np.array_equal(image, before)
    assert out.shape != image.shape or not np.array_equal(out, image)
    assert str(parse_corruption(text)) == text


def test_jpeg_is_pils_420():
    image = textured()
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75, subsampling=2)
    assert np.array_equal(corrupt(image, "jpeg:75"), np.asarray(Image.open(buffer)))


def test_lower_quality_is_further_away():
    image = textured().astype(int)
    for kind in ("jpeg", "webp"):
        errors = [np.abs(corrupt(textured(), f"{kind}:{quality}") - image).mean() for quality in (20, 50, 75, 95)]
        assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_blur_is_close_to_a_gaussian(sigma):
    exact = ndimage.gaussian_filter(textured().astype(float), (sigma, sigma, 0), mode="nearest")
    assert np.abs(corrupt(textured(), f"blur:{sigma}") - exact).mean() < 2


def test_noise_has_its_deviation_and_differs_by_picture():
    image = np.full((200, 200, 3), 128, dtype=np.uint8)
    first = corrupt(image, "noise:8").astype(int) - image
    second = corrupt(image + np.uint8(1), "noise:8").astype(int) - image - 1
    assert first.std() == pytest.approx(8, rel=0.02)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02


def test_resize_is_a_factor():
    assert corrupt(textured(), "resize:0.5").shape == (32, 40, 3)
    assert corrupt(textured(), "resize:2").shape == (128, 160, 3)
    assert corrupt(np.zeros((1, 3, 3), np.uint8), "resize:0.1").shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("jepg:75", "Did you mean 'jpeg'"),
        ("rotate:3", "Known: blur, crop, double_jpeg, gamma, jpeg, noise, resize, screenshot, webp"),
        ("jpeg", "needs a level as jpeg:75 (quality 1 to 100, 4:2:0)"),
        ("jpeg:high", "needs a level"),
        ("jpeg:0", "needs a level"),
        ("jpeg:75.5", "needs a level"),
        ("blur:nan", "needs a level"),
        ("noise:-1", "needs a level"),
        ("noise:1+2", "needs a level"),
        ("double_jpeg:75", "needs a level as double_jpeg:75+50"),
        ("double_jpeg:75+50+20", "needs a level"),
        ("double_jpeg:75+101", "needs a level"),
        ("double_jpeg:75+", "needs a level"),
        ("crop:1.2", "needs a level as crop:0.8"),
        ("gamma:0", "needs a level as gamma:0.8"),
        ("screenshot:6", "strength 1 to 5"),
        ("screenshot:2.5", "strength 1 to 5"),
        ("", "Known"),
    ],
)
def test_errors_say_what_is_wanted(text, words):
    with pytest.raises(ConfigError) as caught:
        parse_corruption(text)
    assert words in str(caught.value)


def test_no_albumentations_is_imported():
    code = (
        "import sys, veriscope.augment.corruptions\n"
        "print([name for name in ('albumentations', 'cv2', 'torch') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
