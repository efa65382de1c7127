"""`veriscope download` through the hubs' own libraries: their caches, and their errors where no hub can be reached."""

import json
from pathlib import Path

import pytest
from tests.helpers.badfiles import write_dataset

from veriscope.cli import main
from veriscope.config.load import CONF_DIR, compose_run
from veriscope.data.download import check_download, download, record_of
from veriscope.data.known_sets import KNOWN_SETS, KnownSet, known_set
from veriscope.data.sources import load_manifest
from veriscope.errors import DataError

kagglehub = pytest.importorskip("kagglehub")

VERSIONED = "owner/set/versions/3"  # needs no look at the hub for the newest one


def a_set(**more) -> KnownSet:
    return known_set("cifake")._replace(**{"id": VERSIONED, "num_bytes": 1000, **more})


def fetched(to: Path, inner: str) -> Path:
    """Fill kagglehub's own cache, as a finished download leaves it, with a folder of pictures and a list beside it."""
    base = to / ".download/cifake/datasets/owner/set"
    top = base / "versions/3"
    for split in ("train", "test"):
        write_dataset(top / inner / split, num_images=2, size_px=32, classes=("REAL", "FAKE"))
    (top / "list.csv").write_text("a,b\n")
    (base / "3.complete").write_text("")
    return top


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", "")  # set by `download`; put back afterwards


@pytest.mark.parametrize("inner", ["", "cifake", "real_vs_fake/real-vs-fake"])
def test_a_download_is_found_by_its_name(tmp_path, inner):
    fetched(tmp_path, inner)
    known = a_set()
    assert download(known, to=tmp_path) == tmp_path / "cifake"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifake", "cifake.download.json"]
    config = compose_run(["data=cifake", f"paths.data={tmp_path}"])
    manifest = load_manifest(config.data, paths_cache=tmp_path)
    assert manifest.class_counts() == {"real": 4, "fake": 4}
    assert set(manifest.splits) == {"train", "test"}
    record = json.loads(record_of(known, tmp_path).read_text())
    assert (record["id"], record["licence"], record["page"]) == (known.id, known.licence, known.page)
    assert len(record["files"]) == 9
    assert check_download(known, to=tmp_path) == []
    changed = tmp_path / "cifake/train/REAL/000.jpg"
    changed.write_bytes(changed.read_bytes()[::-1])
    cut = tmp_path / "cifake/train/REAL/001.jpg"
    other = cut.stat().st_size
    cut.write_bytes(b"x")
    (tmp_path / "cifake/list.csv").unlink()
    (tmp_path / known.name / "train/REAL/mine.jpg").write_bytes(b"added since")
    assert check_download(known, to=tmp_path) == [
        "list.csv: missing",
        "train/REAL/000.jpg: other bytes than were downloaded",
        f"train/REAL/001.jpg: 1 bytes, downloaded were {other:,}",
        "train/REAL/mine.jpg: was not downloaded",
    ]
    with pytest.raises(DataError, match="there already"):
        download(known, to=tmp_path)


def test_no_space(tmp_path):
    with pytest.raises(DataError, match=r"GB free, about .* are needed"):
        download(a_set(num_bytes=10**18), to=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_checked(tmp_path):
    known = a_set()
    with pytest.raises(DataError, match="is not there"):
        check_download(known, to=tmp_path)
    record_of(known, tmp_path).write_text("{")
    with pytest.raises(DataError, match="damaged"):
        check_download(known, to=tmp_path)
    files = [{"path": "../../etc/passwd", "bytes": 1, "sha256": ""}]
    record_of(known, tmp_path).write_text(json.dumps({"files": files}))
    with pytest.raises(DataError, match="don't trust"):
        check_download(known, to=tmp_path)


def test_without_a_network(tmp_path, capsys, monkeypatch):
    """The library's real error. Where there is a network, its answer is that there is no such set."""
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in ("kaggle:veriscope-nobody/no-such-set", "hf:veriscope-nobody/no-such-set"):
        assert main(["download", name, "--yes", "--to", str(tmp_path)]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "can't be downloaded" in error
        assert "By hand: get https://" in error
        assert f"'{tmp_path}/veriscope-nobody__no-such-set' holds" in error


def test_the_terms_come_first(tmp_path, capsys):
    assert main(["download", "rvf10k", "--to", str(tmp_path)]) == 2
    out = capsys.readouterr()
    assert "CC BY-NC-SA 4.0" in out.out
    assert "--yes" in out.err
    assert list(tmp_path.iterdir()) == []


def test_list_and_names(tmp_path, capsys):
    assert main(["download", "--list", "--to", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(known.name in out and known.page in out and known.licence in out for known in KNOWN_SETS)
    assert main(["download"]) == 2
    assert main(["download", "rvf1k"]) == 2
    assert "Did you mean 'rvf10k'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["kaggle:", "hf:a", "hf:a/../b", "hf:../b", "kaggle:a/b/c", "hf:/etc/passwd", "s3:a/b"]
)
def test_ids_that_are_none(text):
    with pytest.raises(DataError, match="no data set"):
        known_set(text)


def test_every_known_set_has_its_configuration():
    names = [known.name for known in KNOWN_SETS]
    assert len(set(names)) == len(names)
    for known in KNOWN_SETS:
        assert (CONF_DIR / "data" / f"{known.name}.yaml").is_file()
        assert all((known.title, known.licence, known.citation, known.note))
    assert known_set("hf:owner/rvf10k").name == "owner__rvf10k"
