"""The cache of facts: by content, for several audits at once, and never the end of one."""

import json
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.badfiles import encoded, picture

from veriscope.audit.cache import FILE_NAME, FactsCache, facts_version
from veriscope.audit.picture import Facts, facts_of
from veriscope.data.decode import MAX_PIXELS

FOUND = facts_of(encoded(Image.fromarray(picture()), "JPEG"), depth="pixels", max_pixels=MAX_PIXELS)
BAD = facts_of(b"no picture", depth="pixels", max_pixels=MAX_PIXELS)
KEYS = [bytes([number]) * 32 for number in range(4)]


def opened(folder: Path, warnings: list[str] | None = None, *, version: str = "1") -> FactsCache:
    return FactsCache(folder, version=version, warn=(warnings if warnings is not None else []).append)


def same(left: Facts, right: Facts) -> bool:
    if left.pixels is None or right.pixels is None:
        return left == right
    return left[:2] == right[:2] and left.pixels[:2] == right.pixels[:2] and np.array_equal(
        left.pixels.facts, right.pixels.facts
    )  # fmt: skip


def test_what_is_kept_is_found_again_by_another_process_s_connection(tmp_path: Path) -> None:
    opened(tmp_path).keep({KEYS[0]: FOUND, KEYS[1]: BAD}, depth="pixels")
    found = opened(tmp_path).find(KEYS, depth="pixels")
    assert found.keys() == {KEYS[0], KEYS[1]}
    assert same(found[KEYS[0]], FOUND)
    assert same(found[KEYS[1]], BAD)
    assert BAD.problem == "not an image (or of an unknown format)"


def test_another_version_and_another_depth_are_other_facts(tmp_path: Path) -> None:
    opened(tmp_path).keep({KEYS[0]: FOUND}, depth="pixels")
    assert opened(tmp_path, version="2").find(KEYS, depth="pixels") == {}
    assert opened(tmp_path).find(KEYS, depth="headers") == {}


def test_the_version_is_of_code_and_limit() -> None:
    assert facts_version(max_pixels=100) == facts_version(max_pixels=100) != facts_version(max_pixels=101)


def test_more_hashes_than_a_question_may_hold(tmp_path: Path) -> None:
    keys = [number.to_bytes(32, "big") for number in range(1200)]
    cache = opened(tmp_path)
    cache.keep(dict.fromkeys(keys, BAD), depth="headers")
    assert len(cache.find(keys, depth="headers")) == 1200


@pytest.mark.parametrize(
    "damage", [b"no database at all, but long enough to be taken for one" * 40, b"SQLite format 3\0"]
)
def test_a_damaged_file_is_moved_aside_with_a_warning(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    warnings: list[str] = []
    cache = opened(tmp_path, warnings)
    assert len(warnings) == 1
    assert "damaged and is moved aside" in warnings[0]
    cache.keep({KEYS[0]: FOUND}, depth="pixels")
    assert opened(tmp_path).find(KEYS, depth="pixels").keys() == {KEYS[0]}
    (aside,) = tmp_path.glob(f"{FILE_NAME}.damaged-*")
    assert aside.read_bytes() == damage


def test_damage_in_the_middle_is_found_when_it_is_met(tmp_path: Path) -> None:
    opened(tmp_path).keep({number.to_bytes(32, "big"): FOUND for number in range(300)}, depth="pixels")
    file = tmp_path / FILE_NAME
    content = bytearray(file.read_bytes())
    content[8192:-4096] = b"\xff" * (len(content) - 8192 - 4096)
    file.write_bytes(content)
    warnings: list[str] = []
    cache = opened(tmp_path, warnings)
    assert cache.find([number.to_bytes(32, "big") for number in range(300)], depth="pixels") == {}
    assert len(warnings) == 1
    cache.keep({KEYS[0]: BAD}, depth="pixels")
    assert cache.find(KEYS, depth="pixels").keys() == {KEYS[0]}


def test_a_flipped_bit_is_no_fact(tmp_path: Path) -> None:
    opened(tmp_path).keep({KEYS[0]: FOUND}, depth="pixels")
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        (body,) = connection.execute("SELECT body FROM facts").fetchone()
        connection.execute("UPDATE facts SET body = ?", (body[:-1] + bytes([body[-1] ^ 1]),))
    assert opened(tmp_path).find(KEYS, depth="pixels") == {}


def test_without_a_place_to_write_it_goes_on_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder would be")
    warnings: list[str] = []
    cache = opened(tmp_path / "taken", warnings)
    cache.keep({KEYS[0]: FOUND}, depth="pixels")
    assert cache.find(KEYS, depth="pixels") == {}
    assert len(warnings) == 1
    assert "everything is read anew" in warnings[0]


WRITER = """
import sys
from pathlib import Path
from veriscope.audit.cache import FactsCache
from veriscope.audit.picture import Facts
def warn(text): raise SystemExit(text)
cache = FactsCache(Path(sys.argv[1]), version="1", warn=warn)
for number in range(40):
    cache.keep({bytes([int(sys.argv[2]), number]) * 16: Facts(str(number), None, None)}, depth="headers")
"""


@pytest.mark.slow
def test_two_audits_write_at_once(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(number)]) for number in (1, 2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    keys = [bytes([writer, number]) * 16 for writer in (1, 2) for number in range(40)]
    assert len(opened(tmp_path).find(keys, depth="headers")) == 80


def _sealed(key: bytes, head: object, rest: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    body = struct.pack("<I", len(text)) + text + rest
    return struct.pack("<I", zlib.crc32(body, zlib.crc32(key))) + body


_STORED = ["JPEG", "RGB", 64, 64, 500, 1, 90, "x", "4:2:0", False, False, False, False, 1]


@pytest.mark.parametrize(
    "body",
    [
        "a text where bytes belong",
        5,
        None,
        struct.pack("<I", zlib.crc32(b"\xff" * 9, zlib.crc32(KEYS[0]))) + b"\xff" * 9,
        _sealed(KEYS[0], [1]),
        _sealed(KEYS[0], {}),
        _sealed(KEYS[0], {"problem": None, "container": None}),
        _sealed(KEYS[0], {"problem": None, "container": _STORED}),
        _sealed(KEYS[0], {"problem": None, "container": _STORED}, b"abc"),
        _sealed(KEYS[0], {"problem": 5, "container": None}),
        _sealed(KEYS[0], {"problem": "", "container": ["JPEG"]}),
        _sealed(KEYS[0], {"problem": "x", "container": [["x"]] * 14}),
        _sealed(KEYS[0], {"problem": "x", "container": [*_STORED[:2], 10**12, *_STORED[3:]]}),
        _sealed(KEYS[0], {"problem": "x", "container": [*_STORED[:-1], 999]}),
        _sealed(KEYS[1], {"problem": "of another file", "container": None}),
    ],
)
def test_a_row_that_this_program_cannot_have_written_is_none(tmp_path: Path, body: object) -> None:
    opened(tmp_path).keep({KEYS[0]: FOUND}, depth="pixels")
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        connection.execute("UPDATE facts SET body = ?", (body,))
    connection.close()
    cache = opened(tmp_path)
    assert cache.find(KEYS, depth="pixels") == {}
    cache.keep({KEYS[0]: FOUND}, depth="pixels")
    assert same(cache.find(KEYS, depth="pixels")[KEYS[0]], FOUND)
