"""Speed of models on batches of 16 patches, and what the time goes to.

    python -m tests.benchmarks.running.speed MODEL [MODEL ...] [--peer FFDNET.onnx] [--threads 2]

MODEL is a packaged name or a file. Medians of bare onnxruntime sessions, their runs interleaved, in Mpx/s of patches
(overlap not counted); beside a peer also as a multiple of its speed. The share of operators that are no convolution
comes from onnxruntime's profile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort

from cae_runtime.inference.model_files import find_model

PATCHES, PATCH, PEER_SIDE = 16, 32, 128  # a peer runs on one picture of as many pixels
ROUNDS, PROFILED_RUNS = 40, 200
PAUSE = 0.05  # seconds; a session's threads spin for about 20 ms after a run, and would take the next one's cores
PEER = "peer"
HEAD = "QGemm"  # the last convolution of an int8 model with channels last: a matrix product


def session(path: Path, threads: int, profile: str = "") -> ort.InferenceSession:
    """A CPU session; with `profile`, the beginning of the profile's file name."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


def speeds(files: dict[str, Path], threads: int) -> dict[str, float]:
    """Median Mpx/s of each file by its name, the runs interleaved; the one named `peer` runs on whole pictures."""
    random = np.random.default_rng(0)
    sessions = {name: session(path, threads) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, each in sessions.items():
            feed = feed_of(each, random, PEER_SIDE if name == PEER else PATCH)
            time.sleep(PAUSE)
            each.run(None, feed)
            started = time.perf_counter()
            each.run(None, feed)
            times[name].append(time.perf_counter() - started)
    return {name: PATCHES * PATCH**2 / 1e6 / statistics.median(values) for name, values in times.items()}


def feed_of(each: ort.InferenceSession, random: np.random.Generator, side: int) -> dict[str, np.ndarray]:
    """Random patches in the session's layout, as many as make 16 of 32x32 pixels."""
    (given,) = each.get_inputs()
    count = PATCHES * PATCH**2 // side**2
    shape = (count, side, side, 3) if given.shape[-1] == 3 else (count, 3, side, side)
    return {given.name: random.random(shape, dtype=np.float32)}


def other_share(path: Path, threads: int) -> float:
    """Share of the profiled time that goes to operators which are no convolution."""
    with tempfile.TemporaryDirectory() as folder:
        each = session(path, threads, str(Path(folder) / "profile"))
        feed = feed_of(each, np.random.default_rng(0), PATCH)
        for _ in range(PROFILED_RUNS):
            each.run(None, feed)
        events = json.loads(Path(each.end_profiling()).read_text())
    spent: Counter[bool] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            name = event["args"]["op_name"]
            spent["Conv" in name or name == HEAD] += event["dur"]
    return spent[False] / spent.total()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    files = {name: find_model(name) for name in args.models}
    result = speeds(files | ({PEER: args.peer} if args.peer else {}), args.threads)
    for name, speed in result.items():
        beside = f", {speed / result[PEER]:5.1f} x the peer" if args.peer else ""
        share = f", {other_share(files[name], args.threads):.0%} no convolution" if name in files else ""
        print(f"{name}: {speed:.2f} Mpx/s{beside}{share}")


if __name__ == "__main__":
    main()
