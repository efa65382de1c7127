"""What an audit leaves: audit.html for people, audit.json for machines, lists as CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from veriscope.audit.check import Check, Status
from veriscope.audit.pairs import Copies, Pair, duplicates_dict, find_pairs, shown_pairs
from veriscope.audit.run import Audit
from veriscope.audit.telling import telling_facts
from veriscope.errors import printable
from veriscope.evaluation.page import page_environment
from veriscope.files import safe_cell, write_text
from veriscope.types import CLASS_MAP_TEXT, CLASS_NAMES

SCHEMA_VERSION = 1
HTML_NAME, JSON_NAME = "audit.html", "audit.json"
UNREADABLE_NAME, PAIRS_NAME = "unreadable.csv", "pairs.csv"
MAX_LISTED = 200  # of a list on the page; the CSV files hold them all
MAX_HISTOGRAMS = 6
_TITLES = {"integrity": "Files and counts", "duplicates": "Copies", "shortcuts": "Shortcuts"}
_ORDER: tuple[Status, ...] = ("stop", "warn", "pass")
_FACTS = ("veriscope", "commit", "dirty", "started", "command", "device", "python", "seconds")


def write_audit(audit: Audit, folder: Path, *, provenance: Mapping[str, Any]) -> Path:
    """Write everything into `folder`, each file whole or not at all; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = audit_dict(audit, provenance=provenance)
    write_text(folder / JSON_NAME, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    _write_csv(folder / UNREADABLE_NAME, ("path", "reason"), audit.integrity.problems)
    copies = find_pairs(audit)
    _write_csv(folder / PAIRS_NAME, Copies._fields, copies)
    write_text(folder / HTML_NAME, render(audit, content, pairs=shown_pairs(audit, copies)))
    return folder / HTML_NAME


def audit_dict(audit: Audit, *, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything machine-readable; the keys stay within one `schema_version`."""
    manifest = audit.data.manifest
    against = audit.against
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "audit",
        "status": audit.status,
        "audit_hash": audit.audit_hash,
        "depth": audit.depth,
        "class_map": {name: label for label, name in enumerate(CLASS_NAMES)},
        "data": {
            "name": audit.data.name,
            "root": str(manifest.root.absolute()),
            "content_hash": manifest.content_hash,
            "pictures": len(manifest),
            **manifest.class_counts(),
        },
        "against": None
        if against is None
        else {"name": against.name, "content_hash": against.manifest.content_hash, "pictures": len(against.manifest)},
        "checks": [check.model_dump(mode="json") for check in audit.checks],
        "left_out": list(audit.left_out),
        "integrity": audit.integrity.to_dict(),
        "duplicates": duplicates_dict(audit),
        "shortcuts": audit.shortcuts.to_dict(),
        "config": audit.config.model_dump(mode="json"),
        "facts_version": audit.version,
        "provenance": {**provenance, "seconds": round(audit.seconds, 1)},
    }


def sentences(audit: Audit) -> list[str]:
    """Return the verdict in plain words, the main sentence first."""
    found = {status: [check for check in audit.checks if check.status == status] for status in _ORDER}
    lead = {
        "stop": "Don't train on these data as they are: a detector could cheat, or its figures would flatter it.",
        "warn": "No check says stop, but look at the warnings before you train.",
        "pass": "Nothing was found by which a detector could cheat.",
    }[audit.status]
    counts = ", ".join(f"{len(checks)} {status}" for status, checks in found.items() if checks)
    unmeasured = sum(not check.measured for check in audit.checks)
    aside = f" ({unmeasured} of them not measured)" if unmeasured else ""
    rest = [f"{len(audit.checks)} checks: {counts}{aside}."]
    if audit.left_out:
        rest.append(f"Not looked at: {', '.join(audit.left_out)}.")
    return [lead, *rest]


def render(audit: Audit, content: Mapping[str, Any], *, pairs: Sequence[Pair]) -> str:
    """Return the page. It loads nothing: pictures are inline, and its content policy forbids any request."""
    parts = _parts(audit.checks)
    facts = {**content["provenance"], "audit hash": audit.audit_hash, "data hash": content["data"]["content_hash"]}
    return page_environment("veriscope.audit").get_template("audit.html.j2").render(
        audit=audit,
        name=printable(audit.data.name),
        root=printable(content["data"]["root"]),
        counts=audit.data.manifest.class_counts(),
        sentences=sentences(audit),
        urgent=_urgent([check for part in parts for check in part[1]]),
        parts=parts,
        pairs=pairs,
        likeness=audit.config.duplicates.likeness,
        charts=telling_facts(audit, limit=MAX_HISTOGRAMS),
        tables=_tables(audit.integrity.counts),
        problems=[(printable(path), printable(reason)) for path, reason in audit.integrity.problems[:MAX_LISTED]],
        num_problems=len(audit.integrity.problems),
        class_map=CLASS_MAP_TEXT,
        facts=[(key.replace("_", " "), facts[key]) for key in (*_FACTS, "data hash", "audit hash")],
        figure=figure_text,
        limit=limit_text,
    )  # fmt: skip


def part_of(check: Check) -> str:
    """Return what a check is about, in words."""
    family = check.name.partition(".")[0]
    return _TITLES.get(family, family)


def limit_text(value: float, *, status: Status) -> str:
    """Return from which figure on a check has `status`, as `warns at 0.7`."""
    return f"{status}s above 0" if value == 0 else f"{status}s at {figure_text(value)}"


def figure_text(value: float | None) -> str:
    """Return a check's figure as people read it; empty where there is none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _parts(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    """Return the checks by what they are about, the worst first."""
    parts: dict[str, list[Check]] = {title: [] for title in _TITLES.values()}
    for check in sorted(checks, key=lambda check: _ORDER.index(check.status)):
        parts.setdefault(part_of(check), []).append(_shown(check))
    return [(title, found) for title, found in parts.items() if found]


def _shown(check: Check) -> Check:
    """Return the check with names of files and generators escaped: a mark in one could turn the page's text round."""
    examples = tuple(printable(path) for path in check.examples)
    return check.model_copy(update={"name": printable(check.name), "text": printable(check.text), "examples": examples})


def _urgent(checks: Sequence[Check]) -> list[tuple[Check, str | None]]:
    """Return the checks that don't pass, the worst first, and how to mend each; what mends several is said once."""
    shown: list[tuple[Check, str | None]] = []
    for check in sorted(checks, key=lambda check: _ORDER.index(check.status)):
        if check.status != "pass":
            said = any(check.mend == mend for _, mend in shown)
            shown.append((check, None if said else check.mend))
    return shown


def _tables(counts: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """Return (title, rows of name, real, fake) of whatever has more than one name."""
    return [
        (title, [(printable(word), row["real"], row["fake"]) for word, row in list(rows.items())[:MAX_LISTED]])
        for title, rows in counts.items()
        if len(rows) > 1 or title == "problems"
    ]


def _write_csv(file: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([safe_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    write_text(file, text.getvalue())
