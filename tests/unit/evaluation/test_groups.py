import json

import numpy as np
import pytest
import sklearn.metrics as sk

from veriscope.data.decode import PictureFacts
from veriscope.evaluation.figures import share_figure
from veriscope.evaluation.groups import confounding
from veriscope.evaluation.intervals import Interval, wilson
from veriscope.evaluation.judge import judge
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.types import DEFAULT_THRESHOLD, Calibration


def table_of(labels, logits, **more):
    return PredictionTable.from_columns(
        [f"{row}.jpg" for row in range(len(labels))],
        labels=labels,
        logits=logits,
        calibration=Calibration(),
        meta=TableMeta(),
        **more,
    )


def judged(table):
    return judge(table, thresholds={"default": DEFAULT_THRESHOLD}, draws=100)


def mixed(size=240, seed=0, shift=2.0):
    labels = np.arange(size) % 2
    return labels, np.random.default_rng(seed).normal(size=size) + shift * labels - shift / 2


def facts(kinds, *, side=300, size_bytes=30_000):
    sides = np.broadcast_to(side, len(kinds))
    return [PictureFacts(kind, int(px), 2 * int(px), size_bytes) for kind, px in zip(kinds, sides, strict=True)]


def test_every_group_has_the_figures_of_its_own_rows_worst_first():
    labels, logits = mixed()
    kinds = np.where(np.arange(240) % 3 == 0, "PNG", "JPEG")
    logits = np.where(kinds == "PNG", -logits, logits)  # upside down for PNG
    found = {table.key: table for table in judged(table_of(labels, logits, facts=facts(kinds))).group_tables}["format"]
    assert [row.name for row in found.rows] == ["PNG", "JPEG"]
    for row in found.rows:
        own = kinds == row.name
        called = logits[own] >= 0
        assert row.num_real + row.num_fake == own.sum()
        assert row.accuracy.value == pytest.approx(sk.accuracy_score(labels[own], called))
        assert row.recall.value == pytest.approx(sk.recall_score(labels[own], called))
        assert row.specificity.value == pytest.approx(sk.recall_score(labels[own], called, pos_label=0))
        assert row.auroc.value == pytest.approx(sk.roc_auc_score(labels[own], logits[own]))
        assert row.recall.interval == wilson(int(called[labels[own] == 1].sum()), row.num_fake)
        assert row.auroc.interval.low < row.auroc.value < row.auroc.interval.high
    spread = found.spread["accuracy"]
    assert (spread.worst, spread.minimum) == ("PNG", found.rows[0].accuracy.value)
    assert spread.mean == pytest.approx(np.mean([row.accuracy.value for row in found.rows]))
    assert found.warning == ""


def test_small_groups_are_shown_last_and_are_never_the_worst():
    labels, logits = mixed()
    sources = ["web"] * 120 + ["phone"] * 101 + ["rare"] * 19
    logits[221:] = -4.0 * (2 * labels[221:] - 1)  # all wrong
    found = judged(table_of(labels, logits, sources=sources))
    table = found.group_tables[0]
    assert table.rows[-1].name == "rare"
    assert [row.small for row in table.rows] == [False, False, True]
    assert table.rows[-1].accuracy.value == 0
    assert table.spread["accuracy"].worst != "rare"
    assert table.spread["accuracy"].num_groups == 2
    assert "rare" not in " ".join(found.verdict())


def test_a_kind_with_one_value_is_one_line_and_an_unknown_one_nothing():
    labels, logits = mixed(60)
    found = {table.key: table for table in judged(table_of(labels, logits, facts=facts(["JPEG"] * 60))).group_tables}
    assert set(found) == {"format", "size"}
    assert found["format"].line == "60 pictures, all of one kind: JPEG."
    assert found["format"].rows == ()
    assert judged(table_of(labels, logits)).group_tables == ()


@pytest.mark.parametrize(
    ("side", "name"),
    [(127, "below 128 px"), (128, "128 to 255 px"), (512, "512 to 1023 px"), (1024, "1024 px and more")],
)
def test_size_classes_go_by_the_shorter_side(side, name):
    labels, logits = mixed(60)
    table = table_of(labels, logits, facts=facts(["PNG"] * 60, side=[side] * 30 + [300] * 30))
    assert {row.name for row in judged(table).group_tables[1].rows} == {name, "256 to 511 px"}


