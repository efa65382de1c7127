"""What a server grants to whoever asks, and what it refuses."""

import os
from dataclasses import dataclass
from pathlib import Path

from veriscope.errors import ConfigError

MEGABYTE = 1_000_000
TOKEN_VARIABLE = "VERISCOPE_TOKEN"
SHORTEST_TOKEN = 16  # characters: what `openssl rand -hex 8` gives


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost. Sizes are checked while a body streams in, whatever its headers say.

    `max_waiting` counts pictures that are in the server, waiting or worked on, over all requests; `max_held_bytes`
    their stored bytes, which lie in memory and nowhere else. A video may be larger than a picture, and has a time limit
    of its own.
    """

    max_file_bytes: int = 25 * MEGABYTE
    max_video_bytes: int = 100 * MEGABYTE
    max_files: int = 32
    max_body_bytes: int = 128 * MEGABYTE
    max_held_bytes: int = 512 * MEGABYTE
    max_pixels: int = 64_000_000
    max_waiting: int = 128
    batch_size: int = 16
    wait_s: float = 0.005
    num_workers: int = 2
    timeout_s: float = 30.0
    video_s: float = 120.0
    upload_s: float = 60.0

    def __post_init__(self) -> None:
        if self.max_files > self.max_waiting:
            raise ConfigError(
                f"--queue {self.max_waiting} is below --max-files {self.max_files}: one request could never be taken. "
                "Raise --queue, or lower --max-files."
            )
        largest = max(self.max_file_bytes, self.max_video_bytes)
        if not largest <= self.max_body_bytes <= self.max_held_bytes:
            raise ConfigError(
                f"one file may be {_megabytes(largest)}, one request {_megabytes(self.max_body_bytes)}, "
                f"all that is held {_megabytes(self.max_held_bytes)}: each must be at least as large as the one "
                "before. See --max-upload-mb, --max-video-mb, --max-request-mb and --memory-mb."
            )


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask: whoever has the `token` (None: everybody who reaches the server), by which names, from which pages.

    `hosts` are names under which the server answers beside localhost and plain addresses; `origins` are other sites
    whose pages may use the API, as 'https://desk.example'.
    """

    token: str | None = None
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()


def read_token(file: Path | None) -> str | None:
    """Return the token of `file`, else that of the environment's VERISCOPE_TOKEN; None where there is neither.

    Raises:
        ConfigError: the file can't be read, or the token is short or holds what no header can.

    """
    if file is None:
        token, place = os.environ.get(TOKEN_VARIABLE, ""), f"the environment's {TOKEN_VARIABLE}"
        if not token:
            return None
    else:
        try:
            token, place = file.read_text(encoding="utf-8").strip(), f"--token-file '{file}'"
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it holds no text"
            raise ConfigError(f"--token-file '{file}' can't be read: {reason}.") from None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{place}: a token has at least {SHORTEST_TOKEN} printable ASCII characters without spaces, "
            "as `openssl rand -hex 16` makes one."
        )
    return token


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:g} MB"
