"""The one door to PyAV (FFmpeg): a video file's facts, and its frames from any time on.

FFmpeg is given an open file and nothing else. Playlists (HLS, DASH, concat, SDP, ...) name other files and hosts, and
FFmpeg would fetch them: formats and decoders are a closed list, protocols none, and whatever it still asks to open is
refused.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import av
import av.container
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Discard, Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from veriscope.errors import DecodeError

Pixels = npt.NDArray[np.uint8]

MAX_FRAME_PIXELS = 1 << 26  # 8192 x 8192. A decoder keeps up to 16 frames, so less than a single picture may have

# Demuxers that read one file and open no other.
FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,ivf,mxf,nut,h264,hevc,m4v,mpegvideo,mjpeg"
DECODERS = frozenset(
    (
        "av1", "cinepak", "dnxhd", "dvvideo", "ffv1", "ffvhuff", "flv", "h261", "h263", "h264", "hevc", "huffyuv",
        "libdav1d", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "mpegvideo", "msmpeg4", "msmpeg4v2", "msmpeg4v1",
        "png", "prores", "qtrle", "rawvideo", "svq1", "svq3", "theora", "utvideo", "vc1", "vp6", "vp6f", "vp8", "vp9",
        "vvc", "wmv1", "wmv2", "wmv3",
    )
)  # fmt: skip

READ_BYTES = 1 << 18  # FFmpeg's own 32 KiB are eight times the calls into Python
MAX_STREAMS = 100
ASPECT_LIMIT = 4.0  # pixels longer or wider than this are a damaged header: taken as square

CLOCK_BACK_S = 0.5  # more than muxers' rounding

_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED, AVCOL_SPC_BT709, and the curves of HDR (ITU-T H.273, tables 3 and 4)
_BT709 = 1
_HDR = (16, 18)
_MICROSECOND = 1e-6  # AV_TIME_BASE
_NUM_FAILURES = 1000  # packets in a row that don't decode: the rest is taken as broken


class Readable(Protocol):
    """What PyAV needs of a file."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place, counted as io.IOBase.seek does."""

    def tell(self) -> int:
        """Return the place."""


