from __future__ import annotations

import subprocess
import sys

import pytest

import cae_runtime

HEAVY = ("torch", "onnx", "onnxruntime", "cv2", "numpy", "rich", "av", "cae_train", "cae_export")


def modules_after(code: str) -> set[str]:
    """Return which heavy modules a fresh interpreter holds after `code`."""
    probe = f"{code}\nimport sys\nprint('\\n' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_costs_nothing() -> None:
    assert modules_after("import cae_runtime, cae_runtime.spec; cae_runtime.ModelSpec") == set()


def test_help_imports_nothing_heavy() -> None:
    command = "import sys; sys.argv = ['cae-run', '--help']\nfrom cae_runtime.cli import app\n"
    code = command + "try: app()\nexcept SystemExit: pass"
    assert modules_after(code) == set()


def test_cleaning_needs_neither_torch_nor_onnx() -> None:
    code = "import numpy, cae_runtime.cli, cae_runtime.report\nfrom cae_runtime import Restorer"
    assert modules_after(code) == {"onnxruntime", "cv2", "numpy"}


def test_public_names() -> None:
    assert cae_runtime.__all__ == sorted(cae_runtime.__all__)
    assert set(cae_runtime.__all__) == set(cae_runtime._HOME)
    for name in cae_runtime.__all__:
        assert getattr(cae_runtime, name).__name__ == name
        assert name in dir(cae_runtime)
    with pytest.raises(AttributeError, match="'Denoiser'"):
        _ = cae_runtime.Denoiser
