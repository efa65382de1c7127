"""From the bundles of a cross-validation's folds to one that averages them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from veriscope.bundle.bundle import Bundle
from veriscope.bundle.record import AuditFacts, EnsembleFacts, Member, TrainingFacts
from veriscope.bundle.save import save_bundle
from veriscope.bundle.seen import Fingerprints, merge_seen
from veriscope.errors import BundleError
from veriscope.models.detector import Detector
from veriscope.models.ensemble import Ensemble
from veriscope.models.ood import Ood, OutOfDistribution
from veriscope.types import Calibration, Threshold, UnsureBand


class Part(NamedTuple):
    """A member to be: `name` for the record, as 'fold 0', its bundle, and what its logits are divided by."""

    name: str
    bundle: Bundle
    temperature: float


def save_ensemble(
    folder: Path,
    parts: Sequence[Part],
    *,
    calibration: Calibration,
    thresholds: Mapping[str, Threshold],
    training: TrainingFacts,
    out_of_fold: Mapping[str, float | None],
    unsure: UnsureBand | None = None,
    audit: AuditFacts | None = None,
    notices: tuple[str, ...] = (),
    overwrite: bool = False,
) -> Bundle:
    """Write one bundle that averages the parts' logits, each divided by its temperature, and return it.

    The parts' own temperatures and thresholds are not taken over. What one part learned the ensemble has learned, also
    where it was another part's val.

    Args:
        folder: to be made; its parents, too.
        parts: the folds' bundles, two or more of one configuration.
        calibration: from the average to the score, on top of the parts' temperatures.
        thresholds: as for save_bundle.
        training: of all parts together.
        out_of_fold: figures of single parts on pictures that they had not learned.
        unsure: as for save_bundle.
        audit: as for save_bundle.
        notices: sentences shown wherever figures or verdicts are; what only parts have to say is added, with their
            names.
        overwrite: replace a bundle that lies there.

    Raises:
        BundleError: fewer than two parts, an ensemble among them, parts of different networks or input, a damaged one,
            or a folder that is taken.

    """
    ensemble = Ensemble(_detectors(parts), temperatures=[part.temperature for part in parts])
    members = tuple(
        Member(name=part.name, temperature=part.temperature, weights_sha256=part.bundle.weights_sha256)
        for part in parts
    )
    return save_bundle(
        folder,
        detector=ensemble,
        calibration=calibration,
        thresholds=thresholds,
        training=training,
        unsure=unsure,
        seen=_seen(parts),
        ood=_ood(parts),
        ensemble=EnsembleFacts(members=members, out_of_fold=dict(out_of_fold)),
        audit=audit,
        notices=(*notices, *_notices_of_some(parts, notices)),
        overwrite=overwrite,
    )


def _detectors(parts: Sequence[Part]) -> list[Detector]:
    if len(parts) < 2:
        raise BundleError(f"an ensemble averages two bundles or more, not {len(parts)}.")
    first = parts[0].bundle
    for part in parts:
        if part.bundle.record.model != first.record.model:
            raise BundleError(
                f"'{part.bundle.folder}' is another network than '{first.folder}', or is shown other input; an "
                "ensemble averages bundles of one configuration."
            )
    detectors = [part.bundle.detector() for part in parts]
    if any(isinstance(detector, Ensemble) for detector in detectors):
        raise BundleError("an ensemble can't be a member of another: name the bundles that it averages.")
    return [detector for detector in detectors if isinstance(detector, Detector)]


def _seen(parts: Sequence[Part]) -> dict[str, Fingerprints] | None:
    """Return what the parts have seen together; None where one of them doesn't know."""
    found = [part.bundle.seen() for part in parts]
    known = [seen for seen in found if seen is not None]
    return merge_seen(known) if len(known) == len(found) else None


def why_no_ood(parts: Sequence[Part]) -> str:
    """Return why an ensemble of the parts has no out-of-distribution score; empty where it has one."""
    known = [(part.name, part.bundle.record.ood) for part in parts]
    lacking = [name for name, facts in known if facts is None]
    if lacking:
        verb = "has" if len(lacking) == 1 else "have"
        return f"{len(lacking)} of its {len(parts)} members {verb} none ({', '.join(lacking)})"
    ways = {name: (facts.method, facts.threshold) for name, facts in known if facts is not None}
    if len(set(ways.values())) > 1:
        told = ", ".join(f"{name} {method} from {threshold:g}" for name, (method, threshold) in ways.items())
        return f"its members' are unlike: {told}"
    return ""


def _ood(parts: Sequence[Part]) -> Ood | None:
    """Return the parts' references side by side; None where `why_no_ood` has a reason."""
    if why_no_ood(parts):
        return None
    found = [(part.bundle.ood(), part.bundle.record.ood) for part in parts]
    known = [(reference, facts) for reference, facts in found if reference is not None and facts is not None]
    members = tuple(member for reference, _ in known for member in reference.members)
    first = known[0][1]
    data = ", ".join(dict.fromkeys(facts.fitted_on for _, facts in known))
    return Ood(OutOfDistribution(members), first.method, first.threshold, f"{data}, of each member its own")


def _notices_of_some(parts: Sequence[Part], said: tuple[str, ...]) -> tuple[str, ...]:
    """Return what parts have to say beyond `said`, with the names of those that say it."""
    names: dict[str, list[str]] = {}
    for part in parts:
        for notice in part.bundle.notices:
            if notice not in said:
                names.setdefault(notice, []).append(part.name)
    return tuple(f"Of its members, {', '.join(who)}: {notice}" for notice, who in names.items())