class Shown(NamedTuple):
    """A decoded frame and the second from which it is shown; a player's clock, which is 0 at the file's start."""

    time_s: float
    frame: VideoFrame


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What a video's header says. `length_s`: how long it claims to be; None where it doesn't say."""

    format: str
    codec: str
    width_px: int
    height_px: int
    length_s: float | None


class Clip:
    """A video file whose frames can be read. Not for two threads at once.

    Args:
        file: open for reading, and seekable; stays open.
        name: stands in errors.
        max_pixels: of a frame; larger ones are refused before they are decoded.
        threads: of the decoder; 0: as many as there are cores.

    Raises:
        DecodeError: no video, or none that may be read.

    """

    def __init__(self, file: Readable, *, name: str, max_pixels: int = MAX_FRAME_PIXELS, threads: int = 0) -> None:
        self.name = name
        self.max_pixels = max_pixels
        self.num_failed_packets = 0
        self.starts_again = False
        self.is_interlaced = False
        self.is_hdr = False
        with as_decode_errors(name):
            file.seek(0)
            self._container = _open(file, max_pixels=max_pixels)
        try:
            with as_decode_errors(name):
                self._stream = self._choose()
                self._check_size(self._stream.codec_context.width, self._stream.codec_context.height)
                self._stream.codec_context.thread_count = threads
                self._stream.codec_context.thread_type = "AUTO"
                self._stream.codec_context.options = {"max_pixels": str(max_pixels)}
        except BaseException:
            self.close()
            raise
        self._tick_s = float(self._stream.time_base or _MICROSECOND)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._frame_s = 1 / float(rate) if rate else 0.04
        start = self._container.start_time
        self._zero_s = 0.0 if start is None else start * _MICROSECOND

    def close(self) -> None:
        """Give the decoder's memory back."""
        self._container.close()

    @property
    def facts(self) -> ClipFacts:
        """What the header says."""
        context = self._stream.codec_context
        ticks, whole = self._stream.duration, self._container.duration
        length_s = None if whole is None else whole * _MICROSECOND
        if ticks is not None:
            length_s = ticks * self._tick_s + self._start_s()
        return ClipFacts(
            format=self._container.format.name,
            codec=context.name,
            width_px=context.width,
            height_px=context.height,
            length_s=None if length_s is None or length_s <= 0 else length_s,
        )

    def packet_times(self) -> Iterator[tuple[float, float]]:
        """Yield when each packet's picture appears and goes, in seconds, from here to the end; nothing is decoded."""
        time_s = self._start_s()
        for packet in self._packets():
            if packet.size:
                # Without timestamps, as in a bare H.264 stream, only the frame rate tells.
                ticks = packet.pts if packet.pts is not None else packet.dts
                time_s = time_s if ticks is None else ticks * self._tick_s - self._zero_s
                lasts_s = packet.duration * self._tick_s if packet.duration else self._frame_s
                yield time_s, time_s + lasts_s
                time_s += lasts_s

    def frames(self) -> Iterator[Shown]:
        """Yield the frames from here on, in the order of showing. It ends where the file does, or breaks off."""
        coming_s = self._start_s()
        in_a_row = 0
        for packet in self._packets():
            try:
                decoded = self._stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError as error:
                if isinstance(error, EOFError):
                    return
                self.num_failed_packets += 1
                in_a_row += 1
                if in_a_row > _NUM_FAILURES:
                    return
                continue
            for frame in decoded:
                in_a_row = 0
                ticks = frame.pts if frame.pts is not None else frame.dts
                time_s = coming_s if ticks is None else ticks * self._tick_s - self._zero_s
                coming_s = time_s + (frame.duration * self._tick_s or self._frame_s)
                yield Shown(time_s, frame)

    def seek(self, time_s: float) -> bool:
        """Go to the keyframe at or before `time_s`, as the index says; return whether the file can do that."""
        try:
            self._container.seek(math.floor((time_s + self._zero_s) / self._tick_s), stream=self._stream)
        except (av.FFmpegError, OverflowError):
            return False
        return True

    def keyframe_before(self, time_s: float) -> float | None:
        """Return the time of the last keyframe at or before `time_s`; None: the index doesn't reach as far."""
        entries = self._stream.index_entries
        ticks = math.floor((time_s + self._zero_s) / self._tick_s)
        if not len(entries) or entries[len(entries) - 1].timestamp < ticks:
            return None
        found = entries.search_timestamp(ticks, backward=True)
        return None if found < 0 else entries[found].timestamp * self._tick_s - self._zero_s

    def pixels(self, frame: VideoFrame) -> Pixels:
        """Return a frame as it is shown: uint8 RGB, (H, W, 3), upright, with square pixels.

        The matrix and range that the frame names; where it names none, BT.709 above 576 lines or from 1,280 pixels a
        line on, else BT.601 (what players do). Alpha is laid on white. HDR is not tone-mapped. Interlaced frames stay
        woven.

        Raises:
            DecodeError: too large.

        """
        self.is_interlaced |= frame.interlaced_frame
        self.is_hdr |= int(frame.color_trc) in _HDR
        width, height = _square(frame.width, frame.height, self._stream.sample_aspect_ratio)
        self._check_size(width, height)
        with as_decode_errors(self.name):
            has_alpha = any(part.is_alpha for part in frame.format.components) or frame.format.has_palette
            is_hd = frame.height > 576 or frame.width >= 1280
            untagged = frame.colorspace == _UNSPECIFIED and not frame.format.is_rgb and is_hd
            shown = frame.reformat(
                width=width,
                height=height,
                format="rgba" if has_alpha else "rgb24",
                src_colorspace=Colorspace.ITU709 if untagged else None,
            )
            image_HWC: Any = shown.to_ndarray()
        if has_alpha:
            image_HWC = _on_white(image_HWC)
        return np.ascontiguousarray(turned(image_HWC, _matrix(frame)))

    def _start_s(self) -> float:
        first = self._stream.start_time
        return 0.0 if first is None else first * self._tick_s - self._zero_s

    def _choose(self) -> VideoStream:
        """Return the video stream to read: the default one, else the first that is no cover picture."""
        if len(self._container.streams) > MAX_STREAMS:
            raise DecodeError(self.name, f"{len(self._container.streams)} streams are no video")
        # PyAV gives a stream without a decoder no codec context.
        found = [stream for stream in self._container.streams if stream.type == "video"]
        moving = [stream for stream in found if not stream.disposition & Disposition.attached_pic]
        if not moving:
            what = ", only sound and a cover picture" if found else ""
            raise DecodeError(self.name, f"no video stream in it{what}")
        chosen = next((stream for stream in moving if stream.disposition & Disposition.default), moving[0])
        if not isinstance(chosen, VideoStream) or chosen.codec_context is None:
            raise DecodeError(self.name, "a video of a codec that can't be read")
        if chosen.codec_context.name not in DECODERS:
            raise DecodeError(self.name, f"a video of the codec {chosen.codec_context.name[:40]}, which isn't read")
        for stream in self._container.streams:
            if stream.index != chosen.index:
                stream.discard = Discard.all
        return chosen

    def _check_size(self, width: int, height: int) -> None:
        if width <= 0 or height <= 0:
            raise DecodeError(self.name, "a video stream without a frame that can be read")
        if width * height > self.max_pixels:
            raise DecodeError(
                self.name, f"too large: {width} x {height} pixels, the limit is {self.max_pixels:,} in all"
            )

    def _packets(self) -> Iterator[Any]:
        """Yield packets to the end, the last one empty (it flushes the decoder), also where the file breaks off.

        `starts_again` is True once the clock went back in it: the time of decoding, which else only rises.
        """
        packets = self._container.demux(self._stream)
        last_s = -math.inf
        with closing(packets):  # type: ignore[type-var]  # a generator, typed as an iterator
            while True:
                try:
                    packet = next(packets)
                    if packet.dts is not None:
                        self.starts_again |= packet.dts * self._tick_s < last_s - CLOCK_BACK_S
                        last_s = packet.dts * self._tick_s
                    yield packet
                except StopIteration:
                    return
                except (av.FFmpegError, IndexError):  # of a stream that begins in the middle, PyAV knows nothing
                    yield av.Packet()
                    return


