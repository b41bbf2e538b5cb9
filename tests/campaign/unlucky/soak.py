"""Frames and folders for minutes: memory, threads and open files stay what they are, whatever the camera does."""

from __future__ import annotations

import functools
import gc
import os
import re
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import av
import numpy as np
from tests.campaign.corpora.pictures import picture
from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings
from tests.campaign.harness.workers import Worker, threads_and_files
from tests.campaign.harness.workers import memory_of as memory

from cae_runtime.errors import DeviceError
from cae_runtime.live.camera import Source
from cae_runtime.live.capture import Capture
from cae_runtime.live.run import run_live
from cae_runtime.live.settings import LiveSettings
from cae_runtime.tasks.restore import Restorer

FIXTURES: Final = Path(__file__).parents[2] / "runtime" / "fixtures"
PULLED: Final = 100  # times that the camera is pulled and put back in a run that is counted in minutes, and
FEWER: Final = 25  # in one that is counted in cases, with
SHOTS: Final = 12  # frames between two pulls
RATE: Final = 10  # frames a second, and
PAUSE: Final = 3.0  # seconds between two folders, of a run that is counted in minutes
GROWTH: Final = 16 * 2**20  # bytes that a run may grow by after its first quarter
SECONDS: Final = 60.0  # of CPU time
GOOD: Final = ("told.png", "told.jpg", "deflate.tif", "lossy.webp", "color.ppm", "photo.avif", "moving.png")
_SIZE: Final = (96, 128, 3)
_MARKS: Final = 7  # samples that a note shows
_RECORDED: Final = re.compile(r"recorded ([\d,]+) frames? -> ")


@dataclass(frozen=True)
class Sample:
    """What a process holds."""

    minute: float
    memory: int
    threads: int
    files: int

    def __str__(self) -> str:
        return f"{self.memory >> 20} MiB, {self.threads} threads, {self.files} files"


class _Camera:
    """A camera that gives some frames and is pulled then."""

    def __init__(self, rng: np.random.Generator, shots: int, pause: float) -> None:
        self._rng, self._left, self._pause = rng, shots, pause

    def read(self) -> tuple[bool, Any]:
        self._left -= 1
        if self._left < 0:
            return False, None
        time.sleep(self._pause)
        return True, self._rng.integers(0, 256, _SIZE, np.uint8)

    def get(self, _property: int, /) -> float:
        return 30.0

    def release(self) -> None:
        self._left = 0


class _Live:
    """A live run whose camera is pulled and put back; now and then it is not there at once."""

    def __init__(self, settings: Settings, outcome: Outcome) -> None:
        self._settings, self._outcome = settings, outcome
        self._rng = np.random.default_rng([settings.seed, 8])
        self._samples: list[Sample] = []
        minutes = settings.minutes
        self._shots = SHOTS if minutes is None else max(1, int(60 * minutes * RATE / PULLED / 1.2))
        self._pause = 0.002 if minutes is None else 1 / RATE
        self._reports: list[dict[str, Any]] = []
        self._told: list[str] = []

    def run(self) -> None:
        minutes, folder = self._settings.minutes, self._settings.folder
        live = LiveSettings(
            Source("camera", 0), "blur", lambda _: Restorer(FIXTURES / "blur.onnx", threads=1), reconnect=True,
            window=minutes is not None and "DISPLAY" in os.environ, record=folder / "live.mp4",
            frames=FEWER * SHOTS if minutes is None else None, seconds=minutes and 60 * minutes,
        )  # fmt: skip
        capture = functools.partial(Capture, pause=self._pause, opener=self._opened)
        with patch("cae_runtime.live.run.Capture", capture):
            run_live(live, self._told.append, self._reports.append)
        if wrong := broken_recording(folder / "live.mp4", self._told):
            self._outcome.found(-1, "output", "live, recorded", wrong)
        self._outcome.cases += 1
        self._outcome.counts["frames of a camera"] += self._reports[-1]["frames"]
        self._outcome.counts["times the camera was pulled"] += len(self._samples) - 1
        _judge(self._outcome, f"live{', in a window' if live.window else ''}, recorded", self._samples)

    def _opened(self, source: Source) -> _Camera:
        self._samples.append(_sample(self._settings))
        self._reports[:-1] = []
        if len(self._samples) > 1 and self._rng.random() < 0.2:
            raise DeviceError(f"{source.name} cannot be opened: it is not connected")
        return _Camera(self._rng, self._shots, self._pause)


