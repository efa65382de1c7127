"""The run's own record: one row an epoch in history.csv, one line an epoch on the terminal."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from veriscope.errors import RunError
from veriscope.files import write_text
from veriscope.progress import say

COLUMNS = (
    "epoch", "phase", "train/loss", "val/loss", "val/auroc", "val/ap", "val/accuracy", "lr", "seconds", "images_per_s",
)  # fmt: skip


def read_history(file: Path) -> list[dict[str, str]]:
    """Return the rows of history.csv; empty where there is none.

    Raises:
        RunError: the file has other columns.

    """
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise RunError(f"'{file}' is damaged: it lacks its columns; put it back, or start a new run")
        return list(reader)


class HistoryCallback(pl.Callback):
    """Writes history.csv whole after every epoch and prints a line with an estimate of the time left."""

    def __init__(self, file: Path, *, phase: str, first_epoch: int, run_epochs: int, console: Console) -> None:
        self._file = file
        self._phase = phase
        self._first_epoch = first_epoch
        self._run_epochs = run_epochs
        self._console = console
        self._rows: list[dict[str, Any]] = []
        self._started = 0.0
        self._images = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; on the first epoch drop rows that a resumed run will write again."""
        if not self._rows:
            kept = self._first_epoch + trainer.current_epoch
            self._rows = [row for row in read_history(self._file) if int(row["epoch"]) < kept]
        self._started = time.perf_counter()
        self._images = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count images."""
        self._images += len(batch["label"]) * trainer.world_size

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the training clock: images_per_s counts training only."""
        self._train_seconds = time.perf_counter() - self._started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row."""
        # On every rank: reading the train loss brings the ranks' parts together.
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        seconds = time.perf_counter() - self._started
        epoch = self._first_epoch + trainer.current_epoch
        row: dict[str, Any] = {
            "epoch": epoch,
            "phase": self._phase,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round(seconds, 2),
            "images_per_s": round(self._images / max(self._train_seconds, 1e-9), 2),
            "train/loss": figures.get("train/loss_epoch", figures.get("train/loss")),
            **{name: figures.get(name) for name in COLUMNS if name.startswith("val/")},
        }
        self._rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._file, text.getvalue())
        left_s = seconds * (self._run_epochs - epoch - 1)
        parts = [
            f"epoch {epoch + 1}/{self._run_epochs} ({self._phase})",
            f"train loss {row['train/loss']:.4f}",
            f"val loss {row['val/loss']:.4f}",
            f"val AUROC {row['val/auroc']:.4f}",
            f"val accuracy {row['val/accuracy']:.3f}",
            f"{row['images_per_s']:.1f} images/s",
            _minutes(seconds) + (f", at most {_minutes(left_s)} left" if left_s > 0 else ""),
        ]
        say(self._console, "  ".join(parts))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
