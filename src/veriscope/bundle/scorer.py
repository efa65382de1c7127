"""The one scoring loop: training's end, evaluation and prediction all read their logits here."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from veriscope.bundle.network import Network, Pixels, Vector
from veriscope.data.decode import MAX_PIXELS, PictureFacts, decode_with_facts
from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.errors import DecodeError
from veriscope.models.ood import OutOfDistribution
from veriscope.threads import map_ahead
from veriscope.types import Calibration

UNCALIBRATED = Calibration()
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


class InMemory(NamedTuple):
    """A picture whose file's bytes are here already; `path` is what its answer carries."""

    path: Path
    data: bytes


class Scorer:
    """Scores pictures with a network.

    Args:
        network: what answers; of a bundle `BaseBundle.scorer` makes the whole Scorer.
        calibration: from logit to score; by default score = sigmoid(logit).
        ood: what tells how strange a picture is to the network; None: nothing does.
        batch_size: pictures a forward pass; changes results by float noise only.
        num_workers: decoding threads beside the network; 0 decodes between the batches.
        max_pixels: larger pictures are refused as decompression bombs.
        keep_vectors: answers carry what the pictures look like to the network, for whoever fits on it.

    """

    def __init__(
        self,
        network: Network,
        *,
        calibration: Calibration = UNCALIBRATED,
        ood: OutOfDistribution | None = None,
        batch_size: int = 32,
        num_workers: int = 0,
        max_pixels: int = MAX_PIXELS,
        keep_vectors: bool = False,
    ) -> None:
        self.network = network
        self.calibration = calibration
        self.ood = ood
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.max_pixels = max_pixels
        self.keep_vectors = keep_vectors
        self.input = network.input

    def score_paths(
        self,
        paths: Iterable[Path | InMemory],
        *,
        transform: Transform | None = None,
        transform_for: Callable[[Path], Transform] | None = None,
        with_ood: bool = True,
    ) -> Iterator[Scored]:
        """Yield one answer for each path, in their order, in constant memory.

        Args:
            paths: files, or what they hold; may be a generator.
            transform: applied to the decoded uint8 picture (H, W, 3) before it is fitted to the input.
            transform_for: in its place where files are not all treated alike: path to transform.
            with_ood: False saves the out-of-distribution score where nobody reads it; `ood` is None then.

        A file that can't be read yields its reason; none is dropped.

        """
        choose = transform_for if transform_for is not None else lambda _: transform
        yield from self._score(self._read_all(paths, choose), with_ood=with_ood)

    def score_pixels(self, pictures: Iterable[tuple[Path, Pixels]], *, with_ood: bool = True) -> Iterator[Scored]:
        """Yield one answer for each decoded picture, uint8 RGB (H, W, 3), in their order, in constant memory.

        The path is what the answer carries; nothing is read from it, and `facts` are None.
        """
        yield from self.score_prepared(
            ((path, self.prepare(image_HWC)) for path, image_HWC in pictures), with_ood=with_ood
        )

    def score_prepared(
        self, pictures: Iterable[tuple[Path, Pixels | None]], *, with_ood: bool = True
    ) -> Iterator[Scored]:
        """Yield one answer for each picture that `prepare` returned, an empty one for None; else as `score_pixels`."""
        rows = (_Row(path=path, pixels=image_CHW, error=None) for path, image_CHW in pictures)
        yield from self._score(rows, with_ood=with_ood)

    @property
    def num_ahead(self) -> int:
        """How many pictures may be decoded before the network asks for them."""
        return 2 * self.batch_size + self.num_workers

    def prepare(self, image_HWC: Pixels) -> Pixels:
        """Return a decoded picture as the network is shown it: uint8 RGB (3, size_px, size_px)."""
        return to_chw(fit_to_input(image_HWC, self.input))

    def logits(self, image_BCHW: Pixels) -> Vector:
        """Return logit_B of fitted uint8 pictures, at the cost of nothing else."""
        return self.network.answer(image_BCHW, describe=False).logits

    def _score(self, rows: Iterable[_Row], *, with_ood: bool) -> Iterator[Scored]:
        """Yield the answers for decoded rows, a batch at a time."""
        pending: list[_Row] = []
        num_images = 0
        for row in rows:
            pending.append(row)
            num_images += row.pixels is not None
            # The second bound keeps memory constant where most files are unreadable.
            if num_images == self.batch_size or len(pending) == 4 * self.batch_size:
                yield from self._judge(pending, with_ood=with_ood)
                pending, num_images = [], 0
        yield from self._judge(pending, with_ood=with_ood)

    def _judge(self, rows: list[_Row], *, with_ood: bool) -> Iterator[Scored]:
        images = [row.pixels for row in rows if row.pixels is not None]
        ood = self.ood if with_ood else None
        describe = self.keep_vectors or ood is not None
        logits, vectors = (
            self.network.answer(np.stack(images), describe=describe) if images else (np.empty(0, dtype=np.float32), ())
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

    def _read_all(self, paths: Iterable[Path | InMemory], choose: Callable[[Path], Transform | None]) -> Iterator[_Row]:
        """Yield the decoded pictures in order; with threads at most three batches ahead."""
        return map_ahead(
            lambda source: self._read(source, choose), paths, num_workers=self.num_workers, num_ahead=self.num_ahead
        )

    def _read(self, source: Path | InMemory, choose: Callable[[Path], Transform | None]) -> _Row:
        path, stored = source if isinstance(source, InMemory) else (source, source)
        try:
            decoded, facts = decode_with_facts(stored, max_pixels=self.max_pixels)
        except DecodeError as error:
            return _Row(path=path, pixels=None, error=error.reason)
        transform = choose(path)
        image: Any = decoded if transform is None else transform(decoded)
        return _Row(path=path, pixels=self.prepare(image), error=None, facts=facts)
