"""Small videos made by PyAV, whose frames tell their number."""

import io
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def numbered(number: int, *, size: tuple[int, int] = (64, 48)) -> Pixels:
    """Return a picture that tells a number below 256: eight columns, black for 0 and white for 1, high bit first."""
    image_HWC = np.empty((size[1], size[0], 3), dtype=np.uint8)
    for bit, columns in enumerate(np.array_split(np.arange(size[0]), 8)):
        image_HWC[:, columns] = 225 if number >> (7 - bit) & 1 else 30
    return image_HWC


def number_of(image_HWC: Pixels) -> int:
    """Return the number that `numbered` drew, whatever a lossy codec did to it."""
    bright = [float(part.mean()) > 128 for part in np.array_split(image_HWC, 8, axis=1)]
    return int("".join(str(int(one)) for one in bright), 2)


def make_clip(
    num_frames: int,
    *,
    form: str = "mp4",
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times_s: Sequence[float] | None = None,
    rate: int = 10,
    size: tuple[int, int] = (64, 48),
    picture: Callable[[int], Pixels] | None = None,
    options: dict[str, str] | None = None,
    rotation: tuple[int, bool, bool] | None = None,
    aspect: Fraction | None = None,
    gop: int | None = None,
    container: dict[str, str] | None = None,
    sound_s: float = 0.0,
) -> bytes:
    """Return a video of `num_frames` pictures, frame i at `times_s[i]` or i / rate."""
    file = io.BytesIO()
    ticks = rate if times_s is None else 1000  # a second; MPEG-2 and AVI know whole frames only
    with av.open(file, "w", format=form, container_options=container) as output:
        stream = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, ticks)
        if gop is not None:
            stream.codec_context.gop_size = gop
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        sound = output.add_stream("aac", rate=8000) if sound_s else None
        for number in range(num_frames):
            image_HWC = numbered(number, size=size) if picture is None else picture(number)
            frame = av.VideoFrame.from_ndarray(image_HWC, format="rgba" if image_HWC.shape[2] == 4 else "rgb24")
            frame.time_base = Fraction(1, ticks)
            frame.pts = number if times_s is None else round(ticks * times_s[number])
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound is not None:
            output.mux(_tone(sound, sound_s))
            output.mux(sound.encode(None))
    return file.getvalue()


def sound_only(seconds: float = 1.0, *, form: str = "mp4") -> bytes:
    """Return a file without a picture."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as output:
        stream = output.add_stream("aac" if form != "mp3" else "libmp3lame", rate=8000)
        output.mux(_tone(stream, seconds))
        output.mux(stream.encode(None))
    return file.getvalue()


def _tone(stream: av.AudioStream, seconds: float) -> list[av.Packet]:
    wave = np.sin(np.arange(int(8000 * seconds)) / 5)[None].astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
    frame.sample_rate = 8000
    frame.pts = 0
    return list(stream.encode(frame))


def patched(clip: bytes, box: bytes, offset: int, values: bytes, *, number: int = 0) -> bytes:
    """Return an MP4 with `values` at `offset` bytes behind the name of its box of that number."""
    at = -1
    for _ in range(number + 1):
        at = clip.index(box, at + 1)
    at += 4 + offset
    return clip[:at] + values + clip[at + len(values) :]


def number_32(value: int) -> bytes:
    """Return a 32-bit number as MP4 writes it."""
    return struct.pack(">I", value)


def index_first(clip: bytes) -> bytes:
    """Return an MP4 with its index (moov) before its pictures (mdat), so that a cut at the end leaves it whole."""
    boxes: dict[bytes, bytes] = {}
    at = 0
    while at < len(clip):
        size, name = struct.unpack(">I4s", clip[at : at + 8])
        boxes[name] = clip[at : at + size]
        at += size
    moov = bytearray(boxes[b"moov"])
    moved = 0
    while (moved := moov.find(b"stco", moved + 1)) > 0:  # the places of chunks are counted from the file's start
        (count,) = struct.unpack(">I", moov[moved + 8 : moved + 12])
        for entry in range(moved + 12, moved + 12 + 4 * count, 4):
            (place,) = struct.unpack(">I", moov[entry : entry + 4])
            moov[entry : entry + 4] = struct.pack(">I", place + len(moov))
    return boxes[b"ftyp"] + bytes(moov) + b"".join(boxes[name] for name in boxes if name not in (b"ftyp", b"moov"))
