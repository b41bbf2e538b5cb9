"""Walks through the parts of an ONNX file (onnx.proto3, a protobuf) without onnx or onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

FIELDS_MAX: Final = 2**17  # of a file; those of cae-export have about a thousand, and this takes half a second
# The messages that lead to tensors: their fields, by number, and what those are.
_PARTS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}


class TooManyPartsError(ValueError):
    """A file has more parts than are looked through."""


def walked(data: memoryview) -> Iterator[tuple[str, int, Any]]:
    """Yield for each field of an ONNX file the kind of its message, its number and value; 0 and None end a message."""
    waiting, left = [("model", data)], FIELDS_MAX
    while waiting:
        kind, part = waiting.pop()
        for number, value in _fields(part):
            left -= 1
            if left < 0:
                raise TooManyPartsError(f"it has more than {FIELDS_MAX} parts")
            if kind != "tensor" and number in _PARTS[kind] and isinstance(value, memoryview):
                waiting.append((_PARTS[kind][number], value))
            else:
                yield kind, number, value
        yield kind, 0, None


def _fields(part: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a protobuf message: an integer, or bytes."""
    at = 0
    while at < len(part):
        key, at = _varint(part, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(part, at)
            yield key >> 3, value
            continue
        if wire == 2:
            size, at = _varint(part, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field has the unknown wire type {wire}")
        if size > len(part) - at:
            raise ValueError("a field is cut off")
        yield key >> 3, part[at : at + size]
        at += size


def _varint(part: memoryview, at: int) -> tuple[int, int]:
    """Read an integer of up to 10 bytes; return it, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = part[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("an integer has more than 10 bytes")
