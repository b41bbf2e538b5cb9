"""IREE: the graph compiled for the CPU of this machine, and run on its driver of one thread."""

import subprocess
import sys
import tempfile
from pathlib import Path

import iree.runtime
import numpy as np
from serving import Floats, Run, serve


def load(model: str, _patches: Floats) -> Run:
    tools = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as folder:
        text, made = Path(folder, "model.mlir"), Path(folder, "model.vmfb")
        _call(tools / "iree-import-onnx", model, "-o", text)
        _call(
            tools / "iree-compile", text, "-o", made, "--iree-hal-target-device=local",
            "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host",
        )  # fmt: skip
        content = made.read_bytes()
    module = iree.runtime.load_vm_flatbuffer(content, driver="local-sync")
    name = next(name for name in module.vm_module.function_names if name.endswith("$async") is False and name[0] != "_")
    return lambda patches: np.asarray(module[name](patches).to_host())


def _call(*words: object) -> None:
    """Run a tool; the first line with an error is the reason if it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(next((line for line in lines if "error:" in line), lines[-1]))


if __name__ == "__main__":
    serve(load)
