"""Checks whether an MP4 or MOV yields all frames that its sample table announces, and if not, why.

An edit list may hide frames, such as those trimmed off on a phone. This is not damage if the missing frames are exactly
those outside of the edits.

Source: ISO/IEC 14496-12, ISO base media file format: `tkhd`, `mdhd`, `elst`, `stts`, `ctts`, `stsz`, `stz2`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

_ENTERED: Final = frozenset({b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl"})
_TABLES: Final = frozenset({b"mvhd", b"tkhd", b"mdhd", b"elst", b"stts", b"ctts", b"stsz", b"stz2"})
_BOXES_MAX: Final = 10_000  # in the whole file
_BYTES_MAX: Final = 2**28  # size of one table
_FRAMES_MAX: Final = 2**24  # frames whose times are checked: three days at 60 frames per second
_SLACK: Final = 2  # frames by which programs differ at the ends of an edit
_APART_MIN, _APART_SHARE = 1.0, 0.1  # seconds, and share of the duration, from which on a difference is reported
_UNKNOWN: Final = frozenset({0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF})  # durations that mean "unknown"

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Hidden:
    """Frames that a track announces but does not yield.

    Attributes:
        frames: the number of hidden frames.
        announced: the number of announced frames.
        trimmed: whether an edit list leaves them out, and no table contradicts it.
        lengths: the duration in seconds according to the table of times and to the header, if these differ much.
    """

    frames: int = 0
    announced: int = 0
    trimmed: bool = False
    lengths: tuple[float, float] | None = None


def hidden_frames(path: Path, track: int, given: int) -> Hidden:
    """Compare the number of frames that a track announces with the number that was read.

    Args:
        path: an MP4 or MOV; other files announce nothing.
        track: the track ID in `tkhd`.
        given: the number of packets of the track that were read and are to be shown.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            tables = _tables_of(file, track)
        return _compared(tables, given) if {b"mdhd", b"stts"} <= {*tables} else Hidden()
    except (
        struct.error,
        KeyError,
        IndexError,
        ValueError,
        OverflowError,
    ):  # a damaged table; FFmpeg could read the file all the same
        return Hidden()


def _tables_of(file: BinaryIO, track: int) -> dict[bytes, bytes]:
    """Return the tables of a track and `mvhd`, by name; empty if there is no such track."""
    movie: dict[bytes, bytes] = {}
    found: dict[bytes, bytes] = {}
    for name, body in _boxes(file):
        if name == b"trak":
            if _number(found) == track:
                break
            found = {}
        elif name == b"mvhd":
            movie[name] = body
        else:
            found[name] = body
    return movie | found if _number(found) == track else {}