def broken_recording(path: Path, told: list[str]) -> str:
    """Return what is wrong with a recording; empty: nothing. It has as many frames as the run has told.

    Args:
        path: the file.
        told: the lines of the run.
    """
    counts = [int(found[1].replace(",", "")) for line in told if (found := _RECORDED.match(line))]
    try:
        with av.open(str(path)) as container:
            frames = sum(1 for _ in container.decode(video=0))
    except (av.FFmpegError, IndexError) as e:
        return f"it cannot be decoded: {e}"
    return "" if counts == [frames] else f"it has {frames} frames, and the run has told: {told[-3:]}"


def _sample(settings: Settings) -> Sample:
    gc.collect()
    return Sample((time.monotonic() - settings.began) / 60, memory("VmRSS"), *threads_and_files())


def _judge(outcome: Outcome, what: str, samples: list[Sample]) -> None:
    """Compare what is held after a quarter of the samples with what is held at the end."""
    settled = samples[len(samples) // 4 :]
    if len(settled) < 4:
        outcome.notes.append(f"{what}: too few samples to judge")
        return
    growth = min(each.memory for each in settled[len(settled) // 2 :]) - min(each.memory for each in settled[:2])
    shown = [samples[at] for at in np.linspace(0, len(samples) - 1, _MARKS).astype(int)]
    outcome.notes.append(
        f"{what}: {len(samples)} samples; " + "; ".join(f"minute {each.minute:.1f}: {each}" for each in shown)
    )
    if growth > GROWTH:
        outcome.found(-1, "memory", what, f"grows by {growth / 2**20:.0f} MiB in {len(settled)} samples")
    for name in ("threads", "files"):
        values = [getattr(each, name) for each in settled]
        half = len(values) // 2
        if min(values[half:]) > max(values[:half]):
            outcome.found(-1, name, what, f"grow from {values[0]} to {values[-1]}")


def _folders(settings: Settings, outcome: Outcome) -> None:
    """Clean the same folder again and again in one process."""
    folder = settings.folder / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    for name in GOOD:
        (folder / "in" / name).write_bytes(picture(name))
    samples: list[Sample] = []
    words = ("in", "-o", "out", "--overwrite", "-m", FIXTURES / "blur.onnx", "--threads", 1)
    with Worker(collect=True) as worker:
        for number in settings.numbers():
            ran = worker.run("cae_runtime", words, SECONDS, cwd=str(folder))
            outcome.cases += 1
            if wrong := ran.problem({0}):
                outcome.found(number, wrong[0], "a folder", wrong[1])
            samples.append(Sample((time.monotonic() - settings.began) / 60, ran.resident, ran.threads, ran.files))
            settings.tell(outcome)
            if settings.minutes is not None:
                time.sleep(PAUSE)
    outcome.counts["folders cleaned in one process"] += len(samples)
    _judge(outcome, "folders", samples)


def run(settings: Settings) -> Outcome:
    """Clean a camera's frames, and folders in another process, until the time or the cases are used up."""
    outcome = Outcome("soak", settings.seed)
    began = time.monotonic()
    folders = threading.Thread(target=_folders, args=(settings, outcome), name="folders")
    folders.start()
    try:
        _Live(settings, outcome).run()
    finally:
        folders.join()
    outcome.seconds = time.monotonic() - began
    return outcome
