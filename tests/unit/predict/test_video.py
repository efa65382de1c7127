"""From frames to a video's verdict: what the middle is, what a suspicious part does, and what a file is told of."""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.bundles import tiny_bundle
from tests.helpers.clips import make_clip, sound_only

from veriscope.bundle.scorer import Scorer
from veriscope.predict.face_finder import Face
from veriscope.predict.faces import FaceCutter, FaceRules
from veriscope.predict.frames import middle, suspicious_stretches
from veriscope.predict.judge import Judge
from veriscope.predict.output import COLUMNS, csv_row, json_line, write_verdicts
from veriscope.predict.thumbnails import Thumbnails, thumbnail
from veriscope.predict.video import VideoRules, judge_paths, judge_video, sum_up
from veriscope.types import FrameVerdict, Stretch, Threshold, UnsureBand, Verdict, VerdictName, VideoVerdict

LETTERS: dict[str, VerdictName | None] = {"f": "fake", "r": "real", "u": "unsure", "-": None}
logits = st.floats(-50, 50)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.of(tiny_bundle(tmp_path_factory.mktemp("video") / "bundle"))


@pytest.fixture(scope="module")
def scorer(judge: Judge) -> Scorer:
    return judge.bundle.scorer(calibration=judge.terms.calibration)


def frames_of(values: Sequence[float], judge: Judge) -> list[FrameVerdict]:
    """One frame a second, each judged as a picture with that logit."""
    found = []
    for second, logit in enumerate(values):
        score = judge.terms.calibration.score(logit)
        found.append(FrameVerdict(float(second), "fake" if score >= judge.threshold.value else "real", score, logit))
    return found


def lettered(letters: str) -> list[FrameVerdict]:
    return [
        FrameVerdict(float(second), LETTERS[letter], None if letter == "-" else 0.5, None if letter == "-" else 0.0)
        for second, letter in enumerate(letters)
    ]


@given(st.lists(logits, min_size=1, max_size=40), st.randoms())
def test_the_middle_is_numpys_median_in_any_order(values: list[float], random: object) -> None:
    assert middle(values) == pytest.approx(float(np.median(values)), abs=1e-12)
    random.shuffle(values)  # type: ignore[attr-defined]
    assert middle(values) == pytest.approx(float(np.median(values)), abs=1e-12)


@given(st.lists(logits, min_size=1, max_size=30), st.data())
def test_raising_a_frame_never_lowers_the_middle(values: list[float], data: st.DataObject) -> None:
    raised = list(values)
    raised[data.draw(st.integers(0, len(values) - 1))] += data.draw(st.floats(0, 100))
    assert middle(raised) >= middle(values)


@given(st.lists(logits, min_size=1, max_size=20), st.data())
def test_fewer_than_half_of_the_frames_cannot_leave_the_others_range(values: list[float], data: st.DataObject) -> None:
    num_wild = data.draw(st.integers(0, (len(values) - 1) // 2))
    wild = [*values[num_wild:], *data.draw(st.lists(st.floats(-1e300, 1e300), min_size=num_wild, max_size=num_wild))]
    tame = values[num_wild:]
    assert min(tame) <= middle(wild) <= max(tame)


def test_the_middle_of_the_smallest_numbers_is_none_below_them() -> None:
    assert middle([5e-324, 5e-324]) == middle([5e-324]) == 5e-324


@given(st.lists(logits, min_size=1, max_size=20), st.integers(1, 4))
def test_more_frames_of_the_same_change_nothing(values: list[float], times: int) -> None:
    assert middle(values * times) == pytest.approx(middle(values), abs=1e-12)


def test_no_values_have_no_middle() -> None:
    with pytest.raises(ValueError, match="no middle"):
        middle([])


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("", []),
        ("rrr", []),
        ("f", []),
        ("ff", []),
        ("fff", [(0, 3, 3)]),
        ("rfrfrfr", []),
        ("rfffr", [(1, 4, 3)]),
        ("rfufufr", [(1, 6, 3)]),
        ("rff-fr", [(1, 5, 3)]),
        ("fffuuu", [(0, 3, 3)]),
        ("fffuur", [(0, 3, 3)]),
        ("uufff", [(2, 5, 3)]),
        ("fffrrfffff", [(0, 3, 3), (5, 10, 5)]),
        ("---", []),
    ],
)
def test_suspicious_stretches(letters: str, expected: list[tuple[int, int, int]]) -> None:
    found = suspicious_stretches(lettered(letters), end_s=float(len(letters)))
    assert [(part.start_s, part.end_s, part.num_frames) for part in found] == expected


