"""Evaluations as processes of their own: what one is, whether it is done already, and what its report.json says."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veriscope.bundle.bundle import RECORD_NAME, Bundle, load_folder
from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.schema import TrainerConfig
from veriscope.errors import RunError
from veriscope.evaluation.figures import Figure
from veriscope.evaluation.intervals import Interval
from veriscope.evaluation.report import JSON_NAME
from veriscope.runs.slots import slots
from veriscope.standing import flatten

# What may differ between two evaluations with the same figures: where things lie, and how fast it goes. The data's own
# settings are told by the hash of what they lead to.
_ASIDE = ("bundle", "paths", "device", "data")
_ACCELERATOR = {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A finished evaluation. `free` holds the figures that need no threshold, `at` the others by threshold's name.

    `exposure`: unseen, selected or trained, as evaluation.subset found it; `part`: test, val, train or all;
    `base_rate`: the share of fakes that was stated, None where none was.
    """

    folder: Path
    model: str
    trained_on: str
    training_data_hash: str
    bundle_hash: str
    data_name: str
    data_root: str
    data_hash: str
    part: str
    exposure: str
    explanation: str
    corruption: str | None
    base_rate: float | None
    num_real: int
    num_fake: int
    headline: str
    free: dict[str, Figure]
    at: dict[str, dict[str, Figure]]

    def figure(self, metric: str, *, threshold: str | None = None) -> Figure:
        """Return one figure; `threshold` None takes the headline's.

        Raises:
            RunError: the evaluation has no such figure or threshold.

        """
        name = threshold or self.headline
        found = self.free.get(metric) or self.at.get(name, {}).get(metric)
        if found is None:
            raise RunError(f"'{self.folder / JSON_NAME}' has no {metric} at the threshold '{name}'")
        return found


def find_bundle(path: Path) -> Bundle:
    """Return the bundle in `path`, which may be its own folder or that of the run that made it.

    Raises:
        BundleError: there is none, or it is damaged.

    """
    inside = path / "bundle"
    return load_folder(inside if not (path / RECORD_NAME).exists() and (inside / RECORD_NAME).is_file() else path)


def evaluation_key(config: EvaluateConfig, bundle: Bundle, *, data_hash: str) -> str:
    """Return 12 hexadecimal digits of everything that decides the figures: bundle, pictures, settings.

    Of the bundle bundle.json counts: it holds the hash of the weights, and thresholds and calibration beside it.
    """
    flat = flatten(config.model_dump(mode="json"))
    settings = {key: value for key, value in flat.items() if key.partition(".")[0] not in _ASIDE}
    settings["data.max_pixels"] = config.data.max_pixels
    record = hashlib.sha256((bundle.folder / RECORD_NAME).read_bytes()).hexdigest()
    text = json.dumps([record, data_hash, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def is_evaluated(folder: Path) -> bool:
    """Return whether an evaluation lies there; it appears whole or not at all."""
    return (folder / JSON_NAME).is_file()


def report_kind(folder: Path) -> str:
    """Return what the report.json in `folder` is of: evaluation, cross-validation; '' where it can't be read."""
    try:
        return str(json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""


def evaluation_slots(config: EvaluateConfig, *, workers: int | None, key: str) -> list[dict[str, str]]:
    """Return places for evaluations side by side, each on one GPU where there are some; see `slots`.

    Raises:
        ConfigError: no GPU, or more workers than the GPUs allow.

    """
    trainer = TrainerConfig.model_validate({"accelerator": _ACCELERATOR[config.device]})
    return slots(trainer, workers=workers, key=key)


def read_evaluation(folder: Path) -> Evaluated:
    """Return what the evaluation in `folder` found.

    Raises:
        RunError: its report.json is missing, damaged, or none of an evaluation.

    """
    file = folder / JSON_NAME
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        if plain["kind"] != "evaluation":
            raise RunError(f"'{file}' is of a {plain['kind']}; a matrix is made of evaluations, see evaluate.py")
        data, bundle = plain["data"], plain["bundle"]
        return Evaluated(
            folder=folder,
            model=str(plain["model"]),
            trained_on=str(bundle["trained_on"]),
            training_data_hash=str(bundle["training_data_hash"]),
            bundle_hash=str(bundle["weights_sha256"]),
            data_name=str(data["data_set"]),
            data_root=str(data["root"]),
            data_hash=str(data["content_hash"]),
            part=str(data["part"]),
            exposure=str(data["exposure"]),
            explanation=str(data["subset"]),
            corruption=None if plain["corruption"] is None else str(plain["corruption"]),
            base_rate=None if (rate := plain.get("base_rate_stated")) is None else _number(rate),
            num_real=_count(plain["counts"]["real"]),
            num_fake=_count(plain["counts"]["fake"]),
            headline=str(plain["headline_threshold"]),
            free={key: _figure(found) for key, found in plain["metrics"].items()},
            at={
                name: {key: _figure(found) for key, found in threshold["metrics"].items()}
                for name, threshold in plain["thresholds"].items()
            },
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(
            f"'{file}' is missing or damaged ({type(error).__name__}); remove that folder and judge anew"
        ) from None


def _figure(plain: dict[str, Any]) -> Figure:
    value, low, high = (None if plain[key] is None else _number(plain[key]) for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return Figure(value, None)
    if low > high:
        raise ValueError(f"an interval from {low} to {high} runs backwards")
    return Figure(value, Interval(low, high, 0.95, plain["method"]))


def _number(value: Any) -> float:
    """Return a finite number: JSON as Python reads it knows NaN and Infinity, too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no number of pictures")
    return value
