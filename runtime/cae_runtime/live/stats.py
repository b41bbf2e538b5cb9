"""The figures of a live run: over the last two seconds for the overlay; per second and in total for `--json`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

import numpy as np

from cae_runtime.live.rate_control import RateController

_SPAN: Final = 2.0  # seconds that the overlay averages over
_KEPT: Final = 10_000  # number of last frames that the total figures use


class LiveFigures:
    """Counts frames and times them.

    Args:
        model: the first model.

    Attributes:
        frames: frames that were cleaned.
    """

    def __init__(self, model: str) -> None:
        self.frames = 0
        self._model, self._provider = model, ""
        self._recent: deque[tuple[float, float]] = deque(maxlen=1000)  # when a frame was shown, and the seconds it took
        self._all: deque[float] = deque(maxlen=_KEPT)
        self._of_second: deque[float] = deque(maxlen=_KEPT)
        self._oldest = self._oldest_of_all = 0.0
        self._began = self._second_began = time.monotonic()

    def add(self, seconds: float, age: float, pace: RateController) -> None:
        """Record a frame: the time from filter to window, and its age when it was shown."""
        self.frames += 1
        self._recent.append((time.monotonic(), seconds))
        self._all.append(seconds)
        self._of_second.append(seconds)
        self._oldest, self._oldest_of_all = max(self._oldest, age), max(self._oldest_of_all, age)
        self._model, self._provider = pace.model, pace.restorer.provider

    def lines(self, pace: RateController, dropped: int, strength: float) -> list[str]:
        """Return the overlay's lines."""
        now = time.monotonic()
        recent = [(at, seconds) for at, seconds in self._recent if now - at <= _SPAN]
        rate = (len(recent) - 1) / (recent[-1][0] - recent[0][0]) if len(recent) > 1 else 0.0
        times = _milliseconds(seconds for _, seconds in recent)
        return [
            f"{rate:.1f} frames/s   {times['ms_p50']:.0f} ms, p95 {times['ms_p95']:.0f} ms",
            f"{pace.model}{' (stepped down)' if pace.is_reduced else ''}   strength {strength:.0%}",
            f"{pace.restorer.provider.removesuffix('ExecutionProvider')}   {dropped} frames dropped",
        ]

    def a_second_is_over(self) -> bool:
        """Return whether the next line is due."""
        return time.monotonic() - self._second_began >= 1

    def of_the_second(self, pace: RateController, dropped: int) -> dict[str, Any]:
        """Return the figures since the last call."""
        now = time.monotonic()
        line = {
            "event": "second",
            "time": round(now - self._began, 2),
            "frames": self.frames,
            "fps": round(len(self._of_second) / (now - self._second_began), 2),
            **_milliseconds(self._of_second),
            "age_ms_max": round(self._oldest * 1e3, 1),
            "dropped": dropped,
            "model": pace.model,
            "provider": pace.restorer.provider,
        }
        self._second_began, self._oldest = now, 0.0
        self._of_second.clear()
        return line

    def final(self, dropped: int) -> dict[str, Any]:
        """Return the figures of the whole run; `model` is the one in use at the end."""
        taken = time.monotonic() - self._began
        return {
            "event": "end",
            "time": round(taken, 2),
            "frames": self.frames,
            "fps": round(self.frames / taken, 2) if taken else 0.0,
            **_milliseconds(self._all),
            "age_ms_max": round(self._oldest_of_all * 1e3, 1),
            "dropped": dropped,
            "model": self._model,
            "provider": self._provider,
        }


def _milliseconds(seconds: Iterable[float]) -> dict[str, float]:
    values = list(seconds)
    p50, p95 = np.percentile(values, (50, 95)) * 1e3 if values else (0.0, 0.0)
    return {"ms_p50": round(float(p50), 2), "ms_p95": round(float(p95), 2)}
