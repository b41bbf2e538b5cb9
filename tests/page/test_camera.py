"""A camera: cleaned live, recorded, refused, unplugged, switched off and on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from tests.page.actions import (
    LONG,
    give,
    hold_back,
    hold_back_now,
    let_go,
    message,
    saved,
    violations,
    wait_until_done,
)

pytestmark = [pytest.mark.serial, pytest.mark.slow]
_LIVE = "() => /frames a second/.test(document.querySelector('#live-facts').textContent)"


@pytest.fixture(scope="module")
def with_camera(chromium: Callable[..., Any], noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with a camera that shows a photograph of 320 x 240 pixels."""
    clip = tmp_path_factory.mktemp("camera") / "camera.y4m"
    frame = cv2.cvtColor(cv2.resize(cv2.imread(str(noisy)), (320, 240)), cv2.COLOR_BGR2YUV_I420).tobytes()
    clip.write_bytes(b"YUV4MPEG2 W320 H240 F30:1 Ip A1:1 C420\n" + 10 * (b"FRAME\n" + frame))
    camera = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={clip}",
    )
    with chromium(*camera) as browser:
        yield browser


@pytest.fixture
def opened(with_camera: Any, address: str) -> Iterator[Any]:
    """The page with a quick model, in a browser with a camera; `stream` is what it gave."""
    with with_camera.new_context(permissions=["camera"]) as context:
        page = context.new_page()
        page.add_init_script("""const { getUserMedia } = MediaDevices.prototype;
            MediaDevices.prototype.getUserMedia = async function (what) {
                return (window.stream = await getUserMedia.call(this, what));
            };""")
        page.goto(address)
        page.select_option("#model", "denoise-fast")
        yield page


def test_a_camera_is_cleaned_at_a_steady_rate_and_recorded(opened: Any, tmp_path: Path) -> None:
    opened.set_viewport_size({"width": 2000, "height": 1600})
    opened.click("#camera")
    opened.wait_for_function(_LIVE, timeout=LONG)
    opened.locator("#canvas").focus()
    opened.keyboard.press("+")
    zoom = opened.inner_text("#zoom-full")
    opened.evaluate("() => { document.querySelector('#rate option').value = '100000'; }")  # no machine holds it
    opened.select_option("#rate", "100000")
    opened.wait_for_function(
        "() => / at (240|160) /.test(document.querySelector('#live-facts').textContent)", timeout=LONG
    )
    assert opened.inner_text("#zoom-full") == zoom  # fewer pixels are cleaned, but they are seen in the same size
    assert violations(opened) == []
    opened.click("#record")
    opened.wait_for_timeout(1500)
    name, content = saved(opened, "#record")
    opened.click("#stop")
    assert message(opened) == "The camera is off."
    assert name == "camera_clean.webm"
    (tmp_path / name).write_bytes(content)
    recorded = cv2.VideoCapture(str(tmp_path / name))
    good, picture = recorded.read()
    assert good
    assert picture.shape == (240, 320, 3)
    assert picture.std() > 20  # the photograph, and not black


def test_the_queue_waits_for_the_camera(opened: Any, noisy: Path) -> None:
    hold_back(opened, calls="data.name === 'clean'")
    give(opened, noisy, noisy)
    opened.wait_for_selector(".item[data-state=working]")
    opened.wait_for_function("() => heldBack.length > 0", timeout=LONG)
    opened.click("#camera")
    opened.wait_for_selector("body.is-live", timeout=LONG)
    let_go(opened)
    opened.wait_for_function(
        "() => /frames a second/.test(document.querySelector('#live-facts').textContent)", timeout=LONG
    )
    assert opened.locator(".item[data-state=waiting]").count() == 2
    opened.click("#stop")
    wait_until_done(opened, 2)


def test_a_refused_camera_is_reported(page: Any) -> None:
    page.click("#camera")
    page.wait_for_function("() => document.querySelector('#status').classList.contains('wrong')", timeout=LONG)
    reasons = ("this page was not allowed to use it", "none was found")  # it depends on the kind of Chromium
    assert message(page) in [f"The camera stays off: {reason}." for reason in reasons]