def test_compression_is_bits_a_pixel_of_jpeg_only():
    labels, logits = mixed(90)
    stored = [
        *(PictureFacts("JPEG", 100, 100, 1000) for _ in range(30)),  # 0.8 bits
        *(PictureFacts("JPEG", 100, 100, 2500) for _ in range(30)),  # exactly 2
        *(PictureFacts("PNG", 100, 100, 25_000) for _ in range(30)),
    ]
    found = {table.key: table for table in judged(table_of(labels, logits, facts=stored)).group_tables}
    assert {row.name for row in found["compression"].rows} == {
        "below 1 bit a pixel",
        "2 to 4 bits a pixel",
        "(no JPEG)",
    }
    one = {table.key for table in judged(table_of(labels, logits, facts=[*stored[:30]] * 3)).group_tables}
    assert "compression" not in one


def test_format_that_equals_the_label_is_said_in_plain_words_and_in_the_verdict():
    labels, logits = mixed(80)
    found = judged(table_of(labels, logits, facts=facts(np.where(labels == 1, "PNG", "JPEG"))))
    text = {table.key: table for table in found.group_tables}["format"].warning
    assert "every real picture is JPEG and every fake picture is PNG" in text
    assert "right every time" in text
    assert text in found.verdict()
    assert found.to_dict()["caveats"] == [text]


def test_how_far_a_group_tells_the_class_is_the_accuracy_of_guessing_by_it():
    labels = np.array([0] * 100 + [1] * 50)
    names = np.array(["a"] * 90 + ["b"] * 10 + ["b"] * 40 + ["a"] * 10, dtype=object)
    guess = np.where(names == "b", 1, 0)
    expected = 100 * sk.balanced_accuracy_score(labels, guess)
    assert f"{expected:.0f} times of 100" in confounding(labels, names, key="format")
    rng = np.random.default_rng(0)
    assert confounding(labels, rng.permutation(names), key="format") == ""
    assert confounding(labels[95:115], names[95:115], key="format") == "", "too few of a class to say"


def test_shares_over_groups_keep_an_honest_width_where_all_are_right():
    groups = np.repeat(np.arange(20), 50)
    found = share_figure(np.ones(1000, bool), groups=groups, drawn=Interval(1.0, 1.0, 0.95, "cluster bootstrap"))
    assert (found.interval.low, found.interval.high) == wilson(20, 20)[:2]
    assert found.interval.method == "wilson over groups"
    drawn = Interval(0.7, 0.9, 0.95, "cluster bootstrap")
    assert share_figure(np.arange(1000) % 5 > 0, groups=groups, drawn=drawn).interval == drawn
    assert share_figure(np.ones(9, bool), groups=np.zeros(9, int), drawn=None).interval is None
    assert share_figure(np.ones(9, bool), groups=None, drawn=drawn).interval == wilson(9, 9)
    assert share_figure(np.ones(0, bool), groups=None, drawn=None) == (None, None)


@pytest.mark.parametrize("share", [0.8, 0.93])
def test_wilson_over_groups_of_unequal_size_covers_the_truth(share):
    """Groups all right or all wrong, most rows in a few of them: so many groups are worth fewer equal ones."""
    sizes = np.array([100] * 6 + [30] * 10 + [2] * 60)
    groups = np.repeat(np.arange(sizes.size), sizes)
    effective = sizes.sum() ** 2 / np.sum(sizes**2)  # 15 of 76; Kish 1965
    rng = np.random.default_rng(0)
    inside = inside_counted = 0
    for _ in range(400):
        hits = np.repeat(rng.random(sizes.size) < share, sizes)
        found = share_figure(hits, groups=groups, drawn=None).interval
        inside += found.low <= share <= found.high
        by_count = wilson(hits.mean() * sizes.size, sizes.size)
        inside_counted += by_count.low <= share <= by_count.high
    assert inside >= 0.92 * 400, effective
    assert inside_counted <= 0.75 * 400, "as if all groups were alike in size"


def test_frames_of_a_video_widen_every_interval_and_few_videos_are_said():
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(10) % 2, 60)
    logits = np.repeat(rng.normal(0, 1.0, 10), 60) + rng.normal(0, 0.3, 600) + 1.2 * (2 * labels - 1)
    videos = [f"video{number}" for number in np.repeat(np.arange(10), 60)]
    alone, grouped = judged(table_of(labels, logits)), judged(table_of(labels, logits, groups=videos))
    assert (alone.num_groups, grouped.num_groups) == (None, 10)
    for key in ("accuracy", "recall", "balanced_accuracy"):
        narrow, wide = alone.at["default"][key].interval, grouped.at["default"][key].interval
        assert wide.high - wide.low > 2 * (narrow.high - narrow.low), key
        assert alone.at["default"][key].value == grouped.at["default"][key].value
    assert "10 groups only" in " ".join(grouped.verdict())
    assert "groups only" not in " ".join(alone.verdict())
    assert grouped.to_dict()["intervals"]["groups"] == 10


