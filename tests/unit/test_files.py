"""What is written is there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from veriscope.files import can_be_replaced, whole_or_not_at_all, write_text


def test_a_block_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    write_text(target, "old")

    def fail_halfway() -> None:
        with whole_or_not_at_all(target) as temporary:
            temporary.write_text("ha")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk"):
        fail_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_appears_whole_and_goes_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "report"

    def interrupt_halfway() -> None:
        with whole_or_not_at_all(target) as temporary:
            temporary.mkdir()
            (temporary / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt_halfway()
    assert list(tmp_path.iterdir()) == []
    with whole_or_not_at_all(target) as temporary:
        temporary.mkdir()
        (temporary / "page").touch()
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["page"]


def test_two_writers_of_one_file_have_names_of_their_own(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    with whole_or_not_at_all(target) as first, whole_or_not_at_all(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"  # the outer block ends last


def test_names_of_undecodable_files_can_be_written(tmp_path: Path) -> None:
    write_text(tmp_path / "list.csv", "caf\udce9.jpg")
    assert (tmp_path / "list.csv").read_text() == "caf\\udce9.jpg"


def test_whether_a_folder_can_take_a_place_is_tried_and_leaves_nothing(tmp_path, monkeypatch):
    place = tmp_path / "out"
    place.mkdir()
    assert can_be_replaced(place)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "replace", busy)
    assert not can_be_replaced(place)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_device_or_a_pipe_keeps_its_name(tmp_path: Path) -> None:
    """As root a file would take the place of /dev/null, for every program."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("pipe", "link"):
        with pytest.raises(FileExistsError, match="it is a device or a pipe, not a file"):
            write_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_char_device()
    assert len(list(tmp_path.iterdir())) == 2
