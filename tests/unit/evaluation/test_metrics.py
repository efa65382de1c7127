import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from veriscope.evaluation import metrics as m


def sample(seed=0, size=400, digits=1):
    """Labels and logits with many ties (rounded to `digits`)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size)
    logits = np.round(rng.normal(size=size) + 1.2 * labels, digits)
    return labels, logits


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))


@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_scikit_learn(seed):
    labels, logits = sample(seed)
    scores = sigmoid(logits)
    called = scores >= 0.6
    found = m.compute_metrics(labels, scores, threshold=0.6, logits=logits)
    expected = {
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "recall": sk.recall_score(labels, called),
        "specificity": sk.recall_score(labels, called, pos_label=0),
        "precision": sk.precision_score(labels, called),
        "f1": sk.f1_score(labels, called),
        "mcc": sk.matthews_corrcoef(labels, called),
        "auroc": sk.roc_auc_score(labels, logits),
        "ap": sk.average_precision_score(labels, logits),
        "log_loss": sk.log_loss(labels, scores),
        "brier": sk.brier_score_loss(labels, scores),
    }
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-12), key
    fpr, tpr, _ = sk.roc_curve(labels, logits, drop_intermediate=False)
    assert found["eer"] == pytest.approx(brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1), abs=1e-9)
    for key, rate in (("tpr_at_1_fpr", 0.01), ("tpr_at_5_fpr", 0.05)):
        assert found[key] == pytest.approx(tpr[fpr <= rate].max())
    assert m.confusion(labels, scores, threshold=0.6) == tuple(sk.confusion_matrix(labels, called).ravel())
    assert set(found) == {metric.key for metric in m.METRICS}


def test_curves_equal_scikit_learn():
    labels, logits = sample(5)
    fpr, tpr, thresholds = sk.roc_curve(labels, logits, drop_intermediate=False)
    curve = m.roc_curve(labels, logits)
    np.testing.assert_allclose(curve.x, fpr)
    np.testing.assert_allclose(curve.y, tpr)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    precision, recall, _ = sk.precision_recall_curve(labels, logits)
    pr = m.pr_curve(labels, logits)
    np.testing.assert_allclose(pr.x, recall[:-1][::-1])
    np.testing.assert_allclose(pr.y, precision[:-1][::-1])


def test_classification_report_equals_scikit_learn():
    labels, logits = sample(2)
    called = logits >= 0.3
    found = m.classification_report(m.confusion(labels, logits, threshold=0.3))
    expected = sk.classification_report(labels, called, target_names=["real", "fake"], output_dict=True)
    for name, theirs in (("real", "real"), ("fake", "fake"), ("macro", "macro avg"), ("weighted", "weighted avg")):
        for key, other in (
            ("precision", "precision"),
            ("recall", "recall"),
            ("f1", "f1-score"),
            ("support", "support"),
        ):
            assert found[name][key] == pytest.approx(expected[theirs][other]), (name, key)


def test_hand_values():
    # Ranked: real 1, fake 2, real 3, fake 4. Pairs: 3 of 4 right.
    labels, logits = np.array([0, 1, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    assert m.auroc(labels, logits) == 0.75
    assert m.average_precision(labels, logits) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert m.equal_error_rate(labels, logits) == 0.5
    assert m.tpr_at_fpr(labels, logits, max_fpr=0.05) == 0.5
    assert m.auroc(labels, np.zeros(4)) == 0.5  # all tied


def test_tpr_at_fpr_counts_whole_pictures():
    # 20 real pictures: 5 % is exactly one of them, in spite of 0.05 * 20 in floating point; 4.9 % is none.
    labels = np.array([0] * 20 + [1] * 2)
    logits = np.concatenate([np.arange(20.0), [18.5, 30.0]])
    assert m.tpr_at_fpr(labels, logits, max_fpr=0.05) == 1.0
    assert m.tpr_at_fpr(labels, logits, max_fpr=0.049) == 0.5


def test_saturated_scores_tie_but_logits_rank():
    labels = np.array([0, 0, 1, 1])
    logits = np.array([40.0, 41.0, 42.0, 43.0])
    scores = sigmoid(logits)
    assert np.all(scores == 1.0)
    assert m.compute_metrics(labels, scores, threshold=0.5, logits=logits)["auroc"] == 1.0
    assert m.compute_metrics(labels, scores, threshold=0.5)["auroc"] == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_undefined_where_classes_are_compared(label):
    found = m.compute_metrics(np.full(3, label), np.array([0.2, 0.6, 0.9]), threshold=0.5)
    own, other = ("recall", "specificity") if label else ("specificity", "recall")
    defined = {"accuracy", own, "log_loss", "brier", "ece"}
    assert {key for key, value in found.items() if value is not None} == defined
    assert found[own] == pytest.approx(2 / 3 if label else 1 / 3)
    assert found[other] is None
    report = m.classification_report(m.confusion(np.full(3, label), np.array([0.2, 0.6, 0.9]), threshold=0.5))
    assert report["weighted"]["recall"] == found[own]
    assert report["macro"]["recall"] is None
    assert report["weighted"]["precision"] is None


def test_no_positive_verdicts_leave_precision_undefined_and_f1_zero():
    found = m.threshold_metrics(m.Confusion(tn=5, fp=0, fn=5, tp=0))
    assert found["precision"] is None
    assert found["mcc"] is None
    assert found["f1"] == 0
    assert found["recall"] == 0


def test_no_rows_at_all():
    assert set(m.compute_metrics(np.array([]), np.array([]), threshold=0.5).values()) == {None}


def test_curves_refuse_one_class():
    with pytest.raises(ValueError, match="both classes"):
        m.roc_curve(np.ones(3), np.arange(3))
    with pytest.raises(ValueError, match="both classes"):
        m.pr_curve(np.zeros(3), np.arange(3))


pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(-20, 20)), min_size=4, max_size=60).filter(
    lambda rows: len({label for label, _ in rows}) == 2
)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_ranking_survives_monotone_transforms_and_label_flips(rows):
    labels = np.array([label for label, _ in rows])
    logits = np.array([float(logit) for _, logit in rows])
    found = m.ranking_metrics(labels, logits)
    moved = m.ranking_metrics(labels, np.arctan(logits / 7) * 3 + 1)
    for key, value in found.items():
        assert moved[key] == pytest.approx(value), key
    assert m.auroc(1 - labels, logits) == pytest.approx(1 - found["auroc"])
    assert m.auroc(labels, -logits) == pytest.approx(1 - found["auroc"])
    assert m.equal_error_rate(1 - labels, -logits) == pytest.approx(found["eer"])
    assert found["tpr_at_1_fpr"] <= found["tpr_at_5_fpr"]
