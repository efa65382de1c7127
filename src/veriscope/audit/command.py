"""`veriscope audit` from its arguments to its exit code."""

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from veriscope.audit.report import JSON_NAME, PAIRS_NAME, UNREADABLE_NAME, part_of, sentences, write_audit
from veriscope.audit.run import Audit, Data, run_audit
from veriscope.config.command import key_of, word
from veriscope.config.load import compose_run
from veriscope.config.named_data import data_choice, data_title
from veriscope.config.schema import RunConfig
from veriscope.data.sources import load_manifest
from veriscope.errors import ConfigError, RunError, printable
from veriscope.progress import say
from veriscope.provenance import collect, source_commit
from veriscope.run_folder import new_folder

_SETTABLE = ("data", "audit", "paths")
_OVERRIDE = re.compile(r":(?=[A-Za-z_][\w.]*=)")  # as in the matrix: folder:data.root=DIR
_PATHS = ("data.root", "data.file", "paths.data", "paths.cache", "paths.runs")


def audit_command(arguments: argparse.Namespace) -> int:
    """Do what `veriscope audit` was asked for; return 0 for pass and warn, 1 for stop.

    Raises:
        VeriscopeError: what the user can mend.
        KeyboardInterrupt: Ctrl-C; what was looked at stays in the cache.

    """
    errors = Console(stderr=True)
    _refuse_taken(arguments.output)
    config, data = read_data(arguments.data, words=arguments.set)
    others = [said for said in arguments.set if key_of(said).startswith("paths.")]
    against = None if arguments.against is None else read_data(arguments.against, words=others)[1]
    try:
        audit = run_audit(
            data,
            config=config.audit,
            depth="headers" if arguments.quick else "pixels",
            cache=config.paths.cache,
            workers=arguments.workers,
            against=against,
            warn=lambda text: say(errors, f"warning: {printable(text)}"),
        )
    except KeyboardInterrupt:
        say(errors, "stopped; what was looked at is kept, and the same command goes on from there")
        raise
    folder = arguments.output or _dated(config.paths.runs, data.name)
    facts = collect(seed=config.audit.shortcuts.seed, data_hash=data.manifest.content_hash, commit=source_commit())
    page = write_audit(audit, folder, provenance=facts)
    for line in lines(audit):
        say(Console(), printable(line))
    say(Console(), f"page: {page}")
    say(Console(), f"beside it: {PAIRS_NAME}, {UNREADABLE_NAME}, {JSON_NAME}")
    return 1 if audit.status == "stop" else 0


def lines(audit: Audit) -> list[str]:
    """Return what a person reads in ten seconds: what stops and warns, and how many checks passed."""
    counts = audit.data.manifest.class_counts()
    looked = "looked at" if audit.depth == "pixels" else "read by their headers alone"
    first = (
        f"{audit.data.name}: {len(audit.data.manifest):,} pictures ({counts['real']:,} real, {counts['fake']:,} fake), "
    )
    shown = [f"{first}{looked} in {audit.seconds:.0f} s", f"{audit.status.upper()}: {sentences(audit)[0]}"]
    mends: set[str | None] = set()
    for status in ("stop", "warn"):
        for check in audit.checks:
            if check.status != status:
                continue
            shown.append(f"  {status}  {check.name}: {check.headline}")
            if check.examples and not check.name.startswith("shortcuts."):  # those concern every picture
                more = ", ..." if len(check.examples) > 2 else ""
                shown.append(f"        such as {', '.join(check.examples[:2])}{more}")
            if check.mend is not None and check.mend not in mends:  # what mends several is said once
                shown.append(f"        -> {check.mend[0].upper()}{check.mend[1:]}")
            mends.add(check.mend)
    passed = Counter(part_of(check) for check in audit.checks if check.status == "pass" and check.measured)
    if passed:
        parts = ", ".join(f"{part.lower()} {count}" for part, count in passed.items())
        shown.append(f"  pass  {passed.total()} checks: {parts}")
    unmeasured = [check.name for check in audit.checks if not check.measured and check.status == "pass"]
    if unmeasured:
        shown.append(f"  not measured: {', '.join(unmeasured)}")
    if audit.left_out:
        shown.append(f"  not looked at: {', '.join(audit.left_out)}")
    return shown


def read_data(text: str, *, words: Sequence[str] = ()) -> tuple[RunConfig, Data]:
    """Return the data set that the command line names, and the configuration that it is read and judged by.

    Args:
        text: as config.named_data takes it; further words may stand behind it as `:KEY=VALUE`, as in veriscope matrix.
        words: further `KEY=VALUE` of data, audit and paths.

    Raises:
        ConfigError: a word that is none of theirs, or there is no such data set.
        DataError: it can't be read.

    """
    head, *own = _OVERRIDE.split(text)
    said = [*data_choice(head), *(_typed(one) for one in (*own, *words))]
    config = compose_run(said)
    manifest = load_manifest(config.data, paths_cache=config.paths.cache, both_classes=False)
    return config, Data(data_title(config.data), manifest, config.data.max_pixels)


def _typed(said: str) -> str:
    key, equals, value = said.partition("=")
    if not equals or key_of(said).partition(".")[0] not in _SETTABLE or "." not in key:
        raise ConfigError(
            f"--set {said}: it takes KEY=VALUE of data, audit and paths, as audit.shortcuts.warn_auroc=0.65; quote "
            "what holds a space, as 'data.class_map={ai: fake}'"
        )
    # A path may hold what Hydra's grammar means otherwise.
    return word(key, Path(value).expanduser()) if key in _PATHS else said


def _refuse_taken(folder: Path | None) -> None:
    if folder is not None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"'{folder}' is not empty; choose another --output")


def _dated(runs: Path, name: str) -> Path:
    try:
        return new_folder(runs / "audits", [datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), name])
    except OSError as error:
        raise RunError(f"the audit's folder can't be made: {error}") from None
