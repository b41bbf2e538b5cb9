"""Checks that the compressed data of a JPEG is complete.

OpenCV's decoder silently fills missing data with gray. But if the end marker is missing, the decoder waits for more
data and returns no picture. So a file of one scan is decoded without its end marker, followed by exactly as many bytes
as the decoder reads ahead. A complete file is decoded as usual, at no cost; a file that lacks more than the last one or
two blocks of 8x8 pixels is not. A file of several scans needs its end marker. It is decoded twice, once with other
bytes after each scan: these bytes change pixels only if data is missing.
"""

from __future__ import annotations

import re
from typing import Final

from cae_runtime.errors import ImageError
from cae_runtime.io.headers.jpeg import JpegHeader, Scan

_RESTART: Final = re.compile(rb"\xff([\xd0-\xd7])")
_READ_AHEAD: Final = b"\xff\x00" * 8  # 64 bits: how far the decoder reads ahead
_OTHER: Final = bytes(range(1, 128)) * 4
_END: Final = b"\xff\xd9"
_COEFFICIENTS: Final = 64


def has_one_scan(header: JpegHeader) -> bool:
    """Return whether `without_end` can check the file; otherwise `with_other_ends` does."""
    return len(header.scans) == 1 and not header.arithmetic


def without_end(data: bytes, header: JpegHeader) -> bytes:
    """Return the file changed so that it is decoded only if nothing is missing; its pixels stay the same."""
    return data[: _end_of_data(data, header.scans[-1])] + _READ_AHEAD


def with_other_ends(data: bytes, header: JpegHeader) -> bytes:
    """Return the file changed so that its pixels stay the same only if nothing is missing."""
    parts, position = [], 0
    for scan in header.scans:
        end = _end_of_data(data, scan)
        parts += [data[position:end], _OTHER]
        position = scan.end
    return b"".join([*parts, data[position:], _END])


def check(data: bytes, header: JpegHeader) -> None:
    """Refuse a JPEG that lacks scans, or parts of a scan between restart markers.

    Raises:
        ImageError: something is missing.
    """
    known = {component: [header.progressive] * _COEFFICIENTS for component in header.sampling}  # True: bits are missing
    if not header.progressive:
        known = {component: [True] for component in header.sampling}
    for scan in header.scans:
        for component in scan.components:
            if component not in known:
                raise ImageError("is damaged: a scan codes a color component that is not there")
            if header.progressive and not scan.first <= scan.last < _COEFFICIENTS:
                raise ImageError("is damaged: a scan codes coefficients that are not there")
            for at in range(scan.first, scan.last + 1) if header.progressive else (0,):
                known[component][at] = scan.low_bit > 0
        _check_restarts(data, header, scan)
    if any(map(any, known.values())):
        raise ImageError("is truncated: some of the scans of the JPEG are missing")


def _check_restarts(data: bytes, header: JpegHeader, scan: Scan) -> None:
    numbers = [found[1][0] & 7 for found in _RESTART.finditer(data, scan.start, scan.end)]
    expected = (_units(header, scan) - 1) // scan.restart_interval if scan.restart_interval else 0
    at_end = len(numbers) == expected + 1 and scan.restart_interval  # some cameras write one more after the last part
    if (len(numbers) != expected and not at_end) or numbers != [at % 8 for at in range(len(numbers))]:
        raise ImageError("is damaged: parts of the JPEG between its restart markers are missing")


def _units(header: JpegHeader, scan: Scan) -> int:
    """Return how many coded units (MCUs) a scan has: blocks for one component, interleaved groups for several."""
    wide, high = (max(factors[axis] for factors in header.sampling.values()) for axis in (0, 1))
    across, down = 1, 1
    if len(scan.components) == 1:
        across, down = header.sampling[scan.components[0]]
    return -(-header.width * across // (8 * wide)) * -(-header.height * down // (8 * high))


def _end_of_data(data: bytes, scan: Scan) -> int:
    """Return where the data of a scan ends, not counting a restart marker after it."""
    end = scan.end
    return end - 2 if _RESTART.match(data, end - 2, end) and scan.restart_interval else end
