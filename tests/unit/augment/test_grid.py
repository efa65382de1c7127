"""Every cell of the robustness grid: what it promises, and against PIL, OpenCV, SciPy and NumPy."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tests.helpers.badfiles import picture

from veriscope.augment.corruptions import parse_corruption
from veriscope.augment.grid import GRID, SEVERITIES, grid_cells
from veriscope.data.preprocess import fit_to_input
from veriscope.types import InputSpec

CELLS = grid_cells("full")
KINDS = [kind.name for kind in GRID]


def textured(height=96, width=120, seed=0):
    """A picture with edges, flat parts and grain, as photographs have."""
    noise = np.random.default_rng(seed).normal(0, 12, (height, width, 3))
    blobs = ndimage.gaussian_filter(noise * 20, (3, 3, 0))
    return np.clip(picture(height, width) * 0.7 + 40 + blobs + noise, 0, 255).astype(np.uint8)


def corrupt(image, text):
    return parse_corruption(text)(image)


def psnr(a, b):
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


def back(image, like):
    """The picture at the size of `like`, by OpenCV, so that the two can be compared pixel by pixel."""
    return cv2.resize(image, like.shape[1::-1], interpolation=cv2.INTER_CUBIC)


def fine_detail(image):
    """Share of the spectrum's energy above half the highest frequency: what enlarging takes away."""
    grey = image.mean(axis=2)
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    rows, columns = np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1])[None]
    return power[np.maximum(abs(rows), abs(columns)) > 0.25].sum() / power.sum()


def jpeg_grid(image):
    """Rows and columns (mod 8) where neighbouring pixels differ most: where the last strong JPEG's blocks begin."""
    grey = image.astype(float).mean(axis=2)
    down, across = np.abs(np.diff(grey, axis=0)).mean(axis=1), np.abs(np.diff(grey, axis=1)).mean(axis=0)
    fold = [[steps[start::8].mean() for start in range(8)] for steps in (down, across)]
    return tuple((int(np.argmax(means)) + 1) % 8 for means in fold)


def test_the_grid_is_ten_kinds_of_five():
    assert len(CELLS) == 50
    assert len({cell.name for cell in CELLS}) == 50
    assert [(cell.kind, cell.severity) for cell in CELLS] == [(kind, level) for kind in KINDS for level in SEVERITIES]
    quick = grid_cells("quick")
    assert set(quick) < set(CELLS)
    assert len(quick) == 8
    for kind in GRID:
        assert kind.why
        assert kind.title


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_names_can_be_typed_and_damage_is_the_same_each_time(cell):
    image = textured()
    before = image.copy()
    image.setflags(write=False)
    out = cell.corruption(image)
    assert parse_corruption(cell.name) == cell.corruption
    assert (out.dtype, out.ndim, out.shape[2]) == (np.uint8, 3, 3)
    assert out.flags.writeable
    assert np.array_equal(out, cell.corruption(before))
    assert np.array_equal(image, before)
    assert out.shape != image.shape or not np.array_equal(out, image)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (7, 5), (33, 17), (640, 3)])
def test_every_cell_takes_every_size(size):
    image = textured(*size)
    for cell in CELLS:
        out = cell.corruption(image)
        assert out.dtype == np.uint8
        assert min(out.shape[:2]) >= 1, cell.name


def test_a_picture_too_long_for_a_format_is_shrunk_to_it():
    image = np.tile(textured(2, 64), (1, 300, 1))  # 19,200 px
    assert corrupt(image, "webp:80").shape == (2, 16383, 3)
    assert corrupt(image, "jpeg:80").shape == image.shape
    longer = np.zeros((70_000, 1, 3), np.uint8)
    for text in ("jpeg:80", "double_jpeg:90+80", "screenshot:2"):
        assert max(corrupt(longer, text).shape) <= 65_500


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in ("resize_up", "crop")])
@pytest.mark.parametrize("seed", [0, 1])
def test_damage_grows_with_severity(kind, seed):
    image = textured(seed=seed)
    found = []
    for cell in CELLS:
        if cell.kind == kind:
            clean = image[3:, 5:] if kind == "double_jpeg" else image  # what its crop leaves
            found.append(psnr(back(cell.corruption(image), clean), clean))
    assert len(found) == 5
    assert max(np.diff(found)) < -0.1, found  # dB; every step can be told from the one before


