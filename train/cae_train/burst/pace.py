"""How many training steps fit into the minutes of a fit, measured on steps of the training itself.

The number of steps is planned before each fit, since the learning rate falls over it, to reach zero when the time ends.
The first plan relies on a trial, a training of a few steps that is thrown away; each further one on the fit before it.
"""

import time
from dataclasses import dataclass
from typing import Any, Self

from lightning.pytorch import Callback, LightningModule, Trainer

TRIAL_STEPS = 16
STEPS_MOST = 9_000  # of a fit, however fast the machine is
EPOCH_STEPS_LEAST = 4

clock = time.monotonic  # seconds


class Stopwatch(Callback):
    """Times the steps of a training, and the judging between its epochs; not the first step, which prepares much.

    Attributes:
        steps: steps that were timed.
        seconds: what they took.
    """

    def __init__(self) -> None:
        self.steps, self.seconds = -1, 0.0
        self.began = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Count a step."""
        self.steps += 1
        if not self.steps:
            self.began = clock()
        self.seconds = clock() - self.began

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the judging after the last step too."""
        if self.steps > 0:
            self.seconds = clock() - self.began


@dataclass
class Pace:
    """The time for the fits of a run, and how fast they go.

    Attributes:
        ends: when the time is over, by `clock`.
        step: seconds of a step in the latest fit; 0 before any.
    """

    ends: float
    step: float = 0.0

    @classmethod
    def of(cls, seconds: float) -> Self:
        """The pace of a run that begins now."""
        return cls(clock() + seconds)

    @property
    def left(self) -> float:
        """Seconds until the time is over."""
        return self.ends - clock()

    def steps(self, seconds: float, epochs: int) -> int:
        """Steps of each epoch of a fit that takes this long; those of a trial if nothing was timed yet."""
        steps = min(STEPS_MOST, seconds / self.step) if self.step else TRIAL_STEPS
        return max(EPOCH_STEPS_LEAST, int(steps / epochs))

    def learn(self, watch: Stopwatch) -> None:
        """Use the measured time per step of a fit, unless it was interrupted before any step was timed."""
        if watch.steps > 0:
            self.step = watch.seconds / watch.steps
