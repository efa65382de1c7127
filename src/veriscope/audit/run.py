"""An audit from a manifest to a verdict, as one straight function."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from veriscope.audit.cache import FactsCache, facts_version
from veriscope.audit.check import Check, Status, worst
from veriscope.audit.duplicate_checks import duplicate_checks, shared_checks
from veriscope.audit.duplicates import Duplicates, Shared, find_duplicates, find_shared
from veriscope.audit.inspection import inspect
from veriscope.audit.integrity import Integrity, check_integrity
from veriscope.audit.picture import Depth
from veriscope.audit.shortcut_checks import shortcut_checks
from veriscope.audit.shortcuts import Shortcuts, find_shortcuts
from veriscope.config.audit import AuditConfig
from veriscope.data.manifest import Manifest

CACHE_FOLDER = "audit"  # below paths.cache


@dataclass(frozen=True, slots=True)
class Data:
    """A data set as an audit meets it: `name` is for people, `root` where it lies."""

    name: str
    manifest: Manifest
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Audit:
    """All that an audit found. `checks`: every question that was asked, integrity first; `shared`: with `against`;
    `seconds`: how long it took."""

    data: Data
    against: Data | None
    depth: Depth
    config: AuditConfig
    table: pa.Table
    integrity: Integrity
    duplicates: Duplicates
    shared: Shared | None
    shortcuts: Shortcuts
    checks: tuple[Check, ...]
    version: str
    seconds: float

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was not looked at, in words."""
        return () if self.depth == "pixels" else ("pixels, so near copies and what they give away",)

    @property
    def status(self) -> Status:
        """The worst status of all checks."""
        return worst(self.checks)

    @property
    def audit_hash(self) -> str:
        """SHA-256 over what decides: files and labels, measures, the code that makes the facts, and every verdict."""
        decides = {
            "data": self.data.manifest.content_hash,
            "files": _files_hash(self.table),
            "against": None if self.against is None else self.against.manifest.content_hash,
            "depth": self.depth,
            "config": self.config.model_dump(mode="json", exclude={"before_training", "on_stop"}),
            "facts": self.version,
            "checks": [(check.name, check.status, check.count) for check in self.checks],
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def run_audit(
    data: Data,
    *,
    config: AuditConfig,
    depth: Depth,
    cache: Path,
    workers: int,
    warn: Callable[[str], None],
    against: Data | None = None,
    shown: bool = True,
) -> Audit:
    """Look at every picture once and return what the checks say; `cache` is paths.cache, `warn` is told of trouble."""
    began = time.monotonic()
    version = facts_version(max_pixels=data.max_pixels)
    look = partial(_inspected, depth=depth, cache=cache, workers=workers, warn=warn, shown=shown)
    table, manifest = look(data), data.manifest
    integrity = check_integrity(manifest, table, config=config.integrity)
    likeness = config.duplicates.likeness
    duplicates = find_duplicates(manifest, table, likeness=likeness)
    checks = [*integrity.checks, *duplicate_checks(duplicates, manifest, config.duplicates)]
    shared = None
    if against is not None:
        other = against.manifest
        shared = find_shared(manifest, table, other, look(against), likeness=likeness, name=against.name)
        checks += shared_checks(shared, manifest, other, config.duplicates)
    shortcuts = find_shortcuts(
        table,
        manifest.labels,
        generators=manifest.generators,
        groups=manifest.group_codes,
        config=config.shortcuts,
    )
    return Audit(
        data=data,
        against=against,
        depth=depth,
        config=config,
        table=table,
        integrity=integrity,
        duplicates=duplicates,
        shared=shared,
        shortcuts=shortcuts,
        checks=(*checks, *shortcut_checks(shortcuts, config=config.shortcuts)),
        version=version,
        seconds=time.monotonic() - began,
    )


def _inspected(
    data: Data, *, depth: Depth, cache: Path, workers: int, warn: Callable[[str], None], shown: bool
) -> pa.Table:
    kept = FactsCache(cache / CACHE_FOLDER, version=facts_version(max_pixels=data.max_pixels), warn=warn)
    try:
        return inspect(data.manifest, depth=depth, cache=kept, workers=workers, max_pixels=data.max_pixels, shown=shown)
    finally:
        kept.close()


def _files_hash(table: pa.Table) -> str:
    """Return the SHA-256 of every file's hash, or of why it has none, in order."""
    digest = hashlib.sha256()
    for found, problem in zip(table["sha256"].to_pylist(), table["problem"].to_pylist(), strict=True):
        digest.update(found or str(problem).encode())
    return digest.hexdigest()
