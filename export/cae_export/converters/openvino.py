"""OpenVINO: `model.xml` and `model.bin`, weights as they are, run on the CPU in float32."""

from pathlib import Path

import numpy as np

from cae_export.converters.engine import RUN_BATCH, Engine, Floats, ends_of
from cae_export.errors import RefusedError

_GRAPH = "model.xml"
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}  # newer CPUs would take bfloat16


def write(content: bytes, folder: Path) -> tuple[str, str]:
    """Convert a file, as `Engine.write`.

    Raises:
        RefusedError: OpenVINO cannot convert it.
    """
    import openvino

    try:
        model = openvino.Core().read_model(content)
        openvino.save_model(model, folder / _GRAPH, compress_to_fp16=False)
    except RuntimeError as e:
        raise RefusedError(f"refused: openvino cannot convert the file: {' '.join(str(e).split())}") from e
    return ends_of(content)


def run(folder: Path, _ends: tuple[str, str], patches: Floats) -> Floats:
    """Run the converted file, as `Engine.run`.

    Raises:
        RefusedError: OpenVINO cannot run it.
    """
    import openvino

    try:
        core = openvino.Core()
        model = core.read_model(folder / _GRAPH)
        fixed = model.input().partial_shape[0]
        batch = fixed.get_length() if fixed.is_static else RUN_BATCH
        compiled = core.compile_model(model, "CPU", _EXACT)
        parts = [patches[start : start + batch] for start in range(0, len(patches), batch)]
        missing = batch - len(parts[-1]) if fixed.is_static else 0
        parts[-1] = np.pad(parts[-1], [(0, missing), (0, 0), (0, 0), (0, 0)], mode="edge")
        made: Floats = np.concatenate([compiled([part])[0] for part in parts])[: len(patches)]
    except RuntimeError as e:
        raise RefusedError(f"refused: openvino cannot run the file: {' '.join(str(e).split())}") from e
    return made


ENGINE = Engine(("openvino",), write, run, channels_last=True)
