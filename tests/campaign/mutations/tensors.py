"""Files of tensors (`model.pt`) with code in them, with sizes that lie, and with other archives inside."""

from __future__ import annotations

import functools
import io
import os
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from tests.campaign.mutations.generic import Rng, blind, number, surely

from cae_train.checkpoint import MAX_BYTES

Entries = list[tuple[str, bytes]]
_BOMBS: Final = 1 / 9  # share of the files whose parts are changed
_BLOCK: Final = 2**20  # bytes of zeros that are packed at once
_UNPACKED: Final = (2**26, MAX_BYTES - 2**26, MAX_BYTES + _BLOCK, 2**31)  # sizes below and above the readers' limit


def tensor_file_changed(data: bytes, rng: Rng, mark: str) -> bytes:
    """Return a `model.pt` that was changed, and whose parts are not what they were.

    Args:
        data: a whole file.
        rng: decides everything.
        mark: path of a file that appears if code in the file runs.
    """
    return surely(lambda: _once(data, rng, mark), data)


def _once(data: bytes, rng: Rng, mark: str) -> bytes:
    """Return a file that was changed, or the same if the change made no difference."""
    kind = rng.random()
    if kind < 0.15:
        return blind(data, rng)
    if kind < 0.3:
        return _with_code(data, rng, mark)
    if kind < 0.55:
        return _with_other_content(data, rng)
    try:
        entries = _entries(data)
    except (zipfile.BadZipFile, OSError, zlib.error):
        return blind(data, rng)
    if rng.random() < _BOMBS:
        return _bomb(entries, rng)
    changed = _MOVES[int(rng.integers(len(_MOVES)))](entries, rng)
    return data if changed == entries else _archive(changed, rng)


