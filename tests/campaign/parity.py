"""Every network, precision and operator set: proved against PyTorch here, and run by other releases of onnxruntime."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
from tests.campaign.harness.findings import Outcome
from tests.campaign.harness.settings import Settings

PRECISIONS: Final = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.03}  # and how much other releases may differ
OPSETS: Final = (18, 15, 16, 17, 19, 20, 21, 22)  # the default first
OLDEST: Final = (1, 20)  # release of the last two years; the package itself needs 1.23
UNKNOWN: Final = {"1.20.0": (22,), "1.20.1": (22,)}  # operator sets that came after a release
_PATCHES: Final = 5
_RUNS: Final = """
import json, sys, numpy as np, onnxruntime as ort
from pathlib import Path
assert ort.__version__ == sys.argv[2], ort.__version__
found = {}
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        kept = np.load(path.with_suffix(".npz"))
        made = session.run(None, {session.get_inputs()[0].name: kept["given"]})[0]
        found[path.stem] = float(np.abs(made.astype(np.float32) - kept["made"].astype(np.float32)).max())
    except Exception as e:
        found[path.stem] = " ".join(str(e).split())[:300]
print(json.dumps(found))
"""


def run(settings: Settings) -> Outcome:
    """Export networks until the time or the cases are used up, then run the files in other releases."""
    from cae_train.models import ARCHITECTURES

    outcome = Outcome("parity", settings.seed)
    began = time.monotonic()
    folder = settings.folder / "parity"
    folder.mkdir(parents=True)
    every = [*itertools.product(OPSETS, PRECISIONS, ARCHITECTURES)]
    rows: dict[str, dict[str, str]] = {}
    for number in settings.numbers():
        if number >= len(every):
            break
        opset, precision, arch = every[number]
        name = f"{arch}-{precision}-{opset}"
        outcome.cases += 1
        rows[name] = {"export": exported(folder, name, arch, precision, opset)}
        outcome.counts[f"{precision}: {rows[name]['export']}"] += 1
        if rows[name]["export"].startswith("failed"):
            outcome.found(number, "export", name, rows[name]["export"])
        settings.tell(outcome)
    releases = _releases()
    outcome.notes.append(f"releases of onnxruntime besides the one here: {', '.join(releases)}")
    for release in releases:
        for name, differs in _elsewhere(settings.folder, folder, release).items():
            _, kind, at_set = name.split("-")
            unknown = int(at_set) in UNKNOWN.get(release, ())
            good = unknown or (isinstance(differs, float) and differs <= PRECISIONS[kind])
            rows[name][release] = f"{differs:.1e}" if isinstance(differs, float) else "does not run"
            if not good:
                case = next(at for at, (o, p, a) in enumerate(every) if f"{a}-{p}-{o}" == name)
                outcome.found(case, "parity", f"{name} in onnxruntime {release}", str(differs))
    outcome.notes += [
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()) for name, row in rows.items()
    ]
    outcome.seconds = time.monotonic() - began
    return outcome


def exported(folder: Path, name: str, arch: str, precision: str, opset: int) -> str:
    """Export an untrained network, and keep what the file makes of a few patches here."""
    import torch

    from cae_export import export
    from cae_export.errors import CaeExportError, RefusedError
    from cae_runtime import Session
    from cae_train.checkpoint import save_model
    from cae_train.config import TrainConfig
    from cae_train.models import build

    torch.manual_seed(1)
    model, file = folder / "model.pt", folder / f"{name}.onnx"
    options = {"pretrained": False} if arch == "vgg16" else {}  # its weights would be downloaded
    any_drop = {"max_drop": 99.0} if precision == "int8" else {}
    try:
        save_model(model, build(arch, options, 3), TrainConfig(arch=arch, model=options), {})
        export(model, file, precision=precision, opset=opset, overwrite=True, **any_drop)
    except RefusedError as e:
        return f"refused: {str(e)[:100]}"
    except CaeExportError as e:
        kind = "not offered" if "torch cannot write this network" in str(e) else "failed"
        return f"{kind}: {str(e)[:200]}"
    with Session(file, provider="cpu") as session:
        shape = session.spec.shape(_PATCHES)
        given = np.random.default_rng(2).random(shape, np.float32).astype(session.spec.dtype)
        made = session.run(given.astype(np.float32))
    np.savez(file.with_suffix(".npz"), given=given, made=made)
    return "equal"


def _releases() -> list[str]:
    """Return the releases of onnxruntime that pip has here, the oldest first, besides the one that is installed."""
    words = [sys.executable, "-m", "pip", "index", "versions", "onnxruntime"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    listed = re.search(r"Available versions: (.*)", said)
    every = listed[1].split(", ") if listed else []
    here = version("onnxruntime")
    return [each for each in reversed(every) if tuple(map(int, each.split(".")[:2])) >= OLDEST and each != here]


def _elsewhere(root: Path, folder: Path, release: str) -> dict[str, float | str]:
    """Run the files with another release, which is put into a folder of its own for this."""
    place = root / f"onnxruntime-{release}"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", place, f"onnxruntime=={release}"]
    try:
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            return {path.stem: f"it cannot be installed: {done.stderr[-300:]}" for path in folder.glob("*.onnx")}
        said = subprocess.run(
            [sys.executable, "-c", _RUNS, folder, release], capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(place)},
        )  # fmt: skip
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if said.returncode:
        return {path.stem: f"the process ended: {said.stderr[-300:]}" for path in folder.glob("*.onnx")}
    found: dict[str, float | str] = json.loads(said.stdout)
    return found
