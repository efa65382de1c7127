"""Weights shared out among processes: the same training as with whole ones, and whole files."""

import shutil

import pytest
import torch
from tests.integration.runs import TWO_PHASES, Train, history, same, weights
from tests.integration.test_two_processes import NO_BATCH_NORM, assert_same_run

from veriscope.run_folder import Progress, RunFolder, open_run_folder
from veriscope.training.data import load_data
from veriscope.training.module import DetectionModule
from veriscope.training.start import start_run

WORDS = (*NO_BATCH_NORM, *TWO_PHASES, "schedule.phases.all_layers.lr=0.01")


@pytest.mark.slow
def test_fsdp_trains_as_one_process_leaves_whole_files_and_resumes(train: Train) -> None:
    sharded = train(*WORDS, "trainer.devices=2", "trainer.strategy=fsdp")
    whole = train(*WORDS, "++data.batch_size=16")
    assert_same_run(sharded, whole, tolerance=1e-4)
    for phase in ("frozen", "all_layers"):
        file = sharded.checkpoints(phase) / "best.ckpt"
        ours = torch.load(file, weights_only=True)["state_dict"]
        theirs = torch.load(whole.checkpoints(phase) / "best.ckpt", weights_only=True)["state_dict"]
        assert {name: tensor.shape for name, tensor in ours.items()} == {
            name: tensor.shape for name, tensor in theirs.items()
        }
        assert all(type(tensor) is torch.Tensor for tensor in ours.values())
        DetectionModule.load_from_checkpoint(file, weights_only=True)
    _check_resumed(sharded)


def _check_resumed(folder: RunFolder) -> None:
    """The second phase's last epoch again, from the checkpoint before it, is bit for bit what it was."""
    again = RunFolder(folder.path.parent / "again")
    shutil.copytree(folder.path, again.path)
    shutil.rmtree(again.bundle)
    progress = folder.load_progress()
    assert progress is not None
    again.save_progress(Progress(data_hash=progress.data_hash, phases={"frozen": progress.phases["frozen"]}))
    again, config = open_run_folder(again.path, overrides=[])
    start_run(config, again, load_data(config), overrides=())
    columns = ("epoch", "train/loss", "val/loss", "val/auroc")
    rows = [[[row[column] for column in columns] for row in history(one)] for one in (folder, again)]
    assert rows[0] == rows[1]
    assert same(weights(folder), weights(again))
