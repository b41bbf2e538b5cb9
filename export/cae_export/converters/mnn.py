"""MNN: `model.mnn`, run on the CPU in high precision.

Converter and engine run in processes of their own, since both print on standard output. The converter is called without
the package `MNN.tools`, which installs other packages and reports its use.
"""

import sys
from pathlib import Path

import numpy as np

from cae_export.converters.engine import RUN_BATCH, Engine, Floats, call, ends_of
from cae_shared.temporary import temporary_folder

_FILE = "model.mnn"
_CONVERT = """
import os, sys
import _tools

_tools.mnnconvert(["", *sys.argv[1:]])
if not os.path.exists(sys.argv[-1]):
    sys.exit("the converter wrote nothing")
"""
_RUN = """
import sys
import MNN.expr, MNN.nn
import numpy as np

model, given, made, name, result, batch = sys.argv[1:]
patches = np.load(given)
runtime = MNN.nn.create_runtime_manager(({"backend": 0, "precision": "high", "numThread": 1},))
network = MNN.nn.load_module_from_file(model, [name], [result], runtime_manager=runtime)
outputs = []
for start in range(0, len(patches), int(batch)):
    part = patches[start : start + int(batch)]
    output = network.forward([MNN.expr.const(part, list(part.shape), MNN.expr.NCHW)])[0]
    outputs.append(MNN.expr.convert(output, MNN.expr.NCHW).read().copy())
np.save(made, np.concatenate(outputs))
"""


def write(content: bytes, folder: Path) -> tuple[str, str]:
    """Convert a file, as `Engine.write`.

    Raises:
        RefusedError: MNN cannot convert it.
    """
    with temporary_folder("cae-export-") as work:
        source = work / "model.onnx"
        source.write_bytes(content)
        options = ["-f", "ONNX", "--bizCode", "cae", "--modelFile", str(source), "--MNNModel", str(folder / _FILE)]
        call("mnn", [sys.executable, "-c", _CONVERT, *options], work)
    return ends_of(content)


def run(folder: Path, ends: tuple[str, str], patches: Floats) -> Floats:
    """Run the converted file, as `Engine.run`.

    Raises:
        RefusedError: MNN cannot run it.
    """
    with temporary_folder("cae-export-") as work:
        given, made = work / "given.npy", work / "made.npy"
        np.save(given, patches)
        options = [str(folder / _FILE), str(given), str(made), *ends, str(RUN_BATCH)]
        call("mnn", [sys.executable, "-c", _RUN, *options], work)
        outputs: Floats = np.load(made)
    return outputs


ENGINE = Engine(("MNN", "_tools"), write, run)