def test_a_slow_model_shows_the_camera_at_once_and_records_no_empty_file(opened: Any) -> None:
    hold_back(opened, calls="data.name === 'clean'")
    downloads: list[str] = []
    opened.on("download", lambda download: downloads.append(download.url))
    opened.click("#camera")
    opened.wait_for_function("() => heldBack.length > 0", timeout=LONG)
    assert opened.get_attribute("#canvas", "aria-label") == "The camera's picture"
    assert opened.is_hidden("#empty")
    opened.click("#record")
    opened.click("#record")
    opened.wait_for_selector("#status.wrong", timeout=LONG)
    assert message(opened) == "Nothing is saved: no picture of the camera was cleaned while this recorded."
    assert downloads == []


def test_frames_that_take_seconds_are_reduced_to_the_smallest_size_at_once(opened: Any) -> None:
    hold_back(opened, calls="data.name === 'clean'")
    opened.click("#camera")
    opened.wait_for_function("() => heldBack.length > 0", timeout=LONG)
    opened.wait_for_timeout(2500)
    hold_back_now(opened, calls="data.name === 'clean' && data.given.picture.width !== 160")
    opened.evaluate("() => heldBack.splice(0).forEach(go => go())")
    opened.wait_for_function("() => / at 160 /.test(document.querySelector('#live-facts').textContent)", timeout=LONG)


def test_a_camera_that_does_not_play_is_closed(opened: Any) -> None:
    opened.evaluate("() => { HTMLMediaElement.prototype.play = () => Promise.reject(new Error('It does not play.')); }")
    opened.click("#camera")
    opened.wait_for_function("() => document.querySelector('#status').classList.contains('wrong')", timeout=LONG)
    assert message(opened) == "It does not play."
    assert opened.evaluate("stream.getTracks().map(track => track.readyState)") == ["ended"]


def test_an_unplugged_camera_is_reported(opened: Any) -> None:
    opened.click("#camera")
    opened.wait_for_function(_LIVE, timeout=LONG)
    assert opened.get_attribute("#camera", "aria-pressed") == "true"
    assert opened.get_attribute("#canvas", "aria-label") == "The camera's picture"
    opened.locator("#stop").focus()
    opened.evaluate("() => void stream.getTracks()[0].dispatchEvent(new Event('ended'))")
    assert message(opened) == "The camera stopped: it was unplugged, or this page may no longer use it."
    assert opened.get_attribute("#camera", "aria-pressed") == "false"
    assert opened.evaluate("document.activeElement.id") == "camera"  # the button that had the focus is gone


def test_a_camera_switched_off_and_on_is_cleaned_only_once(opened: Any) -> None:
    hold_back(opened)
    give(opened, Path(__file__).parents[1] / "runtime" / "fixtures" / "identity.onnx")
    opened.wait_for_function("() => document.querySelector('#model').value === 'identity'", timeout=LONG)
    hold_back_now(opened, calls="data.name === 'clean'")
    opened.click("#camera")
    opened.wait_for_function("() => heldBack.length === 1", timeout=LONG)
    opened.click("#stop")
    opened.click("#camera")
    opened.wait_for_function("() => heldBack.length === 2", timeout=LONG)
    let_go(opened)
    opened.wait_for_function(_LIVE, timeout=LONG)
    hold_back_now(opened, calls="data.name === 'clean'")
    opened.wait_for_function("() => heldBack.length > 0", timeout=LONG)
    opened.wait_for_timeout(1000)
    assert opened.evaluate("heldBack.length") == 1


def test_a_late_frame_is_not_shown_once_the_camera_is_off(opened: Any) -> None:
    opened.evaluate("""() => {
        const real = createImageBitmap;
        window.createImageBitmap = (...what) => new Promise(made => { window.makeLate = () => made(real(...what)); });
    }""")
    opened.click("#camera")
    opened.wait_for_function("() => 'makeLate' in window", timeout=LONG)
    opened.click("#stop")
    opened.evaluate("makeLate()")
    opened.wait_for_timeout(300)
    assert opened.is_visible("#choose")
