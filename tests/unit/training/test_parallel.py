"""What several processes need, tried in one: sharing a network out, batch norm over all, the sums of a step."""

import copy
from collections.abc import Iterator

import pytest
import torch
from tests.helpers.models import model_config
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from veriscope.config.schema import OptimConfig, PhaseConfig, TrainerConfig
from veriscope.errors import ConfigError
from veriscope.models.backbones import synchronise_batch_norm
from veriscope.models.detector import build_detector
from veriscope.training.fit import check_hardware
from veriscope.training.fsdp import shard
from veriscope.training.optim import learning_rates, lr_factor
from veriscope.training.parallel import check_parallel

CPU = torch.device("cpu")


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize(
    ("backbone", "head", "tap"),
    [
        ("test_resnet", "linear", None),
        ("test_resnet", "linear", "layer2"),
        ("test_convnext", "linear", None),
        ("test_efficientnet", "linear", "blocks.2"),
        ("test_efficientnet", "texture_stats", [None, "blocks.1"]),
        ("test_vit", "linear", None),
        ("test_vit", "linear", "blocks.1"),
        ("xception", "texture", "block3"),
    ],
)
def test_a_shared_out_network_computes_the_same(backbone: str, head: str, tap: str | list[str | None] | None) -> None:
    """A block whose forward isn't called would meet its weights still apart, and torch would say so."""
    whole = build_detector(model_config(backbone, head, tap=tap))
    apart = copy.deepcopy(whole)
    shard(apart, mesh=init_device_mesh("cpu", (1,)), device=CPU)
    assert all(isinstance(parameter, DTensor) for parameter in apart.parameters())
    groups = {type(module).__name__ for module in apart.backbone.net.modules() if hasattr(module, "unshard")}
    assert groups, "at least one block is shared out by itself"
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    for detector in (whole, apart):
        torch.manual_seed(0)  # dropout
        (detector(image).square().mean() + detector.l2_penalty()).backward()
    for name, parameter in apart.named_parameters():
        expected = whole.get_parameter(name).grad
        assert (parameter.grad is None) == (expected is None), name
        if expected is not None:
            torch.testing.assert_close(parameter.grad.full_tensor(), expected)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_efficientnet"])
def test_synchronised_batch_norm_is_the_same_network(backbone: str) -> None:
    """torch's own conversion isn't: it loses the activation that timm's BatchNormAct2d holds."""
    detector = build_detector(model_config(backbone, "linear")).eval()
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before, keys = detector(image), list(detector.state_dict())
        torchs = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(detector))
        assert torch.equal(torchs(image), before) == (backbone == "test_resnet")
        synchronise_batch_norm(detector)
        assert torch.equal(detector(image), before)
    assert list(detector.state_dict()) == keys
    norms = [module for module in detector.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(module, nn.SyncBatchNorm) for module in norms)


@pytest.mark.usefixtures("group")
def test_torch_has_no_synchronised_batch_norm_for_the_cpu() -> None:
    """The day this fails, check_parallel may allow it."""
    with pytest.raises(ValueError, match="expected input tensor to be on GPU"):
        nn.SyncBatchNorm(3)(torch.rand(4, 3, 8, 8))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TrainerConfig(accelerator="cpu", strategy="fsdp"), "this run has one; set trainer.devices=2"),
        (TrainerConfig(accelerator="cpu", strategy="fsdp", devices="auto"), "this run has one; set trainer.devices=2"),
        (TrainerConfig(accelerator="cpu", sync_batchnorm=True, devices=2), "trainer.sync_batchnorm needs GPUs"),
    ],
)
def test_what_can_not_run_here_is_refused(config: TrainerConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_parallel(config)


def test_what_can_run_here_is_not_refused() -> None:
    check_parallel(TrainerConfig(accelerator="cpu", strategy="fsdp", devices=2))
    check_parallel(TrainerConfig(accelerator="cpu", strategy="fsdp", num_nodes=2))
    check_parallel(TrainerConfig(accelerator="cpu", strategy="ddp"))


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match=r"trainer.precision=fp16 needs a GPU; on a CPU take bf16, fp32 or auto"):
        check_hardware(TrainerConfig(accelerator="cpu", precision="fp16"))


def test_learning_rate_rules() -> None:
    assert [lr_factor(rule, times=8) for rule in ("none", "linear", "sqrt")] == [1, 8, pytest.approx(2.828427)]
    assert all(lr_factor(rule, times=1) == 1 for rule in ("none", "linear", "sqrt"))


@pytest.mark.parametrize(
    ("optim_head", "phase_lr", "phase_head", "expected"),
    [
        (None, None, None, (0.2, 0.2)),
        (0.5, None, None, (0.2, 1.0)),
        (0.5, 0.3, None, (0.6, 0.6)),
        (0.5, 0.3, 0.4, (0.6, 0.8)),
        (0.5, None, 0.4, (0.2, 0.8)),
    ],
)
def test_every_learning_rate_is_scaled(
    optim_head: float | None, phase_lr: float | None, phase_head: float | None, expected: tuple[float, float]
) -> None:
    optim = OptimConfig(name="sgd", lr=0.1, head_lr=optim_head)
    phase = PhaseConfig(epochs=1, lr=phase_lr, head_lr=phase_head)
    assert learning_rates(optim, phase, factor=2.0) == pytest.approx(expected)
