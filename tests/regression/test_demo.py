"""What `make demo` promises, and its null check: permuted labels must leave nothing to learn."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.load import CONF_DIR, to_plain, validate
from veriscope.config.schema import RunConfig
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.run import run_evaluation
from veriscope.run_folder import create_run_folder
from veriscope.training.start import prepare, start_run


def composed(config_name: str, *overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return to_plain(compose(config_name, list(overrides)))


def demo(tmp_path: Path, *overrides: str) -> Figure:
    """Train the demo and return its AUROC on the test split, which nothing was chosen on."""
    places = (f"paths.cache={tmp_path}/cache", f"paths.runs={tmp_path}/runs")
    words = ("experiment=demo", "trainer.accelerator=cpu", "trainer.progress=false", *places)
    plain = composed("train", *words, *overrides)
    plain.pop("resume")
    config = validate(RunConfig, plain)
    data = prepare(config)
    folder = create_run_folder(config, multirun_dir=None)
    start_run(config, folder, data, overrides=())
    judged = composed("evaluate", f"bundle={folder.bundle}", "data=synthetic", "subset=test", *places, *overrides)
    result = run_evaluation(validate(EvaluateConfig, judged), output_dir=tmp_path / "judged", provenance={})
    assert "no claim about real deepfakes" in (tmp_path / "judged/report.html").read_text(encoding="utf-8")
    return result.judgement.free["auroc"]


@pytest.mark.slow
def test_the_demo_learns(tmp_path: Path) -> None:
    auroc = demo(tmp_path)
    assert auroc.value is not None
    assert auroc.value >= 0.95


@pytest.mark.slow
def test_the_demo_on_permuted_labels_learns_nothing(tmp_path: Path) -> None:
    auroc = demo(tmp_path, "++data.shuffle_labels=true")
    assert auroc.interval is not None
    assert auroc.interval.low <= 0.5 <= auroc.interval.high
