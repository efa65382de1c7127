"""The page, in a real Chromium: what a person sees and does."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.browser.conftest import CHROMIUM, Watched
from tests.helpers.bundles import tiny_bundle, write_pictures
from tests.helpers.clips import make_clip
from tests.helpers.serving import SMALL, Live, app_of, live, until

from veriscope.bundle import Bundle
from veriscope.predict.judge import Judge
from veriscope.serving.settings import Access
from veriscope.types import UnsureBand

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no /usr/bin/chromium: apt-get install chromium"),
]

WORDS = {"fake": "Looks fake", "real": "Looks real", "unsure": "Can\u2019t tell"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A detector whose band is narrow and holds its threshold, so that all three verdicts may come."""
    band = UnsureBand(
        low=0.38,
        high=0.45,
        threshold="val",
        wanted_accuracy=0.95,
        coverage=0.9,
        accuracy=0.95,
        num_pictures=200,
        chosen_on="val",
    )
    return tiny_bundle(tmp_path_factory.mktemp("page") / "bundle", unsure=band)


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Live]:
    with live(app_of(bundle)) as server:
        yield server


def test_several_files_get_the_verdicts_of_predict(
    watched: Watched, server: Live, bundle: Bundle, tmp_path: Path
) -> None:
    paths = write_pictures(tmp_path, 3)
    judge = Judge.of(bundle)
    expected = [judge.verdict(scored) for scored in bundle.scorer(device="cpu", precision="fp32").score_paths(paths)]
    (tmp_path / "notes.jpg").write_text("no picture")
    page = watched.open(server.url)
    page.set_input_files("#files", [*paths, tmp_path / "notes.jpg"])
    shown = page.locator(".result")
    for number, verdict in enumerate(expected):
        card = shown.nth(number)
        assert card.locator("h3").inner_text() == WORDS[verdict.label]
        assert card.locator(".file").inner_text() == paths[number].name
        label = card.locator(".scale").get_attribute("aria-label")
        assert label.startswith(f"Score {verdict.score * 100:.0f} of 100. From 40 on it says fake. Between 38 and 45")
    assert shown.nth(3).locator("h3").inner_text() == "No verdict"
    assert "no file that the server reads" in shown.nth(3).inner_text()
    until(lambda: "to come" not in page.locator("#summary").inner_text())
    assert "1 without a verdict" in page.locator("#summary").inner_text()
    assert re.search(r"(Score \d+ of 100|no verdict)\.$", page.locator("#status").text_content())
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    assert {url.split("/", 3)[2] for url in watched.asked if not url.startswith("blob:")} == {
        f"127.0.0.1:{server.port}"
    }


def test_names_and_cards_are_text_never_markup(watched: Watched, server: Live, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, 1)
    hostile = "<img src=x onerror=document.title='owned'>.png"
    page = watched.open(server.url)
    page.set_input_files("#files", [{"name": hostile, "mimeType": "image/png", "buffer": path.read_bytes()}])
    page.locator(".result h3").wait_for()
    assert page.locator(".result .file").inner_text() == hostile
    assert page.title() == "veriscope: real or fake?"
    page.click("nav a:text('Model card')")
    page.locator("#card h1").wait_for()
    assert "It is no proof" in page.locator("#card").inner_text()
    assert page.locator("#card .note").inner_text() == "Made for tests."


