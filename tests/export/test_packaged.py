"""The packaged models are what `cae-export` makes of the released `model.pt` files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cae_export.evaluation_data import find
from cae_export.parity import mean_psnr, run
from cae_runtime import Session
from cae_train import load_model
from cae_train.data.packaged import DENOISE
from cae_train.models import multiply_adds_per_pixel

ASSETS = Path(__file__).parents[2] / "assets"


def released(name: str) -> Path:
    return DENOISE if name == "denoise" else ASSETS / f"{name}.pt"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "loss"), [("denoise", 0.3), ("denoise-fast", 0.35)])
def test_torch_and_the_packaged_files_agree(
    name: str, loss: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(released(name))
    monkeypatch.chdir(tmp_path)  # away from any data/ of this machine: the packaged patches are taken
    patches = find(model, None)
    assert "packaged" in patches.source
    with torch.inference_mode():
        trained = model.network(patches.degraded)
        tuned = load_model(released(f"{name}-int8")).network(patches.degraded)  # int8 has weights of its own
    fp32, int8 = (run(Session(file, provider="cpu"), patches.degraded) for file in (name, f"{name}-int8"))
    assert float((fp32 - trained).abs().max()) <= 1e-4
    assert mean_psnr(tuned, patches.clean) - mean_psnr(int8, patches.clean) <= loss


@pytest.mark.parametrize(("name", "limit"), [("denoise", 25), ("denoise-fast", 8), ("cae", 23)])
def test_cost(name: str, limit: float) -> None:
    assert multiply_adds_per_pixel(load_model(released(name)).network) / 1000 <= limit


@pytest.mark.parametrize("name", ["denoise", "denoise-int8", "denoise-fast", "denoise-fast-int8", "cae"])
def test_nothing_in_the_released_file_is_of_a_machine(name: str) -> None:
    config = load_model(released(name)).config
    assert not any(
        Path(source).is_absolute() or ".." in source for source in (*config.data, config.data_dir, config.start)
    )
