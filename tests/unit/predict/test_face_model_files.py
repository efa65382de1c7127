"""A file named as a face detector that is none ends in one line: OpenCV sees no network but YuNet."""

import os
from pathlib import Path

import pytest
from tests.helpers.bundles import tiny_bundle
from tests.helpers.exported import exported

from veriscope.errors import DataError
from veriscope.predict.face_finder import MAX_MODEL_BYTES, YuNet, face_model

pytest.importorskip("cv2")


def said(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        YuNet(face_model(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pipes_devices_and_large_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert said(tmp_path / "pipe") == f"--face-model '{tmp_path}/pipe': not a regular file."
    assert said(Path("/dev/zero")) == "--face-model '/dev/zero': not a regular file."
    assert "Is a directory" in said(tmp_path)
    assert "No such file" in said(tmp_path / "gone")
    large = tmp_path / "large.onnx"
    large.touch()
    os.truncate(large, MAX_MODEL_BYTES + 1)
    assert said(large) == f"--face-model '{large}' is no YuNet, which is smaller than 16 MiB."


def test_other_networks_are_refused_before_opencv_reads_them(tmp_path: Path) -> None:
    """OpenCV 4.14 ends the process on some (SIGSEGV: a ViT with dynamic axes)."""
    file = tmp_path / "other.onnx"
    exported(tiny_bundle(tmp_path / "bundle"), file)
    assert "'other.onnx' is no YuNet that OpenCV" in said(file)
    sound = face_model(None).content
    for content in (b"", b"text", sound[: len(sound) // 2], sound.replace(b"kps_32", b"kps_33")):
        file.write_bytes(content)
        assert "'other.onnx' is no YuNet that OpenCV" in said(file)
    file.write_bytes(sound)
    YuNet(face_model(file))
