"""Starting weights of a backbone: from a local safetensors file, or through timm's download with clear failures."""

import logging
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor, nn

from veriscope.errors import ModelError

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
# Counters of older checkpoints that no result depends on.
NON_ESSENTIAL = ("num_batches_tracked",)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        ModelError: missing, a pickle or another format, or damaged.

    """
    if not path.is_file():
        raise ModelError(f"model.backbone.weights={path}: there is no such file.")
    if path.suffix != ".safetensors":
        raise ModelError(
            f"model.backbone.weights={path}: only .safetensors files are read, since a pickle can run code. "
            "Convert it: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'FILE.safetensors')."
        )
    try:
        return dict(load_safetensors(path, device="cpu"))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"model.backbone.weights={path} is damaged or no safetensors file ({error}).") from error


def load_file(
    net: nn.Module,
    path: Path,
    *,
    every_key: frozenset[str],
    convert: Callable[[dict[str, Tensor], nn.Module], Mapping[str, Tensor]] | None = None,
) -> None:
    """Load a safetensors file into the backbone; half-precision tensors become the network's own type.

    Args:
        net: the backbone, possibly cut off behind a tap.
        path: the file, with the network's own key names.
        every_key: keys of the whole, uncut backbone: those in the file that `net` no longer holds are expected.
        convert: timm's conversion of old names and position embeddings, tried when the keys or shapes don't fit.

    Raises:
        ModelError: unreadable file; keys of the backbone that the file lacks, or of another shape, by name.
            Further keys of the file (a classifier) are listed in a warning.

    """
    tensors: Mapping[str, Tensor] = read_safetensors(path)
    own = net.state_dict()
    missing, misfits = _compare(own, tensors)
    if (missing or misfits) and convert is not None:
        converted = _converted(tensors, net, convert)
        if converted is not None:
            tensors = converted
            missing, misfits = _compare(own, tensors)
    if missing or misfits:
        parts = []
        if missing:
            parts.append(f"{len(missing)} of {len(own)} tensors are missing: {_some(missing)}")
        if misfits:
            parts.append(f"{len(misfits)} have another shape: {_some(misfits)}")
        strange = sorted(set(tensors) - every_key)
        if strange:
            parts.append(f"{len(strange)} belong to no part of it: {_some(strange)}")
        raise ModelError(f"model.backbone.weights={path} does not fit the backbone: {'; '.join(parts)}.")
    net.load_state_dict({key: tensors[key].to(own[key].dtype) for key in own if key in tensors}, strict=False)
    pruned = (set(tensors) & every_key) - set(own)
    unexpected = sorted(set(tensors) - every_key)
    log.info("%s: %d tensors loaded, %d of the unused part left out.", path.name, len(own), len(pruned))
    if unexpected:
        log.warning(
            "%s: %d tensors belong to no part of the backbone (a classifier?) and were not loaded: %s.",
            path.name,
            len(unexpected),
            ", ".join(unexpected),
        )


def _compare(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Return the backbone's keys that are missing, and those of another shape as `key (file's, own)`."""
    missing = [key for key in own if key not in tensors and not key.endswith(NON_ESSENTIAL)]
    misfits = [
        f"{key} {tuple(tensors[key].shape)}, not {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    return missing, misfits


def _converted(
    tensors: Mapping[str, Tensor], net: nn.Module, convert: Callable[[dict[str, Tensor], nn.Module], Any]
) -> Mapping[str, Tensor] | None:
    """Return timm's conversion of the tensors, or None where it can't make sense of them."""
    try:
        result = convert({key: value.float() for key, value in tensors.items()}, net)
    except (KeyError, AttributeError, RuntimeError, ValueError, TypeError, IndexError):
        return None
    return result if isinstance(result, Mapping) else None


def _some(names: Iterable[str], limit: int = 5) -> str:
    listed = list(names)
    rest = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + rest


@contextmanager
def download_guard(name: str, *, active: bool) -> Iterator[None]:
    """Run timm's download inside; without a network it fails within seconds, in one line that names both ways out.

    Left alone, huggingface_hub retries an unreachable host for 47 s, and torch.hub waits as long as TCP does. Files
    that are already in their caches load without a network.

    Raises:
        ModelError: in place of whatever the download raised.

    """
    if not active:
        yield
        return
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    was_offline, old_timeout = constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    constants.HF_HUB_OFFLINE = was_offline or not host_answers(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    socket.setdefaulttimeout(2 * CONNECT_SECONDS)
    try:
        yield
    except (OSError, HfHubHTTPError) as error:
        reason = "no way to the download" if constants.HF_HUB_OFFLINE else (str(error).split("\n")[0] or "no answer")
        raise ModelError(_ways_out(name, reason)) from error
    except RuntimeError as error:
        if "pretrained" not in str(error).lower():
            raise
        raise ModelError(_ways_out(name, "timm has none for it")) from error
    finally:
        constants.HF_HUB_OFFLINE = was_offline
        socket.setdefaulttimeout(old_timeout)


def _ways_out(name: str, reason: str) -> str:
    return (
        f"No pretrained weights for '{name}' ({reason}). Name a local file: model.backbone.weights=FILE.safetensors, "
        "or start from random weights: model.backbone.pretrained=false."
    )


def host_answers(url: str, *, seconds: float = CONNECT_SECONDS) -> bool:
    """Return whether a TCP connection to the URL's host, or to the proxy set for it, opens within `seconds`."""
    target = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and target.hostname and not urllib.request.proxy_bypass(target.hostname):
        target = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        with socket.create_connection((target.hostname or "", port), timeout=seconds):
            return True
    except OSError:
        return False


def count_parameters(parameters: Iterable[torch.nn.Parameter]) -> int:
    """Return the number of scalar parameters."""
    return sum(p.numel() for p in parameters)
