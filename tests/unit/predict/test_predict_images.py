"""Which files are judged, and how verdicts are written."""

import csv
import io
import json
from pathlib import Path

import pytest
from tests.helpers.bundles import tiny_bundle

from veriscope.bundle.scorer import Scored
from veriscope.errors import DataError
from veriscope.files import safe_cell
from veriscope.predict import collect_images
from veriscope.predict.images import to_verdict
from veriscope.predict.output import footer, open_output, printable, write_verdicts
from veriscope.types import Threshold, Verdict

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
    found, passed = collect_images([tmp_path / "notes.txt", tmp_path])
    assert [str(p.relative_to(tmp_path)) for p in found] == ["notes.txt", "a.png", "b.JPG", "deep/er/c.webp"]
    assert passed == {".txt": 1}
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone")
    assert tmp_path / "broken.png" in collect_images([tmp_path])[0]
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(collect_images([tmp_path])[0]) == 4


def test_missing_paths_and_empty_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file or folder: .*nothing\.png"):
        collect_images([tmp_path, tmp_path / "nothing.png"])
    with pytest.raises(DataError, match="no images in"):
        collect_images([tmp_path])


def test_the_threshold_itself_is_fake() -> None:
    path = Path("x.png")
    for score, label in ((0.4, "fake"), (0.399, "real"), (1.0, "fake"), (0.0, "real")):
        assert to_verdict(Scored(path, 0.0, score), threshold=THRESHOLD).label == label
    none = to_verdict(Scored(path, None, None, "truncated"), threshold=THRESHOLD)
    assert (none.label, none.score, none.error) == (None, None, "truncated")


def test_json_and_csv_can_be_read_back(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle")
    stream = io.StringIO()
    write_verdicts(VERDICTS, stream, form="json", bundle=bundle, terms=bundle.terms(), threshold=THRESHOLD)
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
    write_verdicts([], empty, form="json", bundle=bundle, terms=bundle.terms(), threshold=THRESHOLD)
    assert json.loads(empty.getvalue())["verdicts"] == []

    stream = io.StringIO()
    write_verdicts(VERDICTS, stream, form="csv", bundle=bundle, terms=bundle.terms(), threshold=THRESHOLD)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
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


def test_the_footer_says_what_the_verdicts_mean(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b")
    line = footer(bundle, THRESHOLD, terms=bundle.terms())
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
