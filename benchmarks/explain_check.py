"""What an explanation costs, and whether it finds what is there: `python -m benchmarks.explain_check` from the root."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from tests.helpers.models import model_config
from tests.helpers.patches import PATCH_PX, SIDE_PX, learned, patched

from veriscope.explain.evidence import Evidence, Pixels
from veriscope.explain.grad_cam import grad_cam
from veriscope.explain.occlusion import hidden, occlusion
from veriscope.models.detector import Detector, build_detector
from veriscope.models.registry import HEADS

SEEDS = (0, 1, 2)


def main() -> None:
    """Print the figures of benchmarks/explain.md that need no data set."""
    torch.set_num_threads(1)
    print("pointing game: share of the fakes called fake whose highest place lies in the patch; 100 fakes a network")
    for head in HEADS:
        shares: dict[str, list[float]] = {}
        for seed in SEEDS:
            detector, data = learned(head, seed=seed), patched(200, seed=100 + seed)
            fake = logits(detector, data.images) > 0
            if (fake == data.labels).mean() < 0.9:  # it has nothing to be explained
                print(f"  {head:14} seed {seed} has not learned the task, and is left out")
                continue
            called = fake & (data.labels == 1)
            fakes, corners = data.images[called], data.corners[called]
            for name, method in methods(detector).items():
                shares.setdefault(name, []).append(found(method(fakes), corners))
        print(f"  {head:14}", {name: round(float(np.mean(values)), 3) for name, values in shares.items()})
    print("seconds of processor time a picture, Xception with a linear head, 224 px, one thread")
    detector = build_detector(model_config("xception", "linear", size_px=224)).eval()
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), dtype=np.uint8)
    costs = {
        "a verdict": lambda: logits(detector, image),
        "grad_cam": lambda: grad_cam(detector, image),
        "occlusion": lambda: occlusion(partial(logits, detector), image),
    }
    for name, work in costs.items():
        print(f"  {name:10} {seconds(work, times=1 if name == 'occlusion' else 5):.2f}")


def methods(detector: Detector) -> dict[str, Callable[[Pixels], Evidence]]:
    """Return every method, and occlusion with every fill that was tried."""
    windows = {"window_px": 8, "stride_px": 4}
    ask = partial(logits, detector)
    return {
        "grad_cam": partial(grad_cam, detector),
        "averaged gradient": partial(grad_cam, detector, averaged=True),
        "occlusion": partial(occlusion, ask, **windows, fill=hidden),
        "grey": partial(occlusion, ask, **windows, fill=lambda image: np.full_like(image, 128)),
        "mean colour": partial(occlusion, ask, **windows, fill=mean_colour),
    }


def mean_colour(image_CHW: Pixels) -> Pixels:
    """Return a plain picture of the mean colour."""
    mean_C11 = image_CHW.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(mean_C11, image_CHW.shape))


def logits(detector: Detector, image_BCHW: Pixels) -> np.ndarray:
    """Return logit_B in fp32."""
    with torch.inference_mode():
        return detector(torch.from_numpy(image_BCHW)).numpy()


def found(evidence: Evidence, corners: np.ndarray) -> float:
    """Return the share of pictures whose highest place lies in the patch."""
    hits = []
    for local, (top, left) in zip(evidence.local, corners, strict=True):
        heat = np.asarray(Image.fromarray(local).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        hits.append(top <= y < top + PATCH_PX and left <= x < left + PATCH_PX)
    return float(np.mean(hits))


def seconds(work: Callable[[], object], *, times: int) -> float:
    """Return the processor seconds of one call, the best of `times` after a warm-up."""
    work()
    costs = []
    for _ in range(times):
        start = time.process_time()
        work()
        costs.append(time.process_time() - start)
    return min(costs)


if __name__ == "__main__":
    main()
