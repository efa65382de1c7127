"""What a bundle remembers of its pictures, and what is no such memory."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from veriscope.bundle.seen import read_seen, write_seen
from veriscope.errors import BundleError


@pytest.mark.parametrize(
    "content",
    [
        {"train": np.array([1, 2])},
        {"train": np.array([1.0]), "val": np.array([2])},  # would match nothing: everything would count as unseen
        {"train": np.array([[1]]), "val": np.array([2])},
        b"junk",
    ],
)
def test_what_is_no_memory_is_refused(tmp_path: Path, content: bytes | dict[str, np.ndarray]) -> None:
    file = tmp_path / "seen.safetensors"
    write_seen(file, {"train": np.array([3, 1, 3]), "val": np.array([], dtype=np.int64)})
    assert read_seen(file)["train"].tolist() == [1, 3]
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        save_file(content, file)
    with pytest.raises(BundleError, match=r"seen\.safetensors"):
        read_seen(file)
