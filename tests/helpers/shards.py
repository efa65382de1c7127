"""Tar shards for tests, sound and hostile."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from tests.helpers.badfiles import encoded, picture


def jpeg(seed: int = 0) -> bytes:
    """Return a small JPEG, another for each seed."""
    return encoded(Image.fromarray(picture(24, 24, seed=seed)), "JPEG", quality=95)


def write_tar(
    path: Path, members: Iterable[tuple[str | tarfile.TarInfo, bytes]], *, form: int = tarfile.PAX_FORMAT
) -> Path:
    """Write an archive of (name or header, content); return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.TarFile(path, "w", format=form) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if not isinstance(name, tarfile.TarInfo):
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def said(**told: object) -> bytes:
    """Return a picture's JSON."""
    return json.dumps(told).encode()


def web_shard(path: Path, *, num_pairs: int = 3, start: int = 0) -> Path:
    """Write a shard as WebDataset's users do: real and fake in turn, labels in .cls, no index."""
    members: list[tuple[str | tarfile.TarInfo, bytes]] = []
    for number in range(start, start + 2 * num_pairs):
        members += [(f"{number:04d}.jpg", jpeg(number)), (f"{number:04d}.cls", str(number % 2).encode())]
    return write_tar(path, members)
