from io import BytesIO

import numpy as np
from PIL import Image
from tests.helpers.badfiles import picture

from veriscope.data.jpeg import jpeg_quality


def test_every_quality_of_pil_is_found_again():
    for quality in range(1, 101):
        buffer = BytesIO()
        Image.fromarray(picture(16, 16)).save(buffer, "JPEG", quality=quality)
        assert jpeg_quality(Image.open(buffer).quantization) == quality


def test_tables_of_another_maker_give_the_nearest_quality():
    buffer = BytesIO()
    Image.fromarray(picture(16, 16)).save(buffer, "JPEG", quality=80)
    table = np.array(Image.open(buffer).quantization[0])
    own = np.maximum(table + np.tile([1, -1], 32), 1)  # no libjpeg table, but as coarse
    assert abs(jpeg_quality({0: own.tolist()}) - 80) <= 2
    assert jpeg_quality({0: [1] * 64}) == 100
