"""Hostile files: nothing but the file itself is read, nothing large is allocated, and time has an end."""

import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tests.helpers.clips import make_clip, number_32, patched

from veriscope.data import clip as clip_module
from veriscope.data.video import open_video, sample_frames
from veriscope.errors import DecodeError


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        yield server


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/secret.mp4"


def was_called(listener: socket.socket) -> bool:
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return False
    connection.close()
    return True


REFUSED = r"not a video|other files"
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{0}\n#EXT-X-ENDLIST\n",
    "hls of lists": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{0}\n",
    "concat": "ffconcat version 1.0\nfile '{0}'\nduration 5\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><BaseURL>{0}</BaseURL>'
    '<Period><AdaptationSet><Representation id="1" bandwidth="1"/></AdaptationSet></Period></MPD>',
    "imf": '<?xml version="1.0"?><CompositionPlaylist><Id>{0}</Id></CompositionPlaylist>',
    "smil": '<smil><body><video src="{0}"/></body></smil>',
    "asx": '<ASX version="3.0"><Entry><Ref href="{0}"/></Entry></ASX>',
    "ram": "{0}\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.m3u8", "clip.mpd"])
def test_playlists_reach_no_host_and_no_file(kind: str, name: str, tmp_path: Path, listener: socket.socket) -> None:
    (tmp_path / "secret.mp4").write_bytes(make_clip(5))
    for target in (address(listener), str(tmp_path / "secret.mp4"), "secret.mp4", f"file:{tmp_path}/secret.mp4"):
        path = tmp_path / name
        path.write_text(PLAYLISTS[kind].format(target))
        for source in (path, path.read_bytes()):
            with pytest.raises(DecodeError, match=REFUSED):
                list(sample_frames(source))
    assert not was_called(listener)


def test_the_attacks_are_real_and_the_second_wall_holds_alone(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.mp4").write_bytes(make_clip(5))
    concat, hls = tmp_path / "clip.mp4", tmp_path / "clip.m3u8"
    concat.write_text(PLAYLISTS["concat"].format("secret.mp4"))
    hls.write_text(PLAYLISTS["hls"].format(address(listener)))
    with av.open(concat) as container:
        assert len(list(container.decode(video=0))) == 5, "left alone, FFmpeg shows the other file"
    with hls.open("rb") as file, pytest.raises(av.FFmpegError), av.open(file, timeout=1):
        pass
    assert was_called(listener), "left alone, FFmpeg calls the host"
    monkeypatch.setattr(clip_module, "FORMATS", clip_module.FORMATS + ",concat,hls")
    for path in (concat, hls):
        with pytest.raises(DecodeError, match=REFUSED):
            list(sample_frames(path))
    assert not was_called(listener)


def test_media_of_another_file_is_not_followed(tmp_path: Path) -> None:
    """An MP4 may say that its pictures lie elsewhere (8.7.2, data reference): such a file has none."""
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(make_clip(5))
    clip = make_clip(5)
    # url with flag 0: not in this file, and no name either.
    outside = patched(clip, b"url ", 0, number_32(0))
    try:
        frames = list(sample_frames(outside))
    except DecodeError:
        return
    assert [frame.pixels.shape for frame in frames] == [(48, 64, 3)], "its own pictures, if any"


def test_codecs_outside_the_list_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(5, form="matroska", codec="ffv1", pixel_format="bgr0")
    monkeypatch.setattr(clip_module, "DECODERS", clip_module.DECODERS - {"ffv1"})
    with pytest.raises(DecodeError, match=r"codec ffv1, which isn't read|can't be read"):
        list(sample_frames(clip))


def test_frames_above_the_limit_are_refused_before_they_are_decoded() -> None:
    clip = make_clip(3, size=(640, 480))
    with (
        pytest.raises(DecodeError, match="too large: 640 x 480 pixels, the limit is 100,000 in all"),
        open_video(clip, max_pixels=100_000),
    ):
        pass


def test_a_claimed_size_allocates_nothing() -> None:
    """FFV1 in AVI: the header claims 30,000 x 30,000 pixels, 3.6 GB a frame."""
    clip = make_clip(3, form="avi", codec="ffv1", pixel_format="bgr0")
    at = clip.index(b"strf") + 12
    huge = clip[:at] + struct.pack("<ii", 30_000, 30_000) + clip[at + 8 :]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError, match=r"too large|without a frame"):
        list(sample_frames(huge))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"


def test_a_stretched_frame_may_not_pass_the_limit_either() -> None:
    clip = make_clip(3, size=(320, 240), aspect=Fraction(3, 1))
    with pytest.raises(DecodeError, match="too large: 960 x 240"), open_video(clip, max_pixels=100_000) as video:
        list(video.sample())


def test_the_time_limit_ends_reading_but_not_the_callers_work() -> None:
    clip = make_clip(400, gop=400)
    with pytest.raises(DecodeError, match=r"reading it took longer than 1e-06 s"):
        list(sample_frames(clip, time_limit_s=1e-6))
    with open_video(clip, time_limit_s=20) as video:
        for number, _ in enumerate(video.sample(every_s=1)):
            if number == 0:
                video._clock._limit_s = video._clock._spent_s + 5  # what is left is for reading alone
                time.sleep(0.05)
        assert video._clock._spent_s < 20


@pytest.mark.parametrize("form", ["mp4", "matroska", "mpegts", "avi"])
def test_mutated_files_raise_decode_errors_only(form: str) -> None:
    whole = make_clip(12, form=form, codec="mpeg4", gop=4)
    rng = np.random.default_rng(0)
    num_read = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 30))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        if rng.random() < 0.3:
            del data[int(rng.integers(len(data))) :]
        with suppress(DecodeError):
            for frame in sample_frames(bytes(data), time_limit_s=5):
                assert frame.pixels.dtype == np.uint8
                assert frame.pixels.shape[2:] == (3,)
            num_read += 1
    assert 0 < num_read < 150
