"""Where curves and results go beside the run folder: W&B or TensorBoard. The only module that knows wandb."""

import contextlib
import netrc
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from veriscope.config.schema import LoggerConfig, RunConfig
from veriscope.errors import ConfigError
from veriscope.progress import say
from veriscope.run_folder import RunFolder

WANDB_HOST = "api.wandb.ai"
INIT_TIMEOUT_S = 45.0
REACH_TIMEOUT_S = 3.0


@dataclass
class RunLogger:
    """The loggers of one run. `lightning` is what the Trainer takes; `wandb_run` is None unless W&B records the run."""

    lightning: list[Any] = field(default_factory=list)
    wandb_run: Any = None

    def log_result(
        self, figures: dict[str, float | None], pictures: dict[str, Path], *, bundle: Path, notices: tuple[str, ...]
    ) -> None:
        """Record the final figures and what has to be said of them, pictures (name to PNG) and the bundle."""
        if self.wandb_run is None:
            return
        import wandb

        self.wandb_run.summary.update({name: value for name, value in figures.items() if value is not None})
        if notices:
            self.wandb_run.notes = self.wandb_run.summary["notice"] = " ".join(notices)
        self.wandb_run.log({name: wandb.Image(str(file)) for name, file in pictures.items()})
        artifact = wandb.Artifact(f"bundle-{self.wandb_run.id}", type="model")
        artifact.add_dir(str(bundle))
        self.wandb_run.log_artifact(artifact)


@contextlib.contextmanager
def open_loggers(config: RunConfig, folder: RunFolder, *, console: Console) -> Iterator[RunLogger]:
    """Yield the run's loggers and close them whatever happens; a W&B run that failed is marked as failed."""
    logger = RunLogger()
    if os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0":
        if config.logger.name == "tensorboard":
            logger.lightning.append(_tensorboard(folder))
        if config.logger.name == "wandb":
            _add_wandb(logger, config, folder, console)
    exit_code = 1
    try:
        yield logger
        exit_code = 0
    finally:
        if logger.wandb_run is not None:
            logger.wandb_run.finish(exit_code=exit_code)
        for one in logger.lightning:
            one.finalize("success" if exit_code == 0 else "failed")


def _tensorboard(folder: RunFolder) -> Any:
    from pytorch_lightning.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(save_dir=str(folder.path), name="tensorboard", version="")
    except ModuleNotFoundError:
        raise ConfigError("logger=tensorboard needs the tensorboard package: pip install tensorboard") from None


def _add_wandb(logger: RunLogger, config: RunConfig, folder: RunFolder, console: Console) -> None:
    import wandb
    from pytorch_lightning.loggers import WandbLogger

    offline, reason = wandb_offline(config.logger)
    # A resumed run goes on under its old id instead of starting a second one.
    id_file = folder.path / "wandb_id.txt"
    run_id = id_file.read_text(encoding="utf-8") if id_file.is_file() else secrets.token_hex(4)
    id_file.write_text(run_id, encoding="utf-8")
    run = wandb.init(
        project=config.logger.project,
        entity=config.logger.entity,
        group=config.logger.group,
        job_type=config.logger.job_type,
        tags=list(config.logger.tags),
        name=folder.path.name,
        id=run_id,
        resume="allow",
        dir=str(folder.path),
        mode="offline" if offline else "online",
        config=config.model_dump(mode="json", by_alias=True),
        settings=wandb.Settings(silent=True, console="off", init_timeout=INIT_TIMEOUT_S),
    )
    logger.wandb_run = run
    logger.lightning.append(WandbLogger(experiment=run))
    if offline:
        place = Path(run.dir).parent
        say(console, f"W&B records offline ({reason}); later: wandb sync {place}")
    else:
        say(console, f"W&B: {run.url}")


def wandb_offline(config: LoggerConfig) -> tuple[bool, str]:
    """Return whether W&B has to record offline, and why.

    Raises:
        ConfigError: mode=online without a key.

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
