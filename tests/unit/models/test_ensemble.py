"""The Ensemble is the mean of its members' logits, each on its own scale."""

import math

import pytest
import torch
from tests.helpers.models import model_config

from veriscope.models.detector import Detector, build_detector
from veriscope.models.ensemble import Ensemble


def member(seed: int, **changes: object) -> Detector:
    torch.manual_seed(seed)
    return build_detector(model_config(size_px=32, **changes)).eval()


def test_the_logit_is_the_mean_of_scaled_logits() -> None:
    members, temperatures = [member(seed, flip_average=True) for seed in range(3)], [0.5, 1.0, 4.0]
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        answer = Ensemble(members, temperatures=temperatures).eval()(images)
        each = [network(images).tolist() for network in members]
    by_hand = [(each[0][i] / 0.5 + each[1][i] / 1.0 + each[2][i] / 4.0) / 3 for i in range(5)]
    assert answer.shape == (5,)
    assert torch.allclose(answer, torch.tensor(by_hand), atol=1e-5)
    assert len({round(logit, 3) for logit in by_hand}) == 5, "the pictures must differ for the order to show"


def test_logits_stay_fp32_under_autocast() -> None:
    ensemble = Ensemble([member(0), member(1)], temperatures=[1.0, 2.0]).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert ensemble(torch.rand(2, 3, 32, 32)).dtype == torch.float32


def test_a_broken_member_is_not_averaged_away() -> None:
    broken = member(0)
    with torch.no_grad():
        broken.classifier.bias.fill_(math.nan)
        answer = Ensemble([broken, member(1)], temperatures=[1.0, 1.0]).eval()(torch.rand(2, 3, 32, 32))
    assert torch.isnan(answer).all()


def test_it_speaks_for_its_members() -> None:
    members = [member(0), member(1)]
    ensemble = Ensemble(members, temperatures=[1.0, 2.0])
    assert ensemble.config == members[0].config
    assert ensemble.num_parameters == 2 * members[0].num_parameters


@pytest.mark.parametrize(
    ("seeds", "temperatures", "words"),
    [((0,), [1.0], "1 members"), ((0, 1), [1.0], "2 members with 1"), ((0, 1), [1.0, 0.0], "above 0, not 0")],
)
def test_what_is_no_ensemble_is_refused(seeds: tuple[int, ...], temperatures: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Ensemble([member(seed) for seed in seeds], temperatures=temperatures)


def test_members_see_the_same() -> None:
    other = build_detector(model_config(size_px=64))
    with pytest.raises(ValueError, match="same input"):
        Ensemble([member(0), other], temperatures=[1.0, 1.0])
