"""`veriscope predict` and its neighbours, as a person types them."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.copied import scene

from veriscope.bundle import load_bundle
from veriscope.cli import main
from veriscope.files import named_apart
from veriscope.predict.judge import Judge
from veriscope.types import UnsureBand

HEAVY = ("pytorch_lightning", "lightning", "hydra", "omegaconf", "wandb", "albumentations")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_bundle(tmp_path_factory.mktemp("cli") / "bundle").folder)


def test_all_judged_gives_zero_and_lines(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_pictures(tmp_path, 3)
    assert main(["predict", bundle, str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[2] for line in lines] == [str(path) for path in paths]
    for verdict, score, _ in lines:
        assert verdict == ("fake" if float(score) >= 0.4 else "real")
    assert "fake from 0.4 on (best balanced accuracy, chosen on val)." in err
    assert "Made for tests." in err
    assert "judging" not in err, "no bar where no terminal is"


def test_unreadable_gives_one_and_the_reason(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 1)
    (tmp_path / "bad.jpg").write_text("no")
    assert main(["predict", bundle, str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    rows = {Path(row["path"]).name: row for row in json.loads(out)["verdicts"]}
    assert rows["bad.jpg"]["verdict"] is None
    assert "not an image" in rows["bad.jpg"]["error"]
    assert rows["000.png"]["verdict"] in ("real", "fake")
    assert "1 no verdict" in err


def test_thresholds_decide(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 2)
    for threshold, verdict in (("0", "fake"), ("1.0", "real")):
        assert main(["predict", bundle, str(tmp_path), "--threshold", threshold, "--csv"]) == 0
        rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        assert [row["verdict"] for row in rows] == [verdict] * 2
    assert main(["predict", bundle, str(tmp_path), "--threshold", "default"]) == 0
    assert "fake from 0.5 on (fixed)" in capsys.readouterr().err


BAND = UnsureBand(
    low=0.0, high=0.4, threshold="val", wanted_accuracy=0.95, coverage=0.8, accuracy=0.96, num_pictures=500,
    chosen_on="val",
)  # fmt: skip


def test_a_band_gives_unsure_verdicts_in_every_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = str(tiny_bundle(tmp_path / "b", unsure=BAND).folder)
    write_pictures(tmp_path / "in", 2)
    assert main(["predict", bundle, str(tmp_path / "in"), "--threshold", "1.0"]) == 0
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == ["real"] * 2, "the band is the val threshold's"
    assert "No verdict is 'unsure' by its score" in err
    wide = str(tiny_bundle(tmp_path / "w", unsure=BAND.model_copy(update={"high": 1.0})).folder)
    assert main(["predict", wide, str(tmp_path / "in"), "--csv"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["verdict"], row["unsure_because"]) for row in rows] == [
        ("unsure", "the score is in the unsure band")
    ] * 2
    assert "0 fake, 0 real, 2 unsure." in err
    assert "96.0 % were right on val" in err
    assert main(["predict", wide, str(tmp_path / "in"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["verdict"] for row in document["verdicts"]] == ["unsure"] * 2
    assert document["unsure"]["coverage"] == 0.8
    assert main(["predict", wide, str(tmp_path / "in")]) == 0
    assert capsys.readouterr().out.startswith("unsure\t0.")
    assert main(["predict", wide, str(tmp_path / "in"), "--no-unsure"]) == 0
    assert "unsure\t" not in capsys.readouterr().out


def test_a_base_rate_moves_scores_and_says_so(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "in", 3)
    assert main(["predict", bundle, str(tmp_path / "in"), "--base-rate", "0.05"]) == 2
    assert "it holds no share of fakes to correct from" in capsys.readouterr().err
    known = str(tiny_bundle(tmp_path / "b", fake_share=0.5).folder)

    def verdicts(*words: str) -> tuple[list[dict[str, object]], dict[str, object], str]:
        assert main(["predict", known, str(tmp_path / "in"), "--json", *words]) == 0
        out, err = capsys.readouterr()
        document = json.loads(out)
        return document["verdicts"], document["threshold"], err

    plain, threshold, _ = verdicts()
    rare, moved, said = verdicts("--base-rate", "0.05")
    for before, after in zip(plain, rare, strict=True):
        odds = before["score"] / (1 - before["score"]) / 19  # by hand: prior odds 1 to 19, not 1 to 1
        assert after["score"] == pytest.approx(odds / (1 + odds))
        assert (after["verdict"], after["logit"]) == (before["verdict"], before["logit"])
    assert moved["value"] == pytest.approx(0.4 / 0.6 / 19 / (1 + 0.4 / 0.6 / 19))
    assert threshold["value"] == 0.4
    assert "Scores are corrected to a share of fakes of 0.05, as you stated" in said
    assert "0.4 before the correction to 0.05 of fakes" in said
    by_hand, kept, _ = verdicts("--base-rate", "0.05", "--threshold", "default")
    assert kept["value"] == 0.5
    assert {row["verdict"] for row in by_hand} == {"real"}
    with pytest.raises(SystemExit) as caught:
        main(["predict", known, str(tmp_path / "in"), "--base-rate", "5"])
    assert caught.value.code == 2


def test_output_file(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path / "in", 2)
    out = tmp_path / "verdicts.json"
    assert main(["predict", bundle, str(tmp_path / "in"), "--output", str(out)]) == 0
    assert capsys.readouterr().out == ""
    assert len(json.loads(out.read_text())["verdicts"]) == 2
    assert main(["predict", bundle, str(tmp_path / "in"), "--output", str(tmp_path / "x.docx")]) == 2
    assert "take --json, --jsonl or --csv" in capsys.readouterr().err


def test_standard_input_holds_a_picture_or_a_list(bundle: str, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 2)
    command = [sys.executable, "-m", "veriscope.cli", "predict", bundle, "--jsonl", "--batch-size", "1"]
    plain = subprocess.run([*command, *paths], capture_output=True, check=True).stdout.splitlines()
    piped = subprocess.run([*command, "-"], input=paths[1].read_bytes(), capture_output=True, check=True)
    assert {**json.loads(piped.stdout), "path": str(paths[1])} == json.loads(plain[1])
    names = "\0".join(map(str, paths)).encode()
    listed = subprocess.run([*command, "--from-lists", "-"], input=names, capture_output=True, check=True)
    assert listed.stdout.splitlines() == plain
    empty = subprocess.run([*command, "-"], input=b"", capture_output=True, text=False, check=False)
    assert (empty.returncode, json.loads(empty.stdout)["error"]) == (1, "empty file (0 bytes)")


def test_heat_maps_are_written_beside_the_verdicts(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `explain` draws of the class that the score speaks for; nothing of what can't be read."""
    paths = write_pictures(tmp_path / "in", 2)
    (tmp_path / "in" / "bad.png").write_text("no")
    out = tmp_path / "heat"
    assert main(["predict", bundle, str(tmp_path / "in"), "--heat-maps", str(out), "--csv"]) == 1
    shown, err = capsys.readouterr()
    assert "Heat maps (grad_cam)" in err
    assert "doesn't show where a picture was changed" in err
    files = [named_apart(out, path, ending=".heat.png") for path in paths]
    assert sorted(out.iterdir()) == sorted(files)
    verdicts = {Path(row["path"]).name: row["verdict"] for row in csv.DictReader(shown.splitlines())}
    for path, file in zip(paths, files, strict=True):
        explained = tmp_path / path.stem
        target = verdicts[path.name]
        assert main(["explain", bundle, str(path), "--target", target, "--output", str(explained)]) == 0
        assert file.read_bytes() == (explained / f"{path.name}.heat.png").read_bytes()