def test_it_works_by_keyboard(watched: Watched, server: Live, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, 1)
    page = watched.open(server.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to choosing pictures"
    page.keyboard.press("Enter")
    page.wait_for_function("location.hash === new URL(document.querySelector('a').href).hash")
    page.focus("#choose")
    page.wait_for_function("document.activeElement.id === 'choose'")
    page.evaluate(
        "() => document.getElementById('files').onclick = (event) => { event.preventDefault(); window.asked = true }"
    )
    page.keyboard.press("Enter")
    page.wait_for_function("window.asked === true")  # the browser's own dialog would open now
    page.set_input_files("#files", path)
    page.locator(".result h3").wait_for()
    page.focus(".result summary")
    page.keyboard.press("Enter")
    assert "SHA-256" in page.locator(".result dl").inner_text()
    for element in page.locator("button:visible, a:visible, input:visible, summary:visible").all():
        box = element.bounding_box()
        assert element.inner_text() or element.get_attribute("aria-label"), "each has a name"
        assert box["height"] >= 24, "large enough for a finger (WCAG 2.2, 2.5.8)"
    unnamed = [image for image in page.locator("img").all() if image.get_attribute("alt") is None]
    assert unnamed == []


def test_drop_and_paste(watched: Watched, server: Live, tmp_path: Path) -> None:
    (path,) = write_pictures(tmp_path, 1)
    page = watched.open(server.url)
    give = """([kind, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], kind + ".png", { type: "image/png" }));
        const event = kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
            : new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    content = list(path.read_bytes())
    page.evaluate(give, ["dragenter", content])
    assert page.locator("#veil").is_visible()
    page.evaluate(give, ["drop", content])
    assert not page.locator("#veil").is_visible()
    page.locator(".result h3").wait_for()
    page.evaluate(give, ["paste", content])
    page.locator(".result").nth(1).locator("h3").wait_for()
    assert page.locator(".result .file").all_inner_texts() == ["paste.png", "drop.png"]


def test_a_picture_from_the_camera(watched: Watched, server: Live) -> None:
    page = watched.open(server.url)
    page.click("#camera")
    page.wait_for_selector("#shoot:enabled")
    page.click("#shoot")
    page.locator(".result h3").wait_for()
    assert page.locator(".result .file").inner_text().startswith("camera ")
    assert not page.locator("#camera-dialog").is_visible()
    assert page.evaluate("document.getElementById('viewfinder').srcObject") is None, "the camera is off"


def test_a_heat_map_lies_over_the_picture_and_fades(watched: Watched, server: Live, tmp_path: Path) -> None:
    page = watched.open(server.url)
    page.set_input_files("#files", write_pictures(tmp_path, 1, side=90))
    page.click("button:text('Show where it looked')")
    heat = page.locator("img.heat")
    heat.wait_for()
    assert page.evaluate("document.activeElement.type") == "range", "the slider is at hand"
    assert float(heat.evaluate("(image) => getComputedStyle(image).opacity")) == 0.85
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert float(heat.evaluate("(image) => getComputedStyle(image).opacity")) == 0.8
    assert heat.bounding_box() == page.locator(".frame img").first.bounding_box()
    assert "a wrong verdict has a map as good-looking" in page.locator(".stage").inner_text()


def test_a_video_has_a_timeline(watched: Watched, server: Live) -> None:
    page = watched.open(server.url)
    page.set_input_files("#files", [{"name": "clip.mp4", "mimeType": "video/mp4", "buffer": make_clip(40)}])
    page.locator(".timeline").wait_for()
    label = page.locator(".timeline").get_attribute("aria-label")
    assert re.match(r"Scores over 4.0 seconds, 8 frames; the highest is \d+ of 100", label)
    page.click(".result summary")
    assert "8 frames of 4.0 s" in page.locator(".result dl").inner_text()
    assert page.locator("button:text('Show where it looked')").count() == 0
    assert page.locator(".frame video").get_attribute("aria-label") == "clip.mp4"


def test_equal_buttons_say_aloud_which_file_they_are_of(watched: Watched, server: Live, tmp_path: Path) -> None:
    page = watched.open(server.url)
    paths = write_pictures(tmp_path, 2)
    page.set_input_files("#files", paths)
    for path in paths:
        page.get_by_role("button", name=f"Show where it looked {path.name}", exact=True).wait_for()
        assert page.locator(f"summary:has-text('Details {path.name}')").count() == 1


def test_history_stays_in_the_browser_until_it_is_forgotten(watched: Watched, server: Live, tmp_path: Path) -> None:
    page = watched.open(server.url)
    assert not page.locator("#history").is_visible()
    page.set_input_files("#files", write_pictures(tmp_path, 2))
    for number in range(2):
        page.locator(".result").nth(number).locator("h3").wait_for()
    until(lambda: len(json.loads(page.evaluate("localStorage.getItem('veriscope.history') ?? '[]'"))) == 2)
    assert not page.locator("#history").is_visible(), "what stands above is not repeated"
    page.reload()
    page.wait_for_selector("#past li")
    assert page.locator("#past li").count() == 2
    until(lambda: page.evaluate("[...document.querySelectorAll('#past img')].every((i) => i.naturalWidth === 112)"))
    page.click("#forget")
    assert not page.locator("#history").is_visible()
    assert page.evaluate("localStorage.length") == 0
    page.evaluate("localStorage.setItem('veriscope.history', '[{\"verdict\": \"__proto__\"}, null, 7]')")
    page.reload()
    page.wait_for_selector("#choose:enabled")
    assert not page.locator("#history").is_visible(), "what isn't sound is passed over"


def test_a_cleared_list_becomes_the_history(watched: Watched, server: Live, tmp_path: Path) -> None:
    page = watched.open(server.url)
    page.set_input_files("#files", write_pictures(tmp_path, 4))
    until(lambda: page.locator(".result h3").count() == 4)
    until(lambda: len(json.loads(page.evaluate("localStorage.getItem('veriscope.history') ?? '[]'"))) == 4)
    page.click("#clear")
    until(lambda: page.evaluate("[...document.querySelectorAll('#past img')].every((i) => i.naturalWidth === 112)"))
    assert page.locator("#past img").count() == 4
    # The fixture holds that no address of a picture was taken back before it was shown.


def test_a_paste_without_a_picture_is_answered(watched: Watched, server: Live, tmp_path: Path) -> None:
    page = watched.open(server.url)
    page.evaluate(
        """() => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", "https://example.org/a.jpg");
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }"""
    )
    assert page.locator("#trouble").is_visible()
    assert page.locator("#trouble").inner_text() == "There is no picture on the clipboard."
    page.set_input_files("#files", write_pictures(tmp_path, 1))
    assert not page.locator("#trouble").is_visible()


def test_what_was_not_looked_at_is_said(browser: object, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", fit="crop")
    with live(app_of(bundle)) as server:
        context = browser.new_context()
        page = Watched(context.new_page()).open(server.url)
        small, large = write_pictures(tmp_path / "s", 1, side=32)[0], write_pictures(tmp_path / "l", 1, side=90)[0]
        page.set_input_files("#files", [small, large])
        until(lambda: page.locator(".result h3").count() == 2)
        said = page.locator(".result .looked").all_inner_texts()
        assert said == ["It looked at the middle alone: 32 \u00d7 32 of 90 \u00d7 90 pixels. The rest was not checked."]
        page.locator("button:text('Show where it looked')").nth(1).click()
        page.locator(".stage:has-text('The dark part was not looked at.')").wait_for()
        page.locator("button:text('Show where it looked')").nth(0).click()
        until(lambda: page.locator("img.heat").count() == 2)
        assert page.locator(".stage:has-text('dark part')").count() == 1
        context.close()


def test_a_file_that_is_too_large_is_never_sent(watched: Watched, server: Live) -> None:
    page = watched.open(server.url)
    large = bytes(SMALL.max_file_bytes + 1)
    page.set_input_files("#files", [{"name": "large.png", "mimeType": "image/png", "buffer": large}])
    page.locator(".result h3").wait_for()
    assert "the server takes" in page.locator(".result").inner_text()
    assert not any(url.endswith("/v1/predict") for url in watched.asked)


def test_a_token_is_asked_for_and_kept_in_the_tab(browser: object, bundle: Bundle, tmp_path: Path) -> None:
    token = "a-token-for-the-desk"
    with live(app_of(bundle, access=Access(token=token))) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{server.url}/")
        for given in ("wrong-token-for-the-desk", token):
            page.locator("#token").fill(given)
            page.keyboard.press("Enter")
            if given != token:
                page.locator("#token-error:has-text('doesn\u2019t take')").wait_for()
        page.wait_for_selector("#choose:enabled")
        page.set_input_files("#files", write_pictures(tmp_path, 1))
        page.locator(".result h3").wait_for()
        assert page.locator(".result h3").inner_text() in WORDS.values()
        assert token not in page.evaluate("JSON.stringify(localStorage)")
        context.close()


def test_without_the_browser_s_storage_it_works(browser: object, bundle: Bundle, tmp_path: Path) -> None:
    """Browsers can be told to keep nothing of a page: the mere name of a storage is an error there."""
    refused = "{ get() { throw new DOMException('denied', 'SecurityError'); } }"
    token = "a-token-for-the-desk"
    with live(app_of(bundle, access=Access(token=token))) as server:
        context = browser.new_context()
        watched = Watched(context.new_page())
        page = watched.page
        for name in ("localStorage", "sessionStorage"):
            page.add_init_script(f"Object.defineProperty(window, '{name}', {refused})")
        page.goto(f"{server.url}/")
        page.locator("#token").fill(token)
        page.keyboard.press("Enter")
        page.wait_for_selector("#choose:enabled")
        page.set_input_files("#files", write_pictures(tmp_path, 1))
        page.locator(".result h3").wait_for()
        assert page.locator(".result h3").inner_text() in WORDS.values()
        page.click("#clear")
        assert not page.locator("#history").is_visible()
        assert [line for line in watched.complaints if "401" not in line] == []
        context.close()


def test_a_busy_server_is_asked_again_and_a_lost_one_is_named(browser: object, bundle: Bundle, tmp_path: Path) -> None:
    app = app_of(bundle, limits=replace(SMALL, max_waiting=4))
    engine = app.state.engine
    with live(app) as server:
        context = browser.new_context()
        page = Watched(context.new_page()).open(server.url)
        engine.num_held += 4  # as if others had filled it
        page.set_input_files("#files", write_pictures(tmp_path, 1))
        page.locator(".result:has-text('The server is busy')").wait_for()
        engine.num_held -= 4
        page.locator(".result h3").wait_for()
        assert page.locator(".result h3").inner_text() in WORDS.values()
        context.set_offline(True)
        page.set_input_files("#files", write_pictures(tmp_path, 1))
        page.locator(".result >> nth=0 >> text=can\u2019t be reached").wait_for()
        assert "1 without a verdict" in page.locator("#summary").inner_text()
        context.set_offline(False)
        page.click("button:text('Try again')")
        until(lambda: page.locator(".result h3").first.inner_text() in WORDS.values())
        until(lambda: "without" not in page.locator("#summary").inner_text())
        context.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: object, server: Live, width: int, tmp_path: Path) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark", reduced_motion="reduce"
    )
    page = Watched(context.new_page()).open(server.url)
    (path,) = write_pictures(tmp_path, 1, side=300)
    name = "a_very_long_name_without_any_space_" * 4 + ".png"
    page.set_input_files("#files", [{"name": name, "mimeType": "image/png", "buffer": path.read_bytes()}])
    page.locator(".result h3").wait_for()
    page.click(".result summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    animation = page.evaluate("getComputedStyle(document.querySelector('.result')).animationName")
    assert animation == "none"
    page.goto(f"{server.url}/static/card.html")
    page.locator("#card h1").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
