"""Who gets which GPU: every run its own, so that runs side by side don't share one."""

import os

from veriscope.config.schema import TrainerConfig
from veriscope.errors import ConfigError


def slots(trainer: TrainerConfig, *, workers: int | None, key: str) -> list[dict[str, str]]:
    """Return for each place to run in what its run adds to the environment.

    Each run has `trainer.devices` GPUs for itself; `workers` None takes as many places as that gives. Without GPUs
    there is one place, or `workers`, among which the cores are shared out.

    Raises:
        ConfigError: no GPU, or more workers than the GPUs allow; `key` names the setting.

    """
    gpus = [] if trainer.accelerator == "cpu" else visible_gpus()
    if not gpus and trainer.accelerator == "gpu":
        raise ConfigError("trainer.accelerator=gpu, but torch sees no GPU here; auto takes what is there")
    if not gpus:
        places = workers or 1
        if places == 1:
            return [{}]
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // places))
        return [{"OMP_NUM_THREADS": threads} for _ in range(places)]
    each = len(gpus) if trainer.devices == "auto" else trainer.devices
    places = len(gpus) // each
    if places == 0:
        raise ConfigError(f"trainer.devices={each}, but this machine has {len(gpus)} GPUs")
    if workers is not None and workers > places:
        raise ConfigError(f"{key}={workers}, but {len(gpus)} GPUs are enough for {places} runs of {each} side by side")
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[place * each : (place + 1) * each])}
        for place in range(workers or places)
    ]


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES takes them."""
    import torch  # late: a sweep on the CPU needs none of it

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(number) for number in range(count)] if not named else named.split(",")[:count]
