import numpy as np
import pytest
import torch
from tests.helpers.badfiles import picture, write_dataset, write_unreadable
from torch.utils.data import DataLoader

from veriscope.config.schema import AugmentConfig
from veriscope.data.dataset import DetectionDataset, SeededSampler, collate, sample_seed, shard_order
from veriscope.data.decode import decode_image
from veriscope.data.preprocess import fit_to_input
from veriscope.data.scan import scan_folder
from veriscope.errors import DataError
from veriscope.types import InputSpec

SPEC = InputSpec(size_px=32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return scan_folder(write_dataset(tmp_path_factory.mktemp("data"), num_images=12))


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    root = write_dataset(tmp_path_factory.mktemp("damaged"), num_images=12)
    write_unreadable(root / "fake")
    (root / "fake/folder.jpg").rmdir()
    return scan_folder(root)


def seed_as_picture(image, seed):
    """An augmentation whose output is its seed."""
    out = np.zeros((32, 32, 3), dtype=np.uint8)
    out[0, :8, 0] = np.frombuffer(int(seed).to_bytes(8, "big"), dtype=np.uint8)
    return out


def test_an_item(manifest):
    item = DetectionDataset(manifest, SPEC, mode="eval")[3]
    expected = fit_to_input(decode_image(manifest.absolute_path(3)), SPEC)
    assert item["image"].dtype == torch.uint8
    assert np.array_equal(item["image"].numpy(), expected.transpose(2, 0, 1))
    assert item["label"].dtype == torch.float32
    assert item["label"].item() == manifest.labels[3]
    assert (item["index"].dtype, item["index"].item()) == (torch.int64, 3)
    assert item["unreadable"] == ""


def test_collate(manifest):
    dataset = DetectionDataset(manifest, SPEC, mode="eval")
    batch = collate([dataset[i] for i in (5, 0)])
    assert batch["image"].shape == (2, 3, 32, 32)
    assert batch["label"].tolist() == manifest.labels[[5, 0]].tolist()
    assert batch["index"].tolist() == [5, 0]
    assert batch["unreadable"] == ["", ""]


def test_corruption_acts_on_the_native_picture(manifest):
    shapes = []

    def corruption(image):
        shapes.append(image.shape)
        return 255 - image

    item = DetectionDataset(manifest, SPEC, mode="eval", corruption=corruption)[0]
    plain = DetectionDataset(manifest, SPEC, mode="eval")[0]
    assert shapes == [(40, 40, 3)]
    assert (item["image"].int() + plain["image"].int() - 255).abs().max() <= 1


def test_evaluation_marks_what_it_could_not_read(damaged):
    names = damaged.table["path"].to_pylist()
    dataset = DetectionDataset(damaged, SPEC, mode="eval")
    item = dataset[names.index("fake/truncated.jpg")]
    assert item["unreadable"] == "fake/truncated.jpg\ttruncated"
    assert item["image"].sum() == 0
    assert sum(bool(dataset[i]["unreadable"]) for i in range(len(dataset))) == 7


def test_training_replaces_by_the_same_class_and_reports(damaged):
    names = damaged.table["path"].to_pylist()
    index = names.index("fake/empty.jpg")
    dataset = DetectionDataset(damaged, SPEC, mode="train", seed=3)
    readable = {
        dataset[i]["image"].numpy().tobytes()
        for i in range(len(damaged))
        if damaged.labels[i] == 1 and not dataset[i]["unreadable"]
    }
    assert len(readable) == 12
    drawn = set()
    for epoch in range(8):
        item = dataset[epoch, index]
        assert item["unreadable"] == "fake/empty.jpg\tempty file (0 bytes)"
        assert (item["label"].item(), item["index"].item()) == (1.0, index)
        assert item["image"].numpy().tobytes() in readable
        assert torch.equal(item["image"], dataset[epoch, index]["image"])
        drawn.add(item["image"].numpy().tobytes())
    assert len(drawn) > 2  # another one in another epoch


def test_training_gives_up_when_nothing_can_be_read(tmp_path):
    root = write_dataset(tmp_path, num_images=4)
    for path in (root / "fake").iterdir():
        path.write_bytes(b"")
    dataset = DetectionDataset(scan_folder(root), SPEC, mode="train")
    with pytest.raises(DataError, match="is the disk still there"):
        dataset[0]


def loaded(manifest, *, num_workers, epochs, augmentation=seed_as_picture, batch_size=3, seed=7):
    """Return {(epoch, index): picture bytes} as a loader delivers them."""
    dataset = DetectionDataset(manifest, SPEC, mode="train", augmentation=augmentation, seed=seed)
    sampler = SeededSampler(len(dataset), seed=seed)
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        persistent_workers=num_workers > 0,
    )
    result = {}
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for batch in loader:
            for image, index in zip(batch["image"], batch["index"], strict=True):
                result[epoch, int(index)] = image.numpy().tobytes()
    return result