@given(st.text(alphabet="fru-", max_size=30))
def test_stretches_lie_in_order_within_the_video_and_hold_their_frames(letters: str) -> None:
    frames = lettered(letters)
    parts = suspicious_stretches(frames, end_s=float(len(letters)))
    edges = [edge for part in parts for edge in (part.start_s, part.end_s)]
    assert edges == sorted(edges)
    for part in parts:
        inside = [frame for frame in frames if part.start_s <= frame.time_s < part.end_s]
        assert sum(frame.label == "fake" for frame in inside) == part.num_frames >= 3
        assert "real" not in {frame.label for frame in inside}


@given(st.lists(logits, min_size=1, max_size=30))
def test_the_score_is_that_of_the_middle(judge: Judge, values: list[float]) -> None:
    verdict = sum_up(frames_of(values, judge), path="a.mp4", judge=judge, end_s=float(len(values)))
    assert verdict.logit == pytest.approx(float(np.median(values)), abs=1e-9)
    assert verdict.score == pytest.approx(judge.terms.calibration.score(float(np.median(values))), abs=1e-9)
    assert (verdict.label == "fake") == (verdict.score >= judge.threshold.value)
    assert verdict.label != "unsure" or verdict.suspicious


def test_a_flicker_decides_nothing_and_a_part_makes_unsure(judge: Judge) -> None:
    sound = [-5.0] * 60
    flicker, part = list(sound), list(sound)
    flicker[7] = flicker[30] = flicker[31] = 40.0
    part[20:26] = [5.0] * 6
    verdict = sum_up(frames_of(flicker, judge), path="a.mp4", judge=judge, end_s=60)
    assert (verdict.label, verdict.suspicious) == ("real", ())
    assert verdict.suspicious_share == 3 / 60
    verdict = sum_up(frames_of(part, judge), path="a.mp4", judge=judge, end_s=60)
    assert verdict.label == "unsure"
    assert verdict.unsure_because == "looks fake from 0:20.0 to 0:26.0"
    assert verdict.longest == Stretch(20.0, 26.0, 6)
    bound = sum_up(frames_of(part, judge), path="a.mp4", judge=judge, end_s=60, rules=VideoRules(may_be_unsure=False))
    assert (bound.label, bound.unsure_because) == ("real", None)
    part[40:44] = [5.0] * 4
    verdict = sum_up(frames_of(part, judge), path="a.mp4", judge=judge, end_s=60)
    assert verdict.unsure_because == "looks fake from 0:20.0 to 0:26.0, and 1 more such parts"
    whole = sum_up(frames_of([5.0] * 60, judge), path="a.mp4", judge=judge, end_s=60)
    assert (whole.label, whole.unsure_because) == ("fake", None)


def test_the_band_and_strangeness_hold_for_the_middle(judge: Judge) -> None:
    band = UnsureBand(
        low=0.3, high=0.6, threshold="val", wanted_accuracy=0.9, coverage=0.8, accuracy=0.9, num_pictures=9,
        chosen_on="val",
    )  # fmt: skip
    with_band = replace(judge, band=band)
    verdict = sum_up(frames_of([0.0] * 5, judge), path="a.mp4", judge=with_band, end_s=5)
    assert (verdict.label, verdict.unsure_because) == (
        "unsure",
        "the score is in the unsure band; looks fake from 0:00.0 to 0:05.0",
    )
    strange = [replace(frame, ood=1.0 if frame.time_s < 3 else 0.1) for frame in frames_of([-5.0] * 5, judge)]
    verdict = sum_up(strange, path="a.mp4", judge=replace(judge, strange_from=0.99), end_s=5)
    assert verdict.label == "unsure"
    assert "unlike anything" in (verdict.unsure_because or "")
    verdict = sum_up(strange[2:], path="a.mp4", judge=replace(judge, strange_from=0.99), end_s=5)
    assert verdict.label == "real", "one strange frame of three"


def two_pictures(scorer: Scorer) -> tuple[np.ndarray, np.ndarray, float]:
    """Return pictures of a low and of a high score, and the score halfway."""
    rng = np.random.default_rng(0)
    found = [rng.integers(low, low + 40, (64, 64, 3)).astype(np.uint8) for low in range(0, 216, 12)]
    scores = [scored.score or 0.0 for scored in scorer.score_pixels((Path("x"), picture) for picture in found)]
    low, high = int(np.argmin(scores)), int(np.argmax(scores))
    return found[low], found[high], (scores[low] + scores[high]) / 2


