"""Off line, on a static host, with a camera, with WebGPU, by keyboard alone and with a screen reader."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.page.actions import LONG, give, hold_back, let_go, message, saved, wait_until_done
from tests.page.conftest import SOURCES

from cae_runtime import Restorer

pytestmark = [pytest.mark.serial, pytest.mark.slow]


def test_nothing_is_asked_for_once_it_is_loaded(browser: Any, address: str, noisy: Path) -> None:
    with browser.new_context() as context:
        page, asked = context.new_page(), []
        page.on("request", lambda request: asked.append(request.url.removeprefix(address)))
        page.goto(address)
        page.wait_for_function("() => document.querySelector('#facts').textContent.includes('second')", timeout=LONG)
        assert {"ort/ort-wasm-simd-threaded.wasm", "models/denoise.onnx"} <= set(asked)  # workers are watched, too
        page.wait_for_function("async () => (await navigator.serviceWorker.ready) !== null", timeout=LONG)
        asked.clear()
        give(page, noisy)
        wait_until_done(page, 1)
        saved(page)
        assert [url for url in asked if not url.startswith("blob:")] == []


def test_off_line_after_the_first_visit(page: Any, noisy: Path) -> None:
    page.wait_for_function(
        "async () => (await navigator.serviceWorker.ready).active.state === 'activated'", timeout=LONG
    )
    page.context.set_offline(True)
    page.reload()
    give(page, noisy)
    wait_until_done(page, 1)
    assert page.evaluate("crossOriginIsolated")


@pytest.fixture(scope="module")
def static_host(built_page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page on a host that sends no headers of its own."""
    site = tmp_path_factory.mktemp("host") / "site"
    subprocess.run(["node", "build.mjs", "--static", site], cwd=SOURCES, check=True, capture_output=True)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_folder_for_a_static_host_loses_no_other_files(built_page: Path, tmp_path: Path) -> None:
    def built(*options: object) -> tuple[int, str]:
        done = subprocess.run(["node", "build.mjs", *map(str, options)], cwd=SOURCES, capture_output=True, text=True)
        return done.returncode, done.stderr

    (tmp_path / "letter.txt").write_text("mine")
    why = "has files, and no built.json of an earlier build: choose an empty folder, or one that does not exist."
    assert built("--static", tmp_path) == (2, f"build.mjs: {tmp_path} {why}\n")
    assert (tmp_path / "letter.txt").read_text() == "mine"
    missing = "build.mjs: --static needs a FOLDER that the page is written to, such as --static site.\n"
    assert built("--static") == (2, missing)
    assert built("--statik", "site") == (
        2, "build.mjs: --statik site is not known: the only option is --static FOLDER.\n"
    )  # fmt: skip
    site = tmp_path / "site"
    site.mkdir()
    assert built("--static", site)[0] == 0
    page = sorted(path for path in site.rglob("*") if path.is_file())
    listed = json.loads((site / "built.json").read_text())
    mine = [site / "CNAME", site / "models" / "mine.onnx", site / "photos" / "a.jpg", site / "chunk-MINE.js"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (site / "chunk-OLD.js").touch()
    (site / "built.json").write_text(json.dumps([*listed, "chunk-OLD.js", "../letter.txt"]))
    assert built("--static", site)[0] == 0
    assert sorted(path for path in site.rglob("*") if path.is_file()) == sorted([*page, *mine])
    assert {path.read_text() for path in mine} == {(tmp_path / "letter.txt").read_text()} == {"mine"}
    (site / "built.json").write_text(json.dumps([name for name in listed if name != "index.html"]))
    (site / "index.html").write_text("mine")
    why = f"{site / 'index.html'} is not of the last build, and the page has a file of this name: move it away."
    assert built("--static", site) == (2, f"build.mjs: {why}\n")
    assert (site / "index.html").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.txt", "site"]


def test_a_static_host_gets_threads_by_the_service_worker(browser: Any, static_host: str, noisy: Path) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(static_host)
        page.wait_for_function("() => crossOriginIsolated", timeout=LONG)
        give(page, noisy)
        wait_until_done(page, 1)


def test_threads_give_the_same_picture(page: Any, noisy: Path) -> None:
    page.goto(f"{page.url}?threads=3")
    page.wait_for_function("() => document.querySelector('#facts').textContent.includes('3 threads')", timeout=LONG)
    give(page, noisy)
    wait_until_done(page, 1)
    made = cv2.imdecode(np.frombuffer(saved(page)[1], np.uint8), 1)
    with Restorer(stretch=False, threads=1) as restore:
        assert np.abs(made.astype(int) - restore(cv2.imread(str(noisy)))).max() <= 1


def test_why_there_is_no_webgpu(page: Any) -> None:
    page.wait_for_function("() => document.querySelector('#facts').textContent.startsWith('Runs on')", timeout=LONG)
    facts = page.inner_text("#facts")
    assert facts.startswith("Runs on WebAssembly, ")
    assert "No WebGPU: " in facts


@pytest.mark.skipif("CAE_TEST_WEBGPU" not in os.environ, reason="CAE_TEST_WEBGPU=1 runs it: minutes without a GPU")
def test_webgpu_gives_the_same_picture(chromium: Callable[..., Any], address: str, noisy: Path, tmp_path: Path) -> None:
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


def test_a_camera_is_cleaned_held_at_a_rate_and_recorded(
    chromium: Callable[..., Any], address: str, noisy: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "camera.y4m"
    frame = cv2.cvtColor(cv2.resize(cv2.imread(str(noisy)), (320, 240)), cv2.COLOR_BGR2YUV_I420).tobytes()
    clip.write_bytes(b"YUV4MPEG2 W320 H240 F30:1 Ip A1:1 C420\n" + 10 * (b"FRAME\n" + frame))
    camera = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={clip}",
    )
    with chromium(*camera) as browser, browser.new_context(permissions=["camera"]) as context:
        page = context.new_page()
        page.goto(address)
        page.select_option("#model", "denoise-fast")
        page.click("#camera")
        page.wait_for_function(
            "() => /frames a second/.test(document.querySelector('#live-facts').textContent)", timeout=LONG
        )
        page.evaluate("() => { document.querySelector('#rate option').value = '100000'; }")  # no machine holds it
        page.select_option("#rate", "100000")
        page.wait_for_function(
            "() => / at (240|160) /.test(document.querySelector('#live-facts').textContent)", timeout=LONG
        )
        page.evaluate((SOURCES / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
        assert violations(page) == []
        page.click("#record")
        page.wait_for_timeout(1500)
        name, content = saved(page, "#record")
        page.click("#stop")
        assert message(page) == "The camera is off."
    assert name == "camera_clean.webm"
    (tmp_path / name).write_bytes(content)
    recorded = cv2.VideoCapture(str(tmp_path / name))
    good, picture = recorded.read()
    assert good
    assert picture.shape == (240, 320, 3)
    assert picture.std() > 20  # the photograph, and not black


def test_the_queue_waits_for_the_camera(chromium: Callable[..., Any], address: str, noisy: Path) -> None:
    camera = "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
    with chromium(*camera) as browser, browser.new_context(permissions=["camera"]) as context:
        page = context.new_page()
        page.goto(address)
        hold_back(page, calls="data.name === 'clean'")
        give(page, noisy, noisy)
        page.wait_for_selector(".item[data-state=working]")
        page.wait_for_function("() => heldBack.length > 0", timeout=LONG)
        page.click("#camera")
        page.wait_for_selector("body.is-live", timeout=LONG)
        let_go(page)
        page.wait_for_function(
            "() => /frames a second/.test(document.querySelector('#live-facts').textContent)", timeout=LONG
        )
        assert page.locator(".item[data-state=waiting]").count() == 2
        page.click("#stop")
        wait_until_done(page, 2)


def test_a_camera_that_is_refused_is_told(page: Any) -> None:
    page.click("#camera")
    page.wait_for_function("() => document.querySelector('#status').classList.contains('wrong')", timeout=LONG)
    assert "amera" in message(page) or "not found" in message(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_finds_its_way(page: Any, noisy: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.evaluate((SOURCES / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    assert violations(page) == []
    give(page, noisy)
    wait_until_done(page, 1)
    assert violations(page) == []


def test_by_keyboard_alone(page: Any, noisy: Path) -> None:
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


def violations(page: Any) -> list[str]:
    """What axe finds wrong, and where."""
    found = page.evaluate("async () => (await axe.run()).violations")
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes']]}" for rule in found]
