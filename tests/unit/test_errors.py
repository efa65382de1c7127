"""Troubles of the machine are told from bugs, by the errors that the real libraries raise."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from veriscope.errors import RunError, machine_trouble
from veriscope.run_folder import RunFolder, naming_the_way_on


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A file on a full disk. A link: Arrow removes what it could not write, and root could remove the device itself."""
    device = Path("/dev/full")
    if not device.is_char_device():
        pytest.skip("no /dev/full on this system")
    link = tmp_path / "full"
    link.symlink_to(device)
    return link


@pytest.mark.parametrize(
    "write",
    [
        lambda file: file.write_text("x" * 10_000),
        lambda file: torch.save({"weight": torch.zeros(10_000)}, file),
        lambda file: pq.write_table(pa.table({"x": [0.5] * 10_000}), file),
    ],
    ids=["python", "torch", "arrow"],
)
def test_a_full_disk_is_named_whoever_writes(write: Callable[[Path], object], full: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which kind is the library's affair
        write(full)
    assert "disk is full" in (machine_trouble(caught.value) or "")


class Killed(Dataset[int]):
    """Its loader process dies as one does that the kernel ends for want of memory."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_a_killed_loader_process_is_named() -> None:
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Killed(), num_workers=1))
    assert "data.num_workers" in (machine_trouble(caught.value) or "")


def test_memory_is_named() -> None:
    assert "data.batch_size" in (machine_trouble(torch.OutOfMemoryError("CUDA out of memory")) or "")
    assert "data.batch_size" in (machine_trouble(MemoryError()) or "")


def test_a_bug_stays_a_bug() -> None:
    assert machine_trouble(ValueError("operands could not be broadcast")) is None
    assert machine_trouble(FileNotFoundError("gone")) is None


def test_a_training_run_says_how_to_go_on(tmp_path: Path, full: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match=f"free some space.*resume={tmp_path}"), naming_the_way_on(folder):
        full.write_text("x")
    with pytest.raises(KeyError), naming_the_way_on(folder):
        raise KeyError("a bug")


def test_a_place_that_is_taken_otherwise_is_no_bug(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(FileExistsError) as caught:
        file.mkdir(exist_ok=True)
    assert str(file) in (machine_trouble(caught.value) or "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory") as renamed:
        file.replace(tmp_path / "folder")
    assert f"'{tmp_path}/folder' can't be used" in (machine_trouble(renamed.value) or "")
