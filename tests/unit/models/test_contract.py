"""What every backbone with every head must do."""

import copy
from collections.abc import Iterator

import pytest
import torch
from tests.helpers.models import model_config
from torch import nn

from veriscope.models.detector import Detector, build_detector
from veriscope.models.registry import BACKBONES, HEADS

SIZE = 64
# One network of each kind of feature map: BCHW, BHWC, tokens; batch norm, layer norm, none; unused parts (MobileNet).
TAPS = {
    "test_resnet": "layer2",
    "test_efficientnet": "blocks.1",
    "test_convnext": "stages.1",
    "test_mambaout": "stages.1",
    "test_vit": "blocks.1",
    "mobilenetv3_small_050": "blocks.1",
    "custom_cnn": "layers.2",
}
PAIRS = [(backbone, head) for backbone in TAPS for head in HEADS]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    # Networks this small spend their time handing work between threads.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(backbone: str, head: str, **changes: object) -> Detector:
    torch.manual_seed(0)
    tap = [TAPS[backbone], None] if HEADS[head].reads_several else None
    return build_detector(model_config(backbone, head, size_px=SIZE, tap=tap, **changes))


def pictures(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)


def learn(detector: Detector, *, steps: int) -> None:
    optimizer = torch.optim.SGD(detector.parameter_groups(lr=0.1, head_lr=0.1, weight_decay=0.1), momentum=0.9)
    target_B = torch.tensor([0.0, 1.0, 0.0, 1.0])
    detector.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(detector(pictures()), target_B).backward()
        optimizer.step()


def test_the_lists_are_whole() -> None:
    assert set(BACKBONES) <= set(TAPS)
    assert len(PAIRS) == len(TAPS) * len(list(HEADS)) >= 35


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_shapes_and_gradients(backbone: str, head: str) -> None:
    detector = build(backbone, head)
    assert detector.training
    logit_B = detector(pictures())
    assert logit_B.shape == (4,)
    assert logit_B.dtype == torch.float32
    assert logit_B.isfinite().all()
    logit_B.sum().backward()
    unreached = [name for name, p in detector.named_parameters() if p.requires_grad and p.grad is None]
    assert unreached == []
    assert not any(p.grad is not None for p in detector.parameters() if not p.requires_grad)
    for features in detector.features(pictures()):
        assert features.ndim == 4
        assert features.shape[0] == 4


@pytest.mark.parametrize(("backbone", "head"), PAIRS)
def test_state_round_trip_and_equal_inputs(backbone: str, head: str) -> None:
    detector, other = build(backbone, head).eval(), build(backbone, head).eval()
    with torch.no_grad():
        for value in detector.state_dict().values():
            value.add_(1) if value.dtype == torch.int64 else value.mul_(1.01).add_(0.001)
        logit_B = detector(pictures())
        assert not torch.equal(logit_B, other(pictures()))
        other.load_state_dict(detector.state_dict(), strict=True)
        assert torch.equal(logit_B, other(pictures()))
        assert torch.equal(logit_B, detector(pictures().float() / 255)), "uint8 and [0, 1] differ"


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_logits_stay_fp32_under_bf16_autocast(backbone: str, head: str) -> None:
    """Trap 3: the last layer in bf16 leaves 8 bits, and neighbours in the ranking fall together."""
    detector = build(backbone, head).eval()
    vector_BD = torch.randn(512, detector.classifier.in_features)
    detector.head.forward = lambda *maps: vector_BD.bfloat16()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logit_B = detector(pictures())
        rounded_B = nn.functional.linear(vector_BD.bfloat16(), detector.classifier.weight)[:, 0]
    assert logit_B.dtype == torch.float32
    assert rounded_B.dtype == torch.bfloat16
    assert len(logit_B.unique()) > 500, "distinct inputs share a logit"
    assert len(rounded_B.unique()) < 450, "the check would not notice bf16"


@pytest.mark.parametrize("backbone", TAPS)
@pytest.mark.parametrize("trainable", ["none", "one module"])
def test_frozen_stays_bit_equal(backbone: str, trainable: str) -> None:
    detector = build(backbone, "texture")
    top = next(
        name
        for name, module in reversed(list(detector.backbone.net.named_modules()))
        if name and any(True for _ in module.parameters())
    )
    detector.set_trainable("none" if trainable == "none" else (top,))
    before = copy.deepcopy(detector.state_dict())
    learn(detector, steps=2)
    after = detector.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    allowed = "backbone.net." + top + "." if trainable == "one module" else "head."
    assert {n for n in changed if n.startswith("backbone.") and not n.startswith(allowed)} == set()
    assert any(n.startswith("head.") for n in changed)
    assert any(n.startswith("backbone.") for n in changed) == (trainable == "one module")


@pytest.mark.parametrize("backbone", TAPS)
def test_all_trainable_moves_batch_norm_and_everything(backbone: str) -> None:
    detector = build(backbone, "linear")
    before = copy.deepcopy(detector.state_dict())
    learn(detector, steps=2)
    after = detector.state_dict()
    statistics = [name for name in before if name.endswith("running_mean")]
    assert all(not torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "custom_cnn"])
def test_flip_average_is_symmetric_in_evaluation_only(backbone: str) -> None:
    detector = build(backbone, "linear", flip_average=True).eval()
    image, mirrored = pictures(), pictures().flip(-1)
    with torch.no_grad():
        assert torch.equal(detector(image), detector(mirrored))
        detector.flip_average = False
        plain, flipped = detector(image), detector(mirrored)
        assert not torch.equal(plain, flipped)
        detector.flip_average = True
        assert torch.equal(detector(image), (plain + flipped) / 2)
    assert build_detector(model_config("test_resnet", "linear", size_px=SIZE, flip_average=True)).flip_average


@pytest.mark.parametrize("backbone", [name for name in TAPS if name != "custom_cnn"])
def test_other_sizes_than_the_evaluation_size(backbone: str) -> None:
    detector = build(backbone, "linear").eval()
    with torch.no_grad():
        assert detector(torch.rand(2, 3, 96, 96)).shape == (2,)


def test_an_empty_batch_has_no_logits() -> None:
    assert build("test_resnet", "linear").eval()(torch.zeros(0, 3, SIZE, SIZE)).shape == (0,)
