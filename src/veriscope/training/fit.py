"""Training from start to bundle, as one straight function."""

import copy
import csv
import io
import logging
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from rich.console import Console

from veriscope.config.schema import CallbacksConfig, RunConfig, TrainerConfig
from veriscope.config.targets import resolve
from veriscope.errors import ConfigError, DataError, RunError
from veriscope.files import whole_or_not_at_all, write_text
from veriscope.models.backbones import synchronise_batch_norm
from veriscope.models.detector import Detector, build_detector
from veriscope.models.precision import resolve_precision
from veriscope.run_folder import PhaseResult, Progress, RunFolder
from veriscope.training.data import DetectionDataModule, TrainingData
from veriscope.training.finish import finish_run
from veriscope.training.history import HistoryCallback
from veriscope.training.launch import num_processes
from veriscope.training.loggers import RunLogger, open_loggers
from veriscope.training.module import DetectionModule
from veriscope.training.optim import monitor_mode
from veriscope.training.parallel import strategy_for


def check_hardware(config: TrainerConfig) -> None:
    """Refuse a precision that the hardware doesn't offer.

    Raises:
        ConfigError: fp16 without a GPU.

    """
    if config.precision == "fp16" and (config.accelerator == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("trainer.precision=fp16 needs a GPU; on a CPU take bf16, fp32 or auto")


def lightning_precision(config: TrainerConfig) -> str:
    """Return Lightning's word for the configured precision; auto is bf16 where the hardware multiplies it natively."""
    if config.precision == "fp16":
        return "16-mixed"
    device = torch.device("cuda" if config.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    return {"fp32": "32-true", "bf16": "bf16-mixed"}[resolve_precision(config.precision, device)]


def extra_callbacks(config: CallbacksConfig) -> list[pl.Callback]:
    """Return the configured third-party callbacks, built.

    Raises:
        ConfigError: one that doesn't exist, is no Lightning callback, or refuses its arguments.

    """
    callbacks = []
    for name, spec in config.extra.items():
        kind, arguments = resolve(spec, key=f"callbacks.extra.{name}")
        if not issubclass(kind, pl.Callback):
            raise ConfigError(f"callbacks.extra.{name}._target_={spec.target!r} is no Lightning callback")
        try:
            callbacks.append(kind(**arguments))
        except (TypeError, ValueError, MisconfigurationException) as error:
            raise ConfigError(f"callbacks.extra.{name}: {error}") from error
    return callbacks


def run_training(config: RunConfig, folder: RunFolder, data: TrainingData) -> None:
    """Train every phase from where `folder` says the run is, then write the bundle and judge it on val.

    Runs once in each training process; rank 0 writes. Exactly repeatable on the CPU: the same configuration, data and
    number of processes give the same weights, resumed or not.

    Raises:
        VeriscopeError: what the user can mend.

    """
    console = Console(stderr=True)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    progress = folder.load_progress() or Progress(data_hash=data.content_hash)
    detector = build_detector(config.model, load_weights=not folder.has_checkpoint)
    if config.trainer.sync_batchnorm:
        synchronise_batch_norm(detector)
    class_weights = data.class_weights if config.loss.class_weight == "balanced" else (1.0, 1.0)
    with open_loggers(config, folder, console=console) as logger:
        for name in config.schedule.phases:
            if name not in progress.phases and _epochs_left(config, progress, name) > 0:
                # FSDP changes a network for good; what ships is read from its checkpoint into the whole one.
                trained = copy.deepcopy(detector) if config.trainer.strategy == "fsdp" else detector
                module = DetectionModule(config.model_dump(mode="json", by_alias=True), name, class_weights, trained)
                progress = _fit_phase(
                    config, folder, data, module, name=name, progress=progress, logger=logger, console=console
                )
            _load_best(detector, folder, name)
        _load_best(detector, folder, _best_phase(config, progress))
        if _global_rank() == 0:
            finish_run(config, folder, data, detector, logger=logger, console=console)
            folder.save_progress(progress.model_copy(update={"complete": True}))


def _epochs_left(config: RunConfig, progress: Progress, phase: str) -> int:
    """Return how many epochs `phase` may train: its own number, capped by what trainer.max_epochs leaves."""
    wanted = config.schedule.phases[phase].epochs
    if config.trainer.max_epochs is None:
        return wanted
    return min(wanted, config.trainer.max_epochs - progress.epochs)


def _fit_phase(
    config: RunConfig,
    folder: RunFolder,
    data: TrainingData,
    module: DetectionModule,
    *,
    name: str,
    progress: Progress,
    logger: RunLogger,
    console: Console,
) -> Progress:
    """Fit one phase, from its last checkpoint where it has one; return the progress with it done."""
    epochs = _epochs_left(config, progress, name)
    best = _checkpoint_callback(config, folder.checkpoints(name))
    planned = progress.epochs + sum(
        min(phase.epochs, epochs) if other == name else phase.epochs
        for other, phase in config.schedule.phases.items()
        if other not in progress.phases
    )
    history = HistoryCallback(
        folder.history,
        phase=name,
        first_epoch=progress.epochs,
        run_epochs=min(planned, config.trainer.max_epochs or planned),
        console=console,
    )
    last = folder.checkpoints(name) / "last.ckpt"
    if last.is_file():
        _refuse_damaged(last, "remove it to begin this phase anew")
    callbacks = [best, LastCheckpoint(last), history, UnreadableCallback(config, folder, data)]
    trainer = _build_trainer(
        config, phase_name=name, epochs=epochs, callbacks=callbacks, logger=logger, console=console
    )
    # What loggers take for the step: curves of a second phase go on where those of the first ended.
    trainer.fit_loop.epoch_loop._batches_that_stepped = progress.steps
    phase_index = list(config.schedule.phases).index(name)
    if trainer.is_global_zero:
        folder.save_progress(progress)
    try:
        trainer.fit(
            module,
            datamodule=DetectionDataModule(config, data, phase_index=phase_index, first_epoch=_epoch_of(last)),
            ckpt_path=str(last) if last.is_file() else None,
            weights_only=True if last.is_file() else None,
        )
    except SystemExit as answer:  # Lightning's to Ctrl-C
        stop = answer.__context__
        raise (stop if isinstance(stop, KeyboardInterrupt) else KeyboardInterrupt()) from None
    except MisconfigurationException as error:
        raise ConfigError(f"Lightning can't train like this: {error}") from error
    figure = float("nan") if best.best_model_score is None else float(best.best_model_score)
    if figure != figure:
        raise RunError(f"phase '{name}' never had a finite {config.callbacks.monitor}; see {folder.history}")
    done = {**progress.phases, name: PhaseResult(epochs=trainer.current_epoch, steps=trainer.global_step, best=figure)}
    progress = progress.model_copy(update={"phases": done})
    if trainer.is_global_zero:
        folder.save_progress(progress)
    return progress


def _checkpoint_callback(config: RunConfig, directory: Path) -> ModelCheckpoint:
    return BestCheckpoint(
        dirpath=directory,
        filename="best",
        monitor=config.callbacks.monitor,
        mode=monitor_mode(config.callbacks.monitor),
        save_top_k=1,
        enable_version_counter=False,
    )


def _build_trainer(
    config: RunConfig, *, phase_name: str, epochs: int, callbacks: list[Any], logger: RunLogger, console: Console
) -> pl.Trainer:
    """Return the Trainer of one phase."""
    phase = config.schedule.phases[phase_name]
    monitor = config.callbacks.monitor
    if phase.early_stopping is not None:
        callbacks.append(EarlyStopping(monitor, mode=monitor_mode(monitor), patience=phase.early_stopping))
    if config.callbacks.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=config.callbacks.ema_decay))
    callbacks += extra_callbacks(config.callbacks)
    if config.trainer.progress and console.is_terminal:
        callbacks.append(RichProgressBar(leave=False))
    # Lightning's messages and its advice on worker counts are about its own defaults, not about this run.
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    # Depthwise kernels are the same bytes in both orders; DDP only says that it copies them.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    wanted = config.trainer
    trainer = pl.Trainer(
        accelerator=wanted.accelerator,
        devices=num_processes(wanted),
        num_nodes=wanted.num_nodes,
        strategy=strategy_for(wanted),
        precision=lightning_precision(wanted),
        max_epochs=epochs,
        limit_train_batches=wanted.limit_train_batches,
        limit_val_batches=wanted.limit_val_batches,
        gradient_clip_val=wanted.gradient_clip_norm,
        accumulate_grad_batches=wanted.accumulate_batches,
        use_distributed_sampler=False,  # DetectionDataModule shards by itself, and tells padding from images
        num_sanity_val_steps=0,
        callbacks=callbacks,
        logger=logger.lightning,
        enable_progress_bar=config.trainer.progress and console.is_terminal,
        enable_model_summary=False,
        # Said, not found out: SLURM's and torchrun's variables are none of a run's business.
        plugins=[WholeCheckpoints(), LightningEnvironment()],
        log_every_n_steps=10,
        deterministic="warn",
    )
    # Lightning would wait for the end of the step, and hang where other processes have gone.
    trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer


