"""`veriscope predict` on videos, as a person types it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.clips import make_clip, sound_only

from veriscope.cli import build_parser, main
from veriscope.data.video import FRAMES_PER_SECOND, MAX_FRAMES
from veriscope.files import named_apart


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("cli_video") / "bundle").folder)


def test_videos_stand_beside_pictures(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "in", 2)
    (tmp_path / "in/000a.mp4").write_bytes(make_clip(30))
    (tmp_path / "in/notes.txt").touch()
    command = ["predict", bundle, str(tmp_path / "in"), "--timeline", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)["verdicts"]
    assert [Path(row["path"]).name for row in rows] == ["000.png", "000a.mp4", "001.png"]
    assert [len(row.get("video", {}).get("frames", [])) for row in rows] == [0, 6, 0]
    assert "chosen on single pictures, not on videos" in err
    assert "1 .txt" in err
    assert ".mp4" not in err
    (timeline,) = (tmp_path / "out").iterdir()
    assert timeline == named_apart(tmp_path / "out", tmp_path / "in/000a.mp4", ending=".png")
    with Image.open(timeline) as image:
        assert image.width == 1200
    for words, num_frames in ((["--frames-per-second", "10"], 30), (["--max-frames", "4"], 4)):
        assert main([*command, "--jsonl", *words]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(rows[1]["video"]["frames"]) == num_frames


def test_a_broken_video_is_no_verdict(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sound.mp4").write_bytes(sound_only())
    assert main(["predict", bundle, str(tmp_path), "--timeline", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("no verdict\tno video stream in it")
    assert "1 no verdict" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_going_on_with_other_frames_is_refused(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "in", 2)
    (tmp_path / "in/000a.mp4").write_bytes(make_clip(30))
    output = tmp_path / "out.jsonl"
    command = ["predict", bundle, str(tmp_path / "in"), "--output", str(output), "--resume"]
    assert main(command) == 0
    whole = output.read_text().splitlines(keepends=True)
    part = output.with_name("out.jsonl.part")
    for words, code in ((["--max-frames", "3"], 2), ([], 0)):
        part.write_text(whole[0])
        part.with_name(part.name + ".json").write_text(_terms(bundle))
        assert main([*command, *words]) == code
    again = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["path"] for row in again] == [json.loads(line)["path"] for line in whole]
    assert len(again[1]["video"]["frames"]) == 6
    assert "begun with another videos" in capsys.readouterr().err


def _terms(bundle: str) -> str:
    from veriscope.bundle.bundle import load_bundle
    from veriscope.predict.judge import Judge

    facts = Judge.of(load_bundle(Path(bundle))).facts()
    facts.pop("bundle")
    return json.dumps({**facts, "form": "jsonl", "videos": {"every_s": 0.5, "max_frames": 200, "may_be_unsure": True}})


def test_defaults_are_the_readers() -> None:
    arguments = build_parser().parse_args(["predict", "b", "p"])
    assert (arguments.frames_per_second, arguments.max_frames) == (FRAMES_PER_SECOND, MAX_FRAMES)


@pytest.mark.parametrize("words", [["--frames-per-second", "0"], ["--frames-per-second", "nan"], ["--max-frames", "0"]])
def test_senseless_options_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "b", "p", *words])
    assert words[0] in capsys.readouterr().err


WITHOUT_PYAV = """
import sys
from importlib.abc import MetaPathFinder
class Missing(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
sys.meta_path.insert(0, Missing())
from veriscope.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_without_pyav_a_line_says_what_to_install(bundle: str, tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    (tmp_path / "clip.mp4").write_bytes(make_clip(5))

    def run(path: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", WITHOUT_PYAV, "predict", bundle, str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    folder = run(tmp_path)
    assert folder.returncode == 0
    assert len(folder.stdout.splitlines()) == 1
    assert "Passed over" in folder.stderr
    assert "pip install 'veriscope[video]'" in folder.stderr
    named = run(tmp_path / "clip.mp4")
    assert named.returncode == 2
    assert "pip install 'veriscope[video]'" in named.stderr
    assert "Traceback" not in named.stderr


@pytest.mark.slow
def test_pictures_alone_don_t_import_pyav_nor_matplotlib(bundle: str, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, 1)
    code = (
        "import sys; from veriscope.cli import main; "
        f"main(['predict', {bundle!r}, {str(path)!r}]); "
        "print({'av', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
    assert np.isfinite(float(done.stdout.split("\t")[1]))
