"""The log of long work: a line every ten seconds, on a simulated clock."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from cae_runtime.cli.main import app
from cae_runtime.jobs.progress import Progress
from cae_runtime.jobs.progress_log import ProgressLog


def test_a_log_line_with_the_time_left_appears_every_ten_seconds() -> None:
    now, told = [0.0], list[str]()
    log = ProgressLog(4, "cleaning", told.append, lambda: now[0])
    for done in range(1, 901):  # half a second a frame
        now[0] += 0.5
        log.on_frame(Path("a.mp4"), done, 900)
    assert len(told) == 44
    assert told[0] == "cleaning 'a.mp4': 20 of 900 frames, about 7 min left"
    assert told[-1] == "cleaning 'a.mp4': 880 of 900 frames, about 10 s left"
    told.clear()
    log.on_file()
    now[0] += 12
    log.on_frame(Path("b.mp4"), 1, None)
    now[0] += 3
    log.on_file()
    now[0] += 30_000
    log.on_file()
    log.on_file()
    assert told == [
        "cleaning: 1 of 4 files",
        "cleaning 'b.mp4': 1 frame",
        "cleaning: 3 of 4 files, about 4.2 h left",
    ]


def test_a_slow_start_does_not_distort_the_time_left() -> None:
    now, told = [0.0], list[str]()
    log = ProgressLog(101, "cleaning", told.append, lambda: now[0])
    now[0] += 9  # libraries are loaded
    for _ in range(20):
        log.on_file()
        now[0] += 0.1
    now[0] += 8
    log.on_file()
    assert told == ["cleaning: 12 of 101 files, about 9 s left"]


def test_progress_within_a_large_picture_is_logged() -> None:
    now, told = [0.0], list[str]()
    log = ProgressLog(2, "cleaning", told.append, lambda: now[0])
    for done in range(1, 241):  # an eighth of a second a part
        now[0] += 0.125
        log.on_part(Path("a.jpg"), done, 240)
    assert told == ["cleaning 'a.jpg': 33 %, about 20 s left", "cleaning 'a.jpg': 66 %, about 10 s left"]


@pytest.mark.parametrize(
    ("model", "sources", "options"),
    [
        ("identity", ["a.tif"], ["-o", "out.tif"]),
        ("identity", ["a.tif", "b.tif"], ["-o", "out/"]),
        ("identity", ["-"], ["-o", "out.png"]),
        ("inpaint", ["b.tif"], ["-o", "out.png", "--mask-color", "#010203"]),
        ("identity", ["b.tif"], ["--analyze"]),
        ("encode", ["b.tif"], ["-o", "out.npz"]),
        ("anomaly", ["b.tif"], ["-o", "out.png"]),
        ("anomaly", ["b.tif"], ["-o", "out"]),
    ],
)
def test_every_task_reports_progress_within_a_picture(
    model: str,
    sources: list[str],
    options: list[str],
    fixture_model: Callable[[str], Path],
    noise: Callable[..., np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each call of the command says how far it is within a picture, page by page of a TIFF."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cae_runtime.jobs.restore.images._LARGE", 1)
    page = noise((150, 40, 3))
    page[40:60, 10:20] = 1, 2, 3
    with tifffile.TiffWriter("a.tif") as pages:
        for _ in range(2):
            pages.write(page, photometric="rgb")
    tifffile.imwrite("b.tif", page, photometric="rgb")
    told: list[tuple[str, float]] = []
    monkeypatch.setattr(
        Progress, "on_part", lambda self, picture, done, total: told.append((picture.name, done / total))
    )
    done = CliRunner().invoke(
        app, [*sources, *options, "-m", str(fixture_model(model))], input=Path("b.tif").read_bytes()
    )
    assert done.exit_code == 0, done.stderr
    for source in sources:
        shares = [share for file, share in told if file == source.replace("-", "stdin")]
        assert shares == sorted(shares)
        assert shares[-1] == 1


def test_the_bar_moves_within_a_picture_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    now = [0.0]
    monkeypatch.setattr("cae_runtime.jobs.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(1) as progress:
        progress.on_part(Path("small.jpg"), 1, 3)
        progress.on_part(Path("big.jpg"), 1, 300)
        now[0] = 2.0
        progress.on_part(Path("big.jpg"), 126, 300)
    shown = sys.stderr.getvalue()
    assert "big.jpg" in shown
    assert "42 %" in shown
    assert "small.jpg" not in shown
