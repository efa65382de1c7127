import subprocess
import sys
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import picture

from veriscope.data.decode import decode_with_facts
from veriscope.data.jpeg import file_facts, jpeg_quality


def test_every_quality_of_pil_is_found_again():
    for quality in range(1, 101):
        buffer = BytesIO()
        Image.fromarray(picture(16, 16)).save(buffer, "JPEG", quality=quality)
        assert jpeg_quality(Image.open(buffer).quantization) == quality


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_opencvs_files_too(tmp_path, quality):
    file = tmp_path / "a.jpg"
    cv2.imwrite(str(file), picture(20, 30), [cv2.IMWRITE_JPEG_QUALITY, quality])
    facts = file_facts(file)
    assert (facts.format, facts.width_px, facts.height_px, facts.quality) == ("JPEG", 30, 20, quality)


def test_tables_of_another_maker_give_the_nearest_quality():
    buffer = BytesIO()
    Image.fromarray(picture(16, 16)).save(buffer, "JPEG", quality=80)
    table = np.array(Image.open(buffer).quantization[0])
    own = np.maximum(table + np.tile([1, -1], 32), 1)  # no libjpeg table, but as coarse
    assert abs(jpeg_quality({0: own.tolist()}) - 80) <= 2
    assert jpeg_quality({0: [1] * 64}) == 100


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_other_formats_have_no_quality(tmp_path, kind):
    file = tmp_path / "name_says.jpg"
    Image.fromarray(picture(9, 12)).save(file, kind)
    assert file_facts(file) == (kind, 12, 9, None)


def test_grey_jpegs_have_a_quality(tmp_path):
    Image.fromarray(picture(9, 12)).convert("L").save(tmp_path / "g.jpg", quality=60)
    assert file_facts(tmp_path / "g.jpg").quality == 60


def test_no_picture_is_an_os_error(tmp_path):
    (tmp_path / "x.jpg").write_text("text")
    for name in ("x.jpg", "none.jpg"):
        with pytest.raises(OSError, match=name):
            file_facts(tmp_path / name)


def test_a_phones_jpeg_with_a_second_picture_is_a_jpeg(tmp_path):
    first, second = (Image.fromarray(picture(9, 12)) for _ in range(2))
    first.save(tmp_path / "p.jpg", "MPO", quality=70, save_all=True, append_images=[second])
    assert Image.open(tmp_path / "p.jpg").format == "MPO"
    assert file_facts(tmp_path / "p.jpg") == ("JPEG", 12, 9, 70)
    assert decode_with_facts(tmp_path / "p.jpg")[1].format == "JPEG"  # as the groups call it


@pytest.mark.slow
def test_a_fresh_process_knows_every_format(tmp_path):
    image = Image.fromarray(picture())
    files = [tmp_path / name for name in ("a.jpg", "b.png", "c.webp", "d.bmp")]
    for file in files:
        image.save(file)
    code = (
        "import sys; from pathlib import Path; from veriscope.data.jpeg import file_facts; "
        "from veriscope.audit.align_facts import header_facts; "
        "print(*(read(Path(file)).format for file in sys.argv[1:] for read in (file_facts, header_facts)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["JPEG", "JPEG", "PNG", "PNG", "WEBP", "WEBP", "BMP", "BMP"]
