"""Where a run stands that many runs are made of: not begun, begun, or complete under the same configuration."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from veriscope.config.schema import RunConfig
from veriscope.errors import RunError
from veriscope.run_folder import RunFolder

Standing = Literal["new", "begun", "complete"]

# What may differ between two starts of the same run: where it lies, who watches it, how many run beside it,
# and what was asked of the data first.
_ASIDE = ("paths", "logger", "crossval", "tag", "dry_run", "trainer.progress", "data.num_workers", "audit")


def essence(config: RunConfig) -> dict[str, Any]:
    """Return dotted key to value of everything that decides the result."""
    flat = flatten(config.model_dump(mode="json", by_alias=True))
    return {key: value for key, value in flat.items() if not any(f"{key}.".startswith(f"{name}.") for name in _ASIDE)}


def config_hash(config: RunConfig) -> str:
    """Return the SHA-256 of `essence`, hexadecimal."""
    return hashlib.sha256(json.dumps(essence(config), sort_keys=True).encode()).hexdigest()


def differences(then: RunConfig, now: RunConfig) -> list[str]:
    """Return `optim.lr was 0.001, is 0.01` for each key that decides the result and differs."""
    old, new = essence(then), essence(now)
    return [
        f"{key} was {old.get(key)}, is {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def standing(folder: RunFolder, expected: RunConfig) -> Standing:
    """Return where the run in `folder` stands.

    Raises:
        RunError: it was begun under another configuration than `expected`, or its files are damaged.

    """
    if not folder.config.exists():
        return "new"
    found = differences(folder.load_config(), expected)
    if found:
        shown = "; ".join(found[:5]) + ("; ..." if len(found) > 5 else "")
        raise RunError(
            f"the run in '{folder.path}' was begun under another configuration: {shown}. Take that back, or choose "
            "another folder"
        )
    progress = folder.load_progress()
    return "complete" if progress is not None and progress.complete else "begun"


def flatten(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, keys joined by dots; an empty mapping stays a value."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
