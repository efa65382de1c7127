"""From a command line to a validated configuration, or to an error that a person can read.

The only module, beside the entry points, that knows Hydra and OmegaConf.
"""

import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from veriscope.config.command import ROOT
from veriscope.config.evaluate import EvaluateConfig
from veriscope.config.schema import RunConfig
from veriscope.config.sweep import ParamConfig, SweepConfig, SweepRoot
from veriscope.errors import (
    INTERRUPTED,
    PIPE_CLOSED,
    TERMINATED,
    ConfigError,
    Terminated,
    VeriscopeError,
    drop_stdout,
    machine_trouble,
    nearest,
    printable,
)
from veriscope.processes import close_on_sigterm, terminated

CONF_DIR = ROOT / "conf"
Model = TypeVar("Model", bound=BaseModel)


def run_entry_point(config_name: str, schema: type[BaseModel], task: Callable[[dict[str, Any]], None]) -> NoReturn:
    """Compose `conf/<config_name>.yaml` with the command line, hand the plain dict to `task`, and exit.

    Exit code 0 when the task returns, 2 for what a person can mend (one or two lines on stderr, no traceback), 130 for
    Ctrl-C, 143 for SIGTERM. Anything else is a bug and keeps its traceback. `schema` is used to name the nearest right
    key.
    """
    # Hydra would print its own errors and exit with 1; this hands them to us instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"

    def job(config: DictConfig) -> None:
        # Inside Hydra a failing job prints a line of its own; SystemExit passes through unchanged.
        try:
            task(to_plain(config))
        except VeriscopeError as error:
            if multirun_dir() is not None:  # in a cluster's job: SystemExit would end Ray's worker, and others' with it
                raise
            _stop(str(error), error.exit_code)
        except Exception as error:
            if terminated():  # its loader processes died first
                raise Terminated from None
            trouble = machine_trouble(error)
            if trouble is None:
                raise
            if multirun_dir() is not None:
                raise VeriscopeError(trouble) from error
            _stop(trouble, VeriscopeError.exit_code)

    sys.argv[1:] = command_line(sys.argv[1:], schema)
    entry = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)
    close_on_sigterm()
    try:
        entry()
    except Terminated:
        _stop("ended by SIGTERM", TERMINATED)
    except KeyboardInterrupt:
        _stop("interrupted", INTERRUPTED)
    except BrokenPipeError:
        drop_stdout()
        raise SystemExit(PIPE_CLOSED) from None
    except (HydraException, OmegaConfBaseException) as error:
        _stop(explain_composition(error, schema), ConfigError.exit_code)
    except VeriscopeError as error:  # of a multirun as a whole
        _stop(str(error), error.exit_code)
    except OSError as error:  # Hydra makes a multirun's folder by itself
        trouble = machine_trouble(error)
        if trouble is None and "--multirun" not in sys.argv and "-m" not in sys.argv:
            raise
        _stop(trouble or f"{error}; name another place by hydra.sweep.dir=DIR", VeriscopeError.exit_code)
    raise SystemExit(0)


def command_line(arguments: list[str], schema: type[BaseModel]) -> list[str]:
    """Return the arguments as Hydra wants them: `-m` first (behind an override it is a syntax error), `--dry-run` as
    an override, keys settable."""
    multirun = [argument for argument in arguments if argument in ("-m", "--multirun")]
    rest = ["dry_run=true" if argument == "--dry-run" else argument for argument in arguments]
    return multirun + [settable(argument, schema) for argument in rest if argument not in multirun]


def settable(argument: str, schema: type[BaseModel]) -> str:
    """Return `++key=value` for `key=value` where the schema knows the dotted key, else the argument unchanged.

    Hydra alone lets a command line set only what some YAML file spells out; here every key of the schema can be set.
    """
    key, equals, _ = argument.partition("=")
    parts = key.split(".")
    if not equals or len(parts) == 1:  # a flag, or a group
        return argument
    for depth in range(1, len(parts)):
        kind = _kind_at(schema, parts[:depth])
        if typing.get_origin(kind) is dict:
            # In a mapping of plain values any key is right; a new phase's name is a misspelt one.
            return argument if _model_in(typing.get_args(kind)[1]) else f"++{argument}"
    return f"++{argument}" if parts[-1] in known_keys(schema, parts[:-1]) else argument


