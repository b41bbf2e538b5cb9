"""JPEG that a camera codes its frames with: which quality, and what noise there was before it.

Heavy JPEG takes noise and texture away together, which noise that is laid over photographs afterwards does not show. A
frame that is coded once more at the quality it was coded with hardly changes, which tells that quality; then noise is
looked for that, laid over the scene and coded so, is what was measured.

Source: Farid, "Exposing digital forgeries from JPEG ghosts" (IEEE TIFS 2009).
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cae_train.burst.bias import BINS, bins, can_tell, curve, third_moments
from cae_train.burst.frames import Scene
from cae_train.burst.measure import Measurement, measure, strengths
from cae_train.burst.steady import Steady
from cae_train.burst.targets import Target, targets_of
from cae_train.jpeg import GRID, SAMPLINGS
from cae_train.measured import COLORS, GRAIN, KNOTS, LEAST_GAIN, Measured, NoiseModel

QUALITIES = range(10, 96)
HEAVY = 85  # quality from which on JPEG leaves nearly all as it is
NEAR, GHOST = 6, 0.5  # qualities on either side; the change beside theirs that shows a quality
SCENES, FRAMES, SIDE, ROUNDS = 2, 12, 512, 4  # that are simulated, their largest side; how often noise is corrected
FLAT = 9  # pixels along a side, over which texture is looked for
GAMMA, DARKEST = 2.2, 0.15  # of the tone curve; brightness below which noise is taken to be as there, to begin with
CLEARLY = 3.0  # times better must noise of the values agree than noise of light, which is where it comes from
SKEW, LEAST_SKEW = 0.3, 0.05  # weight of third moments beside that of correlations; squared levels that are none
ACROSS, ALIKE = 0.3, 2.0  # cosine between directions of one camera's filters; share that their white noise differs by
STEP, MOST = (0.5, 2.0), 2.0  # of one correction, at most; strength beside the usual one

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def quality_of(frame: Image) -> int:
    """The quality of JPEG that a frame, uint8 H x W x 3, was coded with last, 10 to 95; 0 where none is to be seen."""
    frame = np.ascontiguousarray(frame[:SIDE, :SIDE])
    best = (GHOST, 0)
    for sampling in sorted(set(SAMPLINGS)):
        change = np.array([_change(frame, quality, sampling) for quality in QUALITIES])
        for i, own in enumerate(change):
            usual = float(np.median(change[max(0, i - NEAR) : i + NEAR + 1]))
            best = min(best, (float(own) / max(usual, 1e-6), QUALITIES[i]))
    return best[1]


def noise_before(measurement: Measurement, targets: Sequence[Target], quality: int) -> tuple[NoiseModel, Floats]:
    """The noise that a camera codes at `quality` (0: that it does not code): what comes out is like what was measured.

    Tried are noise of the grain that was measured, the same out of white noise in linear light, through a tone curve
    and filters, and where it is coded white noise that is independent in the colours, in linear light too. Strengths of
    each are corrected until they agree where the scenes are flat (a mean of coded frames has lost texture, which keeps
    noise alive); the one is taken whose grain, colours and third moment then agree best, in doubt one of light.

    Returns:
        It, and by how much the mean of frames is off for it: 3 x 17 in levels of 255, where a mean is 0 ... 1 bright.
    """
    scenes = [_flat(target) for target in targets[:SCENES]]
    pictures = [scene.smooth for scene in scenes]
    moving = [scene.steady.moving for scene in scenes]
    _, _, wanted = strengths(scenes)
    thirds = third_moments(scenes).thirds
    found = []
    for model in _candidates(measurement, quality):
        for _ in range(ROUNDS):
            _, _, sigma = strengths(_simulated(pictures, moving, model, quality))
            sigma = model.sigma * (wanted / np.maximum(sigma, 1e-4)).clip(*STEP)
            most = MOST * np.median(sigma, axis=1, keepdims=True)  # where nothing was seen, corrections run away
            model = replace(model, sigma=np.minimum(sigma, most).clip(0, 1).astype(np.float32))
        simulated = _simulated(pictures, moving, model, quality)
        own_thirds = third_moments(simulated).thirds
        whole = [replace(one, steady=replace(one.steady, moving=np.zeros_like(one.steady.moving))) for one in simulated]
        seen = measure(whole, "")
        unlike = (
            np.square(measurement.correlation - seen.correlation).sum()
            + np.square(measurement.colors - seen.colors).sum()
            + SKEW * np.square(thirds - own_thirds).sum() / (np.square(thirds).sum() + LEAST_SKEW) * can_tell(scenes)
        )
        found.append((float(unlike), model, _shift(simulated, pictures)))
    _, model, shift = min(found, key=lambda each: each[0] * (CLEARLY if each[1].gamma == 1 else 1))
    kept = {name: getattr(measurement.model, name) for name in ("rows", "columns", "hot", "hot_values", "dead")}
    return replace(model, **kept), shift


def _candidates(measurement: Measurement, quality: int) -> list[NoiseModel]:
    fine = np.zeros((COLORS, GRAIN, GRAIN), np.float32)
    fine[:, GRAIN // 2, GRAIN // 2] = 1
    unmixed = np.eye(COLORS, dtype=np.float32)
    zero = np.zeros((COLORS, KNOTS), np.float32)
    own = replace(measurement.model, rows=0.0, columns=0.0, hot=0.0, dead=0.0, bias=zero)
    bright = np.linspace(0, 1, KNOTS).clip(DARKEST)
    in_light = (own.sigma * GAMMA * bright ** (GAMMA - 1)).astype(np.float32)
    found = [own]
    if quality:  # which mixes what was independent
        white = replace(own, grain=fine, colors=unmixed)
        found += [white, replace(white, gamma=GAMMA, sigma=in_light)]
    directions = _directions(own)
    if directions is not None:
        found.append(replace(own, gamma=GAMMA, sigma=in_light, colors=directions))
    return found


def _directions(noise: NoiseModel) -> Floats | None:
    """Along which directions in colour a camera filtered white noise, 3 x 3; None where that cannot be what it did.

    A filter that leaves flat parts as they are, k of sum 1, makes of white noise of variance v one of v * sum(k^2):
    with grain = k / sqrt(sum(k^2)), its variance times the square of the grain's sum is v, alike in all directions.
    """
    strength = np.square(noise.colors).sum(axis=0)
    directions = noise.colors / np.sqrt(strength)
    sums = noise.grain.sum(axis=(1, 2))
    before = strength * np.square(sums)
    orthonormal = np.abs(directions.T @ directions - np.eye(COLORS)).max() < ACROSS
    return directions if orthonormal and sums.min() > LEAST_GAIN and before.max() < ALIKE * before.min() else None


def _flat(target: Target) -> Target:
    """The part of a target that has most without texture, at most 512 x 512, of which that counts."""
    grey = target.smooth.mean(2)
    uneven = cv2.boxFilter(np.square(grey), -1, (FLAT, FLAT)) - np.square(cv2.boxFilter(grey, -1, (FLAT, FLAT)))
    textured = uneven > np.median(uneven[target.usable])
    steady = replace(target.steady, moving=target.steady.moving | textured)
    height, width = (min(SIDE, size) for size in grey.shape)
    free = cv2.integral((~steady.moving).astype(np.uint8))
    sums = free[height:, width:] - free[:-height, width:] - free[height:, :-width] + free[:-height, :-width]
    y, x = np.unravel_index(int(sums[::GRID, ::GRID].argmax()), sums[::GRID, ::GRID].shape)  # of whole blocks
    place = np.s_[y * GRID : y * GRID + height, x * GRID : x * GRID + width]
    scene = replace(
        steady.scene,
        frames=steady.scene.frames[:, *place],
        truth=None if steady.scene.truth is None else steady.scene.truth[place],
    )
    return replace(
        target, steady=replace(steady, scene=scene, moving=steady.moving[place]), total=target.total[place],
        fixed=target.fixed[place], hot=target.hot[place], dead=target.dead[place],
        bias=target.bias if isinstance(target.bias, float) else target.bias[place],
    )  # fmt: skip


def _shift(simulated: Sequence[Target], pictures: Sequence[Floats]) -> Floats:
    """By how much the means of simulated frames differ from their pictures, at the brightnesses of these means."""
    levels, off, count = np.zeros((3, COLORS, BINS))
    for target, picture in zip(simulated, pictures, strict=True):
        mean = target.total / np.float32(target.count)
        for c, at in enumerate(np.moveaxis(bins(mean), 2, 0)):
            for sums, plane in ((levels, mean), (off, mean - picture), (count, np.ones_like(mean))):
                sums[c] += np.bincount(at[target.usable], plane[..., c][target.usable], BINS)
    return np.stack([curve(levels[c], off[c], count[c]) for c in range(COLORS)])


def _change(frame: Image, quality: int, sampling: int) -> float:
    """How much a frame changes that is coded once more, levels of 255 on average."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return float(cv2.absdiff(_coded(frame, settings), frame).mean())


def _coded(frame: Image, settings: Sequence[int]) -> Image:
    decoded = cv2.imdecode(cv2.imencode(".jpg", frame[..., ::-1], settings)[1], cv2.IMREAD_COLOR)
    assert decoded is not None  # noqa: S101 - it was coded a line above
    return decoded[..., ::-1].astype(np.uint8, copy=False)


def _simulated(
    pictures: Sequence[Floats], moving: Sequence[NDArray[np.bool_]], model: NoiseModel, quality: int
) -> list[Target]:
    """Bursts of pictures, H x W x 3 in 0..255, with noise and then JPEG."""
    noise = Measured(model)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    generator = torch.Generator().manual_seed(0)
    scenes = []
    for picture, mask in zip(pictures, moving, strict=True):
        clean = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].div(255)
        noisy = noise(clean.expand(FRAMES, -1, -1, -1), generator).mul(255).round_().clamp_(0, 255).byte()
        frames = noisy.permute(0, 2, 3, 1).numpy()
        if quality:
            frames = np.stack([_coded(frame, settings) for frame in frames])
        scenes.append(Steady(Scene("simulated", frames), np.ones(FRAMES, np.float32), mask))
    return [target for scene in scenes for target in targets_of([scene])]
