"""The audit that training begins with: cheap by default, and a stop is a stop."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from veriscope.audit.run import Audit, Data, run_audit
from veriscope.bundle.record import AuditFacts
from veriscope.config.command import value_text, word
from veriscope.config.load import compose_run
from veriscope.config.named_data import data_choice
from veriscope.config.schema import RunConfig
from veriscope.data.manifest import Manifest
from veriscope.errors import DataError, RunError, printable
from veriscope.files import write_text
from veriscope.processes import num_cores
from veriscope.progress import say

# Keys of the data that say what is read: who audits anew has to say them, too.
_READ_BY = (
    *("root", "class_map", "splits", "group_column", "source_column"),
    *("image_column", "label_column", "max_pixels"),
)


def audit_before_training(config: RunConfig, manifest: Manifest, *, console: Console) -> AuditFacts | None:
    """Return what the audit of the data came to, `manifest` with the splits that training takes; None: none was asked.

    Labels that were permuted on purpose are not audited.

    Raises:
        DataError: it says stop, and audit.on_stop doesn't say that training goes on.

    """
    wanted = config.audit.before_training
    if wanted == "off" or config.data.shuffle_labels:
        return None
    audit = run_audit(
        Data(config.data.name, manifest, config.data.max_pixels),
        config=config.audit,
        depth="pixels" if wanted == "full" else "headers",
        cache=config.paths.cache,
        workers=num_cores(),
        warn=lambda text: say(console, f"warning: {printable(text)}"),
        shown=config.trainer.progress,
    )
    if audit.status == "stop" and config.audit.on_stop == "refuse":
        raise DataError(_refusal(audit, config))
    for check in audit.checks:
        if check.status != "pass":
            say(console, f"audit, {check.status}: {printable(check.headline)}")
    return AuditFacts(
        status=audit.status,
        depth=audit.depth,
        audit_hash=audit.audit_hash,
        checks={check.name: check.status for check in audit.checks if check.status != "pass"},
    )


def write_facts(file: Path, facts: AuditFacts | None) -> None:
    """Write what an audit came to, for the bundle that training will end with; nothing of none."""
    if facts is not None:
        write_text(file, facts.model_dump_json(indent=2) + "\n")


def read_facts(file: Path) -> AuditFacts | None:
    """Return what `write_facts` wrote; None where it wrote nothing.

    Raises:
        RunError: the file is damaged.

    """
    if not file.is_file():
        return None
    try:
        return AuditFacts.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, ValidationError):
        raise RunError(f"'{file}' is damaged; remove it to go on without, or start a new run") from None


def _refusal(audit: Audit, config: RunConfig) -> str:
    stops = [check for check in audit.checks if check.status == "stop"]
    more = f" (and {len(stops) - 1} more)" if len(stops) > 1 else ""
    mend = f" {stops[0].mend[0].upper()}{stops[0].mend[1:].rstrip('.')}." if stops[0].mend else ""
    return (
        f"the audit of '{audit.data.name}' says stop: {stops[0].headline}{more}.{mend}\n"
        f"`{_command(config)}` shows it all; audit.on_stop=warn trains all the same."
    )


def _command(config: RunConfig) -> str:
    """Return the audit of the same data, as a person types it."""
    data = config.data
    name, choice = data.name, [f"data={data.name}"]
    if name in ("folder", "manifest", "shards"):
        name = str(data.root if data.kind != "manifest" else data.file)
        choice = data_choice(name)
    elif name == "hf":
        name = f"hf:data.file={data.file}"
        choice.append(word("data.file", data.file))
    plain = compose_run(choice).data
    words = [
        f"data.{key}={_typed(getattr(data, key))}" for key in _READ_BY if getattr(data, key) != getattr(plain, key)
    ]
    return shlex.join(["veriscope", "audit", name, *(["--set", *words] if words else [])])


def _typed(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {value_text(str(meaning))}' for name, meaning in value.items())}}}"
    return str(value) if isinstance(value, Path) else value_text(value)
