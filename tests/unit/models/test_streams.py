"""What the backbone is shown."""

import pytest
import torch
from scipy.ndimage import uniform_filter
from tests.helpers.models import model_config

from veriscope.models.detector import build_detector
from veriscope.models.streams import residual, rgb


def test_the_residual_is_the_picture_less_its_local_mean() -> None:
    image = torch.rand(2, 3, 9, 11)
    local = uniform_filter(image.double().numpy(), size=(1, 1, 3, 3), mode="mirror")
    expected = 0.5 + 4 * (image.double() - torch.from_numpy(local))
    assert torch.allclose(residual(image).double(), expected, atol=1e-5)


def test_brightness_and_gradients_leave_no_residual() -> None:
    ramp = torch.linspace(0.2, 0.8, 16).repeat(1, 3, 16, 1)
    inside = residual(ramp)[..., 1:-1, 1:-1]
    assert torch.allclose(inside, torch.full_like(inside, 0.5), atol=1e-5)
    assert rgb(ramp) is ramp


def test_the_stream_reaches_the_logit() -> None:
    flat = torch.full((1, 3, 64, 64), 0.3), torch.full((1, 3, 64, 64), 0.7)
    plain = build_detector(model_config()).eval()
    stream = build_detector(model_config().model_copy(update={"stream": "residual"})).eval()
    with torch.no_grad():
        assert float(plain(flat[0])) != pytest.approx(float(plain(flat[1])), abs=1e-4)
        assert float(stream(flat[0])) == pytest.approx(float(stream(flat[1])), abs=1e-5)
