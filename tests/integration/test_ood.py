"""A run's own out-of-distribution score: from val, whatever the test holds; small val, no val, none asked for."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from veriscope.bundle import load_bundle
from veriscope.bundle.scorer import Scored
from veriscope.config.schema import RunConfig
from veriscope.data.manifest import Manifest
from veriscope.evaluation.predictions import PredictionTable
from veriscope.run_folder import RunFolder
from veriscope.training.ood import fit_ood, only_what_is_fitted_on


def manifest(count: int, *, split: str | None, root: Path) -> Manifest:
    return Manifest.from_columns(
        [f"{n}.jpg" for n in range(count)],
        labels=[n % 2 for n in range(count)],
        size_bytes=[1] * count,
        splits=[split] * count,
        root=root,
    )


def answers(count: int, *, features: int = 8) -> list[Scored]:
    vectors = np.random.default_rng(0).random((count, features), dtype=np.float32)
    return [Scored(Path(f"{n}.jpg"), 0.0, 0.5, vectors=(vector,)) for n, vector in enumerate(vectors)]


def fit(config: RunConfig, val: Manifest, scored: list[Scored]) -> tuple[object, list[Scored], str]:
    stream = io.StringIO()
    ood, plain = fit_ood(config, val, scored, console=Console(file=stream, width=1000))
    return ood, plain, stream.getvalue()


def test_test_data_can_not_enter_the_fit(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fitted on val, these pictures are the test"):
        fit(tiny_config(), manifest(30, split="test", root=tmp_path), answers(30))


def test_what_can_not_be_fitted_is_said_and_ends_no_run(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    ood, plain, text = fit(tiny_config(), manifest(8, split="val", root=tmp_path), answers(8))
    assert ood is None
    assert "The bundle gets no out-of-distribution score: ood.k=10 asks for the 10-th nearest" in text
    assert [answer.ood for answer in plain] == [None] * 8
    ood, plain, text = fit(tiny_config("ood.method=none"), manifest(30, split="val", root=tmp_path), answers(30))
    assert (ood, text) == (None, "")
    assert all(answer.vectors is None for answer in plain)


@pytest.mark.parametrize(("count", "threshold", "said"), [(98, 0.99, True), (99, 0.99, False), (30, 0.95, False)])
def test_a_val_too_small_for_the_threshold_is_said(
    count: int, threshold: float, said: bool, tiny_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = tiny_config(f"ood.threshold={threshold}")
    ood, plain, text = fit(config, manifest(count, split="val", root=tmp_path), answers(count))
    assert ood is not None
    assert ("is reached by nothing with fewer than 99" in text) == said
    assert all(answer.ood is not None and answer.vectors is None for answer in plain)


def test_unreadable_pictures_are_left_out(tiny_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    scored = answers(30)
    scored[4] = Scored(Path("4.jpg"), None, None, error="truncated")
    ood, plain, _ = fit(tiny_config(), manifest(30, split="val", root=tmp_path), scored)
    assert ood is not None
    assert ood.reference.num_pictures == 29
    assert [n for n, answer in enumerate(plain) if answer.ood is None] == [4]


def test_vectors_are_kept_for_a_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("veriscope.models.ood_fit.MAX_PICTURES", 10)
    kept = list(only_what_is_fitted_on(answers(50), count=50, seed=1))
    assert len(kept) == 50
    assert sum(answer.vectors is not None for answer in kept) == 10


def test_a_run_ships_what_val_alone_gives(train: Callable[..., RunFolder]) -> None:
    """That other test pictures leave the very same file is shown by test_no_leak: bundle.json holds its hash."""
    run = train("trainer.max_epochs=1", "trainer.limit_train_batches=2")
    bundle = load_bundle(run.bundle)
    assert bundle.record.ood is not None
    assert (bundle.record.ood.num_pictures, bundle.record.ood.fitted_on) == (21, "folder val")
    assert bundle.ood() is not None
    column = PredictionTable.read(run.validation).column("ood")
    assert sorted(column) == pytest.approx(np.arange(21) / 21, abs=0.1), "validation itself is even"
    figures = json.loads((run.validation / "figures.json").read_text(encoding="utf-8"))
    assert figures["ood"]["pictures"] == 21
