"""Learning-rate schedules do what their names say, for any number of steps."""

import math

import pytest
import torch

from veriscope.config.schema import OptimConfig, PhaseConfig
from veriscope.training.optim import build_optimizer, build_scheduler, monitor_mode


def rates(phase: PhaseConfig, *, steps: int, metrics: list[float] | None = None) -> list[float]:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(OptimConfig(name="sgd", lr=1.0), [{"params": [parameter], "lr": 1.0}])
    found = build_scheduler(phase, optimizer, total_steps=steps, total_epochs=steps, monitor="val/loss")
    seen = []
    for step in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if found is not None:
            found["scheduler"].step(*([metrics[step]] if metrics else []))
    return seen


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 100])
def test_one_cycle_rises_once_and_falls_for_any_number_of_steps(steps: int) -> None:
    seen = rates(PhaseConfig(epochs=1, lr_schedule="one_cycle", warmup_fraction=0.25), steps=steps)
    assert all(math.isfinite(rate) and 0 < rate <= 1.0 + 1e-9 for rate in seen)
    top = seen.index(max(seen))
    assert seen[:top] == sorted(seen[:top])
    assert seen[top:] == sorted(seen[top:], reverse=True)
    if steps == 100:
        assert top == 24
        assert max(seen) == pytest.approx(1.0, abs=1e-3)


def test_cosine_goes_half_way_at_half_time() -> None:
    seen = rates(PhaseConfig(epochs=1, lr_schedule="cosine", min_lr=0.2), steps=10)
    assert seen[0] == 1.0
    assert seen[5] == pytest.approx(0.6)


def test_plateau_waits_its_patience_then_cuts_and_stops_at_the_lowest() -> None:
    phase = PhaseConfig(epochs=1, lr_schedule="plateau", plateau_factor=0.1, plateau_patience=1, min_lr=0.05)
    seen = rates(phase, steps=7, metrics=[1.0] * 7)
    assert seen == pytest.approx([1.0, 1.0, 1.0, 0.1, 0.1, 0.05, 0.05])


def test_constant_has_no_scheduler_and_losses_are_minimised() -> None:
    assert rates(PhaseConfig(epochs=1), steps=3) == [1.0, 1.0, 1.0]
    assert (monitor_mode("val/loss"), monitor_mode("val/auroc")) == ("min", "max")


@pytest.mark.parametrize(("name", "kind"), [("sgd", "SGD"), ("adam", "Adam"), ("adamw", "AdamW")])
def test_optimisers_by_name(name: str, kind: str) -> None:
    config = OptimConfig(name=name, lr=0.1, momentum=0.7, betas=(0.8, 0.9))
    optimizer = build_optimizer(config, [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1}])
    assert type(optimizer).__name__ == kind
    assert optimizer.param_groups[0].get("momentum", 0.7) == 0.7
    assert optimizer.param_groups[0].get("betas", (0.8, 0.9)) == (0.8, 0.9)