def test_enlarging_takes_fine_detail_away_step_by_step():
    image = textured()
    found = [fine_detail(image), *(fine_detail(cell.corruption(image)) for cell in CELLS if cell.kind == "resize_up")]
    assert found == sorted(found, reverse=True)


def test_cropping_keeps_pixels_and_moves_the_jpeg_grid():
    image = textured(256, 256)
    areas = []
    for cell in CELLS:
        if cell.kind == "crop":
            out = cell.corruption(image)
            height, width = out.shape[:2]
            found = cv2.matchTemplate(image, out, cv2.TM_SQDIFF)
            y, x = np.unravel_index(np.argmin(found), found.shape)
            assert np.array_equal(out, image[y : y + height, x : x + width])
            assert (y % 2, x % 2) == (1, 1)  # an even corner may fall on the grid of 8
            assert abs(y - (256 - height) / 2) <= 1
            areas.append(height * width / 256**2)
    assert areas == pytest.approx([0.95**2, 0.9**2, 0.8**2, 0.7**2, 0.6**2], rel=0.02)
    assert np.array_equal(corrupt(image, "crop:1"), image)


def test_the_second_jpeg_has_another_grid():
    image = textured(160, 160)
    assert jpeg_grid(corrupt(image, "jpeg:20")) == (0, 0)
    assert jpeg_grid(corrupt(image, "double_jpeg:20+95")) == (5, 3)  # 8 - (3, 5): the first one's blocks, cropped
    first = Image.fromarray(image)
    for quality, box in ((60, (0, 0, 160, 160)), (80, (5, 3, 160, 160))):
        buffer = BytesIO()
        first.crop(box).save(buffer, "JPEG", quality=quality, subsampling=2)
        first = Image.open(buffer)
    assert np.array_equal(corrupt(image, "double_jpeg:60+80"), np.asarray(first))


@pytest.mark.parametrize("exponent", [0.5, 0.9, 2.2])
def test_gamma_is_the_power_law_of_opencvs_look_up(exponent):
    image = textured()
    table = np.array([round(255 * (value / 255) ** exponent) for value in range(256)], np.uint8)
    assert np.array_equal(corrupt(image, f"gamma:{exponent}"), cv2.LUT(image, table))
    ends = np.array([[[0, 255, 0]]], np.uint8)
    assert np.array_equal(corrupt(ends, f"gamma:{exponent}"), ends)


def test_blur_and_resize_agree_with_opencv():
    image = textured()
    blurred = cv2.GaussianBlur(image, (0, 0), 2.0, borderType=cv2.BORDER_REPLICATE)
    assert psnr(corrupt(image, "blur:2"), blurred) > 40
    larger = cv2.resize(image, (240, 192), interpolation=cv2.INTER_LINEAR)
    assert psnr(corrupt(image, "resize:2"), larger) > 45


def test_webp_is_what_opencv_reads_back():
    image = textured()
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", quality=65, method=2)
    read = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(corrupt(image, "webp:65").astype(int) - read).max() <= 1


def test_a_screenshot_is_its_chain():
    image = textured(200, 300)
    by_hand = Image.fromarray(image).resize((231, 154), Image.Resampling.BILINEAR)  # 0.77
    width, height = round(231 * 0.97), round(154 * 0.97)
    by_hand = by_hand.crop((3, 3, 3 + width, 3 + height)).point(lambda value: round(255 * (value / 255) ** 1.05))
    buffer = BytesIO()
    by_hand.save(buffer, "JPEG", quality=80, subsampling=2)
    assert np.array_equal(corrupt(image, "screenshot:3"), np.asarray(Image.open(buffer)))
    factors = [corrupt(textured(400, 400), f"screenshot:{level}").shape[0] / 400 for level in SEVERITIES]
    assert factors == sorted(factors, reverse=True)
    assert all((400 * factor) % 8 for factor in factors[1:])


def test_noise_is_one_grain_amplified_and_another_for_each_picture():
    grey = np.full((120, 120, 3), 128, np.uint8)
    weak, strong = (corrupt(grey, f"noise:{level}").astype(float) - 128 for level in (4, 12))
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.98
    assert strong.std() == pytest.approx(12, rel=0.02)


def test_the_networks_fit_takes_what_comes_out():
    for fit in ("resize", "crop"):
        spec = InputSpec(size_px=64, fit=fit)
        for cell in CELLS:
            assert fit_to_input(cell.corruption(textured(70, 50)), spec).shape == (64, 64, 3)
