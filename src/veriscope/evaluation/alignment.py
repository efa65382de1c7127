"""Bringing both classes to one format, size and JPEG history, so that none of these can give the label away."""

import bisect
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.augment.corruptions import central_square, recompress
from veriscope.data.container import ContainerFacts
from veriscope.evaluation.metrics import auroc
from veriscope.types import CLASS_NAMES, FAKE, REAL

Pixels = npt.NDArray[np.uint8]

_NO_JPEG = 101  # ranks a picture without JPEG history above every quality


@dataclass(frozen=True, slots=True)
class AlignmentPlan:
    """What is done to every picture of both classes, the same for both.

    1. A picture that isn't a JPEG gets the history it lacks: a JPEG of a quality drawn from `qualities`.
    2. Its central square is scaled to `side_px` (bilinear, antialiased); one of that size stays untouched.
    3. It is packed as JPEG of a quality drawn from `qualities`, again for every picture.

    `qualities` holds (quality, share): the distribution among the data's JPEGs, each class weighing half. Empty where
    the data holds no JPEG; 1 and 3 are then left out. Draws depend on a picture's pixels and `seed` only.
    """

    side_px: int
    qualities: tuple[tuple[int, float], ...]
    seed: int

    def transform_for(self, facts: ContainerFacts) -> Callable[[Pixels], Pixels]:
        """Return what aligns the picture with these facts, a function from pixels to pixels."""

        def align(image_HWC: Pixels) -> Pixels:
            history, final = self._draw(image_HWC)
            if self.qualities and facts.quality is None:
                image_HWC = recompress(image_HWC, "jpeg", history)
            image_HWC = central_square(image_HWC, self.side_px)
            return recompress(image_HWC, "jpeg", final) if self.qualities else image_HWC

        return align

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as a JSON-able dict."""
        return {"side_px": self.side_px, "jpeg_qualities": dict(self.qualities), "seed": self.seed}

    def _draw(self, image_HWC: Pixels) -> tuple[int, int]:
        if not self.qualities:
            return 0, 0
        packed = hashlib.blake2b(image_HWC.tobytes(), digest_size=16, salt=self.seed.to_bytes(8, "little")).digest()
        steps = list(accumulate(share for _, share in self.qualities))
        places = (int.from_bytes(part, "little") / 2**64 * steps[-1] for part in (packed[:8], packed[8:]))
        first, second = (min(bisect.bisect_right(steps, place), len(steps) - 1) for place in places)
        return self.qualities[first][0], self.qualities[second][0]


def plan_alignment(
    facts: Sequence[ContainerFacts], labels: Sequence[int] | npt.NDArray[Any], *, seed: int
) -> AlignmentPlan:
    """Return the plan that follows from the files of both classes.

    The common side is the median shorter side of the class that has the smaller one: so most pictures shrink, and none
    is enlarged by much, which would leave traces of its own.

    Raises:
        ValueError: no pictures.

    """
    label = np.asarray(labels)
    if not facts:
        raise ValueError("there is nothing to align")
    shorter = np.array([min(fact.width_px, fact.height_px) for fact in facts])
    medians = [float(np.median(shorter[label == cls])) for cls in (REAL, FAKE) if np.any(label == cls)]
    shares: Counter[int] = Counter()
    for cls in (REAL, FAKE):
        known = [
            fact.quality for fact, own in zip(facts, label, strict=True) if own == cls and fact.quality is not None
        ]
        for quality in known:
            shares[quality] += 1 / len(known)  # type: ignore[assignment]  # Counter adds floats as well
    total = sum(shares.values())
    return AlignmentPlan(
        side_px=max(int(min(medians)), 1),
        qualities=tuple((quality, share / total) for quality, share in sorted(shares.items())),
        seed=seed,
    )


def class_differences(facts: Sequence[ContainerFacts], labels: Sequence[int] | npt.NDArray[Any]) -> dict[str, float]:
    """Return how well each fact of a file alone tells the classes apart: name to AUROC, turned so that it is >= 0.5.

    Facts: format (JPEG or not), JPEG quality, shorter side, aspect ratio. Empty where one class is missing.
    """
    columns: Mapping[str, list[float]] = {
        "format": [float(fact.quality is not None) for fact in facts],
        "JPEG quality": [float(_NO_JPEG if fact.quality is None else fact.quality) for fact in facts],
        "size": [float(min(fact.width_px, fact.height_px)) for fact in facts],
        "aspect ratio": [
            max(fact.width_px, fact.height_px) / max(min(fact.width_px, fact.height_px), 1) for fact in facts
        ],
    }
    found = {name: auroc(np.asarray(labels), np.asarray(column)) for name, column in columns.items()}
    return {name: max(area, 1 - area) for name, area in found.items() if area is not None}


def describe_classes(facts: Sequence[ContainerFacts], labels: Sequence[int] | npt.NDArray[Any]) -> dict[str, str]:
    """Return a line a class: formats with counts, median quality, median shorter side."""
    lines = {}
    for cls, name in enumerate(CLASS_NAMES):
        own = [fact for fact, label in zip(facts, labels, strict=True) if label == cls]
        if own:
            formats = ", ".join(f"{count:,} {kind}" for kind, count in Counter(f.format for f in own).most_common())
            qualities = [fact.quality for fact in own if fact.quality is not None]
            quality = f", median JPEG quality {np.median(qualities):.0f}" if qualities else ""
            side = np.median([min(fact.width_px, fact.height_px) for fact in own])
            lines[name] = f"{formats}{quality}, median shorter side {side:.0f} px"
    return lines
