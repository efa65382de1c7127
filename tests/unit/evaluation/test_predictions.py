import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from veriscope.data.decode import PictureFacts
from veriscope.errors import DataError
from veriscope.evaluation.predictions import PredictionTable, TableMeta
from veriscope.types import Calibration

CALIBRATION = Calibration(temperature=2.0, fitted_on="val")


def make(ids=("a.jpg", "b.jpg", "c.jpg"), labels=(0, 1, 1), logits=(-1.5, 2.0, 0.1), errors=None, **more):
    meta = more.pop("meta", TableMeta(data_name="toy", corruption="jpeg:75", bundle_hash="ff"))
    return PredictionTable.from_columns(
        list(ids), labels=labels, logits=logits, errors=errors, calibration=CALIBRATION, meta=meta, **more
    )


def test_scores_follow_from_stored_logits():
    table = make(logits=[-1.5, 2.0, 0.1])
    np.testing.assert_array_equal(table.logits, np.array([-1.5, 2.0, np.float32(0.1)], dtype=np.float64))
    np.testing.assert_allclose(table.scores, 1 / (1 + np.exp(-table.logits / 2)), rtol=1e-15)
    assert table.labels.dtype == np.int8


def test_rows_without_verdict_or_label_stay_but_are_not_judged():
    table = make(
        ids=["a", "b", "c", "d"],
        labels=[0, None, 1, 1],
        logits=[-1.0, 2.0, None, 3.0],
        errors=[None, None, "truncated", None],
        generators=[None, "sd", "gan", "gan"],
    )
    assert (len(table), table.num_unreadable, table.num_unlabelled) == (4, 1, 1)
    assert table.labels.tolist() == [0, 1]
    assert table.logits.tolist() == [-1.0, 3.0]
    assert len(table.scores) == 2
    assert table.column("generator") == [None, "gan"]
    assert table.unreadable == [("c", "truncated")]


def test_parquet_round_trip_keeps_rows_and_metadata(tmp_path):
    table = make(splits=["val", "val", None], groups=["g", None, None])
    file = table.write(tmp_path / "out")
    for path in (file, tmp_path / "out"):
        again = PredictionTable.read(path)
        assert again.table.equals(table.table)
        assert again.meta == table.meta
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["predictions.csv", "predictions.parquet"]


def test_csv_cells_can_not_be_formulas(tmp_path):
    names = ["=cmd()", "+1.jpg", "-1.jpg", "@x", "\tx", 'quote",new\nline', "fine=1.jpg"]
    make(ids=names, labels=[0] * 7, logits=[-1.0] * 7).write(tmp_path)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [*("'" + name for name in names[:5]), *names[5:]]
    assert [row["path"] for row in rows] == [row["id"] for row in rows]
    assert {row["logit"] for row in rows} == {"-1"}  # a negative number is no formula
    assert rows[0]["split"] == ""
    assert PredictionTable.read(tmp_path).column("id") == names


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"logits": [float("nan"), 1.0, 2.0]}, r"NaN or infinite logits.*1 rows: 'a.jpg'"),
        ({"logits": [0.0, float("inf"), 2.0]}, r"NaN or infinite logits.*'b.jpg'"),
        ({"ids": ["a", "b", "a"]}, r"1 ids more than once: 'a'"),
        ({"labels": [0, 2, 1]}, r"labels other than 0 and 1 in 1 rows: 'b.jpg'"),
        ({"labels": [0, 1000, 1]}, r"don't fit the table"),
        ({"ids": [], "labels": [], "logits": []}, "without rows"),
        ({"labels": [0, 1]}, "different lengths"),
        ({"logits": [None, 1.0, 2.0]}, "no verdict and no reason"),
        ({"errors": ["broken", None, None]}, "no verdict and no reason, or both"),
        ({"ids": ["a", None, "c"]}, "without id"),
        ({"ids": ["a", "\udcff.jpg", "c"]}, "don't fit the table"),
        ({"meta": TableMeta(class_map={"real": 1, "fake": 0})}, "class map"),
        ({"meta": TableMeta(schema_version=9)}, "version 9"),
        ({"ood": [0.1, float("nan"), 0.2]}, "NaN or infinite ood in 1 rows: 'b.jpg'"),
        ({"facts": [None, None]}, "different lengths"),
        ({"facts": [None, None, PictureFacts("PNG", 2**40, 1, 1)]}, "don't fit the table"),
    ],
)
def test_bad_tables_are_refused(columns, message):
    with pytest.raises(DataError, match=message):
        make(**columns)


def test_another_class_map_in_a_file_is_refused(tmp_path):
    file = make().write(tmp_path)
    table = pq.read_table(file)
    metadata = {
        key: value.replace(b'"real":0,"fake":1', b'"real":1,"fake":0') for key, value in table.schema.metadata.items()
    }
    pq.write_table(table.replace_schema_metadata(metadata), file)
    with pytest.raises(DataError, match="class map"):
        PredictionTable.read(file)


