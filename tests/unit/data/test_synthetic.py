from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from veriscope.config.schema import SyntheticConfig
from veriscope.data import synthetic
from veriscope.data.decode import decode_image
from veriscope.data.scan import scan_folder
from veriscope.data.scenes import Decoder, dead_leaves, demosaic
from veriscope.data.synthetic import MARKER, SYNTHETIC_NOTICE, ensure_synthetic, make_picture

SMALL = SyntheticConfig(num_train=160, num_val=40, num_test=40, size_px=96)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return ensure_synthetic(SMALL, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def pictures(root):
    manifest = scan_folder(root)
    images = np.stack([decode_image(manifest.absolute_path(i)) for i in range(len(manifest))]).astype(float)
    return images, manifest.labels, manifest.table["size_bytes"].to_numpy()


def auroc(labels, feature):
    value = roc_auc_score(labels, feature)
    return max(value, 1 - value)


def held_out_auroc(features, labels):
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return roc_auc_score(labels, cross_val_predict(model, features, labels, cv=5, method="decision_function"))


def shortcuts(images, sizes):
    return {
        "bytes": sizes,
        "mean": images.mean((1, 2, 3)),
        "contrast": images.std((1, 2, 3)),
        **{f"mean of {name}": images[..., k].mean((1, 2)) for k, name in enumerate(("red", "green", "blue"))},
        "saturation": (images.max(3) - images.min(3)).mean((1, 2)),
    }


def test_layout(root):
    manifest = scan_folder(root)
    assert {split: int((manifest.splits == split).sum()) for split in ("train", "val", "test")} == {
        "train": 160,
        "val": 40,
        "test": 40,
    }
    assert manifest.class_counts() == {"real": 120, "fake": 120}
    assert SYNTHETIC_NOTICE in (root / MARKER).read_text()
    assert "no claim about real deepfakes" in SYNTHETIC_NOTICE


def test_no_shortcut_alone_tells_the_classes(pictures):
    images, labels, sizes = pictures
    for name, feature in shortcuts(images, sizes).items():
        assert auroc(labels, feature) <= 0.6, name


def test_no_shortcuts_together_tell_the_classes(pictures):
    images, labels, sizes = pictures
    assert held_out_auroc(np.stack(list(shortcuts(images, sizes).values()), axis=1), labels) <= 0.6


def test_texture_tells_the_classes(pictures):
    images, labels, _ = pictures
    grey = images @ [0.299, 0.587, 0.114]
    blocks = grey.reshape(len(grey), 12, 8, 12, 8).transpose(0, 1, 3, 2, 4)
    spectra = np.abs(np.fft.rfft2(blocks - blocks.mean((-1, -2), keepdims=True))) ** 2
    assert held_out_auroc(np.log1p(spectra).mean((1, 2)).reshape(len(grey), -1), labels) >= 0.95


def test_one_jpeg_history_for_both(root):
    tables = {"real": set(), "fake": set()}
    for kind in tables:
        for path in (root / "train" / kind).iterdir():
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (96, 96))
                assert image.layer[0][1:3] == (2, 2)  # 4:2:0
                tables[kind].add(tuple(image.quantization[0]))
    assert len(tables["real"] | tables["fake"]) == 11  # qualities 85 to 95
    assert len(tables["real"] & tables["fake"]) >= 9


def test_pictures_are_deterministic_and_distinct(root, tmp_path):
    again = ensure_synthetic(SyntheticConfig(num_train=8, num_val=2, num_test=2, size_px=96), tmp_path)
    for name in ("train/real/000002.jpg", "train/fake/000001.jpg", "test/fake/000000.jpg"):
        assert (again / name).read_bytes() == (root / name).read_bytes()
    everything = [path.read_bytes() for path in root.rglob("*.jpg")]
    assert len(set(everything)) == 240
    other = make_picture((43, 0, 0, 0), 0, size_px=96, quality=(85, 95))
    assert other != (root / "train/real/000000.jpg").read_bytes()


def test_finished_folder_is_used_again_and_settings_make_another(tmp_path, monkeypatch):
    config = SyntheticConfig(num_train=4, num_val=2, num_test=2, size_px=64)
    root = ensure_synthetic(config, tmp_path)
    stamp = (root / "train/real/000000.jpg").stat().st_mtime_ns
    assert ensure_synthetic(config, tmp_path) == root
    assert (root / "train/real/000000.jpg").stat().st_mtime_ns == stamp
    assert ensure_synthetic(config.model_copy(update={"seed": 1}), tmp_path) != root
    for constant in ("VERSION", "TRACE_STRENGTH", "FINE_NOISE"):  # a cache must not outlive what made it
        with monkeypatch.context() as patch:
            patch.setattr(synthetic, constant, 99)
            assert ensure_synthetic(config, tmp_path) != root


def test_a_kill_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    config = SyntheticConfig(num_train=4, num_val=2, num_test=2, size_px=64)
    with monkeypatch.context() as patch:

        def killed(*_):
            raise KeyboardInterrupt

        patch.setattr(synthetic, "_make_chunk", killed)
        with pytest.raises(KeyboardInterrupt):
            ensure_synthetic(config, tmp_path)
    assert list(tmp_path.iterdir()) == []
    root = ensure_synthetic(config, tmp_path)
    (root / MARKER).unlink()  # as if the folder came from somewhere else, incomplete
    (root / "train/real/000000.jpg").unlink()
    assert ensure_synthetic(config, tmp_path) == root
    assert len(list(root.rglob("*.jpg"))) == 8


@pytest.mark.parametrize("size_px", [64, 65, 66, 127])
def test_any_size(size_px):
    for label in (0, 1):
        data = make_picture((0, 0, label, 0), label, size_px=size_px, quality=(90, 90))
        assert Image.open(BytesIO(data)).size == (size_px, size_px)


def test_demosaicing_keeps_measured_samples_and_flat_colour():
    scene = dead_leaves(np.random.default_rng(0), 32)
    out = demosaic(scene)
    assert np.allclose(out[0::2, 0::2, 0], scene[0::2, 0::2, 0], atol=1e-6)
    assert np.allclose(out[1::2, 1::2, 2], scene[1::2, 1::2, 2], atol=1e-6)
    assert np.allclose(out[0::2, 1::2, 1], scene[0::2, 1::2, 1], atol=1e-6)
    flat = np.full((16, 16, 3), (0.2, 0.5, 0.7), dtype=np.float32)
    assert np.allclose(demosaic(flat), flat, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_decoder_keeps_the_mean_and_leaves_a_checkerboard(seed):
    layer = Decoder.draw(np.random.default_rng(seed), strength=0.2)
    flat = layer(np.full((16, 16, 3), 0.5, dtype=np.float32))
    assert flat.shape == (32, 32, 3)
    inner = flat[4:-4, 4:-4, 0]
    assert inner.mean() == pytest.approx(0.5, abs=1e-5)
    assert np.allclose(inner[::2, ::2], inner[0, 0])  # period 2
    assert (inner.std() > 1e-3) == layer.transposed  # Odena et al.: uneven overlap, which nearest + conv avoids
