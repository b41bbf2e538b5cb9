"""The threshold of a call, and the messages about it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import UsageError
from cae_runtime.inference.model_spec import ModelSpec
from cae_runtime.inference.session import Session
from cae_runtime.io.arrays import colors_of
from cae_runtime.tasks.anomaly.brightness import brightness_of, is_too_bright, is_too_dark
from cae_runtime.tasks.anomaly.false_alarms import above, measured_share, share_interval, threshold_of
from cae_shared.text import counted, listed

_OTHER_SIZE: Final = 1.25  # factor by which the size may differ from that of the threshold's pictures without a note
_DARK: Final = 2**12  # values of 16-bit pictures that use a sixteenth of their range
_DIGITS: Final = 12
_NAMED: Final = 3  # how many pictures a note names
_Kind = Literal["size", "12 bits", "darker", "brighter"]
_KINDS: Final[tuple[_Kind, ...]] = get_args(_Kind)


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
        """Describe where the threshold comes from, for the user."""
        images, scores = self.spec.threshold_images or 0, self.spec.good_scores
        origin = "as given" if self.wanted is None else f"set for {self.wanted:.1%} of false alarms"
        if scores is None:
            return f"{origin} on {counted(images, 'good picture')}"
        return f"{origin}: {measured_share(self.threshold, scores, images)}"

    def document(self) -> dict[str, Any]:
        """Return the entry of the `--json` report."""
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


@dataclass(frozen=True)
class Looks:
    """What differs between a picture and those of the training, in ways that change its score.

    Attributes:
        other_size: it is much smaller or larger.
        of_12_bits: of 16 bits it uses less than a sixteenth of the range.
        darker: its brightness, if it is darker than all good pictures; otherwise None.
        brighter: likewise.
    """

    other_size: bool
    of_12_bits: bool = False
    darker: float | None = None
    brighter: float | None = None


def looks_of(pixels: NDArray[Any], spec: ModelSpec) -> Looks:
    """Compare a picture with those that a model's threshold was found on."""
    times = spec.pixels(*pixels.shape[:2]) / (spec.threshold_size or 1)
    other = not 1 / _OTHER_SIZE <= times <= _OTHER_SIZE
    brightness = brightness_of(pixels, spec)
    usual = usual_brightness(spec)
    darker = usual is None or is_too_dark(brightness, usual)
    if darker and pixels.dtype == np.uint16 and int(colors_of(pixels).max(initial=0)) < _DARK:
        return Looks(other, of_12_bits=True)
    if usual is not None and darker:
        return Looks(other, darker=brightness)
    if usual is not None and is_too_bright(brightness, usual):
        return Looks(other, brighter=brightness)
    return Looks(other)


def usual_brightness(spec: ModelSpec) -> tuple[float, float] | None:
    """Return the lowest and highest brightness of the good pictures; None where it is not known."""
    return None if spec.good_brightness is None else (spec.good_brightness[0], spec.good_brightness[1])


class PictureNotes:
    """Collects pictures that differ from those of the training in ways that change their scores."""

    def __init__(self, spec: ModelSpec) -> None:
        self._size, self._usual = spec.threshold_size or 1, usual_brightness(spec)
        self._found: dict[_Kind, list[tuple[str, float]]] = {kind: [] for kind in _KINDS}

    def add(self, looks: Looks, source: str) -> None:
        """Add a picture."""
        for kind, value in _differences(looks):
            self._found[kind].append((source, value))

    def lines(self) -> Iterator[str]:
        """Yield a sentence for each kind of difference that was found, with the names of some of the pictures."""
        for kind, found in self._found.items():
            if found:
                names = [repr(source) for source, _ in found[:_NAMED]]
                names += [f"{len(found) - _NAMED} more"] if len(found) > _NAMED else []
                subject = f"{counted(len(found), 'image')} ({listed(names, 'and')})"
                yield self._text(kind, subject, [value for _, value in found])

    def of_picture(self, looks: Looks) -> str:
        """Return the sentences about one picture; empty if it does not differ."""
        return "; ".join(self._text(kind, "it", [value]) for kind, value in _differences(looks))

    def _text(self, kind: _Kind, subject: str, values: Sequence[float]) -> str:
        one = len(values) == 1
        subject += " is" if one else " are"
        if kind == "size":
            return (
                f"{subject} over 20% smaller or 25% larger than the {self._size} pixels that the threshold was found "
                "on: the larger a picture, the higher its worst patch"
            )
        if kind == "12 bits":
            return (
                f"{subject} almost black to the model: {'it uses' if one else 'they use'} less than a sixteenth of the "
                "16-bit range, as pictures of 12-bit cameras do. Scale such pictures like those of the training"
            )
        return (
            f"{subject} {kind} than all good pictures that the threshold was found on: on average {_range(values)} of "
            f"white, and those {_range(self._usual or ())}. Different light alone can turn a picture into an anomaly"
        )


def _differences(looks: Looks) -> Iterator[tuple[_Kind, float]]:
    """Yield the kinds of difference of a picture, each with its brightness where that is the difference."""
    if looks.other_size:
        yield "size", 0.0
    if looks.of_12_bits:
        yield "12 bits", 0.0
    if looks.darker is not None:
        yield "darker", looks.darker
    if looks.brighter is not None:
        yield "brighter", looks.brighter


def _range(values: Sequence[float]) -> str:
    low, high = (f"{value:.1%}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
