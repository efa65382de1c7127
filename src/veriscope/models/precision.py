"""Which device, and which number format multiplies fast on it."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from veriscope.errors import ConfigError

Precision = Literal["auto", "fp32", "bf16"]
CPU_INFO = Path("/proc/cpuinfo")


def resolve_device(device: str) -> torch.device:
    """Return the torch device of `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: a device that this machine has not.

    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"device '{device}' is unknown. Known: auto, cpu, cuda, cuda:N.") from None
    if resolved.type not in ("cpu", "cuda"):
        raise ConfigError(f"device '{device}' is not supported. Known: auto, cpu, cuda, cuda:N.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device '{device}' is not here: torch sees {torch.cuda.device_count()} CUDA devices.")
    return resolved


def native_bf16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16 itself.

    CUDA from compute capability 8.0 (Ampere) on; x86 with AVX512-BF16 or AMX-BF16; ARM with the bf16 extension.
    Elsewhere bf16 is emulated: 2 to 3 times slower than fp32 on a CPU with plain AVX-512, 4 times faster with AMX.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type == "cpu" and _cpu_has_bf16(CPU_INFO)


@cache
def _cpu_has_bf16(cpu_info: Path) -> bool:
    """Read the flags from Linux's /proc/cpuinfo; other systems say no, which costs speed only."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    for line in text.splitlines():
        key, _, flags = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())
    return False


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """Return the precision that `auto` means on this device; the others as they are."""
    if precision == "auto":
        return "bf16" if native_bf16(device) else "fp32"
    return precision


def autocast(precision: Literal["fp32", "bf16"], device: torch.device) -> AbstractContextManager[object]:
    """Return the context to run a network in. Weights stay fp32; a Detector's logits do, too."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
