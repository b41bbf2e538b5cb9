"""A fit to a camera uses the minutes that it is given, whatever a trial predicted; simulated clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.burst.test_burst import burst, scenery

from cae_train.burst.fit import Run, fit_burst
from cae_train.burst.frames import Scene
from cae_train.burst.pace import EPOCH_STEPS_LEAST, TRIAL_STEPS, Pace, Stopwatch
from cae_train.burst.pairs import BurstPairs
from cae_train.burst.settings import settings
from cae_train.checkpoint import save_model
from cae_train.config import TrainConfig
from cae_train.data.images import Split
from cae_train.models import build

SLOW, FAST = 3.0, 1.0  # seconds of a step in the trial, and of any other
MINUTES = 4.0


class Clock:
    """Seconds that pass when a batch is drawn, and not otherwise."""

    def __init__(self) -> None:
        self.now, self.drawn = 0.0, 0

    def __call__(self) -> float:
        return self.now

    def draw(self) -> None:
        self.now += SLOW if self.drawn < TRIAL_STEPS else FAST
        self.drawn += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    ticking = Clock()
    batch = BurstPairs.__getitem__

    def slow_batch(pairs: BurstPairs, key: tuple[int, int]) -> Any:
        ticking.draw()
        return batch(pairs, key)

    monkeypatch.setattr(BurstPairs, "__getitem__", slow_batch)
    monkeypatch.setattr("cae_train.burst.pace.clock", ticking)
    monkeypatch.setattr("cae_train.burst.judge.WINDOWS_IN_ALL", 32)
    return ticking


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fit of a tiny network in tiny batches."""
    start = tmp_path / "start.pt"
    options = {"widths": (16, 16), "down_blocks": (0, 0), "up_blocks": (0,)}
    save_model(start, build("skip", options, 3), TrainConfig(arch="skip", model=options), {})
    config = settings(str(start), {"batch": 2, "epochs": 2, "lr": 1e-3})
    picture = scenery(9).astype(np.uint8)
    return Run(config, Split(train=[picture], validation=[]), tmp_path, MINUTES)


def scenes(count: int) -> list[Scene]:
    return [Scene(str(seed), burst(12, sigma=12, seed=seed)) for seed in range(count)]


@pytest.mark.slow
def test_a_fit_uses_its_minutes_although_the_trial_was_slow(clock: Clock, run: Run) -> None:
    fitted = fit_burst([Scene(str(seed), burst(12, sigma=12, seed=seed)) for seed in range(3)], "camera", run)
    assert fitted.model is not None
    assert clock.now == pytest.approx(60 * MINUTES, rel=0.05)


def test_the_pace_is_that_of_the_latest_fit(clock: Clock) -> None:
    pace = Pace.of(60.0)
    assert pace.steps(10.0, epochs=2) == TRIAL_STEPS // 2
    watch = Stopwatch()
    pace.learn(watch)  # of a fit that was interrupted at once
    assert pace.step == 0
    watch.steps, watch.seconds = 20, 10.0
    pace.learn(watch)
    assert pace.steps(10.0, epochs=2) == 10
    assert pace.steps(0.1, epochs=2) == EPOCH_STEPS_LEAST
    clock.now = 80.0
    assert pace.left == -20
