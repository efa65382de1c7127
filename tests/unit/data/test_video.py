"""Frames of a video by time: which are taken, and that their pixels are right."""

import io
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.helpers.clips import index_first, make_clip, number_32, number_of, numbered, patched, sound_only

from veriscope.data import video as video_module
from veriscope.data.clip import turned
from veriscope.data.video import (
    FRAMES_PER_SECOND,
    MAX_FRAMES,
    clock_text,
    open_video,
    sample_frames,
    sample_times,
)
from veriscope.errors import DecodeError

KINDS = {
    "h264 in mp4": {},
    "h264 without B frames": {"options": {"bf": "0"}},
    "h264, a keyframe every 5": {"gop": 5},
    "fragmented mp4": {"gop": 5, "container": {"movflags": "frag_keyframe+empty_moov"}},
    "vp9 in webm": {"form": "webm", "codec": "libvpx-vp9"},
    "ffv1 in matroska": {"form": "matroska", "codec": "ffv1", "pixel_format": "bgr0"},
    "mpeg4 in avi": {"form": "avi", "codec": "mpeg4", "gop": 10},
    "h264 in a transport stream": {"form": "mpegts", "gop": 10},
    "mpeg2 in a program stream": {"form": "mpeg", "codec": "mpeg2video", "rate": 25, "gop": 12},
    "10 bits": {"pixel_format": "yuv420p10le"},
    "bare h264, no timestamps": {"form": "h264"},
}


def taken(clip: bytes, **how: float) -> list[tuple[float, int]]:
    return [(round(frame.time_s, 2), number_of(frame.pixels)) for frame in sample_frames(clip, **how)]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("every_s", [0.25, 1.7])
def test_the_frame_on_screen_at_each_time_is_taken(kind: str, every_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    how = KINDS[kind]
    rate = int(str(how.get("rate", 10)))
    clip = make_clip(6 * rate if rate == 10 else 50, **how)  # type: ignore[arg-type]
    for seek_cost_s in (video_module.SEEK_COST_S, 1e9, -1e9):  # jumping where it pays, never, and always
        monkeypatch.setattr(video_module, "SEEK_COST_S", seek_cost_s)
        with open_video(clip) as video:
            found = [(frame.time_s, number_of(frame.pixels)) for frame in video.sample(every_s=every_s)]
            times = sample_times(video.start_s, video.end_s, every_s=every_s, max_frames=MAX_FRAMES)
        assert len(found) == len(times)
        for (time_s, number), wanted_s in zip(found, times, strict=True):
            assert wanted_s - 1 / rate - 1e-3 < time_s <= wanted_s, "the last that began before"
            assert number == round(time_s * rate)


def test_slow_and_fast_parts_are_sampled_by_time_and_a_standing_picture_once() -> None:
    times_s = [0, 0.1, 0.2, 3.0, 3.1, 6.0]
    clip = make_clip(6, times_s=times_s, form="matroska", codec="ffv1", pixel_format="bgr0")
    assert taken(clip, every_s=0.5) == [(0.2, 2), (3.0, 3), (3.1, 4)]
    assert taken(clip, every_s=0.1) == [(round(time_s, 2), number) for number, time_s in enumerate(times_s)]
    with open_video(clip) as video:
        frames = list(video.sample(every_s=0.5))
        assert video.num_asked == len(frames) == 3
        assert [frame.index for frame in frames] == [0, 1, 2]


def test_times_are_a_players_clock() -> None:
    late = make_clip(10, times_s=[5 + number / 10 for number in range(10)], sound_s=6.5)
    with open_video(late) as video:
        assert (video.start_s, video.end_s) == pytest.approx((5, 6), abs=0.02), "sound begins five seconds before"
    assert taken(late, every_s=0.5) == [(5.2, 2), (5.7, 7)]
    raw = make_clip(20, form="mpegts")
    with av.open(io.BytesIO(raw)) as container:
        assert container.start_time > 0, "a transport stream begins anywhere"
    assert taken(raw, every_s=0.66) == [(0.2, 2), (0.7, 7), (1.2, 12), (1.7, 17)]


def test_an_edit_list_leaves_out_what_it_cuts() -> None:
    """The track's first second is cut by the edit's media_time (ISO/IEC 14496-12, 8.6.6)."""
    clip = make_clip(30, options={"bf": "0"}, gop=1)
    with av.open(io.BytesIO(clip)) as container:
        ticks = container.streams.video[0].time_base.denominator
    cut = patched(clip, b"elst", 12, number_32(ticks))
    found = taken(cut, every_s=0.5)
    assert [number for _, number in found][:2] == [12, 17]
    assert found[0][0] == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("degrees", "mirrored", "expected"),
    [
        (0, False, lambda a: a),
        (90, False, lambda a: np.rot90(a, -1)),
        (180, False, lambda a: a[::-1, ::-1]),
        (270, False, lambda a: np.rot90(a, 1)),
        (0, True, lambda a: a[:, ::-1]),
    ],
)
def test_pictures_stand_upright(degrees: int, mirrored: bool, expected: object) -> None:
    """As phones write it: 90 means that a player turns the stored picture clockwise."""
    stored = np.zeros((48, 64, 3), dtype=np.uint8)
    stored[:24, :32] = (255, 0, 0)
    stored[24:, 32:] = (0, 0, 255)
    fixed = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]
    a, b, c, d = (-1, 0, 0, 1) if mirrored else fixed
    clip = make_clip(2, picture=lambda _: stored, codec="png", form="mov", pixel_format="rgb24")
    matrix = b"".join(number_32(65536 * value & 0xFFFFFFFF) for value in (a, b, 0, c, d, 0))
    (frame,) = sample_frames(patched(clip, b"tkhd", 40, matrix))
    np.testing.assert_array_equal(frame.pixels, expected(stored))  # type: ignore[operator]


