"""`veriscope bench step|predict`: the measurements as JSON and as a table."""

import argparse
import dataclasses
import json

import torch
from rich.console import Console
from rich.table import Table

from veriscope import __version__
from veriscope.bench.predict import bench_predict
from veriscope.bench.step import bench_step
from veriscope.bench.timing import SETTINGS
from veriscope.config.schema import BackboneConfig, HeadConfig, ModelConfig
from veriscope.models.precision import native_bf16, resolve_device
from veriscope.types import InputSpec


def run_bench(arguments: argparse.Namespace) -> int:
    """Measure every setting; print JSON on standard output and a table on standard error.

    Raises:
        VeriscopeError: unknown backbone, a size that it refuses, or a device that is not here.

    """
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
