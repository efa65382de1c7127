import pytest

from veriscope.config.load import compose_run
from veriscope.config.schema import TrainerConfig
from veriscope.errors import ConfigError
from veriscope.progress import duration
from veriscope.runs import slots as module
from veriscope.runs.estimate import Estimate
from veriscope.runs.slots import slots, slots_for, visible_gpus


@pytest.fixture
def four_gpus(monkeypatch):
    """A machine with four GPUs, of which there is none here."""
    monkeypatch.setattr(module, "visible_gpus", lambda: ["0", "1", "2", "GPU-ab"])


def places(workers=None, **trainer):
    return slots(TrainerConfig(**trainer), workers=workers, key="crossval.workers")


def test_every_run_has_its_own_gpus(four_gpus):
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places()] == ["0", "1", "2", "GPU-ab"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(devices=2)] == ["0,1", "2,GPU-ab"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(devices=3)] == ["0,1,2"]
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(devices="auto")] == ["0,1,2,GPU-ab"]
    assert len(places(workers=2)) == 2
    assert places(accelerator="cpu") == [{}]


def test_more_than_there_is_is_refused(four_gpus):
    with pytest.raises(ConfigError, match=r"crossval\.workers=3, but 4 GPUs are enough for 2 runs of 2"):
        places(workers=3, devices=2)
    with pytest.raises(ConfigError, match=r"trainer\.devices=5, but this machine has 4 GPUs"):
        places(devices=5)


def test_a_place_is_as_large_as_the_largest_run_and_its_folds_need(four_gpus):
    def gpus(*runs, workers=None):
        found = slots_for([compose_run(list(run)) for run in runs], workers=workers, key="sweep.workers")
        return [place.get("CUDA_VISIBLE_DEVICES") for place in found]

    assert gpus(["split=kfold", "crossval.workers=2"]) == ["0,1", "2,GPU-ab"]
    assert gpus(["trainer.devices=1"], ["trainer.devices=2"]) == ["0,1", "2,GPU-ab"]
    assert gpus(["trainer.devices=1"], ["trainer.devices=auto"]) == ["0,1,2,GPU-ab"]
    assert gpus(["trainer.accelerator=cpu"], ["trainer.accelerator=gpu"], workers=4) == ["0", "1", "2", "GPU-ab"]
    assert gpus(["trainer.accelerator=cpu"]) == [None]


def test_without_gpus_the_cores_are_shared_out(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert places(accelerator="cpu", workers=3) == [{"OMP_NUM_THREADS": "2"}] * 3


def test_gpus_that_were_handed_to_us_keep_their_names(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert visible_gpus() == ["5", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == ["0", "1"]


def test_the_time_that_is_left_comes_from_measured_runs():
    estimate = Estimate(num_runs=5, places=2)
    assert "5 runs, 2 side by side" in estimate.before()
    assert estimate.after_epoch(10, num_epochs=6) == (
        "the first epoch took 10 s: about 60 s a run of 6 epochs, about 3 min for all 5"
    )
    assert estimate.after_run(60) == "1 of 5 runs done, the last in 60 s. About 2 min left, at 60 s a run"
    for _ in range(3):
        estimate.after_run(60)
    assert estimate.after_run(80) == "5 of 5 runs done, the last in 80 s"


def test_complete_runs_count_from_the_start():
    text = Estimate(num_runs=3, places=1, known_s=[100.0, 200.0]).before()
    assert text == "3 runs, one at a time; 2 are complete. About 2 min left, at 2 min a run"
    assert Estimate(num_runs=1, places=1, known_s=[9.0]).before().endswith("all are complete")


def test_durations_read_well():
    assert [duration(seconds) for seconds in (3.2, 99, 100, 5999, 6000)] == ["3 s", "99 s", "2 min", "100 min", "1.7 h"]
