from collections import Counter

import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import picture
from tests.helpers.stored import stored

from veriscope.augment.corruptions import recompress
from veriscope.evaluation.alignment import class_differences, describe_classes, plan_alignment

JPEG = stored("JPEG", 300, 200, 75)
PNG = stored("PNG", 512, 512)


def noisy(height, width, seed=0):
    grain = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    return np.clip(picture(height, width).astype(int) + grain, 0, 255).astype(np.uint8)


def test_the_plan_takes_the_smaller_class_and_pools_the_qualities():
    facts = [JPEG, JPEG._replace(quality=95), JPEG, JPEG, PNG, PNG._replace(format="JPEG", quality=50)]
    plan = plan_alignment(facts, [0, 0, 0, 0, 1, 1], seed=3)
    assert plan.side_px == 200
    # Each class weighs half: 75 three quarters of the real half, 95 a quarter of it, 50 the fakes' half.
    assert dict(plan.qualities) == pytest.approx({50: 0.5, 75: 0.375, 95: 0.125})
    assert plan_alignment(facts[::-1], [1, 1, 0, 0, 0, 0], seed=3) == plan


def test_without_jpegs_there_is_no_compression():
    plan = plan_alignment([PNG, PNG._replace(width_px=64, height_px=64)], [0, 1], seed=0)
    assert (plan.side_px, plan.qualities) == (64, ())
    image = noisy(64, 64)
    assert np.array_equal(plan.transform_for(PNG)(image), image)


def test_one_class_and_nothing():
    assert plan_alignment([PNG], [1], seed=0).side_px == 512
    assert class_differences([PNG], [1]) == {}
    with pytest.raises(ValueError, match="nothing to align"):
        plan_alignment([], [], seed=0)


def test_both_formats_come_out_alike_and_the_same_each_time():
    plan = plan_alignment([JPEG, PNG], [0, 1], seed=1)
    for facts in (JPEG, PNG):
        image = noisy(facts.height_px, facts.width_px)
        before = image.copy()
        out = plan.transform_for(facts)(image)
        assert (out.shape, out.dtype) == ((200, 200, 3), np.uint8)
        assert np.array_equal(out, plan.transform_for(facts)(before))
        assert np.array_equal(image, before)
    for size in ((1, 1), (3, 500), (37, 5)):
        assert plan.transform_for(PNG)(noisy(*size)).shape == (200, 200, 3)


def test_a_jpeg_gets_one_more_compression_another_format_two():
    plan = plan_alignment([JPEG._replace(width_px=200), PNG], [0, 1], seed=1)
    image = noisy(200, 200)
    once = recompress(image, "jpeg", 75)
    assert np.array_equal(plan.transform_for(JPEG)(image), once)
    assert np.array_equal(plan.transform_for(PNG)(image), recompress(once, "jpeg", 75))
    wide = noisy(200, 300)
    assert np.array_equal(plan.transform_for(JPEG)(wide), recompress(np.ascontiguousarray(wide[:, 50:250]), "jpeg", 75))


def test_qualities_are_drawn_from_the_pool_by_picture_and_seed():
    facts = [JPEG._replace(quality=quality) for quality in (50, 75, 75, 90)]
    plans = [plan_alignment(facts, [0, 0, 0, 0], seed=seed) for seed in (0, 1)]
    drawn = [[plan._draw(noisy(8, 8, seed)) for seed in range(800)] for plan in plans]
    for found in drawn:
        for place in (0, 1):
            shares = Counter(pair[place] for pair in found)
            assert {q: n / 800 for q, n in shares.items()} == pytest.approx({50: 0.25, 75: 0.5, 90: 0.25}, abs=0.06)
        assert abs(np.corrcoef(np.array(found).T)[0, 1]) < 0.12  # history and last compression are drawn apart
    assert drawn[0] != drawn[1]


def test_facts_that_tell_the_classes_apart():
    facts = [JPEG] * 5 + [JPEG._replace(quality=95)] * 5 + [PNG] * 10
    labels = [0] * 10 + [1] * 10
    assert class_differences(facts, labels) == {"format": 1.0, "JPEG quality": 1.0, "size": 1.0, "aspect ratio": 1.0}
    assert set(class_differences(facts[:10] * 2, labels).values()) == {0.5}
    half = class_differences([JPEG] * 15 + [PNG] * 5, labels)
    assert half["format"] == 0.75
    assert describe_classes(facts, labels) == {
        "real": "10 JPEG, median JPEG quality 85, median shorter side 200 px",
        "fake": "10 PNG, median shorter side 512 px",
    }


def test_the_square_is_the_middle():
    plan = plan_alignment([PNG._replace(width_px=100, height_px=100)], [0], seed=0)
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 200
    assert (plan.transform_for(PNG)(image) == 200).all()
    shrunk = plan.transform_for(PNG)(noisy(400, 400))
    by_hand = np.asarray(Image.fromarray(noisy(400, 400)).resize((100, 100), Image.Resampling.BILINEAR))
    assert np.array_equal(shrunk, by_hand)
