"""Which planted copies of real pictures are found, and which pairs are wrongly called copies. Imports no torch."""

import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.fft import dctn

from veriscope.audit.hashing import as_pictures, picture_hashes
from veriscope.audit.near import components, links_between, near_links
from veriscope.data.decode import IMAGE_SUFFIXES, decode_image
from veriscope.errors import ConfigError

Hashes = npt.NDArray[np.uint8]
Copy = Callable[[Image.Image, np.random.Generator], Image.Image]
RADII = {8: (4, 6, 8, 10, 12, 16), 16: (16, 31, 48, 64, 80)}  # bits a side of a hash: its radii


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def _resized(image: Image.Image, scale: float) -> Image.Image:
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _cropped(image: Image.Image, margins: Any) -> Image.Image:
    left, top, right, bottom = margins
    width, height = image.size
    return image.crop(
        (round(left * width), round(top * height), width - round(right * width), height - round(bottom * height))
    )


def _off_centre(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    left, top = rng.uniform(0, 0.1, 2)
    return _cropped(image, (left, top, 0.1 - left, 0.1 - top))


KINDS: dict[str, Copy] = {
    **{f"JPEG {q}": lambda image, rng, q=q: _jpeg(image, q) for q in (95, 75, 50, 30)},  # type: ignore[misc]
    **{f"resized {s}": lambda image, rng, s=s: _resized(image, s) for s in (1.5, 0.75, 0.5)},  # type: ignore[misc]
    "mirrored": lambda image, rng: _mirrored(image),
    "cropped 2 % a side": lambda image, rng: _cropped(image, [0.02] * 4),
    "cropped 5 % a side": lambda image, rng: _cropped(image, [0.05] * 4),
    "cropped 0 to 5 % a side": lambda image, rng: _cropped(image, rng.uniform(0, 0.05, 4)),
    "resized 0.5, JPEG 50": lambda image, rng: _jpeg(_resized(image, 0.5), 50),
    "mirrored, resized 0.75, JPEG 75": lambda image, rng: _jpeg(_resized(_mirrored(image), 0.75), 75),
    "cropped 0 to 5 %, resized 0.75, JPEG 50": lambda image, rng: _jpeg(
        _resized(_cropped(image, rng.uniform(0, 0.05, 4)), 0.75), 50
    ),
    "mirrored, cropped 0 to 5 %, JPEG 75": lambda image, rng: _jpeg(
        _mirrored(_cropped(image, rng.uniform(0, 0.05, 4))), 75
    ),
    "beyond what is promised: 10 % cut, anywhere": _off_centre,
}


def pictures_below(folder: Path) -> list[Path]:
    """Return the files below a folder that are pictures by extension, sorted.

    Raises:
        ConfigError: there are none.

    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ConfigError(f"'{folder}' holds no pictures; name another --folder.")
    return found


def benchmark_copies(folder: Path, *, num_planted: int, seed: int = 0) -> dict[str, Any]:
    """Return the share of planted copies found, by kind, and the wrong pairs; the same of hashes of bits.

    `num_planted` pictures are drawn, each kind of copy is made of each, and all copies are looked for among all
    pictures below the folder. A pair is right if it leads to the original, or to one that is linked to the original.
    """
    rng = np.random.default_rng(seed)
    pictures = [decode_image(path) for path in pictures_below(folder)]
    started = time.process_time()
    hashes = as_pictures([picture_hashes(picture) for picture in pictures])
    hash_ms = 1000 * (time.process_time() - started) / len(hashes)
    origin = np.sort(rng.choice(len(hashes), min(num_planted, len(hashes)), replace=False))
    made = [
        picture_hashes(np.asarray(copy(Image.fromarray(pictures[row]), rng)))
        for copy in KINDS.values()
        for row in origin
    ]
    copies, truth = as_pictures(made), np.tile(origin, len(KINDS))
    own = near_links(hashes)
    cluster = components(own.first, own.second, len(hashes))
    started = time.process_time()
    links = links_between(copies, hashes)
    seconds = time.process_time() - started
    right = cluster[links.second] == cluster[truth[links.first]]
    found = np.zeros(len(copies), bool)
    found[links.first[right]] = True
    return {
        "pictures": len(hashes),
        "planted": len(copies),
        "hash_ms": round(hash_ms, 3),
        "search_processor_s": round(seconds, 2),
        "too_plain": int(own.plain.sum()),
        "links_in_the_folder": len(own.first),
        "clusters_in_the_folder": int(np.sum(np.bincount(cluster) > 1)),
        "recall": dict(zip(KINDS, found.reshape(len(KINDS), -1).mean(axis=1).round(3).tolist(), strict=True)),
        "reported_pairs": len(links.first),
        "false_pairs": int((~right).sum()),
        "possible_pairs": len(copies) * len(hashes),
        "hashes_of_bits": [_of_bits(hashes, copies, truth, cluster, side) for side in RADII],
    }


def _of_bits(hashes: Hashes, copies: Hashes, truth: npt.NDArray[np.int64], cluster: Any, side: int) -> dict[str, Any]:
    """Return the same of a hash of signs of side x side frequencies, at several radii; both orientations are tried."""
    codes = [_bits(pictures, side) for pictures in (hashes, copies, copies[:, :, ::-1])]
    base, straight, mirrored = (code.astype(np.float32) * 2 - 1 for code in codes)
    width = side * side
    cut = np.array(["cropped" in kind for kind in KINDS])
    promised = np.array(["beyond" not in kind for kind in KINDS])
    rows = []
    distance = np.minimum((width - straight @ base.T) / 2, (width - mirrored @ base.T) / 2)
    same = cluster[truth][:, None] == cluster[None, :]
    for radius in RADII[side]:
        near = distance <= radius
        hit = (near & same).any(axis=1).reshape(len(KINDS), -1).mean(axis=1)
        wrong = int((near & ~same).sum())
        rows.append(
            {
                "radius": radius,
                "least_recall_uncropped": round(float(hit[~cut & promised].min()), 3),
                "least_recall_cropped": round(float(hit[cut].min()), 3),
                "false_pairs": wrong,
                "false_share_of_reported": round(wrong / max(int(near.sum()), 1), 4),
            }
        )
    return {"bits": width, "at": rows}


def _bits(pictures: Hashes, side: int) -> npt.NDArray[np.bool_]:
    """Return (N, side^2): which of the lowest frequencies lie above their median (pHash: Zauner 2010)."""
    low = dctn(pictures.astype(np.float32), axes=(1, 2), norm="ortho")[:, :side, :side].reshape(len(pictures), -1)
    above: npt.NDArray[np.bool_] = low > np.median(low, axis=1, keepdims=True)
    return above
