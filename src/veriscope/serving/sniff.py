"""What an upload is, by its first bytes: names and announced types are the client's word, and nothing rests on them."""

from typing import Literal

from veriscope.data.decode import FORMATS
from veriscope.errors import DecodeError
from veriscope.serving.schemas import FileError

Kind = Literal["picture", "video", "other"]

# ISO base media files say in their brand what they hold (ISO/IEC 14496-12, 4.3).
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_VIDEOS = (b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"OggS", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
_NAMED = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive, or a document that is one",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"ID3": "a sound file",
    b"fLaC": "a sound file",
    b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
}
_READS = ", ".join(name for name in FORMATS if name != "MPO")
_TEXT = (b"<svg", b"<?xml", b"<!doctype", b"<html")


def sniff(data: bytes | bytearray) -> tuple[Kind, str]:
    """Return what the bytes look like, and for 'other' what that is in a few words, else ''.

    A picture may still be damaged, or of a kind of TIFF that nobody reads: only decoding tells.
    """
    head = bytes(data[:64])
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _AVIF_BRANDS or (brand in _HEIF_BRANDS and any(b in head[16:] for b in _AVIF_BRANDS)):
            return "picture", ""
        if brand in _HEIF_BRANDS:
            return "other", "a HEIC picture, as iPhones take them"
        return "video", ""
    if head[:4] == b"RIFF":
        return _riff(head[8:12])
    if head.startswith(_PICTURES):
        return "picture", ""
    if head.startswith(_VIDEOS) or (len(data) > 188 and data[0] == data[188] == 0x47):  # an MPEG transport stream
        return "video", ""
    for start, name in _NAMED.items():
        if head.startswith(start):
            return "other", name
    if head.lstrip().lower().startswith(_TEXT):
        return "other", "a text of markup, as SVG and HTML are"
    return "other", "an empty file" if not data else "something else"


def no_picture(data: bytes, *, videos: bool = False) -> FileError | None:
    """Return why a file is no picture, by its first bytes; None: it seems to be one. `videos`: they would do, too."""
    kind, words = sniff(data)
    if kind == "picture":
        return None
    return FileError(
        code="no_picture",
        message=f"This is no {'file' if videos else 'picture'} that the server reads: it is {words or 'a video'}. "
        f"It reads {_READS}{' and videos' if videos else ''}.",
    )


def file_error(error: DecodeError) -> FileError:
    """Return what a decoder says as an answer's error."""
    reason = "it is cut off; fetch or copy it again" if error.reason == "truncated" else error.reason
    message = f"This file can't be read: {reason}."
    return FileError(code="too_large" if error.reason.startswith("too large") else "unreadable", message=message)


def _riff(form: bytes) -> tuple[Kind, str]:
    if form == b"WEBP":
        return "picture", ""
    return ("video", "") if form == b"AVI " else ("other", "a sound file")
