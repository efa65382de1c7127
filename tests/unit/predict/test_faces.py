"""From faces to a picture's verdict: what is cut out, which face decides, and what is said without one."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.helpers.bundles import tiny_bundle
from tests.helpers.faces import group, portrait

from veriscope.bundle.scorer import Scored, Scorer
from veriscope.commands.arguments import add_faces
from veriscope.errors import DataError
from veriscope.predict.face_finder import Face, YuNet, face_model
from veriscope.predict.face_text import faces_footer, faces_json, faces_line
from veriscope.predict.faces import (
    Cut,
    FaceCutter,
    FaceRules,
    face_cutter,
    judge_faces,
    part_of,
    region_of,
    score_groups,
    surroundings,
)
from veriscope.predict.judge import Judge
from veriscope.types import FacesVerdict, Region, Threshold, UnsureBand

sides = st.integers(1, 3000)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.of(tiny_bundle(tmp_path_factory.mktemp("faces") / "bundle"))


@pytest.fixture(scope="module")
def scorer(judge: Judge) -> Scorer:
    return judge.bundle.scorer(device="cpu", precision="fp32", calibration=judge.terms.calibration, batch_size=4)


@pytest.fixture(scope="module")
def finder() -> YuNet:
    return YuNet(face_model(None))


@st.composite
def pictures_with_a_face(draw: st.DrawFn) -> tuple[Face, int, int]:
    """A picture's height and width, and a face whose middle lies in it."""
    height, width = draw(sides), draw(sides)
    across, down = draw(st.floats(1, 2000)), draw(st.floats(1, 2000))
    x, y = draw(st.floats(0, 1, exclude_max=True)) * width, draw(st.floats(0, 1, exclude_max=True)) * height
    return Face(x - across / 2, y - down / 2, across, down, 0.9), height, width


@given(pictures_with_a_face(), st.floats(0, 3))
def test_a_region_lies_in_the_picture_and_is_square_where_it_fits(place: tuple[Face, int, int], margin: float) -> None:
    face, height, width = place
    left, top, across, down = region_of(face, margin=margin, height=height, width=width)
    assert 0 <= left <= left + across <= width
    assert 0 <= top <= top + down <= height
    assert across > 0
    assert down > 0
    side = face.side * (1 + 2 * margin)
    assert across == pytest.approx(min(side, width), abs=1)
    assert down == pytest.approx(min(side, height), abs=1)
    inside = face.left >= 0 and face.top >= 0 and face.left + face.width <= width and face.top + face.height <= height
    if inside:
        assert left <= face.left + 1
        assert top <= face.top + 1
        assert left + across >= face.left + face.width - 1
        assert top + down >= face.top + face.height - 1


@pytest.mark.parametrize(
    ("face", "margin", "expected"),
    [
        (Face(100, 100, 40, 50, 1), 0.0, (95, 100, 50, 50)),
        (Face(100, 100, 40, 50, 1), 0.5, (70, 75, 100, 100)),
        (Face(0, 0, 50, 50, 1), 0.5, (0, 0, 100, 100)),  # moved, not made smaller
        (Face(150, 250, 50, 50, 1), 0.5, (100, 200, 100, 100)),
        (Face(0, 0, 200, 300, 1), 0.5, (0, 0, 200, 300)),  # as much as there is
        (Face(80, 100, 40, 100, 1), 1.0, (0, 0, 200, 300)),
        (Face(-20, 10, 60, 60, 1), 0.0, (0, 10, 60, 60)),
    ],
)
def test_regions_by_hand(face: Face, margin: float, expected: tuple[int, int, int, int]) -> None:
    assert region_of(face, margin=margin, height=300, width=200) == expected


@given(pictures_with_a_face(), st.floats(0, 1))
def test_surroundings_hold_the_region_and_lie_in_the_picture(place: tuple[Face, int, int], margin: float) -> None:
    face, height, width = place
    region = region_of(face, margin=margin, height=height, width=width)
    around = surroundings(region, height=height, width=width)
    assert 0 <= around.left <= region.left
    assert 0 <= around.top <= region.top
    assert region.left + region.width <= around.left + around.width <= width
    assert region.top + region.height <= around.top + around.height <= height
    assert around.width <= 2 * region.width


