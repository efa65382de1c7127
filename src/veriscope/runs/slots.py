"""Who gets which GPU: every run its own, so that runs side by side don't share one."""

import os
from collections.abc import Sequence

from veriscope.config.schema import RunConfig, TrainerConfig
from veriscope.errors import ConfigError


def slots_for(runs: Sequence[RunConfig], *, workers: int | None, key: str) -> list[dict[str, str]]:
    """Return places that are big enough for the largest of `runs`; a run may be a cross-validation with workers of its
    own. See `slots`.

    Raises:
        ConfigError: no GPU, or more workers than the GPUs allow; `key` names the setting.

    """
    on_gpu = [run for run in runs if run.trainer.accelerator != "cpu"]
    if not on_gpu:
        return slots(runs[0].trainer, workers=workers, key=key)
    whole = next((run.trainer for run in on_gpu if run.trainer.devices == "auto"), None)
    if whole is not None:
        return slots(whole, workers=workers, key=key)
    sizes = [_times(run) * run.trainer.devices for run in on_gpu if isinstance(run.trainer.devices, int)]
    return slots(on_gpu[0].trainer.model_copy(update={"devices": max(sizes)}), workers=workers, key=key)


def _times(run: RunConfig) -> int:
    return (run.crossval.workers or 1) if run.split.all_folds else 1


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
