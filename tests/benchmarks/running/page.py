"""The page in Chromium compared with `cae-run`: processor time of a megapixel, and the first picture of a cold load.

    python -m tests.benchmarks.running.page [--models denoise,denoise-fast] [--threads 1] [--turns 3]

Both clean the same picture, a PNG of 1000 x 1000 pixels, and take turns. Of the page the seconds of all processes of
Chromium are taken from the moment that it gets the picture until it shows the result, once the page has loaded and
measured its model; of `cae-run` those of the whole command. The first picture is one of 160 x 120 pixels, given to a
page that was just opened in a new profile. Needs Chromium, and the page (see runtime/PAGE.md).
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tests.page.conftest import BROWSERS, COMMAND, ROOT

LONG = 600_000  # milliseconds
TICKS = os.sysconf("SC_CLK_TCK")
READY = "() => document.querySelector('#facts').textContent.includes('megapixels a second')"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="denoise,denoise-fast,denoise-int8", help="names, with commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    measure(given.models.split(","), given.threads, given.turns)


def measure(models: list[str], threads: int, turns: int) -> None:
    """Print the processor times of page and command for each model, and of a cold load."""
    from playwright.sync_api import sync_playwright

    program = next(path for name in BROWSERS if (path := shutil.which(name)))
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        large, small = _pictures(Path(made))
        with subprocess.Popen([COMMAND, "--page", "--no-window"], stderr=subprocess.PIPE, text=True) as server:
            address = f"{re.search(r'http://[^ ]*', server.stderr.readline())[0]}?threads={threads}"
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for model in models:
                pairs = [(_page(browser, address, model, large), _command(model, threads, large)) for _ in range(turns)]
                page, command = (statistics.median(times) for times in zip(*pairs, strict=True))
                print(f"{model}: page {page:.1f} s, cae-run {command:.1f} s, ratio {page / command:.1f}", flush=True)
            loads = [_cold(browser, address, small) for _ in range(turns)]
            wall, used = (statistics.median(times) for times in zip(*loads, strict=True))
            print(f"first picture of a cold load: {wall:.1f} s, {used:.1f} s of processor time")
            browser.close()
            server.terminate()


def _pictures(folder: Path) -> tuple[Path, Path]:
    sample = cv2.imread(str(ROOT / "assets" / "samples" / "chelsea-sigma15.png"))
    large, small = folder / "large.png", folder / "small.png"
    cv2.imwrite(str(large), np.tile(sample, (4, 3, 1))[:1000, :1000])
    cv2.imwrite(str(small), sample[:120, :160])
    return large, small


def _page(browser: Any, address: str, model: str, picture: Path) -> float:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(address)
        page.wait_for_function(READY, timeout=LONG, polling=1000)
        if model != "denoise":
            page.select_option("#model", model)
            page.wait_for_function(READY, timeout=LONG, polling=1000)
        page.wait_for_timeout(2000)
        before = _children()
        _give(page, picture, polling=1000)
        return _children() - before


def _cold(browser: Any, address: str, picture: Path) -> tuple[float, float]:
    with browser.new_context() as context:
        page = context.new_page()
        before, started = _children(), time.perf_counter()
        page.goto(address)
        _give(page, picture, polling=50)
        return time.perf_counter() - started, _children() - before


def _give(page: Any, picture: Path, polling: int) -> None:
    page.set_input_files("#files", str(picture))
    page.wait_for_function("() => document.querySelector('.compares')", timeout=LONG, polling=polling)


def _command(model: str, threads: int, picture: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = picture.with_name("out.png")
    given = [picture, "-o", output, "--overwrite", "--no-stretch", "-m", model, "--threads", threads]
    subprocess.run([COMMAND, *map(str, given)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _children() -> float:
    """Seconds that the processes below this one have used so far."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:  # it just ended
            continue
        stats[int(path.parent.name)] = (int(values[1]), (int(values[11]) + int(values[12])) / TICKS)
    below, total = {os.getpid()}, 0.0
    for pid in sorted(stats):  # parents are older
        if stats[pid][0] in below:
            below.add(pid)
            total += stats[pid][1]
    return total


if __name__ == "__main__":
    main()