@pytest.fixture(scope="module")
def planted(scorer: Scorer, judge: Judge) -> tuple[bytes, Judge]:
    """A clip of 20 s whose seconds 6 to 9 are other than the rest, and a judge that calls those fake."""
    low, high, halfway = two_pictures(scorer)
    clip = make_clip(
        200, form="matroska", codec="ffv1", pixel_format="bgr0", size=(64, 64), gop=10,
        picture=lambda number: high if 60 <= number < 90 else low,
    )  # fmt: skip
    return clip, replace(judge, threshold=Threshold(value=halfway, rule="by hand", chosen_on="none"))


@pytest.mark.parametrize("max_frames", [200, 30])
def test_a_planted_part_is_found_at_its_time(
    planted: tuple[bytes, Judge], scorer: Scorer, tmp_path: Path, max_frames: int
) -> None:
    clip, judge = planted
    path = tmp_path / "clip.mkv"
    path.write_bytes(clip)
    thumbnails = Thumbnails()
    rules = VideoRules(max_frames=max_frames)
    verdict = judge_video(scorer, path, judge=judge, rules=rules, thumbnails=thumbnails)
    gap_s = 20 / min(40, max_frames)
    assert (verdict.path, verdict.label, verdict.num_asked) == (str(path), "unsure", min(40, max_frames))
    (part,) = verdict.suspicious
    assert part.start_s == pytest.approx(6, abs=gap_s)
    assert part.end_s == pytest.approx(9, abs=gap_s)
    assert verdict.suspicious_share == pytest.approx(3 / 20, abs=0.03)
    assert [frame.label for frame in verdict.frames].count("fake") == part.num_frames
    # Six of 40 frames are of it, which are three moments that lie apart; of 30, each counts as one.
    assert [6 <= small.frame.time_s < 9 for small in thumbnails.highest] == [True, True, True, max_frames == 30]
    assert not any(6 <= small.frame.time_s < 9 for small in thumbnails.lowest)
    assert judge_video(scorer, clip, judge=judge, rules=rules, name=str(path)) == verdict, "bytes as the file"


def test_frames_are_scored_as_the_same_pictures_are(planted: tuple[bytes, Judge], scorer: Scorer) -> None:
    clip, judge = planted
    low, high, _ = two_pictures(scorer)
    one, other = (scored.logit for scored in scorer.score_pixels([(Path("x"), low), (Path("x"), high)]))
    verdict = judge_video(scorer, clip, judge=judge)
    expected = [other if 6 <= frame.time_s < 9 else one for frame in verdict.frames]
    assert [frame.logit for frame in verdict.frames] == pytest.approx(expected, abs=1e-4)


class AlwaysThere:
    """Finds one face in the left half of a frame, another one in the right half."""

    facts: ClassVar[dict[str, Any]] = {"detector": "halves"}

    def __init__(self, *, num_faces: int = 2) -> None:
        self.num_faces = num_faces

    def find(self, image_HWC: np.ndarray) -> tuple[Face, ...]:
        height, width = image_HWC.shape[:2]
        halves = (Face(0, 0, width / 2, height, 0.9), Face(width / 2, 0, width / 2, height, 0.8))
        return halves[: self.num_faces]


def test_faces_are_followed_and_the_highest_track_decides(planted: tuple[bytes, Judge], scorer: Scorer) -> None:
    clip, judge = planted
    rules = FaceRules(margin=0.0, min_px=8)
    verdict = judge_video(scorer, clip, judge=judge, cutter=FaceCutter(AlwaysThere(), rules))
    assert [(track.start_s, track.num_frames) for track in verdict.tracks] == [(0.2, 40), (0.2, 40)]
    assert verdict.decides == max((0, 1), key=lambda place: verdict.tracks[place].score or 0.0)
    chosen = verdict.tracks[verdict.decides]
    assert (verdict.score, verdict.logit) == (chosen.score, chosen.logit)
    for frame in verdict.frames:
        assert frame.score == max(face.score or 0.0 for face in frame.faces)


def test_a_video_without_faces_is_judged_as_asked(planted: tuple[bytes, Judge], scorer: Scorer) -> None:
    clip, judge = planted
    whole = judge_video(scorer, clip, judge=judge)
    nobody = AlwaysThere(num_faces=0)
    found = judge_video(scorer, clip, judge=judge, cutter=FaceCutter(nobody, FaceRules()))
    assert found.logit == whole.logit
    assert found.notes[-1] == "no face found in its frames: whole frames were judged"
    none = judge_video(scorer, clip, judge=judge, cutter=FaceCutter(nobody, FaceRules(no_face="nothing")))
    assert (none.label, none.error) == (None, "no face found in its frames")


