"""A detector whose weights, gradients and optimiser state are shared out among the processes (torch's FSDP2)."""

import warnings
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, fx, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from veriscope.models.detector import Detector

__all__ = ["FSDPModule", "shard", "take_from_rank_0"]


def shard(detector: Detector, *, mesh: DeviceMesh, device: torch.device) -> None:
    """Give every process of `mesh` its share of the weights, which are rank 0's; changes the detector in place.

    A process has one block of the backbone whole at a time: while it computes.
    """
    # Its logits are a view; nobody changes them in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
    detector.to(device)
    take_from_rank_0([*detector.parameters(), *detector.buffers()])
    for block in list(_blocks(detector.backbone.net)):
        fully_shard(block, mesh=mesh)
    fully_shard(detector, mesh=mesh)


def take_from_rank_0(tensors: Iterable[Tensor]) -> None:
    """Overwrite the tensors with rank 0's."""
    for tensor in tensors:
        torch.distributed.broadcast(tensor.detach(), src=0)


def _blocks(net: nn.Module) -> Iterator[nn.Module]:
    """Yield modules with weights that the network calls as a whole: only a call brings the weights together."""
    if isinstance(net, fx.GraphModule):  # cut at a tap: its graph says what is called
        called = {str(node.target) for node in net.graph.nodes if node.op == "call_module"}
        candidates = [net.get_submodule(name) for name in sorted(called)]
    else:
        lists = [child for child in net.children() if isinstance(child, nn.Sequential | nn.ModuleList)]
        candidates = [block for blocks in lists for block in blocks]
    for module in dict.fromkeys(candidates):
        if any(True for _ in module.parameters()):
            yield module
