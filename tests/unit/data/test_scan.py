import logging

import numpy as np
import pytest
from tests.helpers.badfiles import write_dataset, write_unreadable
from tests.helpers.nobody import error_as_nobody

from veriscope.data.scan import scan_folder
from veriscope.errors import DataError
from veriscope.types import FAKE, REAL, Split


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * 10)
    return root


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("real", "fake"),
        ("REAL", "FAKE"),
        ("Real", "Fake"),
        ("0_real", "1_fake"),
        ("nature", "ai"),
        ("original", "manipulated"),
        ("Au", "Tp"),
        ("authentic", "tampered"),
        ("training_real", "training_fake"),
    ],
)
def test_usual_names_never_go_by_the_alphabet(tmp_path, real, fake):
    """Trap 6: ImageFolder numbers fake/real, 0_real/1_fake and FAKE/REAL differently."""
    manifest = scan_folder(touch(tmp_path, f"{real}/1.jpg", f"{fake}/2.jpg", f"{fake}/3.jpg"))
    labels = {manifest.sample(i).path: manifest.sample(i).label for i in range(3)}
    assert labels == {f"{real}/1.jpg": REAL, f"{fake}/2.jpg": FAKE, f"{fake}/3.jpg": FAKE}


def test_splits_in_any_letter_case_and_any_depth(tmp_path):
    touch(tmp_path, "Train/Real/a/b/1.jpg", "Train/Fake/2.PNG", "Validation/Real/3.jpg", "Validation/Fake/4.webp")
    touch(tmp_path, "TEST/Real/5.jpeg", "TEST/Fake/stylegan/deep/6.jpg")
    manifest = scan_folder(tmp_path)
    rows = {manifest.sample(i).path: manifest.sample(i) for i in range(len(manifest))}
    assert rows["Train/Real/a/b/1.jpg"].split is Split.TRAIN
    assert rows["Train/Real/a/b/1.jpg"].generator is None
    assert rows["Validation/Fake/4.webp"].split is Split.VAL
    assert rows["TEST/Fake/stylegan/deep/6.jpg"].generator == "stylegan"
    assert rows["TEST/Fake/stylegan/deep/6.jpg"].split is Split.TEST


def test_own_split_names_win(tmp_path):
    touch(tmp_path, *(f"{split}/{kind}/1.jpg" for split in ("train", "valid", "Holdout") for kind in ("real", "fake")))
    manifest = scan_folder(tmp_path, splits={"VALID": Split.TEST, "holdout": Split.VAL})
    assert set(zip((p.split("/")[0] for p in manifest.table["path"].to_pylist()), manifest.splits, strict=True)) == {
        ("train", "train"),
        ("valid", "test"),
        ("Holdout", "val"),
    }


def test_class_map_names_generators(tmp_path):
    touch(tmp_path, "real/1.jpg", "BEGAN/2.jpg", "stargan/x/3.jpg", "camera/4.jpg")
    manifest = scan_folder(tmp_path, class_map={"began": "fake", "StarGAN": "fake", "camera": "real"})
    rows = {s.path: s for s in map(manifest.sample, range(4))}
    assert rows["BEGAN/2.jpg"].generator == "BEGAN"
    assert rows["stargan/x/3.jpg"].generator == "stargan"
    assert (rows["camera/4.jpg"].label, rows["camera/4.jpg"].generator) == (REAL, None)


def test_class_map_may_turn_a_usual_name_round(tmp_path):
    manifest = scan_folder(touch(tmp_path, "ai/1.jpg", "nature/2.jpg"), class_map={"ai": "real", "nature": "fake"})
    assert manifest.sample(0).label == REAL


@pytest.mark.parametrize(
    ("files", "arguments", "words"),
    [
        ([], {}, ["holds no folder and no picture", "real and fake"]),
        (["1.jpg"], {}, ["1 pictures but no class folder"]),
        (["cats/1.jpg", "dogs/2.jpg"], {}, ["holds the classes ['cats', 'dogs']", "expected real and fake"]),
        (["cats/1.jpg", "dogs/2.jpg"], {}, ["data.class_map={cats: real, dogs: fake}"]),
        (["reel/1.jpg", "fake/2.jpg"], {}, ["Did you mean 'real'", "data.class_map={reel: real}"]),
        (
            ["a/real/1.jpg", "a/fake/1.jpg", "b/train/real/1.jpg"],
            {},
            ["data sets ['a', 'b']", "Did you mean data.root="],
        ),
        (["real/1.jpg", "photoshop/2.jpg", "x/3.jpg"], {}, ["data.class_map={photoshop: fake, x: fake}"]),
        (["real/1.jpg"], {}, ["only the class real", "fake too"]),
        (["real/1.jpg", "fake/readme.txt"], {}, ["fake' is the fake class and holds no picture"]),
        (["real/train/1.jpg", "fake/train/2.jpg"], {}, ["split folder below a class folder", "train/fake'"]),
        (["fake/real/1.jpg", "real/2.jpg"], {}, ["is a real folder inside a fake one"]),
        (["train/real/1.jpg", "train/fake/1.jpg", "more/real/2.jpg"], {}, ["beside ['more']", "data.splits={more"]),
        (["rvf10k/train/real/1.jpg", "rvf10k/train/fake/1.jpg"], {}, ["Did you mean data.root=", "/rvf10k?"]),
        (["real/1.jpg", "fake/2.jpg"], {"class_map": {"x": "fake", "X": "real"}}, ["both real and fake"]),
    ],
)
def test_what_is_wrong_is_said_with_its_cure(tmp_path, files, arguments, words):
    with pytest.raises(DataError) as caught:
        scan_folder(touch(tmp_path, *files), **arguments)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_root_and_file_as_root(tmp_path):
    touch(tmp_path, "rvf10k/real/1.jpg")
    with pytest.raises(DataError, match=r"does not exist.*Did you mean 'rvf10k'\?"):
        scan_folder(tmp_path / "rvf10")
    with pytest.raises(DataError, match="is a file, not a folder"):
        scan_folder(tmp_path / "rvf10k/real/1.jpg")