def _best_phase(config: RunConfig, progress: Progress) -> str:
    """Return the phase whose best checkpoint ships: a later phase may have made it worse. Of equals the latest."""
    sign = 1 if monitor_mode(config.callbacks.monitor) == "max" else -1
    names = [name for name in config.schedule.phases if name in progress.phases]
    return max(names, key=lambda name: (sign * progress.phases[name].best, names.index(name)))


def _load_best(detector: Detector, folder: RunFolder, phase: str) -> None:
    """Put the weights of the phase's best checkpoint into `detector`, where the phase has trained."""
    file = folder.checkpoints(phase) / "best.ckpt"
    if not file.is_file():
        return
    _refuse_damaged(file, "start a new run")
    state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "detector."
    detector.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})


def _epoch_of(checkpoint: Path) -> int:
    """Return the epoch that a run goes on with from this checkpoint; 0 where there is none."""
    if not checkpoint.is_file():
        return 0
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["epoch"])


def _refuse_damaged(checkpoint: Path, way_out: str) -> None:
    if not zipfile.is_zipfile(checkpoint):  # torch's format; a cut one lacks the directory at its end
        raise RunError(f"the checkpoint '{checkpoint}' is damaged; {way_out}")


def _global_rank() -> int:
    return (
        torch.distributed.get_rank() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
    )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all: Lightning writes elsewhere and copies, which a full disk cuts."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`."""
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_or_not_at_all(file) as temporary:
            torch.save(checkpoint, temporary)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best epoch, of equals the latest: an easy val gives an AUROC of 1 long before training is done."""

    def check_monitor_top_k(self, trainer: pl.Trainer, current: torch.Tensor | None = None) -> bool:
        """Return whether this epoch is at least as good as the kept one."""
        if current is not None and self.best_model_score is not None and bool(current == self.best_model_score):
            return True  # the same on every rank: val is judged whole on each
        return bool(super().check_monitor_top_k(trainer, current))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best epoch so far; Lightning forgets it where the run folder lies elsewhere than before."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        kept = {here(path): figure for path, figure in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": kept, "dirpath": self.dirpath})


class LastCheckpoint(pl.Callback):
    """Saves last.ckpt as each epoch but the first begins: the one moment at which a checkpoint holds everything.

    ModelCheckpoint(save_last=True) writes only when the monitored figure got better, and before the schedulers have
    stepped; a run resumed from there is not the uninterrupted one.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        # A resumed Trainer takes its first epoch for the rest of an old one, and keeps its schedulers from stepping.
        # Here an epoch always begins anew.
        trainer.fit_loop.restarting = False
        trainer.fit_loop.epoch_loop.reset_restart_stage()
        if trainer.current_epoch > 0:
            trainer.save_checkpoint(self._file)


