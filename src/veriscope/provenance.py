"""What it takes to have a figure again: commit, versions, device, command line."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import veriscope

PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "albumentations", "numpy", "pillow", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Commit:
    """The source's state: the commit's hash, what `git status` lists as changed or new (empty when clean), and the diff
    of what is tracked. All None without git."""

    sha: str | None
    changed: str | None
    diff: str | None

    def __str__(self) -> str:
        return "" if self.sha is None else self.sha + ("+dirty" if self.changed else "")


def source_commit() -> Commit:
    """Return the commit of the checkout that this package runs from; Commit(None, None, None) when it isn't one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed from a wheel, or a copy: a git repository above it would be another's
        return Commit(None, None, None)
    sha = _git(root, "rev-parse", "HEAD")
    return Commit(sha.strip() if sha else None, _git(root, "status", "--porcelain"), _git(root, "diff", "HEAD"))


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def collect(*, seed: int, data_hash: str | None, commit: Commit) -> dict[str, Any]:
    """Return the facts of this process as a JSON-able dict; times are UTC, ISO 8601."""
    return {
        "veriscope": veriscope.__version__,
        "commit": commit.sha,
        "dirty": bool(commit.changed),
        "seed": seed,
        "data_hash": data_hash,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device_name(),
        "cores": os.cpu_count(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def device_name() -> str:
    """Return the GPU's name where torch is loaded and sees one, else the processor's."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
