"""`veriscope export`, and what it wrote in `veriscope predict`."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.exported import bundle_with_ood

from veriscope.bundle import load_bundle
from veriscope.bundle.onnx_bundle import OnnxBundle
from veriscope.cli import main


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bundle, its fp32 export, and pictures."""
    work = tmp_path_factory.mktemp("export")
    bundle_with_ood(work)
    for name in ("check", "ranges"):
        write_pictures(work / name / "real", 8)
        write_pictures(work / name / "fake", 8, side=50 if name == "check" else 60)
    assert main(["export", str(work / "bundle"), "--check", str(work / "check")]) == 0
    return work


def verdicts(bundle: Path, pictures: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    assert main(["predict", str(bundle), str(pictures), "--json", *words]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_file_gives_the_folder_s_verdicts(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = verdicts(work / "bundle", work / "check", capsys, "--precision", "fp32")
    file = verdicts(work / "bundle.onnx", work / "check", capsys, "--precision", "fp32")
    assert {**file, "bundle": ""} | {"verdicts": []} == {**folder, "bundle": ""} | {"verdicts": []}
    for one, other in zip(file["verdicts"], folder["verdicts"], strict=True):
        assert (one["path"], one["verdict"]) == (other["path"], other["verdict"])
        assert one["logit"] == pytest.approx(other["logit"], abs=1e-5)
        assert one["ood"] == pytest.approx(other["ood"], abs=1.5 / 121)


def test_it_says_what_it_measured(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = load_bundle(work / "bundle.onnx").export.costs
    assert (costs.num_pictures, costs.num_flips, costs.pictures) == (16, 0, "check")
    assert costs.auroc == costs.auroc_torch
    out = tmp_path / "again.onnx"
    command = ["export", str(work / "bundle"), str(out), "--check", str(work / "check"), "--pictures", "5"]
    out.write_text("another file")
    assert main([*command, "--overwrite"]) == 0
    err = capsys.readouterr().err
    assert "fp32, opset 18, " in err
    assert "against torch in fp32 on 5 pictures of 'check':\n  fp32: logits differ by up to" in err
    assert "0 verdicts are others" in err
    assert f"written: {out}" in err
    assert [file.name for file in tmp_path.iterdir()] == ["again.onnx"]


def test_int8_says_what_it_costs_and_carries_it_along(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = work / "small.onnx"
    folders = ["--check", str(work / "check"), "--calibrate", str(work / "ranges")]
    assert main(["export", str(work / "bundle"), str(out), "--int8", *folders, "--max-flips", "1"]) == 0
    err = capsys.readouterr().err
    bundle = load_bundle(out)
    assert isinstance(bundle, OnnxBundle)
    assert bundle.export.precision == "int8"
    assert (bundle.export.int8.calibrated_on, bundle.export.int8.num_pictures) == ("ranges", 16)
    assert bundle.export.costs.max_logit > 0
    assert out.stat().st_size < 0.6 * (work / "bundle.onnx").stat().st_size
    assert bundle.notices[0] == "Made for tests."
    assert "computes in 8 bits" in bundle.notices[1]
    assert f"{bundle.export.costs.num_flips} verdicts are others" in bundle.notices[1]
    for word in ("  fp32: logits differ", "  int8: logits differ", "; AUROC ", " ms, int8 "):
        assert word in err
    assert bundle.network().precision == "int8"
    document = verdicts(out, work / "check", capsys)
    assert document["notices"] == list(bundle.notices)
    fp32 = verdicts(work / "bundle.onnx", work / "check", capsys)
    pairs = list(zip(document["verdicts"], fp32["verdicts"], strict=True))
    assert max(abs(one["logit"] - other["logit"]) for one, other in pairs) == pytest.approx(
        bundle.export.costs.max_logit, abs=1e-4
    )
    assert main(["predict", str(out), str(work / "check"), "--precision", "fp32"]) == 2
    assert "computes in int8, not in fp32" in capsys.readouterr().err


def test_int8_that_changes_too_many_verdicts_is_not_written(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ranges of one flat picture fit no other."""
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (40, 40), (3, 3, 3)).save(tmp_path / "flat" / "a.png")
    middle = [row["score"] for row in verdicts(work / "bundle", work / "check", capsys)["verdicts"]]
    bundle = tiny_bundle(tmp_path / "b", threshold=sorted(middle)[len(middle) // 2])
    out = tmp_path / "x.onnx"
    command = ["export", str(bundle.folder), str(out), "--int8", "--calibrate", str(tmp_path / "flat")]
    assert main([*command, "--check", str(work / "check"), "--max-flips", "0"]) == 2
    err = capsys.readouterr().err
    assert "verdicts change" in err
    assert "Nothing was written" in err
    assert not out.exists()


def test_bad_arguments_end_in_a_line(work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, taken = str(work / "bundle"), work / "bundle.onnx"
    before = taken.read_bytes()
    same = ["--check", str(work / "check"), "--calibrate", str(work / "check")]
    for words, said in (
        ([str(tmp_path / "no")], "there is no bundle"),
        ([str(taken)], "only gives verdicts; name the bundle's folder"),
        ([bundle], "exists; name another file, or add --overwrite"),
        ([bundle, str(tmp_path / "x.pt")], "ends in .onnx"),
        ([bundle, str(tmp_path / "no" / "x.onnx")], "there is no folder"),
        ([bundle, str(tmp_path / "x.onnx"), "--check", str(tmp_path / "no")], "no such file or folder"),
        ([bundle, str(tmp_path / "x.onnx"), "--check", str(tmp_path)], "no images in"),
        ([bundle, str(tmp_path / "x.onnx"), "--int8"], "--int8 needs --calibrate DIR"),
        ([bundle, str(tmp_path / "x.onnx"), "--int8", *same], "what set the ranges can't say what they cost"),
        ([bundle, str(tmp_path / "x.onnx"), "--calibrate", str(work / "check")], "--calibrate is for --int8"),
    ):
        assert main(["export", *words]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert taken.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


def test_without_its_packages_it_says_what_to_install(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veriscope.export.command.NEEDED", ("onnx", "no_such_package_of_ours"))
    assert main(["export", str(work / "bundle"), str(tmp_path / "x.onnx")]) == 2
    assert "exporting needs no_such_package_of_ours: pip install 'veriscope[export]'" in capsys.readouterr().err
