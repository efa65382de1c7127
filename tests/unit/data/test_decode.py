import os
import pickle
import subprocess
import sys
import tracemalloc
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.helpers.badfiles import READABLE, UNREADABLE, encoded, picture, png_header, write_readable, write_unreadable
from tests.helpers.nobody import error_as_nobody

from veriscope.data.decode import FORMATS, decode_image, decode_with_facts
from veriscope.errors import DecodeError


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return write_unreadable(tmp_path_factory.mktemp("bad"))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_readable(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_gives_a_short_reason(bad, name):
    with pytest.raises(DecodeError) as caught:
        decode_image(bad[name])
    assert UNREADABLE[name] in caught.value.reason
    assert caught.value.path == str(bad[name])
    assert len(caught.value.reason) <= 160
    assert "\n" not in caught.value.reason
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


@pytest.mark.parametrize("name", READABLE)
def test_readable_is_rgb_uint8(good, name):
    image = decode_image(good[name])
    assert image.dtype == np.uint8
    assert image.shape == ((64, 48, 3) if name == "rotated.jpg" else (48, 64, 3))
    assert image.flags.c_contiguous


@pytest.mark.parametrize("name", ["plain.jpg", "progressive.jpg", "cmyk.jpg", "picture.webp", "animated.webp"])
def test_colours_are_those_of_the_source(good, name):
    assert np.abs(decode_image(good[name]).astype(int) - picture()).mean() < 4


def test_first_frame_of_an_animation(good):
    first, second = picture(seed=0).astype(int), picture(seed=1).astype(int)
    for name in ("animated.gif", "animated.webp"):
        shown = decode_image(good[name])
        assert np.abs(shown - first).mean() < 12 < np.abs(shown - second).mean()


def test_exif_rotation_is_applied(good):
    turned = np.rot90(picture(), k=-1)  # clockwise
    assert np.abs(decode_image(good["rotated.jpg"]).astype(int) - turned).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_agrees_with_pil(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(picture()), "JPEG", quality=95, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    assert np.array_equal(decode_image(data), expected)


def test_sixteen_bits_keep_their_scale(good):
    image = decode_image(good["sixteen_bit.png"])
    expected = np.linspace(0, 65535, 48 * 64).astype(np.uint16).reshape(48, 64) / 257
    assert np.abs(image[:, :, 0] - expected).max() <= 0.51
    assert image.max() == 255
    assert image.min() == 0
    assert 120 < image.mean() < 135  # PIL's convert("L") would clip nearly everything to white


def test_transparency_lies_on_white(good):
    alpha = np.linspace(0, 255, 64).astype(np.uint8) / 255
    expected = picture() * alpha[None, :, None] + 255 * (1 - alpha[None, :, None])
    assert np.abs(decode_image(good["alpha.png"]) - expected).max() <= 1.5
    assert (decode_image(good["grey_alpha.png"])[:, 0] == 255).all()
    indices = np.asarray(Image.open(good["palette_transparent.png"]))
    assert (decode_image(good["palette_transparent.png"])[indices == 0] == 255).all()


def test_bomb_is_refused_from_its_header_only():
    with pytest.raises(DecodeError, match="too large"):
        decode_image(png_header(50_000, 50_000))
    with pytest.raises(DecodeError, match="20 x 20 pixels, the limit is 399"):
        decode_image(png_header(20, 20), max_pixels=399)


def test_limit_itself_is_allowed():
    data = encoded(Image.fromarray(picture(20, 20)), "PNG")
    assert decode_image(data, max_pixels=400).shape == (20, 20, 3)


def test_limit_can_be_raised_above_pils_own():
    code = (
        "from veriscope.data.decode import decode_image\n"
        "from veriscope.errors import DecodeError\n"
        "from tests.helpers.badfiles import png_header\n"
        "try: decode_image(png_header(20_000, 20_000), max_pixels=400_000_000)\n"
        "except DecodeError as error: print(error.reason)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "too large" not in result.stdout
    assert result.stdout.strip()  # it fails on the missing pixels instead


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # pytest lifts the filter that decode sets
def test_any_damage_is_a_decode_error():
    rng = np.random.default_rng(0)
    sound = [encoded(Image.fromarray(picture()), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")]
    failures = 0
    for data in sound:
        for _ in range(40):
            broken = bytearray(data)
            for position in rng.integers(0, min(len(data), 300), 6):
                broken[position] = rng.integers(256)
            try:
                decode_image(bytes(broken), max_pixels=1_000_000)
            except DecodeError:
                failures += 1
    assert failures > 50


def test_no_warning_reaches_stderr(bad, good, tmp_path):
    palette = Image.fromarray(picture()).quantize(8)
    palette.save(tmp_path / "bytes_transparency.png", transparency=bytes([0, 128, 255]))
    exif = encoded(Image.fromarray(picture()), "JPEG", exif=b"Exif\x00\x00garbage-that-is-no-tiff-header")
    (tmp_path / "exif.jpg").write_bytes(exif)
    (tmp_path / "large.png").write_bytes(png_header(10_000, 10_000))  # between PIL's warning and its refusal
    files = [*bad.values(), *good.values(), *tmp_path.iterdir()]
    code = (
        "import sys\nfrom pathlib import Path\nfrom veriscope.data.decode import decode_image\n"
        "from veriscope.errors import DecodeError\n"
        "for name in sys.argv[1:]:\n  try: decode_image(Path(name))\n  except DecodeError: pass\nprint('done')"
    )
    result = subprocess.run([sys.executable, "-c", code, *map(str, files)], capture_output=True, text=True, check=True)
    assert result.stdout == "done\n"
    assert result.stderr == ""


def test_no_permission(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(encoded(Image.fromarray(picture()), "JPEG"))
    path.chmod(0)
    assert error_as_nobody(path, lambda: decode_image(path)) == f"{path}: no permission to read"


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(DecodeError, match="not a regular file"):
        decode_image(tmp_path / "pipe.jpg")


def test_transparency_in_strips_equals_the_whole(tmp_path, monkeypatch):
    """Strips bound the memory; where they meet nothing may show."""
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (37, 20, 4), dtype=np.uint8))
    palette = Image.fromarray(rng.integers(0, 256, (37, 20), dtype=np.uint8)).convert("P")
    rgba.save(tmp_path / "rgba.png")
    palette.save(tmp_path / "palette.png", transparency=7)
    whole = [decode_image(tmp_path / name) for name in ("rgba.png", "palette.png")]
    monkeypatch.setattr("veriscope.data.decode.STRIP_PIXELS", 100)  # five rows
    for name, expected in zip(("rgba.png", "palette.png"), whole, strict=True):
        assert np.array_equal(decode_image(tmp_path / name), expected)
    white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    assert np.array_equal(whole[0], np.asarray(white))


def test_facts_are_those_of_the_stored_file(good):
    with Image.open(good["rotated.jpg"]) as stored:
        size = stored.size
    pixels, facts = decode_with_facts(good["rotated.jpg"])
    assert (facts.width_px, facts.height_px) == size
    assert pixels.shape[:2] == size, "rotated by a quarter: the picture is upright, the facts are the file's"
    assert facts.size_bytes == good["rotated.jpg"].stat().st_size
    for path in good.values():
        pixels, facts = decode_with_facts(path)
        assert np.array_equal(pixels, decode_image(path))
        assert facts.format in set(FORMATS) - {"MPO"}


def test_a_phone_s_file_of_two_jpegs_counts_as_jpeg():
    packed = BytesIO()
    first, second = (Image.fromarray(np.full((8, 6, 3), value, np.uint8)) for value in (30, 200))
    first.save(packed, "MPO", save_all=True, append_images=[second])
    pixels, facts = decode_with_facts(packed.getvalue())
    assert facts == ("JPEG", 6, 8, len(packed.getvalue()))
    assert abs(int(pixels.mean()) - 30) < 3


def test_a_sparse_file_of_10_gb_is_refused_without_being_read(tmp_path):
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWEBPVP8 ")  # whose plugin reads the whole file as it opens it
        file.truncate(10 << 30)
    tracemalloc.start()
    with pytest.raises(DecodeError, match=r"too large: 10,737,418,240 bytes, the limit is 536,870,910"):
        decode_image(huge)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_target_of_a_broken_link_is_printable(tmp_path):
    """It may be any bytes, and the reason goes into tables that hold UTF-8 only."""
    link = tmp_path / "x.jpg"
    link.symlink_to(os.fsdecode(b"/none/\xff\x1b[2J.jpg"))
    with pytest.raises(DecodeError) as caught:
        decode_image(link)
    assert caught.value.reason.startswith("broken link to '/none/\\udcff\\x1b")
    assert caught.value.reason.isprintable()
