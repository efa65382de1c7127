"""Several processes are one run: the same global batches, the same loss, the same figures."""

from pathlib import Path

import pytest
from tests.integration.runs import NO_BATCH_NORM, Train, assert_same_run, some_of

from veriscope.data.pack import pack
from veriscope.data.scan import scan_folder


@pytest.mark.slow
def test_two_processes_equal_one_of_twice_the_batch(train: Train, pictures: Path, tmp_path: Path) -> None:
    """A last batch of 4 and 3 pictures, and one class of val each. Other counts: test_epoch_plan.

    On shards in windows, with a loader process each; that shards are as good as a folder is test_shards' matter.
    """
    shards = tmp_path / "shards"
    pack(scan_folder(some_of(pictures, tmp_path / "data", train=(12, 11), val=(1, 1))), shards, shard_bytes=10_000)
    assert len(list(shards.glob("train-*.tar"))) >= 4
    words = ("data=shards", f"data.root={shards}", "data.window_shards=2")
    one = train(*NO_BATCH_NORM, *words, "++data.batch_size=16")
    two = train(*NO_BATCH_NORM, *words, "++data.batch_size=8", "++data.num_workers=1", "trainer.devices=2")
    assert_same_run(one, two, tolerance=2e-5)
