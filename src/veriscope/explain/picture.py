"""One picture explained: its logit, where its evidence lies, and how to show it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from veriscope.data.preprocess import fit_to_input, to_chw
from veriscope.explain.evidence import Map, Method, Pixels
from veriscope.explain.overlay import blend, side_by_side, to_png
from veriscope.explain.place import on_picture
from veriscope.types import ClassName, InputSpec, Region

MAX_VIEW_PX = 768  # longer side of what is drawn


@dataclass(frozen=True)
class Explanation:
    """One picture's logit and the evidence for `target` in it.

    `evidence` (h, w): on the method's grid over the network's input, in logits, above 0 for `target`. `full_scale`: the
    evidence that has full colour. `view` (H, W, 3): the picture, its longer side at most MAX_VIEW_PX. `strength`
    (H, W): of the view's pixels, evidence / full_scale; below 0 against `target`, NaN where the network was not shown
    the picture. `part`: what the logit is of, in a word.
    """

    logit: float
    target: ClassName
    evidence: Map
    full_scale: float
    view: Pixels
    strength: Map
    part: str = "picture"

    @property
    def peak(self) -> float:
        """The strongest place's evidence for the target, in logits; below 0: every place speaks against it."""
        return float(self.evidence.max())

    @property
    def is_weak(self) -> bool:
        """Whether no place comes near to full colour: what colour there is must not be taken for a finding."""
        return self.peak < 0.5 * self.full_scale

    @property
    def saw_all(self) -> bool:
        """Whether the network was shown the whole picture."""
        return bool(np.isfinite(self.strength).all())

    @property
    def sentence(self) -> str:
        """How strong it is, in words."""
        whole = self.logit if self.target == "fake" else -self.logit
        if self.peak <= 0:
            return f"No place speaks for {self.target}."
        if self.is_weak:
            share = self.peak / self.full_scale
            return f"Little speaks for {self.target}: no place has more than {share:.0%} of full colour."
        return f"Strongest place for {self.target}: {self.peak:.1f} logits; the whole {self.part}: {whole:.1f}."

    @cached_property
    def overlay(self) -> Pixels:
        """The view in grey with the heat upon it."""
        return blend(self.view, self.strength, target=self.target)

    @property
    def overlay_png(self) -> bytes:
        """`overlay` as PNG, as large as the view."""
        return to_png(self.overlay)

    @property
    def pair(self) -> Pixels:
        """View and overlay side by side, with the colours explained."""
        note = self.sentence + ("" if self.saw_all else " Dark: not shown to the network.")
        return side_by_side(
            self.view, self.overlay, target=self.target, full_scale=f"{self.full_scale:.1f} logits", note=note
        )


def explain_picture(
    image_HWC: Pixels,
    method: Method,
    *,
    spec: InputSpec,
    target: ClassName = "fake",
    logit_unit: float = 1.0,
    max_view_px: int = MAX_VIEW_PX,
    region: Region | None = None,
) -> Explanation:
    """Return what `method` says of one decoded picture.

    Full colour stands for the strongest place of either sign, and for the method's noise at least: noise is never
    stretched to full colour, and the little that speaks for one class stays faint beside the much that speaks for the
    other.

    Args:
        image_HWC: RGB, uint8, as data.decode returns it.
        method: `functools.partial(grad_cam, detector)`, or occlusion with any function from pictures to logits.
        spec: what the network is shown: `detector.config.input`, or the bundle's.
        target: evidence for which class.
        logit_unit: how many logits are one after calibration: the temperature, or 1 / slope.
        max_view_px: longer side of the view; smaller pictures are not enlarged.
        region: the face that the network is shown of the picture; None: the whole, as `spec` fits it.

    """
    height, width = image_HWC.shape[:2]
    left, top, across, down = Region(0, 0, width, height) if region is None else region
    found = method(to_chw(fit_to_input(image_HWC[top : top + down, left : left + across], spec))[None])
    local_HW = found.local[0]
    evidence_HW = local_HW if target == "fake" else -local_HW
    full_scale = max(float(np.abs(evidence_HW).max()), found.noise * logit_unit)
    view_HWC = _view(image_HWC, max_side_px=max_view_px)
    scale_y, scale_x = view_HWC.shape[0] / height, view_HWC.shape[1] / width
    rows = slice(round(top * scale_y), max(round((top + down) * scale_y), round(top * scale_y) + 1))
    columns = slice(round(left * scale_x), max(round((left + across) * scale_x), round(left * scale_x) + 1))
    heat_HW = np.full(view_HWC.shape[:2], np.nan, dtype=np.float32)
    heat_HW[rows, columns] = on_picture(evidence_HW, spec, height=down, width=across, view=heat_HW[rows, columns].shape)
    return Explanation(
        logit=float(found.logits[0]),
        target=target,
        evidence=evidence_HW,
        full_scale=full_scale,
        view=view_HWC,
        strength=heat_HW / np.float32(full_scale),
        part="picture" if region is None else "face",
    )


def _view(image_HWC: Pixels, *, max_side_px: int) -> Pixels:
    image = Image.fromarray(image_HWC)
    image.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(image)
