"""Cleans floating-point pictures of any range, such as those of telescopes and microscopes.

A model sees values of 0..1. A picture is scaled to 16 bits, which `Restorer` cleans like the file of a camera, fainter
noise than the model knows included. What it changes is scaled back and added to the picture, so that all values keep
their precision, and values beyond what is scaled stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress
from cae_runtime.tasks.notes import LEFT, Note, Tell, beyond_range
from cae_runtime.tasks.restore import Restorer
from cae_runtime.tasks.strength_blending import Strength

_WHITE: Final = 65535
_STEPS: Final = 16  # of 65535, that the deviation of the noise has at least
_BELOW: Final = 16  # deviations of the noise below most values, where black is put then
_LOWEST: Final = 0.1  # percentile of the values that counts as the lowest then
_SEEN: Final = 2**18  # values that the noise is estimated by, at most
_NORMAL: Final = 0.6745 * 2**0.5  # median of the absolute difference of two normal numbers of deviation 1
_COLORS: Final = 3
_FEW: Final = 0.01  # share of the values beyond white that needs no note: stars
_OVERSHOOT: Final = 0.05  # of filters, below 0 and above 1
_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Scale:
    """What 0 and 65535 mean in a picture: `black` and `black + 65535 * step`."""

    black: float
    step: float


def cleaned(
    restorer: Restorer,
    picture: NDArray[np.float32],
    strength: Strength,
    tell: Tell | None = None,
    progress: Progress | None = None,
    scale: Scale | None = None,
) -> NDArray[np.float32]:
    """Clean a floating-point picture of any range.

    Args:
        restorer: what cleans.
        picture: (H, W), (H, W, 3) or (H, W, 4) with alpha; infinite values and NaN stay as they are.
        strength: as of `Restorer`.
        tell: called with each note.
        progress: as in `Restorer`.
        scale: that of the picture of which this is a part; None: its own.

    Returns:
        A new array of the same shape. Alpha is the input's.

    Raises:
        ModelError, ProviderError, UsageError: see `Restorer`.
    """
    colors = picture[..., :_COLORS] if picture.ndim == _COLORS else picture
    scale = scale or scale_of(colors)
    result = picture.copy()
    if scale is None:
        return result
    known = np.isfinite(colors)
    filled = colors if known.all() else np.where(known, colors, np.float32(np.median(colors[known])))
    deep = np.rint((filled.astype(np.float64) - scale.black) / scale.step).clip(0, _WHITE).astype(np.uint16)
    given = deep
    if picture.ndim == _COLORS and picture.shape[2] > _COLORS:
        given = np.dstack([deep, np.where(picture[..., _COLORS] > 0, _WHITE, 0).astype(np.uint16)])
    notes: list[Note] = []  # about values that nobody sees
    made = restorer(given, strength=strength, tell=notes.append, progress=progress)
    if tell is not None and any(note.kind == "left" for note in notes):
        tell(LEFT)
    change = made[..., :_COLORS] if made.ndim == _COLORS else made
    target = result[..., :_COLORS] if result.ndim == _COLORS else result
    with np.errstate(invalid="ignore"):  # a NaN may be a signaling one
        values = target.astype(np.float64) + (change.astype(np.float64) - deep) * scale.step
    np.copyto(target, values.clip(-_LARGEST, _LARGEST), where=known, casting="same_kind")
    beyond = known & (colors > scale.black + _WHITE * scale.step)
    if tell is not None and beyond.mean() > _FEW:
        tell(beyond_range(float(beyond.mean())))
    return result


def scale_of(values: NDArray[np.float32]) -> Scale | None:
    """Return how a picture is scaled to 16 bits; None if all of its values are equal, or none is finite.

    Pictures of about 0..1 keep that range, others are scaled by their lowest and highest value. If that left less than
    16 steps for the noise, as where a few stars are a thousand times as bright as the sky, the highest values are cut
    off.
    """
    known = values[np.isfinite(values)]
    if known.size == 0 or known.min() == known.max():
        return None
    low, high = float(known.min()), float(known.max())
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:
        low, high = min(low, 0.0), max(high, 1.0)
    step, deviation = (high - low) / _WHITE, _noise(values)
    if 0 < deviation < _STEPS * step:
        low = max(low, float(np.percentile(known, _LOWEST)) - _BELOW * deviation)
        step = deviation / _STEPS
    return Scale(low, step)


def _noise(values: NDArray[Any]) -> float:
    """Return the deviation of the noise, by the differences of neighbors."""
    if values.shape[1] < 2:
        return 0.0
    rows = max(1, len(values) * values[0].size // _SEEN)
    with np.errstate(invalid="ignore"):  # as above
        seen = values[::rows].astype(np.float64)
        differences = np.abs(seen[:, 1:] - seen[:, :-1])
    differences = differences[np.isfinite(differences)]
    return float(np.median(differences)) / _NORMAL if differences.size else 0.0
