"""Estimates the JPEG quality of a camera's frames, and the noise before JPEG.

Heavy JPEG compression removes noise and texture together, so noise that is added to photographs afterwards would be
unrealistic. A frame that is compressed again at its original quality hardly changes, which reveals that quality. Then
the noise is searched for that matches the measurement after it is added to the scene and compressed at this quality.

Source: Farid, "Exposing digital forgeries from JPEG ghosts" (IEEE TIFS 2009).
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from cae_train.burst.frames import Scene
from cae_train.burst.measure import Measurement, measure, strengths
from cae_train.burst.single_pictures import CLIPPED
from cae_train.burst.static_scenes import Steady
from cae_train.burst.targets import Target, targets_of
from cae_train.degradations.jpeg import GRID, SAMPLINGS
from cae_train.degradations.measured_noise import COLORS, GRAIN, Measured, NoiseModel

QUALITIES = range(10, 96)
NEARLY_LOSSLESS = 85  # JPEG quality at and above which compression changes almost nothing
NEIGHBORS = 6  # a quality is compared with this many on each side
GHOST_RATIO = 0.5  # a quality whose change is below this share of theirs is that of an earlier compression
SCENES, FRAMES, SIDE, ROUNDS = 2, 12, 512, 4  # simulated scenes, frames of each, their largest side; corrections
FLAT_PIXELS_SHARE = 0.15  # share of the pixels, those with the least texture, on which noise is compared
TEXTURE_WINDOW = 9  # side in pixels of the windows in which texture is detected
CORRECTION = (0.5, 2.0)  # least and largest factor of one correction
STRENGTH_MOST = 2.0  # largest strength relative to the usual one

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


def quality_of(frame: Image) -> int:
    """The JPEG quality that a frame, uint8 H x W x 3, was last coded with, 10 to 95; 0 if there is no sign of JPEG."""
    frame = np.ascontiguousarray(frame[:SIDE, :SIDE])
    best = (GHOST_RATIO, 0)
    for sampling in sorted(set(SAMPLINGS)):
        change = np.array([_change(frame, quality, sampling) for quality in QUALITIES])
        for i, own in enumerate(change):
            usual = float(np.median(change[max(0, i - NEIGHBORS) : i + NEIGHBORS + 1]))
            best = min(best, (float(own) / max(usual, 1e-6), QUALITIES[i]))
    return best[1]


def noise_before(measurement: Measurement, targets: Sequence[Target], quality: int) -> NoiseModel:
    """Find the noise that becomes the measured noise after JPEG compression at `quality`.

    Two kinds are tried: noise with the measured grain and colors, and white noise that is independent in the colors,
    which JPEG then mixes. The strengths of each kind are corrected until they agree with the measurement where the
    scenes are flat. (Elsewhere, the mean of compressed frames has lost texture, and texture keeps JPEG from removing
    noise.) The kind whose grain and colors then agree best is used.
    """
    scenes = [_flat(target) for target in targets[:SCENES]]
    pictures = [scene.smooth for scene in scenes]
    moving = [scene.steady.moving for scene in scenes]
    _, _, wanted = strengths(scenes)
    found = []
    for model in _candidates(measurement):
        for _ in range(ROUNDS):
            _, _, sigma = strengths(_simulated(pictures, moving, model, quality))
            sigma = model.sigma * (wanted / np.maximum(sigma, 1e-4)).clip(*CORRECTION)
            most = STRENGTH_MOST * np.median(
                sigma, axis=1, keepdims=True
            )  # without a measurement, corrections would diverge
            model = replace(model, sigma=np.minimum(sigma, most).clip(0, 1).astype(np.float32))
        simulated = _simulated(pictures, moving, model, quality)
        whole = [replace(one, steady=replace(one.steady, moving=np.zeros_like(one.steady.moving))) for one in simulated]
        seen = measure(whole, "")
        unlike = (
            np.square(measurement.correlation - seen.correlation).sum()
            + np.square(measurement.colors - seen.colors).sum()
        )
        found.append((float(unlike), model))
    _, model = min(found, key=lambda each: each[0])
    kept = {name: getattr(measurement.model, name) for name in ("rows", "columns", "hot", "hot_values", "dead")}
    return replace(model, **kept)


def _candidates(measurement: Measurement) -> list[NoiseModel]:
    own = replace(measurement.model, rows=0.0, columns=0.0, hot=0.0, dead=0.0)
    fine = np.zeros((COLORS, GRAIN, GRAIN), np.float32)
    fine[:, GRAIN // 2, GRAIN // 2] = 1
    return [own, replace(own, grain=fine, colors=np.eye(COLORS, dtype=np.float32))]


def _flat(target: Target) -> Target:
    """The part of a target, at most 512 x 512, that has the most of its flattest pixels; only these are compared."""
    gray = target.smooth.mean(2)
    window = (TEXTURE_WINDOW, TEXTURE_WINDOW)
    uneven = cv2.boxFilter(np.square(gray), -1, window) - np.square(cv2.boxFilter(gray, -1, window))
    clipped = ((target.smooth < CLIPPED[0]) | (target.smooth > CLIPPED[1])).any(2)  # flattest, and without noise
    known = target.usable & ~clipped
    if not known.any():
        clipped, known = np.zeros_like(clipped), target.usable
    textured = uneven > np.quantile(uneven[known], FLAT_PIXELS_SHARE)
    steady = replace(target.steady, moving=target.steady.moving | textured | clipped)
    height, width = (min(SIDE, size) for size in gray.shape)
    free = cv2.integral((~steady.moving).astype(np.uint8))
    sums = free[height:, width:] - free[:-height, width:] - free[height:, :-width] + free[:-height, :-width]
    y, x = np.unravel_index(
        int(sums[::GRID, ::GRID].argmax()), sums[::GRID, ::GRID].shape
    )  # a multiple of the block size
    place = np.s_[y * GRID : y * GRID + height, x * GRID : x * GRID + width]
    scene = replace(
        steady.scene,
        frames=steady.scene.frames[:, *place],
        truth=None if steady.scene.truth is None else steady.scene.truth[place],
    )
    return replace(
        target, steady=replace(steady, scene=scene, moving=steady.moving[place]), total=target.total[place],
        fixed=target.fixed[place], hot=target.hot[place], dead=target.dead[place],
    )  # fmt: skip


def _change(frame: Image, quality: int, sampling: int) -> float:
    """The mean change of a frame when it is compressed again, in levels of 255."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return float(cv2.absdiff(_coded(frame, settings), frame).mean())


def _coded(frame: Image, settings: Sequence[int]) -> Image:
    decoded = cv2.imdecode(cv2.imencode(".jpg", frame[..., ::-1], settings)[1], cv2.IMREAD_COLOR)
    assert decoded is not None  # noqa: S101 - it was coded a line above
    return decoded[..., ::-1].astype(np.uint8, copy=False)


def _simulated(
    pictures: Sequence[Floats], moving: Sequence[NDArray[np.bool_]], model: NoiseModel, quality: int
) -> list[Target]:
    """Bursts of pictures, H x W x 3 in 0..255, after adding noise and then JPEG."""
    noise = Measured(model)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    generator = torch.Generator().manual_seed(0)
    scenes = []
    for picture, mask in zip(pictures, moving, strict=True):
        clean = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].div(255)
        noisy = noise(clean.expand(FRAMES, -1, -1, -1), generator).mul(255).round_().clamp_(0, 255).byte()
        frames = noisy.permute(0, 2, 3, 1).numpy()
        frames = np.stack([_coded(frame, settings) for frame in frames])
        scenes.append(Steady(Scene("simulated", frames), np.ones(FRAMES, np.float32), mask))
    return [target for scene in scenes for target in targets_of([scene])]
