"""Checks that the frames of a burst show one static scene in constant light; other parts are left out or refused.

The picture is divided into blocks. Within each of four parts of the burst, a pixel varies only by noise. If the parts
differ by more than this noise explains (analysis of variance; F is about 1 if nothing moves), something moved, or focus
or light drifted. If a block is far from its own median in a single frame, something passed by. If it varies in all
frames, far more than others, it shows water or a screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_shared.text import counted
from cae_train.burst.frames import Scene
from cae_train.errors import DataError

BLOCK = 8  # side of a block, in pixels
PARTS = 4
CHANGED_F = 2.0  # a block whose F is above this multiple of its scene's usual F has changed, if
DEPENDENT_F = 1.5  # usual F from which on frames are not independent
CHANGED_SPREAD = 8.0  # its F is also above the usual one by this many times the distance from there to the lowest tenth
USUAL_MOST = 6.0  # usual F from which on the whole picture has changed
PASSING_DEVIATIONS = 7.0  # something passed where a block's mean is off by this many of its standard deviations
RESTLESS_FACTOR = 6.0  # a block is restless (a screen, water) if its mean varies this many times as much as usual
FEW_FRAMES = 8  # with fewer, the usual deviation of all blocks replaces each block's own
FRAMES_A_PART = 3  # fewest frames of a part from which a movement of the whole picture can be told from noise
LOCAL_MOVEMENT = 0.4  # if less than this share of the picture moves, the camera does not
MOST_MASKED = 0.5  # largest share of the picture that may move
STEADY_LIGHT, LARGEST_FLICKER = 0.003, 0.1  # relative: below it is even; a frame further off is left out
FLICKER_ERRORS = 8.0  # a frame's brightness flickers beyond this many standard errors
SHIFT_MOST = 0.25  # pixels by which the whole picture may move
SHIFT_MOST_FEW_FRAMES = 1.5  # the same for scenes with few frames
PEAK_LEAST = 0.15  # least height of a peak of the phase correlation that is believed
DETAIL_CHANGE_MOST = 0.25  # share by which fine detail may change
SQUARE = 32  # side of the squares in which it is compared, in pixels
BLACK, WHITE = 8.0, 250.0  # of 255
MOST_CLIPPED = 0.6

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Steady:
    """A scene that was checked.

    Attributes:
        scene: with the frames that are left.
        gains: factors that give all frames one brightness, float32 N.
        moving: bool H x W, where something moved; to be ignored.
        black: whether it is completely dark (lens cap on).
        notes: remarks for the user, one line each.
    """

    scene: Scene
    gains: Floats
    moving: Mask
    black: bool = False
    notes: tuple[str, ...] = ()

    def frame(self, number: int) -> Floats:
        """One frame with corrected brightness, float32 H x W x 3 in 0..255."""
        frame: Floats = np.multiply(self.scene.frames[number], self.gains[number], dtype=np.float32)
        return frame


class UnsteadyError(DataError):
    """An unusable scene; `picture` shows where it moves, uint8 H x W x 3 BGR, or None."""

    def __init__(self, message: str, picture: NDArray[np.uint8] | None = None) -> None:
        super().__init__(message)
        self.picture = picture


def check(scene: Scene) -> Steady:
    """Check a scene; a single frame with a given mean is not checked.

    Raises:
        UnsteadyError: too much of it moves, its light steps, or it is white.
    """
    frames = scene.frames
    height, width = frames.shape[1:3]
    still = np.zeros((height, width), np.bool_)
    brightness = np.array([frame.mean(dtype=np.float64) for frame in frames])
    if brightness.max() < BLACK:
        return Steady(scene, np.ones(len(frames), np.float32), still, black=True)
    clipped = float((frames[0].min(axis=2) >= WHITE).mean())
    if clipped > MOST_CLIPPED:
        raise UnsteadyError(
            f"scene {scene.name!r}: {clipped:.0%} of it is white, where noise is clipped: expose it less"
        )
    if len(frames) == 1:
        return Steady(scene, np.ones(1, np.float32), still)
    scene, again = _without_repeats(scene)
    scene, gains, notes = _evened(scene, brightness[~again])
    if again.any():
        notes.append(f"scene {scene.name!r}: {counted(int(again.sum()), 'frame')} left out: copies of the one before")
    usual, changed = _changed(scene, gains)
    passed = _passed(scene, gains)
    blocks = cv2.dilate((changed | passed).astype(np.uint8), np.ones((3, 3), np.uint8))
    moving = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.bool_)
    share = float(moving.mean())
    shift, focus = _drift(_parts(scene, gains), moving if share < LOCAL_MOVEMENT else still)
    if shift > (SHIFT_MOST if len(gains) >= 2 * FRAMES_A_PART else SHIFT_MOST_FEW_FRAMES) or focus > DETAIL_CHANGE_MOST:
        what = (
            f"moves by {shift:.1f} pixels"
            if focus <= DETAIL_CHANGE_MOST
            else f"moves, or its sharpness changes by {focus:.0%}"
        )
        raise UnsteadyError(
            f"scene {scene.name!r} {what} during the burst; put the camera on something firm, with focus fixed",
            _drawn(scene, still),
        )
    if share > MOST_MASKED or usual > USUAL_MOST:
        raise UnsteadyError(
            f"scene {scene.name!r} moves: {1.0 if usual > USUAL_MOST else share:.0%} of it changes by more than noise "
            "does; put the camera on something firm, with focus and exposure fixed", _drawn(scene, moving),
        )  # fmt: skip
    if share:
        notes.append(f"scene {scene.name!r}: {share:.1%} of the picture moves and is left out")
    if usual > DEPENDENT_F:
        notes.append(
            f"scene {scene.name!r}: its frames share noise (video compression, or a filter over time), which can be "
            "neither measured nor removed; record single pictures, or as MJPG"
        )
    return Steady(scene, gains, moving, notes=tuple(notes))


def _without_repeats(scene: Scene) -> tuple[Scene, Mask]:
    """Drop frames that a driver delivered twice; also return which these are, bool N.

    Raises:
        UnsteadyError: all are copies of one.
    """
    frames = scene.frames
    again = np.array([False, *(np.array_equal(*pair) for pair in pairwise(frames))])
    if again.sum() == len(frames) - 1:
        raise UnsteadyError(f"scene {scene.name!r}: its frames are all alike: they contain no noise to remove")
    return (Scene(scene.name, frames[~again], scene.truth) if again.any() else scene), again


def _evened(scene: Scene, brightness: NDArray[np.float64]) -> tuple[Scene, Floats, list[str]]:
    """Drop frames of very different brightness, and find factors that equalize the others.

    A frame's brightness is the median over its blocks, each relative to its own median over time, so motion does not
    count.
    """
    blocks = np.stack([_blocks(frame.mean(2, dtype=np.float32)) for frame in scene.frames])
    usual = np.median(blocks, axis=0)
    ratios = blocks[:, usual > BLACK] / usual[usual > BLACK]
    middle = np.median(ratios, axis=1)
    off = np.median(np.abs(ratios - middle[:, None])) * 1.4826
    known = max(STEADY_LIGHT, FLICKER_ERRORS * 1.25 * off / ratios.shape[1] ** 0.5)
    gains = 1 / np.maximum(middle, 1e-3)
    if np.ptp(gains) < known:
        gains = np.ones_like(gains)
    kept = np.abs(gains - 1) <= LARGEST_FLICKER
    spread = float(np.ptp(gains))
    if kept.sum() < max(2, len(kept) / 2):
        raise UnsteadyError(
            f"scene {scene.name!r}: its light changes from {brightness.min():.0f} to {brightness.max():.0f} of 255; "
            "fix the exposure, and use light that does not flicker"
        )
    notes = []
    if not kept.all():
        notes.append(f"scene {scene.name!r}: {counted(int((~kept).sum()), 'frame')} of another brightness left out")
        scene = Scene(scene.name, scene.frames[kept], scene.truth)
    elif spread:
        notes.append(f"scene {scene.name!r}: the light flickers by {spread:.1%}, which is evened out")
    return scene, gains[kept].astype(np.float32), notes


def _parts(scene: Scene, gains: Floats) -> list[Floats]:
    """Means of the parts of a burst, H x W gray."""
    means = []
    for part in np.array_split(np.arange(len(gains)), max(2, min(PARTS, len(gains) // FRAMES_A_PART))):
        total = np.zeros(scene.frames.shape[1:3], np.float32)
        for i in part:
            total += scene.frames[i].mean(2, dtype=np.float32) * gains[i]
        means.append(total / np.float32(len(part)))
    return means


def _drift(parts: Sequence[Floats], moving: Mask) -> tuple[float, float]:
    """How far the picture moves between parts, in pixels, and by which share its detail changes in most places.

    Moving objects do not count, unless nearly everything moves.

    Motion is found by phase correlation if it has a clear peak; Kuglin and Hines (1975).
    """
    height, width = parts[0].shape
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    flat = [(part - cv2.GaussianBlur(part, (0, 0), 8)) * ~moving for part in parts]
    shift = 0.0
    for other in flat[1:]:
        (x, y), response = cv2.phaseCorrelate(flat[0], other, window)
        if response > PEAK_LEAST:
            shift = max(shift, float(np.hypot(x, y)))
    if len(parts) < PARTS:
        return shift, 0.0
    soft = [cv2.GaussianBlur(part, (0, 0), 1.0) for part in parts]
    size = (max(1, width // SQUARE), max(1, height // SQUARE))
    detail = np.stack([
        cv2.resize(np.square(part - cv2.GaussianBlur(part, (0, 0), 2.0)) * ~moving, size, interpolation=cv2.INTER_AREA)
        for part in soft
    ]) + 0.05  # fmt: skip
    change = detail.max(axis=0) / detail.min(axis=0)
    usual = detail.mean(axis=0)
    return shift, float(np.median(change[usual >= np.median(usual)])) - 1


def _changed(scene: Scene, gains: Floats) -> tuple[float, Mask]:
    """The usual F of a scene's blocks, and which have changed."""
    parts = np.array_split(np.arange(len(gains)), min(PARTS, len(gains) // 2))
    if len(parts) < 2:
        return 1.0, np.zeros(_blocks(scene.frames[0][..., 0].astype(np.float32)).shape, np.bool_)
    means, within = [], 0.0
    for part in parts:
        frames = [np.multiply(scene.frames[i], gains[i], dtype=np.float32) for i in part]
        mean = sum(frames) / np.float32(len(part))
        within = within + sum(np.square(frame - mean).mean(2) for frame in frames)
        means.append(mean)
    total = sum(means) / np.float32(len(means))
    between = sum(len(part) * np.square(mean - total).mean(2) for part, mean in zip(parts, means, strict=True))
    error = _blocks(np.asarray(within, np.float32)) / (len(gains) - len(parts)) + 0.02
    f = _blocks(np.asarray(between, np.float32)) / (len(parts) - 1) / error
    usual = float(np.median(f))
    below = usual - float(np.quantile(f, 0.1))  # noise of coarse grain has few independent values in a block
    return usual, f > max(CHANGED_F * max(1.0, usual) + 1, usual + CHANGED_SPREAD * below)


def _passed(scene: Scene, gains: Floats) -> Mask:
    """Blocks whose mean is far from its median in some frame, or varies strongly in all frames."""
    evened = (np.multiply(*pair, dtype=np.float32) for pair in zip(scene.frames, gains, strict=True))
    blocks = np.stack([_blocks(frame.mean(2)) for frame in evened])
    off = np.abs(blocks - np.median(blocks, axis=0))
    spread = 1.4826 * np.median(off, axis=0)
    if len(off) < FEW_FRAMES:  # too few to know a block's own spread by: that of most blocks
        quarter = float(np.quantile(np.abs(np.diff(blocks, axis=0)), 0.25))  # of what does not move, where much does
        spread = np.full_like(spread, quarter / 0.3186 / 2**0.5)
    usual = float(np.median(spread))
    restless = spread > RESTLESS_FACTOR * usual + 0.1
    spread = np.maximum(spread, 0.5 * usual) + 0.1
    return np.asarray((off > PASSING_DEVIATIONS * spread).any(axis=0) | restless)


def _blocks(plane: Floats) -> Floats:
    """Means over blocks of a plane; the rest at the lower and right edge belongs to the last blocks."""
    size = (max(1, plane.shape[1] // BLOCK), max(1, plane.shape[0] // BLOCK))
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _drawn(scene: Scene, moving: Mask) -> NDArray[np.uint8]:
    """The first frame, BGR, red where it moves."""
    picture = cv2.cvtColor(scene.frames[0], cv2.COLOR_RGB2BGR)
    picture[moving] = (picture[moving] * 0.5 + np.array([0, 0, 255]) * 0.5).astype(np.uint8)
    shown: NDArray[np.uint8] = picture.astype(np.uint8)
    return shown


def drawn(steady: Steady) -> NDArray[np.uint8]:
    """The first frame of a scene, uint8 H x W x 3 BGR, red where something moves."""
    return _drawn(steady.scene, steady.moving)
