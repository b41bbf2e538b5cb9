"""Judges whether a fitted model is better than the initial one, by comparing it with the camera's own frames.

The frames of a static scene show one picture, with noise that is independent from frame to frame. So the mean squared
difference between a restored frame and the other frames is the error of the restored frame plus the variance of the
noise, whatever the model does: noise is compared with noise. No clean picture is needed, and nothing is assumed about
the noise. Only the fixed pattern of rows and columns is subtracted from the other frames, and defective pixels are
filled from their neighbors, since these are not part of the picture. The mean color of restored windows is compared
with that of the frames themselves, except where noise is clipped at black or white, which shifts a mean. Where the
means of many shots were given, both comparisons are with these.

Source: comparing with a second noisy picture, Lehtinen et al., "Noise2Noise" (ICML 2018); the interval by Efron's
bootstrap (1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cae_train import seeds
from cae_train.burst.pairs import Part
from cae_train.config import PATCH
from cae_train.degradations.measured_noise import COLORS

EDGE = 4  # pixels at each side of a window that are not judged: `cae-run` blends overlapping patches there
WINDOWS_IN_ALL = 1024  # judged in all scenes together, about
FRAMES_MOST = 4  # frames in which the same place is judged
BATCH = 256
BAND_LEVELS = 16  # width of a band of brightness in which mean colors are compared, in levels of 255
LEAST_WINDOWS, LEAST_PLACES = 16, 4  # of a band that counts
CLIPPED_SHARE = 0.01  # a window with this share of its values at black or white has clipped noise
SHIFT_MOST = 0.3  # largest difference of mean colors, in levels of 255
STANDARD_ERRORS = 2.0  # a shift of colors counts beyond this many of them
BOOTSTRAP_DRAWS = 2000
LOWER_QUANTILE = 0.025  # lower end of a 95 % interval
ROUNDING = 1 / 12  # squared levels: the error that rounding to 8 bits leaves

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Windows:
    """Windows of a scene that the models were not trained on; levels are of 0..255.

    Attributes:
        noisy: the camera's own pixels, float32 N x 3 x 32 x 32 in 0..1.
        others: the mean of the other frames in the middle of each window, without the fixed pattern and with defective
            pixels filled, float32 N x 3 x 24 x 24 in levels.
        sound: where no pixel is defective, bool N x 1 x 24 x 24.
        gains: factors that match the brightness of the others, N.
        left: variance of the noise in `others`, N in squared levels.
        colors: mean colors of the noisy windows without the fixed pattern, or of the means that were given, N x 3 in
            levels.
        cut: whether values of another frame are clipped at black or white, bool N x 3.
        places: index of the place that each window shows, N.
    """

    noisy: Tensor
    others: Tensor
    sound: Tensor
    gains: Tensor
    left: Floats
    colors: Floats
    cut: NDArray[np.bool_]
    places: NDArray[np.intp]


@dataclass(frozen=True)
class Errors:
    """The errors of restored windows: squared errors, float64 N, and shifts of mean colors, N x 3, in levels."""

    squares: Floats
    shifts: Floats


@dataclass(frozen=True)
class Judged:
    """A scene and its restorations by two models, before and after fitting."""

    windows: Windows
    before: Errors
    after: Errors


@dataclass(frozen=True)
class Verdict:
    """Whether the fitted model is better.

    Attributes:
        noisy: PSNR of the camera's frames in dB, against the scene without noise; the mean over the scenes.
        before: the same of the initial model's results.
        after: the same of the fitted model's results.
        least: lower end of the 95 % interval of `gain`, in dB.
        shift: the largest change that the fitted model makes to a mean color in a band of brightness, in levels.
        shifted: whether a mean color is off by more than 0.3 levels more than the frames themselves are, and by more
            than with the initial model, even after subtracting two standard errors.
    """

    noisy: float
    before: float
    after: float
    least: float
    shift: float
    shifted: bool

    @property
    def gain(self) -> float:
        """The gain of fitting, in dB."""
        return self.after - self.before

    @property
    def better(self) -> bool:
        """Whether it certainly gained something and does not shift colors."""
        return self.least > 0 and not self.shifted

    def figures(self, on: str, name: str) -> str:
        """A line with the PSNR figures of a model called `name`, judged on the data `on`."""
        return f"{on}: noisy {self.noisy:.2f} dB, {name} {self.before:.2f} dB, fitted {self.after:.2f} dB"


def windows_of(parts: Sequence[Part], seed: int) -> list[Windows]:
    """Windows of each scene to judge by; the same at every call."""
    rng = seeds.rng(seed, seeds.BURST, len(parts))
    return [_windows(part, max(16, WINDOWS_IN_ALL // len(parts)), rng) for part in parts]


def pairs_as_windows(noisy: Tensor, clean: Tensor) -> Windows:
    """Pairs with known clean patches, float32 N x 3 x 32 x 32 in 0..1 each, to judge by."""
    middle = clean[..., EDGE:-EDGE, EDGE:-EDGE] * 255
    count = len(noisy)
    return Windows(
        noisy, middle, torch.ones(count, 1, *middle.shape[2:], dtype=torch.bool), torch.ones(count),
        np.zeros(count), middle.mean((2, 3)).numpy().astype(np.float64),
        np.zeros((count, COLORS), np.bool_), np.arange(count),
    )  # fmt: skip


def errors(network: nn.Module | None, windows: Windows) -> Errors:
    """The output of a model for windows; None: the windows themselves."""
    restored = windows.noisy
    if network is not None:
        with torch.inference_mode():
            restored = torch.cat([network(batch) for batch in torch.split(restored, BATCH)])
    levels = restored.mul(255).round().clamp(0, 255)[..., EDGE:-EDGE, EDGE:-EDGE]
    pixels = windows.sound.sum((1, 2, 3)).clamp_min(1).double()
    squares = (levels * windows.gains[:, None, None, None] - windows.others).double().square().mean((1, 2, 3))
    colors = (levels * windows.sound).double().sum((2, 3)) / pixels[:, None]
    return Errors(squares.numpy() - windows.left, colors.numpy() - windows.colors)


def verdict(scenes: Sequence[Judged], seed: int = 0) -> Verdict:
    """Judge by all scenes together, with equal weights."""
    rng = np.random.default_rng(seed)
    noisy, before, after = [], [], []
    gains = np.zeros(BOOTSTRAP_DRAWS)
    for scene in scenes:
        noisy.append(_psnr(errors(None, scene.windows).squares.mean()))
        old, new = (_by_place(each.squares, scene.windows.places) for each in (scene.before, scene.after))
        before.append(_psnr(old.mean()))
        after.append(_psnr(new.mean()))
        drawn = rng.integers(len(old), size=(BOOTSTRAP_DRAWS, len(old)))
        gains += _psnr(new[drawn].mean(axis=1)) - _psnr(old[drawn].mean(axis=1))
    shift, shifted = _largest_shift(scenes)
    least = float(np.quantile(gains / len(scenes), LOWER_QUANTILE))
    return Verdict(float(np.mean(noisy)), float(np.mean(before)), float(np.mean(after)), least, shift, shifted)


def _windows(part: Part, count: int, rng: np.random.Generator) -> Windows:
    """Up to `count` windows that do not overlap, each place in a few frames."""
    target, steady = part.target, part.target.steady
    y, x = np.divmod(part.places, part.wide)
    grids = (y % PATCH) * PATCH + x % PATCH
    of_grid = np.flatnonzero(grids == np.bincount(grids).argmax())  # the grid with most places
    places = rng.permutation(of_grid)[:count]
    frames = min(FRAMES_MOST, len(steady.gains), max(1, count // len(places)))
    size = len(places) * frames
    side = PATCH - 2 * EDGE
    noisy = np.empty((size, PATCH, PATCH, COLORS), np.float32)
    others = np.empty((size, side, side, COLORS), np.float32)
    sound = np.empty((size, side, side, 1), np.bool_)
    gains, left, colors = np.empty(size, np.float32), np.zeros(size), np.empty((size, COLORS))
    cut = np.empty((size, COLORS), np.bool_)
    for index in range(size):
        place = int(places[index // frames])
        top, first = int(y[place]), int(x[place])
        window = np.s_[top : top + PATCH, first : first + PATCH]
        middle = np.s_[top + EDGE : top + PATCH - EDGE, first + EDGE : first + PATCH - EDGE]
        number = int((index % frames + rng.random()) * len(steady.gains) / frames)
        frame, gains[index] = steady.scene.frames[number], steady.gains[number]
        another = steady.scene.frames[(number + 1) % len(steady.gains)][middle]
        cut[index] = ((another == 0) | (another == 255)).mean(axis=(0, 1)) >= CLIPPED_SHARE
        defects = target.defects[middle]
        noisy[index], sound[index] = frame[window], ~defects[..., None]
        own = frame[middle] * gains[index]
        if steady.scene.truth is None:
            others[index] = (target.total[middle] - own) / np.float32(target.count - 1) - target.fixed[middle]
            noise = (own - others[index] - target.fixed[middle])[~defects]
            left[index] = np.square(noise, dtype=np.float64).mean() / target.count  # independent of what models do
            others[index][defects] = target.smooth[middle][defects]
            colors[index] = (frame[middle] - target.fixed[middle])[~defects].mean(axis=0)
        else:  # one frame may be darker than the mean that is given, for example since its exposure drifted
            others[index] = target.total[middle]
            colors[index] = others[index][~defects].mean(axis=0)
    return Windows(
        _planes(noisy).div(255), _planes(others), _planes(sound), torch.from_numpy(gains), left, colors, cut,
        np.arange(size) // frames,
    )  # fmt: skip


def _planes(windows: NDArray[Any]) -> Tensor:
    return torch.from_numpy(windows).permute(0, 3, 1, 2)


def _psnr(squares: Floats) -> Floats:
    return 10 * np.log10(255**2 / np.maximum(squares, ROUNDING))


def _by_place(values: Floats, places: NDArray[np.intp]) -> Floats:
    """Means of the values of each place."""
    return np.bincount(places, values) / np.bincount(places)


def _largest_shift(scenes: Sequence[Judged]) -> tuple[float, bool]:
    """The largest shift of a mean color in a band of brightness, and whether one is too large for sure.

    What a frame itself differs from a given mean, a model may leave as it is. Windows of one place show one picture, so
    their errors are alike: the standard error is that of the places' means.
    """
    largest, shifted = 0.0, False
    bands = np.concatenate([scene.windows.others.mean((2, 3)).numpy() // BAND_LEVELS for scene in scenes])
    frames, before, after = (
        np.concatenate([each.shifts for each in all_scenes])
        for all_scenes in zip(
            *((errors(None, scene.windows), scene.before, scene.after) for scene in scenes), strict=True
        )
    )
    whole = ~np.concatenate([scene.windows.cut for scene in scenes])
    numbers = [scene.windows.places for scene in scenes]
    first = np.cumsum([0, *(each.max() + 1 for each in numbers)])  # so that no two scenes share a place
    places = np.concatenate([each + start for each, start in zip(numbers, first, strict=False)])
    for c in range(COLORS):
        for band in np.unique(bands[:, c]):
            there = (bands[:, c] == band) & whole[:, c]
            here = np.unique(places[there], return_inverse=True)[1]
            if there.sum() >= LEAST_WINDOWS and here.max() + 1 >= LEAST_PLACES:
                of_places = _by_place(after[there, c], here)
                old = abs(float(_by_place(before[there, c], here).mean()))
                own = abs(float(_by_place(frames[there, c], here).mean()))
                new = abs(float(of_places.mean()))
                chance = STANDARD_ERRORS * float(of_places.std(ddof=1)) / len(of_places) ** 0.5
                largest = max(largest, new)
                shifted |= new - chance > max(SHIFT_MOST + own, old)
    return largest, shifted
