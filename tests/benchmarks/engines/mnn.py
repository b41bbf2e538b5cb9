"""MNN through its own converter, one thread, in high precision.

The converter is called without the package `MNN.tools`, which installs others with pip, and reports its use.
"""

import tempfile
from pathlib import Path

import _tools
import MNN.expr
import MNN.nn
from serving import Floats, Run, serve


def load(model: str, patches: Floats) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "model.mnn")
        _tools.mnnconvert(["", "-f", "ONNX", "--modelFile", model, "--MNNModel", str(made), "--bizCode", "cae"])
        if not made.exists():
            raise RuntimeError("the converter wrote nothing")
        runtime = MNN.nn.create_runtime_manager(({"backend": 0, "precision": "high", "numThread": 1},))
        network = MNN.nn.load_module_from_file(str(made), ["input"], ["output"], runtime_manager=runtime)

    def run(patches: Floats) -> Floats:
        given = MNN.expr.const(patches, list(patches.shape), MNN.expr.NCHW)
        made = network.forward([given])[0]
        return MNN.expr.convert(made, MNN.expr.NCHW).read().reshape(patches.shape).copy()

    return run


if __name__ == "__main__":
    serve(load)