def test_draws_are_distinct_and_independent_of_workers(manifest):
    """Trap 1: with 2 workers, albumentations alone repeats draws across workers and epochs."""
    alone = loaded(manifest, num_workers=0, epochs=2)
    two = loaded(manifest, num_workers=2, epochs=2)
    assert alone == two
    assert len(set(alone.values())) == 48


def test_albumentations_draws_through_the_loader(tmp_path):
    """Trap 1 with the real policy: the same picture 24 times, 2 workers, 2 epochs: 48 distinct results."""
    from PIL import Image

    from veriscope.augment.training import TrainingAugmentation

    for kind in ("real", "fake"):
        (tmp_path / kind).mkdir()
        for number in range(12):
            Image.fromarray(picture(40, 40)).save(tmp_path / kind / f"{number}.png")
    policy = TrainingAugmentation(
        AugmentConfig(name="turn", rotate_deg=40.0, brightness=(0.5, 1.5)), SPEC, fit=fit_to_input
    )
    manifest = scan_folder(tmp_path)
    two = loaded(manifest, num_workers=2, epochs=2, augmentation=policy)
    assert len(set(two.values())) == 48
    assert two == loaded(manifest, num_workers=0, epochs=2, augmentation=policy, batch_size=24)


def test_sample_seed_is_a_function_of_its_arguments():
    seeds = {sample_seed(s, e, i, stream=k) for s in range(4) for e in range(4) for i in range(50) for k in range(2)}
    assert len(seeds) == 4 * 4 * 50 * 2
    assert sample_seed(1, 2, 3) == sample_seed(1, 2, 3)
    assert 0 <= min(seeds) <= max(seeds) < 2**63


def test_sampler_shuffles_by_epoch():
    sampler = SeededSampler(50, seed=1)
    first = list(sampler)
    assert sorted(first) == [(0, i) for i in range(50)]
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _ in second} == {1}
    assert [i for _, i in second] != [i for _, i in first]
    assert [i for _, i in SeededSampler(50, seed=2)] != [i for _, i in first]
    assert list(SeededSampler(5, shuffle=False)) == [(0, i) for i in range(5)]


@pytest.mark.parametrize(("num_samples", "num_replicas"), [(10, 3), (9, 3), (2, 5), (1, 4), (0, 2)])
def test_sampler_over_ranks(num_samples, num_replicas):
    def ranks(**options):
        return [
            [i for _, i in SeededSampler(num_samples, seed=4, num_replicas=num_replicas, rank=rank, **options)]
            for rank in range(num_replicas)
        ]

    padded = ranks()
    assert len({len(part) for part in padded}) == 1
    assert {i for part in padded for i in part} == set(range(num_samples))
    exact = ranks(pad=False)
    assert sorted(i for part in exact for i in part) == list(range(num_samples))
    lengths = [
        len(SeededSampler(num_samples, num_replicas=num_replicas, rank=rank, pad=False)) for rank in range(num_replicas)
    ]
    assert lengths == [len(part) for part in exact]


def test_sampler_refuses_a_rank_out_of_range():
    with pytest.raises(ValueError, match="rank 2 of 2"):
        SeededSampler(5, num_replicas=2, rank=2)


def test_sampler_takes_as_many_as_asked():
    whole = [i for _, i in SeededSampler(10, seed=4)]
    for num_drawn in (6, 14):
        ranks = [
            [i for _, i in SeededSampler(10, seed=4, num_replicas=2, rank=rank, num_drawn=num_drawn)] for rank in (0, 1)
        ]
        assert [index for pair in zip(*ranks, strict=True) for index in pair] == (whole + whole)[:num_drawn]
    with pytest.raises(ValueError, match="same number"):
        SeededSampler(10, num_replicas=2, num_drawn=5)


@pytest.mark.parametrize("window", [1, 3, 4, 50])
@pytest.mark.parametrize("sizes", [[5] * 8, [1, 9, 2, 30, 4], [7], []])
def test_shard_order_reads_each_shard_once_and_a_window_at_a_time(sizes, window):
    shards = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    order = shard_order(shards, window=window, rng=np.random.default_rng(1))
    assert sorted(order.tolist()) == list(range(len(shards)))
    spans = [np.flatnonzero(shards[order] == shard) for shard in range(len(sizes))]
    side_by_side = [sum(span[0] <= place <= span[-1] for span in spans) for place in range(len(order))]
    assert max(side_by_side, default=0) <= window
    again = shard_order(shards, window=window, rng=np.random.default_rng(1))
    assert np.array_equal(order, again)


def test_sampler_with_shards_pads_and_draws_as_without():
    shards = np.arange(10, dtype=np.int64) // 3
    for options in ({}, {"pad": False}, {"num_drawn": 8}, {"num_drawn": 12}):
        free = [list(SeededSampler(10, num_replicas=2, rank=rank, **options)) for rank in range(2)]
        windowed = {"shards": shards, "window": 2, **options}
        near = [list(SeededSampler(10, num_replicas=2, rank=rank, **windowed)) for rank in range(2)]
        assert [len(part) for part in free] == [len(part) for part in near]
        assert len({index for part in near for _, index in part}) == min(10, options.get("num_drawn", 10))
