"""Commands that the program tells people to type: quoted for the shell and for Hydra."""

import re
import shlex

_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)


def override(key: str, value: object) -> str:
    """Return `key=value` as it has to be typed, whatever stands in the value."""
    text = str(value)
    if not _PLAIN.fullmatch(text):
        # Hydra reads a backslash as itself, unless a quote or the end of the value follows.
        text = "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), text) + "'"
    return shlex.quote(f"{key}={text}")
