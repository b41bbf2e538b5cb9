"""The thresholds of a detector, found on good pictures that its network was not trained on."""

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cae_export.errors import RefusedError
from cae_export.evaluation_data import Good
from cae_runtime import Session
from cae_runtime.tasks.anomaly import Detector

PIXELS_OF_GOOD = 0.999  # share of the pixels of good images that stay gray in a heat map
PIXELS_IN_ALL = 2**23  # of all held-out images that count for that

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thresholds:
    """From which score on a picture, and a pixel of it, counts as unlike good ones.

    Attributes:
        picture: the score of a picture.
        pixel: the threshold for the score of a pixel.
        size: the median number of pixels of the good pictures.
        images: how many good pictures there were.
        above: how many of them score higher than `picture`.
        rates: between which the share of further good pictures above `picture` lies, nine times in ten.
        notes: remarks for the user.
    """

    picture: float
    pixel: float
    size: int
    images: int
    above: int
    rates: tuple[float, float]
    notes: tuple[str, ...]


def find_thresholds(session: Session, good: Good, false_alarms: float) -> Thresholds:
    """Find the thresholds with the runtime itself.

    Args:
        session: of the detector's file; the thresholds in its metadata do not matter.
        good: good pictures that it was not trained on.
        false_alarms: share of them that may score higher.

    Raises:
        RefusedError: all pictures are of one color.
    """
    detector = Detector(session)
    scores, pixels = [], []
    for image in good.others:
        found = detector(as_read(image))
        scores.append(found.score)
        flat = found.heat.ravel()
        pixels.append(flat[:: -(-flat.size * len(good.others) // PIXELS_IN_ALL)])
    picture = float(np.quantile(scores, 1 - false_alarms, method="higher"))
    pixel = float(np.quantile(np.concatenate(pixels), PIXELS_OF_GOOD))
    if not (picture > 0 and pixel > 0):
        raise RefusedError("refused: all good pictures are of one color: there is no threshold")
    _log.debug("scores of good pictures: %.4g to %.4g", min(scores), max(scores))
    notes = [good.note] if good.note else []
    if len(scores) * false_alarms < 1:
        notes.append(
            f"{len(scores)} good pictures are too few for a rate of {false_alarms:g}: the threshold is their largest "
            "score; name more of them as data"
        )
    size = int(np.median([math.prod(image.shape[:2]) for image in good.others]))
    above = sum(score > picture for score in scores)
    rates = rates_beyond(len(scores), above)
    return Thresholds(picture, pixel, size, len(scores), above, rates, tuple(notes))


def rates_beyond(count: int, above: int) -> tuple[float, float]:
    """90 % interval of the probability that a new value exceeds the threshold, given that `above` of `count` did.

    The share is distributed as Beta(above + 1, count - above); these are where it has 5 % and 95 % below it. Source:
    distribution-free tolerance limits, Wilks (1941).
    """

    def below(rate: float) -> float:  # that the share is less: at least above + 1 of `count` drawn exceed
        few = sum(math.comb(count, i) * rate**i * (1 - rate) ** (count - i) for i in range(above + 1))
        return 1 - few

    bounds = []
    for wanted in (0.05, 0.95):
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if below(middle) < wanted else (low, middle)
        bounds.append(low)
    return bounds[0], bounds[1]


def as_read(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H x W x C, RGB or gray, as the runtime's decoder gives it: BGR, or H x W."""
    return np.ascontiguousarray(image[..., ::-1]) if image.shape[2] == 3 else image[..., 0]
