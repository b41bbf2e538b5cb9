"""The newest frame of a camera: a thread reads all frames and keeps the last one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2

from cae_runtime.errors import DeviceError
from cae_runtime.io.arrays import FrameArray
from cae_runtime.io.stderr import quiet
from cae_runtime.live.camera import Device, Source, as_frame, open_device, rate_of

_log = logging.getLogger(__name__)

PATIENCE: Final = 5.0  # seconds without a frame after which a camera counts as stalled
_FIRST_PATIENCE: Final = 20.0  # the same before the first frame: cameras are slow to start
_BAD_IN_A_ROW: Final = 30  # successive answers without a picture
_RATE: Final = 25.0  # frames per second of a file that does not say
_PAUSE_FIRST, _PAUSE_LONGEST = 1.0, 30.0  # seconds between two attempts to reconnect


@dataclass(frozen=True)
class CapturedFrame:
    """A frame that was captured.

    Attributes:
        image: uint8 (H, W, 3), BGR; read only.
        number: its index among all frames of the camera, from 1.
        time: `time.monotonic()` when it arrived.
        position: when it is due, in seconds: the time stamp for a file, `time` for a camera.
    """

    image: FrameArray
    number: int
    time: float
    position: float


class Capture:
    """Reads a camera in its own thread and keeps only the newest frame, so that the picture never lags.

    A file plays at its own rate, starting when its second frame is requested, and ends after its last frame. Frames
    that cannot be decoded are skipped. After 30 of them in a row, or 5 seconds without a frame of a device or stream,
    the camera has failed: an error is raised, or with `reconnect` the camera is opened again after pauses that grow
    from 1 to 30 seconds.

    Args:
        source: what to open.
        reconnect: open the source again when it stops.
        tell: called with a message when something happens to the camera.
        patience: seconds without a frame after which it counts as stalled.
        pause: seconds before the first attempt to reconnect.
        opener: opens the device; tests pass their own.

    Attributes:
        captured: frames that the camera gave.
        taken: frames that were handed out; the others were dropped.
        rate: frames per second that the camera reports, or None.
    """

    def __init__(
        self,
        source: Source,
        *,
        reconnect: bool = False,
        tell: Callable[[str], None] = lambda _line: None,
        patience: float = PATIENCE,
        pause: float = _PAUSE_FIRST,
        opener: Callable[[Source], Device] = open_device,
    ) -> None:
        self._source, self._tell, self._opener = source, tell, opener
        self._reconnect = reconnect and not source.is_file
        self._patience, self._first_pause = patience, pause
        self.captured = self.taken = 0
        self._taken_number = 0  # number of the last frame that was handed out
        self.rate: float | None = None
        self._newest: CapturedFrame | None = None
        self._error: DeviceError | None = None
        self._ended = self._closed = self._is_opening = False
        self._goes_on = False  # whether more than the first frame was requested
        self._pause = pause
        self._thread_number = 0  # frames of earlier threads, stuck in a stalled camera, are ignored
        self._last_sign = time.monotonic()
        self._change = threading.Condition()
        self._start()

    @property
    def dropped(self) -> int:
        """Frames that were replaced before anybody asked for them."""
        with self._change:
            waiting = self._newest is not None and self._newest.number > self._taken_number
            return max(0, self.captured - self.taken - waiting)

    def next(self, timeout: float) -> CapturedFrame | None:
        """Wait for a frame newer than the last one returned, and return the newest.

        Args:
            timeout: maximum seconds to wait.

        Returns:
            The frame, or None if none arrived in time or none will follow, see `ended`.

        Raises:
            DeviceError: the camera cannot be opened, stopped or stalled.
        """
        until = time.monotonic() + timeout
        with self._change:
            if self.taken and not self._goes_on:
                self._goes_on = True
                self._change.notify_all()
            while True:
                shot = self._newest
                if shot is not None and shot.number > self._taken_number:
                    self._taken_number = shot.number
                    self.taken += 1
                    return shot
                if self._error is not None:
                    raise self._error
                self._check_stalled()
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._change.wait(min(left, 0.1))

    @property
    def ended(self) -> bool:
        """Whether a file has ended and its last frame was handed out."""
        with self._change:
            return self._ended and (self._newest is None or self._newest.number <= self._taken_number)

    def close(self) -> None:
        """Release the camera; a thread that waits for a frame ends when the frame arrives."""
        with self._change:
            self._closed = True
            self._thread_number += 1
            self._change.notify_all()
        self._thread.join(timeout=1)

    def _start(self) -> None:
        self._last_sign = time.monotonic()
        self._thread_number += 1
        self._thread = threading.Thread(target=self._work, args=(self._thread_number,), name="cae-camera", daemon=True)
        self._thread.start()

    def _check_stalled(self) -> None:
        """Give up, or start again in another thread, after a long time without a frame. Called with the lock held."""
        slow = self._is_opening or not self.captured
        patience = max(self._patience, _FIRST_PATIENCE) if slow else self._patience
        if self._ended or self._source.is_file or time.monotonic() - self._last_sign <= patience:
            return
        reason = f"{self._source.name} gave no frame for {patience:g} s"
        if not self._reconnect:
            self._error = DeviceError(reason)
            raise self._error
        self._tell(f"{reason}: connecting again")
        self._start()

    def _is_mine(self, number: int) -> bool:
        return not self._closed and number == self._thread_number

    def _work(self, mine: int) -> None:
        while self._is_mine(mine):
            before = self.captured
            try:
                reason = self._read_all(mine)
            except DeviceError as e:
                reason = str(e)
            except Exception as e:  # drivers and decoders may raise anything
                reason = f"{self._source.name} failed: {' '.join(str(e).split()) or type(e).__name__}"
            if reason is None:
                return
            if not self._reconnect:
                self._fail(mine, reason)
                return
            with self._change:
                if not self._is_mine(mine):
                    return
                pause = self._first_pause if self.captured > before else self._pause
                self._pause = min(2 * pause, _PAUSE_LONGEST)
                self._tell(f"{reason}: connecting again in {pause:g} s")
                self._last_sign = time.monotonic() + pause
                self._change.wait_for(lambda: not self._is_mine(mine), pause)

    def _read_all(self, mine: int) -> str | None:
        """Read until it stops; return the reason, or None at the end of a file or after `close`."""
        self._is_opening = True
        try:
            device = self._opener(self._source)
        finally:
            with self._change:
                self._is_opening = False
                self._last_sign = time.monotonic()
        try:
            self.rate = rate_of(device)
            _log.debug("opened %s, %s frames per second", self._source.name, self.rate)
            count = bad = 0
            answered, due, first, began = False, 0.0, 0.0, 0.0
            while self._is_mine(mine) and bad < _BAD_IN_A_ROW:
                try:
                    with quiet():
                        there, picture = device.read()
                except cv2.error:
                    there, picture = True, None
                frame = as_frame(picture) if there else None
                if frame is None:
                    bad, answered = bad + 1, answered or there
                    continue
                count, bad, answered = count + 1, 0, False
                if not self._source.is_file:
                    self._show(frame, mine)
                    continue
                stamp = device.get(cv2.CAP_PROP_POS_MSEC) / 1e3
                if count == 1:
                    first = stamp
                else:
                    due = stamp - first if stamp - first > due else due + 1 / (self.rate or _RATE)
                    began = began or self._when_going_on(mine)
                    self._wait_until(began + due, mine)
                self._show(frame, mine, due)
        finally:
            device.release()
        if not self._is_mine(mine):
            return None
        if self._source.is_file:
            if not count:
                return f"{self._source.name} has no frame that can be read"
            with self._change:
                self._ended = True
                self._change.notify_all()
            return None
        return f"{self._source.name} {'gives no pictures' if answered else 'stopped giving frames'}"

    def _when_going_on(self, mine: int) -> float:
        """Wait until the second frame is requested: preparations before that must not cost frames of a file."""
        with self._change:
            self._change.wait_for(lambda: self._goes_on or not self._is_mine(mine))
            return time.monotonic()

    def _wait_until(self, moment: float, mine: int) -> None:
        with self._change:
            self._change.wait_for(lambda: not self._is_mine(mine), max(0.0, moment - time.monotonic()))

    def _show(self, frame: FrameArray, mine: int, position: float | None = None) -> None:
        with self._change:
            if not self._is_mine(mine):
                return
            self.captured += 1
            self._last_sign = time.monotonic()
            due = self._last_sign if position is None else position
            self._newest = CapturedFrame(frame, self.captured, self._last_sign, due)
            self._change.notify_all()

    def _fail(self, mine: int, reason: str) -> None:
        with self._change:
            if self._is_mine(mine):
                self._error = DeviceError(reason)
                self._change.notify_all()
