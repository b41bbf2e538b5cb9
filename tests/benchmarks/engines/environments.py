"""The engines of `tests.benchmarks.running.runtimes`, and their environments, each apart from all others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
INSTALLING = 1800  # seconds


class EngineError(Exception):
    """An engine cannot be installed, started or run; the text is the reason in one line."""


@dataclass(frozen=True)
class Engine:
    """An engine.

    Attributes:
        name: in the table.
        script: file of this folder that runs it.
        pip: what pip installs.
        without_dependencies: what pip installs afterwards, alone.
        npm: what npm installs.
        batch: patches that a call takes where the engine needs a fixed number, else None.
    """

    name: str
    script: str
    pip: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    batch: int | None = None

    def command(self, environments: Path) -> list[str]:
        """What starts the script, once the environment is made."""
        folder = environments / self._slug
        program = shutil.which("node") or "node" if self.npm else str(_python(folder))
        return [program, *(["--no-warnings"] if self.npm else []), str(HERE / self.script)]

    def variables(self, environments: Path) -> dict[str, str]:
        """Variables that the script needs."""
        return {"NODE_ROOT": str(environments / self._slug)} if self.npm else {}

    def install(self, environments: Path) -> None:
        """Make the environment, unless an earlier run has finished it.

        Raises:
            EngineError: pip or npm give no such package here.
        """
        folder = environments / self._slug
        finished = folder / "finished"
        if finished.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if self.npm:
            npm = shutil.which("npm")
            if npm is None:
                raise EngineError("npm is not installed")
            _call([npm, "install", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(folder), *self.npm])
        else:
            _call([sys.executable, "-m", "venv", str(folder)])
            pip = [str(_python(folder)), "-m", "pip", "install", "--quiet"]
            _call([*pip, *self.pip])
            if self.without_dependencies:
                _call([*pip, "--no-deps", *self.without_dependencies])
        finished.touch()

    @property
    def _slug(self) -> str:
        return self.name.replace(" ", "-")


def _onnxruntime(version: str, *others: str) -> Engine:
    return Engine(f"onnxruntime {version}", "onnxruntime_cpu.py", (f"onnxruntime=={version}.*", *others))


ENGINES = (
    _onnxruntime("1.15", "numpy<2"),
    _onnxruntime("1.16", "numpy<2"),
    _onnxruntime("1.17", "numpy<2"),
    _onnxruntime("1.18", "numpy<2"),
    _onnxruntime("1.20"),
    Engine("onnxruntime newest", "onnxruntime_cpu.py", ("onnxruntime",)),
    Engine("onnxruntime-node", "onnxruntime_node.mjs", npm=("onnxruntime-node",)),
    Engine("onnxruntime-web", "onnxruntime_web.mjs", npm=("onnxruntime-web",)),
    Engine("OpenCV 4.13", "opencv.py", ("opencv-python-headless==4.13.*",), batch=32),
    Engine("OpenCV 5", "opencv.py", ("opencv-python-headless>=5,<6",), batch=32),
    Engine("OpenVINO", "openvino_cpu.py", ("openvino",)),
    Engine("MNN", "mnn.py", ("MNN",)),
    Engine("ncnn", "ncnn_cpu.py", ("ncnn", "numpy"), ("pnnx",), batch=1),
    Engine("tract", "tract_cpu.py", ("tract",)),
    Engine("IREE", "iree_cpu.py", ("iree-base-compiler[onnx]", "iree-base-runtime"), batch=32),
    Engine("TFLite", "tflite.py", ("onnx2tf",), batch=32),
)


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _call(command: list[str]) -> None:
    """Run a command.

    Raises:
        EngineError: it fails; its last line that tells why.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALLING, check=False)
    except subprocess.TimeoutExpired:
        raise EngineError(f"{command[0]} takes longer than {INSTALLING} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        raise EngineError(next((line for line in lines if "ERROR" in line), lines[-1]).strip())
