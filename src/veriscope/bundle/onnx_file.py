"""The one file of an exported bundle: an ONNX graph with its weights, the bundle's facts as its metadata, and a seal.

Read without the packages onnx and protobuf: nothing of a file reaches ONNX Runtime before it was found whole and plain.
A message of protobuf is its fields one after the other, and two messages in a row are one message: so metadata are
appended to the finished graph, and last of all the SHA-256 of every byte before it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from veriscope.errors import BundleError

RECORD_KEY = "veriscope.record"
OOD_KEY = "veriscope.ood"  # ood.safetensors in base64: metadata are text
EXPORT_KEY = "veriscope.export"
_SEAL_KEY = "veriscope.sha256"
_HEX_DIGITS = 64

MAX_BYTES = 2**31 - 1  # protobuf's own limit
_MAX_FIELDS = 5_000_000  # the graphs of large networks have some 100,000

# Numbers of fields in onnx.proto3, which never change their meaning.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 14, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = 5, 6, 10, 11, (22, 23)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_BYTES = 2  # wire type of text, bytes and messages
_LARGEST_TAG = 2**32 - 1  # a field's number and wire type


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A file that was found whole: its `content`, the metadata `entries`, and the `sha256` that its seal names."""

    content: bytes
    entries: Mapping[str, str]
    sha256: str


def sealed(graph: bytes, entries: Mapping[str, str]) -> bytes:
    """Return the content of a file: a serialised ModelProto, the entries as its metadata, the seal."""
    body = graph + b"".join(_entry(key, value) for key, value in entries.items())
    return body + _entry(_SEAL_KEY, hashlib.sha256(body).hexdigest())


def read_onnx_file(path: Path) -> OnnxFile:
    """Return a file that `sealed` made, every byte of it as it was, and plain: see `_refuse_special`.

    Raises:
        BundleError: missing, damaged, changed, no ONNX, not veriscope's, or with what no export of veriscope holds.

    """
    if not path.exists():
        raise BundleError(
            f"there is no bundle '{path}': no such file. `veriscope export BUNDLE {path.name}` makes one."
        )
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise BundleError(f"'{path}' is no ONNX file of at most 2 GiB.")
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"'{path}' can't be read: {error.strerror}.") from error
    seal = _entry(_SEAL_KEY, "0" * _HEX_DIGITS)
    body, end = memoryview(content)[: -len(seal)], content[-len(seal) :]
    if len(end) != len(seal) or end[:-_HEX_DIGITS] != seal[:-_HEX_DIGITS]:
        raise BundleError(_why_no_seal(content, path))
    found, said = hashlib.sha256(body).hexdigest(), end[-_HEX_DIGITS:].decode("ascii", "replace")
    if found != said:
        raise BundleError(f"'{path}' is damaged: its hash is {found[:12]}, it says {said[:12]}. Copy it again.")
    try:
        _refuse_special(content)
        return OnnxFile(content, _metadata(content), found)
    except ValueError as error:
        raise BundleError(f"'{path}' {error}; it is not as veriscope exports, and is not run.") from error


def _why_no_seal(content: bytes, path: Path) -> str:
    """Return the error's text for a file without a seal at its end."""
    try:
        entries, has_graph = _metadata(content), any(n == _MODEL_GRAPH for n, _ in _fields(content))
    except ValueError:
        entries, has_graph = {}, False
    if RECORD_KEY in entries:
        return f"'{path}' was changed after veriscope exported it; copy it again, or export the bundle again."
    if not has_graph:
        return f"'{path}' is cut off, or no ONNX file; copy it again, or export the bundle again."
    return (
        f"'{path}' is an ONNX graph, but no bundle: it lacks preprocessing, calibration, thresholds and class map. "
        "`veriscope export BUNDLE OUT.onnx` writes a graph that has them."
    )


def _refuse_special(content: bytes) -> None:
    """Refuse what no export of veriscope needs, and a hostile file might use: weights in other files (whose names may
    lead anywhere), operators of others, and graphs in graphs, which may loop for ever.

    Raises:
        ValueError: it holds some; the text goes on from the file's name.

    """
    for number, value in _fields(content):
        if number in (_MODEL_TRAINING, _MODEL_FUNCTIONS):
            raise ValueError("holds functions of its own")
        if number != _MODEL_GRAPH:
            continue
        for part, inner in _fields(value):
            if part == _GRAPH_NODE:
                _check_node(inner)
            elif part == _GRAPH_INITIALIZER:
                _check_tensor(inner)
            elif part == _GRAPH_SPARSE:
                raise ValueError("holds sparse weights")


def _check_node(node: memoryview) -> None:
    fields = list(_fields(node))
    text = {number: bytes(value) for number, value in fields if number in (_NODE_OPERATOR, _NODE_DOMAIN)}
    name = text.get(_NODE_OPERATOR, b"").decode("utf-8", "replace")
    if text.get(_NODE_DOMAIN, b"") not in (b"", b"ai.onnx"):
        raise ValueError(f"holds the operator '{name}', which is none of ONNX's own")
    for number, value in fields:
        if number != _NODE_ATTRIBUTE:
            continue
        for part, inner in _fields(value):
            if part in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS, *_ATTRIBUTE_SPARSE):
                raise ValueError(f"holds the operator '{name}' with a graph or a sparse tensor inside")
            if part in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                _check_tensor(inner)


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor, numbers=True):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and len(value)):
            raise ValueError("keeps weights in another file")


def _metadata(content: bytes) -> dict[str, str]:
    """Return the metadata of a ModelProto.

    Raises:
        ValueError: no protobuf, or no text.

    """
    found = {}
    for number, value in _fields(content):
        if number == _MODEL_METADATA:
            entry = {part: bytes(inner) for part, inner in _fields(value)}
            found[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    return found


def _fields(message: bytes | memoryview, *, numbers: bool = False) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of the message's fields that are text, bytes or messages.

    With `numbers` also those that are whole numbers: their content is one byte, or none of the number 0.

    Raises:
        ValueError: no protobuf, or cut off.

    """
    data = memoryview(message)
    at, count = 0, 0
    while at < len(data):
        count += 1
        if count > _MAX_FIELDS:
            raise ValueError(f"holds more than {_MAX_FIELDS:,} parts")
        tag, at = _varint(data, at, limit=5)
        if tag > _LARGEST_TAG:  # protobuf's readers drop what is above: they would see another field than this one
            raise ValueError("is no ONNX file")
        kind = tag & 7
        start = at
        if kind == 0:
            value, at = _varint(data, at, limit=10)
            if numbers:
                yield tag >> 3, memoryview(b"\1" if value else b"")
            continue
        if kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == _BYTES:
            length, start = _varint(data, at, limit=10)
            at = start + length
        else:
            raise ValueError("is no ONNX file")
        if at > len(data):
            raise ValueError("is cut off")
        if kind == _BYTES:
            yield tag >> 3, data[start:at]


def _varint(data: memoryview, at: int, *, limit: int) -> tuple[int, int]:
    """Return a number in protobuf's base 128, and where it ends."""
    value = 0
    for place in range(limit):
        if at >= len(data):
            raise ValueError("is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at
    raise ValueError("is no ONNX file")


def _entry(key: str, value: str) -> bytes:
    """Return one of a ModelProto's metadata as protobuf."""
    inner = _field(1, key.encode()) + _field(2, value.encode())
    return _field(_MODEL_METADATA, inner)


def _field(number: int, content: bytes) -> bytes:
    return _as_varint(number << 3 | _BYTES) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
