"""What a run leaves behind, and where."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from pydantic import Field

from veriscope.config.command import key_of, override
from veriscope.config.schema import RunConfig
from veriscope.errors import RunError, machine_trouble
from veriscope.files import write_text
from veriscope.types import Frozen


class PhaseResult(Frozen):
    """What a finished phase came to: epochs, the optimiser's steps, the monitored figure of its best checkpoint."""

    epochs: int
    steps: int
    best: float


class Progress(Frozen):
    """How far a run is. `phases` holds the finished ones by name; `complete` is set when the bundle is written."""

    data_hash: str
    phases: dict[str, PhaseResult] = Field(default_factory=dict)
    complete: bool = False

    @property
    def epochs(self) -> int:
        """Epochs of all finished phases."""
        return sum(phase.epochs for phase in self.phases.values())

    @property
    def steps(self) -> int:
        """Steps of all finished phases."""
        return sum(phase.steps for phase in self.phases.values())


# What provenance.json says of the hardware's part in a result: where a setting is 'auto', it decides these.
HARDWARE_FACTS = ("precision", "effective_batch_size", "lr_factor")

# What is written before config.yaml, which says that a run has begun: a process that is killed in between leaves them.
_BEGINNING = {"provenance.json", "dirty.diff", "split.parquet", "folds.parquet", "preview.png", "audit.json"}


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The validated configuration, every value written out."""
        return self.path / "config.yaml"

    @property
    def bundle(self) -> Path:
        """What ships."""
        return self.path / "bundle"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def validation(self) -> Path:
        """The PredictionTable of val, its figures and pictures."""
        return self.path / "validation"

    @property
    def audit(self) -> Path:
        """What the audit of the data came to before training (bundle.record.AuditFacts)."""
        return self.path / "audit.json"

    def checkpoints(self, phase: str) -> Path:
        """Folder of `best.ckpt` and `last.ckpt` of one phase."""
        return self.path / "checkpoints" / phase

    @property
    def has_checkpoint(self) -> bool:
        """Whether a resumed run finds weights to go on with: a finished phase's, or the last of an unfinished one."""
        progress = self.load_progress()
        return bool(progress and progress.phases) or any(self.path.glob("checkpoints/*/last.ckpt"))

    def save_config(self, config: RunConfig) -> None:
        """Write the resolved configuration."""
        write_text(self.config, yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False))

    def load_config(self) -> RunConfig:
        """Return the run's configuration.

        Raises:
            RunError: config.yaml is missing or damaged.

        """
        try:
            plain = yaml.safe_load(self.config.read_text(encoding="utf-8"))
            if isinstance(plain, dict) and "sweep" in plain:
                way_on = f"veriscope sweep {override('resume', self.path)}"
                raise RunError(f"'{self.path}' holds a sweep, not a run; go on with: {way_on}")
            return RunConfig.model_validate_json(json.dumps(plain))
        except FileNotFoundError:
            if (self.path / "multirun.yaml").is_file():
                again = override("hydra.sweep.dir", self.path)
                raise RunError(f"'{self.path}' is a folder of -m: type its command again with {again}") from None
            raise RunError(
                f"'{self.path}' holds no config.yaml; name the folder of a run, as runs/2026-01-31_12-00-00_..."
            ) from None
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            raise RunError(f"'{self.config}' is damaged ({type(error).__name__}); start a new run") from None

    def save_provenance(self, facts: dict[str, Any], *, diff: str | None) -> None:
        """Write provenance.json, and dirty.diff where the source differs from its commit.

        A resumed run keeps what its first start said; each later start is added under `resumed`.
        """
        first = self.load_provenance() if self.config.exists() else {}
        if first:
            number = 1 + len(first.setdefault("resumed", []))
            first["resumed"].append(facts)
        write_text(self.path / "provenance.json", json.dumps(first or facts, indent=2) + "\n")
        if diff:
            write_text(self.path / (f"dirty_resume{number}.diff" if first else "dirty.diff"), diff)

    def load_provenance(self) -> dict[str, Any]:
        """Return what was recorded when the run was started; empty before.

        Raises:
            RunError: provenance.json is damaged.

        """
        file = self.path / "provenance.json"
        with _named_when_damaged(file):
            return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}

    @property
    def resume_command(self) -> str:
        """What to type to go on with this run."""
        return f"python train.py {override('resume', self.path)}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; its end frees it, however it ends.

        Raises:
            RunError: another process trains in it.

        """
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RunError(f"another process is training in '{self.path}'; wait for it, or end it") from None
        try:
            yield
        finally:
            lock.release()

    def load_progress(self) -> Progress | None:
        """Return how far the run is; None before its first phase began.

        Raises:
            RunError: progress.json is damaged.

        """
        file = self.path / "progress.json"
        with _named_when_damaged(file):
            return Progress.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None

    def save_progress(self, progress: Progress) -> None:
        """Write how far the run is."""
        write_text(self.path / "progress.json", progress.model_dump_json(indent=2) + "\n")


@contextmanager
def _named_when_damaged(file: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"'{file}' is damaged ({type(error).__name__}); put it back, or start a new run") from None


@contextmanager
def naming_the_way_on(folder: RunFolder, *, command: str | None = None) -> Iterator[None]:
    """Turn what the machine can be mended for (a full disk, too little memory) into an error that says how to go on:
    by the run's own command where no other is named.

    Raises:
        RunError: instead of such an error; every other one passes through.

    """
    try:
        yield
    except Exception as error:
        trouble = machine_trouble(error)
        if trouble is None:
            raise
        raise RunError(f"{trouble} Then go on with: {command or folder.resume_command}") from error


def create_run_folder(config: RunConfig, *, multirun_dir: Path | None) -> RunFolder:
    """Make this run's folder: paths.run_dir, else the multirun's own, else a new dated one under paths.runs.

    Raises:
        RunError: the folder exists and isn't empty, or can't be made.

    """
    chosen = config.paths.run_dir or multirun_dir
    try:
        if chosen is not None:
            chosen.mkdir(parents=True, exist_ok=True)
            # A name that begins with a dot: the lock, or half a file, of a run that was killed as it began.
            names = {file.name for file in chosen.iterdir() if not file.name.startswith(".")}
            if names - _BEGINNING or RunFolder(chosen).config.exists():
                raise RunError(
                    f"paths.run_dir '{chosen}' is not empty; choose another, or go on with it: "
                    f"{RunFolder(chosen).resume_command}"
                )
            return RunFolder(chosen)
        return RunFolder(_dated_folder(config))
    except OSError as error:
        raise RunError(f"the run folder can't be made: {error}") from None


def _dated_folder(config: RunConfig) -> Path:
    words = [datetime.now().strftime("%Y-%m-%d_%H-%M-%S"), config.model.name, config.data.name]
    words += [f"{config.split.num_folds}-fold" if config.split.all_folds else "", config.tag or ""]
    return new_folder(config.paths.runs, [word for word in words if word])


def new_folder(parent: Path, words: Sequence[str]) -> Path:
    """Make a folder named after `words` below `parent` that wasn't there before, and return it.

    Raises:
        RunError: there are too many of that name.
        OSError: it can't be made.

    """
    name = re.sub(r"[^\w.-]+", "-", "_".join(words))
    parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 1000):  # two runs may start in the same second
        folder = parent / (name if attempt == 1 else f"{name}_{attempt}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise RunError(f"'{parent / name}' and 998 like it exist; set tag=NAME")


def open_run_folder(path: Path, *, overrides: Sequence[str]) -> tuple[RunFolder, RunConfig]:
    """Return the folder of an interrupted run and its own configuration.

    A cross-validation may be asked for its ensemble afterwards, also when it is complete: crossval.ensemble=true beside
    resume decides nothing of what the folds are.

    Raises:
        RunError: no run lies there, it is complete, or the command line asks for something else beside it.

    """
    folder = RunFolder(path)
    config = folder.load_config()
    others = [said for said in overrides if key_of(said) != "resume"]
    if config.split.all_folds and [other.lstrip("+") for other in others] == ["crossval.ensemble=true"]:
        asked = config.crossval.model_copy(update={"ensemble": True})
        return folder, config.model_copy(update={"crossval": asked})
    if others:
        raise RunError(
            f"resume goes on with the run's own configuration; leave out {' '.join(others)}, or start a new run"
        )
    progress = folder.load_progress()
    if progress is not None and progress.complete:
        left = folder.path / "report.html" if config.split.all_folds else folder.bundle
        raise RunError(f"the run in '{path}' is complete; see '{left}'")
    return folder, config