def _stop(message: str, code: int) -> NoReturn:
    sys.stdout.flush()
    print(f"error: {printable(message, keep=chr(10))}", file=sys.stderr)
    raise SystemExit(code)


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Return the composed configuration as plain dicts and lists, every interpolation resolved.

    Raises:
        ConfigError: a value marked ??? was not given, or an interpolation leads nowhere.

    """
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(
            f"'{error.full_key}' has no value; give it on the command line: {error.full_key}=..."
        ) from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"'{error.full_key}' can't be resolved: {_first_line(error)}") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"a configuration is a mapping, not a {type(plain).__name__}")
    return {str(key): value for key, value in plain.items()}


def validate(schema: type[Model], plain: Mapping[str, Any]) -> Model:
    """Return the frozen configuration for a plain mapping.

    Raises:
        ConfigError: unknown keys, wrong types, values out of range; every fault is named, one a line.

    """
    text = json.dumps(plain, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        said = text[text.rindex('"', 0, error.start) + 1 :].partition('"')[0]
        raise ConfigError(f"the name {os.fsencode(said)!r} is not valid UTF-8; rename the file or folder.") from None
    try:
        # Strict mode reads JSON as YAML means it: a list is a tuple, a string a path, but "3" is never a number.
        return schema.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(fault, schema) for fault in error.errors())) from None


def _fault(fault: Any, schema: type[BaseModel]) -> str:
    """Return one line for one pydantic fault: the dotted key, where it stands, what is wrong, what is near."""
    keys = [str(part) for part in fault["loc"]]
    dotted = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        known = known_keys(schema, keys[:-1])
        return f"unknown key '{dotted}'{_where(dotted)}. {nearest(keys[-1], known)}"
    if fault["type"] == "missing":
        return f"'{dotted}' is missing{_where('.'.join(keys[:-1]))}"
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return message
    return f"{dotted}={fault['input']!r}{_where(dotted)}: {message[0].lower()}{message[1:]}"


def _where(dotted: str) -> str:
    """Return ` (on the command line)` or ` (in conf/...)` for a key of the running Hydra job; empty outside one."""
    if not HydraConfig.initialized():
        return ""
    config = HydraConfig.get()
    if any(str(override).lstrip("+~").split("=")[0] == dotted for override in config.overrides.task):
        return " (on the command line)"
    group = dotted.split(".")[0]
    choices = {str(key): str(value) for key, value in config.runtime.choices.items()}
    word = re.compile(rf"^\s*{re.escape(dotted.split('.')[-1])}\s*:", re.MULTILINE)
    candidates = [
        f"{name}/{choices[name]}" for name in (group, "experiment", "debug") if choices.get(name) not in (None, "None")
    ]
    for name in (*candidates, str(config.job.config_name)):
        file = CONF_DIR / f"{name}.yaml"
        if file.is_file() and word.search(file.read_text(encoding="utf-8")):
            return f" (in conf/{name}.yaml)"
    return ""


def known_keys(schema: type[BaseModel], keys: list[str]) -> list[str]:
    """Return the field names that `schema` knows below the path `keys`; empty where the path leads out of it."""
    model = _model_in(_kind_at(schema, keys))
    return [] if model is None else list(model.model_fields)


def _kind_at(schema: type[BaseModel], keys: list[str]) -> Any:
    """Return the annotation below the path `keys`; None where the path leads out of the schema."""
    kind: Any = schema
    for key in keys:
        model = _model_in(kind)
        if model is not None and key in model.model_fields:
            kind = model.model_fields[key].annotation
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        else:
            return None
    return kind


def _model_in(kind: Any) -> type[BaseModel] | None:
    """Return the model class that an annotation names, alone or as `Model | None`."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def explain_composition(error: Exception, schema: type[BaseModel]) -> str:
    """Return one or two lines for an error raised while composing: what, where, and the nearest right word."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"there is no '{name}' among the choices of '{group}'. {nearest(name, error.options)}"
    text = str(error)
    unknown = re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^'=]+)", text)
    if unknown:
        key = unknown.group(1).split("@")[0]
        return f"unknown key '{key}' (on the command line). {_near_key(key, error, schema)}"
    if isinstance(error, ConfigCompositionException) and isinstance(error.__cause__, OmegaConfBaseException):
        return f"{_first_line(error)} {_first_line(error.__cause__)}"
    return text.strip()


def _near_key(key: str, error: Exception, schema: type[BaseModel]) -> str:
    """Return the nearest right key for a dotted `key` that Hydra did not know."""
    parent = getattr(error.__cause__, "parent_node", None)
    if isinstance(parent, DictConfig) and parent._get_full_key(None):
        return nearest(key.split(".")[-1], [str(name) for name in parent])
    parts = key.split(".")
    for depth, part in enumerate(parts):
        known = known_keys(schema, parts[:depth])
        if known and part not in known:
            # The groups are keys too: `modle=...` is a misspelt group.
            return nearest(part, [*known, *(("experiment", "debug", "resume") if depth == 0 else ())])
    return nearest(parts[-1], known_keys(schema, parts[:-1]))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def compose_run(overrides: Sequence[str]) -> RunConfig:
    """Return the run that `python train.py OVERRIDES` is, as conf/ now stands; also inside a running job.

    Raises:
        ConfigError: it is none.

    """
    plain = _compose("train", overrides, RunConfig)
    plain.pop("resume")
    return validate(RunConfig, plain)


def compose_evaluation(overrides: Sequence[str]) -> EvaluateConfig:
    """Return the evaluation that `python evaluate.py OVERRIDES` is.

    Raises:
        ConfigError: it is none.

    """
    return validate(EvaluateConfig, _compose("evaluate", overrides, EvaluateConfig))


def compose_sweep(overrides: Sequence[str]) -> SweepConfig:
    """Return the sweep that the words `sweep=NAME`, `sweep.trials=8`, `sweep.space.optim.lr.low=1e-5`, ... ask for.

    Raises:
        ConfigError: there is no such sweep.

    """
    own = "sweep.space."
    plain = _compose("sweep", [said for said in overrides if not said.lstrip("+~").startswith(own)], SweepRoot)
    for said in overrides:
        if said.lstrip("+~").startswith(own):
            space = plain["sweep"].get("space")
            plain["sweep"]["space"] = space = dict(space) if isinstance(space, dict) else {}
            _change_space(space, said, said.lstrip("+~").removeprefix(own))
    return validate(SweepRoot, plain).sweep


def _change_space(space: dict[str, Any], said: str, word: str) -> None:
    """Change a sweep's space by one word. Its keys hold dots, which Hydra would take for levels."""
    try:
        parsed = OverridesParser.create().parse_override(f"~{word}" if said.startswith("~") else word)
    except HydraException as error:
        raise ConfigError(f"'{said}' can't be read: {_first_line(error)}") from None
    key, _, last = str(parsed.key_or_group).rpartition(".")
    whole = str(parsed.key_or_group)
    if said.startswith("~"):
        if whole not in space:
            raise ConfigError(f"sweep.space has no '{whole}' to leave out. {nearest(whole, space)}")
        del space[whole]
    elif key in space and last in ParamConfig.model_fields:
        space[key] = {**space[key], last: parsed.value()}
    elif isinstance(parsed.value(), dict):
        space[whole] = parsed.value()
    elif key in space:
        raise ConfigError(f"unknown key 'sweep.space.{whole}'. {nearest(last, ParamConfig.model_fields)}")
    else:
        raise ConfigError(f"'{said}': name a range, as 'sweep.space.{whole}={{kind: float, low: 0.001, high: 0.1}}'")


def _compose(name: str, overrides: Sequence[str], schema: type[BaseModel]) -> dict[str, Any]:
    words = command_line(list(overrides), schema)
    try:
        if GlobalHydra.instance().is_initialized():
            config = hydra.compose(name, words)
        else:
            with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
                config = hydra.compose(name, words)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(explain_composition(error, schema)) from None
    return to_plain(config)


def task_overrides() -> list[str]:
    """Return what the running job's command line said, as ['data=rvf10k', ...]."""
    return [str(override) for override in HydraConfig.get().overrides.task]


def multirun_dir() -> Path | None:
    """Return the folder that Hydra made for this job of a multirun; None in a single run."""
    config = HydraConfig.get()
    return Path(config.runtime.output_dir) if config.mode is not None and config.mode.name == "MULTIRUN" else None
