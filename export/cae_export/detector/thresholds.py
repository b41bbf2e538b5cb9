"""The thresholds of a detector: each good picture is scored with statistics that were fitted to the others.

The network itself was trained on these pictures, unless others are given: it may reproduce them better than new ones.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cae_export.detector.scores import FOLDS, Scores
from cae_export.errors import RefusedError
from cae_export.evaluation_data import FITTED_MAX, Good
from cae_runtime import ModelSpec, Session
from cae_runtime.inference.tiling import Floats, OverlapAdder, cut, origins, window
from cae_runtime.tasks.anomaly import Detector
from cae_runtime.tasks.anomaly.brightness import brightness_of
from cae_runtime.tasks.anomaly.false_alarms import LEAST_PICTURES, above, rates_of, share_interval, threshold_at
from cae_shared.text import counted
from cae_train.config import PATCH

PIXELS_OF_GOOD = 0.999  # share of the pixels of good images that stay gray in a heat map
PIXELS_IN_ALL = 2**23  # of all good images that count for that
SCORES_KEPT = 256  # of good pictures, in the file

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seen:
    """The scores of one good picture.

    Attributes:
        size: its pixels, with the black frame if it has one.
        score: its score.
        pixels: scores of some of its pixels.
        brightness: its mean value, 0..1.
    """

    size: int
    score: float
    pixels: Floats
    brightness: float


@dataclass(frozen=True)
class Thresholds:
    """The scores from which on a picture, or one of its pixels, counts as an anomaly.

    Attributes:
        picture: the score of a picture.
        pixel: the threshold for the score of a pixel.
        size: the median number of pixels of the good pictures.
        images: how many good pictures there were.
        scores: their scores, ascending, or 256 quantiles of them.
        above: how many of them score higher than `picture`.
        rates: the 95 % interval of the share of further good pictures above `picture`.
        brightness: their least and largest mean value, 0..1.
        notes: remarks for the user.
    """

    picture: float
    pixel: float
    size: int
    images: int
    scores: tuple[float, ...]
    above: int
    rates: tuple[float, float]
    brightness: tuple[float, float]
    notes: tuple[str, ...]


def find_thresholds(network: Scores, session: Session, good: Good, false_alarms: float) -> Thresholds:
    """Find the thresholds of a detector.

    Args:
        network: the detector, fitted to `good`.
        session: of its file, which scores the pictures that it was not fitted to; the thresholds in its metadata do not
            matter.
        good: good pictures.
        false_alarms: the share of new good pictures that may score higher.

    Raises:
        RefusedError: all pictures are of one color, or they are too few for this share.
    """
    count = len(good.others) + (0 if good.enough else min(FITTED_MAX, len(good.fitted)))
    spec = session.spec
    with Detector(session) as detector:
        found = [seen(as_read(image), spec, *_scored(detector, image), count) for image in good.others]
    if not good.enough:
        others = _by_the_others(network, good, spec.overlap)
        found += (seen(as_read(image), spec, score, heat, count) for image, score, heat in others)
    return thresholds_of(found, false_alarms, [good.note] if good.note else [])


def thresholds_of(found: list[Seen], false_alarms: float, notes: list[str] | None = None) -> Thresholds:
    """Find thresholds from the scores of good pictures.

    Raises:
        RefusedError: all pictures are of one color, or they are too few for this share.
    """
    count, notes = len(found), notes or []
    if count < LEAST_PICTURES:
        raise RefusedError(
            f"refused: {counted(count, 'good picture')} are too few to say how much good pictures differ: "
            f"{LEAST_PICTURES} or more are needed"
        )
    low, high = rates_of(count)
    if not low <= false_alarms <= high:
        raise RefusedError(
            f"refused: a share of {false_alarms:g} false alarms cannot be set: {count} good pictures allow "
            f"{low:.2g} to {high:g}; more of them allow less"
        )
    scores = sorted(one.score for one in found)
    kept = tuple(scores if count <= SCORES_KEPT else np.quantile(scores, np.linspace(0, 1, SCORES_KEPT)).tolist())
    picture = threshold_at(false_alarms, kept, count)
    pixel = float(np.quantile(np.concatenate([one.pixels for one in found]), PIXELS_OF_GOOD))
    if not (scores[-1] > 0 and pixel > 0):
        raise RefusedError("refused: all good pictures are of one color: there is no threshold")
    _log.debug("scores of good pictures: %.4g to %.4g", scores[0], scores[-1])
    if count * false_alarms < 1:
        notes = [
            *notes,
            f"a rate of {false_alarms:g} is less than one of the {count} good pictures: the threshold continues the "
            "tail of their scores, and only more of them can confirm it",
        ]
    exceeding = above(picture, kept, count)
    size = int(np.median([one.size for one in found]))
    brightness = [one.brightness for one in found]
    return Thresholds(
        picture, pixel, size, count, kept, exceeding, share_interval(exceeding, count),
        (min(brightness), max(brightness)), tuple(notes),
    )  # fmt: skip


def seen(image: NDArray[Any], spec: ModelSpec, score: float, heat: Floats, count: int) -> Seen:
    """Return a sample of a good picture's heat map, in equal steps, as large as that of each of `count` pictures.

    Args:
        image: as the runtime's decoder gives it.
        spec: of the model.
        score: of the picture.
        heat: of its pixels, (H, W).
        count: how many pictures there are.
    """
    some = heat.ravel()[:: -(-heat.size * count // PIXELS_IN_ALL)].copy()
    return Seen(spec.pixels(*image.shape[:2]), score, some, brightness_of(image, spec))


def _by_the_others(network: Scores, good: Good, overlap: int) -> Iterator[tuple[NDArray[np.uint8], float, Floats]]:
    """Score the pictures that a detector was fitted to, each by the fit without its part."""
    fits = [network.without(part) for part in range(FOLDS)]
    chosen = np.linspace(0, len(good.fitted) - 1, min(FITTED_MAX, len(good.fitted))).round().astype(int)
    for number in chosen.tolist():
        image = good.fitted[number]
        yield image, *scored_by(fits[number % FOLDS], image, overlap)


def _scored(detector: Detector, image: NDArray[np.uint8]) -> tuple[float, Floats]:
    found = detector(as_read(image))
    return found.score, found.heat


def scored_by(network: Scores, image: NDArray[np.uint8], overlap: int) -> tuple[float, Floats]:
    """The score and the heat map of an image, uint8 H x W x C, as `Detector` finds them with the network's file."""
    height, width = image.shape[:2]
    missing = [(0, max(0, PATCH - height)), (0, max(0, PATCH - width)), (0, 0)]
    planes = np.pad(image, missing, "reflect").transpose(2, 0, 1)
    ys, xs = (origins(size, PATCH, overlap) for size in planes.shape[1:])
    weights_y, weights_x = (window(starts, PATCH, overlap) for starts in (ys, xs))
    heat = np.zeros(planes.shape[1:], np.float32)
    score = 0.0
    for y, weights in zip(ys, weights_y, strict=True):
        row = cut(planes, np.array([y]), xs, PATCH)[0]
        with torch.inference_mode():
            found = network(torch.from_numpy(row.astype(np.float32) / 255)).numpy()
        score = max(score, float(found.mean(axis=(1, 2, 3), dtype=np.float64).max()))
        strip = OverlapAdder(1, 1, PATCH, xs)
        strip.put(found[None], weights_x, 0)
        heat[y : y + PATCH] += strip.sum(np.zeros(1, np.intp), weights[None])[0]
    return score, heat[:height, :width]


def as_read(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H x W x C, RGB or gray, as the runtime's decoder gives it: BGR, or H x W."""
    return np.ascontiguousarray(image[..., ::-1]) if image.shape[2] == 3 else image[..., 0]
