"""The one scoring loop: training's end, evaluation and prediction all read their logits here."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from veriscope.bundle.bundle import Bundle
from veriscope.data.decode import MAX_PIXELS, PictureFacts, decode_with_facts
from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.errors import DecodeError
from veriscope.models.detector import Answer
from veriscope.models.ensemble import AnyDetector
from veriscope.models.precision import Precision, autocast, resolve_device, resolve_precision
from veriscope.types import Calibration

Pixels = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]
Transform = Callable[[Pixels], Pixels]


@dataclass(frozen=True, slots=True)
class Scored:
    """One picture's answer: `logit` and calibrated `score`, or the `error` why there is none.

    `facts` are those of the stored file, whatever was done to its pixels; None where it could not be read. `ood` is the
    share of validation pictures that are less strange (models.ood), None where the model can't tell. `vectors` are
    Answer.vectors of this picture, where they were asked for.
    """

    path: Path
    logit: float | None
    score: float | None
    error: str | None = None
    facts: PictureFacts | None = None
    ood: float | None = None
    vectors: tuple[Vector, ...] | None = None


@dataclass(slots=True)
class _Row:
    path: Path
    pixels: Pixels | None
    error: str | None
    facts: PictureFacts | None = None


class Scorer:
    """Scores pictures with a bundle, or with a bare network (then score = sigmoid(logit) unless calibrated).

    Args:
        model: the bundle, or a Detector or Ensemble in memory, which is moved to the device and stays there.
        device: 'auto' (CUDA where there is one), 'cpu', 'cuda'.
        precision: 'auto' (bf16 where the hardware multiplies it natively), 'fp32', 'bf16'. Logits are fp32 always.
        batch_size: pictures a forward pass; changes results by float noise only.
        num_workers: decoding threads beside the network; 0 decodes between the batches.
        calibration: in place of the bundle's.
        max_pixels: larger pictures are refused as decompression bombs.
        keep_vectors: answers carry what the pictures look like to the network, for whoever fits on it.

    Raises:
        VeriscopeError: a damaged bundle, or a device that this machine has not.

    """

    def __init__(
        self,
        model: Bundle | AnyDetector,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        batch_size: int = 32,
        num_workers: int = 0,
        calibration: Calibration | None = None,
        max_pixels: int = MAX_PIXELS,
        keep_vectors: bool = False,
    ) -> None:
        own = model.calibration if isinstance(model, Bundle) else Calibration()
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.calibration = own if calibration is None else calibration
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_pixels = max_pixels
        self.keep_vectors = keep_vectors
        self.ood = model.ood() if isinstance(model, Bundle) else None
        detector = model.detector() if isinstance(model, Bundle) else model
        # torch's stubs lack the overload of Module.to with memory_format alone.
        self.detector: AnyDetector = detector.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.input = detector.config.input

    def score_paths(
        self,
        paths: Iterable[Path],
        *,
        transform: Transform | None = None,
        transform_for: Callable[[Path], Transform] | None = None,
        with_ood: bool = True,
    ) -> Iterator[Scored]:
        """Yield one answer for each path, in their order, in constant memory.

        Args:
            paths: files; may be a generator.
            transform: applied to the decoded uint8 picture (H, W, 3) before it is fitted to the input.
            transform_for: in its place where files are not all treated alike: path to transform.
            with_ood: False saves the out-of-distribution score where nobody reads it; `ood` is None then.

        A file that can't be read yields its reason; none is dropped.

        """
        choose = transform_for if transform_for is not None else lambda _: transform
        pending: list[_Row] = []
        num_images = 0
        for row in self._read_all(paths, choose):
            pending.append(row)
            num_images += row.pixels is not None
            # The second bound keeps memory constant where most files are unreadable.
            if num_images == self.batch_size or len(pending) == 4 * self.batch_size:
                yield from self._judge(pending, with_ood=with_ood)
                pending, num_images = [], 0
        yield from self._judge(pending, with_ood=with_ood)

    def logits(self, image_BCHW: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return logit_B of fitted uint8 pictures, at the cost of nothing else."""
        return self._answer(image_BCHW, describe=False)[0]

    def _answer(self, image_BCHW: npt.NDArray[np.uint8], *, describe: bool) -> tuple[Vector, tuple[Vector, ...]]:
        """Return logit_B, and with `describe` Answer.vectors."""
        images = torch.from_numpy(image_BCHW)
        if self.device.type == "cuda":
            images = images.pin_memory().to(self.device, non_blocking=True)
        was_training = self.detector.training
        self.detector.eval()
        try:
            with torch.inference_mode(), autocast(self.precision, self.device):
                images = images.contiguous(memory_format=torch.channels_last)
                answer = self.detector.answer(images) if describe else Answer(self.detector(images), ())
        finally:
            self.detector.train(was_training)
        return answer.logits.cpu().numpy(), tuple(vector_BD.cpu().numpy() for vector_BD in answer.vectors)

    def _judge(self, rows: list[_Row], *, with_ood: bool) -> Iterator[Scored]:
        images = [row.pixels for row in rows if row.pixels is not None]
        ood = self.ood if with_ood else None
        describe = self.keep_vectors or ood is not None
        logits, vectors = (
            self._answer(np.stack(images), describe=describe) if images else (np.empty(0, dtype=np.float32), ())
        )
        ranks = None if ood is None or not images else ood.score(vectors)
        number = 0
        for row in rows:
            if row.pixels is None:
                yield Scored(path=row.path, logit=None, score=None, error=row.error)
                continue
            logit, own = float(logits[number]), number
            number += 1
            if not math.isfinite(logit):
                yield Scored(
                    path=row.path, logit=None, score=None, error=f"the network returned {logit}", facts=row.facts
                )
                continue
            yield Scored(
                path=row.path,
                logit=logit,
                score=self.calibration.score(logit),
                facts=row.facts,
                ood=None if ranks is None else float(ranks[own]),
                vectors=tuple(vector_BD[own] for vector_BD in vectors) if self.keep_vectors else None,
            )

    def _read_all(self, paths: Iterable[Path], choose: Callable[[Path], Transform | None]) -> Iterator[_Row]:
        """Yield the decoded pictures in order; with threads at most three batches ahead."""
        if self.num_workers == 0:
            for path in paths:
                yield self._read(path, choose(path))
            return
        ahead: deque[Future[_Row]] = deque()
        pool = ThreadPoolExecutor(self.num_workers, thread_name_prefix="decode")
        try:
            for path in paths:
                ahead.append(pool.submit(self._read, path, choose(path)))
                if len(ahead) >= 2 * self.batch_size + self.num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:  # also when the caller stops reading, or on Ctrl-C
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, path: Path, transform: Transform | None) -> _Row:
        try:
            decoded, facts = decode_with_facts(path, max_pixels=self.max_pixels)
        except DecodeError as error:
            return _Row(path=path, pixels=None, error=error.reason)
        image: Any = decoded if transform is None else transform(decoded)
        return _Row(path=path, pixels=to_chw(fit_to_input(image, self.input)), error=None, facts=facts)
