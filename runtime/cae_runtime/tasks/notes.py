"""Notes for the user on how one picture or video was cleaned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from numpy.typing import NDArray

from cae_shared.text import counted

_AT_ONCE: Final = 2**14  # pixels per search for a third value


@dataclass(frozen=True)
class Note:
    """One remark about one picture.

    Attributes:
        kind: `stretched`: its faint noise was scaled up for cleaning; `left`: unchanged, since stretching does not
            help or its faint noise cannot be measured; `two values`: it has only one or two values; `filled`: how much
            of it was filled; `mostly filled`: that was more than half; `nothing marked`: it has no hole; `developed`:
            it comes from a camera raw file; `beyond`: some values are too bright for its noise; `copied`: further
            video streams of it are not cleaned; `inks`: its CMYK colors were converted to RGB;
            `renamed`: its output keeps the ending of its name; `named`: its name says another format than its content
            has; `first`: it has several frames or pages, and one is shown.
        text: the remark, to follow the picture's name and a colon.
    """

    kind: Literal[
        "stretched",
        "left",
        "two values",
        "filled",
        "mostly filled",
        "nothing marked",
        "developed",
        "beyond",
        "copied",
        "inks",
        "renamed",
        "named",
        "first",
    ]
    text: str


DEVELOPED: Final = Note(
    "developed",
    "it was developed from the camera's raw data, with its white balance and a plain tone curve: colors and brightness "
    "differ from those of the camera's own JPEG",
)
BY_PROFILE: Final = Note("inks", "its CMYK colors were converted to sRGB by its color profile, and RGB is written")
BY_FORMULA: Final = Note(
    "inks",
    "its CMYK colors were converted to RGB by a plain formula, since it has no usable color profile: they may differ "
    "from the printed ones; RGB is written",
)
Tell = Callable[[Note], None]


def faint_noise(deviation: float | None, helped: bool) -> Note:
    """Return the note on a 16-bit picture with too faint noise.

    Args:
        deviation: the noise's, in steps of the picture; None: it cannot be measured.
        helped: whether stretching helped.
    """
    if deviation is None:
        return Note(
            "left",
            "its noise is fainter than what the model was trained for, and cannot be measured, since the picture is "
            "too small or too little of it varies: it was left as it is",
        )
    noise = f"its noise (sigma {deviation:.3g} of 65535) is fainter than what the model was trained for"
    if helped:
        return Note("stretched", f"{noise}: it was stretched, cleaned and put back")
    return Note("left", f"{noise}, and stretching does not help: it was left as it is")


def renamed(output: str) -> Note:
    """Return the note about an output that keeps its source's ending before the new one."""
    return Note("renamed", f"its output is named {output!r}, since another file would become the same output")


def first_of(number: int, parts: str) -> Note:
    """Return the note on a file of so many `frames` or `pages`, of which the first is shown."""
    return Note("first", f"it has {number} {parts}: the first is shown")


def named_otherwise(format: str, written: str) -> Note:
    """Return the note on a file whose name is that of another format than its content, and so is the output's."""
    return Note("named", f"its content is {format}, but its name says otherwise: the output is {written}")


LEFT: Final = Note("left", "its noise cannot be told from its details: it was left as it is")


def beyond_range(share: float) -> Note:
    """Return the note about a floating-point picture in which a share of the values is too bright for its noise."""
    return Note(
        "beyond",
        f"{100 * share:.3g} % of its values are thousands of times as bright as the noise elsewhere: these were left "
        "as they are",
    )


def copied_streams(number: int) -> Note:
    """Return the note on a video that has further video streams."""
    count = counted(number, "further video stream")
    return Note("copied", f"{count} copied as in the source: only the first is cleaned")


def few_values(image: NDArray[Any]) -> Note | None:
    """Return the note on a picture (H, W, C) of only one or two colors; None if it has more."""
    first = image[0, 0]
    second = None
    rows = max(1, _AT_ONCE // image.shape[1])
    for top in range(0, len(image), rows):
        others = image[top : top + rows].reshape(-1, image.shape[2])
        others = others[(others != first).any(axis=1)]
        if len(others) == 0:
            continue
        second = others[0] if second is None else second
        if (others != second).any():
            return None
    count = "one value" if second is None else "two values"
    return Note("two values", f"has only {count}: it is not a photograph, and cleaning may change its gray levels")
