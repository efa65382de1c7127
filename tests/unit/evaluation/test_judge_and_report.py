import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk
from PIL import Image

from veriscope.evaluation import plots
from veriscope.evaluation.intervals import bootstrap_intervals
from veriscope.evaluation.judge import judge
from veriscope.evaluation.page import prose
from veriscope.evaluation.pictures import TILE_PX, choose_rows, load_tiles, score_text, sheet
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.report import ReportFacts, figure_text, write_report
from veriscope.evaluation.sections import Section, TextTable
from veriscope.types import DEFAULT_THRESHOLD, Calibration, Threshold

VAL = Threshold(value=0.4, rule="youden", chosen_on="val")
BOTH = {"default": DEFAULT_THRESHOLD, "val": VAL}
EVIL = "<script>alert('x')</script>"
HISTORY = "epoch,phase,train/loss,val/loss,val/auroc,val/accuracy,lr\n0,a,0.7,0.6,0.8,0.7,0.1\n1,b,0.5,,0.9,0.8,0.01\n"


def table_of(labels, logits, **more):
    ids = more.pop("ids", [f"{i}.png" for i in range(len(labels))])
    calibration = more.pop("calibration", Calibration())
    return PredictionTable.from_columns(
        ids, labels=labels, logits=logits, calibration=calibration, meta=TableMeta(), **more
    )


