"""The shares of a change that are kept; `--help` reads them, so this needs no NumPy."""

from __future__ import annotations

from typing import Final, NamedTuple


class Strengths(NamedTuple):
    """Shares of the change that are kept, 0..1.

    Attributes:
        brightness: of the change of the luminance.
        color: of the change of the differences between the channels and the luminance.
    """

    brightness: float
    color: float

    @property
    def differ(self) -> bool:
        """Whether brightness and color are treated apart."""
        return self.brightness != self.color


FULL: Final = Strengths(1.0, 1.0)
