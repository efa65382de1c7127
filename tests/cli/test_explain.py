"""`veriscope explain`, as a person types it."""

import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.clips import make_clip

from veriscope.cli import main
from veriscope.predict.explain import heat_name, logit_unit
from veriscope.types import Calibration


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("cli") / "bundle").folder)


@pytest.mark.parametrize("words", [[], ["--method", "occlusion", "--batch-size", "7"], ["--target", "real"]])
def test_verdicts_are_predicts_and_every_picture_has_its_map(
    bundle: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_pictures(tmp_path / "in", 3)
    out = tmp_path / "new" / "out"
    assert main(["explain", bundle, str(tmp_path / "in"), "--output", str(out), *words]) == 0
    shown, err = capsys.readouterr()
    assert main(["predict", bundle, str(tmp_path / "in")]) == 0
    judged = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    lines = [line.split("\t") for line in shown.splitlines()]
    assert [line[:3] for line in lines] == judged
    assert [line[3] for line in lines] == [f"{path.name}.heat.png" for path in paths]
    assert {file.name for file in out.iterdir()} == {"explain.html", *(line[3] for line in lines)}
    for path, line in zip(paths, lines, strict=True):
        pair = np.asarray(Image.open(out / line[3]))
        np.testing.assert_array_equal(pair[:40, :40], np.asarray(Image.open(path)))
    assert f"page: {out / 'explain.html'}" in err
    assert "Made for tests." in err
    page = (out / "explain.html").read_text()
    target = "real" if "real" in words else "fake"
    assert f"What speaks for {target}" in page
    assert page.count("<article>") == 3
    assert "What a heat map can't tell" in page


def test_the_page_is_whole_and_names_are_harmless(bundle: str, tmp_path: Path) -> None:
    name = '<script>alert(1)"&#.png'
    (picture,) = write_pictures(tmp_path / "in", 1)
    picture.rename(tmp_path / "in" / name)
    out = tmp_path / "out"
    assert main(["explain", bundle, str(tmp_path / "in"), "--output", str(out)]) == 0
    page = (out / "explain.html").read_text()
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]+)"', page))
    assert len(re.findall(r"<img ", page)) == len(re.findall(r' alt="[^"]', page)) == 2
    (link,) = re.findall(r'href="([^"]+)"', page)
    assert unquote(link) == f"{name}.heat.png"
    assert (out / unquote(link)).is_file()


def test_unreadable_gives_one_and_the_reason(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "in", 1)
    (tmp_path / "in" / "bad.jpg").write_text("no")
    assert main(["explain", bundle, str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("no verdict\tnot an image")
    page = (tmp_path / "out" / "explain.html").read_text()
    assert "2 pictures, 1 without a verdict" in page
    assert "<b>no verdict</b>: not an image" in page


def test_a_video_is_named_as_what_it_is(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (picture,) = write_pictures(tmp_path, 1)
    (tmp_path / "clip.mp4").write_bytes(make_clip(5))
    assert main(["explain", bundle, str(tmp_path / "clip.mp4"), str(picture), "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert said.startswith("no verdict\ta video: explain takes pictures; predict --timeline DIR shows a video's frames")


def test_a_taken_folder_and_a_wrong_bundle_give_two(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "in", 1)
    before = sorted((tmp_path / "in").iterdir())
    assert main(["explain", bundle, str(tmp_path / "in"), "--output", str(tmp_path / "in")]) == 2
    assert "is not empty; name a new folder" in capsys.readouterr().err
    assert sorted((tmp_path / "in").iterdir()) == before
    for first, path in ((str(tmp_path), "in"), (bundle, "missing")):
        assert main(["explain", first, str(tmp_path / path), "--output", str(tmp_path / "out")]) == 2
        assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_standard_input(bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (picture,) = write_pictures(tmp_path / "in", 1)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(picture.read_bytes())))
    assert main(["explain", bundle, "-", "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "stdin.heat.png").is_file()


def test_more_pictures_than_a_page_holds(bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("veriscope.predict.explain.MAX_SHOWN", 2)
    write_pictures(tmp_path / "in", 3)
    assert main(["explain", bundle, str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*.heat.png"))) == 3
    page = (tmp_path / "out" / "explain.html").read_text()
    assert page.count("<article>") == 2
    assert "The first 2 are shown" in page


@pytest.mark.slow
def test_a_fresh_process_imports_nothing_heavy(bundle: str, tmp_path: Path) -> None:
    heavy = ("pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb", "albumentations", "matplotlib")
    write_pictures(tmp_path / "in", 1)
    code = (
        "import sys, veriscope.cli as cli\n"
        f"code = cli.main(['explain', {bundle!r}, {str(tmp_path / 'in')!r}, '--output', {str(tmp_path / 'out')!r}])\n"
        f"print([m for m in {heavy!r} if m in sys.modules], 'exit', code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[] exit 0\n"), done.stderr


def test_names_of_heat_maps() -> None:
    taken: set[str] = set()
    assert heat_name(Path("a/x.png"), taken) == "x.png.heat.png"
    assert heat_name(Path("b/x.png"), taken) == "x.png.2.heat.png"
    assert heat_name(Path("b/X.PNG"), taken) == "X.PNG.3.heat.png"
    long = heat_name(Path("ä" * 127 + ".png"), taken)
    assert len(long.encode()) <= 215
    assert heat_name(Path("ä" * 127 + ".jpg"), taken) != long


def test_the_unit_of_a_calibration() -> None:
    assert logit_unit(Calibration(temperature=2.5, fitted_on="val")) == 2.5
    platt = Calibration(method="platt", slope=4.0, intercept=1.0, fitted_on="val")
    assert logit_unit(platt) == 0.25
    curve = Calibration(method="isotonic", knots=((0.0, 0.1), (1.0, 0.9)), fitted_on="val")
    assert logit_unit(curve) == 1
