"""The page of a server that judges faces: boxes over the preview, and a list with the same numbers."""

import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from tests.browser.conftest import CHROMIUM, Watched
from tests.helpers.bundles import tiny_bundle
from tests.helpers.clips import make_clip
from tests.helpers.faces import group, portrait
from tests.helpers.serving import SMALL, Live, app_of, live

from veriscope.bundle import Bundle
from veriscope.predict.explain import judge_with_place
from veriscope.predict.face_finder import YuNet, face_model
from veriscope.predict.faces import FaceCutter, FaceRules
from veriscope.predict.judge import Judge
from veriscope.types import FacesVerdict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no /usr/bin/chromium: apt-get install chromium"),
]

CUTTER = FaceCutter(YuNet(face_model(None)), FaceRules())
TWO = group((0, 0, 400), (400, 0, 300), (700, 0, 100), size=(800, 420))
WORDS = {"fake": "Looks fake", "real": "Looks real"}


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> FacesVerdict:
    """What predict says of TWO."""
    scorer = bundle.scorer(device="cpu", precision="fp32")
    verdict, _ = judge_with_place(scorer, bundle.path, TWO, judge=Judge.of(bundle), cutter=CUTTER)
    assert isinstance(verdict, FacesVerdict)
    return verdict


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A detector whose threshold lies between the scores of the two faces."""
    folder = tmp_path_factory.mktemp("page")
    plain = tiny_bundle(folder / "plain")
    scorer = plain.scorer(device="cpu", precision="fp32")
    verdict, _ = judge_with_place(scorer, plain.path, TWO, judge=Judge.of(plain), cutter=CUTTER)
    assert isinstance(verdict, FacesVerdict)
    return tiny_bundle(folder / "bundle", threshold=sum(face.score or 0.0 for face in verdict.faces) / 2)


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Live]:
    limits = replace(SMALL, max_file_bytes=2_000_000, max_video_bytes=2_000_000, max_body_bytes=8_000_000)
    with live(app_of(bundle, cutter=CUTTER, limits=limits)) as server:
        yield server


def file(image_HWC: np.ndarray, name: str = "picture.png", *, turned: bool = False) -> dict[str, object]:
    buffer, exif, image = BytesIO(), Image.Exif(), Image.fromarray(image_HWC)
    if turned:
        exif[0x0112] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    image.save(buffer, "PNG", exif=exif)
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


@pytest.mark.parametrize("turned", [False, True])
def test_boxes_lie_where_the_faces_are_and_the_list_names_them(
    watched: Watched, server: Live, expected: FacesVerdict, turned: bool
) -> None:
    page = watched.open(server.url)
    page.set_input_files("#files", file(TWO, turned=turned))
    page.locator(".faces-over").wait_for()
    page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")  # it slides in
    shown = page.locator(".frame img").bounding_box()
    scale = shown["width"] / TWO.shape[1]
    boxes = page.locator(".faces-over .face")
    assert boxes.count() == len(expected.faces) == 2
    for number, face in enumerate(expected.faces):
        box = boxes.nth(number).bounding_box()
        assert box["x"] - shown["x"] == pytest.approx(face.region.left * scale, abs=1)
        assert box["y"] - shown["y"] == pytest.approx(face.region.top * scale, abs=1)
        assert box["width"] == pytest.approx(face.region.width * scale, abs=1)
        assert box["height"] == pytest.approx(face.region.height * scale, abs=1)
        assert boxes.nth(number).inner_text() == str(number + 1)
        entry = page.locator(".faces li").nth(number)
        decides = number == expected.decides
        assert entry.locator(".word").text_content().startswith(f"Face {number + 1}: {WORDS[face.label or '']}, ")
        assert ("decides" in entry.locator(".quiet").all_inner_texts()) == decides
        assert ("decides" in boxes.nth(number).get_attribute("class")) == decides
    styles = page.evaluate("[...document.querySelectorAll('.face')].map((e) => getComputedStyle(e).borderTopStyle)")
    assert sorted(styles) == ["dotted", "solid"], "real and fake differ by their lines, too"
    assert page.locator(".faces-over").get_attribute("aria-hidden") == "true", "the list says it all"
    assert page.locator(".faces").get_attribute("aria-label") == "Faces"
    assert page.locator(".face-note").inner_text() == "1 face below 64 px not judged."
    assert "The more faces a picture has" in page.locator(".said").inner_text()
    assert page.locator("#status").text_content().endswith(f"of 100, of face {(expected.decides or 0) + 1} of 2.")
    page.click("button:text('Show where it looked')")
    heat = page.locator("img.heat")
    heat.wait_for()
    assert heat.bounding_box() == pytest.approx(page.locator(".frame img").first.bounding_box(), abs=0.1)
    assert "the map is of the face that decides" in page.locator(".stage").inner_text()
    on_top = "(e) => getComputedStyle(e).zIndex"
    assert page.locator(".faces-over").evaluate(on_top) == "1", "the boxes stay above the heat map"


def test_no_face_is_said_and_one_face_is_not_picked_out(watched: Watched, server: Live) -> None:
    page = watched.open(server.url)
    assert "judges pictures by the faces in them" in page.locator("#seen").inner_text()
    empty = np.full((90, 120, 3), 90, dtype=np.uint8)
    page.set_input_files("#files", [file(empty), file(portrait())])
    first, second = page.locator(".result").nth(0), page.locator(".result").nth(1)
    first.locator("h3").wait_for()
    assert first.locator(".face-note").inner_text() == "No face found: the whole picture was judged."
    assert first.locator(".faces, .faces-over").count() == 0
    second.locator(".faces-over").wait_for()
    assert second.locator(".face-note").count() == 0
    assert second.locator(".faces li").count() == 1
    assert "decides" not in second.inner_text()


def test_no_face_may_be_no_verdict(browser: object, bundle: Bundle) -> None:
    strict = FaceCutter(CUTTER.finder, FaceRules(no_face="nothing"))
    with live(app_of(bundle, cutter=strict)) as server:
        context = browser.new_context()
        page = Watched(context.new_page()).open(server.url)
        page.set_input_files("#files", file(np.full((90, 120, 3), 90, dtype=np.uint8)))
        page.locator(".result h3").wait_for()
        assert page.locator(".result h3").inner_text() == "No verdict"
        assert "There is nothing to judge: no face found." in page.locator(".result").inner_text()
        context.close()


def test_a_video_s_faces_have_times_and_are_shown_by_keyboard(watched: Watched, server: Live) -> None:
    def picture(number: int) -> np.ndarray:
        return group((number, 5, 230), *([(220, 20, 210)] if number >= 20 else []), size=(420, 240))

    page = watched.open(server.url)
    clip = make_clip(60, size=(420, 240), picture=picture, form="webm", codec="libvpx-vp9", options={"crf": "20"})
    page.set_input_files("#files", [{"name": "clip.webm", "mimeType": "video/webm", "buffer": clip}])
    page.locator(".faces.tracks").wait_for()
    rows = page.locator(".faces.tracks li")
    assert rows.count() == 2
    page.locator(".faces.tracks button").nth(1).wait_for()
    assert [re.findall(r"\d:\d\d to \d:\d\d", text) for text in rows.all_inner_texts()] == [
        ["0:00 to 0:05"],
        ["0:02 to 0:05"],
    ]
    page.locator(".faces.tracks button").nth(1).focus()
    page.keyboard.press("Enter")
    page.locator(".faces-over .face").wait_for()
    assert page.locator(".faces-over").inner_text() == "2"
    assert 2 <= page.evaluate("document.querySelector('.frame video').currentTime") < 3
    box, shown = page.locator(".faces-over .face").bounding_box(), page.locator(".frame video").bounding_box()
    middle = (box["x"] + box["width"] / 2 - shown["x"]) / shown["width"]
    assert middle == pytest.approx((220 + 92) / 420, abs=0.06), "over the right one"
    assert re.search(r"The score is that of face \d", page.locator(".said").inner_text())
    page.evaluate("document.querySelector('.frame video').play()")
    page.locator(".faces-over").wait_for(state="detached")
    page.set_input_files("#files", [{"name": "no.mp4", "mimeType": "video/mp4", "buffer": make_clip(20)}])
    page.locator(".result >> nth=0 >> .timeline").wait_for()
    note = page.locator(".result >> nth=0 >> .face-note").inner_text()
    assert note == "No face found in its frames: whole frames were judged."


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_many_faces_are_not_wider_than_the_screen(browser: object, server: Live, width: int) -> None:
    places = [(left, top, 150) for left in range(0, 900, 150) for top in (0, 160, 320)]
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark")
    page = Watched(context.new_page()).open(server.url)
    page.set_input_files("#files", file(group(*places, size=(900, 480))))
    page.locator(".result h3").wait_for()
    assert "18 faces smaller" in page.locator(".face-note").inner_text()
    large = group(*[(left, top, 260) for left in range(0, 900, 230) for top in (0, 270)], size=(920, 540))
    page.set_input_files("#files", file(large))
    page.locator(".result >> nth=0 >> .faces-over").wait_for()
    assert page.locator(".faces li").count() == 8
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
