"""Colours that are even and can be told apart, on a picture that stays the right way round."""

import io

import numpy as np
import pytest
from PIL import Image

from veriscope.explain.overlay import STEPS, blend, ramp, side_by_side, to_png

# Vienot et al. 1999: linear RGB as a dichromat sees it, protanopia and deuteranopia.
DICHROMATS = {
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def linear(srgb: np.ndarray) -> np.ndarray:
    share = srgb / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of linear RGB, 0 to 100: another measure than the one that the colours were made by."""
    luminance = np.clip(rgb, 0, 1) @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


@pytest.mark.parametrize("target", ["fake", "real"])
def test_lightness_rises_evenly_also_for_the_colour_blind(target: str) -> None:
    colours = ramp(target)
    assert colours.shape == (STEPS, 3)
    seen = {"all": np.eye(3), **{name: np.array(matrix) for name, matrix in DICHROMATS.items()}}
    for matrix in seen.values():
        found = lightness(linear(colours) @ matrix.T)
        steps = np.diff(found[::15])
        assert steps.min() > 0.5 * steps.mean(), "no plateau, no way back"
        assert steps.max() < 2 * steps.mean(), "no edge that isn't there"
        assert found[-1] - found[0] > 45


def test_the_two_targets_are_never_of_one_colour() -> None:
    for matrix in [np.eye(3), *(np.array(matrix) for matrix in DICHROMATS.values())]:
        fake, real = (linear(ramp(target)[STEPS // 4 :]) @ matrix.T for target in ("fake", "real"))
        assert (fake[:, 0] > fake[:, 2]).all()
        assert (real[:, 2] > real[:, 0]).all()


def test_no_strength_is_the_picture_in_grey() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    plain = blend(image, np.zeros((9, 12), dtype=np.float32), target="fake")
    assert (plain[..., 0] == plain[..., 1]).all()
    assert (plain[..., 0] == plain[..., 2]).all()
    grey = np.asarray(Image.fromarray(image).convert("L"))
    assert np.corrcoef(plain[..., 0].ravel(), grey.ravel())[0, 1] > 0.999
    np.testing.assert_array_equal(blend(image, np.full((9, 12), -3, dtype=np.float32), target="fake"), plain)


def test_more_strength_is_further_from_grey() -> None:
    image = np.full((1, 50, 3), 128, dtype=np.uint8)
    shown = blend(image, np.linspace(0, 1, 50, dtype=np.float32)[None], target="fake")[0].astype(float)
    away = np.linalg.norm(shown - shown[0], axis=1)
    assert (np.diff(away) >= -1).all()
    assert away[5] > 15
    assert away[-1] > 100
    np.testing.assert_array_equal(
        blend(image, np.full((1, 50), 7, dtype=np.float32), target="fake")[0, 0], shown[-1].astype(np.uint8)
    )


def test_what_was_not_seen_is_dark_and_framed() -> None:
    image = np.full((20, 20, 3), 200, dtype=np.uint8)
    strength = np.full((20, 20), np.nan, dtype=np.float32)
    strength[5:15, 5:15] = 0
    shown = blend(image, strength, target="fake")
    assert shown[10, 10, 0] > 2 * shown[0, 0, 0]
    frame = (shown == 235).all(axis=-1)
    assert frame.sum() == 4 * 10
    assert frame[4, 5:15].all()
    assert frame[5:15, 15].all()


@pytest.mark.parametrize("width", [30, 400])
def test_the_pair_keeps_both_and_its_words(width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, width, 3), dtype=np.uint8)
    pair = side_by_side(image, 255 - image, target="real", full_scale="3.0 logits", note="Little speaks for real.")
    np.testing.assert_array_equal(pair[:40, :width], image)
    gap = max(width // 60, 4)
    np.testing.assert_array_equal(pair[:40, width + gap : 2 * width + gap], 255 - image)
    strip = pair[40:]
    assert (strip.min(axis=(0, 2))[-4:] == 255).all(), "the words fit in"
    assert (strip == ramp("real")[-1]).all(axis=-1).any()


def test_png_holds_the_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_png(image)))), image)
