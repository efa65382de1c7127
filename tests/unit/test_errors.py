"""Troubles of the machine are told from bugs, by the errors that the real libraries raise."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from veriscope.errors import RunError, machine_trouble, open_closed_streams
from veriscope.run_folder import RunFolder, naming_the_way_on

ROOT = Path(__file__).parents[2]


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


def test_who_can_t_be_told_gets_the_exit_code() -> None:
    """Without, Python's own failure to write ends as 1 or 120, which mean other things."""
    said = "from veriscope.cli import main; import sys; sys.exit(main(['predict', 'gone', 'gone']))"
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([sys.executable, "-c", said], cwd=ROOT, stderr=full, timeout=60).returncode == 2
    closed = f'exec "{sys.executable}" -c "$1" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", closed, "sh", said], cwd=ROOT, timeout=60).returncode == 2


def test_closed_streams_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    open_closed_streams()
    print("nobody reads this")
    assert sys.stdin is not None
    assert sys.stdin.buffer.read(10) == b""
    sys.stdin.close(), sys.stdout.close(), sys.stderr.close()
