"""`veriscope compare`: what it reads, refuses, finds and writes."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score

from veriscope.cli import main
from veriscope.errors import DataError
from veriscope.evaluation.compare import compare, sentence
from veriscope.evaluation.compare_inputs import match, read_entries
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.significance import delong_areas, delong_test, mcnemar_test
from veriscope.types import Calibration

SIZE = 240
EVIL = "<script>x</script>.png"


def truth(size=SIZE):
    return np.random.default_rng(7).permutation(np.arange(size) % 2)


def logits_of(seed, *, noise, size=SIZE):
    shared = np.random.default_rng(1).normal(size=size)
    return 2.0 * truth(size) - 1 + 0.7 * shared + noise * np.random.default_rng(seed).normal(size=size)


def write(folder: Path, logits, *, ids=None, labels=None, threshold=0.4, meta=None, order=None, **columns) -> str:
    """Write an evaluation folder: a table and, where there is a threshold, its report.json."""
    size = len(logits)
    ids = [f"p{i:04}.png" for i in range(size)] if ids is None else ids
    labels = truth(size) if labels is None else labels
    order = np.arange(size) if order is None else order
    columns = {key: [values[i] for i in order] for key, values in columns.items()}
    PredictionTable.from_columns(
        [ids[i] for i in order],
        labels=[labels[i] for i in order],
        logits=[logits[i] for i in order],
        calibration=Calibration(),
        meta=TableMeta(**{"data_hash": "d0", "bundle_hash": folder.name, **(meta or {})}),
        **columns,
    ).write(folder)
    if threshold is not None:
        own = {"val": {"value": threshold, "rule": "youden", "chosen_on": "val", "metrics": {}}}
        (folder / "report.json").write_text(json.dumps({"thresholds": own, "headline_threshold": "val"}))
    return str(folder)


@pytest.fixture
def good(tmp_path):
    return write(tmp_path / "good", logits_of(2, noise=0.3))


@pytest.fixture
def poor(tmp_path):
    # Other row order: rows are matched by id.
    order = np.random.default_rng(0).permutation(SIZE)
    return write(tmp_path / "poor", logits_of(3, noise=2.5), threshold=0.6, order=order)


def test_figures_and_tests_are_those_of_the_matched_rows(good, poor):
    found = compare(read_entries([poor, good]), draws=200)
    assert [(s.entry.name, s.mark) for s in found.standings] == [("good", "best"), ("poor", "")]
    labels = truth()
    logits = np.float32([logits_of(2, noise=0.3), logits_of(3, noise=2.5)]).astype(float)
    scores = expit(logits)
    for place, threshold in enumerate((0.4, 0.6)):
        figures = found.standings[place].figures
        assert figures["auroc"].value == pytest.approx(roc_auc_score(labels, logits[place]))
        assert figures["accuracy"].value == pytest.approx(accuracy_score(labels, scores[place] >= threshold))
        assert figures["log_loss"].value == pytest.approx(log_loss(labels, scores[place]))
        assert figures["brier"].value == pytest.approx(brier_score_loss(labels, scores[place]))
        for figure in figures.values():
            assert figure.interval.low < figure.value < figure.interval.high
    tests = {pair.metric: pair.test for pair in found.pairs}
    assert tests["auroc"] == pytest.approx(delong_test(delong_areas(labels, logits), 0, 1))
    right = (scores >= np.array([[0.4], [0.6]])) == (labels == 1)
    assert tests["accuracy"] == pytest.approx(mcnemar_test(*right))
    assert tests["brier"].method == "paired bootstrap"
    (agreement,) = found.agreements
    assert agreement[2:] == tuple(
        int(np.sum(mask))
        for mask in (right[0] & right[1], right[0] & ~right[1], ~right[0] & right[1], ~right[0] & ~right[1])
    )
    (sentence,) = found.sentences()
    assert sentence.startswith("good ranks better than poor on 240 pictures: +0.")
    assert sentence.endswith("p < 0.001.")


def test_same_seed_same_comparison_whatever_the_order_of_inputs(good, poor):
    first, again = (compare(read_entries(inputs), draws=200) for inputs in ([good, poor], [poor, good]))
    assert first.pairs == again.pairs
    assert [s.figures for s in first.standings] == [s.figures for s in again.standings]
    other = compare(read_entries([good, poor]), draws=200, seed=1)
    assert first.pairs_of("brier") != other.pairs_of("brier")
    assert first.pairs_of("auroc") == other.pairs_of("auroc"), "DeLong draws nothing"


def test_a_model_against_itself_is_said_and_equal(good):
    found = compare(read_entries([f"one={good}", f"two={good}"]), draws=200)
    assert found.notices[-1] == "one and two are the same model: their weights have the same hash."
    assert {pair.test.p for pair in found.pairs} == {1.0}
    assert {pair.test.difference for pair in found.pairs} == {0.0}
    assert [s.mark for s in found.standings] == ["best", "equal"]
    assert found.sentences()[0].startswith("one and two can't be told apart on 240 pictures: +0.000 AUROC")


def test_equals_of_the_best_are_marked_and_p_corrected(tmp_path, good, poor):
    near = write(tmp_path / "near", logits_of(2, noise=0.3) + 0.01 * np.random.default_rng(5).normal(size=SIZE))
    found = compare(read_entries([good, poor, near]), draws=200)
    assert sorted(s.mark for s in found.standings) == ["", "best", "equal"]
    assert found.standings[2].entry.name == "poor"
    tests = found.pairs_of("auroc")
    assert len(tests) == 3
    smallest = min(tests, key=lambda pair: pair.test.p)
    assert smallest.corrected == pytest.approx(3 * smallest.test.p)
    assert "can't be told from it" in found.sentences()[0]


def test_only_pictures_that_all_judged_count(tmp_path, poor):
    logits = list(logits_of(2, noise=0.3))
    logits[3] = logits[8] = None
    errors = [None if logit is not None else "not an image" for logit in logits]
    holey = write(tmp_path / "holey", logits, errors=errors)
    found = match(read_entries([holey, poor]))
    assert len(found.ids) == SIZE - 2
    assert not {"p0003.png", "p0008.png"} & set(found.ids)
    assert found.notices[0] == (
        "2 of 240 pictures count nowhere, because not all have judged them (without verdict or label: holey 2, poor 0)."
    )
    empty = write(tmp_path / "empty", [None] * SIZE, errors=["gone"] * SIZE)
    with pytest.raises(DataError, match="no picture that all have judged"):
        match(read_entries([empty, poor]))


def test_groups_count_as_one_witness(tmp_path):
    groups = [f"person {i // 4}" if i < 200 else None for i in range(SIZE)]
    inputs = [write(tmp_path / f"m{i}", logits_of(i, noise=1.0), groups=groups) for i in (1, 2)]
    found = compare(read_entries(inputs), draws=200)
    assert found.matched.groups.max() + 1 == 50 + 40
    assert "240 pictures in 90 groups" in found.notices[-1]
    assert {p.metric: p.test.method for p in found.pairs}["auroc"] == "DeLong for groups"
    assert {p.metric: p.test.method for p in found.pairs}["accuracy"] == "McNemar for groups"


def test_all_pictures_of_one_group_give_neither_interval_nor_p(tmp_path):
    inputs = [write(tmp_path / f"m{i}", logits_of(i, noise=i), groups=["she"] * SIZE) for i in (1, 2)]
    found = compare(read_entries(inputs), draws=200)
    assert {pair.test[1:4] for pair in found.pairs} == {(None, None, None)}
    assert {figure.interval for s in found.standings for figure in s.figures.values()} == {None}
    assert "All pictures are of one group: it says nothing of others" in found.notices[-1]
    assert "all of one group" in found.sentences()[0]


def test_groups_are_named_in_the_method_of_every_interval(tmp_path):
    groups = [f"person {i // 4}" for i in range(SIZE)]
    inputs = [write(tmp_path / f"m{i}", logits_of(i, noise=1.0), groups=groups) for i in (1, 2)]
    figures = compare(read_entries(inputs), draws=200).standings[0].figures
    assert {figure.interval.method for figure in figures.values()} == {"cluster bootstrap"}


def test_a_base_rate_weighs_the_losses_and_is_said(tmp_path, capsys, good):
    rate = {"base_rate": 0.01}
    inputs = [write(tmp_path / f"m{i}", logits_of(i, noise=1.0), meta={**rate, "bundle_hash": str(i)}) for i in (1, 2)]
    out = tmp_path / "out"
    assert main(["compare", *inputs, "--draws", "200", "--out", str(out)]) == 0
    assert "corrected to a share of fakes of 0.01" in " ".join(capsys.readouterr().out.split())
    content = json.loads((out / "compare.json").read_text())
    assert content["base_rate"] == 0.01
    assert any("0.01" in text for text in content["notices"])
    assert "share of fakes of <strong>0.01</strong>" in (out / "compare.html").read_text()
    by_name = {model["name"]: model["metrics"] for model in content["models"]}
    weights = np.where(truth() == 1, 0.01, 0.99)
    for i in (1, 2):
        scores = expit(np.float32(logits_of(i, noise=1.0)).astype(float))
        brier = brier_score_loss(truth(), scores, sample_weight=weights)
        found = by_name[f"m{i}"]["brier"]
        assert found["value"] == pytest.approx(brier)
        assert 0.6 * brier < found["low"] < brier < found["high"] < 1.5 * brier
        assert by_name[f"m{i}"]["log_loss"]["value"] == pytest.approx(log_loss(truth(), scores, sample_weight=weights))
    err = refused([good, inputs[0]], capsys)
    assert "corrected to different base rates: 'good' none, 'm1' 0.01" in err


def refused(inputs, capsys, *more):
    assert main(["compare", *inputs, "--draws", "100", *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") == 1
    return err


def test_tables_of_different_pictures_are_refused(tmp_path, good, capsys):
    ids = [f"p{i:04}.png" for i in range(SIZE - 2)] + ["new.png", "more.png"]
    err = refused([good, write(tmp_path / "other", logits_of(1, noise=1), ids=ids)], capsys)
    assert "238 in both, 2 only in 'good' ('p0238.png', 'p0239.png'), 2 only in 'other' ('more.png', 'new.png')" in err
    flipped = truth()
    flipped[5] = 1 - flipped[5]
    err = refused([good, write(tmp_path / "flipped", logits_of(1, noise=1), labels=flipped)], capsys)
    assert "label 1 pictures differently: 'p0005.png'" in err
    err = refused([good, write(tmp_path / "jpeg", logits_of(1, noise=1), meta={"corruption": "jpeg:75"})], capsys)
    assert "different corruptions: 'good' none, 'jpeg' jpeg:75" in err
    err = refused([good, write(tmp_path / "hash", logits_of(1, noise=1), meta={"data_hash": "d1"})], capsys)
    assert "their data differs (hash d0, d1)" in err


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["{good}"], "at least two"),
        (["{good}"] * 1000, "1,000 models make 499,500 pairs"),
        (["{good}", "{tmp}/nothing"], "does not exist"),
        (["{good}", "{tmp}/bare"], "holds no predictions.parquet"),
        (["{good}", "{tmp}/seeds"], "veriscope summary"),
        (["{good}", "{tmp}/broken"], "is damaged"),
        (["{good}", "{tmp}/text/predictions.parquet"], "no readable Parquet file"),
        (["a={good}", "a={good}"], "the name 'a' is given twice"),
        (["{good}", "{good}", "--metric", "auc"], "Did you mean 'auroc'?"),
        (["{good}", "{good}", "--metric", "ece"], "has no test"),
        (["{good}", "{good}", "--out", "{tmp}/seeds"], "is not empty"),
        (["{good}", "{good}", "--out", "{good}/report.json/x"], "can't be written"),
        (["{fakes}", "{fakes}"], "AUROC is undefined on these pictures (0 real, 240 fake)"),
    ],
)
def test_bad_input(inputs, expected, tmp_path, good, capsys):
    (tmp_path / "bare").mkdir()
    (tmp_path / "seeds" / "0").mkdir(parents=True)
    (tmp_path / "seeds" / "0" / "config.yaml").write_text("seed: 1")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "predictions.parquet").write_text("no")
    broken = write(tmp_path / "broken", logits_of(1, noise=1))
    (Path(broken) / "report.json").write_text('{"thresholds": {"val": 3}}')
    fakes = write(tmp_path / "fakes", logits_of(1, noise=1), labels=np.ones(SIZE, int))
    words = [word.format(good=good, tmp=tmp_path, fakes=fakes) for word in inputs]
    assert expected in refused(words, capsys)


@pytest.mark.parametrize("words", [["--level", "1.2"], ["--draws", "3"], ["--seed", "-1"], ["--level", "x"]])
def test_bad_options(words, good, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["compare", good, good, *words])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_one_class_is_compared_by_accuracy(tmp_path, capsys):
    inputs = [
        write(tmp_path / f"f{i}", logits_of(i, noise=2.0), labels=np.ones(SIZE, int), meta={"bundle_hash": str(i)})
        for i in (1, 2)
    ]
    assert main(["compare", *inputs, "--metric", "accuracy", "--draws", "100", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["models"][0]["metrics"]["auroc"]["value"] is None
    assert {pair["metric"] for pair in content["pairs"]} == {"accuracy", "log_loss", "brier"}


def test_a_run_is_read_at_its_validation_and_said_to_be_selected(tmp_path, good):
    run = tmp_path / "run_a"
    write(run / "validation", logits_of(4, noise=0.5), threshold=None, meta={"subset": "val"})
    own = {"default": {"value": 0.5, "rule": "fixed", "chosen_on": "none"},
           "val": {"value": 0.3, "rule": "youden", "chosen_on": "x val"}}  # fmt: skip
    (run / "validation" / "figures.json").write_text(json.dumps({"thresholds": own, "notices": ["Not usable."]}))
    bare = write(tmp_path / "bare", logits_of(5, noise=0.5), threshold=None)
    entries = read_entries([str(run), bare])
    assert [entry.name for entry in entries] == ["run_a", "bare"]
    assert [entry.threshold.value for entry in entries] == [0.3, 0.5]
    assert entries[0].notices[0] == "run_a: Not usable."
    assert "selected figures" in entries[0].notices[1]
    assert "at the threshold 0.5" in entries[1].notices[0]


def test_names_are_as_long_as_they_must_be(tmp_path):
    paths = [
        write(tmp_path / name, logits_of(1, noise=1), meta={"bundle_hash": name})
        for name in ("x/a/evaluation", "y/a/evaluation", "b/evaluation")
    ]
    assert [entry.name for entry in read_entries(paths)] == ["x/a", "y/a", "b"]
    assert [entry.name for entry in read_entries([paths[2], paths[2], f"b={paths[0]}"])] == ["b #2", "b #3", "b"]


def test_folder_is_written_whole_and_speaks_of_the_pictures(tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    ids = [EVIL.replace("/", "_") if i == 0 else f"p{i:04}.png" for i in range(SIZE)]
    for i in (0, 5, 9):
        Image.new("RGB", (40, 30), (i * 20, 90, 90)).save(pictures / ids[i])
    second = logits_of(2, noise=0.2)
    first = second.copy()
    first[[0, 5, 9, 11]] *= -1
    inputs = [
        f"evil<b>={write(tmp_path / 'one', first, ids=ids, paths=[str(pictures / name) for name in ids])}",
        write(tmp_path / "two", second, ids=ids, paths=[str(pictures / name) for name in ids]),
    ]
    out = tmp_path / "new" / "out"
    assert main(["compare", *inputs, "--draws", "100", "--out", str(out)]) == 0
    printed, _ = capsys.readouterr()
    assert "evil<b>" in printed
    assert sorted(file.name for file in out.iterdir()) == ["compare.csv", "compare.html", "compare.json", "compare.png"]
    page = (out / "compare.html").read_text()
    assert "<b>=" not in page
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "loads nothing"
    assert page.count("<img ") == 3, "three of the four pictures are still there"
    rows = list(csv.DictReader((out / "compare.csv").open()))
    content = json.loads((out / "compare.json").read_text())
    assert [row["model"] for row in rows] == [model["name"] for model in content["models"]] == ["two", "evil<b>"]
    assert float(rows[0]["auroc"]) == content["models"][0]["metrics"]["auroc"]["value"]
    with Image.open(out / "compare.png") as image:
        assert image.width > 1500
    assert main(["compare", *inputs, "--out", str(out)]) == 2, "an old comparison is never overwritten"


def test_too_few_draws_for_the_pairs_are_said(tmp_path):
    inputs = [write(tmp_path / f"m{i}", logits_of(i, noise=1.0 + i)) for i in range(4)]
    notices = compare(read_entries(inputs), metric="brier", draws=100).notices
    assert any("100 draws are too few for 6 pairs" in text and "--draws 480" in text for text in notices)
    assert not any("draws" in text for text in compare(read_entries(inputs), draws=480).notices)


@pytest.mark.parametrize(
    ("metric", "words"),
    [("eer", "ranks better than"), ("brier", "has better scores than"), ("f1", "judges better than")],
)
def test_lower_is_better_where_it_is(metric, words, good, poor):
    found = compare(read_entries([poor, good]), metric=metric, draws=200)
    assert [s.entry.name for s in found.standings] == ["good", "poor"]
    assert found.shown[0] == metric
    (pair,) = found.pairs_of(metric)
    assert (pair.test.difference < 0) == (metric != "f1")
    assert f"good {words} poor" in found.sentences()[0]
    # Seen from the other side, the same pair reads the other way round.
    turned = pair._replace(first="poor", second="good", test=pair.test._replace(difference=-pair.test.difference))
    assert f"poor {words.replace('better', 'worse')} good" in sentence(turned, comparison=found)


def test_data_is_compared_between_all_tables_that_name_it(tmp_path, capsys):
    places = [
        write(tmp_path / name, logits_of(seed, noise=1), meta={"data_hash": data})
        for seed, (name, data) in enumerate({"a": None, "b": "d1", "c": "d2"}.items())
    ]
    assert "'b' and 'c' name the same files, but their data differs" in refused(places, capsys)
    found = compare(read_entries(places[:2]), draws=100)
    assert any(notice.startswith("a: its table doesn't name its data") for notice in found.notices)


@pytest.mark.parametrize("other", [{"bundle": {"weights_sha256": "another"}}, {"data": {"content_hash": "another"}}])
def test_the_threshold_of_another_evaluation_is_refused(tmp_path, good, capsys, other):
    place = Path(write(tmp_path / "mixed", logits_of(1, noise=1)))
    content = json.loads((place / "report.json").read_text())
    (place / "report.json").write_text(json.dumps(content | other))
    assert "are of different evaluations: another " in refused([good, str(place)], capsys)
    own = {"bundle": {"weights_sha256": "mixed"}, "data": {"content_hash": "d0"}}
    (place / "report.json").write_text(json.dumps(content | own))
    assert [entry.threshold.value for entry in read_entries([good, str(place)])] == [0.4, 0.4]


def test_any_name_can_be_drawn(tmp_path, good, poor):
    out = tmp_path / "out"
    names = ["$\\frac{$", "+1+1\n\x1b[31m<b>" + "x" * 300, "\udc80"]
    inputs = [f"{name}={place}" for name, place in zip(names, [good, poor, good], strict=True)]
    assert main(["compare", *inputs, "--draws", "100", "--out", str(out)]) == 0
    page = (out / "compare.html").read_text(encoding="utf-8")
    assert "[31m<b>x" not in page
    assert "[31m&lt;b&gt;x" in page
    rows = list(csv.reader((out / "compare.csv").open(newline="", encoding="utf-8")))
    assert len(rows) == 4
    assert sum(row[0].startswith("'+1") for row in rows) == 1


@pytest.mark.parametrize("labels", [[0], [1], [0, 1], [0, 1, 1], [0, 0, 1, 1]])
@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "brier"])
def test_a_handful_of_pictures_tells_no_models_apart(tmp_path, labels, metric):
    # Of a few pictures that agree every resample agrees, too: the bootstrap's p was 2 / (draws + 1).
    sure = np.where(np.array(labels) == 1, 6.0, -6.0) + 0.1 * np.arange(len(labels))
    inputs = [
        write(tmp_path / name, factor * sure, labels=labels, meta={"bundle_hash": name})
        for name, factor in (("good", 1.0), ("bad", -0.5))
    ]
    found = compare(read_entries(inputs), metric=metric, draws=1000)
    for pair in found.pairs:
        assert pair.test.p is None or pair.test.p >= 2.0 ** (1 - len(labels)), pair
    assert found.standings[1].mark == "equal"
    assert any(notice.startswith("With so few pictures") for notice in found.notices)
    figures = found.standings[0].figures
    if labels.count(0) == 1:
        assert figures["auroc"].interval is None
    if len(labels) == 1:
        assert figures["log_loss"].interval is None


def test_the_table_fits_a_terminal_of_80_columns(tmp_path, good, monkeypatch, capsys):
    """Too wide a table would be cut at the right: intervals that end in the middle of a number."""
    monkeypatch.setenv("COLUMNS", "80")
    other = write(tmp_path / "a_model_with_a_long_name", logits_of(3, noise=2.5))
    assert main(["compare", good, other, "--draws", "200"]) == 0
    table = capsys.readouterr().out.split("first less second")[0]
    assert len(re.findall(r"\b\d\.\d{3}-\d\.\d{3}\b", table)) == 2 * 5
    assert "Brier score" in " ".join(re.sub(r"\s+", " ", table).split())
