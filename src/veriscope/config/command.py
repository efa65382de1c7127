"""Commands that the program tells people to type: quoted for the shell and for Hydra."""

import re
import shlex

_PLAIN = re.compile(r"[\w./:@%+-]+")


def override(key: str, value: object) -> str:
    """Return `key=value` as it has to be typed, whatever stands in the value."""
    text = str(value)
    if not _PLAIN.fullmatch(text):
        text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return shlex.quote(f"{key}={text}")
