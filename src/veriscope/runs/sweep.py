"""Search sweeps: what to try next is asked of Optuna, every trial is a process of its own, resumable at any moment."""

from collections.abc import Mapping, Sequence

from rich.console import Console

from veriscope.config.command import typed, word
from veriscope.config.sweep import trial_words
from veriscope.data.sources import load_manifest
from veriscope.errors import RunError
from veriscope.progress import say
from veriscope.provenance import collect, source_commit
from veriscope.run_folder import RunFolder, naming_the_way_on
from veriscope.runs.slots import slots_for
from veriscope.runs.study import Study
from veriscope.runs.sweep_plan import Plan, check_space, make_folder, resume_command
from veriscope.runs.sweep_report import write_sweep_report
from veriscope.runs.sweep_trials import SweepTrials, is_hopeless
from veriscope.runs.trials import log_file
from veriscope.tracking import record_whole

STUDY_NAME = "study.db"


def run_sweep(plan: Plan, found: RunFolder | None, *, words: Sequence[str], dry_run: bool) -> None:
    """Run a planned sweep: in a new folder, or in `found`, where it was begun.

    Raises:
        VeriscopeError: what the user can mend.
        KeyboardInterrupt: Ctrl-C, after every trial has ended and what is there was written up.

    """
    if found is None:
        check_space(plan)
    places = slots_for([plan.base], workers=plan.sweep.workers, key="sweep.workers")
    if dry_run or plan.base.dry_run:
        list_first(plan, found, num_places=len(places))
        return
    data_hash = load_manifest(plan.base.data, paths_cache=plan.base.paths.cache).content_hash
    sweep(plan, found or make_folder(plan), places=places, data_hash=data_hash, words=words)


def sweep(
    plan: Plan, folder: RunFolder, *, places: Sequence[Mapping[str, str]], data_hash: str, words: Sequence[str]
) -> None:
    """Run the trials that are left in `folder`, then write up all of them.

    Raises:
        RunError: no trial comes to an end, another process has the folder, or pictures or conf/ have changed.
        KeyboardInterrupt: Ctrl-C.

    """
    console = Console(stderr=True)
    with folder.locked(), naming_the_way_on(folder, command=resume_command(folder)):
        if folder.load_provenance().get("data_hash", data_hash) != data_hash:
            raise RunError(f"the pictures have changed since the sweep in '{folder.path}' began; start anew")
        plan.save(folder)
        commit = source_commit()
        facts = collect(seed=plan.sweep.seed, data_hash=data_hash, commit=commit)
        folder.save_provenance({**facts, "overrides": list(words)}, diff=commit.diff)
        study = Study(plan.sweep, folder.path / STUDY_NAME, num_steps=plan.num_steps, places=len(places))
        say(console, f"sweep: {folder.path}")
        say(console, describe(plan))
        trials = SweepTrials(plan, folder, study, data_hash=data_hash, console=console)
        try:
            trials.run(places)
        except KeyboardInterrupt:
            write_sweep_report(plan, folder, study, console=console)
            say(console, f"stopped; go on with: {resume_command(folder)}")
            raise
        write_sweep_report(plan, folder, study, console=console)
        _refuse_failures(plan, folder, study, in_a_row=trials.num_failed_in_a_row)
        _record(plan, folder, study, console=console)


def _record(plan: Plan, folder: RunFolder, study: Study, *, console: Console) -> None:
    """Record in W&B what the sweep came to: the best figures, and how many trials it took."""
    records = study.records()
    figures: dict[str, float | None] = {"sweep/trials": len(records)}
    for number in study.best()[:1]:
        named = zip(plan.sweep.objectives, records[number].values, strict=True)
        figures |= {"sweep/best_trial": number, **{f"sweep/best_{name}": value for name, value in named}}
    record_whole(
        plan.base.logger,
        folder.path,
        job_type="sweep",
        facts=plan.model_dump(mode="json", by_alias=True),
        figures=figures,
        pictures={file.stem: file for file in sorted((folder.path / "figures").glob("*.png"))},
        console=console,
    )


def describe(plan: Plan) -> str:
    """Return one line: model, data, and what is searched how."""
    sweep, base = plan.sweep, plan.base
    how = {"tpe": f"TPE after {sweep.startup_trials} random trials", "random": "random search"}[sweep.sampler]
    goals = ", ".join(
        f"{objective} {'high' if direction == 'maximize' else 'low'}"
        for objective, direction in zip(sweep.objectives, sweep.directions, strict=True)
    )
    kind = f"a trial is a {base.split.num_folds}-fold cross-validation; " if base.split.all_folds else ""
    pruned = "no pruning" if sweep.pruning.name == "none" else f"pruning by {sweep.pruning.name}"
    if sweep.pruning.name != "none" and sweep.pruning.warmup_epochs >= plan.num_steps:
        pruned += f" (which stops none: sweep.pruning.warmup_epochs={sweep.pruning.warmup_epochs} of {plan.num_steps})"
    return (
        f"{base.model.name} on {base.data.name}: {sweep.trials} trials over {', '.join(sweep.space)}; wanted: {goals}; "
        f"{kind}{how}, {pruned}, seed {sweep.seed}"
    )


def list_first(plan: Plan, folder: RunFolder | None, *, num_places: int) -> None:
    """Print the commands that are known before any trial has ended; the others follow from results."""
    console = Console()
    if folder is not None:
        study = Study(plan.sweep, folder.path / STUDY_NAME, num_steps=plan.num_steps, places=num_places)
        records = study.records()
        unfinished = [record for record in records if record.state == "unfinished"]
        for record in unfinished:
            say(console, typed([word("resume", folder.path / f"trial_{record.number:03}")]))
        num_new = max(0, plan.sweep.trials - len(records))
        say(Console(stderr=True), f"{len(unfinished)} trials to finish, {num_new} to come, {num_places} side by side")
        return
    study = Study(plan.sweep, None, num_steps=plan.num_steps, places=num_places)
    num_known = plan.sweep.trials
    if plan.sweep.sampler == "tpe":
        num_known = min(plan.sweep.startup_trials, plan.sweep.trials)
    for _ in range(num_known):
        say(console, typed([*plan.words, *trial_words(plan.sweep.space, study.params(study.ask()))]))
    rest = plan.sweep.trials - num_known
    note = Console(stderr=True)
    say(note, describe(plan))
    say(note, f"{num_places} side by side" + (f"; what the other {rest} try follows from these" if rest else ""))


def _refuse_failures(plan: Plan, folder: RunFolder, study: Study, *, in_a_row: int) -> None:
    records = study.records()
    failed = [record for record in records if record.state == "failed"]
    given_up = len(records) < plan.sweep.trials and is_hopeless(records, num_failed=in_a_row)
    if given_up or (failed and len(failed) == len(records)):
        which = f"{in_a_row} trials in a row" if given_up else "all trials"
        raise RunError(
            f"{which} failed, the last: {failed[-1].reason}\nAll that it said: {log_file(folder, failed[-1].number)}. "
            f"When this is mended, start anew, or try those that are left: {resume_command(folder)}"
        )
