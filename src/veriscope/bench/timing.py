"""The stop-watch of the benchmarks."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a network."""

    precision: Literal["fp32", "bf16"]
    channels_last: bool

    @property
    def torch_format(self) -> torch.memory_format:
        """Torch's word for it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured: `rounds` calls took `seconds`."""

    precision: str
    channels_last: bool
    images_per_second: float
    rounds: int
    seconds: float


SETTINGS = tuple(Setting(precision, last) for precision in ("fp32", "bf16") for last in (False, True))


def measure(
    call: Callable[[], None], setting: Setting, *, device: torch.device, batch_size: int, seconds: float
) -> Speed:
    """Call for about `seconds`, at least twice, after one round to warm up; return the mean speed."""
    call()
    _wait(device)
    start = time.perf_counter()
    rounds = 0
    while rounds < 2 or time.perf_counter() - start < seconds:
        call()
        _wait(device)
        rounds += 1
    spent = time.perf_counter() - start
    return Speed(
        precision=setting.precision,
        channels_last=setting.channels_last,
        images_per_second=rounds * batch_size / spent,
        rounds=rounds,
        seconds=spent,
    )


def _wait(device: torch.device) -> None:
    if device.type == "cuda":  # kernels run on after the call returns
        torch.cuda.synchronize(device)
