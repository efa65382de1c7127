import pickle
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import yaml
from scipy import ndimage
from tests.helpers.badfiles import picture

from veriscope.augment.corruptions import recompress
from veriscope.augment.training import TrainingAugmentation
from veriscope.config.schema import AugmentConfig
from veriscope.data.preprocess import fit_to_input
from veriscope.types import InputSpec

RESIZE = InputSpec(size_px=64)
CROP = InputSpec(size_px=64, fit="crop")
POLICIES = Path(__file__).parents[3] / "conf" / "augment"


def textured(height=96, width=120, seed=0):
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    return np.clip(picture(height, width, seed=seed) + noise, 0, 255).astype(np.uint8)


def policy(spec=CROP, **knobs):
    return TrainingAugmentation(AugmentConfig(name="test", **knobs), spec, fit=fit_to_input)


def policy_file(name):
    raw = yaml.safe_load((POLICIES / f"{name}.yaml").read_text())
    return AugmentConfig.model_validate(
        {key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()}
    )


@pytest.mark.parametrize("spec", [RESIZE, CROP])
@pytest.mark.parametrize("shape", [(96, 120), (64, 64), (40, 90), (3, 2)])
def test_off_equals_evaluation_bit_for_bit(spec, shape):
    image = textured(*shape)
    assert np.array_equal(policy(spec)(image, 5), fit_to_input(image, spec))


KNOBS = {
    "crop_px": {"crop_px": 48},
    "flip_p": {"flip_p": 1.0},
    "rotate_deg": {"rotate_deg": 20.0},
    "shift_fraction": {"shift_fraction": 0.2},
    "shear_deg": {"shear_deg": 15.0},
    "zoom_fraction": {"zoom_fraction": 0.2},
    "brightness": {"brightness": (0.8, 1.2)},
    "contrast": {"contrast": (0.8, 1.2)},
    "saturation": {"saturation": (0.8, 1.2)},
    "hue": {"hue": 0.05},
    "blur_p": {"blur_p": 1.0},
    "rescale_p": {"rescale_p": 1.0},
    "noise_p": {"noise_p": 1.0},
    "recompress_p": {"recompress_p": 1.0},
}
MODIFIERS = {"rescale", "recompress_quality", "recompress_formats"}  # act only together with their probability


def test_every_knob_is_tested():
    """Trap 13: a knob without a test does nothing."""
    assert set(KNOBS) | MODIFIERS | {"name"} == set(AugmentConfig.model_fields)


@pytest.mark.parametrize("name", KNOBS)
def test_every_knob_changes_the_picture(name):
    image = textured()
    plain = fit_to_input(image, CROP)
    outputs = [policy(**KNOBS[name])(image, seed) for seed in range(3)]
    for out in outputs:
        assert out.dtype == np.uint8
        assert out.flags.c_contiguous
        assert out.shape != plain.shape or not np.array_equal(out, plain)
    if name != "flip_p":
        assert len({out.tobytes() for out in outputs}) == 3


@pytest.mark.parametrize("name", KNOBS)
def test_a_seed_is_a_picture(name):
    image = textured()
    before = image.copy()
    one, other = policy(**KNOBS[name]), policy(**KNOBS[name])
    other(image, 99)  # what was drawn before must not matter
    assert np.array_equal(one(image, 7), other(image, 7))
    assert np.array_equal(image, before)


def test_flip_is_a_mirror_half_of_the_time():
    image = textured(64, 64)
    turned = [np.array_equal(policy(flip_p=0.5)(image, seed), image[:, ::-1]) for seed in range(200)]
    assert 70 < sum(turned) < 130


def test_brightness_stays_in_its_range():
    image = np.full((64, 64, 3), 100, dtype=np.uint8)
    means = [policy(brightness=(0.8, 1.2))(image, seed).mean() for seed in range(100)]
    assert 79 <= min(means) < 84
    assert 116 < max(means) <= 121


def test_shift_and_zoom_stay_in_their_range():
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    image[28:36, 28:36] = 255
    centres, areas = [], []
    for seed in range(60):
        centres.append(ndimage.center_of_mass(policy(shift_fraction=0.2)(image, seed)[:, :, 0]))
        areas.append(policy(zoom_fraction=0.2)(image, seed)[:, :, 0].sum() / 255 / 64)
    away = np.abs(np.array(centres) - 31.5).max(axis=0)
    assert (away > 9).all()
    assert (away <= 13.5).all()
    assert 0.6 < min(areas) < 0.8
    assert 1.2 < max(areas) < 1.5


def test_rotation_stays_in_its_range():
    bar = np.zeros((65, 65, 3), dtype=np.uint8)
    bar[31:34, 10:55] = 255
    angles = []
    for seed in range(60):
        y, x = np.nonzero(policy(InputSpec(size_px=65, fit="crop"), rotate_deg=20.0)(bar, seed)[:, :, 0] > 127)
        angles.append(np.degrees(np.arctan2(*np.linalg.eigh(np.cov(x, y))[1][::-1, 1])))
    angles = (np.array(angles) + 90) % 180 - 90
    assert -21 < angles.min() < -15
    assert 15 < angles.max() < 21


