"""The page's files, without a browser."""

import re

import pytest

from veriscope.serving.page import load_page

PAGE = load_page()
CSS = PAGE["style.css"].body.decode()


def luminance(colour: str) -> float:
    """Return the relative luminance of '#rrggbb' (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(scheme: str) -> None:
    roots = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[0 if scheme == "light" else 1]))
    pairs = [(text, ground) for text in ("ink", "quiet", "accent") for ground in ("paper", "sheet", "faint")]
    pairs += [(verdict, ground) for verdict in ("fake", "real", "unsure") for ground in ("sheet", "paper")]
    pairs += [("ink", f"{verdict}-tint") for verdict in ("fake", "real", "unsure")] + [("on-accent", "accent")]
    for text, ground in pairs:
        light, dark = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, text, ground)


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    for name, asset in PAGE.items():
        text = asset.body.decode()
        hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text)) - {"http://www.w3.org"}
        assert hosts == set(), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name
        if name.endswith(".html"):
            assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text), name


def test_every_file_that_the_page_asks_for_is_there() -> None:
    for name, asset in PAGE.items():
        text = asset.body.decode()
        for asked in re.findall(r'"/static/([\w.-]+)"', text) + re.findall(r'from "\./([\w.-]+)"', text):
            assert asked in PAGE, (name, asked)
    html, script = (
        PAGE["index.html"].body.decode(),
        "".join(asset.body.decode() for name, asset in PAGE.items() if name.endswith(".js")),
    )
    ids = set(re.findall(r'\bid="([\w-]+)"', html)) | {"card"}
    assert set(re.findall(r'byId\("([\w-]+)"\)', script)) <= ids