def test_files_that_are_no_prediction_table(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        PredictionTable.read(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DataError, match="no readable Parquet"):
        PredictionTable.read(tmp_path / "text.parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="lacks veriscope's metadata"):
        PredictionTable.read(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="lacks the columns"):
        PredictionTable(pa.table({"id": ["a"]}), TableMeta())
    wrong = make().table.set_column(7, "score", pa.array([0.2, 1.5, 0.3]))
    with pytest.raises(DataError, match=r"scores outside \[0, 1\] in 1 rows: 'b.jpg'"):
        PredictionTable(wrong, TableMeta())


FACTS = [PictureFacts("JPEG", 640, 480, 50_000), None, PictureFacts("PNG", 256, 256, 90_000)]


def test_sources_facts_and_ood_are_columns_and_travel(tmp_path):
    table = make(sources=["web", None, "web"], facts=FACTS, ood=[0.25, None, 3.5])
    assert table.column("source") == ["web", None, "web"]
    assert table.column("format") == ["JPEG", None, "PNG"]
    assert table.column("width_px") == [640, None, 256]
    assert table.column("height_px") == [480, None, 256]
    assert table.column("size_bytes") == [50_000, None, 90_000]
    assert table.column("ood") == [0.25, None, 3.5]
    table.write(tmp_path)
    assert PredictionTable.read(tmp_path).table.equals(table.table)


def test_a_table_of_version_1_is_read_with_nulls_for_what_it_could_not_know(tmp_path):
    table = make(sources=["web"] * 3, facts=FACTS)
    old = table.table.drop_columns(["source", "format", "width_px", "height_px", "size_bytes", "ood"])
    meta = table.meta.model_dump_json().replace('"schema_version":2', '"schema_version":1')
    pq.write_table(old.replace_schema_metadata({b"veriscope.predictions": meta.encode()}), tmp_path / "old.parquet")
    again = PredictionTable.read(tmp_path / "old.parquet")
    assert again.meta == table.meta
    assert again.table.select(old.column_names).equals(old)
    assert again.column("format") == again.column("ood") == [None] * 3
    assert again.table.schema.equals(table.table.schema)
    again.write(tmp_path / "new")
    assert PredictionTable.read(tmp_path / "new").table.equals(again.table)
    broken = meta.replace('"schema_version":1', '"schema_version":2')
    pq.write_table(old.replace_schema_metadata({b"veriscope.predictions": broken.encode()}), tmp_path / "not.parquet")
    with pytest.raises(DataError, match=r"lacks the columns \['format'"):
        PredictionTable.read(tmp_path / "not.parquet")


def test_rescored_rows_keep_everything_but_what_follows_from_the_logits():
    table = make(sources=["web"] * 3, facts=FACTS, groups=["g", None, "h"], splits=["val"] * 3)
    same = table.rescored([-1.5, 2.0, 0.1], calibration=CALIBRATION, meta=table.meta)
    assert same.table.equals(table.table)
    meta = TableMeta(subset="fold 1")
    other = table.rescored([1.0, 0.0, -1.0], calibration=Calibration(), meta=meta, splits=["x"] * 3)
    np.testing.assert_allclose(other.scores, 1 / (1 + np.exp([-1.0, 0.0, 1.0])))
    kept = [name for name in table.table.column_names if name not in ("logit", "score", "split")]
    assert other.table.select(kept).equals(table.table.select(kept))
    assert other.column("split") == ["x"] * 3
    assert other.meta.subset == "fold 1"


def test_the_csv_says_the_base_rate_that_scores_were_corrected_to(tmp_path):
    for rate in (None, 0.05):
        made = PredictionTable.from_columns(
            ["a.png", "b.png"], labels=[0, 1], logits=[0.0, 1.0], calibration=Calibration(),
            meta=TableMeta(base_rate=rate),
        )  # fmt: skip
        made.write(tmp_path)
        rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
        assert [row.get("base_rate_stated") for row in rows] == ([None, None] if rate is None else ["0.05", "0.05"])
        assert PredictionTable.read(tmp_path).table.column_names == made.table.column_names


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "twice", "rows", "metadata"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, damage):
    file = make().write(tmp_path)
    packed = file.read_bytes()
    stored = pq.read_table(file)
    if damage == "cut":
        file.write_bytes(packed[:-100])
    elif damage == "flipped":
        file.write_bytes(bytes(byte ^ 0x5A if 4 <= place < 200 else byte for place, byte in enumerate(packed)))
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "twice":
        pq.write_table(stored.append_column("id", stored["path"]), file)
    elif damage == "rows":
        pq.write_table(pa.concat_tables([stored, stored]), file)
    else:
        key = b"veriscope.predictions"
        pq.write_table(stored.replace_schema_metadata({key: b'{"class_map": 3, "x": 1}'}), file)
    with pytest.raises(DataError) as error:
        PredictionTable.read(file)
    assert str(error.value).startswith(f"'{file}'")
    assert len(str(error.value).splitlines()) == 1
