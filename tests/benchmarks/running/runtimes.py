"""What other engines make of the exported files: how far from onnxruntime they are, and how fast.

    python -m tests.benchmarks.running.runtimes [--envs FOLDER] [--files FOLDER] [--engine NAME ...]

A Markdown table with a row for each engine, and in each cell a figure for every model: the largest difference from
onnxruntime's output of the same file on 32 noisy patches, and in brackets the speed with onnxruntime = 1, one thread
each, in interleaved runs. What fails has its reason below. Every engine is installed in an environment of its own, by
pip or npm. With --envs the environments are kept, with --files the exported files; both are temporary otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from tests.benchmarks.engines.child import Child
from tests.benchmarks.engines.environments import ENGINES, HERE, Engine, EngineError

from cae_export import export
from cae_export.evaluation_data import find
from cae_export.exporter import ExportOptions
from cae_export.graphs.boundary import Boundary, with_boundary
from cae_export.proved_file import loaded_model

ROOT = Path(__file__).parents[3]
MODELS = {  # trained weights of fp32 and fp16, and of int8
    "denoise": (ROOT / "train/cae_train/denoise.pt", ROOT / "assets/denoise-int8.pt"),
    "denoise-fast": (ROOT / "assets/denoise-fast.pt", ROOT / "assets/denoise-fast-int8.pt"),
    "cae": (ROOT / "assets/cae.pt", ROOT / "assets/cae.pt"),
}
STYLES: dict[str, ExportOptions] = {
    "fp32": {},
    "fp16": {"precision": "fp16"},
    "int8": {"precision": "int8", "max_drop": 2.0},
    "int8, portable": {"precision": "int8", "max_drop": 2.0, "portable": True},
}
PATCHES, ROUNDS, MEASURING, TIMEOUT = 32, 9, 15.0, 300.0  # the last two in seconds


def exported(folder: Path, model: str, style: str, batch: int | None) -> Path:
    """The file of a model, made unless it is there."""
    dynamic = folder / f"{model}-{style.replace(', ', '-')}.onnx"
    if not dynamic.exists():
        print(f"exporting {dynamic.name}", file=sys.stderr, flush=True)
        export(MODELS[model]["int8" in style], dynamic, **STYLES[style])
    if batch is None:
        return dynamic
    fixed = dynamic.with_suffix(f".batch{batch}.onnx")  # what `cae-export --batch` writes
    if not fixed.exists():
        onnx.save(with_boundary(onnx.load(dynamic), Boundary(batch=batch)), fixed)
    return fixed


def patches_for(folder: Path, file: Path) -> Path:
    """Noisy patches in the layout of a file."""
    last = onnx.load(file).graph.input[0].type.tensor_type.shape.dim[-1].dim_value == 3
    target = folder / f"patches-{'nhwc' if last else 'nchw'}.npy"
    if not target.exists():
        with loaded_model(MODELS["denoise"][0]) as loaded:
            patches = find(loaded, None).degraded[:PATCHES].numpy()
        np.save(target, np.ascontiguousarray(patches.transpose(0, 2, 3, 1) if last else patches))
    return target


def compared(engine: Engine, environments: Path, file: Path, fed: Path, reference: Path) -> tuple[float, float]:
    """The largest difference from onnxruntime, and the speed as a multiple of its speed.

    Raises:
        EngineError: the engine fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        expected, made = Path(folder, "expected.npy"), Path(folder, "made.npy")
        own = [sys.executable, str(HERE / "onnxruntime_cpu.py")]
        times: tuple[list[float], list[float]] = ([], [])
        with (
            Child(engine.command(environments), engine.variables(environments), (file, fed, made), TIMEOUT) as one,
            Child(own, {}, (reference, fed, expected), TIMEOUT) as other,
        ):
            started = time.monotonic()
            while len(times[0]) <= ROUNDS and not (len(times[0]) > 1 and time.monotonic() - started > MEASURING):
                for child, taken in zip((one, other), times, strict=True):
                    taken.append(child.seconds())
        right, found = np.load(expected), np.load(made)
    if right.shape != found.shape:
        raise EngineError(f"its output has the shape {found.shape}: {right.shape} is right")
    mine, theirs = (statistics.median(taken[1:]) for taken in times)
    return float(np.abs(right - found).max()), theirs / mine


def row(engine: Engine, environments: Path, files: Path) -> tuple[list[str], list[str]]:
    """The cells of an engine, and why some fail."""
    try:
        engine.install(environments)
    except EngineError as e:
        return ["not installed"] * len(STYLES), [f"{engine.name}: {e}"]
    cells, reasons = [], []
    for style in STYLES:
        parts = []
        for model in MODELS:
            reference = exported(files, model, style, None)
            file = exported(files, model, style, engine.batch)
            try:
                apart, speed = compared(engine, environments, file, patches_for(files, reference), reference)
                parts.append(f"{'0' if apart == 0 else f'{apart:.0e}'} ({speed:.2f})")
            except EngineError as e:
                parts.append("fails")
                reasons.append(f"{engine.name}, {style} {model}: {e}")
        cells.append(" / ".join(parts))
    return cells, reasons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=Path)
    parser.add_argument("--files", type=Path)
    names = [engine.name for engine in ENGINES]
    parser.add_argument("--engine", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environments, files = args.envs or Path(folder, "envs"), args.files or Path(folder, "files")
        for made in (environments, files):
            made.mkdir(parents=True, exist_ok=True)
        print(f"{' / '.join(MODELS)}: largest difference from onnxruntime (speed, onnxruntime = 1)\n")
        print(f"| engine | {' | '.join(STYLES)} |\n| --- |{' --- |' * len(STYLES)}")
        reasons: list[str] = []
        for engine in ENGINES:
            if args.engine is None or engine.name in args.engine:
                cells, why = row(engine, environments.resolve(), files)
                print(f"| {engine.name} | {' | '.join(cells)} |", flush=True)
                reasons += why
    print("", *(f"- {reason}" for reason in reasons), sep="\n")


if __name__ == "__main__":
    main()
