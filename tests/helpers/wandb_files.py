"""What W&B wrote, read from its own files."""

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wandb_records(folder: Path) -> list[Any]:
    """Return the records of the offline runs of `folder`, oldest file first.

    A .wandb file is a seven-byte header and a LevelDB log of protobuf records: blocks of 32 KiB, each fragment with
    CRC (4 bytes), length (2), type (1: full, 2: first, 3: middle, 4: last). wandb ships the record's schema. What a
    killed process left half written ends the file.
    """
    return [record for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")) for record in _read(file)]


def wait_for(done: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait until `done()`; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def _read(file: Path) -> list[Any]:
    from wandb.proto import wandb_internal_pb2

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    position, parts, records = 7, b"", []
    while position + 7 <= len(data):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        body = data[position + 7 : position + 7 + length]
        if kind == 0 or len(body) < length:
            break
        parts = body if kind in (1, 2) else parts + body
        position += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
    return records
