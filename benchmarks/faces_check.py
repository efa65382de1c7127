"""How many faces are found, what that costs, and what cutting them out does to a detector trained on wholes.

    python -m benchmarks.faces_check BUNDLE DATA_FOLDER found|rvf10k[=NUM_EACH]|gan_faces[=NUM_EACH]|groups[=NUM]...

DATA_FOLDER holds rvf10k/valid/{real,fake} and gan_faces/<generator>. The groups are of rvf10k: four pictures of 256 px
at free places of a larger grey canvas, of which half have one fake.
"""

import io
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from veriscope.bundle.bundle import load_bundle
from veriscope.bundle.scorer import Scorer
from veriscope.data.decode import decode_image
from veriscope.evaluation.metrics import auroc
from veriscope.predict.face_finder import Pixels, YuNet, face_model
from veriscope.predict.faces import FaceCutter, FaceRules, score_groups

MARGINS = (0.0, 0.15, 0.3, 0.5)
SEED = 0
NUM_EACH, NUM_GROUPS = 250, 60
TILE_PX, CANVAS = 256, (1280, 960)


def chosen(folder: Path) -> list[Path]:
    """Return NUM_EACH pictures of a folder and those below it, drawn with the seed."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    picked = np.random.default_rng(SEED).permutation(len(paths))[:NUM_EACH]
    return [paths[place] for place in sorted(picked)]


def samples(data: Path) -> dict[str, tuple[list[Path], list[Path]]]:
    """Return real and fake pictures of the data sets."""
    gan = data / "gan_faces"
    fakes = [path for name in ("began", "pggan", "photoshop", "stargan") for path in chosen(gan / name)]
    drawn = np.random.default_rng(SEED).permutation(len(fakes))[:NUM_EACH]
    rvf = data / "rvf10k" / "valid"
    return {
        "rvf10k": (chosen(rvf / "real"), chosen(rvf / "fake")),
        "gan_faces": (chosen(gan / "real"), [fakes[place] for place in sorted(drawn)]),
    }


def highest(scorer: Scorer, pictures: Iterable[Pixels], cutter: FaceCutter) -> tuple[list[float], list[list[float]]]:
    """Return each picture's logit by its faces (or as a whole, where there is none), and those of its faces."""

    def groups() -> Iterable[tuple[bool, list[Pixels]]]:
        for image_HWC in pictures:
            cut = cutter.cut(image_HWC)
            yield bool(cut.regions), [scorer.prepare(part) for part in cutter.parts(image_HWC, cut)]

    logits, faces = [], []
    for found, answers in score_groups(scorer, groups()):
        own = [scored.logit for scored in answers if scored.logit is not None]
        logits.append(max(own))
        faces.append(own if found else [])
    return logits, faces


def figure(labels: Sequence[int], logits: Sequence[float]) -> str:
    """Return an AUROC to three digits."""
    value = auroc(np.asarray(labels), np.asarray(logits, dtype=np.float64))
    return "none" if value is None else f"{value:.3f}"


def found_and_cost(name: str, real: list[Path], fake: list[Path], finder: YuNet) -> None:
    """Print how many faces the pictures have, and what finding them costs."""
    counts: dict[str, Counter[str]] = {"real": Counter(), "fake": Counter()}
    used = 0.0
    for label, paths in (("real", real), ("fake", fake)):
        for path in paths:
            image_HWC = decode_image(path)
            began = time.process_time()
            faces = len(finder.find(image_HWC))
            used += time.process_time() - began
            counts[label][str(faces) if faces < 2 else "2+"] += 1
    for label, paths in (("real", real), ("fake", fake)):
        shares = " | ".join(f"{counts[label][word] / len(paths):.3f}" for word in ("0", "1", "2+"))
        print(
            f"| {name} | {label} | {len(paths)} | {shares} | {1000 * used / (len(real) + len(fake)):.1f} |", flush=True
        )


def one_by_one(name: str, real: list[Path], fake: list[Path], scorer: Scorer, finder: YuNet) -> None:
    """Print the AUROC of wholes and of faces at each margin."""
    paths, labels = [*real, *fake], [0] * len(real) + [1] * len(fake)
    whole = [scored.logit or 0.0 for scored in scorer.score_paths(paths)]
    cells = [figure(labels, whole)]
    for margin in MARGINS:
        cutter = FaceCutter(finder, FaceRules(margin=margin, min_px=32))
        logits, _ = highest(scorer, (decode_image(path) for path in paths), cutter)
        cells.append(figure(labels, logits))
    print(f"| {name}, {len(real)} + {len(fake)} | {' | '.join(cells)} |", flush=True)