@pytest.fixture(scope="module")
def three() -> np.ndarray:
    """Faces of about 142, 106 and 35 px."""
    return group((0, 0, 400), (400, 0, 300), (700, 0, 100), size=(800, 420))


def test_small_faces_and_those_beyond_the_most_are_counted_not_judged(finder: YuNet, three: np.ndarray) -> None:
    cut = FaceCutter(finder, FaceRules()).cut(three)
    assert (len(cut.regions), cut.num_small, cut.num_beyond) == (2, 1, 0)
    assert cut.regions[0].width > cut.regions[1].width
    assert len(FaceCutter(finder, FaceRules(min_px=20)).cut(three).regions) == 3
    one = FaceCutter(finder, FaceRules(min_px=20, max_faces=1)).cut(three)
    assert (one.regions, one.num_small, one.num_beyond) == (cut.regions[:1], 0, 2)
    none = FaceCutter(finder, FaceRules(min_px=1000)).cut(three)
    assert (none.regions, none.num_small) == ((), 3)


def test_the_margin_is_a_share_of_the_face_on_each_side(finder: YuNet) -> None:
    (face,) = finder.find(portrait())
    for margin in (0.0, 0.15, 0.3):
        (region,) = FaceCutter(finder, FaceRules(margin=margin)).cut(portrait()).regions
        assert region.width == region.height == round(face.side * (1 + 2 * margin))


def verdicts(paths: Sequence[Path], scorer: Scorer, judge: Judge, cutter: FaceCutter) -> list[FacesVerdict]:
    found = list(judge_faces(scorer, paths, cutter=cutter, judge=judge))
    assert [verdict.path for verdict in found] == [str(path) for path in paths]
    return found  # type: ignore[return-value]


def save(image_HWC: np.ndarray, file: Path) -> Path:
    Image.fromarray(image_HWC).save(file)
    return file


def test_each_face_is_scored_as_its_crop_and_the_highest_decides(
    finder: YuNet, scorer: Scorer, judge: Judge, three: np.ndarray, tmp_path: Path
) -> None:
    path = save(three, tmp_path / "three.png")
    cutter = FaceCutter(finder, FaceRules(min_px=20))
    (verdict,) = verdicts([path], scorer, judge, cutter)
    crops = [(Path("x"), part_of(three, face.region)) for face in verdict.faces]
    expected = [scored.logit for scored in scorer.score_pixels(crops)]
    assert len(expected) == 3
    assert [face.logit for face in verdict.faces] == pytest.approx(expected, abs=1e-5)
    assert verdict.decides == int(np.argmax(expected))
    assert verdict.score == max(face.score for face in verdict.faces)
    assert verdict.label == verdict.faces[verdict.decides].label
    between = sorted(face.score for face in verdict.faces)
    halfway = (between[-1] + between[-2]) / 2
    one_fake = replace(judge, threshold=Threshold(value=halfway, rule="by hand", chosen_on="none"))
    (verdict,) = verdicts([path], scorer, one_fake, cutter)
    assert (verdict.label, [face.label for face in verdict.faces].count("fake")) == ("fake", 1)
    left, top, width, height = verdict.faces[verdict.decides].region
    assert faces_line(verdict) == f"1 of 3 faces look fake; the one at {left},{top} ({width} x {height} px) decides"
    plain = faces_json(verdict)
    assert (plain["judged"], plain["decides"], len(plain["found"])) == ("faces", verdict.decides, 3)
    assert plain["found"][0]["region"] == verdict.faces[0].region._asdict()


def test_an_unsure_face_that_decides_makes_the_picture_unsure(
    finder: YuNet, scorer: Scorer, judge: Judge, tmp_path: Path
) -> None:
    band = UnsureBand(
        low=0.0, high=1.0, threshold="val", wanted_accuracy=0.9, coverage=0.5, accuracy=0.9, num_pictures=9,
        chosen_on="val",
    )  # fmt: skip
    path = save(portrait(), tmp_path / "a.png")
    (verdict,) = verdicts([path], scorer, replace(judge, band=band), FaceCutter(finder, FaceRules()))
    assert verdict.label == verdict.faces[0].label == "unsure"
    assert verdict.unsure_because == verdict.faces[0].unsure_because
    assert verdict.unsure_because


