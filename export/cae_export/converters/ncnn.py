"""ncnn: `model.param` and `model.bin`, written by pnnx, run on the CPU in float32; it takes one patch at a time."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cae_export.converters.engine import Engine, Floats, call
from cae_export.errors import RefusedError
from cae_shared.temporary import temporary_folder

_GRAPH, _WEIGHTS = "model.param", "model.bin"
_INPUT, _OUTPUT = "in0", "out0"  # names that pnnx gives


def write(content: bytes, folder: Path) -> tuple[str, str]:
    """Convert a file for a batch of 1, as `Engine.write`.

    Raises:
        RefusedError: pnnx cannot convert it.
    """
    shape = [size.dim_value for size in onnx.load_from_string(content).graph.input[0].type.tensor_type.shape.dim]
    with temporary_folder("cae-export-") as work:
        source = work / "model.onnx"
        source.write_bytes(content)
        options = [f"inputshape=[{','.join(map(str, shape))}]f32", "fp16=0"]
        call("pnnx", [str(_pnnx()), str(source), *options], work)
        for name in (_GRAPH, _WEIGHTS):
            made = work / name.replace("model", "model.ncnn")
            if not made.exists():
                raise RefusedError("refused: pnnx writes no files of ncnn")
            (folder / name).write_bytes(made.read_bytes())
    return _INPUT, _OUTPUT


def run(folder: Path, _ends: tuple[str, str], patches: Floats) -> Floats:
    """Run the converted file, as `Engine.run`.

    Raises:
        RefusedError: ncnn cannot run it.
    """
    import ncnn

    network = ncnn.Net()
    exact = network.opt
    exact.use_fp16_packed = exact.use_fp16_storage = exact.use_fp16_arithmetic = exact.use_bf16_storage = False
    if network.load_param(str(folder / _GRAPH)) or network.load_model(str(folder / _WEIGHTS)):
        raise RefusedError("refused: ncnn lacks an operator of the file that pnnx wrote")
    return np.stack([_run_one(network, ncnn.Mat(patch)) for patch in patches])


def _run_one(network: Any, patch: Any) -> Floats:
    """C x P x P of one patch.

    Raises:
        RefusedError: ncnn cannot run it.
    """
    with network.create_extractor() as extractor:
        extractor.input(_INPUT, patch)
        failed, output = extractor.extract(_OUTPUT)
        if failed:
            raise RefusedError(f"refused: ncnn stops with code {failed}")
        made: Floats = np.array(output)
    return made


def _pnnx() -> Path:
    """Return the path of pnnx's program; its package imports far more than is needed here.

    Raises:
        RefusedError: the package has no files.
    """
    spec = find_spec("pnnx")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise RefusedError("refused: the program of pnnx is not in its package")
    folder = Path(places[0])
    return folder / ("pnnx.exe" if sys.platform == "win32" else "pnnx")


ENGINE = Engine(("ncnn", "pnnx"), write, run, batch=1)
