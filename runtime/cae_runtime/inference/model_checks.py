"""What a model file says of itself, held against what its graph takes and gives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from cae_runtime.errors import ModelError
from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.model_spec import SCHEMA_KEY, ModelSpec

CODE_MAX: Final = 2**20
# The names at the boundary of the graph, by task.
INPUT: Final = {"restore": "input", "encode": "input", "anomaly": "input", "generate": "code"}
OUTPUT: Final = {"restore": "output", "encode": "code", "anomaly": "score", "generate": "output"}
_ELEMENT: Final = {"tensor(float)": "float32", "tensor(float16)": "float16"}


def checked_spec(path: Path, session: engine.InferenceSession) -> ModelSpec:
    """Read the metadata and hold the graph's boundary against it."""
    metadata = session.get_modelmeta().custom_metadata_map
    if SCHEMA_KEY not in metadata:
        raise ModelError(
            f"model {str(path)!r} is an ONNX model but has no CAE Toolkit metadata: export it with cae-export"
        )
    try:
        spec = ModelSpec.from_metadata(metadata)
    except ModelError as e:
        raise ModelError(f"model {str(path)!r}: {e}") from e
    _check_boundary(path, "input", session.get_inputs(), INPUT[spec.task], spec)
    _check_boundary(path, "output", session.get_outputs(), OUTPUT[spec.task], spec)
    return spec


def refuse_damaged(path: Path, session: engine.InferenceSession, spec: ModelSpec) -> None:
    """Refuse a model that gives nothing finite, or the same for black and white: its weights may be NaN."""
    patches = np.zeros(spec.shape(2), spec.dtype)
    patches[1] = 1
    try:
        (output,) = session.run(None, {INPUT[spec.task]: patches})
    except Exception:  # onnxruntime's exceptions share no base; `Session.run` tells of it, with the user's patches
        return
    if not np.isfinite(output).all():
        raise ModelError(f"model {str(path)!r} gives values that are not finite: its weights are damaged")
    if len(output) == len(patches) and np.array_equal(output[0], output[1]):
        raise ModelError(f"model {str(path)!r} gives the same for black and white: its weights are damaged")


def _check_boundary(path: Path, side: str, nodes: list[Any], name: str, spec: ModelSpec) -> None:
    if [node.name for node in nodes] != [name]:
        found = ", ".join(node.name for node in nodes)
        raise ModelError(f"model {str(path)!r}: task {spec.task} has one {side} named {name!r}, this has {found!r}")
    element, shape = nodes[0].type, list(nodes[0].shape)
    if _ELEMENT.get(element) != spec.dtype:
        raise ModelError(f"model {str(path)!r}: {name} is {element}, its metadata says {spec.dtype}")
    if name == "code":
        fixed = len(shape) > 1 and all(isinstance(size, int) for size in shape[1:])
        if not fixed or not 1 <= math.prod(shape[1:]) <= CODE_MAX:
            raise ModelError(
                f"model {str(path)!r}: {name} has shape {shape}: ['N', ...] with fixed sizes is needed, of 1 to "
                f"{CODE_MAX} numbers in all"
            )
    else:
        wanted = [1, spec.patch, spec.patch] if name == "score" else list(spec.shape(1)[1:])
        fits = [not isinstance(size, int) or size == want for size, want in zip(shape[1:], wanted, strict=False)]
        if len(shape) != len(wanted) + 1 or not all(fits):
            says = str(wanted)[1:-1]
            raise ModelError(f"model {str(path)!r}: {name} has shape {shape}, its metadata says ['N', {says}]")
    if isinstance(shape[0], int):
        raise ModelError(f"model {str(path)!r}: {name} has a fixed batch of {shape[0]}: export it with a dynamic one")
