"""What the copies in a data set mean for whoever trains or judges with it, in plain words."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from veriscope.audit.check import Check, Status, status_of
from veriscope.audit.duplicates import (
    Bools,
    Duplicates,
    Rows,
    Shared,
    holds_several,
    within_parts,
)
from veriscope.config.audit import DuplicatesConfig
from veriscope.data.manifest import Manifest
from veriscope.types import CLASS_NAMES

NUM_EXAMPLES = 3  # clusters

_KEEP_ONE = (
    "keep each in one split: remove its copies from the others (pairs.csv names them); where the program cuts the "
    "splits, one group for them will do (data.group_column)"
)


def duplicate_checks(found: Duplicates, manifest: Manifest, config: DuplicatesConfig) -> list[Check]:
    """Return the checks of copies within and across splits and classes, and of groups.

    Without hashes there is none of near copies, and `duplicates.compared` says so.
    """
    classes = np.array(CLASS_NAMES, dtype=object)[manifest.labels]
    exact_splits = holds_several(found.exact, manifest.splits)
    exact_classes = holds_several(found.exact, classes)
    checks = [
        _exact_check("splits", found.exact, exact_splits, manifest, manifest.splits),
        _exact_check("classes", found.exact, exact_classes, manifest, classes),
    ]
    if found.compared.any():
        near_splits = holds_several(found.near, manifest.splits) & ~exact_splits
        near_classes = holds_several(found.near, classes) & ~exact_classes
        checks += [
            _near_splits_check(found.near, near_splits, manifest, config),
            _near_classes_check(found.near, near_classes, manifest, classes),
        ]
    return [*checks, _within_check(found, manifest, config), _groups_check(found, manifest), _compared_check(found)]


def shared_checks(found: Shared, manifest: Manifest, other: Manifest, config: DuplicatesConfig) -> list[Check]:
    """Return the checks of what a data set has in common with another; of near copies only where both have hashes."""
    size = max(len(manifest), 1)
    exact, near = found.exact >= 0, found.near >= 0
    checks = [
        Check(
            name="duplicates.against_exact",
            status=status_of(float(exact.sum()), warn_at=None, stop_at=1),
            text=f"{_share(exact.sum(), size)} are in {found.name} too, as exact copies{_relabelled(found, exact)}"
            if exact.any()
            else f"no picture is an exact copy of one in {found.name}",
            mend=f"don't judge on {found.name} what was trained here, nor the other way round, before they are removed"
            if exact.any()
            else None,
            value=float(exact.sum()),
            stop_at=1,
            count=int(exact.sum()),
            examples=_matches(found.exact, manifest, other),
        )
    ]
    if found.num_unread:
        checks.append(_against_unread_check(found))
    if not found.compared.any():
        return checks
    share = float(near.sum()) / size
    checks.append(
        Check(
            name="duplicates.against_near",
            status=_at_least_warn(share, near, config.stop_near_share),
            text=f"{_share(near.sum(), size)} are near copies of pictures in {found.name}{_relabelled(found, near)}"
            if near.any()
            else f"no picture is a near copy of one in {found.name}",
            mend="look at them; what is the same picture belongs to one of the two only" if near.any() else None,
            value=share,
            warn_at=0,
            stop_at=config.stop_near_share,
            count=int(near.sum()),
            examples=_matches(found.near, manifest, other),
        )
    )
    return checks


def _against_unread_check(found: Shared) -> Check:
    """Return that a part of the other data set was not compared; where that is all of it, nothing was asked."""
    return Check(
        name="duplicates.against_unreadable",
        status="stop" if found.num_unread == found.num_other else "warn",
        text=f"{found.num_unread:,} of {found.num_other:,} files of {found.name} can't be read, so no copy is found",
        mend=f"bring sound copies of these files of {found.name}; an audit of it lists them",
        value=found.num_unread / found.num_other,
        warn_at=0,
        stop_at=1,
        count=found.num_unread,
    )


def _exact_check(what: str, codes: Rows, across: Bools, manifest: Manifest, values: npt.NDArray[Any]) -> Check:
    count = int(across.sum())
    if what == "classes":
        none, mend = (
            "no picture is both real and fake",
            "decide what each is; remove the wrong copies",
        )
        text = f"{_pictures(codes, across)} both real and fake, in {count} files"
    else:
        none = "no picture lies in two splits" if manifest.has_splits else "the data names no splits"
        text, mend = f"{_pictures(codes, across)} in several splits: {_where(codes, across, values)}", _KEEP_ONE
    return Check(
        name=f"duplicates.exact_across_{what}",
        status=status_of(float(count), warn_at=None, stop_at=1),
        text=text if count else none,
        mend=mend if count else None,
        value=float(count),
        stop_at=1,
        count=count,
        examples=_examples(codes, across, manifest, values),
    )


def _near_splits_check(codes: Rows, across: Bools, manifest: Manifest, config: DuplicatesConfig) -> Check:
    splits = manifest.splits
    shares = {name: float(across[splits == name].mean()) for name in sorted({*splits} - {None})}
    worst = max(shares, key=lambda name: shares[name], default="")
    share = shares.get(worst, 0.0)
    none = "no picture has a near copy in another split" if manifest.has_splits else "the data names no splits"
    return Check(
        name="duplicates.near_across_splits",
        status=_at_least_warn(share, across, config.stop_near_share),
        text=f"{_percent(share)} of {worst} have a near copy (compressed again, resized, mirrored, slightly cropped) "
        f"in another split: {_where(codes, across, splits)}"
        if across.any()
        else none,
        mend=_KEEP_ONE if across.any() else None,
        value=share,
        warn_at=0,
        stop_at=config.stop_near_share,
        count=int(across.sum()),
        examples=_examples(codes, across, manifest, splits),
    )


def _near_classes_check(codes: Rows, across: Bools, manifest: Manifest, classes: npt.NDArray[Any]) -> Check:
    count = int(across.sum())
    return Check(
        name="duplicates.near_across_classes",
        status="warn" if count else "pass",
        text=f"{_pictures(codes, across)} in both classes as near copies ({count} files): fakes that were "
        "edited from real pictures, or wrong labels"
        if count
        else "no fake is a near copy of a real picture",
        mend="give each fake and its original one group (in a CSV list: the column group), so that no split parts them"
        if count
        else None,
        value=float(count),
        warn_at=1,
        count=count,
        examples=_examples(codes, across, manifest, classes),
    )


def _within_check(found: Duplicates, manifest: Manifest, config: DuplicatesConfig) -> Check:
    # A fake and the picture that it was made from are no repetition: near_across_classes asks for those.
    exact_codes, codes = (within_parts(codes, manifest.splits, manifest.labels) for codes in (found.exact, found.near))
    exact, everything = (len(own) - np.unique(own).size for own in (exact_codes, codes))
    at = config.warn_within_share
    share = everything / max(len(manifest), 1)
    # One warns where splits are still to be cut: they would part a picture and its copy, and the training stop.
    status: Status = "warn" if exact and not manifest.has_splits else status_of(share, warn_at=at, stop_at=None)
    harm = "copies make intervals too narrow" if manifest.has_splits else "a split would put copies on both sides"
    several = np.bincount(codes, minlength=1)[codes] > 1 if len(codes) else np.zeros(0, bool)
    return Check(
        name="duplicates.within_splits",
        status=status,
        text=f"{_share(everything, len(manifest))} only repeat another of their split and class "
        f"({exact} of them exactly)"
        if everything
        else "no picture is there twice in a split and class",
        mend=f"keep one of each (pairs.csv names them): {harm}" if status == "warn" else None,
        value=share,
        warn_at=at,
        count=everything,
        examples=_examples(codes, several, manifest, np.arange(len(codes)).astype(object)) if everything else (),
    )


def _groups_check(found: Duplicates, manifest: Manifest) -> Check:
    across = found.group_crosses
    names = sorted({str(name) for name in manifest.groups[across]})
    some = ", ".join(f"'{name}'" for name in names[:NUM_EXAMPLES]) + (", ..." if len(names) > NUM_EXAMPLES else "")
    has_groups = manifest.group_codes is not None
    return Check(
        name="duplicates.groups_across_splits",
        status=status_of(float(len(names)), warn_at=None, stop_at=1),
        text=f"{_num(len(names), 'group')} in several splits, {int(across.sum())} pictures in all: {some}"
        if names
        else ("no group lies in two splits" if has_groups else "the data names no groups"),
        mend="split anew by group (a manifest without splits is split so that no group is parted)" if names else None,
        value=float(len(names)),
        stop_at=1,
        count=int(across.sum()),
        examples=tuple(manifest.table["path"].take(np.flatnonzero(across)[: 2 * NUM_EXAMPLES]).to_pylist()),
    )


def _compared_check(found: Duplicates) -> Check:
    compared, total = int(found.compared.sum()), len(found.compared)
    if not compared:
        text = "near copies were not looked for: no picture was opened, or all are too plain"
    elif found.too_plain:
        text = (
            f"{compared} of {total} pictures were compared for near copies; {found.too_plain} are too plain to tell a "
            "near copy from a picture that looks alike, as one colour, a gradient, a bare horizon"
        )
    else:
        text = f"{compared} of {total} pictures were compared for near copies"
    return Check(name="duplicates.compared", status="pass", text=text, value=float(compared), count=found.too_plain)


def _at_least_warn(share: float, concerned: Bools, stop_at: float) -> Status:
    """Return the status of near copies: one warns, however small its share."""
    if not concerned.any():
        return "pass"
    return "stop" if share >= stop_at else "warn"


def _where(codes: Rows, across: Bools, values: npt.NDArray[Any]) -> str:
    """Return where the pictures of clusters lie, the most first: `5 in test and train, 2 in train and val`."""
    places: dict[int, set[str]] = {}
    for row in np.flatnonzero(across):
        if values[row] is not None:
            places.setdefault(int(codes[row]), set()).add(str(values[row]))
    counts = Counter(" and ".join(sorted(place)) for place in places.values())
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count} in {place}" for place, count in ordered)


def _examples(codes: Rows, across: Bools, manifest: Manifest, values: npt.NDArray[Any]) -> tuple[str, ...]:
    """Return of some clusters two paths each, one after the other, whose values differ."""
    rows = np.flatnonzero(across)
    pairs: dict[int, list[int]] = {}
    for row in rows:
        pair = pairs.setdefault(int(codes[row]), [])
        if len(pair) == 0 or (len(pair) == 1 and values[row] != values[pair[0]] and values[row] is not None):
            pair.append(int(row))
    chosen = [pair for pair in pairs.values() if len(pair) == 2][:NUM_EXAMPLES]
    return tuple(str(manifest.table["path"][row].as_py()) for pair in chosen for row in pair)


def _matches(copies: Rows, manifest: Manifest, other: Manifest) -> tuple[str, ...]:
    rows = np.flatnonzero(copies >= 0)[:NUM_EXAMPLES]
    return tuple(
        path
        for row in rows
        for path in (manifest.table["path"][int(row)].as_py(), str(other.absolute_path(int(copies[row]))))
    )


def _relabelled(found: Shared, concerned: Bools) -> str:
    count = int((found.relabelled & concerned).sum())
    return f", {count} of them under the other label" if count else ""


def _pictures(codes: Rows, across: Bools) -> str:
    count = np.unique(codes[across]).size
    return f"{count} picture{'s are' if count != 1 else ' is'}"


def _num(count: int, what: str) -> str:
    return f"{count} {what}{'s lie' if count != 1 else ' lies'}"


def _share(count: int, total: int) -> str:
    return f"{int(count)} of {total} pictures ({_percent(count / max(total, 1))})"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"
