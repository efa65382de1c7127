"""The robustness grid: which kinds of damage, five severities each, and why these levels."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from veriscope.augment.corruptions import Corruption, parse_corruption

SEVERITIES = (1, 2, 3, 4, 5)
Extent = Literal["quick", "full"]


@dataclass(frozen=True, slots=True)
class GridKind:
    """A row of the grid: `levels[severity - 1]` is a corruption by name; `why` says where the levels come from."""

    name: str
    title: str
    levels: tuple[str, str, str, str, str]
    why: str


class Cell(NamedTuple):
    """One kind at one severity, 1 to 5."""

    kind: str
    title: str
    severity: int
    corruption: Corruption

    @property
    def name(self) -> str:
        """The corruption as `evaluate.py corruption=` takes it."""
        return str(self.corruption)


# Levels are those of delivery, not of Hendrycks & Dietterich 2019 (ImageNet-C), whose mildest (JPEG 25, noise of 20
# grey levels) are made for recognising objects and wipe out every trace that a detector reads. As theirs, severities
# rise in steps that can be told apart, and the last one is what a bad but real channel does.
GRID: tuple[GridKind, ...] = (
    GridKind(
        "jpeg", "JPEG", ("jpeg:95", "jpeg:85", "jpeg:75", "jpeg:50", "jpeg:30"),
        "95 an editor's high quality; 85 what X (Twitter) says it uses; 75 the default of libjpeg, PIL and many sites; "
        "30 the lowest of Wang et al. 2020",
    ),
    GridKind(
        "double_jpeg", "JPEG twice, grids apart",
        ("double_jpeg:95+90", "double_jpeg:90+80", "double_jpeg:85+70", "double_jpeg:75+50", "double_jpeg:50+30"),
        "a camera's or a site's JPEG, cropped and packed again at a lower quality by the next one",
    ),
    GridKind(
        "webp", "WebP", ("webp:90", "webp:80", "webp:65", "webp:50", "webp:30"),
        "80 and 75 are the defaults of PIL and cwebp; below 50 what saves bandwidth on phones",
    ),
    GridKind(
        "blur", "Blur", ("blur:0.5", "blur:1", "blur:1.5", "blur:2", "blur:3"),
        "0.5 px is a lens or a mild smoothing; 3 px the most of Wang et al. 2020",
    ),
    GridKind(
        "noise", "Noise", ("noise:2", "noise:4", "noise:8", "noise:12", "noise:20"),
        "grey levels of 255: 2 to 5 a phone's sensor at high ISO; 20 where ImageNet-C begins",
    ),
    GridKind(
        "resize_down", "Made smaller", ("resize:0.9", "resize:0.75", "resize:0.5", "resize:0.35", "resize:0.25"),
        "sites shrink to a longest side (0.9 to 0.5 for a phone's photo), previews to a quarter; delivered small, so "
        "it stays small and only the detector's own fit enlarges it",
    ),
    GridKind(
        "resize_up", "Made larger", ("resize:1.1", "resize:1.25", "resize:1.5", "resize:1.75", "resize:2"),
        "zoomed into or shown on a dense display: 1.25 to 2 are the scales of desktop systems",
    ),
    GridKind(
        "crop", "Cropped", ("crop:0.95", "crop:0.9", "crop:0.8", "crop:0.7", "crop:0.6"),
        "share of each side kept: a trimmed border to a third of the area",
    ),
    GridKind(
        "gamma", "Brightened", ("gamma:0.9", "gamma:0.8", "gamma:0.7", "gamma:0.6", "gamma:0.5"),
        "0.9 is the gap between two displays, 0.8 to 0.6 a one-touch edit of shadows, 0.5 a square root",
    ),
    GridKind(
        "screenshot", "Screenshot, sent on",
        ("screenshot:1", "screenshot:2", "screenshot:3", "screenshot:4", "screenshot:5"),
        "scaled by 0.93 to 0.47, border cut by hand, another gamma, then PNG (1) or JPEG 90 to 55",
    ),
)  # fmt: skip
_QUICK = {"jpeg": (2, 4), "webp": (2, 4), "resize_down": (2, 4), "screenshot": (2, 4)}  # what any sharing does


def grid_cells(extent: Extent) -> tuple[Cell, ...]:
    """Return the cells of the grid in order: 10 kinds x 5 severities, or for 'quick' 4 kinds x 2."""
    wanted = {kind.name: SEVERITIES for kind in GRID} if extent == "full" else _QUICK
    return tuple(
        Cell(kind.name, kind.title, severity, parse_corruption(kind.levels[severity - 1]))
        for kind in GRID
        for severity in wanted.get(kind.name, ())
    )
