"""What reading frames of a video costs: jumping between keyframes against decoding through, and the memory of hours.

    python benchmarks/video_check.py WORK_FOLDER [SECONDS_OF_CLIP]

Run from the repository's root: the clips are those of the tests' helper, of a picture that is panned over.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from veriscope.data import video as reader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.helpers.clips import make_clip

RATE = 30
WAYS = {"through": 1e9, "as shipped": reader.SEEK_COST_S, "always jump": -1e9}
READ = """
import resource, sys
from pathlib import Path
from veriscope.data.video import sample_frames
found = [frame.time_s for frame in sample_frames(Path(sys.argv[1]))]
print(len(found), round(found[-1]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def panned(height: int, width: int, *, gop: int, seconds: int, path: Path) -> Path:
    """Write a clip of a textured picture that is panned over, once."""
    if not path.exists():
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (height // 8 + 25, width // 8 + 75, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((width + 600, height + 200), Image.Resampling.BICUBIC)
        scene = np.asarray(large).astype(np.int16) + rng.integers(-6, 7, (height + 200, width + 600, 3), dtype=np.int16)
        texture = np.clip(scene, 0, 255).astype(np.uint8)
        path.write_bytes(
            make_clip(
                seconds * RATE,
                size=(width, height),
                rate=RATE,
                gop=gop,
                options={"preset": "veryfast", "crf": "23"},
                picture=lambda i: np.ascontiguousarray(texture[i % 200 :, i % 600 :][:height, :width]),
            )
        )
    return path


def speeds(folder: Path, seconds: int) -> None:
    """Print processor and clock seconds for each clip, interval and way of reading."""
    print("| frame | keyframe every | sampled every | way | frames | jumps | processor s | s | frames/processor s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for height, width in ((720, 1280), (1080, 1920)):
        for gop in (RATE, 250):
            path = panned(height, width, gop=gop, seconds=seconds, path=folder / f"{height}_{gop}_{seconds}.mp4")
            for every_s in (0.5, 2.0, 5.0):
                for way, cost_s in WAYS.items():
                    reader.SEEK_COST_S = cost_s
                    used, clock = time.process_time(), time.monotonic()
                    with reader.open_video(path, threads=1) as video:
                        num = sum(1 for _ in video.sample(every_s=every_s))
                        jumps = video.num_seeks
                    used, clock = time.process_time() - used, time.monotonic() - clock
                    print(
                        f"| {height}p | {gop / RATE:.1f} s | {every_s:g} s | {way} | {num} | {jumps} | {used:.2f} "
                        f"| {clock:.2f} | {num / used:.0f} |",
                        flush=True,
                    )


def memory(folder: Path) -> None:
    """Print the highest memory of a process that reads 200 frames of minutes and of hours."""
    for name, count, gap_s in (("3 min, 25 frames/s", 4_500, 0.04), ("3 h, 25 frames/s", 270_000, 0.04),
                               ("3 h, one frame in 10 s", 1_080, 10.0)):  # fmt: skip
        for form in ("mp4", "matroska"):
            path = folder / f"{count}.{form}"
            if not path.exists():
                times_s = [number * gap_s for number in range(count)]
                path.write_bytes(make_clip(
                    count, times_s=times_s, form=form, codec="mpeg4", gop=100, size=(32, 32),
                    picture=lambda i: np.full((32, 32, 3), i % 200, dtype=np.uint8),
                ))  # fmt: skip
            clock = time.monotonic()
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            out = subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=True).stdout
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            frames, last_s, peak = out.split()
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{name}, {form}, {path.stat().st_size / 1e6:.1f} MB: {frames} frames, the last at {last_s} s; "
                  f"peak {peak} MiB, {used:.2f} processor s, {time.monotonic() - clock:.1f} s", flush=True)  # fmt: skip


if __name__ == "__main__":
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    memory(work)
    speeds(work, int(sys.argv[2]) if len(sys.argv) > 2 else 20)
