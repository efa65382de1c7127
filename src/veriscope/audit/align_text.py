"""What `veriscope align` says: the plan before, and what it came to after."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from veriscope.audit.align_facts import ALL_FAKES, NO_JPEG, HeaderFacts, separations
from veriscope.audit.align_plan import AlignPlan
from veriscope.data.manifest import Manifest
from veriscope.errors import RunError, printable

_SHOWN = 5  # files that are named one by one; all stand in align.json
_TELLS = 0.6  # an AUROC worth a word
_SPARE = 1.1  # of the disk, since it is an estimate


class Cost(NamedTuple):
    """What an alignment will take, as measured on a few pictures."""

    num_pictures: int
    seconds: float
    num_workers: int
    size_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        took = f"{self.seconds:.0f} s" if self.seconds < 90 else f"{self.seconds / 60:.0f} min"
        return (
            f"{self.num_pictures:,} pictures: about {took} with {self.num_workers} workers, and "
            f"{_megabytes(self.size_bytes)}; {_megabytes(self.free_bytes)} are free"
        )

    def refuse_full_disk(self, out: Path) -> None:
        """Stop before the disk does.

        Raises:
            RunError: it will be full.

        """
        if self.size_bytes * _SPARE > self.free_bytes:
            raise RunError(
                f"'{out}' needs about {_megabytes(self.size_bytes)}, and {_megabytes(self.free_bytes)} are free. Free "
                "some, or name a folder on another disk."
            )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The pictures that were written, in row order: their facts before and after. `left_out` and `unreadable` tell why
    others were not, by the source's path; `left_out` holds the plan's, unreadable headers too."""

    labels: npt.NDArray[Any]
    generators: Sequence[str | None]
    before: Sequence[HeaderFacts]
    after: Sequence[HeaderFacts]
    past: npt.NDArray[Any]
    left_out: Mapping[str, str]
    unreadable: Mapping[str, str]
    num_converted: int

    @property
    def missing(self) -> dict[str, str]:
        """Every picture that was not written, with the reason."""
        return dict(sorted({**self.left_out, **self.unreadable}.items()))


def plan_lines(
    title: str, manifest: Manifest, facts: Sequence[HeaderFacts | str], plan: AlignPlan, *, strata: Sequence[str]
) -> list[str]:
    """Return what is there and what will be done to it."""
    counts = manifest.class_counts()
    lines = [f"{title}: {counts['real']:,} real, {counts['fake']:,} fake"]
    lines += [f"  {name}: {text}" for name, text in _stratum_lines(facts, strata).items()]
    sizes = {
        "keep": "every picture keeps its size",
        "crop": f"the central {plan.size.side_px} px square at native pixels, nothing is scaled",
        "resize": f"the central square, scaled to {plan.size.side_px} px",
    }
    lines.append(f"size: {plan.size} ({sizes[plan.size.kind]})")
    treated = [one for one in plan.treatments if one is not None]
    packed = sum(one.history is not None for one in treated)
    qualities = sorted(plan.qualities().elements())
    lines.append(
        f"JPEG history: {packed:,} of {len(treated):,} pictures are packed as JPEG first, the past that they lack; "
        + (f"all are stored as JPEG of quality {_span(qualities)}" if qualities else "all are stored as PNG")
    )
    if plan.left_out:
        lost = Counter(strata[row] for row in plan.left_out)
        lines.append("left out: " + ", ".join(f"{count:,} {name}" for name, count in sorted(lost.items())))
    return [printable(line) for line in lines]


def _stratum_lines(facts: Sequence[HeaderFacts | str], strata: Sequence[str]) -> dict[str, str]:
    lines = {}
    for name in sorted(set(strata)):
        own = [fact for fact, part in zip(facts, strata, strict=True) if part == name and isinstance(fact, HeaderFacts)]
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in Counter(one.format for one in own).most_common())
        qualities = [one.quality for one in own if one.quality < NO_JPEG]
        quality = f", median JPEG quality {np.median(qualities):.0f}" if qualities else ""
        side = f", median shorter side {np.median([one.shorter_px for one in own]):.0f} px" if own else "none readable"
        lines[name] = f"{kinds}{quality}{side}"
    return lines


