"""Holds a frame rate: steps down to cheaper models when the machine is too slow, and back up when possible."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from cae_runtime.tasks.restore import Restorer

_LADDERS: Final = (("denoise", "denoise-int8", "denoise-fast-int8"), ("denoise-fast", "denoise-fast-int8"))
_SEEN: Final = 10  # frames that a decision is based on
_ROOM: Final = 0.85  # share of the time budget that a better model must leave free
_WAIT_FIRST, _WAIT_LONGEST = 4.0, 60.0  # seconds before a step up; doubled each time a step up fails


def fallback_models(model: str) -> list[str]:
    """Return a model and the cheaper packaged ones, best first; for a file just the file."""
    for names in _LADDERS:
        if model in names:
            return list(names[names.index(model) :])
    return [model]


class RateController:
    """Chooses among models.

    Args:
        models: from the best to the cheapest.
        budget: seconds per frame; None never changes the model.
        opener: opens a model by its name.
        clock: returns the time in seconds.

    Attributes:
        restorer: the model to use now.
        model: its name.
        steps: how often the model was changed.
        too_slow: frames per second of the cheapest model if even that is over the budget, otherwise None.
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
        self._best: dict[int, float] = {}  # fewest seconds per frame of each level
        self._left_at = 0.0  # seconds per frame of the level above when it was left
        self._dearer: dict[int, float] = {}  # cost of the level above, as a multiple of each level's cost
        self._times: deque[float] = deque(maxlen=_SEEN)
        self._wait, self._since, self._came_up = _WAIT_FIRST, clock(), False
        self.restorer = self._open()

    @property
    def model(self) -> str:
        """Name of the model in use."""
        return self._models[self._level]

    @property
    def target(self) -> float:
        """Frames per second to hold; 0 if the model never changes."""
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
        """Step down to the best model within the budget; return its seconds per frame.

        Args:
            measure: returns the seconds per frame of a model.
            enough: a second budget, used if no model keeps within the first; None: none. Then the best model within it
                is taken, or the cheapest.
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
        """Measure the seconds per frame of the model in use, and keep them for later decisions."""
        level = self._level
        seconds = self._best[level] = min(measure(self.restorer), measure(self.restorer))  # the first is slower
        if level:
            self._dearer[level] = self._best[level - 1] / seconds
        return seconds

    def took(self, seconds: float) -> bool:
        """Record the total time of a frame, and return whether the model was changed."""
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
            # Both times were measured under load: the first under a load that may be over, the second under two.
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
