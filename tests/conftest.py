"""What holds for every test: one thread a process, no network, no key."""

import os
import signal

# A shell that starts the suite in the background has it ignore Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Before torch is imported anywhere: two test processes with two threads each would fight over two cores, and OpenMP's
# spinning barriers make that ten times slower, not two.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"

import torch
from hypothesis import settings

torch.set_num_threads(1)

# By default an example that takes more than 200 ms is a failure: on a busy machine a test that says nothing.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
