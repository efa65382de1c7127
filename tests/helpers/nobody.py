"""Running a call without root's rights, which pass every permission."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from veriscope.errors import VeriscopeError

NOBODY = 65534


def error_as_nobody(path: Path, call: Callable[[], Any]) -> str:
    """Return the text of what `call` raises (empty: nothing) in a process that owns nothing; `path` leads to its files.

    Who isn't root runs it right here.
    """
    if os.getuid() != 0:
        return _error(call)
    for folder in (path, *path.parents):
        if folder.is_dir() and folder.stat().st_uid == 0 and len(folder.parts) > 2:  # pytest closes its own to others
            folder.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(NOBODY)
        os.write(writer, _error(call).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    return os.read(reader, 4000).decode()


def _error(call: Callable[[], Any]) -> str:
    try:
        call()
    except VeriscopeError as error:
        return str(error)
    return ""
