"""What a file tells without its pixels, for every kind of file that the decoder meets."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from PIL import Image
from tests.helpers.badfiles import encoded, picture, png_header, write_readable, write_unreadable

from veriscope.data.container import container_facts
from veriscope.data.decode import decode_with_facts
from veriscope.errors import DecodeError

RGB = Image.fromarray(picture())


def test_every_sound_file_has_facts_and_they_agree_with_the_decoder(tmp_path: Path) -> None:
    for name, path in write_readable(tmp_path).items():
        facts = container_facts(path.read_bytes(), name=name)
        assert (facts.format, facts.width_px, facts.height_px, facts.size_bytes) == decode_with_facts(path)[1], name


def test_what_is_stored_is_told(tmp_path: Path) -> None:
    found = {name: container_facts(path.read_bytes(), name=name) for name, path in write_readable(tmp_path).items()}
    modes = {name: found[name].mode for name in ("plain.jpg", "grey.jpg", "cmyk.jpg", "palette.png", "alpha.png")}
    assert modes == {
        "plain.jpg": "RGB", "grey.jpg": "L", "cmyk.jpg": "CMYK", "palette.png": "P", "alpha.png": "RGBA"
    }  # fmt: skip
    assert {name for name, facts in found.items() if facts.alpha} == {
        "palette_transparent.png", "alpha.png", "grey_alpha.png"
    }  # fmt: skip
    assert {name: facts.frames for name, facts in found.items() if facts.frames > 1} == {
        "animated.gif": 3, "animated.webp": 3
    }  # fmt: skip
    assert {name for name, facts in found.items() if facts.progressive} == {"progressive.jpg"}
    assert {name: facts.orientation for name, facts in found.items() if facts.orientation != 1} == {"rotated.jpg": 6}
    assert {name for name, facts in found.items() if facts.exif} == {"rotated.jpg"}
    assert all((facts.quality is None) == (facts.format != "JPEG") for facts in found.values())
    assert found["grey.jpg"].subsampling is None


@pytest.mark.parametrize(("number", "text"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_subsampling(number: int, text: str) -> None:
    assert container_facts(encoded(RGB, "JPEG", subsampling=number), name="").subsampling == text


def test_tables_are_told_apart_and_the_quality_is_read() -> None:
    found = [container_facts(encoded(RGB, "JPEG", quality=quality), name="") for quality in (90, 90, 91)]
    assert [facts.quality for facts in found] == [90, 90, 91]
    assert found[0].quant_tables == found[1].quant_tables != found[2].quant_tables


def test_a_colour_profile_is_seen() -> None:
    assert container_facts(encoded(RGB, "JPEG", icc_profile=b"x" * 200), name="").icc
    assert not container_facts(encoded(RGB, "JPEG"), name="").icc


def test_what_has_no_header_has_a_reason_and_half_a_file_still_has_facts(tmp_path: Path) -> None:
    write_unreadable(tmp_path)
    for name, words in {"empty.jpg": "0 bytes", "text.jpg": "not an image", "bomb.png": "too large"}.items():
        with pytest.raises(DecodeError, match=words):
            container_facts((tmp_path / name).read_bytes(), name=name)
    assert container_facts((tmp_path / "truncated.jpg").read_bytes(), name="").width_px == 200


def test_a_limit_holds_for_the_header_too() -> None:
    with pytest.raises(DecodeError, match="too large: 20 x 20 pixels, the limit is 399 in all"):
        container_facts(png_header(20, 20), name="", max_pixels=399)


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_opencvs_files_have_their_quality(quality: int) -> None:
    _, data = cv2.imencode(".jpg", picture(20, 30), [cv2.IMWRITE_JPEG_QUALITY, quality])
    facts = container_facts(data.tobytes(), name="")
    assert (facts.format, facts.width_px, facts.height_px, facts.quality) == ("JPEG", 30, 20, quality)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_other_formats_have_no_quality_whatever_the_name_says(kind: str) -> None:
    facts = container_facts(encoded(RGB, kind), name="name_says.jpg")
    assert (facts.format, facts.quality, facts.quant_tables, facts.subsampling) == (kind, None, None, None)


def test_grey_jpegs_have_a_quality() -> None:
    assert container_facts(encoded(RGB.convert("L"), "JPEG", quality=60), name="").quality == 60


def test_a_phones_jpeg_with_a_second_picture_is_a_jpeg(tmp_path: Path) -> None:
    RGB.save(tmp_path / "p.jpg", "MPO", quality=70, save_all=True, append_images=[RGB])
    with Image.open(tmp_path / "p.jpg") as image:
        assert image.format == "MPO"
    facts = container_facts((tmp_path / "p.jpg").read_bytes(), name="")
    assert (facts.format, facts.quality, facts.frames) == ("JPEG", 70, 2)
    assert decode_with_facts(tmp_path / "p.jpg")[1].format == "JPEG"  # as the groups call it


@pytest.mark.slow
def test_a_fresh_process_knows_every_format(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jpg", "b.png", "c.webp", "d.bmp")]
    for file in files:
        RGB.save(file)
    code = (
        "import sys; from pathlib import Path; from veriscope.data.container import container_facts; "
        "print(*(container_facts(Path(file).read_bytes(), name=file).format for file in sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["JPEG", "PNG", "WEBP", "BMP"]
