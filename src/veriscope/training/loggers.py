"""Where curves and results go beside the run folder: W&B or TensorBoard."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from veriscope.config.schema import RunConfig
from veriscope.errors import ConfigError
from veriscope.run_folder import RunFolder
from veriscope.tracking import wandb_run


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
    with contextlib.ExitStack() as stack:
        if os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0":
            if config.logger.name == "tensorboard":
                logger.lightning.append(_tensorboard(folder))
            if config.logger.name == "wandb":
                from pytorch_lightning.loggers import WandbLogger

                facts = config.model_dump(mode="json", by_alias=True)
                logger.wandb_run = stack.enter_context(
                    wandb_run(config.logger, folder.path, facts=facts, console=console)
                )
                logger.lightning.append(WandbLogger(experiment=logger.wandb_run))
        status = "failed"
        try:
            yield logger
            status = "success"
        finally:
            for one in logger.lightning:
                one.finalize(status)


def _tensorboard(folder: RunFolder) -> Any:
    from pytorch_lightning.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(save_dir=str(folder.path), name="tensorboard", version="")
    except ModuleNotFoundError:
        raise ConfigError("logger=tensorboard needs the tensorboard package: pip install tensorboard") from None
