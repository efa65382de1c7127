"""Data sets whose classes differ by files and not by what they show."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from tests.helpers.badfiles import picture


def grainy(height: int, width: int, *, seed: int) -> Image.Image:
    """Return a smooth picture with grain, whose JPEG differs between qualities."""
    grain = np.random.default_rng(seed).integers(-12, 13, (height, width, 3))
    pixels = picture(height, width, seed=seed).astype(int) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_planted(root: Path, *, num_images: int = 12) -> Path:
    """Write real JPEGs (quality 60 to 82, EXIF, an sRGB profile, progressive, some 4:4:4, three shapes) against fakes
    of two generators: `sd`, PNG of one size, and `gan`, JPEG 95 without metadata. Return `root`."""
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for folder in ("real", "fake/sd", "fake/gan"):
        (root / folder).mkdir(parents=True)
    for number in range(num_images):
        height, width = ((96, 128), (128, 96), (112, 112))[number % 3]
        grainy(height, width, seed=number).save(
            root / "real" / f"{number:03}.jpg",
            quality=60 + 2 * number,
            exif=exif,
            icc_profile=profile,
            progressive=True,
            subsampling="4:4:4" if number % 2 else "4:2:0",
        )
        grainy(128, 128, seed=1000 + number).save(root / "fake" / "sd" / f"{number:03}.png")
        grainy(120, 120, seed=2000 + number).save(root / "fake" / "gan" / f"{number:03}.jpg", quality=95)
    return root