def test_heat_maps_of_standard_input_are_refused(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", bundle, "-", "--heat-maps", str(tmp_path)]) == 2
    assert "name the file" in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("-\n")
    assert main(["predict", bundle, str(tmp_path / "list.txt"), "--from-lists", "--heat-maps", str(tmp_path)]) == 2
    assert "name the file" in capsys.readouterr().err


def test_fail_on_tells_a_script(bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pictures(tmp_path, 1)
    everything_fake = ["predict", bundle, str(tmp_path), "--threshold", "0"]
    assert main([*everything_fake, "--fail-on", "fake"]) == 3
    assert main([*everything_fake, "--fail-on", "unsure"]) == 0
    (tmp_path / "bad.png").touch()
    assert main([*everything_fake, "--fail-on", "fake"]) == 3
    assert main(everything_fake) == 1
    capsys.readouterr()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_ended_command_is_gone_on_with(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    write_pictures(tmp_path / "in", 7)
    (tmp_path / "in/003x.png").touch()
    whole, out = tmp_path / f"whole.{form}", tmp_path / f"out.{form}"
    part = tmp_path / f"out.{form}.part"
    command = ["predict", bundle, str(tmp_path / "in"), "--batch-size", "1", "--output"]
    assert main([*command, str(whole)]) == 1
    said = capsys.readouterr().err.splitlines()[0]
    lines = whole.read_bytes().splitlines(keepends=True)
    assert main([*command, str(out), "--resume"]) == 1, "nothing to go on with is no error"
    terms = json.dumps({})
    for num_whole, torn in ((0, b""), (1, b""), (5, lines[5][:-9]), (len(lines), b"")):
        out.unlink()
        part.write_bytes(b"".join(lines[:num_whole]) + torn)
        terms = _terms_of(bundle, form)
        (tmp_path / f"out.{form}.part.json").write_text(terms)
        assert main([*command, str(out), "--resume"]) == 1
        assert out.read_bytes() == whole.read_bytes()
        assert capsys.readouterr().err.splitlines()[-2] == said, "the sum counts what was judged before"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", out.name, whole.name]
    out.unlink()
    part.write_bytes(b"".join(lines[:4]))
    (tmp_path / f"out.{form}.part.json").write_text(terms)
    for words, expected in (
        ([], "--resume goes on with it; delete it to start anew"),
        (["--resume", "--threshold", "0.7"], "was begun with another threshold: delete"),
    ):
        assert main([*command, str(out), *words]) == 2
        assert expected in capsys.readouterr().err
    (tmp_path / "in/000.png").rename(tmp_path / "in/0000.png")
    assert main([*command, str(out), "--resume"]) == 2
    assert "row 1 of" in capsys.readouterr().err
    assert part.read_bytes() == b"".join(lines[:4]), "nothing is lost by an error"
    assert main(["predict", bundle, str(tmp_path / "in"), "--resume"]) == 2
    assert "--resume goes on with a file of rows" in capsys.readouterr().err


def _terms_of(bundle: str, form: str) -> str:
    videos = {"every_s": 0.5, "max_frames": 200, "may_be_unsure": True}
    facts = {**Judge.of(load_bundle(Path(bundle))).facts(), "videos": videos, "form": form}
    facts.pop("bundle")
    return json.dumps(facts)


@pytest.mark.slow
def test_what_was_judged_survives_kill_9(bundle: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 600, side=96)
    out, part = tmp_path / "out.csv", tmp_path / "out.csv.part"
    command = [sys.executable, "-m", "veriscope.cli", "predict", bundle, str(tmp_path / "in"), "--batch-size", "1"]
    command += ["--output", str(out), "--workers", "0"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not part.exists() or part.read_bytes().count(b"\n") < 20:
        assert process.poll() is None, "it must be killed before it is done"
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # a first import takes longer than the rest of the pictures
    second = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert (second.returncode, "is being written by another process" in second.stderr) == (2, True)
    process.kill()
    process.wait()
    kept = part.read_bytes().count(b"\n")
    assert subprocess.run([*command, "--resume"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert 20 <= kept < 600
    assert [row["path"] for row in rows] == sorted(str(path) for path in (tmp_path / "in").iterdir())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{bundle}", "{tmp}/nothing.jpg"], "no such file or folder"),
        (["{tmp}", "{tmp}"], "is no bundle"),
        (["{bundle}", "{tmp}"], "no images in"),
        (["{bundle}", "{tmp}/x.png", "--threshold", "vall"], "Did you mean 'val'?"),
        (["{bundle}", "{tmp}/x.png", "--device", "gpu"], "device 'gpu' is"),
    ],
)
def test_bad_input_gives_two_and_one_line(
    bundle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    if any("x.png" in a for a in arguments):
        (tmp_path / "x.png").touch()
    filled = [a.format(bundle=bundle, tmp=tmp_path) for a in arguments]
    assert main(["predict", *filled]) == 2
    err = capsys.readouterr().err
    assert expected in err
    assert err.count("\n") == 1


def test_bad_usage_gives_two(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("", "predict", "predict b p --batch-size 0", "predict b p --json --csv", "bench step --size-px 8"):
        with pytest.raises(SystemExit) as caught:
            main(words.split())
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert re.fullmatch(r"veriscope.*: error: .+\n {2}veriscope.* --help lists what it takes\.\n", said), said


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (
            "predict b p --thresold 0.5",
            "veriscope predict: error: there is no --thresold. Did you mean '--threshold' or",
        ),
        ("serve b --tokenfile=t", "there is no --tokenfile. Did you mean '--token-file'?"),
        ("export b c.onnx d.onnx", "veriscope export: error: unrecognized arguments: d.onnx"),
        ("predct b p", "veriscope: error: there is no command 'predct'. Did you mean 'predict'?"),
        ("nonsense", "there is no command 'nonsense'."),
    ],
)
def test_a_slip_is_answered_with_the_nearest_word(
    capsys: pytest.CaptureFixture[str], typed: str, expected: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(typed.split())
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 2


def test_bench_measures_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    for what in ("step", "predict"):
        command = ["bench", what, "--backbone", "test_resnet", "--size-px", "32", "--batch-size", "2"]
        assert main([*command, "--seconds", "0", "--device", "cpu"]) == 0
        report = json.loads(capsys.readouterr().out)
        settings = {(s["precision"], s["channels_last"]) for s in report["speeds"]}
        assert settings == {(p, c) for p in ("fp32", "bf16") for c in (True, False)}
        assert all(s["images_per_second"] > 0 and s["rounds"] == 2 for s in report["speeds"])


def test_bench_looks_for_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(4):
        scene(seed).save(tmp_path / f"{seed}.png")
    assert main(["bench", "copies", "--folder", str(tmp_path), "--planted", "2"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["pictures"], report["planted"], report["false_pairs"]) == (4, 2 * len(report["recall"]), 0)
    for folder in ([], ["--folder", str(tmp_path)]):
        assert main(["bench", "near", "--rows", "40", *folder]) == 0
        assert json.loads(capsys.readouterr().out)["planted"] == 20
    assert main(["bench", "copies"]) == 2
    assert main(["bench", "copies", "--folder", str(tmp_path / "none")]) == 2


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys, veriscope.cli as cli\n"
        "for argument in ('--help', '--version'):\n"
        "    try: cli.main([argument])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "print([m for m in ('torch', 'numpy', 'rich', 'pydantic', 'PIL') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "predict" in done.stdout
    assert "veriscope 0." in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_judges_needs_no_torch_before_a_bundle_s_weights_are_loaded() -> None:
    """A graph of ONNX is judged without torch; and a wrong path is said before its seconds of import."""
    code = (
        "import sys, veriscope.bundle, veriscope.predict.command\n"
        "print([m for m in ('torch', 'timm', 'torchvision', 'pyarrow', 'sklearn', 'scipy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_a_real_process_on_a_terminal_leaves_the_training_libraries_out(bundle: str, tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    (tmp_path / "bad.png").touch()
    code = (
        "import sys, veriscope.predict, veriscope.cli as cli\n"
        f"code = cli.main(['predict', {bundle!r}, {str(tmp_path)!r}])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], 'exit', code)\n"
    )
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # Linux's end of file on a terminal
            break
        if not piece:
            break
        shown += piece
    os.close(leader)
    assert process.wait() == 0
    text = shown.decode()
    assert "[] exit 1" in text
    assert "judging" in text, "the bar is shown on a terminal"
    assert "\x1b[31mfake" in text or "\x1b[32mreal" in text, "verdicts are coloured"
    assert "no verdict" in text
    assert "empty file" in text


@pytest.mark.slow
def test_a_closed_pipe_and_an_interrupt_end_without_a_traceback(bundle: str, tmp_path: Path) -> None:
    (picture,) = write_pictures(tmp_path, 1)
    command = [sys.executable, "-m", "veriscope.cli", "predict", bundle, *[str(picture)] * 20_000, "--workers", "1"]
    piped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # A shell's background jobs ignore Ctrl-C, and pass that on to what they start.
    listen = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    stopped = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listen)
    assert piped.stdout is not None
    assert stopped.stdout is not None
    assert piped.stdout.readline()
    piped.stdout.close()
    assert stopped.stdout.readline()  # it is in the middle of its work
    time.sleep(0.1)
    stopped.send_signal(signal.SIGINT)
    _, interrupted = stopped.communicate(timeout=120)
    assert stopped.returncode == 130
    assert interrupted.strip() == "veriscope: interrupted"
    assert piped.wait(timeout=120) == 141
    assert piped.stderr is not None
    assert piped.stderr.read() == ""
