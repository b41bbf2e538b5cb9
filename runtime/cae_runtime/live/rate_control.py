"""Holds a frame rate: steps down to cheaper models when the machine is too slow, and back up when it can."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from cae_runtime.tasks.restore import Restorer

_LADDERS: Final = (("denoise", "denoise-int8", "denoise-fast-int8"), ("denoise-fast", "denoise-fast-int8"))
_SEEN: Final = 10  # frames that a decision rests on
_ROOM: Final = 0.85  # of a frame's time that the model above must leave untouched
_WAIT_FIRST, _WAIT_LONGEST = 4.0, 60.0  # seconds before a step up; doubled by each that had to be taken back


def fallback_models(model: str) -> list[str]:
    """Return a model and the packaged ones that are cheaper, best first; a file has none that is known."""
    for names in _LADDERS:
        if model in names:
            return list(names[names.index(model) :])
    return [model]


class RateController:
    """Chooses among models.

    Args:
        models: from the best to the cheapest.
        budget: seconds a frame may take; None never changes the model.
        opener: opens a model by its name.
        clock: what tells the time, in seconds.

    Attributes:
        restorer: the model to use now.
        model: its name.
        steps: how often the model was changed.
        too_slow: frames a second with the cheapest model, where that does not reach the budget; else None.
    """

    def __init__(
        self,
        models: Sequence[str],
        budget: float | None,
        opener: Callable[[str], Restorer],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models, self._budget, self._opener, self._clock = list(models), budget, opener, clock
        self._level, self.steps = 0, 0
        self.too_slow: float | None = None
        self._opened: dict[str, Restorer] = {}
        self._best: dict[int, float] = {}  # the least seconds a frame that each level took
        self._left_at = 0.0  # seconds a frame that the level above took when it was left
        self._dearer: dict[int, float] = {}  # how many times as much as each level the one above takes
        self._times: deque[float] = deque(maxlen=_SEEN)
        self._wait, self._since, self._came_up = _WAIT_FIRST, clock(), False
        self.restorer = self._open()

    @property
    def model(self) -> str:
        """Name of the model in use."""
        return self._models[self._level]

    @property
    def target(self) -> float:
        """Frames a second that are to be held; 0 where the model never changes."""
        return 1 / self._budget if self._budget else 0.0

    @property
    def went_down(self) -> bool:
        """Whether the last change was to a cheaper model."""
        return not self._came_up

    @property
    def is_reduced(self) -> bool:
        """Whether a cheaper model than the first is in use."""
        return self._level > 0

    def begin(self, measure: Callable[[Restorer], float], enough: float | None = None) -> float:
        """Go down to the best model that keeps within the budget; return the seconds that a frame takes with it.

        Args:
            measure: tells how long a frame takes with a model.
            enough: the budget where no model keeps within the first; None keeps that. Then the best model within this
                one is taken, or the cheapest.
        """
        cheapest = len(self._models) - 1
        while (seconds := self._measured(measure)) > _ROOM * (self._budget or seconds) and self._level < cheapest:
            self._level += 1
            self.restorer = self._open()
        if enough is not None and self._budget is not None and seconds > _ROOM * self._budget:
            self._budget = max(enough, self._budget)
            within = [level for level, took in self._best.items() if took <= _ROOM * self._budget]
            self._level = min(within, default=cheapest)
            self.restorer = self._open()
        self._since = self._clock()
        return self._best[self._level]

    def _measured(self, measure: Callable[[Restorer], float]) -> float:
        """Return how long a frame takes with the model in use, and keep it for later decisions."""
        level = self._level
        seconds = self._best[level] = min(measure(self.restorer), measure(self.restorer))  # the first is slower
        if level:
            self._dearer[level] = self._best[level - 1] / seconds
        return seconds

    def took(self, seconds: float) -> bool:
        """Take note of what a frame took in all, and return whether the model was changed."""
        self._times.append(seconds)
        if self._budget is None or len(self._times) < _SEEN:
            return False
        typical, level = statistics.median(self._times), self._level
        self._best[level] = min(typical, self._best.get(level, typical))
        self.too_slow = 1 / typical if typical > self._budget and level + 1 == len(self._models) else None
        stayed = self._clock() - self._since
        if self._left_at:
            self._dearer[level], self._left_at = self._left_at / typical, 0.0
        if typical > self._budget and level + 1 < len(self._models):
            tried_too_soon = self._came_up and stayed < 2 * self._wait
            self._wait = min(2 * self._wait, _WAIT_LONGEST) if tried_too_soon else _WAIT_FIRST
            self._left_at = typical
            self._go(+1)
            return True
        if level > 0 and stayed >= self._wait:
            # Both were seen at some load: the first at one that may have passed meanwhile, the second at two.
            dearer = min(self._dearer[level], self._best[level - 1] / self._best[level])
            if typical * dearer < _ROOM * self._budget:
                self._go(-1)
                return True
        return False

    def _go(self, step: int) -> None:
        self._level += step
        self.steps += 1
        self.too_slow = None
        self._times.clear()
        self._since, self._came_up = self._clock(), step < 0
        self.restorer = self._open()

    def _open(self) -> Restorer:
        if self.model not in self._opened:
            self._opened[self.model] = self._opener(self.model)
        return self._opened[self.model]