@pytest.mark.parametrize(
    ("shift", "word"), [(6.0, "Good"), (2.2, "Fair"), (1.6, "Weak"), (0.0, "Unusable"), (-4.0, "Unusable")]
)
def test_the_verdict_leads_with_how_good_it_is(shift, word):
    labels, logits = mixed(1000, shift=shift)
    sentences = judged(table_of(labels, logits)).verdict()
    assert sentences[0].startswith(word)
    assert "1 picture of 100" in sentences[1] or word in ("Unusable", "Good")


def test_what_a_fake_verdict_is_worth_where_fakes_are_rare():
    labels = np.array([1] * 100 + [0] * 100)
    logits = np.array([3.0] * 90 + [-3.0] * 10 + [3.0] * 9 + [-3.0] * 91)
    # Bayes: 0.9 * 0.01 / (0.9 * 0.01 + 0.09 * 0.99) = 0.0917
    assert "9 of 100 fake verdicts would be right" in " ".join(judged(table_of(labels, logits)).verdict())


def test_at_a_stated_base_rate_the_use_is_that_rate_s():
    labels = np.array([1] * 100 + [0] * 100)
    logits = np.array([3.0] * 90 + [-3.0] * 10 + [3.0] * 9 + [-3.0] * 91)
    found = table_of(labels, logits)
    stated = PredictionTable(found.table, found.meta.model_copy(update={"base_rate": 0.25}))
    text = " ".join(judged(stated).verdict())
    # Bayes: 0.9 * 0.25 / (0.9 * 0.25 + 0.09 * 0.75) = 0.769
    assert "where 25 pictures of 100 are fake, as stated, 77 of 100 fake verdicts would be right" in text
    assert "1 picture of 100" not in text


def test_a_good_ranking_under_a_bad_threshold_is_not_the_model_s_fault():
    labels, logits = mixed(400, shift=6.0)
    assert "threshold doesn't fit" in " ".join(judged(table_of(labels, logits - 5.0)).verdict())


def test_the_worst_generator_is_named_beside_the_mean():
    labels = np.array([0] * 60 + [1] * 90)
    logits = np.where(labels == 1, 3.0, -3.0)
    logits[60:84] = -3.0
    names = [None] * 60 + ["sd"] * 30 + ["gan"] * 30 + ["few"] * 30
    found = judged(table_of(labels, logits, generators=names))
    spread = found.generator_spread["default"]
    assert (spread.worst, spread.num_groups) == ("sd", 3)
    assert (spread.minimum, spread.mean) == (pytest.approx(0.2), pytest.approx((0.2 + 1 + 1) / 3))
    assert "Worst against sd: it catches 20 of 100 (mean over 3 generators: 73)." in found.verdict()


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_in_groups_is_judged_and_what_compares_is_undefined(label):
    found = judged(table_of([label] * 60, np.linspace(-2, 2, 60), groups=["a"] * 20 + ["b"] * 20 + ["c"] * 20))
    own, other = ("recall", "specificity") if label else ("specificity", "recall")
    assert found.at["default"][own].interval.method == "cluster bootstrap"
    assert found.at["default"][other] == (None, None)
    assert found.free["auroc"] == (None, None)
    assert found.at["default"]["precision"] == (None, None)


@pytest.mark.parametrize("why", ["unlabelled", "unreadable"])
def test_a_table_without_a_judged_row_gives_no_figure_and_says_so(why):
    size = 5
    table = table_of(
        [None] * size if why == "unlabelled" else [0, 1, 0, 1, 0],
        [1.0] * size if why == "unlabelled" else [None] * size,
        errors=None if why == "unlabelled" else ["truncated"] * size,
        sources=["web"] * size,
        groups=["a"] * size,
    )
    found = judged(table)
    assert found.verdict() == ["There is nothing to judge: no picture has both a verdict and a known label."]
    assert {figure.value for figure in (*found.free.values(), *found.at["default"].values())} == {None}
    assert (found.group_tables, found.by_generator, found.caveats) == ((), (), ())
    json.dumps(found.to_dict(), allow_nan=False)


def test_rows_without_a_group_stand_alone_beside_those_with_one():
    labels, logits = mixed(100)
    found = judged(table_of(labels, logits, groups=["a"] * 10 + [None] * 90))
    assert found.num_groups == 91
    assert found.free["auroc"].interval.method == "cluster bootstrap"
