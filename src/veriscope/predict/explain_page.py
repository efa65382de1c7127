"""Explained pictures as one self-contained page."""

import base64
import io
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from veriscope import __version__
from veriscope.errors import printable
from veriscope.explain.evidence import MethodName, Pixels
from veriscope.explain.overlay import OPACITY, ramp
from veriscope.explain.picture import Explanation
from veriscope.predict.face_text import faces_line
from veriscope.predict.judge import Judge
from veriscope.types import CLASS_MAP_TEXT, ClassName, FacesVerdict, Verdict

MAX_SHOWN = 100  # pictures on a page, some 60 KB each; the files of all others lie beside it
_SIDE_PX, _JPEG_QUALITY = 400, 85

WHAT = {
    "grad_cam": "The network's last map, each place weighted by what it adds to the answer (Grad-CAM, Selvaraju et "
    "al. 2017; gradient and map multiplied place by place, Draelos & Carin 2020).",
    "occlusion": "Square by square the picture is blurred, and the fall of the answer noted (occlusion, Zeiler & "
    "Fergus 2014).",
}


class Shown(NamedTuple):
    """What the page says of one picture; the pictures are data: URIs, and stand for none where they are empty."""

    name: str
    verdict: str
    score: str
    why: str
    sentence: str
    saw_all: bool
    full_scale: str
    view: str
    overlay: str
    link: str


def shown(verdict: Verdict, explanation: Explanation | None, file: str | None) -> Shown:
    """Return what the page says of one picture; `file` is its heat map beside the page."""
    name, faces = printable(verdict.path), faces_line(verdict) if isinstance(verdict, FacesVerdict) else ""
    if explanation is None or verdict.score is None or file is None:
        return Shown(name, "no verdict", "", verdict.error or "", "", True, "", "", "", "")
    return Shown(
        name=name,
        verdict=verdict.label or "no verdict",
        score=_score_text(verdict.score),
        why="; ".join(filter(None, (verdict.unsure_because, faces))),
        sentence=explanation.sentence,
        saw_all=explanation.saw_all,
        full_scale=f"{explanation.full_scale:.1f}",
        view=_data_uri(explanation.view),
        overlay=_data_uri(explanation.overlay),
        link=quote(file, errors="surrogateescape"),
    )


def explain_page(
    pictures: Sequence[Shown],
    *,
    judge: Judge,
    footer: str,
    method: MethodName,
    target: ClassName,
    total: int,
    failed: int,
) -> str:
    """Return the page. It loads nothing, and leads to the full pictures beside it.

    Args:
        pictures: the first MAX_SHOWN of them.
        judge: whose verdicts they are.
        footer: what must be known beside them.
        method: of the explanations.
        target: evidence for which class.
        total: how many pictures there are.
        failed: how many of them have no verdict.

    """
    return _environment().get_template("explain.html.j2").render(
        pictures=pictures,
        total=total,
        failed=failed,
        target=target,
        other="real" if target == "fake" else "fake",
        method=method,
        what=WHAT[method],
        opacity=OPACITY,
        colours=[f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in ramp(target)[::51]],
        footer=footer,
        facts=[
            ("bundle", printable(str(judge.bundle.path))),
            ("weights", judge.bundle.weights_sha256[:16]),
            ("classes", CLASS_MAP_TEXT),
            ("veriscope", __version__),
        ],
    )  # fmt: skip


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("veriscope.predict"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def _score_text(score: float) -> str:
    """Return a score with three digits that never reads 0 or 1 where it isn't."""
    if 0 < score < 0.0005:
        return "< 0.001"
    return "> 0.999" if 0.9995 <= score < 1 else f"{score:.3f}"


def _data_uri(image_HWC: Pixels) -> str:
    image = Image.fromarray(image_HWC)
    image.thumbnail((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")
