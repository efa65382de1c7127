"""From what a person calls a data set to its configuration: a folder, shards, a list of files, a name of conf/data."""

from collections.abc import Sequence
from pathlib import Path

from veriscope.config.command import key_of, word
from veriscope.config.load import CONF_DIR, compose_run
from veriscope.config.schema import DataConfig, PathsConfig
from veriscope.errors import ConfigError, nearest

LISTS = (".csv", ".parquet")
_SAVED = {"dataset_dict.json", "state.json"}  # by save_to_disk of Hugging Face's datasets


def named_data(text: str, *, settings: Sequence[str] = ()) -> tuple[DataConfig, PathsConfig]:
    """Return the data set that `text` names, and where things lie, as `train.py` would see them.

    Args:
        text: a name of conf/data (it wins over a folder of that name, which is then ./NAME), a folder of pictures,
            of tar shards or as Hugging Face's `save_to_disk` leaves it, or a CSV or Parquet list.
        settings: further words, as `data.class_map={ai: fake}` or `paths.data=DIR`.

    Raises:
        ConfigError: nothing of that name, or a word that says nothing about data.

    """
    for said in settings:
        if "=" not in said or not key_of(said).startswith(("data.", "paths.")):
            raise ConfigError(
                f"--set {said}: it takes KEY=VALUE with a key of data or paths; quote what holds a space, as "
                "'data.class_map={ai: fake}'"
            )
    config = compose_run([*data_choice(text), *settings])
    return config.data, config.paths


def data_choice(text: str) -> list[str]:
    """Return the words that make `train.py` take the data set that `text` names.

    Raises:
        ConfigError: nothing of that name.

    """
    names = sorted(file.stem for file in (CONF_DIR / "data").glob("*.yaml"))
    if text in names:
        return [f"data={text}"]
    path = Path(text).expanduser()
    if text and path.is_dir():
        inside = {file.name for file in path.iterdir()}
        if inside & _SAVED:
            return ["data=hf", word("data.file", path)]
        packed = any(name.endswith(".tar") for name in inside)
        return ["data=shards" if packed else "data=folder", word("data.root", path)]
    if path.suffix.lower() in LISTS:  # a missing one: the reader says so
        return ["data=manifest", word("data.file", path)]
    raise ConfigError(
        f"'{text}' is no folder, no list of files ({', '.join(LISTS)}) and no data set of conf/data. "
        f"{nearest(text, names)}"
    )


def data_title(config: DataConfig) -> str:
    """Return what to call the data: its name, or that of its folder or list where it has no other."""
    source = config.file if config.kind in ("manifest", "hf") else config.root
    return (
        config.name
        if config.name not in ("folder", "manifest", "shards", "hf") or source is None
        else source.stem or config.name
    )