def test_a_score_that_is_none_never_decides_and_alone_gives_no_verdict(judge: Judge, finder: YuNet) -> None:
    cut = Cut((Region(0, 0, 9, 9), Region(9, 0, 9, 9)), (0.9, 0.8))
    good = Scored(Path("x"), -3.0, judge.terms.calibration.score(-3.0))
    bad = Scored(Path("x"), None, None, "the network returned nan")
    cutter = FaceCutter(finder, FaceRules())
    verdict = cutter.verdict(Path("x"), cut, [bad, good], judge=judge)
    assert (verdict.decides, verdict.logit, verdict.error) == (1, -3.0, None)
    verdict = cutter.verdict(Path("x"), cut, [bad, bad], judge=judge)
    assert (verdict.decides, verdict.label, verdict.error) == (None, None, "the network returned nan")


def test_without_a_face_the_whole_is_judged_or_nothing_and_it_is_said(
    finder: YuNet, scorer: Scorer, judge: Judge, tmp_path: Path
) -> None:
    empty = save(np.full((90, 120, 3), 90, dtype=np.uint8), tmp_path / "empty.png")
    small = save(portrait(100), tmp_path / "small.png")
    whole = list(scorer.score_paths([empty, small]))
    found = verdicts([empty, small], scorer, judge, FaceCutter(finder, FaceRules()))
    assert [verdict.logit for verdict in found] == pytest.approx([scored.logit for scored in whole], abs=1e-5)
    assert [verdict.note for verdict in found] == [
        "no face found: the whole picture was judged",
        "no face of 64 px or more, 1 face smaller: the whole picture was judged",
    ]
    assert [(verdict.faces, verdict.decides, faces_line(verdict)) for verdict in found] == [
        ((), None, verdict.note) for verdict in found
    ]
    assert faces_json(found[0])["judged"] == "whole"
    found = verdicts([empty, small], scorer, judge, FaceCutter(finder, FaceRules(no_face="nothing")))
    assert [(verdict.label, verdict.score) for verdict in found] == [(None, None)] * 2
    assert [verdict.error for verdict in found] == ["no face found", "no face of 64 px or more, 1 face smaller"]
    assert faces_json(found[0]) == {"judged": "nothing", "decides": None, "note": "no face found", "found": []}
    assert faces_line(found[0]) == "", "the error says it"


def test_what_is_left_out_is_said(judge: Judge, finder: YuNet) -> None:
    scored = Scored(Path("x"), 1.0, judge.terms.calibration.score(1.0))
    cut = Cut((Region(0, 0, 9, 9),), (0.9,), num_small=2, num_beyond=5)
    verdict = FaceCutter(finder, FaceRules(max_faces=1)).verdict(Path("x"), cut, [scored], judge=judge)
    assert verdict.note == "2 faces below 64 px not judged; 5 more not judged, beyond the 1 largest"
    assert faces_line(verdict) == f"1 face, at 0,0 (9 x 9 px); {verdict.note}"


