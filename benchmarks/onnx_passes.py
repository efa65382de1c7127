"""Time and memory of an exported file by the number of pictures in a pass of ONNX Runtime, each in its own process.

python benchmarks/onnx_passes.py FILE.onnx [FILE.onnx ...]
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from veriscope.bundle import load_bundle, onnx_bundle
from veriscope.processes import keep_freed_memory

SIZES = (1, 2, 4, 8, 16, 32)
NUM_PICTURES = 32
ROUNDS = 4


def measure(file: Path, size: int) -> None:
    """Print milliseconds a picture, the best of the rounds, and the most memory that the process had, in MB."""
    keep_freed_memory()
    onnx_bundle.MOST_ON_CPU = size
    network = load_bundle(file).network(device="cpu")
    side = network.input.size_px
    image_BCHW = np.random.default_rng(0).integers(0, 256, (NUM_PICTURES, 3, side, side), dtype=np.uint8)
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        network.answer(image_BCHW, describe=True)
        times.append(time.perf_counter() - began)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{file.name}: passes of {size:2}: {1000 * min(times) / NUM_PICTURES:6.1f} ms a picture, {peak_mb:6.0f} MB")


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        measure(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        for name in sys.argv[1:]:
            for size in SIZES:
                subprocess.run([sys.executable, __file__, "--one", name, str(size)], check=True)
