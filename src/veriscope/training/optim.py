"""Optimisers and learning-rate schedules by name."""

import math
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from veriscope.config.schema import OptimConfig, PhaseConfig


def monitor_mode(monitor: str) -> str:
    """Return 'min' for a loss, 'max' for everything else."""
    return "min" if monitor.endswith("loss") else "max"


def lr_factor(rule: str, *, times: int) -> float:
    """Return what every learning rate is multiplied by when a step sees `times` batches.

    linear: `times` (Goyal et al. 2017, for SGD); sqrt: its root (Krizhevsky 2014; the usual choice for Adam); none: 1.
    """
    return {"none": 1.0, "linear": float(times), "sqrt": math.sqrt(times)}[rule]


def learning_rates(config: OptimConfig, phase: PhaseConfig, *, factor: float) -> tuple[float, float]:
    """Return the learning rates of backbone and head in `phase`, times `factor`."""
    rate = phase.lr or config.lr
    head = phase.head_lr or (None if phase.lr else config.head_lr) or rate
    return rate * factor, head * factor


def build_optimizer(config: OptimConfig, groups: list[dict[str, Any]]) -> Optimizer:
    """Return the optimiser over `groups`, each with its own lr and weight_decay."""
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, betas=config.betas)


def build_scheduler(
    phase: PhaseConfig, optimizer: Optimizer, *, total_steps: int, total_epochs: int, monitor: str
) -> dict[str, Any] | None:
    """Return Lightning's scheduler dict for one phase; None for a constant learning rate."""
    if phase.lr_schedule == "constant" or (phase.lr_schedule == "one_cycle" and total_steps < 3):
        return None  # a cycle needs a step up and a step down
    if phase.lr_schedule == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        # torch divides by (rising steps - 1).
        rising = max(phase.warmup_fraction, 1.5 / total_steps)
        one_cycle = OneCycleLR(optimizer, max_lr=peaks, total_steps=total_steps, pct_start=rising)
        return {"scheduler": one_cycle, "interval": "step"}
    if phase.lr_schedule == "cosine":
        cosine = CosineAnnealingLR(optimizer, T_max=total_epochs, eta_min=phase.min_lr)
        return {"scheduler": cosine, "interval": "epoch"}
    plateau = ReduceLROnPlateau(
        optimizer,
        mode=monitor_mode(monitor),  # type: ignore[arg-type]
        factor=phase.plateau_factor,
        patience=phase.plateau_patience,
        min_lr=phase.min_lr,
    )
    return {"scheduler": plateau, "interval": "epoch", "monitor": monitor}
