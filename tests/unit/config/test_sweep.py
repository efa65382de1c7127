"""What a sweep may be asked for, and the words that its trials get."""

import shutil
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from veriscope.config.command import value_text
from veriscope.config.load import CONF_DIR, compose_run, compose_sweep
from veriscope.config.sweep import DIRECTIONS, FIGURES, LOGGED, ParamConfig, joined_words, split_words, trial_words
from veriscope.errors import ConfigError, ModelError
from veriscope.evaluation.metrics import METRICS
from veriscope.runs.sweep_plan import check_space, plan_sweep

LR = "sweep.space.optim.lr"
SWEEPS = sorted(file.stem for file in (CONF_DIR / "sweep").glob("*.yaml"))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_sweep_validates_and_its_corners_are_runs(name: str) -> None:
    plan = plan_sweep([f"sweep={name}"])
    check_space(plan)
    text = (CONF_DIR / "sweep" / f"{name}.yaml").read_text(encoding="utf-8")
    assert "Asks:" in text
    assert "Costs:" in text
    assert plan.sweep.name == name


def test_words_of_the_sweep_and_of_its_runs_are_told_apart() -> None:
    own, said = split_words(["sweep=auroc_speed", "data=rvf10k", "~sweep.space.optim.lr", "++optim.lr=1", "sweeps.a=1"])
    assert own == ["sweep=auroc_speed", "~sweep.space.optim.lr"]
    assert said == ["data=rvf10k", "++optim.lr=1", "sweeps.a=1"]


def test_what_the_command_line_says_replaces_a_base_word_of_the_same_key() -> None:
    base = ("experiment=demo", "optim=adamw", "optim.lr=1")
    assert joined_words(base, ["++optim.lr=2", "data=folder"]) == (
        "experiment=demo", "optim=adamw", "++optim.lr=2", "data=folder",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["sweep=optuna_xceptoin"],
            "no 'optuna_xceptoin' among the choices of 'sweep'. Did you mean 'optuna_xception'",
        ),
        (["sweep.trails=3"], "unknown key 'sweep.trails' (on the command line). Did you mean 'trials'?"),
        (["sweep.trials=0"], "sweep.trials=0: input should be greater than or equal to 1"),
        (["sweep.sampler=tpee"], "sweep.sampler='tpee'"),
        (["sweep.objectives=[val/aurok]"], "unknown figure 'val/aurok'. Did you mean 'val/auroc'"),
        (["sweep.objectives=[val/auroc,val/auroc]", "sweep.pruning.name=none"], "names a figure twice"),
        (["sweep.objectives=[]"], "sweep.objectives=[]"),
        (["sweep.objectives=[val/auroc,images_per_s]"], "goes by one figure, sweep.objectives names 2"),
        (["sweep.objectives=[eer]"], "needs an objective that every epoch logs"),
        ([f"{LR}.low=1"], f"{LR}: low=1 is not below high=0.003"),
        ([f"{LR}.low=0"], f"{LR}: log=true needs low above 0, not 0"),
        ([f"{LR}.low=-1", f"{LR}.log=false", f"{LR}.step=0.5"], "steps of 0.5 don't lead from low=-1 to high=0.003"),
        ([f"{LR}.step=0.001"], "log=true and step exclude each other"),
        ([f"{LR}.kind=choice"], "kind=choice takes options, no low, high, step or log"),
        ([f"{LR}={{kind: choice}}"], "options is empty"),
        ([f"{LR}={{kind: choice, options: []}}"], "options is empty"),
        ([f"{LR}={{kind: choice, options: [1, 1]}}"], "an option is named twice"),
        ([f"{LR}={{kind: float, low: 1}}"], "kind=float needs low and high"),
        ([f"{LR}={{kind: float, options: [1]}}"], "options are for kind=choice"),
        ([f"{LR}={{kind: int, low: 1, high: 2.5}}"], "kind=int takes whole numbers"),
        ([f"{LR}.lo=1"], "unknown key 'sweep.space.optim.lr.lo'. Did you mean 'low'"),
        (["sweep.space.optim.momentum=0.9"], "name a range"),
        (["~sweep.space.optim.lrr"], "no 'optim.lrr' to leave out. Did you mean 'optim.lr'"),
        ([f"{LR}=[1"], "can't be read"),
        (["sweep.space=null"], "sweep.space=None"),
        (["sweep.space=null", "~sweep.space.optim.lr"], "no 'optim.lr' to leave out"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused_by_name(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose_sweep(words)
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optm.lr=1"], "unknown key 'optm.lr' (on the command line). Did you mean 'optim'?"),
        (["optim.lr=1e-3"], "optim.lr=1e-3 sets what the sweep searches; leave it out"),
        (["++optim.lr=1e-3"], "sets what the sweep searches"),
        (["preview=true"], "preview=true shows the pictures of one run"),
        (["split=kfold", "sweep.objectives=[val/loss]"], "val/loss is no figure of a cross-validation"),
    ],
)
def test_words_that_no_run_takes_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan_sweep(words)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("param", "says"),
    [
        (
            "optim.lrr={kind: float, low: 1, high: 2}",
            "unknown key 'optim.lrr' (in sweep.space). Did you mean 'lr' or 'lr_rule'?",
        ),
        ("optim.momentum={kind: float, low: 0.5, high: 1.5}", "optim.momentum=1.5"),
        ("data.batch_size={kind: float, low: 1, high: 2.5}", "data.batch_size"),
        ("augment={kind: choice, options: [color, colour]}", "no 'colour' among the choices of 'augment'"),
        ("split.seed={kind: int, low: 1, high: 9}", "sweep.space changes split.seed from 42 to 1"),
        ("seed={kind: int, low: 1, high: 9}", "sweep.space changes seed"),
        ("data={kind: choice, options: [rvf10k, synthetic]}", "sweep.space changes data."),
        ("trainer.devices={kind: int, low: 1, high: 2}", "sweep.space changes trainer.devices from 1 to 2"),
        ("model.head.tap={kind: choice, options: [block2, block99]}", "block99"),
    ],
)
def test_a_searched_key_that_no_run_takes_is_refused_before_anything_starts(param: str, says: str) -> None:
    with pytest.raises((ConfigError, ModelError)) as error:
        check_space(plan_sweep([f"sweep.space.{param}"]))
    assert says in str(error.value)