def test_files_of_every_kind_are_judged_upright(finder: YuNet, scorer: Scorer, judge: Judge, tmp_path: Path) -> None:
    image = Image.fromarray(portrait(400))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter, as a phone held upright writes it
    image.save(tmp_path / "0.png")
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "1.png", exif=exif)
    image.convert("L").save(tmp_path / "2.png")
    image.convert("RGBA").save(tmp_path / "3.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "4.gif")
    image.save(tmp_path / "5.jpg", quality=30)
    found = verdicts(sorted(tmp_path.iterdir()), scorer, judge, FaceCutter(finder, FaceRules()))
    assert [len(verdict.faces) for verdict in found] == [1] * 6
    assert found[1].faces == found[0].faces
    assert found[3].faces == found[0].faces
    assert found[2].logit != found[0].logit


def test_a_damaged_file_among_many_keeps_its_place(
    finder: YuNet, scorer: Scorer, judge: Judge, three: np.ndarray, tmp_path: Path
) -> None:
    paths = []
    for number in range(9):
        path = tmp_path / f"{number}.png"
        if number % 3 == 0:
            path.write_bytes(b"no picture")
        else:
            save(three if number % 3 == 1 else np.zeros((50, 50, 3), dtype=np.uint8), path)
        paths.append(path)
    cutter = FaceCutter(finder, FaceRules(no_face="nothing"))
    for workers in (0, 3):
        some = judge.bundle.scorer(device="cpu", precision="fp32", batch_size=3, num_workers=workers)
        found = list(judge_faces(some, paths, cutter=cutter, judge=judge))
        assert [verdict.path for verdict in found] == [str(path) for path in paths]
        assert [verdict.label is None for verdict in found] == [True, False, True] * 3
        assert [verdict.error for verdict in found][::3] == [found[0].error] * 3
        assert {len(verdict.faces) for verdict in found[1::3] if isinstance(verdict, FacesVerdict)} == {2}


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 7))
def test_groups_get_their_own_answers_in_order(scorer: Scorer, counts: list[int], batch_size: int) -> None:
    rng = np.random.default_rng(0)
    flat = [rng.integers(0, 256, (3, 32, 32), dtype=np.uint8) for _ in range(6)]
    groups = [(number, [flat[(number + place) % 6] for place in range(count)]) for number, count in enumerate(counts)]
    small = replace_batch(scorer, batch_size)
    alone = [scored.logit for scored in scorer.score_prepared((Path(), image_CHW) for image_CHW in flat)]
    found = list(score_groups(small, iter(groups)))
    assert [number for number, _ in found] == list(range(len(counts)))
    for number, answers in found:
        expected = [alone[(number + place) % 6] for place in range(counts[number])]
        assert [scored.logit for scored in answers] == pytest.approx(expected, abs=1e-4)


def replace_batch(scorer: Scorer, batch_size: int) -> Scorer:
    return Scorer(scorer.network, batch_size=batch_size)


def test_items_without_a_picture_come_out_as_they_go(scorer: Scorer) -> None:
    """Of a large folder without faces something is heard before its end, and only a bounded part is kept."""
    asked = 0

    def empties() -> Iterator[tuple[int, list[np.ndarray]]]:
        nonlocal asked
        for asked in range(1, 10_001):
            yield asked, []

    answers = score_groups(scorer, empties())
    assert next(answers) == (1, [])
    assert asked <= 4 * scorer.batch_size
    assert sum(1 for _ in answers) == 9_999


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_faces(parser)
    return parser.parse_args(words)


def test_options_become_rules() -> None:
    assert face_cutter(options()) is None
    cutter = face_cutter(options("--faces"))
    assert cutter is not None
    assert cutter.rules == FaceRules() == FaceRules(margin=0.15, min_px=64, max_faces=16, no_face="whole")
    words = ("--faces", "--face-margin", "0", "--face-min-px", "1", "--no-face", "nothing")
    cutter = face_cutter(options(*words))
    assert cutter is not None
    assert cutter.rules == FaceRules(margin=0.0, min_px=1, no_face="nothing")
    assert cutter.facts()["faces"]["margin"] == 0.0
    assert "0 % more on each side" in faces_footer(cutter)
    assert "given no verdict" in faces_footer(cutter)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--face-margin", "0.3"), "--face-margin"),
        (("--face-min-px", "9"), "--face-min-px"),
        (("--no-face", "whole"), "--no-face"),
    ],
)
def test_an_option_without_faces_is_refused(words: tuple[str, ...], option: str) -> None:
    with pytest.raises(DataError, match=f"^{option} says how faces are judged: add --faces"):
        face_cutter(options(*words))


@pytest.mark.parametrize(
    "words", [("--face-margin", "-0.1"), ("--face-margin", "nan"), ("--face-margin", "3.1"), ("--face-min-px", "0")]
)
def test_senseless_options_are_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("--faces", *words)
    assert words[0] in capsys.readouterr().err