class UnreadableCallback(pl.Callback):
    """Lists the images that can't be read in unreadable.csv, and stops when there are too many."""

    def __init__(self, config: RunConfig, folder: RunFolder, data: TrainingData) -> None:
        self._limit = config.data.max_unreadable
        self._file = folder.path / "unreadable.csv"
        self._num_images = len(data.train) + len(data.val)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop as soon as this rank alone has seen too many."""
        if any(batch["unreadable"]):
            self._check(dict(pl_module.unreadable))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the ranks' lists together and write them."""
        found = dict(pl_module.unreadable)
        if trainer.world_size > 1:
            shares: list[dict[str, str]] = [{} for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(shares, found)
            found = {path: reason for share in shares for path, reason in share.items()}
        if found and trainer.is_global_zero:
            self._write(found)
        self._check(found)

    def _write(self, found: dict[str, str]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "reason"])
        writer.writerows(sorted(found.items()))
        write_text(self._file, text.getvalue())

    def _check(self, found: dict[str, str]) -> None:
        if len(found) > self._limit * self._num_images:
            self._write(found)
            path, reason = next(iter(found.items()))
            raise DataError(
                f"{len(found)} of {self._num_images} images can't be read, more than "
                f"data.max_unreadable={self._limit:.0%}; "
                f"the first: {path} ({reason}); all in {self._file}"
            )
