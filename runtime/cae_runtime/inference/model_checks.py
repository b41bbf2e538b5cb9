"""Compares the metadata of a model file with the input and output of its graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ModelError, ProviderError
from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.model_spec import SCHEMA_KEY, WHOLE_FRAME, ModelSpec

CODE_MAX: Final = 2**20
BATCH_MAX: Final = 4096  # of a graph with a fixed batch
BATCH_VALUES_MAX: Final = 2**24  # of such a batch, given or made: 64 MiB as float32
_PATCHES, _CODES, _SCORES = "patches", "codes", "scores"
# What the graph takes and gives, by task.
_TAKES: Final = {"generate": _CODES}
_GIVES: Final = {"encode": _CODES, "anomaly": _SCORES}
Floats = NDArray[np.float32]
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
    """Refuse a model that cannot be run, or whose output is not finite, or the same for black and white."""
    patches = np.zeros(spec.shape(2), np.float32)
    patches[1] = 1
    try:
        output = run(patches)
    except ProviderError:  # the first picture will report it
        return
    if not np.isfinite(output).all():
        raise ModelError(f"model {str(path)!r} returns values that are not finite: its weights are damaged")
    if np.array_equal(output[0], output[1]):
        raise ModelError(f"model {str(path)!r} returns the same for black and white: its weights are damaged")


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
