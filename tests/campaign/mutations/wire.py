"""Messages of protobuf as lists of fields, without knowing what the fields mean."""

from __future__ import annotations

from collections.abc import Sequence

Field = tuple[int, int, int | bytes]  # number, wire type, value


def fields_of(data: bytes) -> list[Field] | None:
    """Return the fields of a message; None if the bytes are none."""
    fields: list[Field] = []
    at = 0
    try:
        while at < len(data):
            key, at = _varint(data, at)
            wire = key & 7
            if wire == 0:
                value, at = _varint(data, at)
                fields.append((key >> 3, wire, value))
                continue
            size = {1: 8, 5: 4}.get(wire, 0)
            if wire == 2:
                size, at = _varint(data, at)
            if wire not in (1, 2, 5) or at + size > len(data) or not key >> 3:
                return None
            fields.append((key >> 3, wire, data[at : at + size]))
            at += size
    except IndexError:
        return None
    return fields


def message_of(fields: Sequence[Field]) -> bytes:
    """Return the bytes of a message."""
    made = bytearray()
    for field, wire, value in fields:
        made += _packed(field << 3 | wire)
        if isinstance(value, int):
            made += _packed(value)
        else:
            made += (_packed(len(value)) if wire == 2 else b"") + value
    return bytes(made)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            break
    return value, at


def _packed(value: int) -> bytes:
    value %= 2**64
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])
