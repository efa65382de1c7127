"""`veriscope audit` as a person types it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.helpers.badfiles import encoded, picture, write_dataset

from veriscope.audit.report import HTML_NAME, JSON_NAME, PAIRS_NAME, UNREADABLE_NAME, limit_text
from veriscope.cli import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "pictures", num_images=12, size_px=64)


def audit(tmp_path: Path, *words: str, name: str = "out") -> tuple[int, Path]:
    folder = tmp_path / name
    code = main(["audit", *words, "--output", str(folder), "--workers", "1", "--set", f"paths.cache={tmp_path}/cache"])
    return code, folder


def report(folder: Path) -> dict:
    return json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))


def statuses(folder: Path) -> dict[str, str]:
    return {check["name"]: check["status"] for check in report(folder)["checks"]}


def test_a_folder(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, folder = audit(tmp_path, str(data))
    assert code == 0
    said = capsys.readouterr().out
    assert said.startswith("pictures: 24 pictures (12 real, 12 fake), looked at in ")
    assert f"page: {folder / HTML_NAME}" in said
    assert "warn  shortcuts.container: Not measured: " in said
    found = report(folder)
    assert found["status"] == "warn"  # so few pictures
    assert statuses(folder)["integrity.unreadable"] == "pass"
    assert statuses(folder)["integrity.class_size"] == "warn"
    assert found["data"] == {
        "name": "pictures",
        "root": str(data),
        "content_hash": found["data"]["content_hash"],
        "pictures": 24,
        "real": 12,
        "fake": 12,
    }
    page = (folder / HTML_NAME).read_text(encoding="utf-8")
    assert "(2 of them not measured)." in page
    assert "default-src 'none'" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_what_is_said_names_files_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "split/train", num_images=48, size_px=64)
    for name in ("real", "fake"):
        (tmp_path / "split/test" / name).mkdir(parents=True)
        for number in range(24, 48):
            moved = f"{name}/{number:03}.jpg"
            (tmp_path / "split/train" / moved).rename(tmp_path / "split/test" / moved)
    (tmp_path / "split/test/fake/copy.jpg").write_bytes((tmp_path / "split/train/fake/000.jpg").read_bytes())
    code, folder = audit(tmp_path, str(tmp_path / "split"))
    assert code == 1
    said = capsys.readouterr().out.splitlines()
    stop = next(number for number, line in enumerate(said) if line.startswith("  stop  "))
    assert said[stop : stop + 2] == [
        "  stop  duplicates.exact_across_splits: 1 picture is in several splits: 1 in test and train",
        "        such as test/fake/copy.jpg, train/fake/000.jpg",
    ]
    assert said[stop + 2].startswith("        -> Keep each in one split: remove its copies from the others (pairs.csv")
    assert said[-1] == "beside it: pairs.csv, unreadable.csv, audit.json"
    page = (folder / HTML_NAME).read_text(encoding="utf-8")
    ids = ("verdict", "shortcuts", "duplicates", "checks", "provenance")  # verdict, why, and then everything
    places = [page.index(f'id="{name}"') for name in ids]
    assert places == sorted(places)
    assert page.index('class="see" href="#duplicates"') < places[1]
    assert limit_text(0.0, status="warn") == "warns above 0"
    assert " (bytes)</h3>" in page


def test_the_hash_is_of_what_decides_and_of_nothing_else(tmp_path: Path, data: Path) -> None:
    hashes = {}
    for name, words in {
        "first": (),
        "again": (),
        "quick": ("--quick",),
        "stricter": ("--set", "audit.integrity.warn_class_size=60"),
        "told": ("--set", "audit.on_stop=warn"),
    }.items():
        _, folder = audit(tmp_path, str(data), *words, name=name)
        hashes[name] = report(folder)["audit_hash"]
    assert hashes["first"] == hashes["again"] == hashes["told"]
    assert len(set(hashes.values())) == 3
    Image.fromarray(picture(64, 64, seed=99)).save(data / "real/000.jpg", quality=95)
    _, folder = audit(tmp_path, str(data), name="changed")
    assert report(folder)["audit_hash"] not in hashes.values()


def test_stop_is_exit_code_1_and_unreadable_files_are_listed(tmp_path: Path, data: Path) -> None:
    for number in range(3):
        (data / f"fake/=cmd()|{number}.jpg").write_bytes(b"no picture")
    code, folder = audit(tmp_path, str(data))
    assert code == 1
    assert report(folder)["status"] == "stop"
    with (folder / UNREADABLE_NAME).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "reason"]
    assert [row[0] for row in rows[1:]] == [f"fake/=cmd()|{number}.jpg" for number in range(3)]


def test_no_cell_of_a_list_is_a_formula(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    image = encoded(Image.fromarray(picture(64, 64)), "JPEG")
    lines = ["path,label"]
    for name, label, content in (("=1+1.jpg", 1, b"bad"), ("@x.jpg", 0, image), ("-y.jpg", 1, image)):
        (root / name).write_bytes(content)
        lines.append(f"{name},{label}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    _, folder = audit(tmp_path, str(root / "list.csv"))
    for name in (UNREADABLE_NAME, PAIRS_NAME):
        with (folder / name).open(encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@")) and not _is_number(cell)]
    assert "'=1+1.jpg" in (folder / UNREADABLE_NAME).read_text(encoding="utf-8")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_names_of_files_are_no_markup(tmp_path: Path, data: Path) -> None:
    (data / "fake/<script>alert(1)<script>.jpg").write_bytes(b"bad")
    _, folder = audit(tmp_path, str(data))
    page = (folder / HTML_NAME).read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_named_data_set_and_words_of_its_own(tmp_path: Path) -> None:
    write_dataset(tmp_path / "sets/rvf10k/train", size_px=64)
    write_dataset(tmp_path / "sets/rvf10k/valid", size_px=64)
    code, folder = audit(
        tmp_path, "rvf10k", "--set", f"paths.data={tmp_path}/sets", "audit.integrity.warn_class_size=5"
    )
    assert report(folder)["integrity"]["counts"]["splits"].keys() == {"train", "test"}
    assert report(folder)["config"]["integrity"]["warn_class_size"] == 5
    assert code in (0, 1)


def test_shards_are_read_where_they_lie(tmp_path: Path, data: Path) -> None:
    assert main(["pack", str(data), str(tmp_path / "shards"), "--set", f"paths.cache={tmp_path}/cache"]) == 0
    _, folder = audit(tmp_path, str(tmp_path / "shards"))
    _, plain = audit(tmp_path, str(data), name="plain")
    assert statuses(folder) == statuses(plain)
    found, expected = report(folder), report(plain)
    assert found["data"]["pictures"] == 24
    assert found["integrity"] == expected["integrity"]


def test_class_names_of_the_user(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "pictures", classes=("camera", "diffusion"), size_px=64)
    code, folder = audit(tmp_path, str(root), "--set", "data.class_map={camera: real, diffusion: fake}")
    assert code in (0, 1)
    assert report(folder)["data"]["fake"] == 12


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["rvf1k"],
            "is no folder, no list of files (.csv, .parquet) and no data set of conf/data. Did you mean 'rvf10k'?",
        ),
        (["missing.csv"], "does not exist"),
        (["{data}", "--set", "audit.shortcuts.warn_auroc=2"], "audit.shortcuts.warn_auroc"),
        (
            ["{data}", "--set", "audit.shortcut.warn_auroc=0.6"],
            "Known: before_training, duplicates, integrity, on_stop, shortcuts.",
        ),
        (["{data}", "--set", "optim.lr=1"], "takes KEY=VALUE of data, audit and paths"),
        (["{data}", "--set", "data.class_map={a:", "real}"], "quote what holds a space"),
        (["{data}/real"], "expected the folders real and fake"),
        (["{data}", "--against", "{data}/nothing"], "is no folder"),
    ],
)
def test_bad_input_ends_in_one_line_and_code_2(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    code, folder = audit(tmp_path, *(word.replace("{data}", str(data)) for word in words))
    assert code == 2
    assert text in capsys.readouterr().err
    assert not folder.exists()


def test_words_about_the_data_stand_behind_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_dataset(tmp_path / "pictures", classes=("camera", "diffusion"), size_px=64)
    assert audit(tmp_path, str(root))[0] == 2
    assert capsys.readouterr().err.endswith(
        "data.class_map={camera: real, diffusion: fake}' (the quotes are for the shell). Say it behind --set.\n"
    )
    with pytest.raises(SystemExit):
        main(["audit", str(root), "data.class_map={camera: real, diffusion: fake}"])
    assert "unrecognized arguments" in (said := capsys.readouterr().err)
    assert said.endswith("; KEY=VALUE stands behind --set\n  veriscope audit --help lists what it takes.\n")


def test_a_folder_that_holds_something_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit(tmp_path, str(data))
    before = (tmp_path / "out" / JSON_NAME).read_bytes()
    assert audit(tmp_path, str(data))[0] == 2
    assert "is not empty; choose another --output" in capsys.readouterr().err
    assert (tmp_path / "out" / JSON_NAME).read_bytes() == before


def test_a_list_that_leaves_its_folder_and_links_that_circle(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret.jpg").write_bytes(encoded(Image.fromarray(picture()), "JPEG"))
    (data / "list.csv").write_text("path,label\nreal/000.jpg,0\n../secret.jpg,1\n")
    assert audit(tmp_path, str(data / "list.csv"))[0] == 2
    assert "leaves the folder" in capsys.readouterr().err
    (data / "list.csv").unlink()
    (data / "fake/again").symlink_to(data / "fake")
    (data / "fake/circle.jpg").symlink_to(data / "fake/circle.jpg")
    _, folder = audit(tmp_path, str(data))
    assert report(folder)["integrity"]["problems"] == [
        {"path": "fake/circle.jpg", "reason": "symbolic links run in a circle"}
    ]


@pytest.mark.slow
def test_an_audit_starts_without_torch(tmp_path: Path, data: Path) -> None:
    program = (
        "import sys\nfrom veriscope.cli import main\n"
        f"main(['audit', {str(data)!r}, '--output', {str(tmp_path / 'out')!r}, '--workers', '1',"
        f" '--set', 'paths.cache={tmp_path}'])\n"
        "heavy = ('torch', 'pytorch_lightning', 'matplotlib', 'sklearn', 'timm', 'cv2')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_mark_in_a_name_turns_the_page_s_text_round(tmp_path: Path, data: Path) -> None:
    """U+202E shows what follows it backwards: gpj.exe as exe.jpg."""
    for label in ("real", "fake"):
        for number in range(3):
            file = data / label / f"{number:03d}.jpg"
            (data / label / f"\u202e{number}gpj.jpg").write_bytes(file.read_bytes())
            file.write_bytes(b"damaged")
            (data / label / f"copy{number}\u202e.jpg").write_bytes((data / label / "009.jpg").read_bytes())
    (data / "fake" / "gen\u202e").mkdir()
    for number in range(4):
        (data / f"fake/00{number + 5}.jpg").rename(data / f"fake/gen\u202e/{number}\u202e.jpg")
    code, folder = audit(tmp_path, str(data))
    assert code == 1
    page = (folder / HTML_NAME).read_text(encoding="utf-8")
    assert "\u202e" not in page
    assert "\\u202e" in page


def test_a_place_that_is_not_utf_8_is_one_line(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = data.rename(tmp_path / os.fsdecode(b"o\xff"))
    assert audit(tmp_path, str(odd))[0] == 2
    said = capsys.readouterr().err
    assert "not valid UTF-8; rename" in said
    assert len(said) < 300


def test_what_cannot_be_read_of_the_other_set_is_no_absence_of_copies(tmp_path: Path, data: Path) -> None:
    other = write_dataset(tmp_path / "other", num_images=4, size_px=64)
    assert "duplicates.against_unreadable" not in statuses(
        audit(tmp_path, str(data), "--against", str(other), name="sound")[1]
    )
    for number, file in enumerate(sorted(other.rglob("*.jpg"))):
        file.write_bytes(b"damaged %d" % number)
        code, folder = audit(tmp_path, str(data), "--against", str(other), name=f"out{number}")
        if number in (0, 7):
            wanted = "stop" if number == 7 else "warn"
            assert statuses(folder)["duplicates.against_unreadable"] == wanted
    assert code == 1
