"""How long many runs will take: said from measured times only."""

from veriscope.progress import duration


class Estimate:
    """Counts runs, or what else `noun` names, and their times. `places` run side by side."""

    def __init__(self, *, num_runs: int, places: int, known_s: list[float] | None = None, noun: str = "run") -> None:
        self._noun = noun
        self._num_runs = num_runs
        self._places = places
        self._seconds = list(known_s or [])

    def before(self) -> str:
        """Return what can be said before the first run."""
        todo = self._num_runs - len(self._seconds)
        side = "one at a time" if self._places == 1 else f"{self._places} side by side"
        text = f"{self._num_runs} {self._noun}{'s' if self._num_runs != 1 else ''}, {side}"
        if len(self._seconds) == self._num_runs:
            return f"{text}; all are complete"
        if self._seconds:
            verb = "is" if len(self._seconds) == 1 else "are"
            return f"{text}; {len(self._seconds)} {verb} complete. {self._left(todo)}"
        first = "epoch of the first" if self._noun == "run" else self._noun
        return f"{text}; how long they take is said after the first {first}"

    def after_epoch(self, epoch_s: float, *, num_epochs: int) -> str:
        """Return the first estimate: from one epoch, before any run is done."""
        run_s = epoch_s * num_epochs
        whole_s = run_s * -(-self._num_runs // self._places)
        return (
            f"the first epoch took {duration(epoch_s)}: about {duration(run_s)} a run of {num_epochs} epochs, about "
            f"{duration(whole_s)} for all {self._num_runs}"
        )

    def after_run(self, seconds: float) -> str:
        """Count a run and return the estimate for the rest."""
        self._seconds.append(seconds)
        done = len(self._seconds)
        text = f"{done} of {self._num_runs} {self._noun}s done, the last in {duration(seconds)}"
        return text if done == self._num_runs else f"{text}. {self._left(self._num_runs - done)}"

    def _left(self, todo: int) -> str:
        mean_s = sum(self._seconds) / len(self._seconds)
        return f"About {duration(mean_s * -(-todo // self._places))} left, at {duration(mean_s)} a {self._noun}"