def test_every_right_angle_goes_where_its_matrix_says() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for one, two in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        for a, b, c, d in ((one, 0, 0, two), (0, one, two, 0)):
            places = {(a * x + c * y, b * x + d * y): picture[y, x] for y in range(2) for x in range(3)}
            columns, rows = sorted({x for x, _ in places}), sorted({y for _, y in places})
            expected = np.array([[places[x, y] for x in columns] for y in rows])
            np.testing.assert_array_equal(turned(picture, (a << 16, b << 16, c << 16, d << 16)), expected)
    np.testing.assert_array_equal(turned(picture, (46341, 46341, -46341, 46341)), picture, "45 degrees: as it is")


@pytest.mark.parametrize(("aspect", "size"), [((4, 3), (85, 48)), ((1, 2), (64, 96)), ((1, 1), (64, 48))])
def test_pixels_that_are_not_square_are_stretched(aspect: tuple[int, int], size: tuple[int, int]) -> None:
    (frame,) = sample_frames(make_clip(3, aspect=Fraction(*aspect)))
    assert frame.pixels.shape == (size[1], size[0], 3)


def test_an_absurd_aspect_is_ignored() -> None:
    (frame,) = sample_frames(make_clip(3, aspect=Fraction(1, 200)))
    assert frame.pixels.shape == (48, 64, 3)


def test_pixels_equal_pillows_where_both_can_read() -> None:
    rng = np.random.default_rng(0)
    clip = make_clip(
        1, codec="png", form="mov", pixel_format="rgb24", picture=lambda _: rng.integers(0, 256, (48, 64, 3), np.uint8)
    )
    png = clip[clip.index(b"\x89PNG") :]
    (frame,) = sample_frames(clip)
    np.testing.assert_array_equal(frame.pixels, np.asarray(Image.open(io.BytesIO(png)).convert("RGB")))


def test_alpha_is_laid_on_white_as_in_pictures() -> None:
    layer = np.zeros((48, 64, 4), dtype=np.uint8)
    layer[..., :3], layer[:, :32, 3], layer[:, 32:, 3] = (200, 100, 0), 0, 128
    clip = make_clip(1, codec="png", form="mov", pixel_format="rgba", picture=lambda _: layer)
    (frame,) = sample_frames(clip)
    white = Image.new("RGBA", (64, 48), "white")
    expected = np.asarray(Image.alpha_composite(white, Image.fromarray(layer)).convert("RGB"))
    assert np.abs(frame.pixels.astype(int) - expected).max() <= 1


WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # red and blue (ITU-T H.273, table 4)


@pytest.mark.parametrize(
    ("named", "meant", "full", "size"),
    [
        (1, 1, False, (96, 64)), (1, 1, True, (96, 64)), (6, 6, False, (96, 64)), (9, 9, False, (96, 64)),
        (None, 6, False, (96, 64)), (None, 1, False, (1280, 64)), (None, 1, False, (64, 640)),
    ],
)  # fmt: skip
def test_colours_are_those_that_the_file_means(
    named: int | None, meant: int, full: bool, size: tuple[int, int]
) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((16, 16, 1), dtype=np.uint8))
    red, blue = WEIGHTS[meant]
    r, g, b = (picture[..., channel] / 255 for channel in range(3))
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red))]
    planes = (
        [255 * luma, *(255 * part + 128 for part in chroma)]
        if full
        else [16 + 219 * luma, *(224 * part + 128 for part in chroma)]
    )
    frame = av.VideoFrame.from_ndarray(np.clip(np.rint(planes), 0, 255).astype(np.uint8), format="yuv444p")
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        if named is not None:
            stream.codec_context.colorspace = frame.colorspace = named
            stream.codec_context.color_range = frame.color_range = 2 if full else 1
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    (found,) = sample_frames(file.getvalue())
    assert np.abs(found.pixels.astype(int) - picture).max() <= 2, "8 bits of YUV are that coarse"


def test_interlaced_frames_are_judged_as_stored_and_said_to_be() -> None:
    clip = make_clip(10, options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
    with open_video(clip) as video:
        assert len(list(video.sample())) == 2
        assert video.notes == ("interlaced, judged as stored",)


def test_a_clock_that_starts_again_is_told() -> None:
    """Transport streams are put together by `cat`: a player shows all of them, and each begins at the same time."""
    one, other = make_clip(40, form="mpegts", gop=10), make_clip(60, form="mpegts", gop=10)
    with open_video(one) as video:
        assert video.notes == ()
    for content in (one + other, other + one, one * 5):
        with open_video(content) as video:
            assert list(video.sample())
            assert any("its clock starts again" in note for note in video.notes)


@pytest.mark.parametrize("form", ["mp4", "matroska", "mpegts", "avi"])
@pytest.mark.parametrize("share", [0.6, 0.85])
def test_a_broken_tail_costs_only_itself(form: str, share: float) -> None:
    whole = make_clip(100, form=form, codec="mpeg4", gop=10, options={"bf": "0"}, size=(128, 96))
    whole = index_first(whole) if form == "mp4" else whole
    with open_video(whole[: int(share * len(whole))]) as video:
        frames = list(video.sample(every_s=0.5))
        assert 0.2 * 10 < video.end_s < 10
        assert video.end_s - 1 < frames[-1].time_s < video.end_s
        assert all(number_of(frame.pixels) == round(frame.time_s * 10) for frame in frames[:-1])
        if form in ("mp4", "matroska"):  # the others' length is guessed from the bytes that are there
            assert f"its pictures end at {clock_text(video.end_s)}; the file claims 0:10.0" in video.notes


def test_a_header_may_claim_any_length() -> None:
    clip = make_clip(20, form="matroska", codec="mpeg4")
    at = clip.index(b"\x44\x89\x88") + 3  # Duration, a float of 8 bytes, in milliseconds
    clip = clip[:at] + struct.pack(">d", 1e12) + clip[at + 8 :]
    with open_video(clip) as video:
        assert video.facts.length_s is not None
        assert video.facts.length_s > 100_000
        assert [number_of(frame.pixels) for frame in video.sample()] == [2, 7, 12, 17]
        assert video.end_s == pytest.approx(2, abs=0.01)
        assert any("its pictures end at 0:02.0; the file claims" in note for note in video.notes)


def test_damage_in_the_middle_costs_only_the_frames_there() -> None:
    clip = bytearray(make_clip(100, codec="mpeg4", gop=10, size=(128, 96), options={"bf": "0"}))
    middle = clip.index(b"mdat") + 4 + (clip.index(b"moov") - clip.index(b"mdat")) // 2
    clip[middle : middle + 600] = bytes(600)
    with open_video(bytes(clip)) as video:
        frames = list(video.sample(every_s=0.5))
        assert 10 <= len(frames) <= 20
        assert video.num_asked >= len(frames) + video.num_damaged


def test_three_hours_take_the_memory_of_three_minutes(tmp_path: Path) -> None:
    """Python's own memory: pictures and packets lie there. benchmarks/video.md has the whole process's."""
    peaks = []
    for num_frames in (18, 1080):  # one every ten seconds
        path = tmp_path / f"{num_frames}.mkv"
        times_s = [10.0 * number for number in range(num_frames)]
        path.write_bytes(make_clip(num_frames, times_s=times_s, form="matroska", codec="mpeg4", gop=12))
        tracemalloc.start()
        times = [frame.time_s for frame in sample_frames(path, every_s=10)]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(times) == min(num_frames - 1, MAX_FRAMES), "the last is shown for an instant"
        assert times[-1] > 10 * num_frames * 0.98 - 20
    assert peaks[1] < 2 * peaks[0] + 200_000


def test_reasons_are_short_and_say_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    for content, reason in (
        (b"", "empty file"),
        (b"hello" * 100, "not a video"),
        (make_clip(30)[:-400], "truncated"),
        (make_clip(30).partition(b"moov")[0][:-4], "cut off before its index"),
        (sound_only(), "no video stream in it"),
        (sound_only(form="mp3"), "not a video of a format that is read"),
        (make_clip(0, sound_s=1, form="matroska"), "0 frames"),
    ):
        file.write_bytes(content)
        with pytest.raises(DecodeError, match=reason) as caught:
            list(sample_frames(file))
        assert caught.value.path == str(file)
        assert len(caught.value.reason) < 120
    for path, reason in ((tmp_path, "directory"), (tmp_path / "no.mp4", "no such file")):
        with pytest.raises(DecodeError, match=reason):
            list(sample_frames(path))


def test_a_cover_picture_is_no_video() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        sound = output.add_stream("aac", rate=8000)
        picture = output.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 8000), dtype=np.float32), format="fltp", layout="mono")
        tone.sample_rate, tone.pts = 8000, 0
        output.mux(sound.encode(tone))
        output.mux(picture.encode(av.VideoFrame.from_ndarray(numbered(9))))
        output.mux(sound.encode(None))
    with pytest.raises(DecodeError, match=r"no video stream in it|cover picture"):
        list(sample_frames(file.getvalue()))


