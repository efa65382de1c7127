"""The LightningModule: a thin shell around the plain Detector."""

import hashlib
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import binary_accuracy, binary_auroc, binary_average_precision

from veriscope.config.schema import PhaseConfig, RunConfig
from veriscope.errors import RunError
from veriscope.models.detector import Detector, build_detector
from veriscope.training.fsdp import FSDPModule, shard, take_from_rank_0
from veriscope.training.optim import build_optimizer, build_scheduler, learning_rates, lr_factor

WAYS_OUT = "Lower optim.lr, set trainer.gradient_clip_norm, or use trainer.precision=fp32; the last checkpoint is kept"


def detection_loss(logit_B: Tensor, label_B: Tensor, *, class_weights: tuple[float, float], smoothing: float) -> Tensor:
    """Return the weighted binary cross-entropy of each sample, fp32.

    `-w_y * (t log s(z) + (1 - t) log(1 - s(z)))` with target t = y (1 - smoothing) + smoothing / 2; shapes [B].
    """
    target_B = label_B * (1 - smoothing) + smoothing / 2
    weight_B = torch.where(label_B > 0.5, class_weights[1], class_weights[0])
    return weight_B * F.binary_cross_entropy_with_logits(logit_B.float(), target_B, reduction="none")


class DetectionModule(pl.LightningModule):
    """Trains a Detector through one phase.

    Hyperparameters are plain dicts and numbers only: anything else makes a checkpoint that doesn't load.
    """

    def __init__(
        self,
        config: dict[str, Any],
        phase: str,
        class_weights: tuple[float, float] = (1.0, 1.0),
        detector: Detector | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters("config", "phase", "class_weights")
        self._run = RunConfig.model_validate(config, strict=False)
        self._phase: PhaseConfig = self._run.schedule.phases[phase]
        self._class_weights = class_weights
        self._phase_index = list(self._run.schedule.phases).index(phase)
        self.detector = build_detector(self._run.model, load_weights=False) if detector is None else detector
        trainable = self._phase.trainable
        self.detector.set_trainable(self._run.model.backbone.trainable if trainable is None else trainable)
        self.unreadable: dict[str, str] = {}
        self._val_outputs: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Return logit_B, fp32."""
        logit_B: Tensor = self.detector(image_BCHW)
        return logit_B

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reseed: a step's dropout depends on (seed, phase, epoch, step, rank) alone, so a resumed run repeats it.

        Each step, not each epoch: a resumed loop draws from torch's generator between the epoch's start and its first
        step, an uninterrupted one doesn't.
        """
        word = f"{self._run.seed}/{self._phase_index}/{self.current_epoch}/{batch_idx}/{self.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(word.encode()).digest()[:7], "big"))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return this rank's part of the mean loss of a global batch: the ranks' mean is the batch's.

        Raises:
            RunError: the loss is not a number; names the batch's files.

        """
        self._note_unreadable(batch["unreadable"])
        logit_B = self(self._to_memory_format(batch["image"]))
        losses_B = detection_loss(
            logit_B, batch["label"], class_weights=self._class_weights, smoothing=self._run.loss.label_smoothing
        )
        # An incomplete last batch is dealt unevenly, and filled up with copies that don't count.
        num_here, num_everywhere = self.trainer.datamodule.share(batch_idx)
        weight = num_here * self.trainer.world_size / num_everywhere
        loss: Tensor = losses_B[: max(num_here, 1)].mean() * weight + self.detector.l2_penalty()
        if not torch.isfinite(loss):
            self._stop_at_bad_loss(float(loss.detach()), batch["index"].tolist())
        self.log(
            "train/loss",
            loss.detach(),
            on_step=True,
            on_epoch=True,
            prog_bar=True,
            batch_size=num_everywhere,
            sync_dist=self.trainer.world_size > 1,
        )
        return loss

    def _stop_at_bad_loss(self, loss: float, indices: list[int]) -> None:
        paths: list[str] = self.trainer.datamodule.train_paths(indices)
        raise RunError(
            f"the loss became {loss} in epoch {self.current_epoch}, step {self.global_step}; the batch held "
            f"{_shown(paths)}. {WAYS_OUT}"
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Keep the logits of a batch until the epoch's end."""
        self._note_unreadable(batch["unreadable"])
        logit_B = self(self._to_memory_format(batch["image"])).float()
        readable_B = torch.tensor([not reason for reason in batch["unreadable"]], device=logit_B.device)
        self._val_outputs.append((batch["index"], batch["label"], logit_B, readable_B))

    def on_validation_epoch_end(self) -> None:
        """Log the figures of the whole of val, each image once, the same on every rank."""
        parts = [torch.cat(column) for column in zip(*self._val_outputs, strict=True)]
        self._val_outputs.clear()
        if self.trainer.world_size > 1:
            parts = [self.all_gather(part).flatten() for part in parts]
        index_N, label_N, logit_N, readable_N = parts
        # Padding gives some images to two ranks; counted twice they would shift every figure.
        order = torch.argsort(index_N, stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = index_N[order][1:] != index_N[order][:-1]
        keep = order[first & readable_N[order].bool()]
        bad = keep[~torch.isfinite(logit_N[keep])]
        if len(bad):
            self._stop_at_bad_logits(index_N[bad].tolist())
        if not readable_N.all() and label_N[keep].sum() in (0, len(keep)):
            raise RunError("val has no readable picture of one class or both: no epoch can be told from another")
        for name, value in validation_figures(logit_N[keep], label_N[keep]).items():
            self.log(name, value, prog_bar=name == "val/auroc", rank_zero_only=False, sync_dist=False)

    def _stop_at_bad_logits(self, indices: list[int]) -> None:
        paths: list[str] = self.trainer.datamodule.val_paths(indices)
        raise RunError(
            f"after epoch {self.current_epoch} the network answers {len(paths)} of the val pictures with no number; "
            f"they are {_shown(paths)}. {WAYS_OUT}"
        )

    def configure_model(self) -> None:
        """Share the network out among the processes, where the Trainer's strategy brings a mesh of them."""
        if self.device_mesh is not None and not isinstance(self.detector, FSDPModule):
            shard(self.detector, mesh=self.device_mesh["data_parallel"], device=self.trainer.strategy.root_device)

    def on_validation_start(self) -> None:
        """Judge every process's part of val by the same batch-norm statistics, those that ship; DDP does it itself."""
        if isinstance(self.detector, FSDPModule):
            take_from_rank_0(self.detector.buffers())

    def configure_optimizers(self) -> dict[str, Any]:
        """Return the phase's optimiser and scheduler as Lightning wants them."""
        times = self.trainer.world_size * self._run.trainer.accumulate_batches
        factor = lr_factor(self._run.optim.lr_rule, times=times)
        rate, head_rate = learning_rates(self._run.optim, self._phase, factor=factor)
        groups = self.detector.parameter_groups(lr=rate, head_lr=head_rate, weight_decay=self._run.optim.weight_decay)
        optimizer = build_optimizer(self._run.optim, groups)
        scheduler = build_scheduler(
            self._phase,
            optimizer,
            total_steps=int(self.trainer.estimated_stepping_batches),
            total_epochs=int(self.trainer.max_epochs or 1),
            monitor=self._run.callbacks.monitor,
        )
        return {"optimizer": optimizer} if scheduler is None else {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _to_memory_format(self, image_BCHW: Tensor) -> Tensor:
        if self._run.trainer.channels_last:
            return image_BCHW.contiguous(memory_format=torch.channels_last)
        return image_BCHW

    def _note_unreadable(self, reports: list[str]) -> None:
        for report in reports:
            if report:
                path, _, reason = report.partition("\t")
                self.unreadable[path] = reason


def _shown(paths: list[str]) -> str:
    return ", ".join(paths[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")


def validation_figures(logit_N: Tensor, label_N: Tensor) -> dict[str, Tensor]:
    """Return val/loss, val/auroc, val/ap and val/accuracy (at score 0.5) of logits and 0/1 labels, both of shape [N].

    The sigmoid is taken in fp64: in fp32 and below, confident logits collapse to 1 and the ranking with them.
    """
    score_N = torch.sigmoid(logit_N.double())
    label_N = label_N.long()
    return {
        "val/loss": F.binary_cross_entropy_with_logits(logit_N.float(), label_N.float()),
        "val/auroc": binary_auroc(score_N, label_N),
        "val/ap": binary_average_precision(score_N, label_N),
        "val/accuracy": binary_accuracy(score_N, label_N),
    }
