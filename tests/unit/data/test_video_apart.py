"""Reading in another process: the same frames, and whatever happens there ends nothing here."""

import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.clips import make_clip, number_32, patched, sound_only

from veriscope.data.video import open_video
from veriscope.data.video_apart import end_readers, open_video_apart
from veriscope.errors import DecodeError


def test_the_frames_are_those_of_this_process(tmp_path: Path) -> None:
    clip = make_clip(40, form="matroska", gop=10)
    (tmp_path / "clip.mkv").write_bytes(clip)
    with open_video(clip) as video:
        expected = list(video.sample(every_s=0.3, max_frames=9))
        for source in (clip, tmp_path / "clip.mkv"):
            with open_video_apart(source, time_limit_s=60) as apart:
                found = list(apart.sample(every_s=0.3, max_frames=9))
                assert [(frame.time_s, frame.index) for frame in found] == [(f.time_s, f.index) for f in expected]
                for one, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(one.pixels, other.pixels)
                for name in ("length_s", "start_s", "end_s", "num_asked", "num_damaged", "notes"):
                    assert getattr(apart, name) == getattr(video, name)


def test_reasons_come_home() -> None:
    for content, reason in ((sound_only(), "no video stream in it"), (b"hello" * 99, "not a video")):
        with pytest.raises(DecodeError, match=reason), open_video_apart(content) as video:
            list(video.sample())
    with pytest.raises(DecodeError, match="empty file"), open_video_apart(b""):
        pass


def test_a_server_of_many_connections_reads_too(tmp_path: Path) -> None:
    """select() takes no file number from 1,024 on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("this system lets no process open so many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with open_video_apart(make_clip(5), time_limit_s=60) as video:
            assert list(video.sample())
    finally:
        for number in held:
            os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_that_is_suspended_ends_when_told() -> None:
    with open_video_apart(make_clip(40)) as video:
        next(video.sample())
        process = video._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        end_readers()
        assert process.wait(30) == -signal.SIGKILL


def bomb(num_samples: int) -> bytes:
    """An MP4 of two kilobytes whose index claims that many frames of a byte."""
    clip = make_clip(30, options={"bf": "0"})
    clip = patched(clip, b"stsz", 4, number_32(1) + number_32(num_samples))
    clip = patched(clip, b"stsc", 4, number_32(1) + number_32(1) + number_32(num_samples) + number_32(1))
    return patched(clip, b"stts", 4, number_32(1) + number_32(num_samples) + number_32(1))


def test_an_index_of_gigabytes_fills_no_memory_here() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError), open_video_apart(bomb(20_000_000), memory_mib=600, time_limit_s=30) as video:
        list(video.sample())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGSEGV, "the decoder ended on it"), (signal.SIGSTOP, "took longer than 1 s")]
)
def test_a_decoder_that_crashes_or_hangs_is_a_reason(number: signal.Signals, reason: str) -> None:
    clip = make_clip(30, size=(640, 480))  # each frame more than a pipe holds
    with open_video_apart(clip, time_limit_s=1) as video:
        frames = video.sample()
        next(frames)
        process = video._process
        assert process is not None
        os.kill(process.pid, number)
        with pytest.raises(DecodeError, match=reason):
            list(frames)
    assert process.returncode is not None, "and none is left behind"


def test_leaving_early_leaves_no_process() -> None:
    with open_video_apart(make_clip(30, size=(640, 480))) as video:
        next(video.sample())
        process = video._process
    assert process is not None
    assert process.returncode == -signal.SIGKILL
