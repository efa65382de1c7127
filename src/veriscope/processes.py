"""Processes that start processes: none works on unseen when the one that started it is gone."""

import os
import threading
import time
from collections.abc import Mapping

_PARENT = "VERISCOPE_PARENT"


def child_environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return an environment with this process's name in it, for a child that calls `end_with_parent`."""
    return {**own, _PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """End this process within a second of the one that started it, also after that one's kill -9.

    Does nothing where no `child_environment` was given, as at a command that a person typed.
    """
    parent = int(os.environ.pop(_PARENT, "0"))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, daemon=True).start()
