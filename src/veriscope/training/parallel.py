"""How many pictures a step sees in all, and what several processes need beside a Trainer."""

from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.strategies import ModelParallelStrategy

from veriscope.config.schema import RunConfig, TrainerConfig
from veriscope.errors import ConfigError
from veriscope.training.launch import num_processes
from veriscope.training.optim import learning_rates, lr_factor


@dataclass(frozen=True, slots=True)
class Scale:
    """What one step of the optimiser sees: batch_size images of each process, accumulated so many times."""

    batch_size: int
    processes: int
    accumulated: int

    @property
    def effective_batch_size(self) -> int:
        """Images a step of the optimiser."""
        return self.batch_size * self.processes * self.accumulated

    @property
    def times(self) -> int:
        """Batches a step of the optimiser."""
        return self.processes * self.accumulated


def scale_of(config: RunConfig) -> Scale:
    """Return the scale at which this machine, and others like it, will train."""
    processes = num_processes(config.trainer) * config.trainer.num_nodes
    return Scale(config.data.batch_size, processes, config.trainer.accumulate_batches)


def describe_scale(config: RunConfig, scale: Scale) -> str:
    """Return a line as `effective batch 64 = 32 a process x 2 processes x 1 accumulated; learning rate 0.001`."""
    factor = lr_factor(config.optim.lr_rule, times=scale.times)
    rates = {}
    for name, phase in config.schedule.phases.items():
        rate, head = learning_rates(config.optim, phase, factor=factor)
        rates[name] = f"{rate:.3g}" + (f" (head {head:.3g})" if head != rate else "")
    same = len(set(rates.values())) == 1
    said = next(iter(rates.values())) if same else ", ".join(f"{rate} in {name}" for name, rate in rates.items())
    return (
        f"effective batch {scale.effective_batch_size} = {scale.batch_size} a process x {scale.processes} "
        f"process{'es' if scale.processes > 1 else ''} x {scale.accumulated} accumulated; learning rate {said}"
        + (f", {factor:.3g} times the configured (optim.lr_rule={config.optim.lr_rule})" if factor != 1 else "")
    )


def scale_facts(config: RunConfig, scale: Scale) -> dict[str, Any]:
    """Return what provenance.json says of the scale."""
    return {
        "nodes": config.trainer.num_nodes,
        "processes": scale.processes,
        "effective_batch_size": scale.effective_batch_size,
        "lr_factor": lr_factor(config.optim.lr_rule, times=scale.times),
    }


def check_parallel(config: TrainerConfig) -> None:
    """Refuse what the number of processes or the hardware doesn't allow.

    Raises:
        ConfigError: fsdp in one process, batch norm synchronised without GPUs.

    """
    processes = num_processes(config) * config.num_nodes
    if config.strategy == "fsdp" and processes == 1:
        raise ConfigError(
            "trainer.strategy=fsdp shares the network out among processes, and this run has one; set "
            "trainer.devices=2 or more, or trainer.strategy=auto"
        )
    if config.sync_batchnorm and (config.accelerator == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("trainer.sync_batchnorm needs GPUs: torch has no synchronised batch norm for the CPU")


def strategy_for(config: TrainerConfig) -> Any:
    """Return Lightning's strategy for the configured number of processes."""
    processes = num_processes(config) * config.num_nodes
    if processes == 1:
        return "auto"
    if config.strategy == "fsdp":
        # One whole file a checkpoint, as with every other strategy: any number of processes can read it.
        return ModelParallelStrategy(
            data_parallel_size=processes, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    return "ddp"