def _entries(data: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def _archive(entries: Entries, rng: Rng) -> bytes:
    file = io.BytesIO()
    coding = zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name
        with zipfile.ZipFile(file, "w", coding) as archive:
            for name, content in entries:
                archive.writestr(name, content)
    made = file.getvalue()
    if rng.random() < 0.2:  # a size in the central directory lies
        at = made.rfind(b"PK\x01\x02")
        field = int(rng.choice([16, 20, 24, 28, 42]))
        made = made[: at + field] + struct.pack("<I", number(rng, 4)) + made[at + field + 4 :]
    return made


class _Runs:
    """An object whose pickle runs code when it is read."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self._call, self._arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call, self._arguments


def _with_code(data: bytes, rng: Rng, mark: str) -> bytes:
    command = f"touch {mark}"
    runs = [
        _Runs(os.system, command), _Runs(eval, f"open({mark!r}, 'w')"), _Runs(exec, f"open({mark!r}, 'w')"),
        _Runs(open, mark, "w"), _Runs(torch.load, mark), _Runs(os.mkdir, mark), _Runs(__import__, "this"),
        _Runs(torch.hub.load, "x/y", "z"), _Runs(getattr, "x", "__class__"), _Runs(np.save, mark, np.zeros(1)),
    ]  # fmt: skip
    run = runs[int(rng.integers(len(runs)))]
    kind = int(rng.integers(4))
    if kind == 0:
        return pickle.dumps(run)
    content: Any = run
    if kind == 1:
        content = torch.load(io.BytesIO(data), weights_only=True)
        content[["config", "state", "extra", "format"][int(rng.integers(4))]] = run
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=kind != 3)
    return file.getvalue()


def _with_other_content(data: bytes, rng: Rng) -> bytes:
    content = torch.load(io.BytesIO(data), weights_only=True)
    values: tuple[Any, ...] = (
        None, -1, 2**70, 10**9, float("nan"), "", "x" * 10_000, "\x1b[2J", [], {}, {"width": 10**9},
        {"a": {"b": {}}}, True,
        b"\0" * 100, torch.zeros(3), torch.full((2, 2), float("nan")), torch.zeros(1).expand(10**9), {1: 2},
        torch.eye(3).to_sparse(), torch.zeros((0, 2**40)),
        torch.zeros(4, dtype=torch.complex64), torch.zeros(3, dtype=torch.bool), "skip", 2, 10**18, "vgg16", "vae",
    )  # fmt: skip
    value = values[int(rng.integers(len(values)))]
    place = content
    for _ in range(4):
        keys = [*place]
        if not keys:
            return data
        key = keys[int(rng.integers(len(keys)))]
        if isinstance(place[key], dict) and rng.random() < 0.8:
            place = place[key]
            continue
        if rng.random() < 0.2:
            del place[key]
        elif repr(place[key]) == repr(value):
            return data
        else:
            place[key] = value
        break
    else:
        return data
    file = io.BytesIO()
    try:
        torch.save(content, file)
    except Exception:  # not everything can be stored
        return blind(data, rng)
    return file.getvalue()


def _renamed(entries: Entries, rng: Rng) -> Entries:
    at = int(rng.integers(len(entries)))
    names = ("../../x", "/etc/passwd", "archive/data.pkl", "archive/../data.pkl", " ", "a" * 60_000,
    "archive/data/0", "x\0", "data.pkl",
             "archive/constants.pkl", "archive/code/__torch__.py", "archive/version", "archive/byteorder")  # fmt: skip
    return [*entries[:at], (names[int(rng.integers(len(names)))], entries[at][1]), *entries[at + 1 :]]


def _changed(entries: Entries, rng: Rng) -> Entries:
    at = int(rng.integers(len(entries)))
    return [*entries[:at], (entries[at][0], blind(entries[at][1], rng)), *entries[at + 1 :]]


def _opcodes(entries: Entries, rng: Rng) -> Entries:
    """Change, repeat or drop an operation of the pickle."""
    at = next((at for at, (name, _) in enumerate(entries) if name.endswith("data.pkl")), 0)
    name, program = entries[at]
    try:
        starts = [place for _, _, place in pickletools.genops(program)]
    except Exception:  # damaged before: pickletools raises anything
        return _changed(entries, rng)
    index = int(rng.integers(len(starts)))
    start, end = starts[index], [*starts, len(program)][index + 1]
    kind = int(rng.integers(4))
    if kind == 0:
        program = program[:start] + program[end:]
    elif kind == 1:
        program = program[:end] + program[start:end] * int(rng.choice([1, 50, 100_000])) + program[end:]
    elif kind == 2:
        program = program[:start] + bytes([int(rng.integers(256))]) + program[start + 1 :]
    else:
        deep = int(rng.choice([100, 100_000]))
        program = b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b"."
    return [*entries[:at], (name, program), *entries[at + 1 :]]


def _missing(entries: Entries, rng: Rng) -> Entries:
    at = int(rng.integers(len(entries)))
    return entries[:at] + entries[at + 1 :]


def _bomb(entries: Entries, rng: Rng) -> bytes:
    """Return an archive with a part of zeros that unpacks to much more than the file has, and may say that it does not.

    The parts are stored, and then the headers of one say that it is packed.
    """
    at, size = int(rng.integers(len(entries))), int(rng.choice(_UNPACKED))
    packed, check = _zeros(size)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in [*entries[:at], (entries[at][0], packed), *entries[at + 1 :]]:
            archive.writestr(name, content)
        bomb = archive.infolist()[at]
        bomb.compress_type, bomb.CRC, bomb.file_size = zipfile.ZIP_DEFLATED, check, size
        if rng.random() < 0.3:  # the list of parts lies
            bomb.file_size = int(rng.choice([0, 100, 2**20]))
    made = bytearray(file.getvalue())
    struct.pack_into("<H", made, bomb.header_offset + 8, zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", made, bomb.header_offset + 14, check)
    struct.pack_into("<I", made, bomb.header_offset + 22, size)
    return bytes(made)


@functools.cache
def _zeros(size: int) -> tuple[bytes, int]:
    """Return so many zeros, a whole number of blocks, as a zip archive packs them, and their checksum."""
    packer, block, check = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS), bytes(_BLOCK), 0
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # each block is packed to the same bytes
    for _ in range(size // _BLOCK):
        check = zlib.crc32(block, check)
    return packed * (size // _BLOCK) + packer.flush(), check


def _again(entries: Entries, rng: Rng) -> Entries:
    return entries + [entries[int(rng.integers(len(entries)))]] * int(rng.choice([1, 3000]))


_MOVES: Final = (_renamed, _changed, _changed, _opcodes, _opcodes, _opcodes, _missing, _again)
