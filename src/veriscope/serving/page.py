"""The page's files, read once; nothing else of the disk can be asked for."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page: its bytes, its media type, and its ETag, which changes with them."""

    body: bytes
    media_type: str
    etag: str


def load_page() -> dict[str, Asset]:
    """Return the files of the page by name."""
    found = {}
    for file in files("veriscope.serving").joinpath("static").iterdir():
        suffix = "." + file.name.rsplit(".", 1)[-1]
        if suffix in _TYPES:
            body = file.read_bytes()
            found[file.name] = Asset(body, _TYPES[suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found
