"""Model configurations for tests."""

import json

from veriscope.config.schema import ModelConfig


def model_config(
    backbone: str = "test_resnet",
    head: str = "linear",
    *,
    size_px: int = 64,
    tap: object = None,
    flip_average: bool = False,
    mean: float = 0.5,
    std: float = 0.5,
    head_options: dict[str, object] | None = None,
    **backbone_changes: object,
) -> ModelConfig:
    """Return a validated configuration; nothing is downloaded unless pretrained=True is asked for."""
    if backbone == "custom_cnn":
        backbone_changes.setdefault("options", {"channels": [8, 16, 16, 16]})
    plain = {
        "name": "test",
        "backbone": {"name": backbone, "pretrained": False, **backbone_changes},
        "head": {"name": head, "tap": tap, **(head_options or {})},
        "input": {"size_px": size_px, "mean": [mean] * 3, "std": [std] * 3},
        "flip_average": flip_average,
    }
    return ModelConfig.model_validate_json(json.dumps(plain, default=str))
