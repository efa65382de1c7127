import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from tests.helpers.stored import stored

from veriscope.augment.grid import grid_cells
from veriscope.evaluation.alignment import class_differences, describe_classes, plan_alignment
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.intervals import Interval
from veriscope.evaluation.robustness import Robustness, Shortcut
from veriscope.evaluation.robustness_figures import GapFigures, Treated, gap_figures, grid_figures, kind_weights
from veriscope.evaluation.robustness_report import robustness_dict, robustness_section, sentences
from veriscope.types import Threshold

CELLS = grid_cells("quick")


def scored(seed=0, num=80, classes=(0, 1)):
    """Logits that lose the label step by step with severity."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(classes, num)
    clean = rng.normal(0, 1, labels.size) + 2.2 * labels - 1.1
    damaged = np.stack([clean * (1 - 0.15 * c.severity) + rng.normal(0, 0.3 * c.severity, clean.size) for c in CELLS])
    return labels, Treated(clean[None], clean[None] > 0), Treated(damaged, damaged > 0)


def figures(seed=0, **more):
    labels, clean, damaged = scored(seed, **more)
    return grid_figures(CELLS, labels=labels, clean=clean, damaged=damaged, draws=300, seed=0)


def test_each_cell_against_scikit_learn_and_scipy():
    labels, clean, damaged = scored()
    found = figures()
    for index, cell in enumerate(found.cells):
        logits, called, before = damaged.logits[index], damaged.called[index], clean.called[0]
        assert cell.name == CELLS[index].name
        assert cell.auroc.value == pytest.approx(roc_auc_score(labels, logits))
        assert cell.accuracy.value == pytest.approx(accuracy_score(labels, called))
        assert cell.recall.value == pytest.approx(recall_score(labels, called))
        assert cell.specificity.value == pytest.approx(recall_score(labels, called, pos_label=0))
        assert cell.auroc_drop.value == pytest.approx(roc_auc_score(labels, clean.logits[0]) - cell.auroc.value)
        assert cell.accuracy_drop.value == pytest.approx(accuracy_score(labels, before) - cell.accuracy.value)
        flips = int(np.sum(called != before))
        wilson = binomtest(flips, labels.size).proportion_ci(method="wilson")
        assert cell.flips.value == flips / labels.size
        assert (cell.flips.interval.low, cell.flips.interval.high) == pytest.approx((wilson.low, wilson.high))
        assert cell.to_fake.value + cell.to_real.value == pytest.approx(cell.flips.value)
        accused = sum(1 for y, was, now in zip(labels, before, called, strict=True) if y == 0 and not was and now)
        assert cell.accused.value == accused / 80
        for name in ("auroc", "auroc_drop", "accuracy_drop", "recall"):
            figure = getattr(cell, name)
            assert figure.interval.low <= figure.value <= figure.interval.high


def test_means_weigh_kinds_alike_and_leave_out_the_clean_pictures():
    few = (*CELLS[:2], CELLS[2])  # two of one kind, one of another
    assert kind_weights(few) == pytest.approx([0.25, 0.25, 0.5])
    labels, clean, damaged = scored()
    three = Treated(damaged.logits[:3], damaged.called[:3])
    found = grid_figures(few, labels=labels, clean=clean, damaged=three, draws=200, seed=0)
    areas = [roc_auc_score(labels, row) for row in three.logits]
    assert found.mean_auroc.value == pytest.approx(0.25 * areas[0] + 0.25 * areas[1] + 0.5 * areas[2])
    rights = [accuracy_score(labels, row) for row in three.called]
    assert found.mean_accuracy.value == pytest.approx(0.25 * rights[0] + 0.25 * rights[1] + 0.5 * rights[2])
    assert found.auroc_drop.value == pytest.approx(found.clean_auroc.value - found.mean_auroc.value)
    assert found.worst.name == few[int(np.argmin(areas))].name
    assert found.to_fake.value + found.to_real.value == pytest.approx(found.flips.value)
    ever = (three.called != clean.called[0]).any(axis=0)
    assert found.ever_flipped.value == ever.mean()
    spared = (labels == 0) & ~clean.called[0]
    assert found.ever_accused.value == three.called[:, spared].any(axis=0).mean()


def test_no_damage_costs_nothing():
    labels, clean, _ = scored()
    same = Treated(np.repeat(clean.logits, len(CELLS), axis=0), np.repeat(clean.called, len(CELLS), axis=0))
    found = grid_figures(CELLS, labels=labels, clean=clean, damaged=same, draws=100, seed=0)
    assert found.mean_auroc.value == pytest.approx(found.clean_auroc.value)
    assert found.flips.value == 0
    assert found.ever_flipped.value == 0
    assert found.ever_flipped.interval.high > 0  # Wilson: none of 160 is not never
    for cell in found.cells:
        assert (cell.auroc_drop.value, *cell.auroc_drop.interval[:2]) == (0, 0, 0)


def test_the_paired_interval_is_narrower_than_the_two_figures_intervals():
    cell = figures().cells[0]
    paired = cell.auroc_drop.interval.high - cell.auroc_drop.interval.low
    assert paired < cell.auroc.interval.high - cell.auroc.interval.low


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_is_judged_by_accuracy(only):
    found = figures(classes=(only,))
    assert found.mean_auroc.value is None
    assert found.worst_by == "accuracy"
    assert found.worst.accuracy.value == min(cell.accuracy.value for cell in found.cells)
    assert found.cells[0].recall.value is (None if only == 0 else found.cells[0].recall.value)
    assert (found.ever_accused.value is None) is (only == 1)
    said = sentences(result(grid=found))
    assert "accuracy is" in said[0]
    json.dumps(robustness_dict(result(grid=found)), allow_nan=False)
    assert len(robustness_section(result(grid=found)).pictures) == 2


def result(grid=None, shortcut=None):
    threshold = Threshold(value=0.5, rule="fixed", chosen_on="none")
    return Robustness("default", threshold, "quick", 160, 160, 0, 42, grid, shortcut)


def shortcut(raw, aligned, facts, labels):
    gap = gap_figures(labels, raw=raw, aligned=aligned, draws=300, seed=0)
    plan = plan_alignment(facts, labels, seed=0)
    return Shortcut(gap, plan, describe_classes(facts, labels), class_differences(facts, labels))


def test_the_gap_in_plain_words():
    labels, clean, _ = scored()
    rng = np.random.default_rng(5)
    lost = rng.normal(size=(1, labels.size))
    guessing = Treated(lost, lost > 0)
    like = [stored("JPEG", 256, 256, 95)] * labels.size
    unlike = [stored("PNG", 256, 256) if label else stored("JPEG", 256, 256, 75) for label in labels]
    found = shortcut(clean, guessing, unlike, labels)
    raw, aligned = roc_auc_score(labels, clean.logits[0]), roc_auc_score(labels, lost[0])
    assert found.gap.auroc_gap.value == pytest.approx(raw - aligned)
    assert found.gap.auroc_gap.interval.low > 0.2
    said = sentences(result(shortcut=found))
    assert said[0].startswith(f"Of the AUROC of {raw:.3f}, up to {raw - aligned:.3f} (")
    assert "rests on format, size or JPEG history, the cost of one more compression included" in said[0]
    assert "format (1.00)" in said[1]
    same_files = sentences(result(shortcut=shortcut(clean, guessing, like, labels)))
    assert len(same_files) == 1
    assert "cost of one more compression rather than a shortcut" in same_files[0]
    none = sentences(result(shortcut=shortcut(clean, clean, unlike, labels)))
    assert none[0].startswith("No shortcut by format or size shows")


def test_everything_is_written_for_machines_and_people():
    labels, clean, damaged = scored()
    facts = [stored("JPEG", 256, 200, 95)] * labels.size
    whole = result(figures(), shortcut(clean, Treated(damaged.logits[:1], damaged.called[:1]), facts, labels))
    plain = json.loads(json.dumps(robustness_dict(whole), allow_nan=False))
    assert len(plain["grid"]["cells"]) == 8
    assert plain["grid"]["cells"][0]["corruption"] == "jpeg:85"
    assert plain["grid"]["cells"][0]["flips"]["method"] == "wilson"
    assert plain["shortcut"]["alignment"] == {"side_px": 200, "jpeg_qualities": {"95": 1.0}, "seed": 0}
    section = robustness_section(whole)
    assert {len(row) for table in section.tables for row in table.rows for table in [table]} == {4, 6, 10}
    assert all(len(row) == len(table.header) for table in section.tables for row in table.rows)
    assert set(section.pictures) == {"robustness", "flips"}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.01, 0.02, "No shortcut by format or size shows"),
        (-0.10, 0.06, "can't tell"),
        (0.0, 0.3, "can't tell"),
        (None, None, "can't tell"),
        (0.01, 0.3, "up to 0.100"),
    ],
)
def test_a_gap_is_claimed_only_as_far_as_the_pictures_tell(low, high, said):
    facts = [stored("PNG", 256, 256), stored("JPEG", 256, 256, 75)] * 4
    labels = np.array([1, 0] * 4)
    gap = Figure(0.1, None if low is None else Interval(low, high, 0.95, "bootstrap"))
    both = Figure(0.9, None)
    plan = plan_alignment(facts, labels, seed=0)
    found = Shortcut(GapFigures(both, both, gap, both, both, gap), plan, {}, class_differences(facts, labels))
    assert said in sentences(result(shortcut=found))[0]


def test_the_table_of_kinds_has_no_share_that_reads_as_one_of_another():
    """2.5 % of all pictures, of which 4 % changed: under "of these" it read as 2.5 % of the changed ones."""
    table = robustness_section(result(figures())).tables[0]
    assert table.header[3:5] == ("verdicts changed", "changed from real to fake")


def test_the_worst_damage_is_named_in_words():
    grid = figures()
    assert f"Worst: {grid.worst.title.lower()} ({grid.worst.name}), AUROC" in sentences(result(grid))[0]


@pytest.mark.parametrize(("num_images", "said"), [(12, "can't tell"), (160, "No shortcut by format or size shows")])
def test_no_change_at_all_among_few_pictures_shows_nothing(num_images, said):
    facts = [stored("PNG", 256, 256), stored("JPEG", 256, 256, 75)] * 4
    labels = np.array([1, 0] * 4)
    same, none = Figure(0.9, None), Figure(0.0, Interval(0.0, 0.0, 0.95, "bootstrap"))
    found = Shortcut(GapFigures(same, same, none, same, same, none), plan_alignment(facts, labels, seed=0), {}, {})
    threshold = Threshold(value=0.5, rule="fixed", chosen_on="none")
    whole = Robustness("default", threshold, "aligned", num_images, num_images, 0, 42, None, found)
    assert said in sentences(whole)[0]


def test_a_part_of_the_pictures_is_said_where_its_figures_are():
    """Terminal and model card show the sentences alone, beside an AUROC of all pictures that is another."""
    threshold = Threshold(value=0.5, rule="fixed", chosen_on="none")
    part = Robustness("default", threshold, "quick", 160, 400, 0, 42, figures(), None)
    assert "of 160 of the 400 pictures" in sentences(part)[-1]
    assert not any(" of the 160 pictures" in text for text in sentences(result(figures())))


def test_flips_are_said_to_be_at_the_threshold():
    section = robustness_section(result(figures()))
    assert "called fake or real at the threshold, unsure left aside" in section.sentences[1]
    assert any("unsure" in note for note in section.notes)


def test_shares_carry_the_cluster_bootstraps_interval_where_pictures_have_groups():
    """Eight frames a video, as alike as frames are: as wide as drawing videos makes it, and named so."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 160)
    groups = np.arange(320) // 8
    clean = np.repeat(rng.normal(0, 1, 40), 8)[None] + 1.5 * labels - 0.75
    damaged = np.stack([clean[0] + np.repeat(rng.normal(0, 0.8, 40), 8) for _ in CELLS])
    kept = {"labels": labels, "draws": 400, "seed": 0}
    sets = {"clean": Treated(clean, clean > 0), "damaged": Treated(damaged, damaged > 0)}
    found = grid_figures(CELLS, groups=groups, **sets, **kept)
    alone = grid_figures(CELLS, **sets, **kept)
    flips = (damaged[2] > 0) != (clean[0] > 0)
    by_video = flips.reshape(40, 8).mean(axis=1)
    drawn = [np.mean([rng.choice(part, 20).mean() for part in (by_video[:20], by_video[20:])]) for _ in range(2000)]
    own = found.cells[2].flips.interval
    assert (own.low, own.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.03)
    for name in ("accuracy", "flips", "to_fake", "to_real"):
        wide, narrow = (getattr(grid.cells[2], name).interval for grid in (found, alone))
        assert (wide.method, narrow.method) == ("cluster bootstrap", "wilson"), name
        assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low), name
    assert found.clean_accuracy.interval.method == "cluster bootstrap"
    assert found.cells[2].recall.interval.method == "wilson over groups"
    aligned = Treated(damaged[:1], damaged[:1] > 0)
    gap = gap_figures(labels, raw=sets["clean"], aligned=aligned, groups=groups, draws=200, seed=0)
    assert {gap.raw_accuracy.interval.method, gap.aligned_accuracy.interval.method} == {"cluster bootstrap"}
