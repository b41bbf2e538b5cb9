from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cae_runtime

HEAVY = ("torch", "onnx", "onnxruntime", "cv2", "numpy", "rich", "av", "cae_train", "cae_export")


def modules_after(code: str) -> set[str]:
    """Return which heavy modules a fresh interpreter holds after `code`."""
    probe = f"{code}\nimport sys\nprint('\\n' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_after("import cae_runtime, cae_runtime.inference.model_spec; cae_runtime.ModelSpec") == set()


def test_help_imports_nothing_heavy() -> None:
    command = "import sys; sys.argv = ['cae-run', '--help']\nfrom cae_runtime.cli.main import app\n"
    code = command + "try: app()\nexcept SystemExit: pass"
    assert modules_after(code) == set()


def test_cleaning_needs_neither_torch_nor_onnx() -> None:
    code = "import numpy, cae_runtime.cli.main, cae_runtime.jobs.restore.report\nfrom cae_runtime import Restorer"
    assert modules_after(code) == {"onnxruntime", "cv2", "numpy"}


def test_the_base_install_has_every_name() -> None:
    """What needs an extra says so when it is called, not when it is imported."""
    code = "import sys; sys.modules['av'] = None\nfrom cae_runtime import *\nfrom cae_runtime import clean_video\n"
    code += "try: clean_video('a.mp4', 'b.mp4')\nexcept ImportError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("videos need an extra: pip install 'cae-toolkit[video]'")
    assert len(done.stdout.splitlines()) == 1


def test_public_names() -> None:
    assert cae_runtime.__all__ == sorted(cae_runtime.__all__)
    assert set(cae_runtime.__all__) == set(cae_runtime._HOME)
    for name in cae_runtime.__all__:
        assert getattr(cae_runtime, name).__name__ == name
        assert name in dir(cae_runtime)
    assert re.fullmatch(r"\d+\.\d+.*", cae_runtime.__version__)
    assert not hasattr(cae_runtime, "Denoiser")


@pytest.mark.slow
def test_a_type_checker_finds_wrong_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api")
    (tmp_path / "a.py").write_text("import cae_runtime\ncae_runtime.Restorer\ncae_runtime.Denoiser\n")
    monkeypatch.setenv("MYPYPATH", str(Path(cae_runtime.__file__).parents[1]))
    fast = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
    said, _, _ = api.run([*fast, "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "a.py")])
    assert [line.split(": ", 1)[1] for line in said.splitlines() if ": error:" in line] == [
        'error: Module has no attribute "Denoiser"  [attr-defined]'
    ]