def test_what_cannot_be_read_has_no_verdict_and_a_reason(judge: Judge, scorer: Scorer, tmp_path: Path) -> None:
    for content, reason in ((sound_only(), "no video stream"), (b"no", "not a video"), (b"", "empty file")):
        (tmp_path / "a.mp4").write_bytes(content)
        verdict = judge_video(scorer, tmp_path / "a.mp4", judge=judge)
        assert (verdict.label, verdict.score, verdict.frames) == (None, None, ())
        assert reason in (verdict.error or "")
    late = judge_video(scorer, make_clip(50), judge=judge, rules=VideoRules(time_limit_s=1e-9))
    assert "took longer" in (late.error or "")


def test_pictures_and_videos_keep_their_order() -> None:
    def seen_by(word: str) -> Callable[[Path], Verdict]:
        return lambda path: Verdict(path=f"{word} {path}", label="real", score=0.0, logit=0.0, threshold=0.5)

    names = ["a.png", "b.jpg", "c.MP4", "d.mov", "e.gif", "f.tar@0+9/g.mp4", "h.webm"]
    found = judge_paths(map(Path, names), pictures=lambda run: map(seen_by("picture"), run), video=seen_by("video"))
    kinds = ["picture", "picture", "video", "video", "picture", "picture", "video"]
    assert [verdict.path for verdict in found] == [f"{kind} {name}" for kind, name in zip(kinds, names, strict=True)]


def test_rows_of_videos_can_be_read_back(planted: tuple[bytes, Judge], scorer: Scorer) -> None:
    clip, judge = planted
    verdict = judge_video(scorer, clip, judge=judge, name="=clip.mkv")
    plain = json.loads(json_line(verdict))
    assert plain["verdict"] == "unsure"
    video = plain["video"]
    assert (video["frames_asked"], video["frames_judged"], video["frames_damaged"]) == (40, 40, 0)
    assert [part["frames"] for part in video["suspicious"]] == [6]
    assert [frame["time_s"] for frame in video["frames"]][:3] == [0.2, 0.7, 1.2]
    assert {frame["verdict"] for frame in video["frames"]} == {"fake", "real"}
    (cells,) = csv.reader(io.StringIO(csv_row(verdict)))
    row = dict(zip(COLUMNS, cells, strict=True))
    assert row["path"] == "'=clip.mkv"
    assert row["video"] == "6 of 40 frames look fake"
    stream = io.StringIO()
    write_verdicts([verdict], stream, form="lines", facts={})
    told = f"{verdict.unsure_because}; 6 of 40 frames look fake"
    assert stream.getvalue().rstrip("\n").split("\t")[2:] == ["=clip.mkv", told]
    stream = io.StringIO()
    write_verdicts([verdict], stream, form="json", facts=judge.facts())
    assert json.loads(stream.getvalue())["verdicts"][0]["video"] == video


def test_thumbnails_show_extremes_of_different_moments_and_no_frame_twice() -> None:
    dot = np.zeros((2, 2, 3), dtype=np.uint8)
    kept = Thumbnails(num_shown=4)
    for second in range(1000):  # four hills of 200 s each, and between them valleys
        score = 0.5 + 0.4 * math.sin(second * math.tau / 200) + second / 1e5
        kept.offer(FrameVerdict(float(second), "real", score, 0.0), dot)
    assert [small.frame.time_s for small in kept.highest] == [850, 650, 450, 250]
    assert [small.frame.time_s for small in kept.lowest] == [150, 350, 550, 750]
    few = Thumbnails(num_shown=4)
    few.offer(FrameVerdict(0.0, None, None, None, error="x"), dot)
    for second in range(5):
        few.offer(FrameVerdict(float(second), "real", second / 10, 0.0), dot)
    assert [small.frame.time_s for small in (*few.highest, *few.lowest)] == [4, 3, 2, 1, 0]
    equal = Thumbnails(num_shown=4)
    for _ in range(100):  # a file may give all its frames one time
        equal.offer(FrameVerdict(0.0, "real", 0.5, 0.0), dot)
    assert [small.number for small in equal.highest] == [0, 4, 8, 12]
    assert [small.number for small in equal.lowest] == [16, 20, 24, 28]
    assert thumbnail(np.zeros((1080, 1920, 3), dtype=np.uint8)).shape == (90, 160, 3)
    assert thumbnail(np.zeros((5, 4000, 3), dtype=np.uint8)).shape == (1, 160, 3)
    assert math.isclose(VideoVerdict("a", None, None, None, 0.5).end_s, 0)


def test_reading_apart_changes_no_verdict(planted: tuple[bytes, Judge], scorer: Scorer) -> None:
    clip, judge = planted
    rules = VideoRules(max_frames=20, threads=1)
    here = judge_video(scorer, clip, judge=judge, rules=rules)
    assert judge_video(scorer, clip, judge=judge, rules=replace(rules, apart=True)) == here