def test_draws_of_different_operations_are_independent():
    """Compose.set_random_seed hands every operation the same generator: all would act on the same pictures."""
    image = textured(64, 64)
    both = policy(flip_p=0.5, noise_p=0.5)
    flipped, noisy = [], []
    for seed in range(200):
        out = both(image, seed).astype(int)
        flipped.append(np.abs(out - image[:, ::-1]).mean() < np.abs(out - image).mean())
        noisy.append(not (np.array_equal(out, image) or np.array_equal(out, image[:, ::-1])))
    assert abs(np.corrcoef(flipped, noisy)[0, 1]) < 0.25
    assert 70 < sum(flipped) < 130
    assert 70 < sum(noisy) < 130


def test_recompression_keeps_the_grid_of_the_native_picture():
    """The 8 x 8 grid starts at the picture's corner, so a crop is that of the compressed picture, not the reverse."""
    image = textured(101, 131)
    out = policy(recompress_p=1.0, recompress_quality=(50, 50))(image, 1)
    assert np.array_equal(out, fit_to_input(recompress(image, "jpeg", 50), CROP))
    assert not np.array_equal(out, recompress(fit_to_input(image, CROP), "jpeg", 50))


def test_recompression_draws_quality_and_format_from_all_of_their_range():
    image = textured(64, 64)
    results = {("jpeg", q): recompress(image, "jpeg", q).tobytes() for q in (40, 41, 42)}
    results |= {("webp", q): recompress(image, "webp", q).tobytes() for q in (40, 41, 42)}
    names = {value: key for key, value in results.items()}
    mixed = policy(recompress_p=1.0, recompress_quality=(40, 42), recompress_formats=("jpeg", "webp"))
    assert {names[mixed(image, seed).tobytes()] for seed in range(80)} == set(results)
    webp = policy(recompress_p=1.0, recompress_quality=(40, 40), recompress_formats=("webp",))
    assert names[webp(image, 0).tobytes()] == ("webp", 40)


def test_albumentations_own_compression_swaps_red_and_blue():
    """Why recompress goes through PIL; when this fails, albumentations has mended it."""
    image = textured(64, 64)
    theirs = A.Compose([A.ImageCompression(quality_range=(50, 50), p=1.0)])(image=image)["image"]
    swapped = recompress(image[:, :, ::-1].copy(), "jpeg", 50)[:, :, ::-1]
    assert np.array_equal(theirs, swapped)
    assert not np.array_equal(theirs, recompress(image, "jpeg", 50))


def test_rescale_stays_in_its_range():
    """The period of stripes tells the factor."""
    stripes = np.zeros((128, 128, 3), dtype=np.uint8)
    stripes[:, (np.arange(128) // 8) % 2 == 0] = 255
    periods = []
    for seed in range(30):
        row = policy(rescale_p=1.0, rescale=(0.5, 1.0))(stripes, seed)[32, :, 0].astype(float)
        spectrum = np.abs(np.fft.rfft(row - row.mean(), 1024))
        periods.append(1024 / spectrum.argmax())
    assert 7.5 < min(periods) < 9.5
    assert 14 < max(periods) < 17


def test_random_crop_is_native_pixels_from_everywhere():
    y, x = np.mgrid[:100, :120]
    image = np.stack([y, x, 0 * x], axis=2).astype(np.uint8)
    corners = set()
    for seed in range(150):
        out = policy(crop_px=48)(image, seed)
        assert out.shape == (48, 48, 3)
        top, left = out[0, 0, 0], out[0, 0, 1]
        assert np.array_equal(out, image[top : top + 48, left : left + 48])
        corners.add((int(top), int(left)))
    assert len(corners) > 120
    assert min(c[0] for c in corners) < 5
    assert max(c[0] for c in corners) > 47
    assert max(c[1] for c in corners) > 66


@pytest.mark.parametrize("shape", [(20, 30), (1, 1), (30, 200)])
def test_random_crop_pads_smaller_pictures_by_reflection(shape):
    image = textured(*shape)
    out = policy(crop_px=48)(image, 0)
    assert out.shape == (48, 48, 3)
    assert set(map(tuple, out.reshape(-1, 3))) <= set(map(tuple, image.reshape(-1, 3)))


@pytest.mark.parametrize("name", ["none", "affine", "color", "forensic"])
def test_policy_files(name):
    config = policy_file(name)
    assert config.name == name
    augmentation = TrainingAugmentation(config, CROP, fit=fit_to_input)
    image = textured(200, 230)
    outputs = [augmentation(image, seed) for seed in range(12)]
    side = 160 if name == "forensic" else 64
    assert {out.shape for out in outputs} == {(side, side, 3)}
    assert len({out.tobytes() for out in outputs}) == (1 if name == "none" else 12)
    again = pickle.loads(pickle.dumps(augmentation))
    assert np.array_equal(again(image, 3), outputs[3])


def test_policy_files_hold_what_their_sources_say():
    affine, color = policy_file("affine"), policy_file("color")
    assert (affine.rotate_deg, affine.shift_fraction, affine.shear_deg, affine.zoom_fraction) == (20, 0.2, 15, 0.2)
    assert affine.flip_p == color.flip_p == 0.5
    assert affine.brightness == color.brightness == color.contrast == color.saturation == (0.8, 1.2)
    assert color.hue == 0.05
