import struct
import tarfile

import pytest
from tests.helpers.shards import jpeg, write_tar

from veriscope.data.tar import tar_members
from veriscope.errors import DataError


def header(name, kind, **more):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_and_bytes_of_every_dialect(tmp_path, form):
    long = "d" * 90 + "/" + "e" * 90 + ".jpg"
    names = ["a.jpg", "./b//c.jpg", long] + ([] if form == tarfile.USTAR_FORMAT else ["ü" * 120 + ".jpg"])
    path = write_tar(tmp_path / "s.tar", [(name, jpeg(seed)) for seed, name in enumerate(names)], form=form)
    found = list(tar_members(path))
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        assert [member.size_bytes for member in found] == [info.size for info in tar.getmembers()]
    assert [member.name for member in found] == ["a.jpg", "b/c.jpg", *names[2:]]
    for seed, member in enumerate(found):
        assert data[member.offset : member.offset + member.size_bytes] == jpeg(seed)


def test_what_is_no_plain_file_is_left_out_and_said(tmp_path, caplog):
    members = [
        ("a.jpg", jpeg()),
        (header("folder", tarfile.DIRTYPE), b""),
        (header("link.jpg", tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
        (header("hard.jpg", tarfile.LNKTYPE, linkname="a.jpg"), b""),
        (header("device.jpg", tarfile.CHRTYPE, devmajor=1, devminor=5), b""),
        (header("pipe.jpg", tarfile.FIFOTYPE), b""),
        ("z.jpg", jpeg()),
    ]
    assert [member.name for member in tar_members(write_tar(tmp_path / "s.tar", members))] == ["a.jpg", "z.jpg"]
    assert "4 members are no plain files" in caplog.text
    assert "2 links, 2 devices or pipes" in caplog.text


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", ".."])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    path = write_tar(tmp_path / "s.tar", [("a.jpg", jpeg()), (name, jpeg())])
    with pytest.raises(DataError, match="leaves the folder"):
        list(tar_members(path))


@pytest.fixture
def sound(tmp_path):
    return write_tar(tmp_path / "s.tar", [(f"{number}.jpg", jpeg(number)) for number in range(3)]).read_bytes()


def test_every_cut_is_noticed(tmp_path, sound):
    """Wherever a copy stopped: inside a picture, inside a header, and exactly between two members."""
    starts = [member.offset - 512 for member in tar_members(tmp_path / "s.tar")]
    for end in (1, 200, 600, starts[1], starts[1] + 100, starts[2], starts[2] + 512, len(sound.rstrip(b"\0"))):
        (tmp_path / "cut.tar").write_bytes(sound[:end])
        with pytest.raises(DataError, match=r"cut off|damaged"):
            list(tar_members(tmp_path / "cut.tar"))


def test_damage_in_the_middle_is_no_end(tmp_path, sound):
    """tarfile by itself takes a broken header for the end of the archive."""
    second = list(tar_members(tmp_path / "s.tar"))[1].offset - 512
    (tmp_path / "bad.tar").write_bytes(sound[:second] + b"\x07" * 512 + sound[second + 512 :])
    with tarfile.open(tmp_path / "bad.tar") as tar:
        assert len(tar.getmembers()) == 1
    with pytest.raises(DataError, match="is damaged at byte"):
        list(tar_members(tmp_path / "bad.tar"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no tar|cut off"),
        (b"no archive at all" * 100, "no tar"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"BZh9", "bzip2"),
        (b"\xfd7zXZ", "xz"),
        (b"(\xb5/\xfd", "zstd"),
    ],
)
def test_what_is_no_tar(tmp_path, data, words):
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(DataError, match=words):
        list(tar_members(tmp_path / "x.tar"))


def test_a_member_of_a_terabyte_that_isnt_there(tmp_path):
    info = header("huge.jpg", tarfile.REGTYPE, size=10**12)
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 4096)
    with pytest.raises(DataError, match="damaged"):
        list(tar_members(tmp_path / "x.tar"))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_memory(tmp_path, kind):
    info = header("x", kind, size=1 << 33)
    with (tmp_path / "x.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate((1 << 33) + 4096)  # sparse: takes no disk
    with pytest.raises(DataError, match="a header of"):
        list(tar_members(tmp_path / "x.tar"))


def test_sizes_below_zero_end(tmp_path):
    """CVE-2025-8194: a negative size leads tarfile back to the same header for ever."""
    raw = bytearray(header("x.jpg", tarfile.REGTYPE, size=0).tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    (tmp_path / "x.tar").write_bytes(bytes(raw) * 3 + b"\0" * 1024)
    with pytest.raises(DataError, match="damaged"):
        list(tar_members(tmp_path / "x.tar"))
