"""Precision and the batch that a step sees: what is asked for is what happens, and is written down."""

import json
from typing import Any

import pytest
import torch
from tests.integration.runs import TWO_PHASES, Train, history, same, weights

from veriscope.training.module import DetectionModule


@pytest.mark.parametrize(("precision", "word"), [("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_a_precision_is_what_the_network_computes_in(
    train: Train, monkeypatch: pytest.MonkeyPatch, precision: str, word: str
) -> None:
    seen = set()
    step = DetectionModule.training_step

    def watched(module: DetectionModule, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        hook = module.detector.backbone.register_forward_hook(lambda _m, _i, maps: seen.add(maps[-1].dtype))
        loss = step(module, batch, batch_idx)
        hook.remove()
        return loss

    monkeypatch.setattr(DetectionModule, "training_step", watched)
    folder = train(f"trainer.precision={precision}", "trainer.max_epochs=1")
    assert seen == {torch.float32 if precision == "fp32" else torch.bfloat16}
    facts = json.loads((folder.path / "provenance.json").read_text(encoding="utf-8"))
    assert facts["precision"] == word
    assert {tensor.dtype for tensor in weights(folder).values()} == {torch.float32, torch.int64}
    loss = float(history(folder)[0]["train/loss"])
    assert 0.3 < loss < 2


def test_bf16_is_another_computation_than_fp32(train: Train) -> None:
    ours, theirs = train("trainer.precision=bf16"), train("trainer.precision=fp32")
    assert not same(weights(ours), weights(theirs))


@pytest.mark.parametrize(
    ("words", "rates", "batch", "factor", "line"),
    [
        ((), [0.003] * 2, 8, 1.0, "effective batch 8 = 8 a process x 1 process x 1 accumulated; learning rate 0.003\n"),
        (
            ("trainer.accumulate_batches=4", "++optim.lr_rule=linear"),
            [0.012] * 2,
            32,
            4.0,
            "effective batch 32 = 8 a process x 1 process x 4 accumulated; learning rate 0.012, "
            "4 times the configured (optim.lr_rule=linear)\n",
        ),
        (
            (*TWO_PHASES, "trainer.accumulate_batches=4", "++optim.lr_rule=sqrt"),
            [0.002] * 2 + [0.00002] * 2,
            32,
            2.0,
            "learning rate 0.002 in frozen, 2e-05 in all_layers, 2 times the configured (optim.lr_rule=sqrt)\n",
        ),
    ],
)
def test_the_effective_batch_and_its_learning_rate_are_said_and_written_down(
    train: Train,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    rates: list[float],
    batch: int,
    factor: float,
    line: str,
) -> None:
    folder = train(*words)
    assert line in capsys.readouterr().err
    assert [float(row["lr"]) for row in history(folder)] == pytest.approx(rates)
    facts = json.loads((folder.path / "provenance.json").read_text(encoding="utf-8"))
    assert (facts["effective_batch_size"], facts["lr_factor"]) == (batch, factor)
    assert (facts["processes"], facts["nodes"]) == (1, 1)
