"""The registry of known figures, and what inside and outside mean."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from veriscope.cli import main
from veriscope.config.command import ROOT
from veriscope.config.expected import ExpectedFigure
from veriscope.config.load import compose_evaluation, compose_run
from veriscope.errors import ConfigError, RunError
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.intervals import Interval
from veriscope.run_folder import RunFolder
from veriscope.runs.registry import is_inside, known, read_expected
from veriscope.runs.reproduce import _evaluate_words, _folds_figure
from veriscope.runs.results import CROSSVAL_NAME


@pytest.mark.parametrize("name", known())
def test_every_shipped_entry_composes_and_its_figures_stand_in_its_source(name: str) -> None:
    _, entry = read_expected(name)
    compose_run(entry.train_words)
    source = (ROOT / entry.source.name).read_text(encoding="utf-8")
    for one in entry.judged.values():
        if one.by == "evaluation":
            compose_evaluation(["bundle=B", *_evaluate_words(one, [])])
        for figure in one.figures.values():
            assert f"{figure.value:.3f}" in source
            assert f"{figure.low:.3f} to {figure.high:.3f}" in source


def figure(value: float | None, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value, None if low is None or high is None else Interval(low, high, 0.95, "bootstrap"))


def test_inside_and_outside() -> None:
    expected = ExpectedFigure(value=0.9, low=0.85, high=0.95)
    assert is_inside(expected, figure(0.86), rule="interval")
    assert not is_inside(expected, figure(0.84, 0.80, 0.88), rule="interval")
    assert is_inside(expected, figure(0.84, 0.80, 0.88), rule="overlap")
    assert not is_inside(expected, figure(0.80, 0.76, 0.84), rule="overlap")
    assert not is_inside(expected, figure(0.99, 0.96, 1.0), rule="overlap")  # better is not the same
    assert not is_inside(expected, figure(0.84), rule="overlap")  # nothing to overlap with
    assert not is_inside(expected, figure(None), rule="overlap")


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_overlap_forgives_more_and_goes_both_ways(numbers: list[float]) -> None:
    (low, value, high), (found_low, found, found_high) = sorted(numbers[:3]), sorted(numbers[3:])
    expected, new = ExpectedFigure(value=value, low=low, high=high), figure(found, found_low, found_high)
    overlap = is_inside(expected, new, rule="overlap")
    assert overlap >= is_inside(expected, new, rule="interval")
    turned = ExpectedFigure(value=found, low=found_low, high=found_high)
    assert overlap == is_inside(turned, figure(value, low, high), rule="overlap")


ENTRY: dict[str, Any] = {
    "title": "a test",
    "experiment": "demo",
    "overrides": ["split=kfold", "split.num_folds=3"],
    "judged": {"folds": {"by": "folds", "figures": {"auroc": {"value": 0.8, "low": 0.7, "high": 0.9}}}},
    "rule": "interval",
    "source": {"kind": "paper", "name": "nobody"},
    "cost": {"minutes": 1, "machine": "any"},
}


FIGURES: dict[str, Any] = ENTRY["judged"]["folds"]["figures"]


def write_entry(folder: Path, **changes: Any) -> str:
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump({**ENTRY, **changes}))
    return str(file)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experimnt": "demo"}, "unknown key 'experimnt'. Did you mean 'experiment'?"),
        ({"judged": {"a": {"data": "rvf10k", "figurs": {}}}}, "unknown key 'judged.a.figurs'. Did you mean 'figures'?"),
        ({"judged": {"a": {"data": "rvf10k", "figures": {"aurok": ENTRY["judged"]["folds"]["figures"]["auroc"]}}}},
         "unknown figure 'aurok'. Did you mean 'auroc'?"),
        ({"judged": {"a": {"data": "x", "figures": {"auroc": {"value": 0.9, "low": 0.91, "high": 1.0}}}}},
         "0.9 does not lie between"),
        ({"judged": {"a": {"figures": ENTRY["judged"]["folds"]["figures"]}}}, "needs data=NAME"),
        ({"judged": {"a": {"data": "x", "words": ["++bundle=OTHER"], "figures": FIGURES}}}, "'++bundle=OTHER' is no"),
        ({"judged": {"a": {"data": "x", "words": ["-m"], "figures": FIGURES}}}, "'-m' is no"),
        ({"judged": {"a": {"data": "x", "threshold": "vall", "figures": FIGURES}}}, "'val', 'default' or"),
        ({"judged": {"a": {"by": "folds", "subset": "val", "figures": FIGURES}}}, "it takes no data, subset"),
        ({"judged": {"a": {"data": "x", "figures": {"auroc": {"value": 99.1, "low": 98.0, "high": 99.9}}}}},
         "auroc is a share"),
        ({"judged": {"a": {"data": "x", "figures": {"auroc": {"value": float("nan"), "low": 0.8, "high": 0.9}}}}},
         "finite number"),
        ({"judged": {"a": {"data": "x", "figures": {"auroc": {"value": "high", "low": 0.8, "high": 0.9}}}}},
         "valid number"),
        ({"source": {"kind": "ours", "name": "benchmarks/README.md"}}, "needs source.commit"),
    ],
)  # fmt: skip
def test_a_wrong_entry_names_the_nearest_right_word(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_expected(write_entry(tmp_path, **changes))
    assert said in str(error.value)
    assert str(error.value).startswith("mine.yaml: ")


def test_wrong_names_and_words_end_before_anything_runs(tmp_path: Path, capsys: Any) -> None:
    assert main(["reproduce", "dmo"]) == 2
    assert "Did you mean 'demo'?" in capsys.readouterr().err
    assert main(["reproduce", "demo", "--set", "optim.lr=1"]) == 2
    assert "would change what is reproduced" in capsys.readouterr().err
    assert main(["reproduce"]) == 2
    assert main(["reproduce", write_entry(tmp_path, experiment="dem")]) == 2
    assert "Did you mean 'demo'?" in capsys.readouterr().err


def test_a_run_that_is_not_there_leaves_no_folder(tmp_path: Path, capsys: Any) -> None:
    words = ["reproduce", "demo", "--run", str(tmp_path / "runs" / "MINE"), "--output", str(tmp_path / "o")]
    assert main(words) == 2
    assert "holds no config.yaml" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_what_would_run_is_listed(tmp_path: Path, capsys: Any) -> None:
    words = [
        "reproduce",
        "texture_best",
        "--dry-run",
        "--set",
        "paths.data=/d",
        "model.backbone.weights=/w.safetensors",
    ]
    assert main([*words, "--output", str(tmp_path / "o")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "python train.py experiment=texture_best paths.data=/d model.backbone.weights=/w.safetensors "
        f"paths.run_dir={tmp_path}/o/run"
    )
    assert [line.split()[1] for line in lines] == ["train.py"] + ["evaluate.py"] * 3
    assert all("paths.data=/d" in line and "weights=" not in line for line in lines[1:])
    assert "corruption=jpeg:75" in lines[2]
    assert f"paths.run_dir={tmp_path}/o/judged/jpeg_75" in lines[2], "where the judgement will lie"
    assert not (tmp_path / "o").exists()
    assert main(["reproduce", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in known())
    at = listed.index("  jpeg_75:"), listed.index("    Accuracy 0.698 (0.656 to 0.737)")
    assert at[0] < at[1], "a figure stands below the name of what was judged, in 80 columns, too"


@pytest.mark.parametrize(("mean", "code", "said"), [(0.75, 0, "inside"), (0.6, 1, "below"), (0.95, 1, "above")])
def test_an_existing_run_is_checked(tmp_path: Path, capsys: Any, mean: float, code: int, said: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.save_config(compose_run([f"experiment={ENTRY['experiment']}", *ENTRY["overrides"], "seed=7"]))
    figures = {"metrics": {"auroc": {"mean": mean, "low": mean - 0.2, "high": mean + 0.2}}}
    (run.path / "crossval.json").write_text(json.dumps(figures))
    output = tmp_path / "out"
    assert main(["reproduce", write_entry(tmp_path), "--run", str(run.path), "--output", str(output)]) == code
    told = capsys.readouterr()
    assert said in told.out
    assert "is another recipe than the entry's: seed should be 42, is 7" in told.err
    record = json.loads((output / "reproduce.json").read_text())
    assert (record["inside"], record["figures"][0]["found"]["value"]) == (code == 0, mean)


def test_the_mean_over_folds_names_the_interval_that_it_has(tmp_path: Path) -> None:
    over = {"metrics": {"auroc": {"mean": 0.8, "low": 0.7, "high": 0.9}}}
    (tmp_path / CROSSVAL_NAME).write_text(json.dumps(over))
    found = _folds_figure(RunFolder(tmp_path), "auroc")
    assert found == (0.8, (0.7, 0.9, 0.95, "student t"))


@pytest.mark.parametrize("text", ["&a [*a]", "2020-01-01: x", "title: [", "- a", "[" * 500])
def test_what_is_no_entry_at_all_is_said(tmp_path: Path, capsys: Any, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["reproduce", str(tmp_path / "mine.yaml")]) == 2
    assert "mine.yaml" in capsys.readouterr().err


def test_means_that_are_no_numbers_are_no_figures(tmp_path: Path) -> None:
    (tmp_path / "crossval.json").write_text('{"metrics": {"auroc": {"mean": NaN, "low": 0.1, "high": 0.9}}}')
    with pytest.raises(RunError, match="is missing or damaged"):
        _folds_figure(RunFolder(tmp_path), "auroc")
