import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from veriscope.errors import RunError
from veriscope.evaluation.calibration import fit_temperature
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.evaluation.threshold import choose_threshold
from veriscope.runs.fold_report import spreads
from veriscope.runs.pooled import judge_folds, pool
from veriscope.types import Calibration

HASH = "ab"


def fold_table(number: int, *, scale: float, size: int = 60) -> PredictionTable:
    rng = np.random.default_rng(number)
    labels = np.arange(size) % 2
    logits = scale * (2 * labels - 1 + rng.normal(0, 1.2, size))
    return PredictionTable.from_columns(
        [f"{number}/{index}.jpg" for index in range(size)],
        labels=labels,
        logits=logits,
        calibration=Calibration(temperature=17.0, fitted_on="itself"),  # must not matter
        meta=TableMeta(data_name="made", data_hash=HASH),
    )


TABLES = [fold_table(number, scale=scale) for number, scale in enumerate((1.0, 2.0, 4.0))]


def test_temperature_and_threshold_come_from_the_other_folds():
    folds = judge_folds(TABLES)
    scaled = [table.logits / np.sqrt(np.mean(table.logits**2)) for table in TABLES]
    labels, logits = np.concatenate([TABLES[0].labels, TABLES[2].labels]), np.concatenate([scaled[0], scaled[2]])
    temperature = fit_temperature(labels, logits, fitted_on="").temperature
    scores = 1 / (1 + np.exp(-logits / temperature))
    assert folds[1].threshold.value == pytest.approx(choose_threshold(labels, scores, chosen_on="").value, abs=1e-9)
    assert np.allclose(folds[1].table.logits, scaled[1] / temperature, rtol=1e-6)
    assert np.allclose(folds[1].table.logits, TABLES[1].logits / folds[1].calibration.temperature, rtol=1e-6)
    called = 1 / (1 + np.exp(-scaled[1] / temperature)) >= folds[1].threshold.value
    assert folds[1].tuned["accuracy"] == np.mean(called == TABLES[1].labels)
    assert folds[1].figures["accuracy"] == np.mean((TABLES[1].logits >= 0) == TABLES[1].labels)


def test_a_model_that_is_surer_than_the_others_changes_nothing():
    """Logits times 40 are the same answers; pooled, they must not rank before and after everybody else's."""
    louder = PredictionTable.from_columns(
        TABLES[0].column("id"),
        labels=TABLES[0].labels,
        logits=40 * TABLES[0].logits,
        calibration=Calibration(),
        meta=TABLES[0].meta,
    )
    before, after = judge_folds(TABLES), judge_folds([louder, *TABLES[1:]])
    for one, other in zip(before, after, strict=True):
        assert np.allclose(one.table.logits, other.table.logits, rtol=1e-5)
        assert one.threshold.value == pytest.approx(other.threshold.value)
    pooled = pool(before, expected=[set(fold.table.column("id")) for fold in before], data_hash=HASH)
    area = roc_auc_score(pooled.labels, pooled.logits)
    raw = roc_auc_score(
        np.concatenate([table.labels for table in TABLES]), np.concatenate([table.logits for table in TABLES])
    )
    single = np.mean([roc_auc_score(table.labels, table.logits) for table in TABLES])
    assert raw < area  # scales of 1, 2 and 4 cost ranking
    assert area == pytest.approx(single, abs=0.02)


def test_a_folds_own_answers_change_neither():
    """A fold whose labels are turned round is judged by the same temperature and threshold."""
    turned = PredictionTable.from_columns(
        TABLES[0].column("id"),
        labels=1 - TABLES[0].labels,
        logits=TABLES[0].logits,
        calibration=Calibration(),
        meta=TABLES[0].meta,
    )
    before, after = judge_folds(TABLES)[0], judge_folds([turned, *TABLES[1:]])[0]
    assert (before.calibration, before.threshold) == (after.calibration, after.threshold)
    assert after.figures["auroc"] == pytest.approx(1 - before.figures["auroc"])


def test_pooled_rows_are_every_picture_once():
    folds = judge_folds(TABLES)
    table = pool(folds, expected=[set(fold.table.column("id")) for fold in folds], data_hash=HASH)
    assert len(table) == 180
    assert sorted(set(table.column("split"))) == ["fold_0", "fold_1", "fold_2"]
    assert (table.meta.subset, table.meta.bundle_hash) == ("out-of-fold", None)


def test_pictures_of_another_fold_are_refused():
    folds = judge_folds(TABLES)
    ids = [set(fold.table.column("id")) for fold in folds]
    with pytest.raises(RunError, match="fold 1 judged 60 pictures of other folds and left out 60"):
        pool([folds[0], folds[1]], expected=[ids[0], ids[2]], data_hash=HASH)
    with pytest.raises(RunError, match="fold 0 was trained on other data than there is now"):
        pool(folds, expected=ids, data_hash="cd")


def test_spreads_agree_with_scikit_learn_and_leave_out_what_is_undefined():
    folds = judge_folds(TABLES)
    over, tuned = spreads(folds)
    areas = [roc_auc_score(table.labels, table.logits) for table in TABLES]
    assert over["auroc"].mean == pytest.approx(np.mean(areas))
    assert over["auroc"].sd == pytest.approx(np.std(areas, ddof=1))
    assert "auroc" not in tuned
    assert tuned["accuracy"].num_runs == 3