@given(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("C", "Z")), max_size=8)
    | st.lists(st.none() | st.integers() | st.sampled_from(["block2", "true", "1e-3", "it's", "a,b", ""]), max_size=3)
)  # fmt: skip
def test_a_value_comes_out_of_hydra_as_it_went_in(value: object) -> None:
    if isinstance(value, str) and "${" in value:
        return  # an interpolation is one there too
    found = OverridesParser.create().parse_override(f"key={value_text(value)}").value()
    assert found == value
    assert type(found) is type(value)


def test_a_choice_reaches_the_run_as_what_it_is() -> None:
    space = {
        "model.head.tap": ParamConfig(kind="choice", options=(("block3", None), None, "block2")),
        "optim.betas": ParamConfig(kind="choice", options=((0.9, 0.99),)),
        "augment": ParamConfig(kind="choice", options=("none", "color")),
        "optim.lr": ParamConfig(kind="float", low=1e-5, high=1e-3, log=True),
        "data.batch_size": ParamConfig(kind="int", low=8, high=64),
    }
    found = []
    for index in range(3):
        words = trial_words(space, {key: param.corner(index) for key, param in space.items()})
        found.append(compose_run(["model=texture_best", "model.input.fit=resize", "optim=adam", *words]))
    assert [config.model.head.tap for config in found] == [("block3", None), None, "block2"]
    assert [config.augment.name for config in found] == ["none", "color", "none"]
    assert [(config.optim.lr, config.data.batch_size) for config in found] == [(1e-5, 8), (1e-3, 64), (1e-5, 8)]
    assert found[0].optim.betas == (0.9, 0.99)


def test_figures_are_those_of_a_judgement() -> None:
    better = {"higher": "maximize", "lower": "minimize"}
    assert {metric.key: better[metric.better] for metric in METRICS} == FIGURES
    assert set(LOGGED) < set(DIRECTIONS)


def test_history_holds_what_can_be_an_objective() -> None:
    from veriscope.training.history import COLUMNS

    assert {*LOGGED, "images_per_s"} <= set(COLUMNS)


def test_resume_of_what_is_no_sweep_is_refused(tmp_path: Path) -> None:
    from veriscope.errors import RunError
    from veriscope.run_folder import RunFolder
    from veriscope.runs.sweep_plan import open_sweep

    with pytest.raises(RunError, match="holds no sweep"):
        open_sweep([f"resume={tmp_path}"])
    RunFolder(tmp_path).save_config(compose_run([]))
    with pytest.raises(RunError, match=r"holds a run, not a sweep; go on with: python train\.py resume="):
        open_sweep([f"resume={tmp_path}"])
    plan = plan_sweep(["sweep.trials=3"])
    plan.save(RunFolder(tmp_path))
    with pytest.raises(RunError, match=r"holds a sweep, not a run; go on with: veriscope sweep resume="):
        RunFolder(tmp_path).load_config()
    assert open_sweep([f"resume={tmp_path}"])[1] == plan
    assert open_sweep([f"resume={tmp_path}", "sweep.trials=9"])[1].sweep.trials == 9
    with pytest.raises(RunError, match=r"leave out sweep\.sampler=random optim\.lr=1"):
        open_sweep([f"resume={tmp_path}", "sweep.sampler=random", "optim.lr=1"])
    shutil.copy(CONF_DIR / "train.yaml", tmp_path / "config.yaml")
    with pytest.raises(RunError):
        open_sweep([f"resume={tmp_path}"])
    (tmp_path / "config.yaml").write_text("sweep: {name: [")
    with pytest.raises(RunError, match="damaged"):
        open_sweep([f"resume={tmp_path}"])
