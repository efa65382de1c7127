"""How far an exported graph's answers lie from torch's, over the whole chain from the file to the verdict."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from veriscope.bundle.base import BaseBundle
from veriscope.bundle.network import Network, NetworkAnswer, Pixels, Vector
from veriscope.bundle.onnx_bundle import Costs
from veriscope.bundle.scorer import Scored, Scorer
from veriscope.data.names import USUAL_CLASSES
from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.errors import ModelError
from veriscope.evaluation.metrics import auroc
from veriscope.predict.inputs import Inputs
from veriscope.predict.judge import Judge
from veriscope.progress import tracked
from veriscope.types import InputSpec, Verdict

# Of logits, in units of max(1, |logit|). Two orders of summing 10,000 products differ by some 1e-6 in fp32; a wrong
# layer shows in the first digits. A score moves by a quarter of it at most.
TOLERANCE = 1e-3
BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Answers:
    """What one network said of the pictures, in their order, and its `seconds` of processor time, of all threads."""

    scored: tuple[Scored, ...]
    verdicts: tuple[Verdict, ...]
    seconds: float

    @property
    def logits(self) -> Vector:
        """Return logit_N; NaN where there is no verdict."""
        return np.array([math.nan if one.logit is None else one.logit for one in self.scored], dtype=np.float32)


class _Timed:
    """The network with a clock."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.input, self.device, self.precision = network.input, network.device, network.precision
        self.seconds = 0.0

    def answer(self, image_BCHW: Pixels, *, describe: bool) -> NetworkAnswer:
        start = time.process_time()
        answer = self._network.answer(image_BCHW, describe=describe)
        self.seconds += time.process_time() - start
        return answer


def draw(folder: Path, *, limit: int) -> list[Path]:
    """Return at most `limit` pictures of a folder, drawn with seed 0 where there are more, in the order of their names.

    Raises:
        DataError: no such folder, or no pictures in it.

    """
    files = list(Inputs([folder]))
    kept = np.random.default_rng(0).permutation(len(files))[:limit]
    return [files[index] for index in sorted(kept)]


def answers(bundle: BaseBundle, paths: Sequence[Path], *, precision: str, doing: str) -> Answers:
    """Return what a bundle says of the files on the CPU, decoding included; its own threshold, band and strangeness."""
    network = _Timed(bundle.network(device="cpu", precision=precision))
    judge = Judge.of(bundle)
    scorer = Scorer(network, calibration=bundle.calibration, ood=bundle.ood(), batch_size=BATCH_SIZE)
    scored = tuple(tracked(scorer.score_paths(paths), doing=doing, total=len(paths)))
    return Answers(scored, tuple(judge.verdict(one) for one in scored), network.seconds)


def measure(torch: Answers, graph: Answers, *, folder: Path) -> Costs:
    """Return how far the second answers lie from the first.

    Raises:
        ModelError: one of them has a verdict where the other has none.

    """
    pairs = list(zip(torch.scored, graph.scored, strict=True))
    both = [(one, other) for one, other in pairs if one.score is not None and other.score is not None]
    neither = sum(one.score is None and other.score is None for one, other in pairs)
    if len(both) + neither != len(pairs):
        lost = next(one for one, other in pairs if (one.score is None) != (other.score is None))
        raise ModelError(f"torch and the graph don't agree whether '{lost.path}' has a verdict.")
    labels = _labels([one.path for one, _ in both], root=folder)
    logits = np.array([(one.logit, other.logit) for one, other in both], dtype=np.float32).reshape(-1, 2)
    curves = [auroc(labels, side) if len(labels) else None for side in logits.T]
    return Costs(
        pictures=folder.name,
        num_pictures=len(both),
        num_without=neither,
        max_logit=_largest([(one.logit, other.logit) for one, other in both]) or 0.0,
        max_score=_largest([(one.score, other.score) for one, other in both]) or 0.0,
        max_ood=_largest([(one.ood, other.ood) for one, other in both]),
        num_flips=sum(a.label != b.label for a, b in zip(torch.verdicts, graph.verdicts, strict=True)),
        auroc_torch=curves[0],
        auroc=curves[1],
    )


def check_logits(torch: Vector, graph: Vector) -> None:
    """Refuse logits that lie further from torch's than TOLERANCE, or are finite where those are not.

    Raises:
        ModelError: they do.

    """
    away = np.abs(graph - torch) / np.maximum(1, np.abs(torch))
    if not np.array_equal(np.isfinite(torch), np.isfinite(graph)) or np.nanmax(away, initial=0) > TOLERANCE:
        raise ModelError(
            f"the graph doesn't answer as torch does: logits differ by up to {np.nanmax(np.abs(graph - torch)):.3g}, "
            f"{TOLERANCE:g} is allowed. Nothing was written; please report the backbone and head."
        )


def probe(torch: Network, graph: Network) -> None:
    """Refuse a graph that doesn't answer as torch does on made pictures of many shapes, in batches of one and of all.

    Raises:
        ModelError: logits or vectors differ by more than TOLERANCE.

    """
    image_BCHW = made_pictures(torch.input)
    wanted = torch.answer(image_BCHW, describe=True)
    at_once = graph.answer(image_BCHW, describe=True)
    one_by_one = [graph.answer(image_BCHW[n : n + 1], describe=False).logits for n in range(len(image_BCHW))]
    check_logits(wanted.logits, at_once.logits)
    check_logits(wanted.logits, np.concatenate(one_by_one))
    for vector_BD, other_BD in zip(wanted.vectors, at_once.vectors, strict=True):
        check_logits(vector_BD.ravel(), other_BD.ravel())


def made_pictures(spec: InputSpec) -> Pixels:
    """Return fitted pictures of noise, (5, 3, size_px, size_px): of its size, of one pixel, narrow, smaller, larger."""
    rng, side = np.random.default_rng(0), spec.size_px
    shapes = ((side, side), (1, 1), (1, 3 * side), (side // 2, side - 1), (2 * side + 1, side + 7))
    pictures = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in shapes]
    return np.stack([to_chw(fit_to_input(picture, spec)) for picture in pictures])


def _largest(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    known = [abs(one - other) for one, other in pairs if one is not None and other is not None]
    return max(known, default=None)


def _labels(paths: Sequence[Path], *, root: Path) -> npt.NDArray[np.int8]:
    """Return the labels by class folders below `root`; none where a picture lies in no such folder."""
    found = []
    for path in paths:
        parts = (part.casefold() for part in path.relative_to(root).parts[:-1])
        label = next((USUAL_CLASSES[part] for part in parts if part in USUAL_CLASSES), None)
        if label is None:
            return np.empty(0, dtype=np.int8)
        found.append(label)
    return np.array(found, dtype=np.int8)
