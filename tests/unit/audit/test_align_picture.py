from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.helpers.badfiles import encoded, picture
from tests.helpers.planted import grainy

from veriscope.audit.align_facts import header_facts
from veriscope.audit.align_picture import align_picture, fit_size
from veriscope.audit.align_plan import SizePolicy, Treatment
from veriscope.augment.corruptions import recompress
from veriscope.data.decode import decode_image
from veriscope.errors import DecodeError

KEEP = SizePolicy("keep", 0)


def pixels_of(data):
    return np.asarray(Image.open(BytesIO(data)))


def swapped_profile():
    """Return a profile whose red and green are swapped, so that nobody can miss what it does."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return bytes(srgb.replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")).replace(
        b"s\0R\0G\0B", b"o\0t\0h\0e"
    )


def test_a_png_ends_as_a_jpeg_that_was_saved_twice():
    image = grainy(64, 80, seed=1)
    data, converted = align_picture(encoded(image, "PNG"), Treatment(75, KEEP, 75))
    assert not converted
    expected = recompress(recompress(np.asarray(image), "jpeg", 75), "jpeg", 75)
    assert np.array_equal(pixels_of(data), expected)


def test_png_keeps_the_pixels_of_a_jpeg():
    packed = encoded(grainy(64, 80, seed=1), "JPEG", quality=80)
    data, _ = align_picture(packed, Treatment(None, KEEP, None))
    assert data.startswith(b"\x89PNG")
    assert np.array_equal(pixels_of(data), decode_image(packed))


def test_no_metadata_and_one_kind_of_file(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(
        grainy(64, 80, seed=1), "JPEG", quality=70, exif=exif, icc_profile=profile, progressive=True, comment=b"hello"
    )
    made, converted = align_picture(data, Treatment(None, KEEP, 70))
    assert not converted
    (tmp_path / "a.jpg").write_bytes(made)
    assert header_facts(tmp_path / "a.jpg")[:8] == ("JPEG", 64, 80, 70, "4:2:0", False, False, False)
    with Image.open(BytesIO(made)) as image:
        assert set(image.info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_other_colours_are_converted_and_a_broken_profile_is_left():
    image = grainy(64, 80, seed=1)
    data, converted = align_picture(encoded(image, "PNG", icc_profile=swapped_profile()), Treatment(None, KEEP, None))
    assert converted
    swapped = np.asarray(image)[..., [1, 0, 2]]
    assert np.abs(pixels_of(data).astype(int) - swapped).mean() < 3
    data, converted = align_picture(encoded(image, "PNG", icc_profile=b"nothing"), Treatment(None, KEEP, None))
    assert (converted, np.array_equal(pixels_of(data), np.asarray(image))) == (False, True)


def test_a_crop_lies_on_the_grid_of_the_first_compression():
    image = np.arange(100 * 90 * 3, dtype=np.uint32).reshape(100, 90, 3).astype(np.uint8)
    # By hand: (100 - 40) // 2 = 30 -> 16; (90 - 40) // 2 = 25 -> 16.
    assert np.array_equal(fit_size(image, SizePolicy("crop", 40)), image[16:56, 16:56])
    assert np.array_equal(fit_size(image, KEEP), image)
    assert fit_size(picture(300, 200), SizePolicy("resize", 64)).shape == (64, 64, 3)
    # Compressed again on its own grid with its own tables, a crop hardly changes.
    once = recompress(np.asarray(grainy(128, 128, seed=3)), "jpeg", 75)
    cut = fit_size(once, SizePolicy("crop", 64))
    off = np.ascontiguousarray(once[35:99, 35:99])
    on_grid, off_grid = (np.abs(recompress(one, "jpeg", 75).astype(int) - one).mean() for one in (cut, off))
    assert on_grid < off_grid / 2


def test_a_picture_that_shrank_since_the_plan_is_refused():
    with pytest.raises(DecodeError, match="below the common 64"):
        align_picture(encoded(grainy(50, 80, seed=1), "PNG"), Treatment(None, SizePolicy("crop", 64), None))
    with pytest.raises(DecodeError, match="not an image"):
        align_picture(b"nothing", Treatment(None, KEEP, None))
