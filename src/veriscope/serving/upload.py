"""Uploads as they stream in: into memory, never onto disk, and never more of them than is granted.

Starlette's own form parser spools every file over 1 MB to a temporary file, and knows no bound on a file's size.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from veriscope.serving.errors import ApiError, bad_request, too_large
from veriscope.serving.settings import MEGABYTE, Limits
from veriscope.serving.sniff import sniff

FIELD = "files"
LONGEST_NAME = 255  # characters of a file name that are answered


@dataclass(slots=True)
class Upload:
    """One file of a request: its bytes, or None where it was larger than a file may be."""

    name: str | None
    data: bytes | None


class Held:
    """The bytes that all requests together hold. Only the event loop's thread uses it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.count = 0

    def take(self, count: int) -> bool:
        """Return whether there was room for `count` more bytes; they are held until `release`."""
        if self.count + count > self.limit:
            return False
        self.count += count
        return True

    def release(self, count: int) -> None:
        """Give bytes back."""
        self.count -= count


@dataclass(slots=True)
class _Part:
    """A part of a form while it comes."""

    headers: dict[str, str] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    data: bytearray = field(default_factory=bytearray)
    size: int = 0
    name: str | None = None
    largest: int = 0


class Form:
    """Parses a multipart body chunk by chunk (RFC 7578).

    Args:
        boundary: of the Content-Type.
        limits: what may come.
        videos: whether a file that begins as a video may be as large as one.

    """

    def __init__(self, boundary: bytes, *, limits: Limits, videos: bool = False) -> None:
        self.limits = limits
        self.videos = videos
        self.uploads: list[Upload] = []
        self.kept_bytes = 0
        self._part: _Part | None = None
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
            max_header_count=8,
            max_header_size=4096,
        )

    def write(self, chunk: bytes) -> int:
        """Parse the next bytes; return how many more of them are held now than before, which may be less than none.

        Raises:
            ApiError: no form, or one that holds more than is granted.

        """
        before = self.kept_bytes
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise bad_request("The body is no multipart form as its Content-Type announces.", code="bad_form") from None
        return self.kept_bytes - before

    def close(self) -> list[Upload]:
        """Return the files, when all bytes have come.

        Raises:
            ApiError: the form has no end, or no file.

        """
        if not self._complete:
            raise bad_request("The form ends before its closing boundary.", code="bad_form")
        if not self.uploads:
            raise bad_request(f"The form holds no file; send each as a part named '{FIELD}'.", code="no_files")
        return self.uploads

    def _begin(self) -> None:
        if len(self.uploads) == self.limits.max_files:
            text = f"A request may hold {self.limits.max_files} files. Send the others in another one."
            raise bad_request(text, code="too_many_files")
        self._part = _Part(largest=self.limits.max_file_bytes)

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._open.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._open.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._open
        part.headers[part.header_name.decode("latin-1").lower()] = part.header_value.decode("latin-1")
        part.header_name.clear()
        part.header_value.clear()

    def _headers_finished(self) -> None:
        part = self._open
        kind, options = parse_options_header(part.headers.get("content-disposition"))
        if kind != b"form-data" or options.get(b"name") != FIELD.encode():
            raise bad_request(f"Each part of the form is a file named '{FIELD}'.", code="unknown_field")
        if b"filename" not in options:
            raise bad_request(f"A part '{FIELD}' is no file: it has no filename.", code="unknown_field")
        part.name = _readable(options[b"filename"])

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._open
        part.size += end - start
        if len(part.data) < part.size - (end - start):
            return  # it is too large, and was forgotten
        part.data += data[start:end]
        self.kept_bytes += end - start
        if part.size > part.largest and self.videos and sniff(part.data)[0] == "video":
            part.largest = max(self.limits.max_video_bytes, part.largest)
        if part.size > part.largest:
            self._forget(part)

    def _forget(self, part: _Part) -> None:
        self.kept_bytes -= len(part.data)
        part.data = bytearray()

    def _end(self) -> None:
        part = self._open
        fits = part.size <= part.largest
        self.uploads.append(Upload(part.name, bytes(part.data) if fits else None))
        self._part = None

    def _finish(self) -> None:
        self._complete = True

    @property
    def _open(self) -> _Part:
        assert self._part is not None, "the parser begins a part before it speaks of it"
        return self._part


def _readable(name: bytes) -> str | None:
    """Return a file name for the answer, without folders and control characters; None of none."""
    text = name.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[:LONGEST_NAME] or None


def boundary_of(headers: Mapping[str, str]) -> bytes:
    """Return the boundary that the headers announce.

    Raises:
        ApiError: no multipart form, or one that is compressed.

    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "bad_type", "A compressed body is not read; send it as it is."
        )
    kind, options = parse_options_header(headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data":
        raise ApiError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "bad_type",
            f"Send a form, multipart/form-data, with each picture as a part named '{FIELD}'.",
        )
    # RFC 2046, 5.1.1: 1 to 70 characters.
    if not re.fullmatch(rb"[\w'()+,./:=? -]{1,70}", boundary):
        raise bad_request("The Content-Type names no sound boundary.", code="bad_form")
    return boundary


class Reader:
    """Reads one request's body within the limits, and holds its bytes until `release`."""

    def __init__(self, *, limits: Limits, held: Held, videos: bool = False) -> None:
        self.limits = limits
        self.held = held
        self.videos = videos
        self.num_bytes = 0

    async def read(
        self, headers: Mapping[str, str], stream: AsyncIterator[bytes], *, retry_after_s: int
    ) -> list[Upload]:
        """Return the files of a request; its bytes are held until `release`, also where it has no answer.

        Raises:
            ApiError: no sound form, or more than is granted. What still comes of the body is for the server to pass
                over (serving.protocol): a client that is cut off while it sends reads no answer.

        """
        try:
            announced = headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > self.limits.max_body_bytes:
                raise self._body_too_large()
            form = Form(boundary_of(headers), limits=self.limits, videos=self.videos)
            async with asyncio.timeout(self.limits.upload_s):
                return await self._parse(form, stream, retry_after_s=retry_after_s)
        except TimeoutError:
            raise ApiError(
                HTTPStatus.REQUEST_TIMEOUT, "too_slow_upload", f"The body took over {self.limits.upload_s:g} s to come."
            ) from None

    async def _parse(self, form: Form, stream: AsyncIterator[bytes], *, retry_after_s: int) -> list[Upload]:
        num_read = 0
        async for chunk in stream:
            num_read += len(chunk)
            if num_read > self.limits.max_body_bytes:
                raise self._body_too_large()
            more = form.write(chunk)
            if more > 0 and not self.held.take(more):
                raise _no_room(retry_after_s)
            if more < 0:
                self.held.release(-more)
            self.num_bytes += more
        return form.close()

    def release(self) -> None:
        """Give back what is held; a second time does nothing."""
        self.held.release(self.num_bytes)
        self.num_bytes = 0

    def _body_too_large(self) -> ApiError:
        return too_large(f"A request may hold {self.limits.max_body_bytes / MEGABYTE:g} MB. Send fewer files at once.")


def _no_room(retry_after_s: int) -> ApiError:
    return ApiError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "busy",
        f"The server holds as many uploads as it can. Try again in {retry_after_s} s.",
        retry_after_s=retry_after_s,
    )
