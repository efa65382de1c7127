"""From a picture to the verdict on its faces: each gets one, and the picture that of the highest score."""

import argparse
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from veriscope.bundle.scorer import InMemory, Scored, Scorer
from veriscope.data.decode import decode_image
from veriscope.errors import DataError, DecodeError
from veriscope.predict.face_finder import Face, FaceFinder, Pixels, YuNet, face_model
from veriscope.predict.judge import Judge
from veriscope.threads import map_ahead
from veriscope.types import FacesVerdict, FaceVerdict, Region, Verdict

NoFace = Literal["whole", "nothing"]
Item = TypeVar("Item")

MARGIN = 0.15  # on each side: 1.3 times the face, as the crops of FaceForensics++ (Roessler et al. 2019)
SMALLEST_PX = 64
MAX_FACES = 16  # of a picture or frame; a crowd of hundreds would cost minutes, and a server gigabytes


@dataclass(frozen=True, slots=True)
class FaceRules:
    """What is judged of a picture with faces, and of one without.

    `margin`: share of the face's longer side that is added on each of its four sides. Faces whose longer side is below
    `min_px`, or which are beyond the `max_faces` largest, are counted and not judged. `no_face`: a picture without a
    face to judge is judged as a whole, or has no verdict.
    """

    margin: float = MARGIN
    min_px: int = SMALLEST_PX
    max_faces: int = MAX_FACES
    no_face: NoFace = "whole"


class Cut(NamedTuple):
    """The faces of a picture that are to be judged, the largest first; `num_small` and `num_beyond` are not."""

    regions: tuple[Region, ...]
    confidences: tuple[float, ...]
    num_small: int = 0
    num_beyond: int = 0


@dataclass(frozen=True, slots=True)
class FaceCutter:
    """Finds what is to be judged of a picture; may be used by several threads at once."""

    finder: FaceFinder
    rules: FaceRules

    def cut(self, image_HWC: Pixels) -> Cut:
        """Return the faces to judge of an RGB picture."""
        height, width = image_HWC.shape[:2]
        found = self.finder.find(image_HWC)
        large = [face for face in found if face.side >= self.rules.min_px]
        kept = large[: self.rules.max_faces]
        return Cut(
            regions=tuple(region_of(face, margin=self.rules.margin, height=height, width=width) for face in kept),
            confidences=tuple(face.confidence for face in kept),
            num_small=len(found) - len(large),
            num_beyond=len(large) - len(kept),
        )

    def facts(self) -> dict[str, Any]:
        """Return what decides which parts are judged, as plain values for JSON."""
        return {"faces": {**self.finder.facts, **asdict(self.rules)}}

    def parts(self, image_HWC: Pixels, cut: Cut) -> list[Pixels]:
        """Return the pixels to judge: one picture a face; without faces the whole, or none."""
        if cut.regions:
            return [part_of(image_HWC, region) for region in cut.regions]
        return [image_HWC] if self.rules.no_face == "whole" else []

    def verdict(self, path: Path, cut: Cut, answers: Sequence[Scored], *, judge: Judge) -> FacesVerdict:
        """Return the verdict on a picture from the answers for its `parts`."""
        if not cut.regions:
            return self._without_faces(path, cut, answers, judge=judge)
        faces = face_verdicts(cut, answers, judge=judge)
        decides = max(range(len(faces)), key=lambda place: rank(faces[place]))
        chosen = judge.verdict(replace(answers[decides], path=path))
        return FacesVerdict(
            **asdict(chosen),
            faces=faces,
            decides=None if chosen.score is None else decides,
            note="; ".join(self._left_out(cut)) or None,
        )

    def _without_faces(self, path: Path, cut: Cut, answers: Sequence[Scored], *, judge: Judge) -> FacesVerdict:
        said = "no face found"
        if cut.num_small:
            said = f"no face of {self.rules.min_px} px or more, {_counted(cut.num_small)} smaller"
        whole = judge.verdict(replace(answers[0], path=path) if answers else Scored(path, None, None, said))
        return FacesVerdict(**asdict(whole), note=f"{said}: the whole picture was judged" if answers else said)

    def _left_out(self, cut: Cut) -> list[str]:
        small = f"{_counted(cut.num_small)} below {self.rules.min_px} px not judged"
        beyond = f"{cut.num_beyond} more not judged, beyond the {self.rules.max_faces} largest"
        return [*([small] if cut.num_small else []), *([beyond] if cut.num_beyond else [])]


