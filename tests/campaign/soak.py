"""Frames and folders for minutes: memory, threads and open files stay what they are, whatever the camera does."""

from __future__ import annotations

import gc
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from tests.campaign.corpora.pictures import picture
from tests.campaign.findings import Outcome, what_is_wrong_with
from tests.campaign.settings import Settings
from tests.campaign.workers import Worker, threads_and_files
from tests.campaign.workers import memory_of as memory

from cae_runtime.errors import DeviceError
from cae_runtime.live.camera import Source
from cae_runtime.live.capture import Capture
from cae_runtime.tasks.restore import Restorer
from cae_runtime.video.frame_cleaner import FrameCleaner

FIXTURES: Final = Path(__file__).parents[1] / "runtime" / "fixtures"
PULLED: Final = 100  # times that the camera is pulled and put back
SHOTS: Final = 12  # frames between two pulls
GROWTH: Final = 48 * 2**20  # bytes that a run may grow by after its first quarter
SECONDS: Final = 60.0  # of CPU time
GOOD: Final = ("told.png", "told.jpg", "deflate.tif", "lossy.webp", "color.ppm", "photo.avif", "moving.png")
_SIZE: Final = (96, 128, 3)


@dataclass(frozen=True)
class Sample:
    """What a process holds."""

    memory: int
    threads: int
    files: int


class _Camera:
    """A camera that gives a few frames and is pulled then; the next one is there at once, or after some attempts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._left, self._rng = SHOTS, rng

    def read(self) -> tuple[bool, Any]:
        self._left -= 1
        if self._left < 0:
            return False, None
        time.sleep(0.002)
        return True, self._rng.integers(0, 256, _SIZE, np.uint8)

    def get(self, _property: int, /) -> float:
        return 30.0

    def release(self) -> None:
        self._left = 0


def _live(outcome: Outcome, seed: int) -> None:
    """Pull the camera and put it back a hundred times, while its frames are cleaned."""
    rng = np.random.default_rng([seed, 8])
    opened = 0

    def opener(source: Source) -> _Camera:
        nonlocal opened
        opened += 1
        if rng.random() < 0.2:
            raise DeviceError(f"{source.name} cannot be opened: it is not there")
        return _Camera(rng)

    samples: list[Sample] = []
    with Restorer(FIXTURES / "blur.onnx", threads=1) as restorer:
        capture = Capture(Source("camera", 0), reconnect=True, pause=0.001, opener=opener)
        clean, frames = FrameCleaner(temporal=True), 0
        while opened < PULLED:
            shot = capture.next(5)
            if shot is None:
                continue
            clean(restorer, shot.image)
            frames += 1
            if frames % SHOTS == 0:
                samples.append(_sample())
        capture.close()
    outcome.cases += 1
    outcome.counts["frames of a camera"] += frames
    outcome.counts["times the camera was pulled"] += opened
    _judge(outcome, "live", samples)


def _sample() -> Sample:
    gc.collect()
    return Sample(memory("VmRSS"), *threads_and_files())


def _judge(outcome: Outcome, what: str, samples: list[Sample]) -> None:
    """Compare what is held after a quarter of the samples with what is held at the end."""
    settled = samples[len(samples) // 4 :]
    if len(settled) < 4:
        outcome.notes.append(f"{what}: too few samples to judge")
        return
    growth = min(each.memory for each in settled[len(settled) // 2 :]) - min(each.memory for each in settled[:2])
    outcome.notes.append(
        f"{what}: {len(samples)} samples; memory {settled[0].memory >> 20} to {settled[-1].memory >> 20} MiB, threads "
        f"{settled[0].threads} to {settled[-1].threads}, open files {settled[0].files} to {settled[-1].files}"
    )
    if growth > GROWTH:
        outcome.found(-1, "memory", what, f"grows by {growth / 2**20:.0f} MiB in {len(settled)} samples")
    for name in ("threads", "files"):
        values = [getattr(each, name) for each in settled]
        half = len(values) // 2
        if min(values[half:]) > max(values[:half]):
            outcome.found(-1, name, what, f"grow from {values[0]} to {values[-1]}")


def _folders(settings: Settings, outcome: Outcome) -> Iterator[None]:
    """Clean the same folder again and again in one process."""
    folder = settings.folder / "soak"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    for name in GOOD:
        (folder / "in" / name).write_bytes(picture(name))
    samples: list[Sample] = []
    words = ("in", "-o", "out", "--overwrite", "-m", FIXTURES / "blur.onnx", "--threads", 1)
    with Worker() as worker:
        for number in settings.numbers():
            ran = worker.run("cae_runtime", words, SECONDS, cwd=str(folder))
            outcome.cases += 1
            if ran.death or ran.code or what_is_wrong_with(ran.err):
                outcome.found(number, ran.death or "code", "a folder", ran.err.decode(errors="replace")[-1500:])
            samples.append(Sample(ran.resident, ran.threads, ran.files))
            yield
    outcome.counts["folders cleaned in one process"] += len(samples)
    _judge(outcome, "folders", samples)


def run(settings: Settings) -> Outcome:
    """Clean a camera's frames, then folders until the time or the cases are used up."""
    outcome = Outcome("soak", settings.seed)
    began = time.monotonic()
    _live(outcome, settings.seed)
    for _ in _folders(settings, outcome):
        settings.tell(outcome)
    outcome.seconds = time.monotonic() - began
    return outcome
