"""Checks, before anything is opened, whether a video can be written as requested."""

from __future__ import annotations

from typing import Final

from cae_runtime.arguments import checked_whole
from cae_runtime.errors import UsageError
from cae_runtime.io.formats import CODECS_OF_FORMAT, CRF_MAX, PIXEL_FORMATS, VIDEO_FORMAT_OF_SUFFIX, VideoCoding
from cae_runtime.places.address import Place
from cae_shared.text import listed

INSTALL: Final = (
    "videos need an extra: pip install 'cae-toolkit[video]' (in a checkout: pip install -e '.[video]'), which adds "
    "PyAV 18 or later ({why})"
)
_PYAV: Final = 18  # the version that pyproject.toml asks for


def missing_extra() -> str:
    """Return what videos need that is not installed, with the command that installs it; empty if nothing is missing."""
    try:
        import av
    except ImportError:
        return INSTALL.format(why="PyAV is not installed")
    if int(av.__version__.split(".")[0]) < _PYAV:
        return INSTALL.format(why=f"PyAV {av.__version__} is installed")
    return ""


def check_encoding(output: Place, coding: VideoCoding) -> None:
    """Refuse an output of unknown format, and codecs and settings that it does not support.

    Raises:
        UsageError: it is one of these.
    """
    format = VIDEO_FORMAT_OF_SUFFIX.get(output.suffix.lower())
    if format is None:
        raise UsageError(
            f"output {str(output)!r}: its ending is not that of a video format: choose among "
            f"{', '.join(VIDEO_FORMAT_OF_SUFFIX)}"
        )
    codecs = CODECS_OF_FORMAT[format]
    chosen = coding.codec_in(format, deep=False)
    if chosen not in codecs:
        raise UsageError(f"codec is {chosen!r}: output {str(output)!r} is {format}, which takes {listed(codecs, 'or')}")
    if coding.crf is not None:
        crf = checked_whole("crf", coding.crf, 0, unless=f"None for {chosen}'s default")
        if crf > CRF_MAX[chosen]:
            raise UsageError(f"crf is {crf}: it must be 0..{CRF_MAX[chosen]} with {chosen}")
    if coding.pixel_format is not None and coding.pixel_format not in PIXEL_FORMATS[chosen]:
        raise UsageError(
            f"pixel format is {coding.pixel_format!r}: {chosen} takes {listed(PIXEL_FORMATS[chosen], 'or')}"
        )
