"""Measures the noise of a camera on static scenes.

The difference of each frame from the mean of the others is its noise. Over all scenes this gives the strength at each
brightness, the correlation of neighboring pixels, and that of the colors.

Source: photon transfer, variance against mean, Janesick (SPIE 2007).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cae_train.burst.targets import Target
from cae_train.degradations.measured_noise import COLORS, GRAIN, HOT_VALUES, KNOTS, NoiseModel
from cae_train.errors import DataError

WINDOW = 32  # side of the windows that the grain is measured on
BINS = 64  # of brightness, at which variance is measured; 4 gray levels each
LEAST_PIXELS = 400  # of a bin that counts
LEAST_VARIANCE = 0.02  # in squared levels of 255; frames that differ less have no noise but that of rounding to 8 bits
ISOTROPIC = 0.05  # largest difference of the correlations along rows and columns at which patches may be turned
DEFECTS_LEAST = 5e-4  # share of the pixels
FRAMES_MEASURED = 24  # of each scene, spread over it
WINDOWS_MOST = 200  # windows of one frame of all scenes together

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Measurement:
    """The measured noise of a camera.

    Attributes:
        model: a model to generate such noise.
        seen: brightnesses with enough pixels, 3 x B in 0..255 (NaN elsewhere), and
        variance: the variance there, 3 x B, in squared levels of 255.
        correlation: 15 x 15, autocorrelation of the luminance noise by offset; 1 in the middle.
        colors: 3 x 3, correlation of the noise of R, G and B.
        fixed_share: share of the whole noise's variance that is a fixed pattern.
    """

    model: NoiseModel
    seen: Floats
    variance: Floats
    correlation: Floats
    colors: Floats
    fixed_share: float

    @property
    def turns(self) -> bool:
        """Whether the noise is the same along rows and columns, so that patches may be transposed."""
        along, across = self.correlation[7, 8], self.correlation[8, 7]
        return bool(abs(along - across) < ISOTROPIC and not (self.model.rows or self.model.columns))


def measure(targets: Sequence[Target], camera: str) -> Measurement:
    """Measure the noise of scenes.

    Raises:
        DataError: there is no noise, or too few pixels can be used.
    """
    seen, variance, sigma = strengths(targets)
    if float(np.nanmedian(variance)) < LEAST_VARIANCE:
        raise DataError("the frames are all alike: they contain no noise to remove")
    colors, grain, correlation = _correlations(targets, sigma)
    rows, columns = (_spread_of(targets, axis) for axis in (1, 0))
    model = NoiseModel(
        camera, sigma, colors, grain, rows / 255, columns / 255,
        _share(target.hot for target in targets), _hot_values(targets), _share(target.dead for target in targets),
    )  # fmt: skip
    fixed = float(np.mean([np.square(target.fixed[target.usable], dtype=np.float64).mean() for target in targets]))
    standard = np.sqrt(np.diag(colors @ colors.T))
    return Measurement(
        model, seen, variance, correlation,
        (colors @ colors.T / np.outer(standard, standard)).astype(np.float32),
        fixed / (fixed + float(np.nanmean(variance))),
    )  # fmt: skip


def strengths(targets: Sequence[Target]) -> tuple[Floats, Floats, Floats]:
    """How strong the noise is at each brightness.

    Returns:
        Brightnesses with enough pixels, 3 x 64 in 0..255 (NaN elsewhere); the noise's variance there, in
        squared levels of 255; and its standard deviation where R, G and B are 0, 1/16 ... 1, 3 x 17 in 0..1.

    Raises:
        DataError: too few pixels can be used.
    """
    count, squares, values = np.zeros((3, COLORS, BINS))
    for target in targets:
        usable = target.usable & ~target.defects
        for number in _spread(len(target.steady.gains), FRAMES_MEASURED):
            noise, clean = _noise(target, number)
            for c in range(COLORS):
                value = clean[..., c][usable]
                which = np.minimum((value * (BINS / 256)).astype(np.intp), BINS - 1)
                count[c] += np.bincount(which, minlength=BINS)
                values[c] += np.bincount(which, value, BINS)
                squares[c] += np.bincount(which, np.square(noise[..., c][usable], dtype=np.float64), BINS)
    enough = count >= LEAST_PIXELS
    if not enough.any(axis=1).all():
        raise DataError("the scenes have too few pixels that stand still to measure the noise on")
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.where(enough, squares / count, np.nan)
        seen = np.where(enough, values / count, np.nan)
    sigma = np.stack([_curve(seen[c], variance[c], count[c]) for c in range(COLORS)])
    return seen.astype(np.float32), variance.astype(np.float32), sigma


def _noise(target: Target, number: int) -> tuple[Floats, Floats]:
    """A frame's noise without the fixed pattern, of unbiased variance, and the picture; H x W x 3 in levels of 255."""
    clean = target.without(number)
    noise = target.steady.frame(number) - clean - (target.fixed if target.steady.scene.truth is None else 0)
    return noise / np.float32((1 + target.left) ** 0.5), clean


