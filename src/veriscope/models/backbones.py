"""Backbones by name: our own, and every timm network. The only module that imports timm."""

import inspect
import sys
import typing
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from veriscope.config.schema import BackboneConfig
from veriscope.errors import ModelError, nearest
from veriscope.models import custom_cnn  # noqa: F401  # registers itself
from veriscope.models.features import FeatureExtractor, FeatureShape, feature_shapes
from veriscope.models.registry import BACKBONES, check_options
from veriscope.models.weights import download_guard, load_file

# The name of the papers and of Keras; timm deprecated it in favour of legacy_xception, which is the same network.
ALIASES = {"xception": "legacy_xception"}
SET_HERE = frozenset({"num_classes", "global_pool", "in_chans", "img_size", "dynamic_img_size", "features_only"})


def import_timm() -> ModuleType:
    """Return timm, imported without wandb: timm.utils.summary imports it where it is installed, which costs seconds."""
    if "timm" not in sys.modules and "wandb" not in sys.modules:
        sys.modules["wandb"] = None  # type: ignore[assignment]  # makes `import wandb` an ImportError, which timm catches
        try:
            import timm
        finally:
            del sys.modules["wandb"]
    else:
        import timm
    return typing.cast(ModuleType, timm)


def synchronise_batch_norm(network: nn.Module) -> None:
    """Let the batch norms of `network` take their statistics over all training processes; changes it in place.

    By timm's function: torch's, which Lightning calls, loses the activation inside timm's BatchNormAct2d. Once only.
    """
    import_timm().layers.convert_sync_batchnorm(network)


def check_backbone(config: BackboneConfig) -> None:
    """Check name and options without building the network or touching weights.

    Raises:
        ModelError: unknown name or option (with the nearest), or an option of the wrong type.

    """
    if config.name in BACKBONES:
        check_options(
            BACKBONES[config.name],
            config.options,
            what=f"backbone '{config.name}'",
            place="model.backbone.options",
        )
        return
    timm = import_timm()
    name = ALIASES.get(config.name, config.name)
    if not timm.is_model(name):
        known = [*timm.list_models(), *ALIASES, *BACKBONES]
        hint = nearest(config.name, known)
        if hint.startswith("Known:"):  # a list of 1,300 names helps nobody
            hint = (
                f"Known: {', '.join(BACKBONES)} and timm's names (python -c 'import timm; print(timm.list_models())')."
            )
        raise ModelError(f"model.backbone.name '{config.name}' is unknown. {hint}")
    accepted = _timm_arguments(name)
    for key in config.options:
        if key in SET_HERE:
            raise ModelError(f"model.backbone.options.{key} is set by veriscope itself; remove it.")
        if accepted and key not in accepted:
            hint = nearest(key, accepted.keys() - SET_HERE)
            raise ModelError(f"model.backbone.options.{key} is not an argument of timm's '{name}'. {hint}")


def _timm_arguments(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the constructor's arguments of a timm model; empty where its class takes anything."""
    try:
        cls = typing.get_type_hints(import_timm().model_entrypoint(name)).get("return")
    except (NameError, TypeError):  # an annotation that can't be resolved
        return {}
    if not inspect.isclass(cls) or not issubclass(cls, nn.Module):
        return {}
    parameters = inspect.signature(cls).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return {}
    return parameters


def build_backbone(
    config: BackboneConfig, *, taps: tuple[str | None, ...], size_px: int, load_weights: bool = True
) -> tuple[FeatureExtractor, tuple[FeatureShape, ...]]:
    """Return the feature extractor and the shapes of its maps at the evaluation size, starting weights loaded.

    Raises:
        ModelError: unknown name, option or tap; an input size that the network refuses; weights that can't be had.

    """
    check_backbone(config)
    if config.name in BACKBONES:
        net = BACKBONES[config.name](**config.options)
        extractor = FeatureExtractor(net, taps=taps)
    else:
        download = load_weights and config.pretrained and config.weights is None
        net = _build_timm(config, size_px=size_px, download=download)
        extractor = FeatureExtractor(
            net,
            taps=taps,
            num_prefix_tokens=getattr(net, "num_prefix_tokens", 0),
            channels_last=getattr(net, "output_fmt", "NCHW") == "NHWC",
            opaque_functions=tuple(f for f in import_timm().layers.get_notrace_functions() if callable(f)),
        )
    every_key = frozenset(net.state_dict())
    shapes = feature_shapes(extractor, size_px=size_px)
    if load_weights and config.weights is not None:
        load_file(extractor.net, config.weights, every_key=every_key, convert=_timm_filter(net))
    return extractor, shapes


def _build_timm(config: BackboneConfig, *, size_px: int, download: bool) -> nn.Module:
    """Return a timm network without classifier and pooling."""
    timm = import_timm()
    name = ALIASES.get(config.name, config.name)
    accepted = _timm_arguments(name)
    arguments: dict[str, Any] = dict(config.options)
    if "img_size" in accepted:
        arguments["img_size"] = size_px
    if "dynamic_img_size" in accepted:  # training crops may differ from the evaluation size
        arguments["dynamic_img_size"] = True
    try:
        with download_guard(name, active=download):
            net = timm.create_model(name, pretrained=download, num_classes=0, global_pool="", **arguments)
    except (TypeError, AssertionError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise ModelError(
            f"timm can't build '{name}' at {size_px} px with model.backbone.options={dict(config.options)}: {reason}."
        ) from error
    return typing.cast(nn.Module, net)


def _timm_filter(net: nn.Module) -> Any:
    """Return timm's own conversion of old key names and position embeddings for this family, or None."""
    return getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)


def describe_weights(config: BackboneConfig) -> str:
    """Return in one sentence which weights training starts from, with their licence as far as it is known."""
    if config.weights is not None:
        return f"started from the file {config.weights.name} (its licence is the file's own)"
    if not config.pretrained or config.name in BACKBONES:
        return "started from random weights"
    facts = import_timm().get_pretrained_cfg(ALIASES.get(config.name, config.name))
    if facts is None:
        return "started from timm's pretrained weights (licence unknown)"
    place = facts.hf_hub_id or facts.url or "unknown place"
    full_name = ".".join(part for part in (facts.architecture, facts.tag) if part)
    return f"started from timm's {full_name} ({place}; licence: {facts.license or 'not stated'})"
