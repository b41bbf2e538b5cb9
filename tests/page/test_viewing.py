"""Dropping, viewing, zooming, and what can go wrong, as a user does it in Chromium."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.page.actions import LONG, drop, give, hold_back, hold_back_now, let_go, message, saved, wait_until_done

pytestmark = [pytest.mark.serial, pytest.mark.slow]


def test_a_dropped_picture_is_cleaned_and_compared(page: Any, noisy: Path) -> None:
    drop(page, noisy)
    wait_until_done(page, 1)
    line = page.get_by_role("slider", name="Line between original and cleaned")
    before = page.locator("#canvas").screenshot()
    box = line.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(200, 300, steps=4)
    page.mouse.up()
    assert int(line.get_attribute("aria-valuenow")) == pytest.approx(20, abs=1)
    assert page.locator("#canvas").screenshot() != before
    line.focus()
    page.keyboard.press("End")
    assert line.get_attribute("aria-valuetext") == "100 % original, 0 % cleaned"
    page.keyboard.press("Home")
    assert line.get_attribute("aria-valuenow") == "0"


def test_zoom_by_wheel_keys_and_two_fingers(page: Any, noisy: Path) -> None:
    give(page, noisy)
    wait_until_done(page, 1)
    fitted = zoom(page)
    page.mouse.move(300, 300)
    page.mouse.wheel(0, -600)
    page.wait_for_function("was => parseInt(document.querySelector('#zoom-full').textContent) > was", arg=fitted)
    page.locator("#canvas").focus()
    page.keyboard.press("1")
    assert zoom(page) == 100
    page.keyboard.press("+")
    assert zoom(page) == 125
    page.keyboard.press("0")
    assert zoom(page) == fitted
    pinch(page, [(300, 300), (400, 300)], [(250, 300), (450, 300)])
    assert zoom(page) == pytest.approx(2 * fitted, rel=0.02)


def test_the_panel_does_not_move(page: Any, noisy: Path) -> None:
    parts = "header, main, #panel, #measure, #save, nav, #status"
    places = f"[...document.querySelectorAll('{parts}')].map(e => JSON.stringify(e.getBoundingClientRect()))"
    before = page.evaluate(places)
    give(page, noisy)
    wait_until_done(page, 1)
    page.wait_for_function(
        "() => document.querySelector('#facts').textContent.includes('megapixels a second')", timeout=LONG
    )
    assert page.evaluate(places) == before


def test_nothing_overflows_the_screen_of_a_phone(page: Any, noisy: Path, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    names = [tmp_path / f"a-long-name-of-a-picture-{number}.png" for number in range(4)]
    for name in names:
        name.write_bytes(noisy.read_bytes())
    give(page, *names)
    wait_until_done(page, 4)
    rights = "[...document.querySelectorAll('header, main, #stage, #panel, nav, #clear, #save-all, #zoom-fit, #open')]"
    assert page.evaluate(f"Math.max(...{rights}.map(each => each.getBoundingClientRect().right))") <= 360


def test_a_long_name_in_the_queue_fits_on_a_phone(page: Any, noisy: Path, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    long = tmp_path / f"{'long-name-' * 6}.png"
    long.write_bytes(noisy.read_bytes())
    give(page, long)
    page.wait_for_selector(".item")
    assert page.evaluate("document.querySelector('#queue').scrollWidth <= document.querySelector('#queue').clientWidth")


def test_damaged_and_unsupported_files_are_reported_by_name(page: Any, noisy: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(noisy.read_bytes()[:5000])
    text = tmp_path / "notes.jpg"
    text.write_text("no picture")
    give(page, cut)
    page.wait_for_selector(".item[data-state=failed]")
    assert message(page) == "cut.png is damaged: its pixels cannot be read."
    give(page, text)
    page.wait_for_function("() => document.querySelectorAll('.item[data-state=failed]').length === 2")
    assert message(page) == "notes.jpg cannot be read: it is no picture that this browser knows, or it is damaged."
    empty = tmp_path / "empty.webp"
    empty.touch()
    give(page, empty)
    page.wait_for_function("() => document.querySelectorAll('.item[data-state=failed]').length === 3")
    assert message(page) == "empty.webp is empty: it has no bytes."
    give(page, noisy)
    wait_until_done(page, 1)  # and the next one is cleaned
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07" * 50)
    give(page, broken)
    page.wait_for_function("() => document.querySelector('#status').classList.contains('wrong')")
    assert message(page) == "broken is no model that cae-export wrote."


def test_fifty_megapixels_are_refused_before_they_are_decoded(page: Any, tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    row = b"\0" + bytes(8192)
    squeeze = zlib.compressobj(1)
    data = b"".join(squeeze.compress(row) for _ in range(6144)) + squeeze.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8192, 6144, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    body = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    huge.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    jpeg = tmp_path / "huge.jpg"
    cv2.imwrite(str(jpeg), np.zeros((6144, 8192), np.uint8))
    for path in (huge, jpeg):
        give(page, path)
        page.wait_for_function(
            f"() => document.querySelector('#status.wrong')?.textContent.includes('{path.name}')", timeout=LONG
        )
        limit = "This page cleans up to 40; cae-run has no such limit."
        assert message(page) == f"{path.name} has 50 megapixels. {limit}"


def test_a_late_result_is_not_shown_for_another_picture(page: Any, tmp_path: Path) -> None:
    for name, value in (("dark", 10), ("bright", 240)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((64, 64), value, np.uint8))
    hold_back(page)
    give(page, tmp_path / "dark.png", tmp_path / "bright.png")
    wait_until_done(page, 2)
    page.wait_for_function("() => document.querySelector('#canvas').ariaLabel.startsWith('dark')")
    hold_back_now(page, calls="data.name === 'hold'")
    page.locator(".item").nth(0).click()
    page.wait_for_function("() => heldBack.length > 0")
    hold_back_now(page)
    page.locator(".item").nth(1).click()
    page.wait_for_function("() => document.querySelector('#canvas').ariaLabel.startsWith('bright')")
    let_go(page)
    page.get_by_role("slider", name="Line between original and cleaned").focus()
    page.keyboard.press("Home")  # all is cleaned
    page.fill("#strength", "50")
    page.wait_for_timeout(500)
    shot = cv2.imdecode(np.frombuffer(page.locator("#canvas").screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert shot[shot.shape[0] // 2 - 60, shot.shape[1] // 2 - 60] > 200


def test_a_damaged_model_does_not_replace_the_packaged_one(page: Any, noisy: Path, tmp_path: Path) -> None:
    broken = tmp_path / "denoise.onnx"
    broken.write_bytes(b"\x08\x07" * 50)
    give(page, broken)
    page.wait_for_function("() => document.querySelector('#status').classList.contains('wrong')", timeout=LONG)
    give(page, noisy)
    wait_until_done(page, 1)
    assert saved(page)[0] == "noisy_clean.png"


def test_users_can_open_their_own_models(page: Any, noisy: Path) -> None:
    fixtures = Path(__file__).parents[1] / "runtime" / "fixtures"
    give(page, fixtures / "identity.onnx")
    page.wait_for_function("() => document.querySelector('#model').value === 'identity'", timeout=LONG)
    give(page, noisy)
    wait_until_done(page, 1)
    assert "identity" in page.locator("#model option:checked").inner_text()


def test_the_selected_picture_is_highlighted_and_named(page: Any, noisy: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(noisy.read_bytes()[:5000])
    give(page, noisy)
    wait_until_done(page, 1)
    give(page, cut)
    page.wait_for_selector(".item[data-state=failed]", timeout=LONG)
    assert chosen(page) == ["false", "true"]
    page.wait_for_selector("#empty", timeout=LONG)  # and the picture before is not taken for this one
    assert page.get_attribute("#canvas", "aria-label") == "No picture yet"
    page.locator(".item").nth(0).click()
    page.wait_for_selector("#stage.compares", timeout=LONG)
    assert (chosen(page), message(page)) == (["true", "false"], "noisy.png is chosen.")
    assert page.get_attribute("#canvas", "aria-label") == "noisy.png, 160 by 120 pixels"
    page.locator(".item").nth(1).click()
    assert message(page) == "cut.png is damaged: its pixels cannot be read."
    page.click("#clear")
    assert page.get_attribute("#canvas", "aria-label") == "No picture yet"


def test_pictures_wait_until_the_list_of_models_is_loaded(page: Any, noisy: Path) -> None:
    page.add_init_script("""const real = fetch, list = new Promise(go => window.giveList = go);
        window.fetch = async (what, ...more) => { if (what === "models.json") await list; return real(what, ...more); };
    """)
    page.reload()
    give(page, noisy)
    page.wait_for_selector(".item[data-state=working]", timeout=LONG)
    page.wait_for_timeout(500)
    page.evaluate("giveList()")
    wait_until_done(page, 1)


def test_a_script_that_fails_to_load_is_reported(browser: Any, address: str, noisy: Path) -> None:
    with browser.new_context(service_workers="block") as context:
        page = context.new_page()
        context.route("**/files.js", lambda route: route.abort())
        page.goto(address)
        for count in (1, 2):
            give(page, noisy)
            page.wait_for_function(
                "count => document.querySelectorAll('.item[data-state=failed]').length === count",
                arg=count,
                timeout=LONG,
            )
        assert message(page) == "A part of this page did not load: reload the page."
        context.route("**/sample.png", lambda route: route.abort())
        page.click("#clear")
        page.click("#sample")
        page.wait_for_function("() => document.querySelector('#status').textContent.includes('sample')", timeout=LONG)
        assert message(page) == "The sample cannot be loaded: the server does not answer."


@pytest.mark.parametrize("size", [(667, 375), (320, 256)])  # a phone on its side; text enlarged to 400 %
def test_a_low_window_leaves_room_for_the_picture(page: Any, noisy: Path, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.locator("#sample").scroll_into_view_if_needed()
    assert page.evaluate("""() => {
        const [stage, button] = ["#stage", "#sample"].map(id => document.querySelector(id).getBoundingClientRect());
        return button.bottom <= stage.bottom && button.top >= stage.top;
    }""")
    give(page, noisy)
    wait_until_done(page, 1)
    assert page.locator("#stage").bounding_box()["height"] >= 190
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
    for part in ("#save", "#measure", ".item", "#clear"):
        page.locator(part).scroll_into_view_if_needed()
        page.locator(part).click(trial=True)  # nothing lies above it


def test_the_text_size_set_in_the_browser_is_respected(page: Any, noisy: Path) -> None:
    session = page.context.new_cdp_session(page)
    session.send("Page.enable")
    session.send("Page.setFontSizes", {"fontSizes": {"standard": 32}})
    page.reload()
    assert page.evaluate("getComputedStyle(document.querySelector('#save')).fontSize") == "30px"
    give(page, noisy)
    wait_until_done(page, 1)
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert page.locator("#stage").bounding_box()["height"] >= 300


@pytest.mark.parametrize(
    ("choice", "text"), [("#format", "Same format"), ("#model", "denoise-best-int8 (0.7 MB, 0.03 MP/s)")]
)
def test_choices_are_not_cut_off(page: Any, choice: str, text: str) -> None:
    room = """([choice, text]) => {
        const select = document.querySelector(choice), sized = select.cloneNode();
        sized.append(new Option(text));
        sized.style = "position: absolute; width: auto; max-width: none";
        select.after(sized);
        return select.offsetWidth - sized.offsetWidth;
    }"""
    for height in (800, 360):
        page.set_viewport_size({"width": 800, "height": height})
        assert page.evaluate(room, [choice, text]) >= 0


def chosen(page: Any) -> list[str]:
    found: list[str] = page.evaluate("[...document.querySelectorAll('.item')].map(each => each.ariaPressed)")
    return found


def zoom(page: Any) -> int:
    return int(page.inner_text("#zoom-full").removesuffix(" %"))


def pinch(page: Any, start: list[tuple[int, int]], end: list[tuple[int, int]]) -> None:
    """Move two fingers."""
    session = page.context.new_cdp_session(page)

    def touch(kind: str, at: list[tuple[int, int]]) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(at)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", start)
    for step in range(1, 5):
        touch("touchMove", [(a + (c - a) * step / 4, b) for (a, b), (c, _) in zip(start, end, strict=True)])
    touch("touchEnd", [])
