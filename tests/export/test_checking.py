"""`check`, `cae-export --check`: a file that exists, compared with its model."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from tests.export.conftest import Command
from tests.export.test_exporter import damaged

from cae_export import RefusedError, UsageError, check, export


@pytest.fixture(scope="module")
def exported(trained_skip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(trained_skip, tmp_path_factory.mktemp("exported") / "model.onnx").path


def test_a_file_that_was_not_changed_equals_its_model(cae_export: Command, exported: Path, trained_skip: Path) -> None:
    done = cae_export("--check", exported, "--against", trained_skip)
    assert done.returncode == 0, done.stderr
    assert f"{exported}: valid, and equal to the trained network" in done.stdout
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]


def test_a_changed_weight_is_refused(exported: Path, trained_skip: Path, tmp_path: Path) -> None:
    onnx.save(damaged(onnx.load(exported)), tmp_path / "changed.onnx")
    with pytest.raises(RefusedError, match="differs from the trained network by"):
        check(tmp_path / "changed.onnx", trained_skip)


def test_nodes_out_of_order_are_refused(exported: Path, trained_skip: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    model.graph.node.reverse()
    onnx.save(model, tmp_path / "reversed.onnx")
    with pytest.raises(RefusedError, match="not valid ONNX: Nodes in a graph must be topologically sorted"):
        check(tmp_path / "reversed.onnx", trained_skip)


@pytest.mark.slow
def test_int8_is_judged_by_what_it_loses(trained_skip: Path, tmp_path: Path) -> None:
    made = export(trained_skip, tmp_path / "int8.onnx", precision="int8", max_drop=3)
    report = check(made.path, trained_skip, max_drop=3)
    assert report.parity == ()
    assert report.psnr_out == pytest.approx(made.psnr_out, abs=0.5)
    model = onnx.load(made.path)
    (subtraction,) = [node for node in model.graph.node if node.op_type == "Sub"]
    subtraction.input[:] = [subtraction.input[0], subtraction.input[0]]  # black
    onnx.save(model, tmp_path / "black.onnx")
    with pytest.raises((RefusedError, UsageError), match=r"the same for black and white|dB less \(at most 0.1 dB"):
        check(tmp_path / "black.onnx", trained_skip)


def test_files_that_cannot_be_checked(exported: Path, trained_skip: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.onnx does not exist"):
        check(tmp_path / "no.onnx", trained_skip)
    with pytest.raises(FileNotFoundError, match=r"no\.pt does not exist"):
        check(exported, tmp_path / "no.pt")
    shutil.copy(trained_skip, tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="is not an ONNX model"):
        check(tmp_path / "model.onnx", trained_skip)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--check", "a.onnx"], "are needed together"),
        (["--against", "a.pt"], "are needed together"),
        (["a.pt", "--check", "a.onnx", "--against", "a.pt"], "without another MODEL.pt"),
        (["--check", "a.onnx", "--against", "a.pt", "--int8"], "--check takes no --int8"),
        ([], "name a MODEL.pt"),
    ],
)
def test_usage(cae_export: Command, words: list[str], reason: str) -> None:
    done = cae_export(*words)
    assert done.returncode == 2
    assert reason in done.stderr
