"""One rank of a run on several devices: `python -m veriscope.training.worker RUN_FOLDER`."""

import os
import sys
from pathlib import Path

from torch.distributed import DistNetworkError, DistStoreError

from veriscope.errors import (
    INTERRUPTED,
    TERMINATED,
    RunError,
    Terminated,
    VeriscopeError,
)
from veriscope.files import write_text
from veriscope.processes import close_on_sigterm, end_with_parent, keep_freed_memory, terminated
from veriscope.run_folder import RunFolder, naming_the_way_on
from veriscope.training.data import load_data
from veriscope.training.fit import run_training
from veriscope.training.launch import LOST_PEER


def _report(text: str) -> None:
    write_text(Path(os.environ["VERISCOPE_REPORTS"]) / os.environ["LOCAL_RANK"], text)


def _meeting_place() -> str:
    return f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"


def main() -> int:
    """Train this rank's share; return the exit code."""
    end_with_parent()
    keep_freed_memory()
    close_on_sigterm()
    folder = RunFolder(Path(sys.argv[1]))
    try:
        with naming_the_way_on(folder):
            config = folder.load_config()
            run_training(config, folder, load_data(config).for_training())
    except VeriscopeError as error:
        # The parent says it, once for all ranks.
        _report(str(error))
        return error.exit_code
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except (DistNetworkError, DistStoreError) as error:
        # Before the first step: a port in use, a node that hasn't come.
        _report(f"the training processes don't find each other at {_meeting_place()}: {str(error).splitlines()[0]}")
        return RunError.exit_code
    except RuntimeError as error:
        if terminated():
            return TERMINATED
        if "Connection closed by peer" not in str(error) and "Connection reset" not in str(error):
            raise
        return LOST_PEER  # another rank has gone; its error, or the parent's, is the one to see
    return 0


if __name__ == "__main__":
    sys.exit(main())
