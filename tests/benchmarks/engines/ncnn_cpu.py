"""ncnn through pnnx, one patch after the other (it knows no batches), one thread, in float32."""

import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import ncnn
import numpy as np
from serving import Floats, Run, serve


def load(model: str, patches: Floats) -> Run:
    package = find_spec("pnnx").submodule_search_locations[0]  # importing it would need torch
    shape = ",".join(map(str, (1, *patches.shape[1:])))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model.onnx")
        copy.write_bytes(Path(model).read_bytes())
        command = [str(Path(package, "pnnx")), str(copy), f"inputshape=[{shape}]f32", "fp16=0"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        graph, weights = (Path(folder, f"model.ncnn.{ending}") for ending in ("param", "bin"))
        if done.returncode or not graph.exists():
            raise RuntimeError(f"pnnx: {(done.stderr.strip().splitlines() or [f'exit code {done.returncode}'])[-1]}")
        network = ncnn.Net()
        network.opt.num_threads = 1
        network.opt.use_vulkan_compute = False
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
        network.opt.use_bf16_storage = False
        if network.load_param(str(graph)) or network.load_model(str(weights)):
            raise RuntimeError("ncnn cannot load what pnnx wrote")

    def one(patch: Floats) -> Floats:
        with network.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(patch))
            failed, made = extractor.extract("out0")
            if failed:
                raise RuntimeError(f"ncnn stops with {failed}")
            return np.array(made)

    return lambda patches: np.stack([one(patch) for patch in patches])


if __name__ == "__main__":
    serve(load)
