"""Every model file, built whole and at its own size: the networks that users train, not small stand-ins."""

import copy

import pytest
import torch
from hydra import compose, initialize_config_dir

from veriscope.config.load import CONF_DIR, to_plain, validate
from veriscope.config.schema import RunConfig
from veriscope.models.detector import Detector, build_detector

MODELS = sorted(file.stem for file in (CONF_DIR / "model").glob("*.yaml"))


def build(name: str) -> Detector:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        words = [f"model={name}", "++model.backbone.pretrained=false", "++model.backbone.weights=null"]
        plain = to_plain(compose("train", words))
    plain.pop("resume")
    torch.manual_seed(0)
    return build_detector(validate(RunConfig, plain).model)


@pytest.mark.parametrize("name", MODELS)
def test_one_step_moves_what_trains_and_nothing_else(name: str) -> None:
    detector = build(name).train()
    side = detector.config.input.size_px
    before = copy.deepcopy(detector.state_dict())
    trainable = {key for key, parameter in detector.named_parameters() if parameter.requires_grad}
    generator = torch.Generator().manual_seed(1)
    image_BCHW = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=generator)
    # A dropout of half the units may leave a weight without a gradient in one draw of two pictures.
    for module in detector.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.Adam(detector.parameter_groups(lr=1e-3, head_lr=1e-3, weight_decay=0.0))
    logit_B = detector(image_BCHW)
    torch.nn.functional.binary_cross_entropy_with_logits(logit_B, torch.tensor([0.0, 1.0])).backward()
    unreached = [key for key, value in detector.named_parameters() if value.requires_grad and value.grad is None]
    assert unreached == []
    optimizer.step()
    after = detector.state_dict()
    moved = {key for key in after if not torch.equal(after[key], before[key])}
    statistics = {key for key in moved if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved - statistics <= trainable
    assert moved & trainable  # not all: a residual branch that starts at zero passes nothing on in its first step
    frozen = {key.rpartition(".")[0] for key, value in detector.named_parameters() if not value.requires_grad}
    assert not {key.rpartition(".")[0] for key in statistics} & frozen, "frozen batch norm keeps its statistics"


def test_xception_texture_trains_its_last_ten_layers_only() -> None:
    detector = build("xception_texture")
    trained = {key.removeprefix("net.") for key, value in detector.backbone.named_parameters() if value.requires_grad}
    last = ("block12.skip", "block12.skipbn", "conv3", "bn3", "conv4", "bn4")
    assert {name for name in last if any(key.startswith(f"{name}.") for key in trained)} == set(last)
    assert all(key.startswith(tuple(f"{name}." for name in last)) for key in trained)
