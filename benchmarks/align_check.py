"""What `veriscope align` hides from a model that looks for compression and scaling: AUROC of one that has no content.

Both classes are the same photographs, so that only the files' history can tell them apart. The model is a gradient
boosting on the histogram of 8 x 8 DCT coefficients, of blockiness at each of 8 phases, and on the spectrum of the
residual; AUROC by 5-fold cross-validation, a photograph's two versions always in one fold.

    python benchmarks/align_check.py FOLDER_OF_PHOTOGRAPHS WORK_FOLDER [CASE_NUMBER...]
"""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from veriscope.data.decode import decode_image
from veriscope.data.readers import read_manifest_file

Save = Callable[[Image.Image, Path], object]
NUM_PHOTOS = 400


def drawn(name: str, low: int, high: int) -> int:
    """Return a quality for a photograph, the same each time."""
    return low + int(hashlib.md5(name.encode()).hexdigest(), 16) % (high - low + 1)


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """Return the photograph at another size: shrunk, it loses what its own file left in the pixels."""
    return image.resize((side, side), Image.Resampling.LANCZOS)


# Name: how a "fake" is saved, how a "real" one, and what align is told.
CASES: dict[str, tuple[Save, Save, list[str]]] = {
    "PNG against JPEG of quality 60 to 95": (
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".png")),
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".jpg"), quality=drawn(path.stem, 60, 95)),
        [],
    ),
    "JPEG of quality 95 against 75": (
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".jpg"), quality=95),
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".jpg"), quality=75),
        [],
    ),
    "JPEG 4:4:4 against 4:2:0, both of quality 90": (
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".jpg"), quality=90, subsampling="4:4:4"),
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".jpg"), quality=90, subsampling="4:2:0"),
        [],
    ),
    "PNG of 128 px against PNG of 160 px, --size resize": (
        lambda image, path: shrunk(image, 128).save(path.with_suffix(".png")),
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".png")),
        ["--size", "resize"],
    ),
    "the same, --size crop": (
        lambda image, path: shrunk(image, 128).save(path.with_suffix(".png")),
        lambda image, path: shrunk(image, 160).save(path.with_suffix(".png")),
        ["--size", "crop"],
    ),
}


def features(image_HWC: np.ndarray) -> np.ndarray:
    """Return what compression and scaling leave in the pixels, (90,)."""
    luma = image_HWC @ np.array([0.299, 0.587, 0.114])
    chroma = image_HWC @ np.array([-0.169, -0.331, 0.5])
    height, width = (side // 8 * 8 for side in luma.shape)
    found: list[float] = []
    for plane in (luma, chroma):
        blocks = plane[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
        coefficients = np.abs(dctn(blocks, axes=(1, 2), norm="ortho"))
        for row, column in ((0, 1), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7)):
            values = coefficients[:, row, column]
            found += [float((values < level).mean()) for level in (0.5, 1.5, 4.0)]
        steps = np.abs(np.diff(plane, axis=1)).mean(axis=0)
        found += [float(steps[phase::8].mean() / steps.mean()) for phase in range(8)]
        residual = plane - (np.roll(plane, 1, 1) + np.roll(plane, -1, 1)) / 2
        spectrum = np.abs(np.fft.rfft(residual, axis=1)).mean(axis=0)
        bands = np.array_split(spectrum[1:], 13)
        found += [float(np.log(band.mean() + 1e-6)) for band in bands]
    return np.array(found)


def auroc(paths: list[Path], labels: list[int], groups: list[str]) -> float:
    """Return the cross-validated AUROC of a model on `features`."""
    table = np.stack([features(decode_image(path)) for path in paths])
    model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    score = cross_val_predict(model, table, labels, groups=groups, cv=GroupKFold(5), method="predict_proba", n_jobs=1)[
        :, 1
    ]
    return float(roc_auc_score(labels, score))


def last_encoding_only(paths: list[Path], folder: Path) -> list[Path]:
    """Return the same pictures saved once more, in one format: what a conversion without a history does."""
    folder.mkdir()
    made = []
    for number, path in enumerate(paths):
        made.append(folder / f"{number}.jpg")
        quality = drawn(path.stem, 60, 95)
        Image.fromarray(decode_image(path)).save(made[-1], quality=quality, subsampling="4:2:0")
    return made


def main() -> None:
    """Measure every case."""
    photos, work = sorted(Path(sys.argv[1]).glob("*.jpg"))[:NUM_PHOTOS], Path(sys.argv[2])
    wanted = [int(word) for word in sys.argv[3:]]
    for number, (name, (save_fake, save_real, options)) in enumerate(CASES.items()):
        if wanted and number not in wanted:
            continue
        data, out = work / f"{number}", work / f"{number}_aligned"
        for label, save in (("real", save_real), ("fake", save_fake)):
            (data / label).mkdir(parents=True)
            for photo in photos:
                save(Image.open(photo).convert("RGB"), data / label / photo.stem)
        command = [sys.executable, "-m", "veriscope.cli", "align", str(data), str(out), *options]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        before = [path for label in ("real", "fake") for path in sorted((data / label).iterdir())]
        labels = [int(path.parent.name == "fake") for path in before]
        plain = last_encoding_only(before, work / f"{number}_plain")
        manifest = read_manifest_file(out / "manifest.csv")
        after = [manifest.absolute_path(row) for row in range(len(manifest))]
        figures = [
            auroc(before, labels, [path.stem for path in before]),
            auroc(plain, labels, [path.stem for path in before]),
            auroc(after, manifest.labels.tolist(), [path.stem for path in after]),
        ]
        print(f"{name}: {' '.join(f'{figure:.3f}' for figure in figures)}", flush=True)


if __name__ == "__main__":
    main()
