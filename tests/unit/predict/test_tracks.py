"""Faces are followed by their place: across gaps, past each other, and no farther than that tells."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.bundles import tiny_bundle

from veriscope.predict.frames import middle
from veriscope.predict.judge import Judge
from veriscope.predict.tracks import LONGEST_GAP, deciding, follow
from veriscope.types import FaceTrack, FaceVerdict, FrameVerdict, Region


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.of(tiny_bundle(tmp_path_factory.mktemp("tracks") / "bundle"))


def face(left: int, logit: float | None, judge: Judge, *, side: int = 100) -> FaceVerdict:
    score = None if logit is None else judge.terms.calibration.score(logit)
    label = None if score is None else "fake" if score >= judge.threshold.value else "real"
    return FaceVerdict(Region(left, 50, side, side), 0.9, label, score, logit)


def film(*frames: Sequence[tuple[int, float | None]], judge: Judge) -> list[FrameVerdict]:
    """Return one frame a second of faces (left, logit)."""
    found = []
    for second, people in enumerate(frames):
        faces = tuple(face(left, logit, judge) for left, logit in people)
        found.append(FrameVerdict(float(second), None, None, None, faces=faces))
    return found


def logits(tracks: Sequence[FaceTrack]) -> list[tuple[float | None, int]]:
    return [(track.logit, track.num_frames) for track in tracks]


def test_two_people_who_stay_are_two_tracks_whatever_their_order(judge: Judge) -> None:
    one, other = (0, -2.0), (200, 3.0)
    tracks = follow(film([one, other], [other, one], [one, other], judge=judge), judge=judge)
    assert logits(tracks) == [(-2.0, 3), (3.0, 3)]
    assert [(track.start_s, track.last_s, track.region.left) for track in tracks] == [(0, 2, 0), (0, 2, 200)]
    assert [track.label for track in tracks] == ["real", "fake"]


def test_people_who_pass_each_other_keep_their_tracks_where_they_overlap_themselves_more(judge: Judge) -> None:
    lefts = range(0, 301, 25)
    frames = [[(left, -2.0), (310 - left, 3.0)] for left in lefts]
    tracks = follow(film(*frames, judge=judge), judge=judge)
    # Where the faces lie upon each other, a place tells no more who is who: the tracks may change people there.
    assert [track.num_frames for track in tracks] == [13, 13]
    apart = follow(film(*frames[:5], judge=judge), judge=judge)
    assert logits(apart) == [(-2.0, 5), (3.0, 5)]


def test_equal_places_keep_the_order_of_the_faces(judge: Judge) -> None:
    """A margin as wide as the frame gives everybody the same region."""
    tracks = follow(film(*[[(0, -2.0), (0, 3.0)]] * 4, judge=judge), judge=judge)
    assert logits(tracks) == [(-2.0, 4), (3.0, 4)]


@pytest.mark.parametrize("gap", range(LONGEST_GAP + 3))
def test_a_gap_is_bridged_up_to_its_longest(judge: Judge, gap: int) -> None:
    tracks = follow(film([(0, 1.0)], *[[]] * gap, [(10, 1.0)], judge=judge), judge=judge)
    assert [track.num_frames for track in tracks] == ([2] if gap <= LONGEST_GAP else [1, 1])


def test_one_who_leaves_ends_and_one_far_away_begins(judge: Judge) -> None:
    tracks = follow(film([(0, 1.0), (300, 2.0)], [(0, 1.0)], [(0, 1.0), (600, 4.0)], judge=judge), judge=judge)
    assert [(track.start_s, track.last_s, track.logit) for track in tracks] == [(0, 2, 1.0), (0, 0, 2.0), (2, 2, 4.0)]


def test_a_track_s_score_is_that_of_its_middle_frame(judge: Judge) -> None:
    values = [-3.0, 5.0, -1.0, None, 0.5]
    (track,) = follow(film(*[[(0, value)] for value in values], judge=judge), judge=judge)
    assert track.logit == middle([-3.0, 5.0, -1.0, 0.5])
    assert track.score == pytest.approx(judge.terms.calibration.score(track.logit))
    assert track.num_frames == 5
    (none,) = follow(film([(0, None)], judge=judge), judge=judge)
    assert (none.label, none.score, none.logit) == (None, None, None)


def test_a_face_that_looks_fake_for_a_while_is_not_called_real(judge: Judge) -> None:
    partly = film(*[[(0, 3.0)]] * 3, *[[(0, -3.0)]] * 4, judge=judge)
    (track,) = follow(partly, judge=judge)
    assert (track.label, track.logit) == ("unsure", -3.0)
    assert follow(partly, judge=judge, may_be_unsure=False)[0].label == "real"
    flickers = film(*[[(0, 3.0)]] * 2, *[[(0, -3.0)]] * 4, judge=judge)
    assert follow(flickers, judge=judge)[0].label == "real"


def test_the_highest_of_the_long_tracks_decides(judge: Judge) -> None:
    frames = film(
        [(0, -2.0), (300, 1.0)], [(0, -2.0), (300, 1.0)], [(0, -2.0), (300, 1.0), (600, 9.0)], [(600, 9.0)], judge=judge
    )
    tracks = follow(frames, judge=judge)
    assert [track.num_frames for track in tracks] == [3, 3, 2]
    assert deciding(tracks, min_frames=3) == 1
    assert deciding(tracks, min_frames=2) == 2
    assert deciding(tracks, min_frames=4) is None
    assert deciding((), min_frames=1) is None
    assert deciding((tracks[0], tracks[0]), min_frames=1) == 0, "the first of equals"


@given(st.lists(st.lists(st.tuples(st.integers(0, 900), st.floats(-9, 9)), max_size=4), max_size=12))
def test_every_face_is_in_one_track(judge: Judge, frames: list[list[tuple[int, float]]]) -> None:
    tracks = follow(film(*frames, judge=judge), judge=judge)
    assert sum(track.num_frames for track in tracks) == sum(map(len, frames))
    for track in tracks:
        assert 1 <= track.num_frames <= track.last_s - track.start_s + 1
    assert [track.start_s for track in tracks] == sorted(track.start_s for track in tracks)
