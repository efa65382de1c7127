"""Cross-data-set matrix: every bundle on every data set, each pair one evaluate.py process, then one table."""

import argparse
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console

from veriscope.config.load import compose_evaluation
from veriscope.errors import ConfigError, RunError
from veriscope.evaluation.report import JSON_NAME
from veriscope.progress import say
from veriscope.run_folder import RunFolder, new_folder
from veriscope.runs.batch import list_commands, run_all
from veriscope.runs.estimate import Estimate
from veriscope.runs.evaluations import Evaluated, evaluation_slots, is_evaluated, report_kind
from veriscope.runs.matrix_plan import UNNAMED, Planned, plan_cells, read_columns, read_rows
from veriscope.runs.matrix_report import write_matrix
from veriscope.runs.matrix_table import Matrix, MatrixCell, MatrixMetric, labelled, read_cell

_ColumnKey = tuple[str, str | None, float | None]


def run_matrix(arguments: argparse.Namespace) -> int:
    """Do what `veriscope matrix` was asked for; return 0, or 1 where cells failed.

    Raises:
        VeriscopeError: what the user can mend.
        KeyboardInterrupt: Ctrl-C, after the table of what is there was written.

    """
    if arguments.from_folders:
        if arguments.bundles or arguments.data:
            raise ConfigError(
                "--from makes the table of evaluations that are there: it goes without bundles and --data"
            )
        return tabulate(arguments.from_folders, metric=arguments.metric, output=arguments.output, common=arguments.set)
    if not arguments.bundles or not arguments.data:
        raise ConfigError("name bundles and data: veriscope matrix BUNDLE... --data NAME...; or --from FOLDER...")
    rows = read_rows(arguments.bundles)
    columns = read_columns(arguments.data, common=arguments.set)
    folder = arguments.output or _dated(columns[0].config.paths.runs, dry_run=arguments.dry_run)
    _refuse_other(folder)
    planned = plan_cells(rows, columns, common=arguments.set, folder=folder)
    if arguments.dry_run:
        list_commands([one.job for one in planned if one.job is not None and not one.done], console=Console())
        for one in planned:
            if one.job is None:
                say(Console(stderr=True), f"{one.row} on {one.column}: left out. {one.reason}")
        return 0
    slots = evaluation_slots(columns[0].config, workers=arguments.workers, key="--workers")
    folder.mkdir(parents=True, exist_ok=True)
    labels = [row.label for row in rows], [column.label for column in columns]
    with RunFolder(folder).locked():
        return _score(planned, labels, slots=slots, metric=arguments.metric, folder=folder)


def _score(
    planned: Sequence[Planned],
    labels: tuple[Sequence[str], Sequence[str]],
    *,
    slots: Sequence[Mapping[str, str]],
    metric: MatrixMetric,
    folder: Path,
) -> int:
    console = Console(stderr=True)
    say(console, f"matrix: {folder}")
    jobs = [one.job for one in planned if one.job is not None and not one.done]
    done = sum(one.job is not None for one in planned) - len(jobs)
    if done:
        say(console, f"{done} of {len(planned)} cells are there already")
    reasons: dict[Path, str] = {}
    for job in jobs:
        if (aside := make_room(job.folder)) is not None:
            say(console, f"{job.name}: judged anew, for its report can't be read; the old one lies in '{aside}'")
    try:
        if jobs:
            estimate = Estimate(num_runs=len(jobs), places=len(slots), noun="cell")
            failed = run_all(jobs, slots=slots, estimate=estimate, stop_at_failure=False, console=console)
            reasons = {ended.job.folder: f"{ended.reason} (all it said: {ended.job.log})" for ended in failed}
    finally:  # Ctrl-C too: what is there counts
        matrix = Matrix(metric, tuple(labels[0]), tuple(labels[1]), _cells(planned, reasons, len(labels[1])))
        write_matrix(matrix, folder, console=console)
        if any(cell.status == "missing" for _, _, cell in matrix.each()):
            say(console, f"stopped; what is done stays. Go on with the same command and --output {folder}")
    return 1 if reasons else 0


def make_room(folder: Path) -> Path | None:
    """Move a finished evaluation that can't be read out of the way, and return where it lies; None: there is none.

    evaluate.py writes into no folder that holds something, so it would fail on this cell for ever.
    """
    if not is_evaluated(folder):
        return None
    try:
        read_cell(folder)
    except RunError:
        # A name with a dot: `--from` doesn't read it.
        return folder.rename(folder.with_name(f".{folder.name}.damaged-{uuid.uuid4().hex[:6]}"))
    return None


def _cells(
    planned: Sequence[Planned], reasons: Mapping[Path, str], num_columns: int
) -> tuple[tuple[MatrixCell, ...], ...]:
    found = [cell_of(one, reasons) for one in planned]
    return tuple(tuple(found[start : start + num_columns]) for start in range(0, len(found), num_columns))


