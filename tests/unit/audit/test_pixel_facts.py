"""Facts of pixels against hand-computed values, and which of them each kind of change moves."""

import numpy as np
import pytest
from tests.helpers.badfiles import picture

from veriscope.audit.facts import PIXEL_WORDS
from veriscope.audit.pixel_facts import MAX_SIDE_PX, PIXEL_FACTS, pixel_facts
from veriscope.augment.corruptions import blur, gamma, recompress


def facts(image_HWC: np.ndarray) -> dict[str, float]:
    return dict(zip(PIXEL_FACTS, pixel_facts(image_HWC).tolist(), strict=True))


def textured(seed: int = 0, side: int = 128) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 20, (side, side, 3))
    return np.clip(picture(side, side, seed=seed) + noise, 0, 255).astype(np.uint8)


def test_a_checkerboard_by_hand() -> None:
    """Grey 100 and 200 in turn: neighbours differ by 100, pixels two apart not at all."""
    board = np.indices((64, 64)).sum(axis=0) % 2
    found = facts(np.repeat((100 + 100 * board).astype(np.uint8)[:, :, None], 3, axis=2))
    assert found["brightness"] == pytest.approx(150)
    assert found["contrast"] == pytest.approx(50)
    assert found["detail"] == pytest.approx(100)
    assert found["blockiness"] == pytest.approx(0)
    assert found["colourfulness"] == found["colour_detail"] == found["black_share"] == found["white_share"] == 0


def test_luma_and_casts_are_those_of_jpeg() -> None:
    """JFIF: Y = 0.299 R + 0.587 G + 0.114 B, Cb = 0.564 (B - Y), Cr = 0.713 (R - Y)."""
    found = facts(np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8))
    luma = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    assert found["brightness"] == pytest.approx(luma, abs=1)
    assert found["blue_cast"] == pytest.approx(0.564 * (50 - luma), abs=1)
    assert found["red_cast"] == pytest.approx(0.713 * (200 - luma), abs=1)


def test_noise_has_the_fine_share_of_noise_and_a_slope_that_of_a_slope() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (256, 256, 1), dtype=np.uint8).repeat(3, axis=2)
    assert facts(grey)["fine_share"] == pytest.approx(1, abs=0.02)
    steps = 8 * np.arange(32, dtype=np.uint8)  # large steps: Y is rounded to whole levels
    slope = steps[None, :, None].repeat(64, axis=0).repeat(3, axis=2)
    assert facts(slope)["fine_share"] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(
    ("name", "change", "sign"),
    [
        ("brightness", lambda image: gamma(image, 0.7), 1),
        ("contrast", lambda image: (image // 2 + 64).astype(np.uint8), -1),
        ("fine_share", lambda image: blur(image, 1.0), -1),
        ("detail", lambda image: blur(image, 1.0), -1),
        ("blockiness", lambda image: recompress(image, "jpeg", 20), 1),
        ("red_cast", lambda image: np.clip(image + np.array([20, 0, 0]), 0, 255).astype(np.uint8), 1),
        ("blue_cast", lambda image: np.clip(image + np.array([0, 0, 20]), 0, 255).astype(np.uint8), 1),
        ("colourfulness", lambda image: image.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2), -1),
        ("black_share", lambda image: np.where(image[:, :, :1] < 100, 0, image).astype(np.uint8), 1),
        ("white_share", lambda image: np.where(image[:, :, :1] > 150, 255, image).astype(np.uint8), 1),
    ],
)
def test_each_change_moves_its_fact(name: str, change: object, sign: int) -> None:
    for seed in range(3):
        image = textured(seed)
        assert sign * (facts(change(image))[name] - facts(image)[name]) > 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 1), (8, 8), (9, 9), (7, 40)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_small_and_flat_pictures_have_finite_facts(shape: tuple[int, int], value: int) -> None:
    found = pixel_facts(np.full((*shape, 3), value, dtype=np.uint8))
    assert found.dtype == np.float32
    assert found.shape == (len(PIXEL_FACTS),)
    assert np.isfinite(found).all()


def test_of_a_large_picture_the_middle_counts_and_the_block_grid_stays() -> None:
    large = np.asarray(recompress(textured(0, 1300), "jpeg", 20))
    border = large.copy()
    border[:100] = 0
    assert np.array_equal(pixel_facts(border), pixel_facts(large))
    assert facts(large)["blockiness"] > 0.3
    assert MAX_SIDE_PX % 8 == 0


def test_a_view_that_is_not_contiguous_gives_the_same() -> None:
    image = textured()
    assert np.array_equal(pixel_facts(image[:, ::-1]), pixel_facts(np.ascontiguousarray(image[:, ::-1])))


def test_every_fact_has_its_words() -> None:
    assert tuple(PIXEL_WORDS) == PIXEL_FACTS
