import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.helpers.badfiles import write_dataset

from veriscope.data.readers import read_manifest_file
from veriscope.data.scan import scan_folder
from veriscope.data.sources import sources
from veriscope.errors import DataError
from veriscope.types import Split


@pytest.fixture
def root(tmp_path):
    return write_dataset(tmp_path / "data", num_images=3)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


GOOD = "path,label\nreal/000.jpg,real\nfake/000.jpg,fake\n"


def test_csv_equals_parquet_equals_scan(root, tmp_path):
    scanned = scan_folder(root)
    names = scanned.table["path"].to_pylist()
    lines = "".join(f"{name},{name.split('/')[0]}\n" for name in reversed(names))
    from_csv = read_manifest_file(write(tmp_path / "m.csv", "path,label\n" + lines), root=root)
    pq.write_table(pa.table({"path": names, "label": scanned.labels}), tmp_path / "m.parquet")
    from_parquet = read_manifest_file(tmp_path / "m.parquet", root=root)
    assert from_csv.content_hash == from_parquet.content_hash == scanned.content_hash


def test_all_columns_bom_quotes_blanks_and_letter_case(root, tmp_path):
    text = (
        '\ufeffPath, LABEL ,split,group,generator\n"real/000.jpg",Real,TRAIN,007,\n\n'
        "./fake//001.jpg,1,valid, anna ,began\nreal/001.jpg,0,,,\n"
    )
    manifest = read_manifest_file(write(tmp_path / "m.csv", text), root=root)
    assert manifest.sample(0) == ("fake/001.jpg", 1, Split.VAL, "anna", "began")
    assert manifest.sample(1) == ("real/000.jpg", 0, Split.TRAIN, "007", None)
    assert manifest.sample(2) == ("real/001.jpg", 0, None, None, None)


def test_sources_come_from_their_column_or_the_one_that_is_named(root, tmp_path):
    text = "path,label,source,Collection\nreal/000.jpg,real,faces,\nfake/000.jpg,fake,,web\n"
    file = write(tmp_path / "m.csv", text)
    assert read_manifest_file(file, root=root).sources.tolist() == [None, "faces"]
    named = read_manifest_file(file, root=root, source_column="Collection")
    assert named.sources.tolist() == ["web", None]
    assert sources(named, data_name="mine") == ["web", "mine"]
    with pytest.raises(DataError, match=r"no column 'colection'.*'collection'"):
        read_manifest_file(file, root=root, source_column="colection")


def test_paths_start_at_the_list_without_a_root(root):
    manifest = read_manifest_file(write(root / "m.csv", GOOD))
    assert manifest.root == root
    assert manifest.absolute_path(0).exists()


def test_absolute_paths(root, tmp_path):
    text = f"path,label\n{root}/real/000.jpg,real\n{root}/fake/000.jpg,fake\n"
    inside = read_manifest_file(write(tmp_path / "m.csv", text), root=root)
    assert inside.sample(0).path == "fake/000.jpg"
    (tmp_path / "lists").mkdir()
    free = read_manifest_file(write(tmp_path / "lists" / "m.csv", text))
    assert free.absolute_path(0) == root / "fake/000.jpg"
    with pytest.raises(DataError, match=r"line 2: the path .* leaves the folder"):
        read_manifest_file(tmp_path / "m.csv", root=root / "fake")


