"""`check` and `cae-export --check`: compare an existing file with its model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.export.conftest import Command
from tests.export.test_exporter import damaged

from cae_export import RefusedError, UsageError, check, export
from cae_export.checking import CheckReport
from cae_export.parity import independent_loss
from cae_export.report_text import check_table
from cae_runtime import Session, packaged_models
from cae_train.models import build, options_of


@pytest.fixture(scope="module")
def exported(trained_skip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(trained_skip, tmp_path_factory.mktemp("exported") / "model.onnx").path


@pytest.mark.slow
def test_an_unchanged_export_passes_the_check(cae_export: Command, exported: Path, trained_skip: Path) -> None:
    done = cae_export("--check", exported, "--against", trained_skip)
    assert done.returncode == 0, done.stderr
    assert f"{exported}: valid, and equal to the trained network" in done.stdout
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]


@pytest.mark.slow
def test_a_changed_weight_is_refused(exported: Path, trained_skip: Path, tmp_path: Path) -> None:
    onnx.save(damaged(onnx.load(exported)), tmp_path / "changed.onnx")
    with pytest.raises(RefusedError, match="differs from the trained network by"):
        check(tmp_path / "changed.onnx", trained_skip)


@pytest.mark.slow
def test_nodes_out_of_order_are_refused(exported: Path, trained_skip: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    model.graph.node.reverse()
    onnx.save(model, tmp_path / "reversed.onnx")
    with pytest.raises(RefusedError, match="not valid ONNX: Nodes in a graph must be topologically sorted"):
        check(tmp_path / "reversed.onnx", trained_skip)


@pytest.mark.slow
def test_an_int8_export_is_judged_by_its_loss_in_psnr(trained_skip: Path, tmp_path: Path) -> None:
    made = export(trained_skip, tmp_path / "int8.onnx", precision="int8", max_drop=3)
    report = check(made.path, trained_skip, max_drop=3)
    assert report.parity == ()
    assert report.psnr_out == pytest.approx(made.psnr_out, abs=0.5)
    model = onnx.load(made.path)
    (subtraction,) = [node for node in model.graph.node if node.op_type == "Sub"]
    head = subtraction.input[1]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
    at = list(model.graph.node).index(subtraction)
    subtraction.input[1] = "darker"
    model.graph.node.insert(at, onnx.helper.make_node("Add", [head, "half"], ["darker"]))
    onnx.save(model, tmp_path / "dark.onnx")
    with pytest.raises(RefusedError, match=r"dB less \(at most 0.1 dB"):
        check(tmp_path / "dark.onnx", trained_skip)


@pytest.mark.slow
def test_an_int8_file_of_another_network_is_refused_even_if_it_is_better(trained_skip: Path, tmp_path: Path) -> None:
    """By its PSNR alone, the packaged file would pass as one of any network that is worse."""
    content = torch.load(trained_skip, weights_only=True)
    packaged = Session("denoise-int8", provider="cpu").spec
    content["config"] |= {"degrade": packaged.degradation.split()}
    torch.save(content, tmp_path / "worse.pt")
    with pytest.raises(RefusedError, match=r"as if it had lost \d+\.\d\d dB \(at most 0\.4 dB"):
        check(packaged_models()["denoise-int8"], tmp_path / "worse.pt")
    with pytest.raises(UsageError, match=r"tolerance is 0\.001: the file is int8"):
        check(packaged_models()["denoise-int8"], tmp_path / "worse.pt", tolerance=1e-3)


@pytest.mark.parametrize(("gain", "told"), [(0.05, "0.05 dB above"), (-0.05, "0.05 dB below"), (0.0, "0.00 dB below")])
def test_an_int8_file_is_above_or_below_its_network(gain: float, told: str) -> None:
    spec = Session("denoise-int8", provider="cpu").spec
    report = CheckReport(Path("model.onnx"), spec, (), "patches", 1, 20.0, 30.0, 30.0 + gain)
    assert check_table(report)[-1] == f"model.onnx: valid, and {told} the trained network"


def test_an_independent_error_costs_3_db() -> None:
    noise = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.02
    clean = torch.full((4, 3, 32, 32), 0.5)
    trained = clean + noise[0]
    for share, decibel in ((0.0, 0.0), (0.5, 0.97), (1.0, 3.01)):  # 10 log10(1 + share^2)
        made = trained + share * noise[1]
        assert independent_loss(trained, made, clean) == pytest.approx(decibel, abs=0.1)
    assert independent_loss(trained, clean, clean) == pytest.approx(3.01, abs=0.1)  # better, but another


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value"), [("degradation", "jpeg:30"), ("sigma_min", "5"), ("architecture", "cae")])
def test_metadata_of_another_model_are_refused(
    key: str, value: str, exported: Path, trained_skip: Path, tmp_path: Path
) -> None:
    model = onnx.load(exported)
    (entry,) = [entry for entry in model.metadata_props if entry.key == key]
    entry.value = value
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(RefusedError, match=f"the file has {key} {value}.* and the model .*came from another model"):
        check(tmp_path / "changed.onnx", trained_skip)


@pytest.mark.slow
def test_check_refuses_files_it_cannot_compare(exported: Path, trained_skip: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.onnx' does not exist"):
        check(tmp_path / "no.onnx", trained_skip)
    with pytest.raises(FileNotFoundError, match=r"no\.pt' does not exist"):
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
        ([], "MODEL.pt is missing"),
    ],
)
def test_wrong_usage_exits_with_2(cae_export: Command, words: list[str], reason: str) -> None:
    done = cae_export(*words)
    assert done.returncode == 2
    assert reason in done.stderr


@pytest.mark.slow
def test_a_file_of_another_network_is_refused(exported: Path, trained_skip: Path, tmp_path: Path) -> None:
    content = torch.load(trained_skip, weights_only=True)
    network = build("vae")
    content |= {"arch": "vae", "options": options_of(network), "state": network.state_dict()}
    torch.save(content, tmp_path / "vae.pt")
    large = export(trained_skip, tmp_path / "large.onnx", patch=64).path
    with pytest.raises(RefusedError, match=r"patches of 64 pixels, .*vae takes 32 only"):
        check(large, tmp_path / "vae.pt")
