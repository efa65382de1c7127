from pathlib import Path

import pytest

from veriscope.data.manifest import Manifest
from veriscope.data.record import read_record, refuse_changed_data, write_record
from veriscope.errors import RunError


def manifest(
    names: str = "abcdef", *, sizes: dict[str, int] | None = None, groups: dict[str, str] | None = None
) -> Manifest:
    return Manifest.from_columns(
        [f"{name}.jpg" for name in names],
        root=Path("/x"),
        labels=[ord(name) % 2 for name in names],
        size_bytes=[(sizes or {}).get(name, 10) for name in names],
        groups=[(groups or {}).get(name) for name in names],
    )


def test_the_record_holds_every_row_and_its_part(tmp_path):
    file = tmp_path / "folds.parquet"
    write_record(file, manifest(), column="fold", values=[0, 1, 0, 1, None, 0])
    rows = read_record(file).to_pylist()
    assert [row["path"] for row in rows] == [f"{name}.jpg" for name in "abcdef"]
    assert [row["fold"] for row in rows] == [0, 1, 0, 1, None, 0]
    refuse_changed_data(file, manifest())


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (manifest("abcdefgh"), "2 files are new, as 'g.jpg'"),
        (manifest("bcdef"), "1 file is gone, as 'a.jpg'"),
        (manifest(sizes={"c": 11, "d": 0, "e": 7}), "3 files have changed, as 'c.jpg'"),
        (manifest(groups={"b": "anna"}), "1 file has changed, as 'b.jpg'"),
        (manifest("bcdefgh", sizes={"e": 1}), "2 files are new, as 'g.jpg'; 1 file is gone, as 'a.jpg'; 1 file has"),
    ],
)  # fmt: skip
def test_other_data_is_refused_with_the_difference_counted(tmp_path, now, said):
    file = tmp_path / "run" / "split.parquet"
    file.parent.mkdir()
    write_record(file, manifest(), column="split", values=["train"] * 6)
    with pytest.raises(RunError) as error:
        refuse_changed_data(file, now)
    assert said in str(error.value)
    assert str(file.parent) in str(error.value)


def test_a_damaged_record_is_named(tmp_path):
    file = tmp_path / "folds.parquet"
    file.write_bytes(b"PAR1 half")
    with pytest.raises(RunError, match=r"folds\.parquet.*damaged"):
        refuse_changed_data(file, manifest())
