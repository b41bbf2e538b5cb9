"""Compares the metadata of a model file with the input and output of its graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ModelError, ProviderError
from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.model_files import TRAINED_SUFFIXES, how_to_export
from cae_runtime.inference.model_spec import SCHEMA_KEY, WHOLE_FRAME, ModelSpec

CODE_MAX: Final = 2**20
BATCH_MAX: Final = 4096  # of a graph with a fixed batch
BATCH_VALUES_MAX: Final = 2**24  # of such a batch, given or made: 64 MiB as float32
_PATCHES, _CODES, _SCORES = "patches", "codes", "scores"
# What the graph takes and gives, by task.
_TAKES: Final = {"generate": _CODES}
_GIVES: Final = {"encode": _CODES, "anomaly": _SCORES}
# Parts of an ONNX file (onnx.proto3) that lead to tensors: their fields, by number, and what those are.
_PARTS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor"},
}
_OPERATOR: Final = 4  # field of a node
# Operators that repeat a graph any number of times: an untrusted file might never finish.
_UNBOUNDED: Final = frozenset({b"Loop", b"Scan", b"BeamSearch", b"WhisperBeamSearch", b"GreedySearch", b"Sampling"})
_DATA_TYPE, _FLOAT_DATA, _INT32_DATA, _NAME, _RAW_DATA, _DOUBLE_DATA = 2, 4, 5, 8, 9, 10  # fields of a tensor
_FLOATS: Final = {1: "<f4", 11: "<f8"}  # data types of tensors
_EXPONENTS: Final = {10: 0x7C00, 16: 0x7F80}  # float16 and bfloat16: the bits that are all set in NaN and infinity
_OF_ATTRIBUTE: Final = {1: _NAME, 2: _FLOAT_DATA, 7: _FLOAT_DATA}  # an attribute's `name`, `f` and `floats`
_FIELDS_MAX: Final = 2**17  # of a file; those of cae-export have about a thousand, and this takes half a second
Floats = NDArray[np.float32]


class _TooManyPartsError(ValueError):
    """A file has more parts than are looked through."""


_ELEMENT: Final = {"tensor(float)": "float32", "tensor(float16)": "float16"}


def checked_spec(path: Path, session: engine.InferenceSession) -> ModelSpec:
    """Read the metadata, and check the graph's input and output against it."""
    try:
        metadata = session.get_modelmeta().custom_metadata_map
        sides = (session.get_inputs(), session.get_outputs())
        for node in (*sides[0], *sides[1]):
            _ = node.name, node.shape
    except UnicodeDecodeError as e:
        raise ModelError(
            f"model {str(path)!r}: its metadata or names are not text in UTF-8: the file is damaged, export it again"
        ) from e
    if WHOLE_FRAME in metadata:
        raise ModelError(
            f"model {str(path)!r} takes whole frames, for chaiNNer, VapourSynth, OpenCV and other programs: here a "
            "file of patches is needed, which cae-export writes without --whole-frame"
        )
    if SCHEMA_KEY not in metadata:
        raise ModelError(
            f"model {str(path)!r} is an ONNX model but has no CAE Toolkit metadata: export it with cae-export"
        )
    try:
        spec = ModelSpec.from_metadata(metadata)
    except ModelError as e:
        raise ModelError(f"model {str(path)!r}: {e}") from e
    _check_boundary(path, "input", sides[0], _TAKES.get(spec.task, _PATCHES), spec)
    _check_boundary(path, "output", sides[1], _GIVES.get(spec.task, _PATCHES), spec)
    given, made = (side[0].shape[0] for side in sides)
    if isinstance(given, int) and (not 1 <= given <= BATCH_MAX or (isinstance(made, int) and made != given)):
        raise ModelError(
            f"model {str(path)!r} takes batches of {given} and returns {made}: one number is needed, 1 to {BATCH_MAX}"
        )
    if isinstance(given, int):
        _check_batch(path, given, session, spec)
    return spec


def _check_batch(path: Path, batch: int, session: engine.InferenceSession, spec: ModelSpec) -> None:
    """Refuse a fixed batch that would take too much memory."""
    of_codes = {"generate": session.get_inputs, "encode": session.get_outputs}.get(spec.task)
    codes = of_codes()[0].shape[1:] if of_codes else []
    each = max(spec.shape(1)[1:], codes, key=math.prod)
    values = batch * math.prod(each)
    if values > BATCH_VALUES_MAX:
        raise ModelError(
            f"model {str(path)!r} takes batches of {batch}, each of {'x'.join(map(str, each))} values, {values} in "
            f"all: at most {BATCH_VALUES_MAX} are possible. Export it with a smaller batch"
        )


