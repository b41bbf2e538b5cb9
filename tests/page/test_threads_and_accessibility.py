"""Threads, WebGPU, the keyboard and a screen reader."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.page.actions import LONG, give, saved, violations, wait_until_done

from cae_runtime import Restorer

pytestmark = [pytest.mark.serial, pytest.mark.slow]


def test_threads_do_not_change_the_picture(page: Any, noisy: Path) -> None:
    page.goto(f"{page.url}?threads=3")
    page.wait_for_function("() => document.querySelector('#facts').textContent.includes('3 threads')", timeout=LONG)
    give(page, noisy)
    wait_until_done(page, 1)
    made = cv2.imdecode(np.frombuffer(saved(page)[1], np.uint8), 1)
    with Restorer(stretch=False, threads=1) as restore:
        assert np.abs(made.astype(int) - restore(cv2.imread(str(noisy)))).max() <= 1


def test_the_page_explains_why_webgpu_is_not_used(page: Any) -> None:
    page.wait_for_function("() => document.querySelector('#facts').textContent.startsWith('Runs on')", timeout=LONG)
    facts = page.inner_text("#facts")
    assert facts.startswith("Runs on WebAssembly, ")
    assert "No WebGPU: " in facts


@pytest.mark.skipif("CAE_TEST_WEBGPU" not in os.environ, reason="CAE_TEST_WEBGPU=1 runs it: minutes without a GPU")
def test_webgpu_gives_the_same_picture_as_wasm(
    chromium: Callable[..., Any], address: str, noisy: Path, tmp_path: Path
) -> None:
    tiny = tmp_path / "tiny.png"
    cv2.imwrite(str(tiny), cv2.imread(str(noisy))[:40, :44])
    software = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
    with chromium(*software) as browser, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}?software-webgpu")
        page.wait_for_function(
            "() => document.querySelector('#facts').textContent.startsWith('Runs on')", timeout=3 * LONG
        )
        if "No WebGPU: " in page.inner_text("#facts"):
            pytest.skip("this Chromium has no software for WebGPU")
        assert page.inner_text("#facts") == "Runs on WebGPU."
        give(page, tiny)
        wait_until_done(page, 1, 3 * LONG)
        made = cv2.imdecode(np.frombuffer(saved(page)[1], np.uint8), 1)
        with Restorer(stretch=False, threads=1) as restore:
            assert np.abs(made.astype(int) - restore(cv2.imread(str(tiny)))).max() <= 1
        page.select_option("#model", "denoise-fast-int8")
        page.wait_for_function(
            "() => document.querySelector('#facts').textContent.includes('8-bit integers')", timeout=LONG
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_can_use_the_page(page: Any, noisy: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    assert violations(page) == []
    give(page, noisy)
    wait_until_done(page, 1)
    assert violations(page) == []


def test_the_page_works_with_the_keyboard_alone(page: Any, noisy: Path) -> None:
    give(page, noisy)
    wait_until_done(page, 1)
    page.locator("#camera").focus()
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    for wanted in (
        "open",
        "canvas",
        "line",
        "zoom-in",
        "model",
        "measure",
        "strength",
        "color",
        "format",
        "quality",
        "item",
    ):
        assert wanted in reached
    page.locator("#save").focus()
    with page.expect_download():
        page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#status').textContent.endsWith('is saved.')")
    assert focused(page) == "save"


def test_the_focus_stays_in_the_page(page: Any) -> None:
    page.locator("#sample").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#empty", state="hidden", timeout=LONG)
    assert focused(page) == "canvas"  # the button is gone
    page.locator("#measure").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#status').textContent.startsWith('Measuring ')", timeout=LONG)
    assert focused(page) == "measure"


def focused(page: Any) -> str:
    """The id of what the keyboard acts on; empty if it is nothing."""
    return str(page.evaluate("document.activeElement.id"))
