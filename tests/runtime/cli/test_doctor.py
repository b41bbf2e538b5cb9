"""`cae-run --doctor` and `--benchmark`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cae_runtime import ModelError, ProviderError, Restorer, UsageError
from cae_runtime.cli import benchmark, doctor
from cae_runtime.cli.main import app
from cae_runtime.inference import cpu_speed
from cae_runtime.inference import onnx_backend as engine
from cae_runtime.inference.providers import PROVIDERS
from cae_runtime.live.video_devices import listed_cameras

Model = Callable[[str], Path]


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        (["numpy", "onnxruntime", "opencv-python"], []),
        (["onnxruntime", "onnxruntime-ep-openvino", "onnxruntime-extensions", "opencv-python"], []),
        (["onnxruntime", "onnxruntime_gpu"], ["onnxruntime, onnxruntime-gpu"]),
        (["opencv-python", "OpenCV-Contrib-Python-Headless"], ["opencv-contrib-python-headless, opencv-python"]),
    ],
)
def test_the_doctor_finds_wheels_that_overwrite_each_other(installed: list[str], named: list[str]) -> None:
    problems = doctor.duplicates(installed)
    assert len(problems) == len(named)
    assert all(names in problem for names, problem in zip(named, problems, strict=True))


def test_cameras_are_listed_from_linux_device_files(tmp_path: Path) -> None:
    for number, index, name in ((10, "0", "Second"), (0, "0", "Webcam: HD"), (1, "1", "Webcam: HD")):
        folder = tmp_path / f"video{number}"
        folder.mkdir()
        (folder / "index").write_text(index + "\n")
        (folder / "name").write_text(name + "\n")
    (tmp_path / "video7").mkdir()
    assert listed_cameras(tmp_path) == {0: "Webcam: HD", 10: "Second"}
    assert listed_cameras(tmp_path / "absent") == {}


def test_the_doctor_reports_versions_cpus_and_providers() -> None:
    done = CliRunner().invoke(app, ["--doctor", "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == (1 if found["problems"] else 0)
    assert {"cae-toolkit", "Python", "onnxruntime", "cv2", "numpy"} < found["versions"].keys()
    assert 1 <= found["cpus"]["used"] <= found["cpus"]["host"]
    assert found["memory_limit"] is None or found["memory_limit"] > 0
    checks = {check["name"]: check for check in found["providers"]}
    assert checks.keys() == {provider.short for provider in PROVIDERS}
    assert checks["cpu"]["status"] == "works"
    assert checks["cpu"]["off_by"] == 0
    assert all("pip install" in check["detail"] for check in checks.values() if check["status"] == "absent")
    assert any(device.startswith("CPUExecutionProvider") for device in found["devices"])
    assert found["cpu_ms"].keys() == {"highest", "below", "fp16", "fp32"}
    assert min(found["cpu_ms"].values()) > 0
    assert any("fp16" in note for note in found["notes"]) is (found["cpu_ms"]["fp16"] > found["cpu_ms"]["fp32"])
    assert found["extras"].keys() == {
        "video",
        "heif",
        "raw",
        "tiff",
        "cmyk",
        "tsne",
        "watch",
        "cloud",
        "ray",
        "virtual-camera",
        "openvino",
        "webgpu",
    }
    text = CliRunner().invoke(app, ["--doctor"]).stdout
    assert "at the highest level" in text
    assert found["versions"]["onnxruntime"] in text
    assert "used" in text


def test_every_extra_is_listed_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["numpy>=2", 'numpy>=2; extra == "video"', 'nosuch; extra == "tiff"']
    monkeypatch.setattr(doctor, "requires", lambda _: lines)
    found = doctor.extras()
    assert found["video"] == f"numpy {np.__version__}"
    assert found["tiff"] == "nosuch is not installed: pip install 'cae-toolkit[tiff]'"


def test_the_doctor_reports_a_failing_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = next(provider for provider in PROVIDERS if provider.short == "openvino")

    def broken(provider: object) -> list[object]:
        if provider == openvino:
            raise ProviderError("OpenVINOExecutionProvider: its plug-in cannot be loaded: no libtbb")
        return []

    monkeypatch.setattr(engine, "plugin_is_installed", lambda provider: provider == openvino)
    monkeypatch.setattr(engine, "plugin_devices", broken)
    findings = doctor.examine()
    assert "OpenVINOExecutionProvider: its plug-in cannot be loaded: no libtbb" in findings.problems
    assert next(check for check in findings.providers if check.name == "openvino").status == "fails"
    done = CliRunner().invoke(app, ["--doctor"])
    assert done.exit_code == 1
    assert "no libtbb" in done.stdout


def test_the_benchmark_measures_a_model(fixture_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SIZES", ((64, 48), (128, 72)))
    name = str(fixture_model("blur"))
    figures = benchmark.measure(benchmark.Settings(name, "cpu", 1, 16, None, seconds=0.01))
    assert (figures.model, figures.provider, figures.overlap) == (name, "CPUExecutionProvider", 8)
    assert figures.start_up_s > 0
    assert figures.peak_memory_mib is None or figures.peak_memory_mib > 20, "Python with its libraries has more"
    assert [(speed.width, speed.height) for speed in figures.speeds] == list(benchmark.SIZES)
    for speed in figures.speeds:
        assert 0 < speed.ms_p50 <= speed.ms_p95
        assert speed.fps == pytest.approx(1000 / speed.ms_p50)
        assert speed.mpx_s == pytest.approx(speed.width * speed.height * speed.fps / 1e6)
        assert speed.bare_share is not None
        assert speed.bare_share > 0
    assert figures.level_ms is not None
    assert min(figures.level_ms) > 0
    peer = benchmark.non_local_means(1, seconds=0.01)
    text = "\n".join(benchmark.as_text([figures], peer, 1))
    assert all(word in text for word in (name, "64x48", "128x72", benchmark.NON_LOCAL_MEANS, "1 thread"))
    document = json.loads(benchmark.as_json([figures], peer, 1))
    assert document["models"][0]["speeds"][1]["width"] == 128
    assert document["peers"][0]["speeds"][0]["bare_share"] is None


def test_a_slower_optimization_level_is_reported() -> None:
    assert cpu_speed.level_note(40.0, 39.0) == ""
    assert cpu_speed.level_note(160.0, 40.0).startswith(
        "onnxruntime's highest optimization level is slower on this CPU, 160.0 ms for 40.0 ms"
    )


def test_a_half_precision_model_that_is_slow_here_gives_a_note_first(
    fixture_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, single = (Restorer(fixture_model(name), provider="cpu") for name in ("identity_fp16", "identity"))
    for machine, said in (("x86_64", True), ("aarch64", False)):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert any("x86 CPUs run slowly" in line for line in half.remarks) is said
        assert not any("fp16" in line for line in single.remarks)


@pytest.mark.slow
def test_the_benchmark_raises_the_same_errors_as_other_commands(fixture_model: Model, tmp_path: Path) -> None:
    for error, model, provider in (
        (ModelError, "denoise-huge", "cpu"),
        (ProviderError, str(fixture_model("identity")), "rocm"),
        (UsageError, str(fixture_model("identity")), "abacus"),
        (ModelError, str(fixture_model("nan")), "cpu"),
    ):
        with pytest.raises(error, match=r"denoise-huge|ROCMExecutionProvider|'abacus'|NaN or infinity"):
            benchmark.benchmark([benchmark.Settings(model, provider, None, 16, None)])


@pytest.mark.slow
def test_nothing_in_the_current_folder_is_imported(
    fixture_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cv2.py").write_text("open('was_run', 'w')\n")
    monkeypatch.chdir(tmp_path)
    benchmark.benchmark([benchmark.Settings(str(fixture_model("identity").resolve()), "cpu", 1, 16, None, 0.01)])
    assert [path.name for path in tmp_path.iterdir()] == ["cv2.py"]


def test_the_doctor_reports_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor.importlib.import_module  # type: ignore[attr-defined]

    def broken(name: str) -> object:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name)

    monkeypatch.setattr(doctor.importlib, "import_module", broken)  # type: ignore[attr-defined]
    findings = doctor.examine()
    assert findings.problems[-1] == "cv2 cannot be imported: libGL.so.1: cannot open shared object file"
    assert findings.providers == []
    assert "libGL" in "\n".join(doctor.as_text(findings))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--doctor", "--benchmark"], "give only one of --doctor and --benchmark"),
        (["--doctor", "photos"], "--doctor cleans nothing"),
        (["--benchmark", "-o", "out"], "--benchmark cleans nothing"),
        (["--doctor", "-m", "denoise"], "--doctor takes no --model"),
        (["--doctor", "--provider", "cpu"], "--doctor takes no --provider"),
        (["--benchmark", "--ext", "png"], "--benchmark takes no --ext"),
        (["--benchmark", "-m", "denoise-huge"], "'denoise-huge' is neither"),
        ([], "SOURCE is missing: pass images, videos or folders"),
    ],
)
def test_wrong_usage_is_refused(args: list[str], message: str) -> None:
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 2
    assert message in done.stderr
