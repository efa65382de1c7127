"""A tiny entry of the registry, trained and judged by real processes."""

from pathlib import Path

import pytest
import yaml

from veriscope.cli import main

SMALL = ["data.synthetic.num_train=24", "data.synthetic.num_val=12", "data.synthetic.num_test=12",
         "data.synthetic.size_px=64"]  # fmt: skip


def write_entry(file: Path, *, low: float, high: float) -> str:
    expected = {"auroc": {"value": high, "low": low, "high": high}}
    entry = {
        "title": "a tiny demo",
        "experiment": "demo",
        "overrides": [*SMALL, "data.num_workers=0", "data.batch_size=8", "trainer.max_epochs=1"],
        "judged": {"test": {"data": "synthetic", "words": [*SMALL, "bootstrap_draws=100"], "figures": expected}},
        "rule": "interval",
        "source": {"kind": "project", "name": "a test"},
        "cost": {"minutes": 0.2, "machine": "any"},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(entry))
    return str(file)


@pytest.mark.slow
def test_a_wrong_expectation_is_outside_and_the_same_run_inside_a_right_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["--output", str(tmp_path / "out"), "--set", f"paths.cache={tmp_path}/cache", "trainer.accelerator=cpu"]
    wrong = write_entry(tmp_path / "entry.yaml", low=0.0, high=1e-6)
    assert main(["reproduce", wrong, *own]) == 1
    assert "outside: above" in capsys.readouterr().out
    run = tmp_path / "out" / "run" / "bundle" / "weights.safetensors"
    made = run.stat().st_mtime_ns
    right = write_entry(tmp_path / "entry.yaml", low=0.0, high=1.0)
    assert main(["reproduce", right, *own]) == 0
    told = capsys.readouterr()
    assert "inside" in told.out
    assert "the run is complete" in told.err
    assert run.stat().st_mtime_ns == made