def group(number: int, real: list[Path], fake: list[Path]) -> tuple[Pixels, int, tuple[int, int]]:
    """Return a canvas of four pictures, whether one is fake, and the place (left, top) of that or of the first."""
    rng = np.random.default_rng([SEED, number])
    is_fake = number % 2
    paths = [real[place] for place in rng.permutation(len(real))[:4]]
    if is_fake:
        paths[0] = fake[int(rng.integers(len(fake)))]
    canvas_HWC = np.full((CANVAS[1], CANVAS[0], 3), 127, dtype=np.uint8)
    cells = rng.permutation(12)[:4]  # of four columns and three rows
    places = []
    for path, cell in zip(paths, cells, strict=True):
        left = int(cell) % 4 * 320 + int(rng.integers(0, 320 - TILE_PX + 1))
        top = int(cell) // 4 * 320 + int(rng.integers(0, 320 - TILE_PX + 1))
        canvas_HWC[top : top + TILE_PX, left : left + TILE_PX] = decode_image(path)
        places.append((left, top))
    return canvas_HWC, is_fake, places[0]


def stored(image_HWC: Pixels, form: str) -> Pixels:
    """Return the picture after it was stored in a form."""
    packed = io.BytesIO()
    Image.fromarray(image_HWC).save(packed, *(("JPEG",) if form == "JPEG 92" else ("PNG",)), quality=92)
    return decode_image(packed.getvalue())


def groups(count: int, real: list[Path], fake: list[Path], scorer: Scorer, finder: YuNet) -> None:
    """Print what the whole of a group says, what its faces say, and how often the fake one decides."""
    for form in ("PNG", "JPEG 92"):
        made = [group(number, real, fake) for number in range(count)]
        pictures = [stored(image_HWC, form) for image_HWC, _, _ in made]
        labels = [is_fake for _, is_fake, _ in made]
        whole = [scored.logit or 0.0 for scored in scorer.score_pixels((Path("x"), one) for one in pictures)]
        cells = [figure(labels, whole)]
        shares = []
        for margin in MARGINS:
            cutter = FaceCutter(finder, FaceRules(margin=margin))
            logits, faces = highest(scorer, pictures, cutter)
            cells.append(figure(labels, logits))
            right = 0
            for image_HWC, (_, is_fake, (left, top)), own in zip(pictures, made, faces, strict=True):
                if is_fake and own:
                    region = cutter.cut(image_HWC).regions[int(np.argmax(own))]
                    x, y = region.left + region.width / 2, region.top + region.height / 2
                    right += left <= x < left + TILE_PX and top <= y < top + TILE_PX
            shares.append(f"{right / sum(labels):.2f}")
            faces_found = np.mean([len(own) for own in faces])
        print(f"| {form}, {count} groups | AUROC | {' | '.join(cells)} |")
        print(f"| {form}, {faces_found:.2f} faces found of 4 | fake one decides | | {' | '.join(shares)} |", flush=True)


def main() -> None:
    """Print the tables that are asked for."""
    torch.set_num_threads(1)
    bundle, data, asked = load_bundle(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3:]
    scorer = bundle.scorer(device="cpu", batch_size=16, num_workers=0)
    finder = YuNet(face_model(None))
    print(finder.facts, scorer.network.precision)
    picked = samples(data)
    head = " | ".join(f"margin {margin:g}" for margin in MARGINS)
    for words in asked:
        name, _, count = words.partition("=")
        if name == "found":
            print("| data | class | pictures | no face | one | more | ms a picture |\n|---|---|---|---|---|---|---|")
            for data_name, (real, fake) in picked.items():
                found_and_cost(data_name, real, fake, finder)
        elif name == "groups":
            print(f"| groups | | whole | {head} |\n|---|---|---|---|---|---|---|")
            groups(int(count or NUM_GROUPS), *picked["rvf10k"], scorer, finder)
        else:
            print(f"| data | whole | {head} |\n|---|---|---|---|---|---|")
            some = np.random.default_rng(SEED).permutation(NUM_EACH)[: int(count or NUM_EACH)]
            real, fake = ([paths[place] for place in some] for paths in picked[name])
            one_by_one(name, real, fake, scorer, finder)


if __name__ == "__main__":
    main()
