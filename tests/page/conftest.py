"""The page in a real browser: built, served by `cae-run --page`, opened in Chromium; skipped without it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "runtime" / "page"
COMMAND = Path(sys.executable).parent / ("cae-run.exe" if os.name == "nt" else "cae-run")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small noisy photograph, a PNG file."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.png"
    picture = cv2.imread(str(ROOT / "assets" / "samples" / "chelsea-sigma15.png"))[60:180, 100:260]
    cv2.imwrite(str(path), picture)
    return path


@pytest.fixture(scope="session")
def browser_program() -> str:
    """Return the path of Chromium."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page is not tested")
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    return pytest.skip("no Chromium here: the page is not tested")


@pytest.fixture(scope="session")
def built_page(browser_program: str) -> Path:
    """Return the folder of the page, built anew from its sources."""
    npm = shutil.which("npm") or pytest.skip("no npm here: the page is not tested")
    if not (SOURCES / "node_modules").is_dir():
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(install, cwd=SOURCES, capture_output=True)
        if done.returncode:
            pytest.skip("npm cannot install what the page is built with: the page is not tested")
    done = subprocess.run([npm, "run", "build"], cwd=SOURCES, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / "runtime" / "cae_runtime" / "page"


@pytest.fixture(scope="session")
def address(built_page: Path) -> Iterator[str]:
    """Return the address at which `cae-run --page` serves the page."""
    with subprocess.Popen([COMMAND, "--page", "--no-window"], stderr=subprocess.PIPE, text=True) as server:
        line = server.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line + server.stderr.read()
        yield found[0]
        server.send_signal(signal.SIGINT)
        assert server.stderr.read() == "cae-run: interrupted\n"
    assert server.returncode == 130


@pytest.fixture(scope="session")
def chromium(browser_program: str) -> Iterator[Callable[..., Any]]:
    """Return what starts Chromium with some options."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:

        def start(*options: str) -> Any:
            return playwright.chromium.launch(executable_path=browser_program, args=["--no-sandbox", *options])

        yield start


@pytest.fixture(scope="session")
def browser(chromium: Callable[..., Any]) -> Iterator[Any]:
    """Return a browser without WebGPU that all tests share."""
    with chromium("--disable-features=WebGPU") as running:
        yield running


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """Return the page, just opened by someone who never was there; it must tell no errors and ask nobody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    own = (address, "blob:", "data:")
    opened.on("request", lambda asked: None if asked.url.startswith(own) else wrong.append(asked.url))
    opened.goto(address)
    yield opened
    context.close()
    assert wrong == []
