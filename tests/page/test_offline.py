"""The page offline, on a static host, and after an update."""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.page.actions import LONG, give, message, saved, wait_until_done
from tests.page.conftest import SOURCES

pytestmark = [pytest.mark.serial, pytest.mark.slow]


def test_nothing_is_requested_after_the_page_is_loaded(browser: Any, address: str, noisy: Path) -> None:
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


def test_the_page_works_offline_after_the_first_visit(page: Any, noisy: Path) -> None:
    page.wait_for_function(
        "async () => (await navigator.serviceWorker.ready).active.state === 'activated'", timeout=LONG
    )
    page.context.set_offline(True)
    page.reload()
    give(page, noisy)
    wait_until_done(page, 1)
    assert page.evaluate("crossOriginIsolated")


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a folder as hosts do that send no headers of the page, and let browsers keep files for an hour."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Cache-Control", "max-age=3600")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def site(built_page: Path, tmp_path: Path) -> Path:
    """The folder for a static host."""
    subprocess.run(["node", "build.mjs", "--static", tmp_path / "site"], cwd=SOURCES, check=True, capture_output=True)
    return tmp_path / "site"


def test_the_service_worker_enables_threads_on_a_static_host(browser: Any, site: Path, noisy: Path) -> None:
    (site / "letter.txt").write_text("old")
    with served(site) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_function("() => crossOriginIsolated", timeout=LONG)
        give(page, noisy)
        wait_until_done(page, 1)
        read = "async () => (await fetch('letter.txt', { cache: 'no-cache' })).text()"
        assert page.evaluate(read) == "old"
        (site / "letter.txt").write_text("new letter")
        assert page.evaluate(read) == "new letter"  # the page keeps its own files alone


def test_pictures_survive_the_reload_that_enables_threads(browser: Any, site: Path, noisy: Path) -> None:
    late = """const { register } = ServiceWorkerContainer.prototype, may = new Promise(go => window.mayRegister = go);
        ServiceWorkerContainer.prototype.register = async function (...what) {
            await may;
            return register.apply(this, what);
        };"""
    with served(site) as address, browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(late)
        page.goto(address)
        give(page, noisy)
        wait_until_done(page, 1)
        page.evaluate("mayRegister()")
        page.wait_for_function("() => navigator.serviceWorker.controller !== null", timeout=LONG)
        page.wait_for_timeout(1000)
        assert page.locator(".item[data-state=done]").count() == 1


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("given", ["picture", "model"])
def test_a_new_version_appears_at_once_unless_pictures_are_open(
    browser: Any, site: Path, noisy: Path, given: str, waits: bool
) -> None:
    def update(title: str) -> None:
        change("index.html", "<h1>[^<]*<", f"<h1>{title}<")
        for name in ("index.html", "sw.js"):
            change(name, '"[0-9a-f]{16}"', f'"{title}"')

    def change(name: str, old: str, new: str) -> None:
        text = (site / name).read_text(encoding="utf-8")
        assert re.search(old, text)
        (site / name).write_text(re.sub(old, new, text, count=1), encoding="utf-8")

    if waits:  # as Chromium may leave a version that is installed while a page opens
        change("sw.js", r"\.then\(\(\)=>\w+\.skipWaiting\(\)\)", "")
    with served(site) as address, browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_function("() => crossOriginIsolated", timeout=LONG)
        update("0123456789abcdef")
        page.close()
        page = context.new_page()
        page.goto(address, wait_until="commit")
        page.wait_for_function("() => document.querySelector('h1').textContent === '0123456789abcdef'", timeout=LONG)
        if given == "model":
            give(page, Path(__file__).parents[1] / "runtime" / "fixtures" / "identity.onnx")
            page.wait_for_function("() => document.querySelector('#model').value === 'identity'", timeout=LONG)
        else:
            give(page, noisy)
            wait_until_done(page, 1)
        update("fedcba9876543210")
        page.evaluate("async () => void (await navigator.serviceWorker.getRegistration()).update()")
        page.wait_for_function(
            "() => document.querySelector('#status').textContent.startsWith('A new version')", timeout=LONG
        )
        assert message(page) == "A new version of this page is here: reload the page when your pictures are saved."
        if given == "model":
            assert page.input_value("#model") == "identity"
        else:
            assert page.locator(".item[data-state=done]").count() == 1


def test_building_for_a_static_host_keeps_other_files_in_the_folder(built_page: Path, tmp_path: Path) -> None:
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