def graph_batch(session: engine.InferenceSession) -> int | None:
    """Return how many patches a call takes; None for any number."""
    size = session.get_inputs()[0].shape[0]
    return size if isinstance(size, int) else None


def refuse_damaged(path: Path, run: Callable[[Floats], Floats], spec: ModelSpec) -> None:
    """Refuse a model whose output is not finite, or the same for black and white: its weights may be NaN."""
    patches = np.zeros(spec.shape(2), np.float32)
    patches[1] = 1
    try:
        output = run(patches)
    except (ModelError, ProviderError):  # the first picture will report it
        return
    if not np.isfinite(output).all():
        raise ModelError(f"model {str(path)!r} returns values that are not finite: its weights are damaged")
    if np.array_equal(output[0], output[1]):
        raise ModelError(f"model {str(path)!r} returns the same for black and white: its weights are damaged")


def refuse_endless(path: Path, data: bytes) -> None:
    """Refuse a model that may never end, or not even open: with loops, or with functions, which may call each other.

    `cae-export` writes neither. A file that cannot be looked through is refused as well: onnxruntime might read it.

    Args:
        path: named in the error.
        data: the file, before onnxruntime has opened it.

    Raises:
        ModelError: naming the first such operator; or the file is no ONNX file, or has too many parts.
    """
    try:
        for kind, number, value in _walked(memoryview(data)):
            if kind == "function":
                raise ModelError(
                    f"model {str(path)!r} has functions, which may call each other without end: only models without "
                    "functions are run"
                )
            if kind == "node" and number == _OPERATOR and bytes(value) in _UNBOUNDED:
                raise ModelError(
                    f"model {str(path)!r} has the operator {bytes(value).decode()}, which may never finish: "
                    "only models without loops are run"
                )
    except ModelError:
        raise
    except _TooManyPartsError as e:
        raise ModelError(f"model {str(path)!r} cannot be checked for loops: {e}") from e
    except (IndexError, TypeError, ValueError) as e:
        hint = f"; {how_to_export(path)}" if path.suffix in TRAINED_SUFFIXES else ""
        raise ModelError(f"model {str(path)!r} is not an ONNX model{hint}") from e


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
                name = b"".join(bytes(value) for field, value in tensor if field == _NAME)
                shown = name[:100].decode("utf-8", "replace")
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
    for kind, number, value in _walked(data):
        if not number:
            if fields:
                yield fields
            fields = []
        elif kind == "tensor":
            fields.append((number, value))
        elif kind == "attribute" and number in _OF_ATTRIBUTE:
            fields.append((_OF_ATTRIBUTE[number], value))


def _walked(data: memoryview) -> Iterator[tuple[str, int, Any]]:
    """Yield for each field of an ONNX file the kind of its message, its number and value; 0 and None end a message."""
    waiting, left = [("model", data)], _FIELDS_MAX
    while waiting:
        kind, part = waiting.pop()
        for number, value in _fields(part):
            left -= 1
            if left < 0:
                raise _TooManyPartsError(f"it has more than {_FIELDS_MAX} parts")
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


def _check_boundary(path: Path, side: str, nodes: list[Any], kind: str, spec: ModelSpec) -> None:
    if len(nodes) != 1:
        found = ", ".join(node.name for node in nodes)
        raise ModelError(f"model {str(path)!r}: task {spec.task} has one {side}, this has {len(nodes)}: {found!r}")
    name, element, shape = nodes[0].name, nodes[0].type, list(nodes[0].shape)
    if _ELEMENT.get(element) != spec.dtype:
        raise ModelError(f"model {str(path)!r}: {name} is {element}, its metadata says {spec.dtype}")
    if kind == _CODES:
        fixed = len(shape) > 1 and all(isinstance(size, int) for size in shape[1:])
        if not fixed or not 1 <= math.prod(shape[1:]) <= CODE_MAX:
            raise ModelError(
                f"model {str(path)!r}: {name} has shape {shape}: ['N', ...] with fixed sizes is needed, of 1 to "
                f"{CODE_MAX} numbers in all"
            )
        return
    wanted = [1, spec.patch, spec.patch] if kind == _SCORES else list(spec.shape(1)[1:])
    fits = [not isinstance(size, int) or size == want for size, want in zip(shape[1:], wanted, strict=False)]
    if len(shape) != len(wanted) + 1 or not all(fits):
        says = str(wanted)[1:-1]
        raise ModelError(f"model {str(path)!r}: {name} has shape {shape}, its metadata says ['N', {says}]")
