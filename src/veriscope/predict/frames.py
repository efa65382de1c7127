"""From the answers for single frames to the answer for their video: pure functions."""

from collections.abc import Sequence

from veriscope.types import FrameVerdict, Stretch

MIN_STRETCH = 3  # frames. One that flickers, or a pair, is what compression and cuts do to sound videos


def middle(values: Sequence[float]) -> float:
    """Return the median; of an even number of values the mean of the two in the middle.

    Half of the frames may say anything without moving it beyond what the other half says, so that neither one frame nor
    a run of neighbours decides. It doesn't matter whether logits or their calibrated scores are ordered.

    Raises:
        ValueError: no values.

    """
    if not values:
        raise ValueError("no values have no middle")
    ordered = sorted(values)
    half = len(ordered) // 2
    low, high = ordered[half - 1 + len(ordered) % 2], ordered[half]
    # Half of each, for two logits whose sum is beyond the largest float; the halves of the smallest floats are 0.
    return min(max(low / 2 + high / 2, low), high)


def suspicious_stretches(
    frames: Sequence[FrameVerdict], *, end_s: float, min_frames: int = MIN_STRETCH
) -> tuple[Stretch, ...]:
    """Return the parts that look fake: `min_frames` or more frames called fake, with none called real between them.

    Unsure frames and frames without a verdict neither make a stretch nor end it. It lasts until the next frame that was
    judged otherwise, or until the video ends.
    """
    found: list[Stretch] = []
    start_s = last_s = 0.0
    count = 0
    until_s: float | None = None

    def close() -> None:
        if count >= min_frames:
            found.append(Stretch(start_s, max(until_s if until_s is not None else end_s, last_s), count))

    for frame in frames:
        if frame.label == "fake":
            start_s = start_s if count else frame.time_s
            last_s, until_s = frame.time_s, None
            count += 1
            continue
        if frame.label is not None and count and until_s is None:
            until_s = frame.time_s
        if frame.label == "real":
            close()
            count = 0
    close()
    return tuple(found)
