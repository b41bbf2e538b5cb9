from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from cae_runtime import ModelError, ProviderError, Restorer, Session, UsageError, packaged_models
from cae_runtime.inference import model_files
from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.cpu_limits import usable_cpus
from cae_runtime.inference.model_checks import refuse_damaged
from cae_runtime.inference.model_files import find_model
from cae_runtime.inference.providers import PROVIDERS, ProviderChoice, parse_provider
from cae_runtime.inference.untrusted.refusals import refuse_not_finite

Model = Callable[[str], Path]
CPU = "CPUExecutionProvider"


def test_runs_a_model_on_the_cpu(fixture_model: Model, rng: np.random.Generator) -> None:
    opened = Session(fixture_model("half_red"), provider="cpu")
    patches = rng.random((5, 3, 32, 32), np.float32)
    np.testing.assert_allclose(opened.run(patches), patches * np.float32([0.5, 1, 1])[:, None, None])
    assert opened.provider == CPU
    assert opened.provider_note == f"{CPU}: as asked"
    assert opened.spec.architecture == "fixture"
    assert opened.path == fixture_model("half_red")


def test_runs_a_model_given_as_bytes(fixture_model: Model, rng: np.random.Generator) -> None:
    file = fixture_model("half_red")
    patches = rng.random((2, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(Session(file.read_bytes(), provider="cpu").run(patches), Session(file).run(patches))
    with pytest.raises(ModelError, match="'<bytes>' is not an ONNX model"):
        Session(b"")


@pytest.mark.parametrize("count", [1, 3, 4, 5, 12])
def test_a_fixed_batch_model_takes_any_number_of_patches(
    fixture_model: Model, rng: np.random.Generator, count: int
) -> None:
    fixed = Session(fixture_model("fixed_batch"), provider="cpu")
    assert fixed.batch == 4
    patches = rng.random((count, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(fixed.run(patches), patches)
    image = rng.integers(0, 256, (70, 45, 3), np.uint8)
    np.testing.assert_array_equal(Restorer(fixed)(image), image)


def test_input_and_output_can_have_any_name(fixture_model: Model, rng: np.random.Generator) -> None:
    patches = rng.random((2, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(Session(fixture_model("other_names"), provider="cpu").run(patches), patches)


def test_fp16_input_and_output_are_converted_to_float32(fixture_model: Model) -> None:
    patches = np.full((2, 3, 32, 32), 0.5, np.float32)
    output = Session(fixture_model("identity_fp16"), provider="cpu").run(patches)
    assert output.dtype == np.float32
    np.testing.assert_array_equal(output, patches)


def test_each_task_has_its_output_shape(fixture_model: Model) -> None:
    code = Session(fixture_model("encode"), provider="cpu").run(np.zeros((2, 3, 32, 32), np.float32))
    assert code.shape == (2, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_metadata", "no CAE Toolkit metadata: export it with cae-export"),
        ("wrong_schema", "schema '99'"),
        ("huge_batch", "takes batches of 1000000 .*1 to 4096"),
        ("vast_batch", "batches of 4096, each of 3x256x256 values, 805306368 in all: at most 16777216"),
        ("other_patch", r"\['N', 3, 16, 16\]"),
        ("external", "another file"),
        ("missing", "packaged models"),
    ],
)
def test_an_unusable_model_is_refused_with_the_reason(fixture_model: Model, name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        Session(fixture_model(name), provider="cpu")


@pytest.mark.parametrize(("output", "reason"), [(np.nan, "not finite"), (0.5, "the same for black and white")])
def test_models_that_overflow_or_ignore_their_input_are_refused(
    fixture_model: Model, output: float, reason: str
) -> None:
    spec = Session(fixture_model("identity"), provider="cpu").spec
    with pytest.raises(ModelError, match=reason):
        refuse_damaged(Path("a.onnx"), lambda patches: np.full_like(patches, output), spec)


def test_files_that_cannot_be_parsed_are_refused() -> None:
    whole = packaged_models()["cae"].read_bytes()
    many = b"\x3a\x80\x80\x10" + b"\x0a\x00" * 2**17  # a graph of that many empty nodes
    for content, reason in (
        (whole[:-200], "is cut off"),
        (b"\x0b" + whole, "unknown wire type"),
        (b"\xff" * 20, "more than 10 bytes"),
        (b"\x80", "out of"),
        (many, "more than 131072 parts"),
    ):
        with pytest.raises(ModelError, match=f"cannot be checked for damaged weights: .*{reason}"):
            refuse_not_finite(Path("a.onnx"), content)


def test_external_weights_are_not_opened(fixture_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fixture_model("external").parent
    assert (folder / "external.bin").exists()
    monkeypatch.chdir(folder)  # where onnxruntime would look for them
    with pytest.raises(ModelError, match="another file"):
        Session("external.onnx", provider="cpu")


@pytest.mark.parametrize("content", [b"", b"hello" * 100, b"\x80\x04\x95pickle", b"PK\x03\x04archive/data.pkl"])
def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX model"):
        Session(tmp_path / "model.pt", provider="cpu")


def test_folders_and_oversized_files_are_refused_as_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        Session(tmp_path)
    monkeypatch.setattr(model_files, "MODEL_BYTES_MAX", 2**20)
    (tmp_path / "large.onnx").write_bytes(bytes(2**21))
    for model in (tmp_path / "large.onnx", bytes(2**21)):
        with pytest.raises(ModelError, match="the limit is 1 MiB"):
            Session(model)


def test_packaged_models_are_opened_by_name(
    tmp_path: Path, fixture_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "denoise-tiny.onnx").write_bytes(fixture_model("identity").read_bytes())
    monkeypatch.setattr(model_files, "_MODELS", tmp_path)
    assert list(packaged_models()) == ["denoise-tiny"]
    assert Session("denoise-tiny", provider="cpu").path == tmp_path / "denoise-tiny.onnx"
    with pytest.raises(ModelError, match=r"'denoise-huge' .*packaged models: denoise-tiny"):
        find_model("denoise-huge")


def test_auto_reports_the_chosen_provider_and_why(fixture_model: Model) -> None:
    opened = Session(fixture_model("identity"))
    assert opened.provider_note.startswith(opened.provider)
    if set(ort.get_available_providers()) <= {CPU, "AzureExecutionProvider"}:
        assert opened.provider_note == f"{CPU}: the only one here that auto considers"
        assert not opened.provider_was_chosen


def test_a_pytorch_file_is_refused_with_the_export_command(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\3\4 weights")
    with pytest.raises(ModelError, match=r"is not an ONNX model; export it first: cae-export .*model\.pt"):
        Session(tmp_path / "model.pt")
    (tmp_path / "$(touch it).pt").write_bytes(b"PK\3\4 weights")
    with pytest.raises(ModelError, match=r"cae-export '[^']*\$\(touch it\)\.pt'$"):
        Session(tmp_path / "$(touch it).pt")


def test_a_run_is_refused_with_the_file_to_take(tmp_path: Path, fixture_model: Model) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r"whose model is model\.pt: export that with cae-export$"):
        Session(tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match=r"is a folder \(packaged models"):
        Session(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match=r"export that first: cae-export .*model\.pt$"):
        Session(tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match=r"is a folder: export it first: cae-export .*model\.pt, and name the file"):
        Session(tmp_path)
    (tmp_path / "model.onnx").write_bytes(fixture_model("blur").read_bytes())
    with pytest.raises(ModelError, match=r"is a folder: name the model in it, '.*model\.onnx' \(packaged"):
        Session(tmp_path)


def test_auto_reports_a_better_provider_that_failed(fixture_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("CUDA is really there")
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    opened = Session(fixture_model("identity"))
    assert opened.provider == CPU
    assert "CUDAExecutionProvider did not start" in opened.provider_note
    assert opened.provider_was_chosen
    with pytest.raises(ProviderError, match="CUDAExecutionProvider did not start"):
        Session(fixture_model("identity"), provider="cuda")


def test_a_named_provider_is_used_or_refused(fixture_model: Model) -> None:
    absent = next(p for p in PROVIDERS if p.full not in ort.get_available_providers())
    with pytest.raises(ProviderError, match=f"this onnxruntime has no {absent.full}, only .*pip"):
        Session(fixture_model("identity"), provider=absent.short)


@pytest.mark.skipif("AzureExecutionProvider" not in ort.get_available_providers(), reason="computes nothing itself")
def test_a_named_provider_that_falls_back_to_the_cpu_is_refused(fixture_model: Model) -> None:
    with pytest.raises(ProviderError, match=r"AzureExecutionProvider cannot run the whole model, .* on the CPU"):
        Session(fixture_model("identity"), provider="AzureExecutionProvider")


def test_auto_does_not_call_a_provider_fastest(fixture_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = next(p for p in PROVIDERS if p.automatic)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [fast.full, CPU])
    started = engine.start
    cpu = ProviderChoice(next(p for p in PROVIDERS if p.full == CPU))
    monkeypatch.setattr(engine, "start", lambda path, data, threads, _: started(path, data, threads, cpu))
    assert Session(fixture_model("identity")).provider_note == f"{fast.full}: the first in auto's order that started"


def test_a_wrong_output_shape_makes_a_model_unusable(fixture_model: Model) -> None:
    with pytest.raises(ModelError, match=r"narrow\.onnx' gives shape \(2, 3, 32, 16\) for patches of \(2, 3, 32, 32\)"):
        Session(fixture_model("narrow"), provider="cpu")


@pytest.mark.parametrize("text", ["gpu", "", "auto:1", "cpu:1", "cuda:x", "cuda:", "cuda:-1"])
def test_a_name_that_is_not_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="provider"):
        parse_provider(text)


@pytest.mark.parametrize(
    ("text", "full", "device"),
    [
        ("cpu", CPU, None),
        ("CUDA:1", "CUDAExecutionProvider", 1),
        ("directml", "DmlExecutionProvider", None),
        ("OpenVINOExecutionProvider", "OpenVINOExecutionProvider", None),
        ("XnnpackExecutionProvider", "XnnpackExecutionProvider", None),
    ],
)
def test_providers_are_chosen_by_short_and_full_names(text: str, full: str, device: int | None) -> None:
    choice = parse_provider(text)
    assert choice is not None
    assert (choice.provider.full, choice.device) == (full, device)
    assert parse_provider("auto") is None


def test_a_full_name_unknown_to_onnxruntime_is_refused(fixture_model: Model) -> None:
    with pytest.raises(UsageError, match="'AbacusExecutionProvider'"):
        Session(fixture_model("identity"), provider="AbacusExecutionProvider")


def test_threads_set_the_number_of_workers(fixture_model: Model) -> None:
    with pytest.raises(UsageError, match="threads is 0"):
        Session(fixture_model("identity"), threads=0)
    opened = Session(fixture_model("identity"), provider="cpu")
    assert opened.workers == usable_cpus()
    assert opened._session.get_session_options().intra_op_num_threads == 1, "threads are calls, side by side"
    assert Session(fixture_model("identity"), provider="cpu", threads=5).workers == 5


def device(provider: str, kind: str) -> types.SimpleNamespace:
    """What onnxruntime tells of a device."""
    hardware = types.SimpleNamespace(type=f"OrtHardwareDeviceType.{kind}", vendor="Intel", metadata={})
    return types.SimpleNamespace(ep_name=provider, device=hardware, kind=kind)


class Plugin:
    """A plug-in package and what onnxruntime makes of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, devices: int = 1, broken: bool = False) -> None:
        self.registered: list[tuple[str, str]] = []
        self.appended: list[object] = []
        package = types.ModuleType("onnxruntime_ep_openvino")
        package.__spec__ = ModuleSpec(package.__name__, None)
        package.get_library_path = lambda: "/plugins/openvino.so"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, package.__name__, package)
        kinds = ["CPU", "GPU", "NPU"]  # in the plug-in's order
        found = [device("OpenVINOExecutionProvider", kinds[i]) for i in range(devices)]
        cpu = device(CPU, "CPU")

        def register(name: str, library: str) -> None:
            if broken:
                raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : libtbb.so.12: cannot open shared object file")
            if self.registered:
                raise RuntimeError(f"EP library is already registered under {name}")
            self.registered.append((name, library))

        monkeypatch.setattr(ort, "register_execution_provider_library", register)
        monkeypatch.setattr(ort, "get_ep_devices", lambda: [cpu, *(found if self.registered else [])])
        opened = engine.InferenceSession

        class OnItsDevice(opened):  # type: ignore[misc, valid-type]
            def get_providers(self) -> list[str]:
                return ["OpenVINOExecutionProvider", CPU]

        class Options(ort.SessionOptions):  # type: ignore[misc]
            def add_provider_for_devices(options, devices: list[object], settings: object) -> None:  # noqa: N805
                self.appended += devices
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "0")  # it is the CPU in truth
                monkeypatch.setattr(engine, "InferenceSession", OnItsDevice)

        monkeypatch.setattr(ort, "SessionOptions", Options)


def test_a_plug_in_provider_is_registered_once_and_used(fixture_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Plugin(monkeypatch, devices=2)
    opened = Session(fixture_model("half_red"), provider="openvino:1")
    assert opened.provider_note == "OpenVINOExecutionProvider on CPU Intel: as asked"
    assert plugin.registered == [("OpenVINOExecutionProvider", "/plugins/openvino.so")]
    assert [device.kind for device in plugin.appended] == ["CPU"]  # type: ignore[attr-defined]
    patches = np.ones((3, 3, 32, 32), np.float32)
    assert opened.run(patches)[0, 0].max() == 0.5
    assert (opened.workers, opened.steady_batch) == (1, True)
    automatic = Session(fixture_model("half_red"))
    assert automatic.provider == "OpenVINOExecutionProvider"
    assert automatic.provider_note.startswith("OpenVINOExecutionProvider on GPU Intel: the first"), "the CPU comes last"
    with pytest.raises(ProviderError, match="has 2 devices here, there is no number 2"):
        Session(fixture_model("half_red"), provider="openvino:2")


def test_a_plug_in_without_a_device_or_library_is_reported(
    fixture_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        Plugin(patched, devices=0)
        with pytest.raises(ProviderError, match="onnxruntime_ep_openvino finds no device on this machine"):
            Session(fixture_model("identity"), provider="openvino")
        assert Session(fixture_model("identity")).provider == CPU
    Plugin(monkeypatch, broken=True)
    with pytest.raises(ProviderError, match="onnxruntime_ep_openvino cannot be loaded: libtbb"):
        Session(fixture_model("identity"), provider="openvino")
    opened = Session(fixture_model("identity"))
    assert opened.provider == CPU
    assert "cannot be loaded: libtbb" in opened.provider_note