def _open(file: Readable, *, max_pixels: int) -> av.container.InputContainer:
    return av.open(
        file,
        "r",
        options={"max_pixels": str(max_pixels)},
        container_options={
            "format_whitelist": FORMATS,
            "codec_whitelist": ",".join(sorted(DECODERS)),
            "protocol_whitelist": "",
            "max_streams": str(MAX_STREAMS),
        },
        metadata_errors="replace",
        buffer_size=READ_BYTES,
        io_open=_refuse,
    )


def _refuse(*_: object) -> Any:
    raise PermissionError("a video may not open other files")


@contextmanager
def as_decode_errors(name: str) -> Iterator[None]:
    """Turn what PyAV raises into DecodeError with a short reason; `name` stands in it."""
    try:
        yield
    except av.error.InvalidDataError:
        raise DecodeError(name, "not a video, or one that is cut off before its index") from None
    except av.error.ArgumentError:
        raise DecodeError(name, "not a video of a format that is read") from None
    except PermissionError:
        raise DecodeError(name, "it asks for other files or hosts") from None
    except EOFError:
        raise DecodeError(name, "truncated") from None
    except MemoryError:
        raise DecodeError(name, "too large for this machine's memory") from None
    except (av.FFmpegError, ValueError, OverflowError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DecodeError(name, f"damaged: {text}"[:120]) from None


def _square(width: int, height: int, aspect: Any) -> tuple[int, int]:
    """Return the size with square pixels: the shorter side is stretched, so that no pixel is lost."""
    shape = float(aspect) if aspect else 1.0
    if not 1 / ASPECT_LIMIT <= shape <= ASPECT_LIMIT or shape == 1:
        return width, height
    return (round(width * shape), height) if shape > 1 else (width, round(height / shape))


def _matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """Return the upper left 2 x 2 of the frame's display matrix, 16.16 fixed point; the unit matrix where it has none.

    Of nine 32-bit numbers, row by row (ISO/IEC 14496-12, 8.5.2 Track Header Box).
    """
    sides: Any = frame.side_data  # a Mapping by its type, but what it iterates over are its values
    for data in sides:
        if data.type == SideDataType.DISPLAYMATRIX and data.buffer_size >= 36:
            a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
            return a, b, c, d
    return 1, 0, 0, 1


def turned(image_HWC: Pixels, matrix: tuple[int, int, int, int]) -> Pixels:
    """Return the picture turned and mirrored as a display matrix (a, b, c, d) asks: x' = ax + cy, y' = bx + dy.

    Only by right angles: another matrix, or a damaged one, leaves the picture as it is.
    """
    a, b, c, d = matrix
    if a and d and not b and not c:
        image_HWC = image_HWC[:, ::-1] if a < 0 else image_HWC
        return image_HWC[::-1] if d < 0 else image_HWC
    if b and c and not a and not d:
        image_HWC = image_HWC.transpose(1, 0, 2)
        image_HWC = image_HWC[:, ::-1] if c < 0 else image_HWC
        return image_HWC[::-1] if b < 0 else image_HWC
    return image_HWC


def _on_white(image_HWC: Pixels) -> Pixels:
    alpha = image_HWC[:, :, 3:].astype(np.uint16)
    mixed = image_HWC[:, :, :3] * alpha + 255 * (255 - alpha) + 127
    return (mixed // 255).astype(np.uint8)
