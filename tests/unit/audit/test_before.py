"""The audit that training begins with."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from tests.helpers.badfiles import write_dataset

from veriscope.audit.before import audit_before_training, read_facts, write_facts
from veriscope.bundle.record import AuditFacts
from veriscope.config.load import compose_run
from veriscope.data.manifest import Manifest
from veriscope.data.sources import load_manifest
from veriscope.errors import DataError, RunError

Audited = Callable[..., AuditFacts | None]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        write_dataset(tmp_path / "data" / split, num_images=12 if split == "train" else 8, size_px=64)
    for label in ("real", "fake"):  # the helper's pictures of one number are the same everywhere
        for file in sorted((tmp_path / "data/test" / label).iterdir()):
            file.write_bytes((tmp_path / "data/train" / label / file.name).read_bytes() + b"\0")
    return tmp_path / "data"


def prepared(tmp_path: Path, *words: str) -> tuple[Audited, Manifest]:
    said = ["data=folder", f"data.root={tmp_path}/data", f"paths.cache={tmp_path}/cache", *words]
    config = compose_run(said)
    manifest = load_manifest(config.data, paths_cache=config.paths.cache)
    return lambda: audit_before_training(config, manifest, console=Console(stderr=True)), manifest


def test_cheap_is_the_default_and_its_verdict_is_kept(tmp_path: Path, data: Path) -> None:
    audited, _ = prepared(tmp_path)
    facts = audited()
    assert facts is not None
    assert (facts.depth, facts.status) == ("headers", "warn")  # so few pictures
    assert facts.checks["integrity.class_size"] == "warn"
    assert audited() == facts
    write_facts(tmp_path / "audit.json", facts)
    assert read_facts(tmp_path / "audit.json") == facts
    assert read_facts(tmp_path / "nothing.json") is None
    (tmp_path / "audit.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        read_facts(tmp_path / "audit.json")


def test_full_sees_the_copies_that_headers_hide(tmp_path: Path, data: Path) -> None:
    audited, _ = prepared(tmp_path, "audit.before_training=full")
    with pytest.raises(DataError, match=r"says stop: .* in several splits"):
        audited()


def test_a_stop_refuses_with_the_way_on(tmp_path: Path, data: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (data / "train/fake" / name).write_bytes(b"")
    audited, _ = prepared(tmp_path)
    with pytest.raises(DataError) as error:
        audited()
    text = str(error.value)
    assert text.startswith("the audit of 'folder' says stop: 3 of 43 files can't be read")
    assert f"`veriscope audit {data}` shows it all; audit.on_stop=warn trains all the same." in text
    audited, _ = prepared(tmp_path, "data.class_map={real: real, fake: fake}", "data.max_pixels=90000")
    with pytest.raises(DataError) as error:
        audited()
    command = f"`veriscope audit {data} --set 'data.class_map={{real: real, fake: fake}}' data.max_pixels=90000`"
    assert command in str(error.value)
    facts = prepared(tmp_path, "audit.on_stop=warn")[0]()
    assert facts is not None
    assert (facts.status, facts.checks["integrity.unreadable"]) == ("stop", "stop")


def test_the_same_file_on_both_sides_of_the_split_that_training_takes(tmp_path: Path, data: Path) -> None:
    (data / "test/real/copy.jpg").write_bytes((data / "train/real/003.jpg").read_bytes())
    audited, manifest = prepared(tmp_path)
    with pytest.raises(DataError, match="in several splits"):
        audited()
    config = compose_run(["data=folder", f"data.root={data}", f"paths.cache={tmp_path}/cache"])
    together = manifest.with_splits(["train"] * len(manifest))
    facts = audit_before_training(config, together, console=Console(stderr=True))
    assert facts is not None
    assert facts.status == "warn"


def test_off_and_permuted_labels_ask_nothing(tmp_path: Path, data: Path) -> None:
    (data / "test/real/copy.jpg").write_bytes((data / "train/real/003.jpg").read_bytes())
    assert prepared(tmp_path, "audit.before_training=off")[0]() is None
    assert prepared(tmp_path, "data.shuffle_labels=true")[0]() is None
    assert not (tmp_path / "cache/audit").exists()
