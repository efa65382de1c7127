"""Picture files by their headers, for tests of what follows from them."""

from veriscope.data.container import ContainerFacts


def stored(kind: str, width_px: int, height_px: int, quality: int | None = None) -> ContainerFacts:
    """Return the facts of a plain RGB file without metadata."""
    return ContainerFacts(
        format=kind,
        mode="RGB",
        width_px=width_px,
        height_px=height_px,
        size_bytes=1000,
        frames=1,
        quality=quality,
        quant_tables=None if quality is None else "abc",
        subsampling=None if quality is None else "4:2:0",
        progressive=False,
        exif=False,
        icc=False,
        alpha=False,
        orientation=1,
    )
