"""Mutated files through the whole application: no 500, no crash, no growing memory.

    python benchmarks/serve_fuzz.py BUNDLE [--files 10000] [--seed 0]

Every file is a sound picture of one of seven formats with flipped bytes, a cut, a piece of another file, a length field
that lies, or several of these. Prints a JSON with the counts of answers and the memory after each tenth.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, features
from starlette.testclient import TestClient

from veriscope.bundle import load_bundle
from veriscope.predict.judge import Judge
from veriscope.serving.app import create_app
from veriscope.serving.settings import Limits

BATCH = 8
FORMATS = {
    "JPEG": {"quality": 85},
    "PNG": {},
    "WEBP": {"quality": 80},
    "GIF": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "AVIF": {"quality": 60},
}


def sound_files() -> list[bytes]:
    """Return pictures of every format and of several modes."""
    rng = np.random.default_rng(0)
    files = []
    for mode, shape in (("RGB", (64, 80, 3)), ("L", (50, 70)), ("RGBA", (40, 40, 4))):
        smooth = np.asarray(
            Image.fromarray(rng.integers(0, 256, (8, 8, 4), dtype=np.uint8)).resize(
                shape[1::-1], Image.Resampling.BICUBIC
            )
        )
        image = Image.fromarray(smooth).convert(mode)
        for name, options in FORMATS.items():
            if name == "AVIF" and not features.check("avif"):
                continue
            buffer = BytesIO()
            fits = image.convert("RGB") if mode == "RGBA" and name in ("JPEG", "BMP") else image
            fits.save(buffer, name, **options)
            files.append(buffer.getvalue())
    return files


def mutate(rng: random.Random, files: list[bytes]) -> bytes:
    """Return one of the files after one to three accidents."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.randint(1, 3)):
        if not data:
            break
        at = rng.randrange(len(data))
        accident = rng.randrange(7)
        if accident == 0:
            for _ in range(rng.choice((1, 1, 4, 32))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif accident == 1:
            del data[at:]
        elif accident == 2:
            other = rng.choice(files)
            data[at:at] = other[: rng.randrange(len(other))]
        elif accident == 3:
            del data[at : at + rng.randrange(1, 64)]
        elif accident == 4:  # where sizes and offsets stand
            start = rng.randrange(min(len(data), 64))
            data[start : start + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\1\0\0"))
        elif accident == 5:
            data[at : at + 16] = rng.randbytes(16)
        else:
            data += data[at:] * rng.randint(1, 3)
    return bytes(data)


def memory_mb() -> float:
    """Return this process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def fuzz(client: TestClient, *, num_files: int, seed: int, at_once: int = BATCH) -> dict[str, object]:
    """Send the files; return the counts of statuses and answers, and the memory after each tenth."""
    rng, files = random.Random(seed), sound_files()
    statuses: Counter[int] = Counter()
    answers: Counter[str] = Counter()
    memory = []
    began = time.perf_counter()
    for sent in range(0, num_files, at_once):
        contents = [mutate(rng, files) for _ in range(min(at_once, num_files - sent))]
        answer = client.post("/v1/predict", files=[("files", ("x", content)) for content in contents])
        statuses[answer.status_code] += 1
        if answer.status_code == 200:
            results = answer.json()["results"]
            assert [result["index"] for result in results] == list(range(len(contents)))
            for result in results:
                assert (result["verdict"] is None) == (result["error"] is not None)
                answers[result["verdict"] or result["error"]["code"]] += 1
        if sent // at_once % max(num_files // at_once // 10, 1) == 0:
            memory.append(round(memory_mb()))
    return {
        "files": num_files,
        "seed": seed,
        "statuses": dict(statuses),
        "answers": dict(answers),
        "memory_mb": memory,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> int:
    """Run it; the exit code is 1 where anything but 200 was answered, or memory grew by more than 50 MB."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    limits = Limits(max_file_bytes=2_000_000, max_pixels=4_000_000, num_workers=2, batch_size=BATCH)
    app = create_app(Judge.of(bundle), bundle.scorer(device="cpu", batch_size=BATCH), limits=limits)
    with TestClient(app, base_url="http://localhost") as client:
        found = fuzz(client, num_files=arguments.files, seed=arguments.seed)
    print(json.dumps(found, indent=1))
    memory = found["memory_mb"]
    flat = max(memory[2:]) - memory[2] < 50
    return 0 if set(found["statuses"]) == {200} and flat else 1


if __name__ == "__main__":
    sys.exit(main())
