"""The page rewrites model files so that WebAssembly runs them faster; they stay the same networks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests.page.conftest import ROOT, SOURCES

pytestmark = pytest.mark.slow
MODELS = ROOT / "runtime" / "cae_runtime" / "models"
BATCH = 5
TURN = """
import {{ readFileSync, writeFileSync }} from "node:fs";
import {{ build }} from "esbuild";
await build({{ entryPoints: ["src/network/innermost.ts"], bundle: true, format: "esm", outfile: {code} }});
const {{ patchesInnermost }} = await import({code});
const turned = patchesInnermost(readFileSync({model}), {batch});
if (turned) writeFileSync({out}, turned);
"""


def turned(model: str, folder: Path) -> Path | None:
    """Turn a packaged model as the page does; return None if the page takes it as it is."""
    out = folder / f"{model}.onnx"
    names = {"code": folder / "innermost.mjs", "model": MODELS / f"{model}.onnx", "out": out}
    program = TURN.format(batch=BATCH, **{key: json.dumps(str(name)) for key, name in names.items()})
    subprocess.run(["node", "--input-type=module", "-e", program], cwd=SOURCES, check=True, capture_output=True)
    return out if out.exists() else None


def test_a_network_rewritten_for_the_browser_gives_the_same_output(built_page: Path, tmp_path: Path) -> None:
    patches = np.random.default_rng(1).random((BATCH, 3, 32, 32), np.float32)
    results = []
    for path in (MODELS / "denoise-fast.onnx", turned("denoise-fast", tmp_path)):
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        results.append(session.run(None, {session.get_inputs()[0].name: patches})[0])
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)


def test_networks_that_gain_nothing_are_not_rewritten(built_page: Path, tmp_path: Path) -> None:
    assert turned("cae", tmp_path) is None
    assert turned("denoise-fast-int8", tmp_path) is None
