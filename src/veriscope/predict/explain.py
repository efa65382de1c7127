"""`veriscope explain`: where in each picture the evidence lies, as files and a page."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from veriscope.bundle.scorer import Scored, Scorer
from veriscope.data.decode import MAX_BYTES, decode_image
from veriscope.errors import DataError, DecodeError, printable
from veriscope.explain.evidence import Method, MethodName, Pixels
from veriscope.explain.occlusion import occlusion
from veriscope.explain.overlay import to_png
from veriscope.explain.picture import Explanation, explain_picture
from veriscope.files import shortened, whole_or_not_at_all, write_text
from veriscope.predict.explain_page import MAX_SHOWN, Shown, explain_page, shown
from veriscope.predict.face_text import faces_footer
from veriscope.predict.faces import FaceCutter, face_cutter, part_of, surroundings
from veriscope.predict.inputs import STDIN, Inputs
from veriscope.predict.judge import Judge, judge_of
from veriscope.predict.video import is_video
from veriscope.progress import say, tracked
from veriscope.types import Calibration, ClassName, Region, Verdict

PAGE_NAME = "explain.html"
A_VIDEO = "a video: explain takes pictures; predict --timeline DIR shows a video's frames"
_MAX_NAME_BYTES = 200  # of 255 that file systems take, for the ending and a temporary name


class Explained(NamedTuple):
    """One picture's verdict with its explanation; None where it has no verdict."""

    verdict: Verdict
    explanation: Explanation | None


def run_explain(arguments: argparse.Namespace) -> int:
    """Explain, write, and return the exit code: 0 every picture is explained; 1 some have no verdict.

    Raises:
        VeriscopeError: bad bundle, threshold, device, path or output folder.

    """
    folder: Path = arguments.output
    _refuse_taken(folder)
    judge = judge_of(arguments)
    inputs, cutter = Inputs(arguments.paths), face_cutter(arguments)
    scorer = judge.bundle.scorer(
        device=arguments.device,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        calibration=judge.terms.calibration,
    )
    method = find_method(arguments.method, scorer)
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[Shown] = []
    taken: set[str] = {PAGE_NAME}
    failed = 0
    explained = explain_paths(inputs, scorer, judge, method, target=arguments.target, cutter=cutter)
    for done in tracked(explained, doing="explaining", total=len(inputs)):
        file = None if done.explanation is None else _write_heat(done, folder, taken)
        failed += file is None
        sys.stdout.write(_line(done.verdict, file))
        if len(kept) < MAX_SHOWN:
            kept.append(shown(done.verdict, done.explanation, file))
    said = judge.footer() if cutter is None else f"{judge.footer()} {faces_footer(cutter)}"
    page = explain_page(
        kept,
        judge=judge,
        footer=said,
        method=arguments.method,
        target=arguments.target,
        total=len(inputs),
        failed=failed,
    )
    write_text(folder / PAGE_NAME, page)
    console = Console(stderr=True)
    console.print(said, style="dim", highlight=False, markup=False, soft_wrap=True)
    if inputs.passed:
        say(console, f"Passed over, no pictures by name: {inputs.passed_over()}.")
    say(console, f"page: {folder / PAGE_NAME}")
    return 1 if failed else 0


def explain_paths(
    paths: Iterable[Path],
    scorer: Scorer,
    judge: Judge,
    method: Method,
    *,
    target: ClassName,
    cutter: FaceCutter | None = None,
) -> Iterator[Explained]:
    """Yield verdict and explanation of each file, in order, one picture in memory at a time; none is dropped.

    With a cutter the explanation is of the face that decides, and shows what is around it, too.
    """
    for path in paths:
        try:
            image_HWC = decode_image(sys.stdin.buffer.read(MAX_BYTES + 1) if path == STDIN else path)
        except DecodeError as error:
            reason = A_VIDEO if is_video(path) else error.reason
            yield Explained(judge.verdict(Scored(path=path, logit=None, score=None, error=reason)), None)
            continue
        verdict, region = judge_with_place(scorer, path, image_HWC, judge=judge, cutter=cutter)
        if verdict.score is None:
            yield Explained(verdict, None)
            continue
        if region is not None:
            around = surroundings(region, height=image_HWC.shape[0], width=image_HWC.shape[1])
            image_HWC = part_of(image_HWC, around)
            region = region._replace(left=region.left - around.left, top=region.top - around.top)
        unit = logit_unit(judge.terms.calibration)
        yield Explained(
            verdict,
            explain_picture(image_HWC, method, spec=scorer.input, target=target, logit_unit=unit, region=region),
        )


def judge_with_place(
    scorer: Scorer, path: Path, image_HWC: Pixels, *, judge: Judge, cutter: FaceCutter | None
) -> tuple[Verdict, Region | None]:
    """Return the verdict on a decoded picture, and the face that decides it; None: the whole does."""
    if cutter is None:
        (scored,) = scorer.score_pixels([(path, image_HWC)])
        return judge.verdict(scored), None
    cut = cutter.cut(image_HWC)
    answers = list(scorer.score_pixels((path, part) for part in cutter.parts(image_HWC, cut)))
    verdict = cutter.verdict(path, cut, answers, judge=judge)
    return verdict, verdict.place


def explains_by(scorer: Scorer) -> MethodName:
    """Return the method for the scorer's network: Grad-CAM where it is torch's, else occlusion."""
    return "grad_cam" if hasattr(scorer.network, "detector") else "occlusion"


def find_method(name: MethodName, scorer: Scorer) -> Method:
    """Return the method of that name for the scorer's network.

    Raises:
        DataError: Grad-CAM of a network that has no gradient here.

    """
    if name == "occlusion":
        return partial(occlusion, scorer.logits, batch_size=scorer.batch_size)
    refused = DataError("--method grad_cam needs the network itself, in torch; take --method occlusion for this file.")
    if explains_by(scorer) != name:
        raise refused
    # Torch is imported for a network that has it already.
    from veriscope.bundle.torch_network import TorchNetwork
    from veriscope.explain.grad_cam import grad_cam

    if not isinstance(scorer.network, TorchNetwork):
        raise refused
    return partial(grad_cam, scorer.network.detector)


def logit_unit(calibration: Calibration) -> float:
    """Return how many logits are one after calibration; 1 of a curve that has no one slope."""
    if calibration.method == "temperature":
        return calibration.temperature
    return 1.0 if calibration.slope is None else 1 / calibration.slope


def heat_name(path: Path, taken: set[str]) -> str:
    """Return the name of a picture's heat map, unlike all that are taken in any letter case, and take it."""
    name = "stdin" if path == STDIN else path.name
    name = shortened(name, num_bytes=_MAX_NAME_BYTES)
    number, found = 1, f"{name}.heat.png"
    while found.lower() in taken:
        number += 1
        found = f"{name}.{number}.heat.png"
    taken.add(found.lower())
    return found


def _write_heat(done: Explained, folder: Path, taken: set[str]) -> str:
    assert done.explanation is not None
    file = heat_name(Path(done.verdict.path), taken)
    with whole_or_not_at_all(folder / file) as temporary:
        temporary.write_bytes(to_png(done.explanation.pair))
    return file


def _line(verdict: Verdict, file: str | None) -> str:
    figure = verdict.error or "" if verdict.score is None else f"{verdict.score:.4f}"
    cells = (verdict.label or "no verdict", figure, verdict.path, file or "")
    return "\t".join(printable(cell) for cell in cells) + "\n"


def _refuse_taken(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"--output '{folder}' is not empty; name a new folder.")
