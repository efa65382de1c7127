"""What the judged pictures' strangeness says, against counts by hand and scipy's interval."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from veriscope.evaluation.ood import measure_ood
from veriscope.evaluation.ood_plots import ood_pictures
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.types import Calibration, Threshold

HALF = Threshold(value=0.5, rule="fixed", chosen_on="none")


def table(
    labels: list[int], logits: list[float], ood: list[float | None], generators: list[str | None] | None = None
) -> PredictionTable:
    return PredictionTable.from_columns(
        [f"{n}.jpg" for n in range(len(labels))],
        labels=labels,
        logits=logits,
        ood=ood,
        generators=generators,
        calibration=Calibration(),
        meta=TableMeta(),
    )


def test_every_figure_by_hand() -> None:
    found = measure_ood(
        table(
            [0, 0, 0, 1, 1, 1, 1, 1],
            [-1, -1, 2, 3, 3, -2, -2, 1],  # wrong: the third, sixth and seventh
            [0.1, 0.995, 0.99, 0.2, 0.3, 1.0, 0.4, None],
            [None, None, None, "gan", "gan", "sd", "sd", "sd"],
        ),
        strange_from=0.99,
        threshold=HALF,
    )
    assert found is not None
    assert (found.num_pictures, found.num_unknown) == (7, 1)
    assert found.strange.value == pytest.approx(3 / 7)
    assert found.coverage.value == pytest.approx(4 / 7)
    assert {row.name: (row.support, row.strange.value) for row in found.by_class} == {
        "real": (3, pytest.approx(2 / 3)),
        "fake": (4, pytest.approx(1 / 4)),
    }
    assert {row.name: (row.support, row.strange.value) for row in found.by_generator} == {"gan": (2, 0), "sd": (2, 0.5)}
    assert found.accuracy_all.value == pytest.approx(4 / 7)
    assert found.accuracy.value == pytest.approx(3 / 4)
    assert found.accuracy_strange.value == pytest.approx(1 / 3)
    assert found.wrong_flagged.value == pytest.approx(2 / 3)
    assert found.right_flagged.value == pytest.approx(1 / 4)
    assert found.quantiles["0.5"] == pytest.approx(0.4)
    theirs = binomtest(3, 7).proportion_ci(method="wilson")
    assert found.strange.interval is not None
    assert found.strange.interval[:2] == pytest.approx((theirs.low, theirs.high))
    assert found.coverage.interval is not None
    assert found.coverage.interval[:2] == pytest.approx((1 - theirs.high, 1 - theirs.low))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["accuracy"]["value"] == 0.75
    text = " ".join(found.sentences())
    assert "Stranger to it than 99 %" in text
    assert "42.9 %" in text
    assert "1 pictures it is not known" in text


def test_the_edge_is_fp32_as_the_table_stores_it() -> None:
    """0.95 as fp32 is less than 0.95: compared in double precision, the very threshold would not reach itself."""
    assert float(np.float32(0.95)) < 0.95
    found = measure_ood(table([0, 1], [0, 0], [0.95, 0.94]), strange_from=0.95, threshold=HALF)
    assert found is not None
    assert found.strange.value == 0.5


def test_everything_strange_and_nothing_known_are_said() -> None:
    everything = measure_ood(table([0, 1], [0, 0], [1.0, 1.0]), strange_from=0.99, threshold=HALF)
    assert everything is not None
    assert everything.accuracy.value is None
    assert "No picture is left" in " ".join(everything.sentences())
    unknown = table([0, 1], [0, 0], [None, None])
    assert measure_ood(unknown, strange_from=0.99, threshold=HALF) is None
    assert ood_pictures(unknown, strange_from=0.99) == {}
    assert ood_pictures(table([0, 1], [0, 0], [0.1, 0.2]), strange_from=None) == {}
    nothing = measure_ood(table([0, 1], [0, 0], [1.0, 1.0]), strange_from=1.0, threshold=HALF)
    assert nothing is not None
    assert "calls nothing strange" in " ".join(nothing.sentences())


def test_the_picture_shows_each_class_as_shares() -> None:
    rng = np.random.default_rng(0)
    strange = [*rng.random(200).tolist(), *(0.9 + 0.1 * rng.random(50)).tolist()]
    (axes,) = ood_pictures(table([0] * 200 + [1] * 50, [0.0] * 250, strange), strange_from=0.99)["ood"].axes
    steps = [patch.get_data().values for patch in axes.patches]
    assert [float(values.sum()) for values in steps] == pytest.approx([1, 1])
    assert steps[1][-2:].sum() == pytest.approx(1)
