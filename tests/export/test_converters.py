"""Folders for other engines: proved in the engine, written completely or not at all."""

from __future__ import annotations

import dataclasses
import json
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.export.conftest import Command

from cae_export import OutputExistsError, RefusedError, UsageError, convert_to
from cae_export.converters import engine, openvino
from cae_export.converters.convert_to import TARGETS
from cae_export.converters.engine import Engine, Floats
from cae_export.evaluation_data import find
from cae_export.parity import mean_psnr
from cae_runtime import ModelSpec
from cae_shared.temporary import whole_folder
from cae_train import load_model

FILES = {"openvino": {"model.xml", "model.bin"}, "mnn": {"model.mnn"}, "ncnn": {"model.param", "model.bin"}}


def engine_of(target: str) -> Engine:
    return import_module(f"cae_export.converters.{target}").ENGINE


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """In place of OpenVINO, an engine that is onnxruntime plus an error."""
    import onnxruntime

    wrong = {"by": 0.0}

    def write(content: bytes, folder: Path) -> tuple[str, str]:
        assert folder.is_absolute()  # converters have working folders of their own
        (folder / "model.xml").write_bytes(content)
        return "input", "output"

    def run(folder: Path, ends: tuple[str, str], patches: Floats) -> Floats:
        session = onnxruntime.InferenceSession(folder / "model.xml", providers=["CPUExecutionProvider"])
        return session.run([ends[1]], {ends[0]: patches})[0] + np.float32(wrong["by"])

    monkeypatch.setattr(openvino, "ENGINE", Engine(("json",), write, run, channels_last=True))
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_each_engine_equals_torch(target: str, trained: Path, tmp_path: Path) -> None:
    if missing := [name for name in engine_of(target).modules if find_spec(name) is None]:
        pytest.skip(f"{missing[0]} is not installed: extra to-{target}")
    report = convert_to(target, trained, tmp_path / "made", data=None)
    assert report.difference < 1e-4
    assert {path.name for path in report.path.iterdir()} == FILES[target] | {"metadata.json"} == set(report.files)
    says = json.loads((report.path / "metadata.json").read_text(encoding="utf-8"))
    assert ModelSpec.from_metadata(says) == report.spec
    assert says["engine"] == target
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.slow
@pytest.mark.parametrize("by", [0.003, float("nan")])
def test_an_engine_that_differs_is_refused_and_leaves_nothing(
    by: float, echo: dict[str, float], trained_skip: Path, tmp_path: Path, cae_export: Command
) -> None:
    echo["by"] = by
    done = cae_export(trained_skip, "--to", "openvino", "-o", tmp_path / "made")
    assert done.returncode == 1
    assert "refused: openvino differs from the trained network by" in done.stderr
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_metadata_names_the_data_that_the_engine_was_measured_on(
    echo: dict[str, float], trained_skip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On fewer patches than the ONNX file: both PSNR figures, and the text, are of those."""
    monkeypatch.chdir(tmp_path)
    report = convert_to("openvino", trained_skip, "made")
    assert report.path == Path("made")
    says = json.loads((tmp_path / "made" / "metadata.json").read_text(encoding="utf-8"))
    assert says["evaluated_on"] == report.patches
    assert says["evaluated_on"].startswith("128 patches of ")
    some = find(load_model(trained_skip), None).first(128)
    assert float(says["psnr_in"]) == pytest.approx(mean_psnr(some.degraded, some.clean), abs=1e-4)


@pytest.mark.slow
def test_int8_for_other_engines_is_judged_by_its_loss_in_psnr(
    echo: dict[str, float], trained_skip: Path, tmp_path: Path
) -> None:
    report = convert_to("openvino", trained_skip, tmp_path / "made", precision="int8", max_drop=2.0)
    assert report.spec.layout == "nhwc"
    assert report.difference > 1e-4
    echo["by"] = 0.5
    with pytest.raises(RefusedError, match=r"int8 in openvino loses .* dB \(at most 2 are allowed\)"):
        convert_to("openvino", trained_skip, tmp_path / "other", precision="int8", max_drop=2.0)


@pytest.mark.slow
def test_an_existing_folder_is_kept_or_replaced_on_request(
    echo: dict[str, float], trained_skip: Path, tmp_path: Path, cae_export: Command
) -> None:
    target = tmp_path / "made"
    target.mkdir()
    (target / "letter.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        convert_to("openvino", trained_skip, target)
    for letter in (None, "{}", '{"engine": "openvino", "schema": "2"}'):
        if letter is not None:
            (target / "metadata.json").write_text(letter)
        with pytest.raises(
            UsageError, match="holds more than the files of an export and is not replaced: choose another folder"
        ):
            convert_to("openvino", trained_skip, target, overwrite=True)
    (target / "letter.txt").unlink()
    done = cae_export(trained_skip, "--to", "openvino", "-o", target, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert "metadata.json" in done.stdout
    assert json.loads((target / "metadata.json").read_text(encoding="utf-8"))["engine"] == "openvino"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_failing_converter_is_reported_with_its_last_line(tmp_path: Path) -> None:
    engine.call("ncnn", [sys.executable, "-c", "print('all is well')"], tmp_path)
    fails = r"import sys; sys.stdout.buffer.write(b'some\nlayer \xff is unknown\n\n'); sys.exit(3)"
    with pytest.raises(
        RefusedError, match="refused: ncnn stops with code 3: layer \N{REPLACEMENT CHARACTER} is unknown"
    ):
        engine.call("ncnn", [sys.executable, "-c", fails], tmp_path)


def test_unknown_and_uninstalled_engines_are_refused(
    trained_skip: Path, monkeypatch: pytest.MonkeyPatch, cae_export: Command
) -> None:
    done = cae_export(trained_skip, "--to", "tensorrt")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--to is 'tensorrt': choose from openvino, mnn, ncnn" in done.stderr
    monkeypatch.setattr(openvino, "ENGINE", dataclasses.replace(openvino.ENGINE, modules=("no_such_module",)))
    done = cae_export(trained_skip, "--to", "openvino")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'cae-toolkit[to-openvino]'" in done.stderr
    for part in (["--part", "encoder"], ["--anomaly"]):
        done = cae_export(trained_skip, "--to", "openvino", *part)
        assert (done.returncode, "takes no --to" in done.stderr) == (2, True)


def test_a_failed_conversion_keeps_the_existing_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with whole_folder(target) as made:
        (made / "old").touch()
    with pytest.raises(FileExistsError), whole_folder(target) as made:
        (made / "..").resolve().joinpath("folder").mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old"]


def test_an_interrupted_conversion_keeps_the_existing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    with whole_folder(target) as made:
        (made / "old").touch()
    real = Path.rename

    def interrupted(self: Path, to: Path) -> Path:
        if to == target and ".partial" in self.name and not (self / "old").exists():
            raise KeyboardInterrupt
        return real(self, to)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), whole_folder(target) as made:
        (made / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "old"]


@pytest.mark.parametrize("name", [".", "..", "link"])
def test_an_output_that_is_not_its_own_folder_is_refused(
    name: str, echo: dict[str, float], trained_skip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    with pytest.raises(UsageError, match=r"is not the name of a new folder|holds more than"):
        convert_to("openvino", trained_skip, name, overwrite=True)
    assert (tmp_path / "elsewhere").is_dir()
