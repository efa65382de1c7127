"""Commands that the program tells people to type: quoted for the shell and for Hydra."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)  # whatever Hydra makes of it: the schema knows the type
_NAME = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)
_MEANT_OTHERWISE = ("null", "true", "false", "nan", "inf", "on", "off", "yes", "no")


ROOT = Path(__file__).resolve().parents[3]
Program = Literal["train", "evaluate"]


def process_command(program: Program, words: Sequence[str]) -> list[str]:
    """Return the process that `python train.py WORDS` (or evaluate.py) is, for this interpreter and this checkout."""
    return [sys.executable, str(ROOT / f"{program}.py"), *words]


def typed(words: Sequence[str], *, program: Program = "train") -> str:
    """Return the same command as a person types it: the `++` that makes every key settable is added again."""
    return shlex.join(["python", f"{program}.py", *(word.removeprefix("++") for word in words)])


def data_words(overrides: Sequence[str], *, name: str) -> str:
    """Return all that a command line said of the data, for another command that has to see the same; `data=NAME` is
    added where only an experiment said it."""
    plain = [word.lstrip("+") for word in overrides]
    said = [word for word in plain if word.startswith(("data=", "data.", "paths.data=", "paths.cache="))]
    if not any(word.startswith("data=") for word in said):
        said.insert(0, f"data={name}")
    return shlex.join(said)


def key_of(word: str) -> str:
    """Return `optim.lr` for `++optim.lr=1e-3`."""
    return word.lstrip("+~").partition("=")[0]


def override(key: str, value: object) -> str:
    """Return `key=value` as it has to be typed, whatever stands in the value."""
    return shlex.quote(word(key, value))


def word(key: str, value: object) -> str:
    """Return `key=value` as Hydra has to receive it, whatever stands in the value."""
    text = str(value)
    if not _PLAIN.fullmatch(text):
        text = _quoted(text)
    return f"{key}={text}"


def value_text(value: object) -> str:
    """Return a value out of YAML as Hydra has to be told it, so that it comes out as the same value: `0.001`, `null`,
    `[block3,null]`, `'12'` for the text 12."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(value_text(one) for one in value)}]"
    if not isinstance(value, str):
        return repr(value)
    if _NAME.fullmatch(value) and value.lower() not in _MEANT_OTHERWISE:
        return value
    return _quoted(value)


def _quoted(text: str) -> str:
    # Hydra reads a backslash as itself, unless a quote or the end of the value follows.
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), text) + "'"
