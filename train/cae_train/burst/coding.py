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

from cae_train.burst.frames import Scene
from cae_train.burst.measure import Measurement, measure
from cae_train.burst.steady import Steady
from cae_train.burst.targets import Target, targets_of
from cae_train.jpeg import SAMPLINGS
from cae_train.measured import COLORS, GRAIN, Measured, NoiseModel

QUALITIES = range(10, 96)
HEAVY = 85  # quality from which on JPEG leaves nearly all as it is
NEAR, GHOST = 6, 0.5  # qualities on either side; the change beside theirs that shows a quality
FRAMES, SIDE, ROUNDS = 12, 512, 4  # simulated frames, their largest side, and how often their noise is corrected
STEP, MOST = (0.5, 2.0), 2.0  # of one correction, at most; strength beside the usual one

Image = NDArray[np.uint8]


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


def noise_before(measurement: Measurement, target: Target, quality: int) -> NoiseModel:
    """The noise that a camera codes at `quality`: what comes out of it is like what was measured.

    White noise, independent in the colours, and noise of the grain that was measured are tried; of both the strengths
    are corrected until they agree, and the one is taken whose grain and colours then agree better.
    """
    height, width = (min(SIDE, size) for size in target.usable.shape)
    picture = target.smooth[:height, :width]
    fine = np.zeros((COLORS, GRAIN, GRAIN), np.float32)
    fine[:, GRAIN // 2, GRAIN // 2] = 1
    own = replace(measurement.model, rows=0.0, columns=0.0, hot=0.0, dead=0.0)
    found = []
    for model in (replace(own, grain=fine, colors=np.eye(COLORS, dtype=np.float32)), own):
        for _ in range(ROUNDS):
            seen = measure([_simulated(picture, model, quality)], "")
            wanted = measurement.model.sigma / np.maximum(seen.model.sigma, 1e-4)
            sigma = model.sigma * wanted.clip(*STEP)
            most = MOST * np.median(sigma, axis=1, keepdims=True)  # where nothing was seen, corrections run away
            model = replace(model, sigma=np.minimum(sigma, most).clip(0, 1))
        found.append((_unlike(measurement, measure([_simulated(picture, model, quality)], "")), model))
    _, model = min(found, key=lambda pair: pair[0])
    kept = {name: getattr(measurement.model, name) for name in ("rows", "columns", "hot", "dead")}
    return replace(model, **kept)


def _change(frame: Image, quality: int, sampling: int) -> float:
    """How much a frame changes that is coded once more, levels of 255 on average."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return float(cv2.absdiff(_coded(frame, settings), frame).mean())


def _coded(frame: Image, settings: Sequence[int]) -> Image:
    decoded = cv2.imdecode(cv2.imencode(".jpg", frame[..., ::-1], settings)[1], cv2.IMREAD_COLOR)
    assert decoded is not None  # noqa: S101 - it was coded a line above
    return decoded[..., ::-1].astype(np.uint8, copy=False)


def _simulated(picture: NDArray[np.float32], model: NoiseModel, quality: int) -> Target:
    """A burst of a picture, H x W x 3 in 0..255, with noise and then JPEG."""
    clean = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].div(255).expand(FRAMES, -1, -1, -1)
    noisy = Measured(model)(clean, torch.Generator().manual_seed(0)).mul(255).round_().clamp_(0, 255)
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    frames = np.stack([_coded(frame, settings) for frame in noisy.byte().permute(0, 2, 3, 1).numpy()])
    still = np.zeros(picture.shape[:2], np.bool_)
    (target,) = targets_of([Steady(Scene("simulated", frames), np.ones(FRAMES, np.float32), still)])
    return target


def _unlike(one: Measurement, other: Measurement) -> float:
    """How different grain and colours of two measurements are."""
    return float(np.square(one.correlation - other.correlation).sum() + np.square(one.colors - other.colors).sum())
