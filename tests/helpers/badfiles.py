"""Every kind of awkward file that the decoder has to meet, written into a folder."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

# File name to the words that the reason of the DecodeError must hold.
UNREADABLE = {
    "truncated.jpg": "truncated",
    "truncated.png": "truncated",
    "empty.jpg": "0 bytes",
    "text.jpg": "not an image",
    "bomb.png": "too large",
    "broken_link.jpg": "broken link",
    "circle.jpg": "circle",
    "folder.jpg": "is a directory",
    "missing.jpg": "no such file",
}

# Awkward, but sound: these must decode.
READABLE = (
    "plain.jpg",
    "progressive.jpg",
    "grey.jpg",
    "cmyk.jpg",
    "rotated.jpg",
    "sixteen_bit.png",
    "palette.png",
    "palette_transparent.png",
    "alpha.png",
    "grey_alpha.png",
    "one_bit.png",
    "picture.webp",
    "animated.gif",
    "animated.webp",
    "ünïcode 写真 🙂.jpg",
)


def picture(height: int = 48, width: int = 64, *, seed: int = 0) -> np.ndarray:
    """Return a smooth RGB picture, uint8 HWC, that survives JPEG within a few grey levels."""
    phases = np.random.default_rng(seed).uniform(0, 6, 3)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / width * 3 + phase) + np.cos(y / height * 2 + phase) for phase in phases]
    return (np.stack(waves, axis=2) * 50 + 128).astype(np.uint8)


def png_header(width: int, height: int, *, bit_depth: int = 1, colour_type: int = 0) -> bytes:
    """Return a PNG that announces this size and holds next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the image as bytes of a format."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_unreadable(folder: Path) -> dict[str, Path]:
    """Write the files of UNREADABLE; return name to path ('missing.jpg' is not written)."""
    jpeg = encoded(Image.fromarray(picture(200, 200)), "JPEG", quality=95)
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    png = encoded(Image.fromarray(noise), "PNG")
    (folder / "truncated.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "truncated.png").write_bytes(png[: len(png) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("This is no picture.\n")
    (folder / "bomb.png").write_bytes(png_header(50_000, 50_000))
    (folder / "broken_link.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    (folder / "folder.jpg").mkdir()
    return {name: folder / name for name in UNREADABLE}


def write_readable(folder: Path) -> dict[str, Path]:
    """Write the files of READABLE; return name to path."""
    rgb = Image.fromarray(picture())
    rgb.save(folder / "plain.jpg", quality=95)
    rgb.save(folder / "progressive.jpg", quality=95, progressive=True)
    rgb.convert("L").save(folder / "grey.jpg", quality=95)
    rgb.convert("CMYK").save(folder / "cmyk.jpg", quality=95)  # PIL writes Adobe's marker and inverted inks
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    rgb.save(folder / "rotated.jpg", quality=95, exif=exif)
    ramp = np.linspace(0, 65535, 48 * 64).astype(np.uint16).reshape(48, 64)
    Image.fromarray(ramp).save(folder / "sixteen_bit.png")
    palette = rgb.quantize(32)
    palette.save(folder / "palette.png")
    palette.save(folder / "palette_transparent.png", transparency=0)
    layer = rgb.convert("RGBA")
    layer.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))))
    layer.save(folder / "alpha.png")
    layer.convert("LA").save(folder / "grey_alpha.png")
    rgb.convert("1").save(folder / "one_bit.png")
    rgb.save(folder / "picture.webp", quality=95)
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:], quality=95)
    rgb.save(folder / "ünïcode 写真 🙂.jpg", quality=95)
    return {name: folder / name for name in READABLE}


def write_dataset(
    root: Path, *, num_images: int = 12, size_px: int = 40, classes: tuple[str, str] = ("real", "fake")
) -> Path:
    """Write a small folder data set, num_images of each class; return its root."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(num_images):
            image = picture(size_px, size_px, seed=1000 * label + number)
            Image.fromarray(image).save(root / name / f"{number:03d}.jpg", quality=95)
    return root
