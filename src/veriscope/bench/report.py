"""`veriscope bench`: the measurements as JSON and as a table."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from veriscope import __version__
from veriscope.bench.copies import benchmark_copies
from veriscope.bench.loader import benchmark_loader
from veriscope.bench.manifest import benchmark_manifest
from veriscope.bench.near import benchmark_near
from veriscope.bench.predict import bench_predict
from veriscope.bench.step import bench_step
from veriscope.bench.timing import SETTINGS
from veriscope.config.schema import BackboneConfig, HeadConfig, ModelConfig
from veriscope.data.scan import scan_folder
from veriscope.data.shards import SHARD_SUFFIX, ShardRules, load_shards
from veriscope.errors import ConfigError
from veriscope.models.precision import native_bf16, resolve_device
from veriscope.types import InputSpec


def run_bench(arguments: argparse.Namespace) -> int:
    """Measure what `arguments.what` names; print JSON on standard output, and of speeds a table on standard error.

    Raises:
        VeriscopeError: unknown backbone, a size that it refuses, a device that is not here, or no folder to load.

    """
    if arguments.what not in ("step", "predict"):
        figures = _bench_data(arguments)
        print(json.dumps({"what": arguments.what, **figures, "veriscope": __version__}, indent=1))
        return 0
    device = resolve_device(arguments.device)
    config = ModelConfig(
        name="bench",
        backbone=BackboneConfig(name=arguments.backbone, pretrained=False),
        head=HeadConfig(name="linear"),
        input=InputSpec(size_px=arguments.size_px),
    )
    bench = bench_step if arguments.what == "step" else bench_predict
    speeds = [
        bench(config, setting, device=device, batch_size=arguments.batch_size, seconds=arguments.seconds)
        for setting in SETTINGS
    ]
    facts = {
        "what": arguments.what,
        "backbone": arguments.backbone,
        "size_px": arguments.size_px,
        "batch_size": arguments.batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "native_bf16": native_bf16(device),
        "torch": torch.__version__,
        "veriscope": __version__,
    }
    print(json.dumps({**facts, "speeds": [dataclasses.asdict(speed) for speed in speeds]}, indent=1))
    table = Table("precision", "memory format", "images/s", box=None)
    for speed in speeds:
        layout = "channels_last" if speed.channels_last else "NCHW"
        table.add_row(speed.precision, layout, f"{speed.images_per_second:.1f}")
    Console(stderr=True).print(table)
    return 0


def _bench_data(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.what == "manifest":
        return benchmark_manifest(arguments.rows)
    if arguments.what == "near":
        return benchmark_near(arguments.rows, folder=arguments.folder)
    if arguments.folder is None:
        raise ConfigError(f"bench {arguments.what} needs pictures: --folder DIR, with class folders as real/ and fake/")
    if arguments.what == "copies":
        return benchmark_copies(arguments.folder, num_planted=arguments.planted)
    spec = InputSpec(size_px=arguments.size_px)
    rules = ShardRules()
    shards = any(file.suffix == SHARD_SUFFIX for file in arguments.folder.glob("*"))
    manifest = (
        load_shards(arguments.folder, rules=rules, cache=Path(".cache"), both_classes=False)
        if shards
        else scan_folder(arguments.folder, both_classes=False)
    )
    return benchmark_loader(
        manifest,
        spec,
        batch_size=arguments.batch_size,
        num_workers=arguments.workers,
        num_batches=arguments.batches,
        window_shards=arguments.window_shards,
    )
