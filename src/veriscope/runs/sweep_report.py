"""What a sweep came to: a table on the terminal, trials.csv, sweep.json and pictures."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from veriscope.config.command import data_words, override
from veriscope.evaluation.plots import save_png
from veriscope.files import write_text
from veriscope.progress import duration, say
from veriscope.run_folder import RunFolder
from veriscope.runs.aggregate import spread
from veriscope.runs.results import fold_folder, history_rows
from veriscope.runs.study import Study, TrialRecord
from veriscope.runs.sweep_plan import Plan
from veriscope.runs.sweep_plots import front_picture, importance_picture, parallel_picture
from veriscope.runs.trials import number_text, short_names, trial_folder

STATES = ("complete", "pruned", "failed", "unfinished")
_ROWS_SHOWN = 30


def write_sweep_report(plan: Plan, folder: RunFolder, study: Study, *, console: Console) -> None:
    """Write trials.csv, sweep.json and figures/*.png of the trials that are there, and show them."""
    records, best = study.records(), study.best()
    importances = {
        objective: study.importance(index) if best else "no trial is complete"
        for index, objective in enumerate(plan.sweep.objectives)
    }
    write_text(folder.path / "trials.csv", trials_csv(plan, records))
    summary = summary_record(plan, folder, records, best=best, importances=importances)
    write_text(folder.path / "sweep.json", json.dumps(summary, indent=2) + "\n")
    undrawn = _draw(plan, folder, records, best=best, importances=importances)
    _show(plan, folder, records, best=best, console=console)
    for line in undrawn:
        say(console, line)
    say(console, f"all trials: {folder.path / 'trials.csv'}, {folder.path / 'sweep.json'}")


def trials_csv(plan: Plan, records: Sequence[TrialRecord]) -> str:
    """Return one line a trial: number, state, objectives, what was searched, seconds, folder, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *plan.sweep.objectives, *plan.sweep.space, "seconds", "folder", "reason"])
    for record in records:
        values = record.values or [""] * len(plan.sweep.objectives)
        params = [record.params.get(key, "") for key in plan.sweep.space]
        place = f"trial_{record.number:03}"
        seconds = "" if record.seconds is None else record.seconds
        writer.writerow([record.number, record.state, *values, *params, seconds, place, record.reason])
    return text.getvalue()


def summary_record(
    plan: Plan,
    folder: RunFolder,
    records: Sequence[TrialRecord],
    *,
    best: Sequence[int],
    importances: Mapping[str, dict[str, float] | str],
) -> dict[str, Any]:
    """Return what sweep.json holds."""
    complete = [record for record in records if record.state == "complete"]
    return {
        "schema_version": 1,
        "kind": "sweep",
        "name": plan.sweep.name,
        "objectives": dict(zip(plan.sweep.objectives, plan.sweep.directions, strict=True)),
        "num_trials": plan.sweep.trials,
        **{f"num_{state}": sum(record.state == state for record in records) for state in STATES},
        "seconds": round(sum(record.seconds or 0 for record in records), 1),
        "words": list(plan.words),
        "best": [_best_record(plan, folder, records[number]) for number in best],
        "over_complete_trials": {
            objective: _over([record.values[index] for record in complete])
            for index, objective in enumerate(plan.sweep.objectives)
            if complete
        },
        "importance": importances,
        "notice": _optimism(plan, records),
    }


def _over(values: Sequence[float]) -> dict[str, Any]:
    found = spread(values)
    return {"mean": found.mean, "sd": found.sd, "lowest": min(values), "highest": max(values)}


def _best_record(plan: Plan, folder: RunFolder, record: TrialRecord) -> dict[str, Any]:
    place = trial_folder(folder, record.number)
    return {
        "trial": record.number,
        "values": dict(zip(plan.sweep.objectives, record.values, strict=True)),
        "params": _plain_params(plan, record),
        "command": plan.typed(record.params),
        "folder": str(place.path),
        "bundle": str(place.bundle) if place.bundle.is_dir() else None,
    }


def _plain_params(plan: Plan, record: TrialRecord) -> dict[str, Any]:
    """Return the searched values as YAML means them: a choice's list is a list again."""
    return {
        key: param.texts[record.params[key]] if param.kind == "choice" else record.params[key]
        for key, param in plan.sweep.space.items()
        if key in record.params
    }


def _optimism(plan: Plan, records: Sequence[TrialRecord]) -> str:
    num = sum(record.state in ("complete", "pruned") for record in records)
    return (
        f"The best of {num} trials was chosen because its figures on val are good, so in part because it was lucky "
        "there: expect less on new pictures. Judge it once, on pictures that chose nothing."
    )


def _draw(
    plan: Plan,
    folder: RunFolder,
    records: Sequence[TrialRecord],
    *,
    best: Sequence[int],
    importances: Mapping[str, dict[str, float] | str],
) -> list[str]:
    """Write the pictures; return a line for each that can't be drawn."""
    sweep, figures = plan.sweep, folder.path / "figures"
    complete = [record for record in records if record.state == "complete"]
    undrawn = [f"no importance of {objective}: {why}" for objective, why in importances.items() if isinstance(why, str)]
    shares = {objective: found for objective, found in importances.items() if not isinstance(found, str)}
    if shares:
        save_png(importance_picture(shares, num_trials=len(complete)), figures / "importance.png")
    if len(complete) < 2:
        return [*undrawn, f"no parallel coordinates: it takes two complete trials, not {len(complete)}"]
    parallel = parallel_picture(
        complete, space=sweep.space, objectives=sweep.objectives, directions=sweep.directions, best=best
    )
    save_png(parallel, figures / "parallel.png")
    if len(sweep.objectives) == 2:
        front = front_picture(complete, objectives=sweep.objectives, directions=sweep.directions, best=best)
        save_png(front, figures / "front.png")
    elif len(sweep.objectives) > 2:
        undrawn.append("no picture of the front: it takes two objectives")
    return undrawn


def _show(
    plan: Plan, folder: RunFolder, records: Sequence[TrialRecord], *, best: Sequence[int], console: Console
) -> None:
    sweep, shown = plan.sweep, ranked(plan, records)[:_ROWS_SHOWN]
    console.print(table(plan, shown, best=best, epochs=[_num_epochs(plan, folder, record) for record in shown]))
    counts = {state: sum(record.state == state for record in records) for state in STATES}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    total = duration(sum(record.seconds or 0 for record in records))
    more = f"; the first {len(shown)} are shown" if len(shown) < len(records) else ""
    say(console, f"{len(records)} of {max(sweep.trials, len(records))} trials: {said}; {total} of training{more}")
    _say_best(plan, folder, records, best=best, console=console)


def table(plan: Plan, records: Sequence[TrialRecord], *, best: Sequence[int], epochs: Sequence[int]) -> Table:
    """Return one row a trial; a narrow terminal breaks the headings, and no figure."""
    names = short_names(plan.sweep.space)
    rows = [
        [
            f"{record.number}{' *' if record.number in best else ''}",
            record.state,
            *([number_text(value) for value in record.values] or [""] * len(plan.sweep.objectives)),
            *(_short(record.params.get(key, "")) for key in plan.sweep.space),
            str(count),
            "" if record.seconds is None else duration(record.seconds),
        ]
        for record, count in zip(records, epochs, strict=True)
    ]
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    heads = ("trial", "state", *plan.sweep.objectives, *(names[key] for key in plan.sweep.space), "epochs", "time")
    for index, head in enumerate(heads):
        grid.add_column(head, overflow="fold", min_width=max((len(row[index]) for row in rows), default=0))
    for row in rows:
        grid.add_row(*row)
    return grid


def _short(value: Any) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def ranked(plan: Plan, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials, the best in the first objective first; those without figures last."""
    sign = -1 if plan.sweep.directions[0] == "maximize" else 1
    return sorted(
        records,
        key=lambda record: (STATES.index(record.state), sign * record.values[0] if record.values else 0, record.number),
    )


def _num_epochs(plan: Plan, folder: RunFolder, record: TrialRecord) -> int:
    place = trial_folder(folder, record.number)
    if not plan.base.split.all_folds:
        return len(history_rows(place))
    folds = [fold_folder(place, number) for number in range(plan.base.split.num_folds)]
    return sum(len(history_rows(fold)) for fold in folds)


def _say_best(
    plan: Plan, folder: RunFolder, records: Sequence[TrialRecord], *, best: Sequence[int], console: Console
) -> None:
    for number in best:
        record, place = records[number], trial_folder(folder, number)
        came = ", ".join(
            f"{name} {number_text(value)}" for name, value in zip(plan.sweep.objectives, record.values, strict=True)
        )
        say(console, f"{'best' if len(best) == 1 else 'on the front'}: trial {number}, {came}")
        say(console, f"  {plan.typed(record.params)}")
        if place.bundle.is_dir():
            say(console, f"  bundle: {place.bundle}")
            data = data_words(plan.words, name=plan.base.data.name)
            say(console, f"  python evaluate.py {override('bundle', place.bundle)} {data}")
        elif plan.base.split.all_folds:
            say(console, f"  report: {place.path / 'report.html'}")
    if best:
        say(console, _optimism(plan, records))
        if plan.base.split.all_folds:
            say(console, "To ship it, train it without split=kfold.")
