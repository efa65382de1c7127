"""What was found out about a picture, kept by the hash of its file: an audit that was cut short goes on from there."""

import hashlib
import json
import os
import sqlite3
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, get_type_hints

import numpy as np
import PIL

from veriscope.audit import hashing, pixel_facts
from veriscope.audit.picture import PIXELS_BYTES, Depth, Facts, PixelFacts
from veriscope.data import container, decode, jpeg
from veriscope.data.container import ContainerFacts

FILE_NAME = "facts.sqlite"
_WAIT_S = 30.0  # for another audit that is writing
_MAX_ASKED = 500  # hashes a question; SQLite's own limit is 32,766, earlier builds' 999
_CHECKSUM = struct.Struct("<I")
_PIXELS = PIXELS_BYTES + hashing.HASH_BYTES + 4 * len(pixel_facts.PIXEL_FACTS)
_KINDS = tuple(get_type_hints(ContainerFacts).values())
T = TypeVar("T")


def facts_version(*, max_pixels: int) -> str:
    """Return a short hash of everything that decides the facts of a file: the code that makes them, PIL, the limit."""
    digest = hashlib.sha256(f"{PIL.__version__} {max_pixels}".encode())
    for module in (container, decode, jpeg, hashing, pixel_facts):
        # The code itself, so that nobody has to remember to raise a number.
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]


class FactsCache:
    """Facts by file hash, in an SQLite file that several audits may use at once.

    A cache never ends an audit: a damaged file is moved aside, one that can't be written is done without; `warn` is
    told so once.
    """

    def __init__(self, folder: Path, *, version: str, warn: Callable[[str], None]) -> None:
        """Open, or make, `folder`/facts.sqlite; `version` is `facts_version`'s."""
        self._file = folder / FILE_NAME
        self._version = version
        self._warn = warn
        self._connection: sqlite3.Connection | None = None
        self._guarded(self._open, default=None)

    def find(self, hashes: Sequence[bytes], *, depth: Depth) -> dict[bytes, Facts]:
        """Return what is known of the files with these SHA-256, as deep as `depth` asks for."""
        found: dict[bytes, Facts] = {}
        for start in range(0, len(hashes), _MAX_ASKED):
            asked = hashes[start : start + _MAX_ASKED]
            places = ",".join("?" * len(asked))
            rows: list[tuple[bytes, bytes]] = self._guarded(
                lambda asked=asked, places=places: self._ask(  # type: ignore[misc]
                    f"SELECT sha256, body FROM facts WHERE version = ? AND depth = ? AND sha256 IN ({places})",
                    (self._version, depth, *asked),
                ),
                default=[],
            )
            for key, body in rows:
                if (facts := _unpacked(key, body, depth=depth)) is not None:
                    found[key] = facts
        return found

    def keep(self, facts: Mapping[bytes, Facts], *, depth: Depth) -> None:
        """Write facts by SHA-256; they are there for others, and after kill -9, when this returns."""
        rows = [(key, self._version, depth, _packed(key, found)) for key, found in facts.items()]
        if rows:
            self._guarded(lambda: self._write(rows), default=None)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self._file, timeout=_WAIT_S)
        # A power cut may cost the file, which can be made again; a kill doesn't.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS facts (sha256 BLOB, version TEXT, depth TEXT, body BLOB, "
            "PRIMARY KEY (sha256, version, depth)) WITHOUT ROWID"
        )
        self._connection.commit()

    def _ask(self, question: str, values: tuple[object, ...]) -> list[tuple[bytes, bytes]]:
        return [] if self._connection is None else self._connection.execute(question, values).fetchall()

    def _write(self, rows: Iterable[tuple[bytes, str, str, bytes]]) -> None:
        if self._connection is not None:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)", rows)

    def _guarded(self, work: Callable[[], T], *, default: T) -> T:
        """Return what `work` does; where the file is to blame, mend that and return `default`."""
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            self.close()
            damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
            if not damaged:
                self._warn(f"the cache '{self._file}' can't be used ({error}); everything is read anew")
                return default
        aside = self._file.with_name(f"{FILE_NAME}.damaged-{uuid.uuid4().hex[:6]}")
        try:
            self._file.rename(aside)
            for left in ("-journal", "-wal", "-shm"):  # they belong to what was moved
                with suppress(FileNotFoundError):
                    os.unlink(f"{self._file}{left}")  # noqa: PTH108 - a suffix to a suffix
            self._open()
            self._warn(f"the cache was damaged and is moved aside to '{aside}'; everything is read anew")
        except (sqlite3.Error, OSError) as error:
            self._connection = None
            self._warn(f"the cache '{self._file}' is damaged and can't be moved aside ({error})")
        return default


def _packed(key: bytes, facts: Facts) -> bytes:
    pixels = facts.pixels
    head = json.dumps({"problem": facts.problem, "container": facts.container}).encode()
    parts = [struct.pack("<I", len(head)), head]
    if pixels is not None:
        parts += [pixels.pixels, pixels.hashes, np.ascontiguousarray(pixels.facts, dtype="<f4").tobytes()]
    body = b"".join(parts)
    return _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(key))) + body


def _unpacked(key: bytes, body: bytes, *, depth: Depth) -> Facts | None:
    """Return the facts; None for bytes that a disk has changed, SQLite has no checksums of its own, and for those that
    this program can't have written."""
    if not isinstance(body, bytes) or len(body) < 8:
        return None
    if _CHECKSUM.unpack_from(body)[0] != zlib.crc32(body[4:], zlib.crc32(key)):
        return None
    (length,) = struct.unpack_from("<I", body, 4)
    rest = body[8 + length :]
    try:
        plain = json.loads(body[8 : 8 + length])
        problem, stored = plain["problem"], plain["container"]
        container = None if stored is None else ContainerFacts(*stored)
    except (ValueError, TypeError, KeyError):
        return None
    complete = len(rest) == (_PIXELS if problem is None and depth == "pixels" else 0)
    sound = container is None if problem is not None and stored is None else container is not None and _fits(container)
    if not (complete and sound and isinstance(problem, str | None)):
        return None
    if not rest:
        return Facts(problem, container, None)
    cut = PIXELS_BYTES + hashing.HASH_BYTES
    found = np.frombuffer(rest[cut:], dtype="<f4").astype(np.float32)
    return Facts(problem, container, PixelFacts(rest[:PIXELS_BYTES], rest[PIXELS_BYTES:cut], found))


def _fits(container: ContainerFacts) -> bool:
    """Return whether the inspection's table can hold these."""
    small = (container.quality or 0, container.orientation)
    return all(
        isinstance(value, kind) and (not isinstance(value, int) or 0 <= value < 1 << 31)
        for value, kind in zip(container, _KINDS, strict=True)
    ) and all(value < 1 << 7 for value in small)
