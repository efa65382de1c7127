"""Which files are judged, and how verdicts are written."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from tests.helpers.bundles import tiny_bundle

from veriscope.bundle.model_card import model_card
from veriscope.bundle.scorer import Scored
from veriscope.errors import DataError
from veriscope.files import safe_cell
from veriscope.predict import inputs
from veriscope.predict.inputs import Inputs, read_list
from veriscope.predict.judge import Judge, to_verdict
from veriscope.predict.output import csv_header, open_output, printable, write_verdicts
from veriscope.predict.unfinished import unfinished
from veriscope.types import FrameVerdict, Stretch, Threshold, Verdict, VideoVerdict

THRESHOLD = Threshold(value=0.4, rule="best balanced accuracy", chosen_on="val")
VERDICTS = [
    Verdict(path="a.png", label="fake", score=0.9, logit=-2.5, threshold=0.4),
    Verdict(path="=cmd|' /C calc'!A0.png", label=None, score=None, logit=None, threshold=0.4, error="truncated"),
    Verdict(path='ü, "b".png', label="real", score=0.25, logit=-1.0, threshold=0.4),
]


def test_folders_are_searched_and_named_files_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.png", "deep/er/c.webp", ".git/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = Inputs([tmp_path / "notes.txt", tmp_path])
    names = ["notes.txt", "a.png", "b.JPG", "deep/er/c.webp"]
    assert [str(p.relative_to(tmp_path)) for p in found] == names
    assert [str(p.relative_to(tmp_path)) for p in found] == names, "a second time, for a bar and for what is left"
    assert (len(found), found.passed_over()) == (4, "1 .txt")
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    assert tmp_path / "broken.png" in list(Inputs([tmp_path]))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(list(Inputs([tmp_path]))) == 4


def test_missing_paths_and_empty_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder: .*nothing\.png"):
        Inputs([tmp_path, tmp_path / "nothing.png"])
    with pytest.raises(DataError, match="no images in"):
        Inputs([tmp_path])


def test_patterns_are_expanded_and_a_file_of_that_name_wins(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b.png", "c[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(Inputs([tmp_path / "**/*.png"])) == [tmp_path / n for n in ("a.png", "c[1].png", "deep/b.png")]
    assert list(Inputs([tmp_path / "c[1].png"])) == [tmp_path / "c[1].png"]
    with pytest.raises(DataError, match="nothing fits the pattern"):
        Inputs([tmp_path / "*.webp"])


@pytest.mark.parametrize("address", ["https://example.org/a.jpg", "s3://bucket/a.jpg", "file:///etc/passwd"])
def test_addresses_are_refused_with_the_way_round(address: str) -> None:
    with pytest.raises(DataError, match=r"veriscope fetches nothing from the network\. .* predict BUNDLE -"):
        Inputs([Path(address)])


def test_a_list_names_files_by_lines_or_by_null_bytes(tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_bytes(b"a.png\r\n\nb c.png\n")
    assert read_list(listed) == [Path("a.png"), Path("b c.png")]
    assert read_list(listed, stdin=b"a\nb.png\0c\xff.png\0") == [Path("a\nb.png"), Path("c\udcff.png")]
    listed.write_bytes(b"\n")
    with pytest.raises(DataError, match="names no file"):
        read_list(listed)
    with pytest.raises(DataError, match="can't be read"):
        read_list(tmp_path / "gone")


def test_the_threshold_itself_is_fake() -> None:
    path = Path("x.png")
    for score, label in ((0.4, "fake"), (0.399, "real"), (1.0, "fake"), (0.0, "real")):
        assert to_verdict(Scored(path, 0.0, score), threshold=THRESHOLD).label == label
    none = to_verdict(Scored(path, None, None, "truncated"), threshold=THRESHOLD)
    assert (none.label, none.score, none.error) == (None, None, "truncated")


def test_json_and_csv_can_be_read_back(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    stream = io.StringIO()
    write_verdicts(VERDICTS, stream, form="json", facts=Judge.of(bundle).facts())
    document = json.loads(stream.getvalue())
    assert [row["path"] for row in document["verdicts"]] == [v.path for v in VERDICTS]
    assert document["verdicts"][0] == {
        "path": "a.png",
        "verdict": "fake",
        "score": 0.9,
        "logit": -2.5,
        "error": None,
        "unsure_because": None,
        "ood": None,
    }
    assert document["threshold"] == THRESHOLD.model_dump()
    assert document["notices"] == ["Made for tests."]
    assert document["class_map"] == {"real": 0, "fake": 1}
    empty = io.StringIO()
    write_verdicts([], empty, form="json", facts=Judge.of(bundle).facts())
    assert json.loads(empty.getvalue())["verdicts"] == []

    stream = io.StringIO()
    write_verdicts(VERDICTS, stream, form="csv", facts=Judge.of(bundle).facts())
    rows = list(csv.DictReader(io.StringIO(csv_header() + stream.getvalue())))
    assert [row["verdict"] for row in rows] == ["fake", "no verdict", "real"]
    assert rows[0]["logit"] == "-2.5", "a number is no formula"
    assert rows[1]["path"].startswith("'=")
    assert rows[2]["path"] == VERDICTS[2].path


@pytest.mark.parametrize("start", list("=+-@\t\r\n"))
def test_no_cell_is_a_formula(start: str) -> None:
    assert safe_cell(start + "1+1").startswith("'")
    assert safe_cell("a" + start).startswith("a")


def test_names_cannot_drive_a_terminal() -> None:
    assert printable("a\x1b[31mb\udcff.png") == "a\\x1b[31mb\\udcff.png"
    assert printable("Grüße 写真.png") == "Grüße 写真.png"


def test_a_line_says_why_it_is_unsure() -> None:
    strange = to_verdict(Scored(Path("x.png"), -3.0, 0.05, ood=0.995), threshold=THRESHOLD, strange_from=0.99)
    frames = tuple(FrameVerdict(time_s=t / 2, label="fake", score=0.9, logit=3.0) for t in range(3))
    part = Stretch(start_s=0.0, end_s=1.5, num_frames=3)
    video = VideoVerdict(
        path="c.mp4",
        label="unsure",
        score=0.1,
        logit=-3.0,
        threshold=0.4,
        unsure_because="looks fake from 0:00.0 to 0:01.5",
        length_s=9.0,
        start_s=0.0,
        end_s=9.0,
        frames=frames,
        num_asked=3,
        num_damaged=0,
        suspicious=(part,),
        notes=(),
    )
    stream = io.StringIO()
    write_verdicts([*VERDICTS, strange, video], stream, form="lines", facts={})
    lines = [line.split("\t") for line in stream.getvalue().splitlines()]
    assert [len(cells) for cells in lines] == [3, 3, 3, 4, 4]
    assert lines[3][3] == "unlike anything it was trained with (stranger than 99 % of its validation pictures)"
    assert lines[4][3] == "looks fake from 0:00.0 to 0:01.5; 3 of 3 frames look fake"


def test_a_detector_that_is_shown_a_part_says_so(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    assert "central" not in Judge.of(bundle).footer()
    assert "central" not in model_card(bundle.record)
    cropping = tiny_bundle(tmp_path / "c", fit="crop")
    seen = "Of whatever is larger it looks at the central 32 x 32 pixels alone."
    assert seen in Judge.of(cropping).footer()
    assert f"- {seen}" in model_card(cropping.record)


def test_the_footer_says_what_the_verdicts_mean(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    line = Judge.of(bundle).footer()
    assert "\n" not in line
    for part in ("fake = 1", "fake from 0.4 on", "best balanced accuracy, chosen on val", "Made for tests."):
        assert part in line


def test_an_output_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def fail_halfway() -> None:
        with open_output(path) as stream:
            stream.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    with open_output(path) as stream:
        stream.write("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]
    with pytest.raises(DataError, match="can't be written"), open_output(tmp_path / "no" / "out.csv") as stream:
        pass


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_output_that_is_no_file_is_refused_before_anything_is_judged(tmp_path: Path, form: str) -> None:
    os.mkfifo(tmp_path / f"pipe.{form}")
    (tmp_path / f"folder.{form}").mkdir()
    before = sorted(tmp_path.iterdir())
    for name, said in (("pipe", "it is a device or a pipe, not a file"), ("folder", "Is a directory")):
        path = tmp_path / f"{name}.{form}"
        output = unfinished(path, [], form="csv", facts={"bundle": "b"}, resume=False)
        with (
            pytest.raises(DataError, match=f"'{path}' can't be written: {said}"),
            output if form == "csv" else open_output(path),
        ):
            raise AssertionError("something would be judged")
    assert sorted(tmp_path.iterdir()) == before


def test_a_list_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_LIST_BYTES", 1 << 20)
    with pytest.raises(DataError, match="list '/dev/zero' is larger than 1 MiB; split it"):
        read_list(Path("/dev/zero"))
    with pytest.raises(DataError, match="list '-' is larger than 1 MiB"):
        read_list(Path("-"), stdin=bytes((1 << 20) + 1))
