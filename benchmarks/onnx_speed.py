"""Measure a bundle in torch and in ONNX Runtime on one machine, in one run: `python benchmarks/onnx_speed.py --help`.

Prints a table of images a second and processor seconds a picture, network alone, for each number of threads. Every
setting is a process of its own; rounds go through all settings in turn, so that whatever else runs meets all of them.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median


def one(arguments: argparse.Namespace) -> None:
    """Print images a second and processor seconds a picture of one setting, as JSON, once a line read from stdin."""
    import numpy as np

    from veriscope.bundle import load_bundle

    threads = int(os.environ["OMP_NUM_THREADS"])
    if arguments.path.suffix != ".onnx":
        import torch

        torch.set_num_threads(threads)
    bundle = load_bundle(arguments.path)
    network = bundle.network(device="cpu", precision=arguments.precision)
    side = bundle.input.size_px
    image_BCHW = np.random.default_rng(0).integers(0, 256, (arguments.batch_size, 3, side, side), dtype=np.uint8)
    network.answer(image_BCHW, describe=False)
    for _ in sys.stdin:
        count, wall, processor = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - wall < arguments.seconds:
            network.answer(image_BCHW, describe=False)
            count += arguments.batch_size
        took = time.perf_counter() - wall
        print(json.dumps([count / took, (time.process_time() - processor) / count]), flush=True)


def main() -> None:
    """Measure all settings in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path, nargs="+", help="bundle folder, and its exported .onnx files")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto", help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        arguments.path = arguments.path[0]
        one(arguments)
        return
    print("| | threads | images/s | processor s a picture |\n|---|---|---|---|")
    for threads in arguments.threads:
        settings = [
            (f"{path.name}, {precision}", path, precision)
            for path in arguments.path
            for precision in (("fp32", "bf16") if path.is_dir() else ("auto",))
        ]
        workers = {name: _start(arguments, path, precision, threads) for name, path, precision in settings}
        found: dict[str, list[list[float]]] = {name: [] for name in workers}
        for _ in range(arguments.rounds):
            for name, worker in workers.items():
                worker.stdin.write("go\n")
                worker.stdin.flush()
                found[name].append(json.loads(worker.stdout.readline()))
        for name, worker in workers.items():
            worker.stdin.close()
            worker.wait()
            speeds, costs = zip(*found[name], strict=True)
            speed = f"{median(speeds):.1f} ({min(speeds):.1f} to {max(speeds):.1f})"
            print(f"| {name} | {threads} | {speed} | {median(costs):.3f} |")


def _start(arguments: argparse.Namespace, path: Path, precision: str, threads: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, __file__, str(path), "--worker", "--precision", precision),
            *("--batch-size", str(arguments.batch_size), "--seconds", str(arguments.seconds)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )


if __name__ == "__main__":
    main()
