from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import cae_train

HEAVY = ("torch", "lightning", "cv2", "numpy", "matplotlib", "onnx", "onnxruntime", "cae_runtime", "cae_export")


def modules_after(code: str) -> set[str]:
    """Return which heavy modules a fresh interpreter holds after `code`."""
    probe = f"{code}\nimport sys\nprint('\\n' + ' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_after("import cae_train; cae_train.TrainConfig(); cae_train.Hardware()") == set()


def test_help_imports_nothing_heavy() -> None:
    command = "import sys; sys.argv = ['cae-train', '--help']\nfrom cae_train.cli.main import app\n"
    assert modules_after(command + "try: app()\nexcept SystemExit: pass") == set()


@pytest.mark.slow
def test_training_needs_neither_the_runtime_nor_onnx() -> None:
    names = modules_after("import cae_train.training.loop, cae_train.sheets.save_pairs, cae_train.training.progress")
    assert not names & {"onnx", "onnxruntime", "cae_runtime", "cae_export"}


def test_public_names() -> None:
    assert cae_train.__all__ == sorted(cae_train.__all__)
    assert set(cae_train._HOME) == set(cae_train.__all__)
    for name in cae_train.__all__:
        assert getattr(cae_train, name).__name__ == name
        assert name in dir(cae_train)
    assert cae_train.__version__ == version("cae-toolkit")
    assert not hasattr(cae_train, "Trainer")


def test_every_error_has_one_base_class() -> None:
    errors = [getattr(cae_train, name) for name in cae_train.__all__ if name.endswith("Error")]
    assert len(errors) == 8
    assert all(issubclass(error, cae_train.CaeTrainError) for error in errors)
