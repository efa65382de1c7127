"""W&B: one run in it for each run, fold or trial here, and one for the whole that they belong to."""

import netrc
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from veriscope.config.schema import LoggerConfig
from veriscope.errors import ConfigError
from veriscope.files import write_text
from veriscope.progress import say

WANDB_HOST = "api.wandb.ai"
INIT_TIMEOUT_S = 45.0
REACH_TIMEOUT_S = 3.0
_ID_NAME = "wandb_id.txt"
_EMPTY_BYTES = 7  # a .wandb file with its header alone: `wandb sync` stops at it


@contextmanager
def wandb_run(
    config: LoggerConfig,
    folder: Path,
    *,
    facts: Mapping[str, Any],
    console: Console,
    job_type: str | None = None,
    whole: bool = False,
) -> Iterator[Any]:
    """Yield the W&B run of what lies in `folder`, and close it whatever happens: as failed where an error passes.

    The run keeps its id in the folder, so that what is resumed goes on under it. `facts` is recorded as its
    configuration; `job_type` replaces the configured one; `whole` where the runs that it sums up lie below `folder`.

    Raises:
        ConfigError: logger.mode=online without a key or a network; a W&B agent's run that would have to go offline.

    """
    import wandb

    offline, reason = wandb_offline(config)
    by_agent = bool(os.environ.get("WANDB_SWEEP_ID"))
    if by_agent and offline:
        raise ConfigError(f"a W&B agent started this run, which can't be recorded ({reason}); the agent would wait")
    id_file = folder / _ID_NAME
    known = id_file.is_file()
    if not known and not by_agent:
        write_text(id_file, secrets.token_hex(4))  # before W&B hears of it: after a kill it goes on under the same id
    _drop_empty(folder)
    # A process that shares W&B's background service with the one that started it, as from a notebook or a W&B agent,
    # can't go on with a run under its id when it was killed: the service holds that run until its own end.
    os.environ.pop("WANDB_SERVICE", None)
    run = wandb.init(
        # An agent names its runs' project and id by itself.
        project=None if by_agent else config.project,
        entity=None if by_agent else config.entity,
        id=None if by_agent else id_file.read_text(encoding="utf-8").strip(),
        group=config.group,
        job_type=job_type or config.job_type,
        tags=list(config.tags),
        name=folder.name,
        resume=None if by_agent else "allow",
        dir=str(folder),
        mode="offline" if offline else "online",
        config=dict(facts),
        settings=wandb.Settings(silent=True, console="off", init_timeout=INIT_TIMEOUT_S),
    )
    if known and offline:
        # Without the server a resumed run counts its steps from 0 again, and W&B drops what seems to be the past.
        # Milliseconds since the first start are ahead of any number of logged steps.
        run.log({"resumed": 1}, step=int(1000 * (time.time() - id_file.stat().st_mtime)))
    files = f"{folder}/wandb/offline-run-*" + (f" {folder}/*/wandb/offline-run-*" if whole else "")
    where = f"offline ({reason}); later: wandb sync {files}" if offline else f"at {run.url}"
    say(console, f"W&B records {where}")
    exit_code = 1
    try:
        yield run
        exit_code = 0
    finally:
        run.finish(exit_code=exit_code)


def record_whole(
    config: LoggerConfig,
    folder: Path,
    *,
    job_type: str,
    facts: Mapping[str, Any],
    figures: Mapping[str, float | None],
    pictures: Mapping[str, Path],
    console: Console,
) -> None:
    """Record what many runs came to as one more run of their group: `figures` as its summary, and `pictures`.

    Does nothing unless the logger is W&B. Said twice it is still one run.
    """
    if config.name != "wandb":
        return
    import wandb

    grouped = config.model_copy(update={"group": config.group or folder.name})
    with wandb_run(grouped, folder, facts=facts, console=console, job_type=job_type, whole=True) as run:
        run.summary.update({name: value for name, value in figures.items() if value is not None})
        run.log({name: wandb.Image(str(file)) for name, file in pictures.items() if file.is_file()})


def _drop_empty(folder: Path) -> None:
    """Remove what a run left that was killed before W&B wrote anything."""
    for file in folder.glob("wandb/offline-run-*/run-*.wandb"):
        if file.stat().st_size <= _EMPTY_BYTES:
            shutil.rmtree(file.parent, ignore_errors=True)


def wandb_offline(config: LoggerConfig) -> tuple[bool, str]:
    """Return whether W&B has to record offline, and why.

    Raises:
        ConfigError: mode=online without a key or a network.

    """
    key = bool(os.environ.get("WANDB_API_KEY")) or _netrc_has_key()
    if config.mode == "online":
        if not key:
            raise ConfigError("logger.mode=online needs a W&B key: run 'wandb login', or set WANDB_API_KEY")
        trouble = _unreachable()
        if trouble:
            raise ConfigError(f"logger.mode=online: {trouble}; logger.mode=offline records for a later 'wandb sync'")
        return False, ""
    if config.mode == "offline" or os.environ.get("WANDB_MODE") == "offline":
        return True, "as asked"
    if not key:
        return True, "no key: run 'wandb login', or set WANDB_API_KEY"
    trouble = _unreachable()
    return bool(trouble), trouble


def _unreachable() -> str:
    """Return why W&B's host can't be reached; empty when it can."""
    host = os.environ.get("WANDB_BASE_URL", f"https://{WANDB_HOST}").split("//")[-1].split("/")[0]
    name, _, port = host.partition(":")
    try:
        socket.create_connection((name, int(port or 443)), timeout=REACH_TIMEOUT_S).close()
    except OSError:
        return f"{name} can't be reached"
    return ""


def _netrc_has_key() -> bool:
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
