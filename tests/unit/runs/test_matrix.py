"""Matrices of finished evaluations and of planned ones; one test scores a cell with a real evaluate.py."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.bundles import tiny_bundle, write_pictures

from veriscope.bundle import load_bundle
from veriscope.cli import main
from veriscope.errors import BundleError, ConfigError, RunError
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.intervals import Interval
from veriscope.runs.evaluations import Evaluated, evaluation_key, read_evaluation
from veriscope.runs.matrix import cell_of, make_room, matrix_of
from veriscope.runs.matrix_picture import cell_colour, matrix_picture
from veriscope.runs.matrix_plan import plan_cells, read_columns, read_rows
from veriscope.runs.matrix_report import matrix_csv, terminal_table
from veriscope.runs.matrix_table import Matrix, MatrixCell, labelled, sentences, summary

METRICS = ("auroc", "ap", "accuracy", "balanced_accuracy")


def figure(value: float | None, half: float = 0.02) -> dict[str, Any]:
    low, high = (None, None) if value is None else (max(0, value - half), min(1, value + half))
    return {"value": value, "low": low, "high": high, "method": None if value is None else "bootstrap"}


def write_evaluation(folder: Path, *, trained: str, tested: str, auroc: float | None, **changes: Any) -> Path:
    """Write the part of an evaluation's report.json that a matrix reads."""
    plain = {
        "kind": "evaluation",
        "model": changes.get("model", "tiny"),
        "corruption": changes.get("corruption"),
        "base_rate_stated": changes.get("base_rate"),
        "counts": {"real": 60, "fake": 40},
        "headline_threshold": "val",
        "metrics": {"auroc": figure(auroc), "ap": figure(0.7)},
        "thresholds": {
            name: {"metrics": {"accuracy": figure(value), "balanced_accuracy": figure(value)}}
            for name, value in (("val", 0.8), ("default", 0.75))
        },
        "data": {
            "data_set": tested,
            "root": f"/data/{tested}",
            "content_hash": f"hash of {tested}",
            "part": changes.get("part", "test" if trained == tested else "all"),
            "exposure": changes.get("exposure", "unseen"),
            "subset": "which pictures",
        },
        "bundle": {
            "trained_on": trained,
            "training_data_hash": f"hash of {trained}",
            "weights_sha256": changes.get("weights", f"weights of {trained}"),
        },
    }
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(plain))
    return folder


@pytest.fixture
def evaluations(tmp_path: Path) -> Path:
    """Return a folder of 3 x 3 evaluations less one; gan's own data is val, web's holds pictures of gan's training."""
    figures = {
        ("faces", "faces"): 0.99, ("faces", "gan"): 0.70, ("faces", "web"): 0.52,
        ("gan", "faces"): 0.40, ("gan", "gan"): 0.98, ("gan", "web"): 0.95,
        ("web", "faces"): 0.80, ("web", "web"): 0.90,
    }  # fmt: skip
    special = {
        ("gan", "gan"): {"part": "val", "exposure": "selected"},
        ("gan", "web"): {"exposure": "trained"},
    }
    for (trained, tested), auroc in figures.items():
        place = tmp_path / "made" / f"{trained}_{tested}"
        write_evaluation(place, trained=trained, tested=tested, auroc=auroc, **special.get((trained, tested), {}))
    return tmp_path / "made"


def read(folder: Path, metric: Any = "auroc") -> Matrix:
    return matrix_of([read_evaluation(place) for place in sorted(folder.iterdir())], metric=metric)


def test_only_unseen_pictures_of_other_data_count(evaluations: Path) -> None:
    matrix = read(evaluations)
    assert matrix.rows == matrix.columns == ("faces", "gan", "web")
    facts = summary(matrix)
    assert facts["elsewhere_mean"] == pytest.approx((0.70 + 0.52 + 0.40 + 0.80) / 4)  # not 0.95, trained on
    assert facts["own_mean"] == pytest.approx((0.99 + 0.90) / 2)  # not 0.98, which val selected
    assert (facts["num_seen"], facts["num_like_guessing"]) == (2, 2)
    assert (facts["worst"]["row"], facts["worst"]["column"], facts["worst"]["value"]) == ("gan", "faces", 0.40)
    assert matrix.cells[2][1].status == "missing"