def test_own_labels_are_generators(root, tmp_path):
    text = "path,label\nreal/000.jpg,photo\nfake/000.jpg,sd14\n"
    manifest = read_manifest_file(write(tmp_path / "m.csv", text), root=root, class_map={"SD14": "fake"})
    assert manifest.generators.tolist() == ["sd14", None]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty", "path,label"]),
        ("path,label\n", ["lists no file"]),
        ("file,label\na,real\n", ["no column 'path'", "['file', 'label']"]),
        ("path,lable\na,real\n", ["no column 'label'", "Did you mean 'lable'"]),
        ("path,label,label\na,real,real\n", ["'label'] twice"]),
        (GOOD + "real/001.jpg,rael\n", ["line 4: unknown label 'rael'", "Did you mean 'real'"]),
        (GOOD + "\n\nreal/001.jpg,cat\n", ["line 6: unknown label 'cat'", "data.class_map={cat: fake}"]),
        (GOOD + "real/001.jpg,\n", ["line 4: no label"]),
        (GOOD + ",real\n", ["line 4: no path"]),
        (GOOD + "../secret.jpg,real\n", ["line 4: the path '../secret.jpg' leaves the folder"]),
        (GOOD + "real/../../x.jpg,real\n", ["line 4", "leaves the folder"]),
        (GOOD + "/etc/passwd,real\n", ["line 4", "leaves the folder"]),
        (GOOD + "real/./000.jpg,real\n", ["line 4: the path 'real/./000.jpg' stands already in line 2"]),
        (GOOD.replace("fake", "real").replace("l/000.jpg,real\nreal/000", "l/1.jpg,real\nreal/2"), ["only the class"]),
        ("path,label\nx/1.jpg,real\nx/2.jpg,fake\n", ["none of the 2 files", "x/1.jpg'", "data.root"]),
        ("path,label,split\nreal/000.jpg,real,tset\nfake/000.jpg,fake,\n", ["line 2: unknown split 'tset'", "'test'"]),
        (GOOD + "real/001.jpg,real,extra\n", ["can't be read"]),
    ],
)
def test_errors_name_the_line(root, tmp_path, text, words):
    with pytest.raises(DataError) as caught:
        read_manifest_file(write(tmp_path / "m.csv", text), root=root)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_parquet_errors_name_the_row(root, tmp_path):
    pq.write_table(pa.table({"path": ["real/000.jpg", "fake/000.jpg"], "label": [0, 2]}), tmp_path / "m.parquet")
    with pytest.raises(DataError, match=r"row 2: unknown label '2'"):
        read_manifest_file(tmp_path / "m.parquet", root=root)
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="can't be read"):
        read_manifest_file(tmp_path / "bad.parquet", root=root)


def test_wrong_files(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_manifest_file(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"must end in \.csv or \.parquet"):
        read_manifest_file(write(tmp_path / "m.txt", GOOD))


def test_missing_files_stay_with_size_zero(root, tmp_path):
    manifest = read_manifest_file(write(tmp_path / "m.csv", GOOD + "real/gone.jpg,real\n"), root=root)
    assert manifest.table["size_bytes"].to_pylist()[2] == 0


def test_parquet_numbers_are_never_rounded(root, tmp_path):
    """0.7 cut to 0 would make a real picture of a likely fake; pandas' 1.0 beside a gap is an integer."""
    file = tmp_path / "m.parquet"
    names = ["real/000.jpg", "fake/000.jpg"]
    pq.write_table(pa.table({"path": names, "label": [0.7, 1.0]}), file)
    with pytest.raises(DataError, match=r"'label' .*whole numbers"):
        read_manifest_file(file, root=root)
    pq.write_table(pa.table({"path": names, "label": [0.0, 1.0], "group": [3.0, float("nan")]}), file)
    assert read_manifest_file(file, root=root).groups.tolist() in (["3", None], [None, "3"])
    pq.write_table(pa.table({"path": names, "label": [False, True]}), file)
    with pytest.raises(DataError, match="true and false"):
        read_manifest_file(file, root=root)
    pq.write_table(pa.table({"path": names, "label": [[0], [1]]}), file)
    with pytest.raises(DataError, match="'label'"):
        read_manifest_file(file, root=root)


def test_a_class_map_may_turn_0_and_1(root, tmp_path):
    file = write(tmp_path / "m.csv", "path,label\nreal/000.jpg,0\nfake/000.jpg,1\n")
    assert read_manifest_file(file, root=root).labels.tolist() == [1, 0]
    turned = read_manifest_file(file, root=root, class_map={"0": "fake", "1": "real"})
    assert turned.labels.tolist() == [0, 1]


def test_a_list_in_utf_16_is_named(root, tmp_path):
    (tmp_path / "m.csv").write_text(GOOD, encoding="utf-16")
    with pytest.raises(DataError, match="no UTF-8 text"):
        read_manifest_file(tmp_path / "m.csv", root=root)


def test_a_huge_field_is_no_traceback(root, tmp_path):
    """Python's csv reader, which names lines, refuses what Arrow reads."""
    huge = "y" * 200_000
    with pytest.raises(DataError, match=r"row 2: unknown label 'rael'"):
        read_manifest_file(write(tmp_path / "m.csv", f"path,label,n\na,real,{huge}\nb,rael,\n"), root=root)
    with pytest.raises(DataError, match="can't be read: field larger"):
        read_manifest_file(write(tmp_path / "m.csv", f"path,label,{huge}\na,real,\n"), root=root)


def test_what_is_no_file_has_no_size(root, tmp_path):
    manifest = read_manifest_file(write(tmp_path / "m.csv", GOOD + "real,real\n"), root=root)
    assert manifest.table["size_bytes"].to_pylist()[1] == 0
