"""The command `cae-export`, run as a user types it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.export.conftest import Command
from tests.signalled import signalled_at


@pytest.mark.slow
def test_from_model_to_cleaned_picture(cae_export: Command, trained_skip: Path, photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_bytes(trained_skip.read_bytes())
    home = tmp_path / "home"
    home.mkdir()
    done = cae_export(model, env={"HOME": str(home), "XDG_CACHE_HOME": ""}, installed=True)
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == [], "nothing is written into the home folder"
    assert "largest difference" in done.stdout
    assert f"next: cae-run photos/ -o clean/ -m {tmp_path / 'model.onnx'}" in done.stderr
    run = Path(sys.executable).parent / "cae-run"
    cleaned = subprocess.run(
        [run, photos, "-o", tmp_path / "clean", "-m", tmp_path / "model.onnx"], capture_output=True
    )
    assert cleaned.returncode == 0
    assert {path.name for path in (tmp_path / "clean").iterdir()} == {path.name for path in photos.iterdir()}


@pytest.mark.slow
def test_int8_reports_size_loss_and_speed(cae_export: Command, trained_skip: Path, tmp_path: Path) -> None:
    done = cae_export(trained_skip, "--int8", "--max-drop", "3", "-o", tmp_path / "i.onnx")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("int8:")]
    assert "kB" in line
    assert "dB" in line
    assert "x the speed of fp32 on this machine" in line


@pytest.mark.slow
def test_a_refused_export_exits_with_1_and_leaves_no_file(
    cae_export: Command, trained_skip: Path, tmp_path: Path
) -> None:
    done = cae_export(trained_skip, "--tolerance", "1e-12", "-o", tmp_path / "model.onnx")
    assert done.returncode == 1
    assert "refused" in done.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def make_bad(kind: str, folder: Path) -> Path:
    path = folder / "model.pt"
    if kind == "text":
        path.write_text("not a model")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": os.getcwd}))
    elif kind == "foreign":
        torch.save({"weights": torch.zeros(3)}, path)
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["missing", "text", "pickle", "foreign", "folder"])
def test_unusable_models_are_refused_with_the_reason(cae_export: Command, kind: str, tmp_path: Path) -> None:
    done = cae_export(make_bad(kind, tmp_path))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("cae-export: ")
    assert "model.pt" in line
    assert not list(tmp_path.glob("*.onnx"))


def test_an_onnx_file_is_no_model_pt(cae_export: Command, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    done = cae_export(tmp_path / "model.onnx")
    assert done.returncode == 2
    assert "is an ONNX file: name the model.pt that it came from" in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--int8", "--fp16"], "--int8 and --fp16 cannot be combined"),
        (["--opset", "3"], "15 to 22"),
        (["-o", "nowhere/at/all.onnx"], "no such folder"),
        (["-o", "model.tflite"], ".onnx"),
        (["--data", "no-such-data"], "no-such-data"),
        (["--max-drop", "-2"], "--max-drop"),
        (["--max-drop", "1"], "--max-drop needs --int8: "),
        (["--fp16", "--max-drop", "1"], "--max-drop needs --int8: "),
        (["--to", "mnn", "--max-drop", "1"], "--max-drop needs --int8 or --fp16: "),
        (["--portable"], "--portable needs --int8: "),
        (["--input-name", "output"], "--input-name is 'output': the output has this name"),
    ],
)
def test_wrong_options_are_refused_with_the_reason(
    cae_export: Command, trained_skip: Path, options: list[str], named: str
) -> None:
    done = cae_export(trained_skip, *options)
    assert done.returncode == 2
    assert named in done.stderr.splitlines()[-1]


def test_help_imports_nothing_heavy_and_a_missing_extra_is_a_one_line_error(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.partition('.')[0] in {'torch', 'onnx', 'onnxslim', 'lightning'}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from cae_export.cli import main\n"
        "main()\n"
    )
    helped = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True)
    assert helped.returncode == 0, helped.stderr
    done = subprocess.run([sys.executable, "-c", program, "model.pt"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'cae-toolkit[export]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("module", "number", "code"), [("torch", signal.SIGINT, 130), ("onnx", signal.SIGTERM, 143)])
def test_a_signal_during_imports_ends_the_command_cleanly(
    module: str, number: signal.Signals, code: int, tmp_path: Path
) -> None:
    assert signalled_at("cae_export", module, number, tmp_path / "model.pt") == (code, "cae-export: interrupted\n")


STUCK = """
import os, signal, sys, tempfile, threading, types
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
numbers = [int(number) for number in sys.argv[1].split()]
def export(*_, **__):
    with tempfile.TemporaryDirectory() as folder:  # as onnxruntime's quantizer does
        Path(folder, "model.onnx").touch()
        os.kill(os.getpid(), numbers[0])
def stuck(*_, **__):
    try:
        export()
    except BaseException:
        Path(tempfile.mkdtemp(), "model.onnx").touch()
        os.kill(os.getpid(), numbers[1])
        threading.Event().wait()  # for ever
modules = sys.modules
modules["cae_export.exporter"] = types.SimpleNamespace(export=stuck if numbers[1:] else export)
modules["cae_export.parts"] = types.SimpleNamespace(export_part=None)
sys.argv = ["cae-export", "model.pt"]
from cae_export.__main__ import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("numbers", "code"), [("2", 130), ("15", 143), ("2 15", 130)])
def test_signals_leave_no_temporary_folder(numbers: str, code: int, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", STUCK, numbers], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "cae-export: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [".", "/", "", ".."])
def test_a_folder_is_refused_as_a_model(cae_export: Command, name: str) -> None:
    done = cae_export(name)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "is a folder" in done.stderr


def test_a_full_disk_is_not_reported_as_wrong_usage(
    cae_export: Command, trained_skip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "touch", full)
    done = cae_export(trained_skip, "-o", tmp_path / "out.onnx")
    assert (done.returncode, done.stderr) == (
        1, f"cae-export: --output '{tmp_path / 'out.onnx'}' cannot be written: No space left on device\n"
    )  # fmt: skip


def test_passwords_of_addresses_are_not_shown(cae_export: Command) -> None:
    done = cae_export("https://user:Tr0ub4dor@host/model.pt?token=Tr0ub4dor")
    assert done.returncode == 2, done.stderr
    assert "***@host" in done.stderr
    assert "Tr0ub4dor" not in done.stdout + done.stderr