def mixed(size=80, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    return labels, rng.normal(size=size) + 2.0 * labels - 1


def judged(table, **more):
    return judge(table, thresholds=BOTH, draws=100, **more)


def test_figures_at_both_thresholds_and_their_intervals():
    labels, logits = mixed()
    table = table_of(labels, logits)
    found = judged(table)
    assert found.headline == "val"
    for name, threshold in BOTH.items():
        accuracy = found.at[name]["accuracy"]
        assert accuracy.value == pytest.approx(sk.accuracy_score(labels, table.scores >= threshold.value))
        assert accuracy.interval.method == "wilson"
        assert found.at[name]["f1"].interval.method == "bootstrap"
        for figure in found.at[name].values():
            assert figure.interval.low <= figure.value <= figure.interval.high
    assert found.metrics["auroc"] == pytest.approx(sk.roc_auc_score(labels, logits))
    assert found.metrics["accuracy"] == found.at["val"]["accuracy"].value
    assert found.free["ece"].interval is None


def test_intervals_hold_their_figure_even_where_resampling_is_biased():
    # Turned round, AP of the resamples lies above AP itself: 0.354 to 0.417 against 0.347 with six of each class.
    labels = np.array([0] * 6 + [1] * 6)
    table = table_of(labels, np.linspace(3, -3, 12))
    raw = bootstrap_intervals(labels, table.logits, table.scores, thresholds={}, draws=100).free["ap"]
    found = judged(table).free["ap"]
    assert raw.low > found.value
    assert found.interval.low == found.value
    assert found.interval.high == raw.high


def test_verdict_speaks_of_100():
    labels = np.array([1] * 100 + [0] * 200)
    logits = np.array([3.0] * 93 + [-3.0] * 7 + [3.0] * 8 + [-3.0] * 192)
    main = judged(table_of(labels, logits)).verdict()[0]
    assert main.startswith(
        "Good on these pictures: of 100 fakes it catches 93 (95 % interval 86 to 97), and it accuses 4 of 100 real"
    )


@pytest.mark.parametrize(
    ("turn", "text"),
    [(0, "can't be told from a coin's toss"), (-3, "upside down"), (3, "Weak on these pictures: of 100 fakes")],
)
def test_verdict_says_when_the_model_is_worthless(turn, text):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    assert text in judged(table_of(labels, rng.normal(size=200) + turn * labels)).verdict()[0]


def test_rare_mistakes_are_not_rounded_away():
    labels = np.array([1] * 400 + [0] * 400)
    logits = np.where(labels == 1, 3.0, -3.0)
    logits[0] = -3.0
    main = judged(table_of(labels, logits)).verdict()[0]
    assert "catches more than 99" in main
    assert "accuses 0 of 100" in main


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_judged(label, tmp_path):
    table = table_of(np.full(20, label), np.linspace(-2, 2, 20))
    found = judged(table)
    assert found.free["auroc"].value is None
    assert f"only {('real', 'fake')[label]} pictures" in " ".join(found.verdict())
    pictures = plots.figures(table, BOTH)
    assert set(pictures) == {"scores", "reliability", "confusion"}
    page = write_report(tmp_path, judgement=found, table=table, pictures=pictures, tiles=[], facts=facts())
    assert "undefined" in page.read_text()


def test_generators_worst_first_with_support_and_auroc_against_all_real():
    labels = np.array([0] * 40 + [1] * 44)
    logits = np.concatenate([np.linspace(-4, 0, 40), np.linspace(-3, 0.5, 24), np.linspace(1, 3, 20)])
    generators = [None] * 40 + ["hard"] * 24 + ["easy"] * 20
    hard, easy = judged(table_of(labels, logits, generators=generators)).by_generator
    assert (hard.generator, hard.support, easy.support) == ("hard", 24, 20)
    kept = np.r_[0:64]
    assert hard.auroc.value == pytest.approx(sk.roc_auc_score(labels[kept], logits[kept]))
    assert easy.recall["val"].value == 1.0
    assert easy.recall["val"].interval.low < 0.9  # Wilson: 20 of 20 is no certainty
    assert judged(table_of(labels, logits)).by_generator == ()


def test_a_figure_without_spread_says_so():
    found = judged(table_of([0] * 10 + [1] * 10, [-5.0] * 10 + [5.0] * 10))
    assert figure_text(found.free["auroc"]) == ("1.000", "no spread*")


def test_unknown_headline_is_refused():
    with pytest.raises(ValueError, match="headline"):
        judge(table_of([0, 1], [0.0, 1.0]), thresholds=BOTH, headline="best")


def test_worst_mistakes_come_first_and_saturated_ones_by_logit():
    labels = np.array([0, 0, 0, 1, 1, 1])
    logits = np.array([50.0, 60.0, -3.0, -0.6, 3.0, 4.0])  # both real mistakes score exactly 1
    rows = choose_rows(table_of(labels, logits), DEFAULT_THRESHOLD, num_wrong=9, num_right=2)
    assert rows[:3] == [1, 0, 3]
    assert len(rows) == 5
    assert labels[rows[3]] == 1
    assert rows[4] == 2


def test_tiles_and_sheet(tmp_path):
    for name, colour in (("0.png", "navy"), ("1.png", "gold")):
        Image.new("RGB", (300, 200), colour).save(tmp_path / name)
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    table = table_of([0, 0, 1], [2.0, -2.0, 2.0], paths=paths)
    tiles = load_tiles(table, DEFAULT_THRESHOLD, rows=[0, 1, 2], max_pixels=10**6)
    assert [(tile.truth, tile.called, tile.right) for tile in tiles] == [
        ("real", "fake", False),
        ("real", "real", True),
    ]
    assert max(tiles[0].image.size) == TILE_PX
    assert tiles[0].data_uri.startswith("data:image/jpeg;base64,")
    picture = sheet(tiles)
    assert picture.getpixel((9, 9)) == (207, 34, 46)  # red: wrong
    assert picture.getpixel((9 + picture.width // 2, 9)) == (26, 127, 55)  # green: right
    dark = load_tiles(table, DEFAULT_THRESHOLD, rows=[1], max_pixels=10**6, transform=lambda image: image * 0)
    assert dark[0].image.getextrema() == ((0, 0),) * 3


def test_score_text_never_claims_certainty():
    assert [score_text(value) for value in (0.0, 1e-9, 0.5, 0.99999, 1.0)] == [
        "0.000", "< 0.001", "0.500", "> 0.999", "1.000",
    ]  # fmt: skip


def facts(**more):
    return ReportFacts(title="a model on data", model_name="m", data_name="d", subset="Judged on all.", **more)


class Page(HTMLParser):
    """Collects tags and whatever a page could load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]


def test_report_is_one_safe_file_that_loads_nothing(tmp_path: Path):
    labels, logits = mixed()
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png")
    errors = [None] * 80
    values = [float(value) for value in logits]
    values[5], errors[5] = None, f"bad {EVIL}"
    ids = [f"{i}{EVIL}.png" for i in range(80)]
    table = table_of(
        labels, values, ids=ids, errors=errors, paths=[str(tmp_path / "x.png")] * 80, generators=[EVIL] * 80
    )
    (tmp_path / "history.csv").write_text(HISTORY)
    pictures = plots.figures(table, BOTH, history=tmp_path / "history.csv")
    assert set(pictures) == {"roc", "roc_low_fpr", "pr", "scores", "reliability", "confusion", "history"}
    tiles = load_tiles(table, VAL, rows=choose_rows(table, VAL), max_pixels=10**6)
    told = facts(warnings=(f"seen {EVIL}",), notices=("Synthetic data.",), provenance={"command": EVIL, "none": None})
    judgement = judged(table)
    page = write_report(tmp_path, judgement=judgement, table=table, pictures=pictures, tiles=tiles, facts=told)
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert "script" not in parsed.tags
    assert not [link for link in parsed.links if not link.startswith(("data:image/", "#"))]
    assert not re.search(r"url\((?!['\"]?(#|data:))", text)
    assert "Content-Security-Policy" in text
    assert parsed.tags.count("svg") == 6
    for expected in (
        judgement.verdict()[0],
        "Synthetic data.",
        "&lt;script&gt;",
        "1 of 80 files",
        "real = 0, fake = 1",
    ):
        assert expected in text, expected
    assert not re.search(r"(?i)#(0072b2|d55e00)", text.split("</style>", 1)[1])  # colours follow the page
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["schema_version"] == 2
    assert report["class_map"] == {"real": 0, "fake": 1}
    assert report["metrics"]["auroc"]["value"] == pytest.approx(judgement.metrics["auroc"])
    assert report["thresholds"]["val"]["confusion"]["tp"] == judgement.confusion["val"].tp
    assert report["unreadable"] == [{"id": ids[5], "reason": errors[5]}]
    assert report["warnings"] == [f"seen {EVIL}"]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".html", ".json", ".png"]


def test_pictures_are_deterministic_and_png_is_written_whole(tmp_path):
    labels, logits = mixed()
    table = table_of(labels, logits)
    first = plots.svg_text(plots.roc_picture(table, BOTH))
    assert first == plots.svg_text(plots.roc_picture(table, BOTH))
    saved = plots.save_png(plots.roc_picture(table, BOTH), tmp_path / "sub" / "roc.png", dots_per_inch=50)
    assert Image.open(saved).size == (230, 185)
    assert [path.name for path in saved.parent.iterdir()] == ["roc.png"]


def test_history_without_rows_gives_no_picture(tmp_path):
    assert plots.history_picture(tmp_path / "none.csv") is None
    (tmp_path / "history.csv").write_text(HISTORY.splitlines()[0] + "\n")
    assert plots.history_picture(tmp_path / "history.csv") is None


def test_sections_of_other_parts_stand_in_the_page_its_contents_and_the_json(tmp_path):
    labels, logits = mixed()
    table = table_of(labels, logits, sources=["web"] * 40 + ["phone"] * 40)
    part = Section(
        "Robustness",
        "robustness",
        sentences=("It breaks <easily>.",),
        tables=(TextTable("Cells", ("kind", "AUROC"), (("jpeg", "0.61"),), folded=True),),
        pictures={"curve": (plots.roc_picture(table, BOTH), "A curve of it.")},
        notes=("Small print.",),
        data={"drop": 0.3},
    )
    write_report(tmp_path, judgement=judged(table), table=table, pictures={}, tiles=[], facts=facts(), sections=[part])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for expected in ("It breaks &lt;easily&gt;.", "<summary>Cells</summary>", "0.61", "A curve of it.", "Small print."):
        assert expected in text
    targets = re.findall(r'href="#([^"]+)"', text)
    assert "robustness" in targets
    assert [target for target in targets if f'id="{target}"' not in text and target[0] != "p"] == []
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["sections"]["robustness"]["drop"] == 0.3
    assert report["sections"]["robustness"]["sentences"] == ["It breaks <easily>."]
    assert [group["by"] for group in report["groups"]] == ["source"]
    assert {row["name"] for row in report["groups"][0]["groups"]} == {"web", "phone"}
    assert report["grade"] in text
    with pytest.raises(ValueError, match="anchor"):
        Section("A", "Not good")


def test_code_in_a_sentence_is_code_on_the_page_and_nothing_else_gets_through():
    assert prose("As `veriscope predict` answers, 3 < 4.") == "As <code>veriscope predict</code> answers, 3 &lt; 4."
    assert prose("`<script>` and a lone ` here") == "<code>&lt;script&gt;</code> and a lone ` here"


def test_a_page_says_what_figures_mean_on_a_phone_too_and_prints_what_is_folded(tmp_path: Path):
    labels, logits = mixed()
    table = table_of(labels, logits, sources=["web"] * 40 + ["phone"] * 40)
    write_report(tmp_path, judgement=judged(table), table=table, pictures={}, tiles=[], facts=facts())
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    phone = text.partition("@media (max-width: 30rem) {")[2].partition("\n}")[0]
    assert phone
    assert not re.search(r"\.meaning[^}]*display: none", phone)
    assert "::details-content" in text.partition("@media print {\n  @page")[2].partition("\n}")[0]
    assert re.search(r"Worst first, at the threshold 0\.\d+ \(chosen on val\)\.", text)