def outcome_lines(outcome: Outcome, *, plan: AlignPlan, out: Path) -> list[str]:
    """Return what told the classes apart before and after, what remains, and what was left out."""
    tables = [
        separations(facts, labels=outcome.labels, generators=outcome.generators)
        for facts in (outcome.before, outcome.after)
    ]
    lines = ["What told fakes from real pictures, as AUROC (0.5: nothing), before and after:"]
    lines += [f"  {name:<14}{tables[0][name][ALL_FAKES]:.3f}  {tables[1][name][ALL_FAKES]:.3f}" for name in tables[0]]
    lines += remaining(outcome, plan=plan)
    if outcome.num_converted:
        lines.append(f"{outcome.num_converted:,} pictures had a colour profile other than sRGB and were converted")
    missing = outcome.missing
    lines += [f"left out: {name}: {reason}" for name, reason in list(missing.items())[:_SHOWN]]
    if len(missing) > _SHOWN:
        lines.append(f"left out: {len(missing) - _SHOWN:,} more, listed in align.json")
    lines.append(f"written: {len(outcome.after):,} pictures, manifest.csv and align.json in {out}")
    lines.append(f"{shlex.join(['veriscope', 'audit', str(out)])}   looks at all that could still give the class away")
    return [printable(line) for line in lines]


def remaining(outcome: Outcome, *, plan: AlignPlan) -> list[str]:
    """Return what can still tell the classes apart, in plain words."""
    before, after = (
        separations(facts, labels=outcome.labels, generators=outcome.generators)
        for facts in (outcome.before, outcome.after)
    )
    said = []
    for name, areas in after.items():
        worst = max(areas, key=lambda part: areas[part])
        if areas[worst] >= _TELLS and name != "byte size":
            said.append(f"remains: {name} tells {_who(worst)} with AUROC {areas[worst]:.2f}")
    size = after.get("byte size", {})
    if size and (area := max(size.values())) >= _TELLS:
        who = _who(max(size, key=lambda part: size[part]))
        said.append(
            f"remains: byte size tells {who} with AUROC {area:.2f}. All have one encoder and one distribution of "
            "qualities: it says how much detail a picture shows"
        )
    scale = before.get("shorter side", {})
    if plan.size.kind == "resize" and scale and (area := max(scale.values())) >= _TELLS:
        said.append(
            f"remains: traces of scaling. The factor tells {_who(max(scale, key=lambda part: scale[part]))} with AUROC "
            f"{area:.2f}; --size crop scales nothing"
        )
    if plan.size.kind == "crop" and scale and (area := max(scale.values())) >= _TELLS:
        said.append("remains: the crop shows a smaller part of the larger pictures. Look whether both show the same")
    return said


def _who(part: str) -> str:
    return "fakes from real" if part == ALL_FAKES else f"{part} from real"


def summary_of(
    outcome: Outcome, *, plan: AlignPlan, manifest: Manifest, title: str, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of align.json as a JSON-able dict."""
    labels = outcome.labels
    tables = [
        separations(facts, labels=labels, generators=outcome.generators) for facts in (outcome.before, outcome.after)
    ]
    treated = [one for one in plan.treatments if one is not None]
    return {
        "data": {
            "name": title,
            "root": str(manifest.root),
            "content_hash": manifest.content_hash,
            **manifest.class_counts(),
        },
        "plan": {
            "size": plan.size.kind,
            "side_px": plan.size.side_px or None,
            "format": plan.format,
            "qualities": {str(quality): count for quality, count in sorted(plan.qualities().items())},
            "given_a_history": sum(one.history is not None for one in treated),
        },
        "written": {"real": int((labels == 0).sum()), "fake": int((labels == 1).sum())},
        "converted_to_srgb": outcome.num_converted,
        "left_out": [{"path": name, "reason": reason} for name, reason in outcome.missing.items()],
        "tells_the_classes_apart": {"before": tables[0], "after": tables[1]},
        "remains": remaining(outcome, plan=plan),
        "provenance": dict(provenance),
    }


def _span(numbers: Sequence[int]) -> str:
    """Return the range of sorted numbers."""
    if numbers[0] == numbers[-1]:
        return str(numbers[0])
    return f"{numbers[0]} to {numbers[-1]}, median {np.median(numbers):.0f}"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.1f} MB"
