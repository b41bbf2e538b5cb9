"""Honest model files: the tests' tiny ones, a packaged one, and a small network's `model.pt`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

FIXTURES: Final = Path(__file__).parents[2] / "runtime" / "fixtures"
_NAMES: Final = (
    "identity", "identity_gray", "identity_fp16", "half_red", "half_red_nhwc", "blur", "blur_nhwc", "fixed_batch",
    "other_names",
    "nan_rounded", "inpaint", "fill", "encode", "encode_flat", "generate", "anomaly", "anomaly_scores", "external",
    "no_metadata",
)  # fmt: skip
_PACKAGED: Final = ("denoise-fast", "denoise-fast-int8")
_SMALL: Final = {"widths": [16, 16], "down_blocks": [1, 1], "up_blocks": [1]}


def onnx_files() -> dict[str, bytes]:
    """Return ONNX files by name."""
    from cae_runtime import packaged_models

    found = {name: (FIXTURES / f"{name}.onnx").read_bytes() for name in _NAMES}
    return found | {name: packaged_models()[name].read_bytes() for name in _PACKAGED}


def tensor_files() -> list[bytes]:
    """Return a `model.pt` of each of three small networks, and a file of plain weights."""
    import torch

    from cae_train.checkpoint import save_model
    from cae_train.config import TrainConfig
    from cae_train.models import build

    torch.manual_seed(1)
    made = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        options = (("skip", _SMALL), ("cae", {"code": 4}), ("vae", {"latent": 4}))
        for arch, some in options:
            config = replace(TrainConfig(), arch=arch, model=some)
            save_model(path, build(arch, some, 3), config, {"psnr_in": 20.0, "psnr_out": 30.0, "epoch": 1})
            made.append(path.read_bytes())
        torch.save(build("skip", _SMALL, 3).state_dict(), path)
        made.append(path.read_bytes())
    return made
