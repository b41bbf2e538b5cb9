"""Refuses ONNX files that may never end, that name other files, or whose weights are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ModelError
from cae_runtime.inference.model_files import TRAINED_SUFFIXES, how_to_export
from cae_runtime.inference.untrusted.parts import TooManyPartsError, walked

_OPERATOR: Final = 4  # field of a node
# Operators that repeat a graph any number of times: an untrusted file might never finish.
_UNBOUNDED: Final = frozenset({b"Loop", b"Scan", b"BeamSearch", b"WhisperBeamSearch", b"GreedySearch", b"Sampling"})
_COMPILED: Final = b"EPContext"  # names a file of an execution provider
_DATA_TYPE, _FLOAT_DATA, _INT32_DATA, _NAME, _RAW_DATA, _DOUBLE_DATA = 2, 4, 5, 8, 9, 10  # fields of a tensor
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor: where its values are, if not in the file
_FLOATS: Final = {1: "<f4", 11: "<f8"}  # data types of tensors
_EXPONENTS: Final = {10: 0x7C00, 16: 0x7F80}  # float16 and bfloat16: the bits that are all set in NaN and infinity
_OF_ATTRIBUTE: Final = {1: _NAME, 2: _FLOAT_DATA, 7: _FLOAT_DATA}  # an attribute's `name`, `f` and `floats`


def refuse_unsafe(path: Path, data: bytes) -> None:
    """Refuse a model that may never end, or not even open, or that names other files or places in memory.

    These are models with loops, with functions, which may call each other, with sparse weights, which may expand to any
    size, and with weights outside the file. `cae-export` writes none of them. A file that cannot be looked through is
    refused as well: onnxruntime might read it.

    Args:
        path: named in the error.
        data: the file, before onnxruntime has opened it.

    Raises:
        ModelError: naming the first such part; or the file is no ONNX file, or has too many parts.
    """
    try:
        for kind, number, value in walked(memoryview(data)):
            if why := _unsafe(kind, number, value):
                raise ModelError(f"model {str(path)!r} {why}")
    except ModelError:
        raise
    except TooManyPartsError as e:
        raise ModelError(f"model {str(path)!r} cannot be checked for loops: {e}") from e
    except (IndexError, TypeError, ValueError) as e:
        hint = f"; {how_to_export(path)}" if path.suffix in TRAINED_SUFFIXES else ""
        raise ModelError(f"model {str(path)!r} is not an ONNX model{hint}") from e


def _unsafe(kind: str, number: int, value: Any) -> str:
    """Return why a model with such a field is refused; empty for all others."""
    if kind == "function":
        return "has functions, which may call each other without end: only models without functions are run"
    if kind == "sparse":
        return "has sparse weights, which may expand to any size: export it with dense weights"
    if kind == "node" and number == _OPERATOR and isinstance(value, memoryview):
        name = bytes(value)
        if name in _UNBOUNDED:
            return f"has the operator {name.decode()}, which may never finish: only models without loops are run"
        if name == _COMPILED:
            return "was compiled for one execution provider, and may name other files: export it as plain ONNX"
    if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
        return "keeps its weights in another file: export it as one file"
    return ""


def refuse_not_finite(path: Path, data: bytes) -> None:
    """Refuse a model with a weight that is NaN or infinite: int8 arithmetic makes finite, wrong pictures of it.

    Args:
        path: named in the error.
        data: the ONNX file, which onnxruntime has accepted.

    Raises:
        ModelError: naming the first such tensor; or the file has too many parts to be looked through.
    """
    try:
        for tensor in _tensors(memoryview(data)):
            if not _finite(tensor):
                names = (value for field, value in tensor if field == _NAME and isinstance(value, memoryview))
                shown = b"".join(names)[:100].decode("utf-8", "replace")
                raise ModelError(
                    f"model {str(path)!r}: its weights {shown!r} hold NaN or infinity: the file is damaged, export it "
                    "again"
                )
    except ModelError:
        raise
    except (IndexError, TypeError, ValueError) as e:  # onnxruntime reads it otherwise than this does
        raise ModelError(f"model {str(path)!r} cannot be checked for damaged weights: {e}") from e


def _tensors(data: memoryview) -> Iterator[list[tuple[int, Any]]]:
    """Yield the fields of each tensor of an ONNX file, also of those inside nodes, and an attribute's floats as one."""
    fields: list[tuple[int, Any]] = []
    for kind, number, value in walked(data):
        if not number:
            if fields:
                yield fields
            fields = []
        elif kind == "tensor":
            fields.append((number, value))
        elif kind == "attribute" and number in _OF_ATTRIBUTE:
            fields.append((_OF_ATTRIBUTE[number], value))


def _finite(tensor: list[tuple[int, Any]]) -> bool:
    """Whether all values of a tensor are finite; those of integers are."""
    kind = next((value for field, value in reversed(tensor) if field == _DATA_TYPE), 0)
    elements, exponent = {_FLOAT_DATA: "<f4", _DOUBLE_DATA: "<f8", _RAW_DATA: _FLOATS.get(kind)}, _EXPONENTS.get(kind)
    for field, value in tensor:
        if exponent and field in (_RAW_DATA, _INT32_DATA):
            bits = np.frombuffer(value, "<u2") if field == _RAW_DATA else _lower_halves(value)
            if (bits & exponent == exponent).any():
                return False
        elif (element := elements.get(field)) and not np.isfinite(np.frombuffer(value, element)).all():
            return False
    return True


def _lower_halves(value: int | memoryview) -> NDArray[np.uint16]:
    """Return the lower 16 bits of a varint, or of each varint in a packed field; protobuf stores 7 bits per byte."""
    if isinstance(value, int):
        return np.array([value & 0xFFFF], np.uint16)
    data = np.pad(np.frombuffer(value, np.uint8), (0, 2)).astype(np.uint16)
    last = np.flatnonzero(data[: len(value)] < 128)
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    result: NDArray[np.uint16] = data[first] & 127
    for more in (1, 2):
        result |= np.where(first + more <= last, (data[first + more] & 127) << 7 * more, 0).astype(np.uint16)
    return result