def test_it_is_said_in_plain_words(evaluations: Path) -> None:
    text = "\n".join(sentences(read(evaluations)))
    assert "On data sets that they were not trained on: mean AUROC 0.605 over 4 cells; 2 of them are no better" in text
    assert "Worst: trained on gan it gets 0.400 (0.380 to 0.420) on faces, worse than guessing." in text
    assert "Hatched cells (2) hold pictures that had a part in the training" in text
    assert "1 cell not scored yet." in text
    assert "the cells of faces, gan, web are not all of the same pictures" in text


def test_a_fall_is_named_with_its_height(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "made" / "a", trained="faces", tested="faces", auroc=0.992)
    write_evaluation(tmp_path / "made" / "b", trained="faces", tested="web", auroc=0.52)
    (_, worst, *_) = sentences(read(tmp_path / "made"))
    assert worst == (
        "Worst: trained on faces it falls from 0.992 on its own data to 0.520 (0.500 to 0.540) on web, no better than "
        "guessing."
    )


def test_the_table_of_evaluations_that_are_there(evaluations: Path, tmp_path: Path, capsys: Any) -> None:
    output = tmp_path / "out"
    (evaluations / "folds").mkdir()
    (evaluations / "folds" / "report.json").write_text('{"kind": "cross-validation"}')  # beside them: no cell
    assert main(["matrix", "--from", str(evaluations), "--output", str(output), "--metric", "accuracy"]) == 0
    assert {file.name for file in output.iterdir()} >= {"matrix.json", "matrix.csv", "matrix.png", "matrix.html"}
    record = json.loads((output / "matrix.json").read_text())
    assert (record["metric"], record["rows"], len(record["cells"])) == ("accuracy", ["faces", "gan", "web"], 9)
    rows = list(csv.DictReader((output / "matrix.csv").open()))
    found = next(row for row in rows if (row["trained_on"], row["tested_on"]) == ("gan", "faces"))
    assert (found["auroc"], found["accuracy"], found["exposure"]) == ("0.4", "0.8", "unseen")
    page = (output / "matrix.html").read_text()
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded
    assert "&lt;" not in page
    assert "TRAINED ON" in page
    assert main(["matrix", "--from", str(tmp_path / "out"), "--output", str(output)]) == 2
    assert "holds no evaluation" in capsys.readouterr().err


def test_names_in_the_page_are_escaped(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "made" / "a", trained="<b>x</b>", tested="web", auroc=None)
    output = tmp_path / "out"
    assert main(["matrix", "--from", str(tmp_path / "made"), "--output", str(output)]) == 0
    page = (output / "matrix.html").read_text()
    assert "<b>x</b>" not in page
    assert "undefined" in page