def face_cutter(arguments: argparse.Namespace) -> FaceCutter | None:
    """Return what the arguments of commands.arguments.add_faces ask for; None: pictures are judged as wholes.

    Raises:
        DataError: faces are to be found, and there is no detector for them; or their options stand without --faces.

    """
    rules = {"face_margin": "margin", "face_min_px": "min_px", "max_faces": "max_faces", "no_face": "no_face"}
    asked = {rule: getattr(arguments, name) for name, rule in rules.items() if getattr(arguments, name) is not None}
    if not arguments.faces and arguments.face_model is None:
        option = next((name for name, rule in rules.items() if rule in asked), None)
        if option is not None:
            raise DataError(f"--{option.replace('_', '-')} says how faces are judged: add --faces.")
        return None
    return FaceCutter(YuNet(face_model(arguments.face_model)), FaceRules(**asked))


def judge_faces(
    scorer: Scorer, paths: Iterable[Path | InMemory], *, cutter: FaceCutter, judge: Judge
) -> Iterator[Verdict]:
    """Yield one verdict for each picture, in order, in constant memory; the network sees faces of several at once."""

    def look(source: Path | InMemory) -> tuple[tuple[Path, Cut | str], list[Pixels]]:
        path, stored = source if isinstance(source, InMemory) else (source, source)
        try:
            image_HWC = decode_image(stored, max_pixels=scorer.max_pixels)
        except DecodeError as error:
            return (path, error.reason), []
        cut = cutter.cut(image_HWC)
        return (path, cut), [scorer.prepare(part) for part in cutter.parts(image_HWC, cut)]

    looked = map_ahead(look, paths, num_workers=scorer.num_workers, num_ahead=scorer.num_ahead)
    for (path, cut), answers in score_groups(scorer, looked):
        if isinstance(cut, str):
            yield judge.verdict(Scored(path, None, None, cut))
        else:
            yield cutter.verdict(path, cut, answers, judge=judge)


def score_groups(
    scorer: Scorer, groups: Iterable[tuple[Item, Sequence[Pixels]]]
) -> Iterator[tuple[Item, list[Scored]]]:
    """Yield each item with the answers for its pictures, in order; the network's batches go across items.

    Args:
        scorer: what answers.
        groups: items with any number of pictures, none included, as `Scorer.prepare` returns them.

    """
    waiting: deque[tuple[Item, int, list[Scored]]] = deque()

    def pictures() -> Iterator[tuple[Path, Pixels | None]]:
        for item, prepared in groups:
            waiting.append((item, len(prepared), []))
            # An item without a picture takes a place in the row, too: else nothing came out of a folder without faces
            # until its end.
            yield from ((Path(), image_CHW) for image_CHW in prepared or (None,))

    for scored in scorer.score_prepared(pictures()):
        item, num_pictures, answers = waiting[0]
        answers.append(scored)
        if len(answers) >= num_pictures:
            waiting.popleft()
            yield item, answers[:num_pictures]


def face_verdicts(cut: Cut, answers: Sequence[Scored], *, judge: Judge) -> tuple[FaceVerdict, ...]:
    """Return the verdict on each face, in their order."""
    found = []
    for region, confidence, scored in zip(cut.regions, cut.confidences, answers, strict=True):
        own = judge.verdict(scored)
        found.append(
            FaceVerdict(region, confidence, own.label, own.score, own.logit, own.ood, own.error, own.unsure_because)
        )
    return tuple(found)


def rank(face: FaceVerdict) -> float:
    """Return what faces are ordered by: the score, below all of them where there is none."""
    return -1.0 if face.score is None else face.score


def region_of(face: Face, *, margin: float, height: int, width: int) -> Region:
    """Return the square around a face with its margin, moved into a picture of height x width px; where the square is
    larger than the picture, as much of it as there is."""
    side = max(round(face.side * (1 + 2 * margin)), 1)
    across, down = min(side, width), min(side, height)
    left = round(face.left + face.width / 2 - across / 2)
    top = round(face.top + face.height / 2 - down / 2)
    return Region(min(max(left, 0), width - across), min(max(top, 0), height - down), across, down)


def surroundings(region: Region, *, height: int, width: int) -> Region:
    """Return the region with half its width and height more on each side, within a picture of height x width."""
    left, top = max(region.left - region.width // 2, 0), max(region.top - region.height // 2, 0)
    right = min(region.left + region.width + region.width // 2, width)
    bottom = min(region.top + region.height + region.height // 2, height)
    return Region(left, top, right - left, bottom - top)


def part_of(image_HWC: Pixels, region: Region) -> Pixels:
    """Return the region's pixels."""
    left, top, width, height = region
    return image_HWC[top : top + height, left : left + width]


def _counted(number: int) -> str:
    return f"{number} face" if number == 1 else f"{number} faces"
