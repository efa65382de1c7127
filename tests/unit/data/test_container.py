"""What a file tells without its pixels, for every kind of file that the decoder meets."""

from pathlib import Path

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
