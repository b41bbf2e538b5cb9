"""VGG16 as an encoder: its layers, pretrained weights, freezing."""

from __future__ import annotations

import hashlib
import math
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train.conftest import Run, Settings
from torch import Tensor, nn

from cae_train import CheckpointError, ConfigError, load_model
from cae_train.models import build, vgg16
from cae_train.models.vgg16 import BLOCKS, MEAN, Vgg16, read_weights


def vgg16_weights(path: Path, **changes: Any) -> Path:
    """Write a file as torchvision publishes it: `features.N` of the convolutions, and the classifier."""
    torch.manual_seed(3)
    state: dict[str, Tensor] = {}
    width, number = 3, 0
    for block in BLOCKS:
        for outputs in block:
            state[f"features.{number}.weight"] = torch.randn(outputs, width, 3, 3) * (2 / (9 * width)) ** 0.5
            state[f"features.{number}.bias"] = torch.randn(outputs) * 0.1
            width, number = outputs, number + 2
        number += 1
    state["classifier.6.bias"] = torch.zeros(1000)
    torch.save(state | changes, path, _use_new_zipfile_serialization=False)  # as torchvision's file is
    return path


@pytest.mark.parametrize(("layers", "stride"), [(2, 1), (4, 2), (7, 4), (10, 8), (13, 16)])
def test_vgg16_has_the_standard_layers(layers: int, stride: int) -> None:
    network = build("vgg16", {"layers": layers})
    assert isinstance(network, Vgg16)
    assert len(network.sideways) == {2: 0, 4: 1, 7: 2, 10: 3, 13: 4}[layers]
    kernels = [module for module in network.encoder if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in kernels] == [width for block in BLOCKS for width in block][:layers]
    assert network.stride == stride
    assert network(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)


@pytest.mark.slow
def test_vgg16_loads_pretrained_weights_and_freezes_them(tmp_path: Path, settings: Settings, run: Run) -> None:
    weights = vgg16_weights(tmp_path / "vgg16.pth")
    model = {"layers": 4, "weights": str(weights)}
    config = settings(arch="vgg16", model=model, epochs=1, epoch_crops=64)
    run(config, tmp_path / "run")
    loaded = load_model(tmp_path / "run" / "model.pt").network
    assert isinstance(loaded, Vgg16)
    published = read_weights(weights)
    for parameter, value in zip(loaded.encoder.parameters(), published, strict=False):
        assert torch.equal(parameter, value)
    assert loaded.mean.flatten().tolist() == pytest.approx(MEAN)


@pytest.mark.slow
def test_vgg16_unfreezes_at_the_given_epoch(tmp_path: Path, settings: Settings, run: Run) -> None:
    weights = vgg16_weights(tmp_path / "vgg16.pth")
    options: dict[str, Any] = {"layers": 2, "unfreeze_after": 1, "weights": str(weights)}
    common = {"arch": "vgg16", "model": options, "epoch_crops": 64, "ema": 0.0}
    moved = []
    for epochs, after in ((1, 0), (2, 1)):
        options["unfreeze_after"] = after
        run(settings(epochs=epochs, **common), tmp_path / f"{epochs}")
        network = torch.load(tmp_path / f"{epochs}" / "last.ckpt", weights_only=True)["state_dict"]
        moved.append(not torch.equal(network["net.encoder.0.weight"], read_weights(weights)[0]))
    assert moved == [False, True]


def test_the_skips_of_vgg16_bypass_the_code() -> None:
    torch.manual_seed(0)
    patches = torch.rand(1, 3, 32, 32)
    for skips in (True, False):
        network = build("vgg16", {"layers": 7, "skips": skips})
        assert isinstance(network, Vgg16)
        with torch.no_grad():
            for parameter in network.encoder[-1:].parameters():
                parameter.zero_()
            network.decoder[0].weight.zero_()  # type: ignore[operator, union-attr]
            one, other = network(patches), network(1 - patches)
        assert torch.equal(one, other) is not skips, "nothing passes the code, so only skips can tell pictures apart"


def test_untrained_vgg16_needs_no_weights() -> None:
    network = build("vgg16", {"layers": 2, "pretrained": False})
    before = [parameter.clone() for parameter in network.parameters()]
    network.pretrain("nowhere")
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    with pytest.raises(ConfigError, match=r"weights is 'weights\.pth': it must be empty with pretrained = false"):
        build("vgg16", {"pretrained": False, "weights": "weights.pth"})


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "does not exist: name a file of VGG16's weights"),
        ("text", "is not a file of VGG16's weights"),
        ("other", "is not VGG16: a state dictionary"),
        ("few", "is not VGG16"),
        ("shape", "its layer of encoder.0.weight is (64, 1, 3, 3), not (64, 3, 3, 3)"),
        ("nan", "values that are not finite"),
    ],
)
def test_unusable_weights_of_vgg16_are_a_one_line_error(damage: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if damage == "text":
        path.write_text("no weights")
    elif damage == "other":
        torch.save({"weight": torch.zeros(3)}, path)
    elif damage == "few":
        torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    elif damage == "shape":
        vgg16_weights(path, **{"features.0.weight": torch.zeros(64, 1, 3, 3)})
    elif damage == "nan":
        vgg16_weights(path, **{"features.0.bias": torch.full((64,), math.nan)})
    with pytest.raises(CheckpointError) as caught:
        build("vgg16", {"layers": 2, "weights": str(path)}).pretrain("nowhere")
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("fits", [True, False])
def test_weights_of_vgg16_are_downloaded_with_their_checksum(
    fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    weights = vgg16_weights(served / "vgg16.pth")
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(vgg16, "URL", f"http://127.0.0.1:{server.server_port}/vgg16.pth")
        checksum = hashlib.sha256(weights.read_bytes()).hexdigest()
        monkeypatch.setattr(vgg16, "SHA256", checksum if fits else "0" * 64)
        network = build("vgg16", {"layers": 2})
        assert isinstance(network, Vgg16)
        if fits:
            network.pretrain(str(tmp_path / "data"))
            assert torch.equal(next(network.encoder.parameters()), read_weights(weights)[0])
        else:
            with pytest.raises(
                CheckpointError, match=r"could not be downloaded .* in the model option weights"
            ) as caught:
                network.pretrain(str(tmp_path / "data"))
            assert "\n" not in str(caught.value)
            assert not list((tmp_path / "data").glob("*.pth"))
        server.shutdown()
