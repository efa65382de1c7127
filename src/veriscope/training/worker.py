"""One rank of a run on several devices: `python -m veriscope.training.worker RUN_FOLDER [--resume]`."""

import os
import sys
import threading
import time
from pathlib import Path

from veriscope.errors import VeriscopeError
from veriscope.training.fit import run_training
from veriscope.training.run_folder import RunFolder, naming_the_way_on


def _end_with_parent() -> None:
    """End this process when the one that started it is gone: after its kill -9 no rank may train on unseen."""
    parent = int(os.environ.get("VERISCOPE_PARENT", "0"))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    """Train this rank's share; return the exit code."""
    _end_with_parent()
    folder = RunFolder(Path(sys.argv[1]))
    try:
        with naming_the_way_on(folder):
            run_training(folder.load_config(), folder, resume="--resume" in sys.argv[2:])
    except VeriscopeError as error:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
