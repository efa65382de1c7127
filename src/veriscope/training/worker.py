"""One rank of a run on several devices: `python -m veriscope.training.worker RUN_FOLDER`."""

import os
import sys
from pathlib import Path

from veriscope.errors import VeriscopeError
from veriscope.files import write_text
from veriscope.processes import end_with_parent
from veriscope.run_folder import RunFolder, naming_the_way_on
from veriscope.training.data import load_data
from veriscope.training.fit import run_training

LOST_PEER = 3  # exit code


def main() -> int:
    """Train this rank's share; return the exit code."""
    end_with_parent()
    folder = RunFolder(Path(sys.argv[1]))
    try:
        with naming_the_way_on(folder):
            config = folder.load_config()
            run_training(config, folder, load_data(config))
    except VeriscopeError as error:
        # The parent says it, once for all ranks.
        write_text(Path(os.environ["VERISCOPE_REPORTS"]) / os.environ["LOCAL_RANK"], str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except RuntimeError as error:
        if "Connection closed by peer" not in str(error) and "Connection reset" not in str(error):
            raise
        return LOST_PEER  # another rank has gone; its error, or the parent's, is the one to see
    return 0


if __name__ == "__main__":
    sys.exit(main())