def cell_of(one: Planned, reasons: Mapping[Path, str]) -> MatrixCell:
    """Return what became of a planned cell; `reasons` holds the folders of those that failed.

    A report that can't be read is this cell's failure, not the table's.
    """
    if one.job is None:
        return MatrixCell("left out", one.own, reason=one.reason)
    if is_evaluated(one.job.folder):
        try:
            return MatrixCell("scored", one.own, evaluated=read_cell(one.job.folder))
        except RunError as error:
            return MatrixCell("failed", one.own, reason=str(error))
    if one.job.folder in reasons:
        return MatrixCell("failed", one.own, reason=reasons[one.job.folder])
    return MatrixCell("missing", one.own, reason="not scored yet")


def tabulate(folders: Sequence[Path], *, metric: MatrixMetric, output: Path | None, common: Sequence[str]) -> int:
    """Write the table of the evaluations in or below `folders`; nothing is scored. Return 0.

    Raises:
        RunError: there is none, or two are of one bundle and one data set.

    """
    matrix = matrix_of([read_cell(place) for folder in folders for place in _evaluations(folder)], metric=metric)
    folder = output or _dated(compose_evaluation(["bundle=BUNDLE", *common]).paths.runs)
    _refuse_other(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_matrix(matrix, folder, console=Console(stderr=True))
    return 0


def _evaluations(folder: Path) -> list[Path]:
    if is_evaluated(folder):
        return [folder]
    # A folder of runs also holds reports of cross-validations, and halves of evaluations under a name with a dot.
    found = sorted(
        file.parent
        for file in folder.glob(f"**/{JSON_NAME}")
        if not file.parent.name.startswith(".") and report_kind(file.parent) in ("evaluation", "")
    )
    if not found:
        raise RunError(f"'{folder}' holds no evaluation: there is no {JSON_NAME} in it or below")
    return found


def matrix_of(evaluations: Sequence[Evaluated], *, metric: MatrixMetric) -> Matrix:
    """Return the matrix of finished evaluations: a row a bundle, a column a data set with its corruption and stated
    base rate, as they come.

    Raises:
        RunError: two are of one bundle and one data set.

    """
    by_cell: dict[tuple[str, _ColumnKey], Evaluated] = {}
    for one in evaluations:
        place = (one.bundle_hash, _column_key(one))
        if place in by_cell:
            raise RunError(
                f"'{by_cell[place].folder}' and '{one.folder}' are of the same bundle and data set; name one of them"
            )
        by_cell[place] = one
    rows = {one.bundle_hash: one for one in evaluations}
    columns = {_column_key(one): one for one in evaluations}
    cells = tuple(
        tuple(_evaluated_cell(by_cell.get((row, column)), rows[row], columns[column]) for column in columns)
        for row in rows
    )
    names = labelled(
        [one.trained_on for one in rows.values()],
        [one.model for one in rows.values()],
        [one.bundle_hash[:6] for one in rows.values()],
    )
    data = [Path(one.data_root).name if one.data_name in UNNAMED else one.data_name for one in columns.values()]
    full = [
        ", ".join([name, *filter(None, [one.corruption]), *_base_rate_words(one)])
        for name, one in zip(data, columns.values(), strict=True)
    ]
    return Matrix(metric, names, labelled(full, [one.data_hash[:6] for one in columns.values()]), cells)


def _column_key(one: Evaluated) -> _ColumnKey:
    """Return what makes a column: figures at another stated base rate are no second opinion on the same thing."""
    return one.data_hash, one.corruption, one.base_rate


def _base_rate_words(one: Evaluated) -> list[str]:
    return [] if one.base_rate is None else [f"base rate {one.base_rate:g}"]


def _evaluated_cell(found: Evaluated | None, row: Evaluated, column: Evaluated) -> MatrixCell:
    same_name = row.trained_on == column.data_name and row.trained_on not in UNNAMED
    own = row.training_data_hash == column.data_hash or same_name
    if found is None:
        return MatrixCell("missing", own, reason="no evaluation of it was named")
    return MatrixCell("scored", own, evaluated=found)


def _dated(runs: Path, *, dry_run: bool = False) -> Path:
    if dry_run:
        return runs / "matrix" / "DATE"
    try:
        return new_folder(runs / "matrix", [datetime.now().strftime("%Y-%m-%d_%H-%M-%S")])
    except OSError as error:
        raise RunError(f"the matrix's folder can't be made: {error}") from None


def _refuse_other(folder: Path) -> None:
    """Refuse a folder that holds something else: a matrix writes beside what lies there."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"'{folder}' is no folder; choose another --output")
    names = {file.name for file in folder.iterdir() if not file.name.startswith(".")} if folder.is_dir() else set()
    if names and not names & {"cells", "matrix.json"}:
        raise RunError(f"'{folder}' is not empty and holds no matrix; choose another --output")