def test_one_class_is_allowed_for_evaluation(tmp_path):
    manifest = scan_folder(touch(tmp_path, "fake/1.jpg"), both_classes=False)
    assert manifest.class_counts() == {"real": 0, "fake": 1}


def test_other_files_are_counted_and_hidden_ones_are_not(tmp_path, caplog):
    touch(tmp_path, "real/1.jpg", "fake/2.jpg", "fake/a.txt", "b.csv", "c.csv", "fake/.DS_Store", "__MACOSX/real/3.jpg")
    touch(tmp_path, "loose.jpg", "documents/readme.md")
    with caplog.at_level(logging.WARNING):
        assert len(scan_folder(tmp_path)) == 2
    assert "3 files are no pictures and are left out (2 .csv, 1 .txt)" in caplog.text
    assert "1 pictures lie outside" in caplog.text


def test_a_class_that_is_mapped_but_not_there_is_told(tmp_path, caplog):
    write_dataset(tmp_path, num_images=1)
    for own in ("align.json", "manifest.csv"):
        (tmp_path / own).write_text("")
    with caplog.at_level(logging.WARNING):
        scan_folder(tmp_path, class_map={"Fake": "fake", "fotos": "real"})
    assert [record.getMessage() for record in caplog.records] == [
        f"'{tmp_path}': data.class_map names fotos, but no class folder is called so"
    ]


def test_links_are_followed_once_and_circles_end(tmp_path, caplog):
    touch(tmp_path, "store/1.jpg", "root/fake/2.jpg", "root/real/x/3.jpg")
    (tmp_path / "root/real/linked").symlink_to(tmp_path / "store")
    (tmp_path / "root/real/x/circle").symlink_to(tmp_path / "root")
    (tmp_path / "root/real/x/again").symlink_to(tmp_path / "store")
    manifest = scan_folder(tmp_path / "root")
    assert manifest.table["path"].to_pylist() == ["fake/2.jpg", "real/linked/1.jpg", "real/x/3.jpg"]
    assert "again (a link)" in caplog.text


@pytest.mark.parametrize(
    ("link", "target", "words"),
    [
        ("d/fake/mine", "d/real/x", "fake, and real"),
        ("d/fake/above", "d/real", "fake, and real"),
        ("t/test/real", "t/train/real", "real in test, and real in train"),
        ("t/test/fake/all", "t/train", "fake in test, and a folder of classes"),
    ],
)
def test_a_link_to_pictures_of_another_class_or_split_is_refused(tmp_path, link, target, words):
    """Else the first by the alphabet would win, and real pictures go as fake without a word."""
    touch(tmp_path, "d/fake/2.jpg", "d/real/x/3.jpg", "t/train/real/1.jpg", "t/train/fake/2.jpg", "t/test/fake/3.jpg")
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(DataError, match=f"are one folder by a link, but not one thing: {words}"):
        scan_folder(tmp_path / link.partition("/")[0])


def test_unreadable_files_keep_their_row(tmp_path):
    write_dataset(tmp_path, num_images=2)
    write_unreadable(tmp_path / "real")
    (tmp_path / "real/folder.jpg").rmdir()
    manifest = scan_folder(tmp_path)
    sizes = dict(zip(manifest.table["path"].to_pylist(), manifest.table["size_bytes"].to_pylist(), strict=True))
    assert sizes["real/broken_link.jpg"] == sizes["real/circle.jpg"] == sizes["real/empty.jpg"] == 0
    assert sizes["real/text.jpg"] == 20


def test_order_on_disk_changes_nothing(tmp_path):
    names = [f"{kind}/{i:02d}.jpg" for kind in ("real", "fake") for i in range(10)]
    forward = scan_folder(touch(tmp_path / "a", *names))
    backward = scan_folder(touch(tmp_path / "b", *reversed(names)))
    assert forward.content_hash == backward.content_hash


def test_names_outside_ascii(tmp_path):
    manifest = scan_folder(touch(tmp_path / "Bücher 写真", "real/ü 🙂.jpg", "fake/日本.jpg"))
    assert all(manifest.absolute_path(i).read_bytes() for i in range(2))


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_without_permission_is_named(tmp_path, mode):
    touch(tmp_path, "real/1.jpg", "fake/secret/2.jpg")
    (tmp_path / "fake/secret").chmod(mode)
    text = error_as_nobody(tmp_path, lambda: scan_folder(tmp_path))
    (tmp_path / "fake/secret").chmod(0o700)
    assert text.startswith(f"no permission to read the folder '{tmp_path}/fake/secret'")


def test_labels_are_int8(tmp_path):
    assert scan_folder(write_dataset(tmp_path, num_images=1)).labels.dtype == np.int8


def test_no_picture_at_all_is_refused_also_where_one_class_would_do(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "fake").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        scan_folder(tmp_path, both_classes=False)
