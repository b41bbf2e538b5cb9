"""The threshold of a call, and what is said of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import UsageError
from cae_runtime.inference.model_spec import ModelSpec
from cae_runtime.inference.session import Session
from cae_runtime.io.arrays import colors_of
from cae_runtime.tasks.anomaly.false_alarms import above, measured_share, share_interval, threshold_of

_OTHER_SIZE: Final = 1.25  # factor by which the size may differ from that of the threshold's pictures without a note
_DARK: Final = 2**12  # values of 16-bit pictures that use a sixteenth of their range
_DIGITS: Final = 12


@dataclass(frozen=True)
class Limit:
    """A threshold of a model.

    Attributes:
        threshold: a picture with a higher score is an anomaly.
        wanted: the share of good pictures that it was set for; None if it was given itself.
        spec: the model's metadata.
    """

    threshold: float
    wanted: float | None
    spec: ModelSpec

    @property
    def described(self) -> str:
        """What is known of it, for the user."""
        images, scores = self.spec.threshold_images or 0, self.spec.good_scores
        origin = "as given" if self.wanted is None else f"set for {self.wanted:.1%} of false alarms"
        if scores is None:
            return f"{origin} on {images} good pictures"
        return f"{origin}: {measured_share(self.threshold, scores, images)}"

    def document(self) -> dict[str, Any]:
        """What `--json` says of it."""
        images, scores = self.spec.threshold_images or 0, self.spec.good_scores
        found: dict[str, Any] = {
            "threshold": self.threshold, "false_alarms": self.wanted, "threshold_images": images, "measured": None,
        }  # fmt: skip
        if scores is not None:
            count = above(self.threshold, scores, images)
            found["measured"] = {
                "above": count, "images": images, "share": count / images,
                "interval_95": list(share_interval(count, images)),
            }  # fmt: skip
        return found


def chosen_limit(spec: ModelSpec, false_alarms: float | None, threshold: float | None) -> Limit:
    """Return the threshold for a wanted share of false alarms, the given one, or the model's own.

    Raises:
        UsageError: both are given, the threshold is not above 0, or the model cannot set one for this share.
    """
    if false_alarms is not None and threshold is not None:
        raise UsageError(f"false_alarms is {false_alarms:g}: it sets a threshold, and {threshold:g} is given")
    if threshold is not None:
        if not (threshold > 0 and math.isfinite(threshold)):
            raise UsageError(f"threshold is {threshold:g}: it must be above 0")
        return Limit(threshold, None, spec)
    if false_alarms is not None:
        return Limit(threshold_of(spec, false_alarms), false_alarms, spec)
    return Limit(spec.threshold or 0.0, spec.false_alarms, spec)


def identity_of_model(session: Session, region: NDArray[np.bool_] | None) -> str:
    """Return the name of a model's file, and digits that differ between models and regions."""
    digest = hashlib.sha256()
    try:
        digest.update(session.path.read_bytes())
    except OSError:  # a model that was opened from bytes
        digest.update(repr(session.spec).encode())
    if region is not None:
        digest.update(repr(region.shape).encode() + region.tobytes())
    return f"{session.path.name} {digest.hexdigest()[:_DIGITS]}"


class SizeNotes:
    """Counts pictures that differ from those of the training in ways that change their scores."""

    def __init__(self, spec: ModelSpec) -> None:
        self._size = spec.threshold_size or 1
        self._others = self._dark = 0

    def add(self, pixels: NDArray[Any]) -> None:
        """Count a picture."""
        times = math.prod(pixels.shape[:2]) / self._size
        self._others += not 1 / _OTHER_SIZE <= times <= _OTHER_SIZE
        self._dark += pixels.dtype == np.uint16 and int(colors_of(pixels).max(initial=0)) < _DARK

    def lines(self) -> Iterator[str]:
        """Yield a sentence for each kind that there is."""
        if self._others:
            yield (
                f"{self._others} images are over 20% smaller or 25% larger than the {self._size} pixels that the "
                "threshold was found on: the larger a picture, the higher its worst patch"
            )
        if self._dark:
            yield (
                f"{self._dark} images of 16 bits use less than a sixteenth of their range, as 12-bit cameras give "
                "them: to the model they are almost black. Scale them as those that it was trained on"
            )
