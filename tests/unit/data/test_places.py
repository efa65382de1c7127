import os
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.shards import jpeg

from veriscope.data.decode import decode_image, decode_with_facts
from veriscope.data.places import MAX_SLICE_BYTES, read_bytes, read_tail, slice_of, slice_path
from veriscope.errors import DecodeError


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "s.tar").write_bytes(b"x" * 100 + jpeg(1) + b"y" * 50)
    return tmp_path / "s.tar"


@pytest.mark.parametrize("name", ["train/real/1.jpg", "a@1+2/b.png", "ünï 写真.jpg", "x.tar@7+8/y.jpg", "no ending"])
def test_a_slice_is_a_path_and_back(name):
    path = slice_path(Path("/d/e@f/00.tar"), offset=512, size_bytes=7, name=name)
    assert slice_of(Path(str(path))) == (Path("/d/e@f/00.tar"), 512, 7)
    assert path.suffix == Path(name).suffix


@pytest.mark.parametrize("path", ["/d/1.jpg", "/d/a@b.jpg", "/d/s.tar", "s.tar@1+2", "s.zip@1+2/x.jpg", "s.tar@-1+2/x"])
def test_other_paths_are_files(path):
    assert slice_of(Path(path)) is None


def test_bytes_pixels_and_facts_are_those_of_the_file(shard, tmp_path):
    (tmp_path / "own.jpg").write_bytes(jpeg(1))
    path = slice_path(shard, offset=100, size_bytes=len(jpeg(1)), name="own.jpg")
    assert read_bytes(path) == jpeg(1) == read_bytes(tmp_path / "own.jpg")
    for count in (10, 10**6):
        assert read_tail(path, num_bytes=count) == read_tail(tmp_path / "own.jpg", num_bytes=count)
    assert np.array_equal(decode_image(path), decode_image(tmp_path / "own.jpg"))
    assert decode_with_facts(path)[1] == decode_with_facts(tmp_path / "own.jpg")[1]


@pytest.mark.parametrize(
    ("offset", "size", "reason"),
    [
        (200, 10**6, "ends before the picture"),
        (10**9, 5, "ends before the picture"),
        (0, 50, "not an image"),
        (0, 0, "0 bytes"),
        (0, MAX_SLICE_BYTES + 1, "too large"),
    ],
)
def test_slices_that_hold_no_picture_say_why(shard, offset, size, reason):
    with pytest.raises(DecodeError) as caught:
        decode_image(slice_path(shard, offset=offset, size_bytes=size, name="x.jpg"))
    assert reason in caught.value.reason


def test_a_shard_that_has_gone_or_is_a_pipe(tmp_path):
    for make, reason in (
        (lambda path: None, "no such file"),
        (os.mkfifo, "not a regular file"),
        (os.mkdir, "is a directory"),
    ):
        place = tmp_path / f"{reason}.tar"
        make(place)
        with pytest.raises(DecodeError, match=reason):
            decode_image(slice_path(place, offset=0, size_bytes=9, name="x.jpg"))


def test_what_is_no_regular_file_is_never_waited_for(tmp_path):
    """Also where it took a picture's place after its kind was asked for."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for read in (read_bytes, lambda path: read_tail(path, num_bytes=4)):
        with pytest.raises(OSError, match="not a regular file"):
            read(tmp_path / "pipe.jpg")
        with pytest.raises(IsADirectoryError):
            read(tmp_path)