def _curve(seen: NDArray[np.float64], variance: NDArray[np.float64], count: NDArray[np.float64]) -> Floats:
    """Standard deviations at the knots, in 0..1: a smoothed curve through the bins, constant beyond them."""
    there = np.flatnonzero(~np.isnan(variance))
    smooth = variance[there].copy()
    weight = np.sqrt(count[there])
    for i in range(len(there)):
        near = np.abs(seen[there] - seen[there][i]) <= 256 / (KNOTS - 1) / 2
        smooth[i] = np.average(variance[there][near], weights=weight[near])
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    return (np.sqrt(np.interp(knots, seen[there], smooth)) / 255).astype(np.float32)


def _correlations(targets: Sequence[Target], sigma: Floats) -> tuple[Floats, Floats, Floats]:
    """The color mixing of standardized noise, the grain of its components, and the luminance correlation."""
    rng = np.random.default_rng(0)
    knots = np.arange(KNOTS) * 255 / (KNOTS - 1)
    windows: list[Floats] = []
    for target in targets:
        usable = target.usable & ~target.defects
        height, width = usable.shape
        for number in _spread(len(target.steady.gains), FRAMES_MEASURED):
            noise, clean = _noise(target, number)
            for c in range(COLORS):
                strength = np.interp(clean[..., c], knots, sigma[c] * 255)
                noise[..., c] /= np.maximum(strength, 0.1)
            for _ in range(max(8, WINDOWS_MOST // len(targets) // 4)):
                y, x = rng.integers(height - WINDOW + 1), rng.integers(width - WINDOW + 1)
                if usable[y : y + WINDOW, x : x + WINDOW].all():
                    windows.append(noise[y : y + WINDOW, x : x + WINDOW])
    if len(windows) < 8:
        raise DataError("the scenes have too few places that stand still to measure the noise on")
    stack = np.stack(windows).astype(np.float64)
    colors, grain = grain_of(stack)
    taper = _taper(WINDOW)
    bright = stack @ np.array([0.299, 0.587, 0.114])
    power = np.square(np.abs(np.fft.fft2(bright * taper, axes=(1, 2)))).mean(0)
    lags = np.fft.fftshift(np.fft.ifft2(power).real)
    window = np.fft.fftshift(np.fft.ifft2(np.square(np.abs(np.fft.fft2(taper)))).real)
    lags, half = lags / np.maximum(window, 1e-9), WINDOW // 2
    near = lags[half - 7 : half + 8, half - 7 : half + 8]
    return colors, grain, (near / near[7, 7]).astype(np.float32)


def grain_of(noise: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """The colors and the grain of standardized noise, as `NoiseModel` has them, from windows N x S x S x 3."""
    covariance = np.einsum("nhwi,nhwj->ij", noise, noise) / noise[..., 0].size
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-6)
    components = noise @ (vectors / np.sqrt(values))
    power = np.square(np.abs(np.fft.fft2(components * _taper(noise.shape[1])[..., None], axes=(1, 2)))).mean(0)
    grain = np.stack([_filter(power[..., c]) for c in range(COLORS)])
    scale = 1 / np.sqrt(np.maximum(np.diag(covariance), 1e-6))  # what strengths have left over: unit variance
    colors = scale[:, None] * vectors * np.sqrt(values)
    return colors.astype(np.float32), grain


def _taper(side: int) -> NDArray[np.float64]:
    edge = np.hanning(side + 2)[1:-1]
    return np.outer(edge, edge)


def _filter(power: NDArray[np.float64]) -> Floats:
    """The zero-phase filter that gives white noise this power spectrum, cropped, with squares summing to 1."""
    kernel = np.fft.fftshift(np.fft.ifft2(np.sqrt(power)).real)
    half, reach = len(power) // 2, GRAIN // 2
    middle = kernel[half - reach : half + reach + 1, half - reach : half + reach + 1]
    return np.asarray(middle / np.sqrt(np.square(middle).sum()), np.float32)


def _spread(count: int, most: int) -> list[int]:
    """The indices of at most `most` frames, spread over all `count`."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()})


def _spread_of(targets: Sequence[Target], axis: int) -> float:
    """Standard deviation of the fixed pattern of rows (the mean over axis 1) or columns (0), in levels of 255."""
    return float(np.mean([target.fixed[..., 0].mean(axis=axis).std() for target in targets]).round(3))


def _share(defects: Iterable[Mask]) -> float:
    """The share of defective pixels; 0 if there are so few that they may be texture."""
    share = float(np.mean([mask.mean() for mask in defects]))
    return share if share >= DEFECTS_LEAST else 0.0


def _hot_values(targets: Sequence[Target]) -> Floats:
    """How much too bright hot pixels are, in 0..1: increasing quantiles."""
    over = [
        ((target.total / target.count - target.smooth)[target.hot]).max(axis=1)
        for target in targets
        if target.hot.any()
    ]
    if not over:
        return np.zeros(HOT_VALUES, np.float32)
    excess = np.concatenate(over).clip(0, 255) / 255
    return np.asarray(np.quantile(excess, np.linspace(0, 1, HOT_VALUES)), np.float32)
