"""What video compression does to a detector of pictures: the same pictures, as they are and as frames of videos.

    python benchmarks/video_compression.py BUNDLE FOLDER_OF_REAL FOLDER_OF_FAKE [PICTURES_OF_EACH [SIDE]]

The pictures are of one size, which stays, or are enlarged to SIDE x SIDE pixels first. Each is shown for one second of
a video of 5 frames a second; one frame of it is judged.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.metrics import roc_auc_score

from veriscope.bundle.bundle import load_bundle
from veriscope.data.decode import decode_image
from veriscope.data.video import sample_frames
from veriscope.predict.judge import Judge

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.clips import Pixels, make_clip

RATE = 5
H264 = {"preset": "medium"}
WAYS = {
    "no video": None,
    "lossless video (FFV1)": {"form": "matroska", "codec": "ffv1", "pixel_format": "bgr0"},
    "H.264, crf 18": {"options": {**H264, "crf": "18"}},
    "H.264, crf 23 (the encoder's default)": {"options": {**H264, "crf": "23"}},
    "H.264, crf 28": {"options": {**H264, "crf": "28"}},
    "H.264, crf 35": {"options": {**H264, "crf": "35"}},
}


def pixels(paths: list[Path], way: str, *, side: int | None) -> Iterator[Pixels]:
    """Yield each picture, enlarged to `side` where it is given, as `way` leaves it."""
    stored = [decode_image(path) for path in paths]
    if side is not None:
        stored = [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in stored]
    how = WAYS[way]
    if how is None:
        yield from stored
        return
    height, width = stored[0].shape[:2]
    clip = make_clip(len(stored) * RATE, rate=RATE, size=(width, height), picture=lambda i: stored[i // RATE], **how)  # type: ignore[arg-type]
    frames = list(sample_frames(clip, every_s=1, max_frames=len(stored)))
    assert len(frames) == len(stored)
    yield from (frame.pixels for frame in frames)


def main() -> None:
    """Print a line of a table for each way."""
    judge = Judge.of(load_bundle(Path(sys.argv[1])))
    scorer = judge.bundle.scorer(calibration=judge.terms.calibration)
    number = int(sys.argv[4]) if len(sys.argv) > 4 else 200
    side = int(sys.argv[5]) if len(sys.argv) > 5 else None
    rng = np.random.default_rng(42)
    chosen = [list(rng.permutation(sorted(Path(folder).iterdir()))[:number]) for folder in sys.argv[2:4]]
    print("| pictures | AUROC | real called fake | fakes called fake | unlike training, real and fake |")
    print("|---|---|---|---|---|")
    for way in WAYS:
        logits, called, strange = [], [], []
        for paths in chosen:
            found = list(
                scorer.score_pixels((path, one) for path, one in zip(paths, pixels(paths, way, side=side), strict=True))
            )
            logits.append([scored.logit for scored in found])
            called.append(np.mean([(scored.score or 0) >= judge.threshold.value for scored in found]))
            strange.append(np.mean([(scored.ood or 0) >= (judge.strange_from or 2) for scored in found]))
        auroc = roc_auc_score([0] * number + [1] * number, [*logits[0], *logits[1]])
        print(
            f"| {way} | {auroc:.3f} | {called[0]:.1%} | {called[1]:.1%} | {strange[0]:.0%}, {strange[1]:.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