def _number(tables: dict[bytes, bytes]) -> int:
    header = tables.get(b"tkhd", b"")
    return struct.unpack_from(">I", header, 20 if header[0] else 12)[0] if header else -1


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the tables in order; `trak` without content marks the beginning of a track."""
    position, size = 0, os.fstat(file.fileno()).st_size
    for _ in range(_BOXES_MAX):
        if position + 8 > size:
            return
        file.seek(position)
        head = file.read(16)
        length, name, begin = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, begin = int.from_bytes(head[8:16], "big"), 16
        if length < begin:
            return
        if name == b"trak":
            yield name, b""
        elif name in _TABLES and length < _BYTES_MAX:
            file.seek(position + begin)
            yield name, file.read(length - begin)
        position += begin if name in _ENTERED else length


def _compared(tables: dict[bytes, bytes], given: int) -> Hidden:
    counts, deltas = _runs(tables[b"stts"])
    units = _durations(tables[b"mdhd"], 12)
    length = int((counts * deltas).sum())
    announced = _samples(tables)
    if int(counts.sum()) > announced and length == units[1]:  # then the table of sizes is too short
        announced = int(counts.sum())
    hidden = max(0, announced - given) if announced else 0  # a fragmented file announces 0 frames
    apart = abs(length - units[1]) / max(1, units[0])
    lengths = None
    if announced and units[1] not in _UNKNOWN and apart > max(_APART_MIN, _APART_SHARE * units[1] / max(1, units[0])):
        lengths = length / max(1, units[0]), units[1] / max(1, units[0])
    trimmed = bool(hidden) and announced <= _FRAMES_MAX and _is_trimmed(tables, hidden, announced)
    return Hidden(hidden, announced, trimmed, lengths)


def _is_trimmed(tables: dict[bytes, bytes], hidden: int, announced: int) -> bool:
    """Return whether an edit list leaves out this many frames, and no table contradicts it."""
    counts, deltas = _runs(tables[b"stts"])
    units, length = _durations(tables[b"mdhd"], 12), int((counts * deltas).sum())
    if b"elst" not in tables:
        return False
    offsets = np.zeros(announced, np.int64)
    if b"ctts" in tables:
        offsets = _each(*_runs(tables[b"ctts"], signed=True), announced)
    steps = _each(counts, deltas, announced)
    longest = 2 * max(1, length // announced)
    contradicted = units[1] not in _UNKNOWN and abs(length - units[1]) > longest
    if len(offsets) < announced or len(steps) < announced or contradicted:
        return False
    outside = _outside(tables, units[0], np.cumsum(steps) - steps + offsets, longest)
    return outside > 0 and hidden <= outside + _SLACK


def _outside(tables: dict[bytes, bytes], unit: int, times: Integers, longest: int) -> int:
    """Return how many frame times are outside of all edits; 0 if the edits contradict the other tables."""
    movie_unit, track_length = _durations(tables[b"mvhd"], 12)[0], _durations(tables[b"tkhd"], 16)[1]
    edits = _edits(tables[b"elst"])
    lengths = sum(length for length, _ in edits)
    if track_length not in _UNKNOWN and abs(lengths - track_length) * unit > longest * movie_unit:
        return 0
    seen = np.zeros(len(times), np.bool_)
    for length, start in edits:
        if start < 0:  # a pause
            continue
        end = start + length * unit // max(1, movie_unit)
        if end > int(times.max()) + longest:
            return 0
        seen |= (times >= start) & (times < end)
    return int((~seen).sum())


def _durations(header: bytes, at: int) -> tuple[int, int]:
    """Return units per second and duration from a header, where they begin at `at` (8 bytes later in version 1)."""
    if header[0]:
        return struct.unpack_from(">IQ", header, at + 8)
    return struct.unpack_from(">II", header, at)


def _samples(tables: dict[bytes, bytes]) -> int:
    return int(struct.unpack_from(">I", tables.get(b"stsz") or tables[b"stz2"], 8)[0])


def _runs(table: bytes, *, signed: bool = False) -> tuple[Integers, Integers]:
    """Return the values of a table and how often each is repeated in a row."""
    count = min(struct.unpack_from(">I", table, 4)[0], (len(table) - 8) // 8)
    pairs = np.frombuffer(table, ">i4" if signed else ">u4", 2 * count, 8).astype(np.int64).reshape(-1, 2)
    return pairs[:, 0] & 0xFFFFFFFF, pairs[:, 1]


def _each(counts: Integers, values: Integers, most: int) -> Integers:
    """Expand runs to one value per frame, for at most `most` frames."""
    counts = np.minimum(counts, most)
    return np.repeat(values, np.diff(np.minimum(np.cumsum(counts), most), prepend=0))


def _edits(table: bytes) -> list[tuple[int, int]]:
    """Return for each edit its length in units of the movie, and its beginning in units of the track."""
    form = ">Qqi" if table[0] else ">Iii"
    count = min(struct.unpack_from(">I", table, 4)[0], (len(table) - 8) // struct.calcsize(form))
    return [struct.unpack_from(form, table, 8 + at * struct.calcsize(form))[:2] for at in range(count)]