def test_the_page_says_what_its_figures_mean(evaluations: Path, tmp_path: Path) -> None:
    assert main(["matrix", "--from", str(evaluations), "--output", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "matrix.html").read_text()
    assert "AUROC: chance that a fake ranks above a real picture; 0.5 is guessing." in page
    assert ">dirty<" not in page, "the command line's word for changes that are in no commit"


def test_names_in_the_table_are_no_formulas(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", trained="=cmd()", tested="@b", auroc=0.9)
    (row,) = csv.DictReader(matrix_csv(read(tmp_path), tmp_path).splitlines())
    assert (row["trained_on"], row["tested_on"], row["auroc"]) == ("'=cmd()", "'@b", "0.9")


def test_two_of_one_cell_and_other_kinds_are_refused(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", trained="faces", tested="web", auroc=0.6)
    write_evaluation(tmp_path / "b", trained="faces", tested="web", auroc=0.7, part="val")
    with pytest.raises(RunError, match="of the same bundle and data set"):
        read(tmp_path)
    (tmp_path / "b" / "report.json").write_text('{"kind": "cross-validation"}')
    with pytest.raises(RunError, match="is of a cross-validation"):
        read(tmp_path)
    (tmp_path / "b" / "report.json").write_text('{"kind": "evaluation", ')
    with pytest.raises(RunError, match="missing or damaged"):
        read(tmp_path)


def test_a_corruption_is_a_column_of_its_own(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", trained="faces", tested="web", auroc=0.6)
    write_evaluation(tmp_path / "b", trained="faces", tested="web", auroc=0.5, corruption="jpeg:75")
    assert read(tmp_path).columns == ("web", "web, jpeg:75")


def test_a_stated_base_rate_is_a_column_of_its_own_and_is_shown(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "in" / "a", trained="faces", tested="web", auroc=0.6)
    write_evaluation(tmp_path / "in" / "b", trained="faces", tested="web", auroc=0.6, base_rate=0.05)
    assert read(tmp_path / "in").columns == ("web", "web, base rate 0.05")
    assert main(["matrix", "--from", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    cells = json.loads((tmp_path / "out" / "matrix.json").read_text())["cells"]
    assert [cell["base_rate_stated"] for cell in cells] == [None, 0.05]
    assert [row["base_rate_stated"] for row in csv.DictReader((tmp_path / "out" / "matrix.csv").open())] == ["", "0.05"]
    assert "corrected to a share of fakes of 0.05" in (tmp_path / "out" / "matrix.html").read_text()


def test_corrupted_columns_enter_no_mean(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", trained="faces", tested="web", auroc=0.8)
    write_evaluation(tmp_path / "b", trained="faces", tested="web", auroc=0.4, corruption="jpeg:30")
    write_evaluation(tmp_path / "c", trained="faces", tested="faces", auroc=0.9)
    write_evaluation(tmp_path / "d", trained="faces", tested="faces", auroc=0.7, corruption="jpeg:30")
    matrix = read(tmp_path)
    facts = summary(matrix)
    assert (facts["elsewhere_mean"], facts["num_elsewhere"], facts["num_like_guessing"]) == (0.8, 1, 0)
    assert (facts["own_mean"], facts["num_own"], facts["num_corrupted"]) == (0.9, 1, 2)
    assert facts["worst"]["value"] == 0.4
    text = "\n".join(sentences(matrix))
    assert "2 cells are of corrupted pictures and in no mean." in text


def test_means_of_figures_that_are_guessed_differently_say_so() -> None:
    def says(metric: Any) -> str:
        return "\n".join(sentences(Matrix(metric, ("a",), ("b", "c"), ((scored(0.8), scored(0.8, real=10)),))))

    assert "Guessing differs between the columns (0.600 to 0.800 as accuracy)" in says("accuracy")
    assert "Guessing differs between the columns (0.400 to 0.800 as average precision)" in says("ap")
    assert "Guessing differs" not in says("auroc")


def test_labels_say_as_much_as_tells_them_apart() -> None:
    assert labelled(["a", "b"], ["m", "m"]) == ("a", "b")
    assert labelled(["a", "a", "b"], ["m", "n", "m"], ["x", "y", "z"]) == ("a, m", "a, n", "b")
    assert labelled(["a", "a"], ["m", "m"]) == ("a, m (1)", "a, m (2)")


def scored(value: float, *, real: int = 60, fake: int = 40) -> MatrixCell:
    made = Figure(value, Interval(value, value, 0.95, "bootstrap"))
    return MatrixCell("scored", False, Evaluated(
        folder=Path("x"), model="m", trained_on="a", training_data_hash="a", bundle_hash="b", data_name="d",
        data_root="/d", data_hash="d", part="all", exposure="unseen", explanation="", corruption=None, base_rate=None,
        num_real=real, num_fake=fake, headline="val", free={"auroc": made, "ap": made},
        at={"val": {"accuracy": made, "balanced_accuracy": made}},
    ))  # fmt: skip


def test_guessing_is_what_the_classes_give() -> None:
    assert [scored(0.6).guessing(metric) for metric in METRICS] == [0.5, 0.4, 0.6, 0.5]  # type: ignore[arg-type]
    assert scored(0.6).skill("accuracy") == 0
    assert scored(0.7).skill("ap") == pytest.approx(0.5)
    assert scored(0.25).skill("auroc") == pytest.approx(-0.5)


@given(
    st.floats(0, 1), st.floats(0, 1), st.integers(1, 50), st.integers(1, 50), st.sampled_from(METRICS)
)  # fmt: skip
def test_skill_is_a_rising_scale_from_wrong_to_right(a: float, b: float, real: int, fake: int, metric: Any) -> None:
    low, high = (scored(value, real=real, fake=fake).skill(metric) for value in sorted((a, b)))
    assert -1 <= low <= high <= 1
    assert scored(1, real=real, fake=fake).skill(metric) == 1
    assert scored(0, real=real, fake=fake).skill(metric) == -1


def test_dark_text_is_read_on_every_colour() -> None:
    """WCAG 2.1's contrast of the text's #1b1f24 with each cell is at least 4.5."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for step in range(-10, 11):
        assert (luminance(cell_colour(step / 10)) + 0.05) / (luminance("#1b1f24") + 0.05) > 4.5


@pytest.mark.parametrize(("num_rows", "num_columns"), [(1, 1), (12, 12), (1, 12)])
def test_every_size_is_drawn_with_its_figures(num_rows: int, num_columns: int) -> None:
    cells = tuple(tuple(scored(0.6) for _ in range(num_columns)) for _ in range(num_rows))
    matrix = Matrix("auroc", tuple("abcdefghijkl"[:num_rows]), tuple("abcdefghijkl"[:num_columns]), cells)
    texts = [text.get_text() for text in matrix_picture(matrix).axes[0].texts]
    assert texts.count("0.600") == num_rows * num_columns
    assert sum("worst" in text for text in texts) == 1
    assert terminal_table(matrix).row_count == num_rows


# ---- plans


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Return a folder with a bundle and two data sets: `own`, that the bundle was trained on, and `web`."""
    for name, count in (("own", 30), ("web", 6)):
        write_pictures(tmp_path / name / "real", count)
        write_pictures(tmp_path / name / "fake", count, side=48)
    bundle = tiny_bundle(tmp_path / "run" / "bundle")
    (own,) = read_columns([f"folder:data.root={tmp_path}/own"], common=())
    file = bundle.folder / "bundle.json"
    plain = json.loads(file.read_text())
    plain["training"]["data_hash"] = own.manifest.content_hash
    plain["training"]["split"] = {"name": "holdout", "val_fraction": 0.3, "test_fraction": 0.3, "seed": 1}
    file.write_text(json.dumps(plain))
    return tmp_path


def test_data_words_are_read_and_typos_named(places: Path) -> None:
    texts = [f"folder:data.root={places}/own:subset=val", f"mine=folder:data.root={places}/own:corruption=jpeg:75"]
    first, second = read_columns(texts, common=("bootstrap_draws=100",))
    assert (first.label, first.config.subset) == ("own, val", "val")
    assert (second.label, second.config.corruption, second.config.bootstrap_draws) == ("mine", "jpeg:75", 100)
    for text, said in (
        ("rvf10", "Did you mean 'rvf10k'?"),
        ("rvf10k:subst=val", "'subst' is nothing to say of a data set. Did you mean 'subset'?"),
        ("rvf10k:data.rot=x", "Did you mean 'root'?"),
        ("folder", "data.kind=folder needs data.root"),
    ):
        with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
            read_columns([text], common=())
    with pytest.raises(ConfigError, match="is named twice; name one, as LABEL=NAME"):
        read_columns([f"folder:data.root={places}/own"] * 2, common=())
    with pytest.raises(ConfigError, match="--set data=rvf10k"):
        read_columns(["rvf10k"], common=("data=rvf10k",))


def test_bundles_are_found_in_their_runs_and_named_once(places: Path) -> None:
    (row,) = read_rows([str(places / "run")])
    assert (row.label, row.bundle.folder) == ("generated", places / "run" / "bundle")
    assert read_rows([f"mine={places}/run"])[0].label == "mine"
    with pytest.raises(ConfigError, match="is named twice"):
        read_rows([str(places / "run"), str(places / "run" / "bundle")])
    with pytest.raises(BundleError, match="no such folder"):
        read_rows([str(places / "nowhere")])


def test_own_data_is_judged_on_what_was_left_out_else_on_val(places: Path) -> None:
    columns = read_columns([f"folder:data.root={places}/own", f"folder:data.root={places}/web"], common=())
    own, web = plan_cells(read_rows([str(places / "run")]), columns, common=(), folder=places / "m")
    assert (own.own, web.own) == (True, False)
    assert own.job is not None
    assert not any(said.startswith("subset=") for said in own.job.words)
    file = places / "run" / "bundle" / "bundle.json"
    file.write_text(file.read_text().replace('"test_fraction": 0.3', '"test_fraction": 0.0'))
    own, _ = plan_cells(read_rows([str(places / "run")]), columns, common=(), folder=places / "m")
    assert own.job is not None
    assert "subset=val" in own.job.words  # and evaluate.py says that val selected the model
    test = read_columns([f"folder:data.root={places}/web:subset=test"], common=())
    (left,) = plan_cells(read_rows([str(places / "run")]), test, common=(), folder=places / "m")
    assert left.job is None
    assert "has no 'test' part" in left.reason


def test_the_key_tells_bundles_pictures_and_settings_apart(places: Path) -> None:
    bundle = load_bundle(places / "run" / "bundle")
    text = f"folder:data.root={places}/own"
    (one,) = read_columns([text], common=())
    (same,) = read_columns([text], common=("device=cpu", "data.num_workers=0", "paths.cache=elsewhere"))
    (other,) = read_columns([text], common=("bootstrap_draws=300",))
    key = evaluation_key(one.config, bundle, data_hash="a")
    assert evaluation_key(same.config, bundle, data_hash="a") == key
    assert evaluation_key(one.config, bundle, data_hash="b") != key
    assert evaluation_key(other.config, bundle, data_hash="a") != key
    file = bundle.folder / "bundle.json"
    file.write_text(file.read_text().replace('"value": 0.4', '"value": 0.3'))
    assert evaluation_key(one.config, bundle, data_hash="a") != key  # another threshold, the same weights


@pytest.mark.parametrize("damage", ['{"kind": "evaluation", ', "other"])
def test_one_damaged_cell_costs_no_table(places: Path, damage: str) -> None:
    rows = read_rows([str(places / "run")])
    columns = read_columns([f"folder:data.root={places}/own", f"folder:data.root={places}/web"], common=())
    own, web = plan_cells(rows, columns, common=(), folder=places / "m")
    assert own.job is not None
    assert web.job is not None
    write_evaluation(own.job.folder, trained="own", tested="own", auroc=0.9)
    write_evaluation(web.job.folder, trained="own", tested="web", auroc=0.6)
    assert (own.done, web.done) == (True, True)
    file = own.job.folder / "report.json"
    file.write_text(damage if damage != "other" else file.read_text().replace("balanced_accuracy", "balance"))
    assert (own.done, web.done) == (False, True)  # it will be judged anew
    lost = cell_of(own, {})
    assert lost.status == "failed"
    assert "report.json" in lost.reason
    assert cell_of(web, {}).status == "scored"
    make_room(own.job.folder)
    assert not own.job.folder.exists()
    assert [f.read_text() for f in file.parent.parent.glob(".*damaged*/report.json")]  # kept, out of the way
    make_room(web.job.folder)
    assert web.done


def test_a_bundle_without_a_share_of_fakes_is_refused_before_anything_starts(places: Path, capsys: Any) -> None:
    words = ["matrix", str(places / "run"), "--data", f"folder:data.root={places}/web", "--output", str(places / "m")]
    assert main([*words, "--set", "base_rate=0.05"]) == 2
    said = capsys.readouterr().err
    assert "generated" in said
    assert "base rate" in said
    assert not (places / "m").exists()


@pytest.mark.slow
def test_cells_are_scored_failures_recorded_and_what_is_done_is_skipped(places: Path, capsys: Any) -> None:
    (places / "bad" / "real").mkdir(parents=True)
    write_pictures(places / "bad" / "fake", 2)
    (places / "bad" / "real" / "broken.png").write_bytes(b"no picture")
    words = [
        "matrix", str(places / "run"),
        "--data", f"folder:data.root={places}/web", f"folder:data.root={places}/bad:on_unreadable=stop",
        "--set", "device=cpu", "bootstrap_draws=100", f"paths.cache={places}/cache", "--output", str(places / "m"),
    ]  # fmt: skip
    assert main([*words, "--workers", "2"]) == 1
    cells = json.loads((places / "m" / "matrix.json").read_text())["cells"]
    assert [cell["status"] for cell in cells] == ["scored", "failed"]
    assert "broken.png" in cells[1]["reason"]
    assert ".log" in cells[1]["reason"]
    assert (places / "m" / cells[0]["folder"] / "report.html").is_file()
    capsys.readouterr()
    assert main([*words, "--dry-run"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("python evaluate.py bundle=")
    assert "bad" in line


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"auroc": {"value": float("nan"), "low": None, "high": None, "method": None}}},
        {"metrics": {"auroc": {"value": "0.9", "low": 0.8, "high": 1.0, "method": "bootstrap"}}},
        {"metrics": {"auroc": {"value": 0.9, "low": 1.0, "high": 0.8, "method": "bootstrap"}}},
        {"counts": {"real": float("inf"), "fake": 3}},
        {"counts": {"real": "3", "fake": 3}},
        {"base_rate_stated": float("nan")},
        {"metrics": []},
    ],
)
def test_figures_that_are_none_are_damage(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write_evaluation(tmp_path / "one", trained="faces", tested="web", auroc=0.9)
    content = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(content | change))
    with pytest.raises(RunError, match="missing or damaged"):
        read_evaluation(folder)


def test_names_are_drawn_as_they_are_and_drive_no_terminal(tmp_path: Path, capsys: Any) -> None:
    for trained, tested in (("$\\frac{$", "x"), ("\x1b[31mred", "y\n")):
        write_evaluation(tmp_path / "made" / tested.strip(), trained=trained, tested=tested, auroc=0.9)
    assert main(["matrix", "--from", str(tmp_path / "made"), "--output", str(tmp_path / "m")]) == 0
    said = capsys.readouterr()
    assert "\x1b[31m" not in said.out + said.err
    assert (tmp_path / "m" / "matrix.png").is_file()


def test_an_output_that_is_a_file_is_refused(evaluations: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["matrix", "--from", str(evaluations), "--output", str(tmp_path / "file")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_long_names_in_any_script_make_folders(places: Path) -> None:
    name = "\u4e2d" * 100
    rows = read_rows([f"{name}={places / 'run'}"])
    columns = read_columns([f"folder:data.root={places}/web"], common=())
    [planned] = plan_cells(rows, columns, common=(), folder=places / "m")
    assert planned.job is not None
    assert len(planned.job.log.name.encode()) < 200