@given(
    start_s=st.floats(-10, 1e4),
    length_s=st.floats(0, 1e5),
    every_s=st.floats(1e-3, 100),
    max_frames=st.integers(1, 300),
)
def test_sample_times_are_even_inside_and_enough(
    start_s: float, length_s: float, every_s: float, max_frames: int
) -> None:
    times = sample_times(start_s, start_s + length_s, every_s=every_s, max_frames=max_frames)
    assert 1 <= len(times) <= max_frames
    assert all(start_s <= time_s <= start_s + length_s + 1e-6 for time_s in times)
    gaps = np.diff(times)
    assert np.allclose(gaps, gaps[0] if len(gaps) else 0, atol=1e-6)
    if len(times) < max_frames:
        assert (gaps <= every_s * 1.001 + 1e-6).all()


def test_sampling_refuses_what_makes_no_sense() -> None:
    for every_s, max_frames in ((0.0, 1), (-1.0, 1), (1.0, 0), (float("nan"), 1)):
        with pytest.raises(ValueError, match="every_s"):
            sample_times(0, 1, every_s=every_s, max_frames=max_frames)
    assert len(sample_times(0, 10.0000001, every_s=1 / FRAMES_PER_SECOND, max_frames=500)) == 20


def test_times_for_people() -> None:
    assert [clock_text(s) for s in (0, 5.25, 65.21, 3599.2, 3599.99, 7265)] == [
        "0:00.0", "0:05.2", "1:05.2", "59:59.2", "1:00:00", "2:01:05",
    ]  # fmt: skip
