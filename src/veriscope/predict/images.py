"""From paths to verdicts."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from veriscope.bundle.scorer import Scored, Scorer
from veriscope.data.decode import IMAGE_SUFFIXES
from veriscope.data.places import slice_of
from veriscope.errors import DataError
from veriscope.models.ood import is_strange
from veriscope.types import Threshold, UnsureBand, Verdict, name_verdict


def collect_images(paths: Sequence[Path]) -> tuple[list[Path], Counter[str]]:
    """Return the files to judge, and how many others were passed over by extension ('.mp4').

    Named files, and slices of shards (data.places), are taken as they are, folders searched recursively for images by
    extension.

    Named order is kept, inside a folder the order of names. Hidden files and folders inside a named one are passed
    over; links to folders are not followed. A folder that can't be read stands in the list itself, so that it ends
    as "no verdict" instead of missing silently.

    Raises:
        DataError: a path that does not exist, or nothing to judge in all of them.

    """
    missing = [path for path in paths if slice_of(path) is None and not os.path.lexists(path)]
    if missing:
        listed = ", ".join(f"'{path}'" for path in missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise DataError(f"no such file or folder: {listed}")
    found: list[Path] = []
    passed: Counter[str] = Counter()
    for path in paths:
        found.extend(_images_in(path, passed) if path.is_dir() else [path])
    if not found:
        listed = ", ".join(f"'{path}'" for path in paths)
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"no images in {listed}: looked for {kinds}. Name a file itself to have it tried anyway.")
    return found, passed


def _images_in(folder: Path, passed: Counter[str]) -> Iterator[Path]:
    unreadable: list[Path] = []

    def note(error: OSError) -> None:
        unreadable.append(Path(os.fsdecode(error.filename)))

    for top, folders, files in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
            if name.startswith("."):
                continue
            if suffix in IMAGE_SUFFIXES:
                yield Path(top, name)
            else:
                passed[suffix or "without ending"] += 1
    yield from unreadable


def judge_images(
    scorer: Scorer,
    paths: Iterable[Path],
    *,
    threshold: Threshold,
    band: UnsureBand | None = None,
    strange_from: float | None = None,
) -> Iterator[Verdict]:
    """Yield one verdict for each path, in order; a file that can't be read has the label None and an error."""
    for scored in scorer.score_paths(paths):
        yield to_verdict(scored, threshold=threshold, band=band, strange_from=strange_from)


def to_verdict(
    scored: Scored, *, threshold: Threshold, band: UnsureBand | None = None, strange_from: float | None = None
) -> Verdict:
    """Return the verdict: unsure inside the band or where `ood` reaches `strange_from`, else fake where the score
    reaches the threshold. None of either: no picture is unsure for that reason."""
    if scored.score is None:
        return Verdict(
            path=str(scored.path),
            label=None,
            score=None,
            logit=None,
            threshold=threshold.value,
            error=scored.error or "no score",
        )
    label = name_verdict(scored.score, threshold=threshold.value, band=band)
    reasons = []
    if strange_from is not None and is_strange(scored.ood, strange_from):
        reasons.append(strange_reason(strange_from))
    if label == "unsure":
        reasons.append("the score is in the unsure band")
    return Verdict(
        path=str(scored.path),
        label="unsure" if reasons else label,
        score=scored.score,
        logit=scored.logit,
        threshold=threshold.value,
        unsure_because="; ".join(reasons) or None,
        ood=scored.ood,
    )


def strange_reason(strange_from: float) -> str:
    """Return why a picture whose `ood` reaches `strange_from` is unsure."""
    share = f"{100 * strange_from:.4g} %"
    return f"unlike anything it was trained with (stranger than {share} of its validation pictures)"
