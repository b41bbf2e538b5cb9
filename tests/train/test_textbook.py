"""Each network of the textbook keeps its own promise."""

from __future__ import annotations

import csv
import hashlib
import math
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from tests.train.conftest import Command, Run, Settings
from torch import Tensor, nn

from cae_train import CheckpointError, ConfigError, TrainConfig, load_model
from cae_train.checkpoint import save_model
from cae_train.config import model_options
from cae_train.initial import initial_network
from cae_train.models import build, vgg16
from cae_train.models.cae import DOWN, UP
from cae_train.models.sparse import Sparse, divergence
from cae_train.models.stacked import Stacked
from cae_train.models.vae import Vae
from cae_train.models.vae import divergence as gaussian_divergence
from cae_train.models.vgg16 import BLOCKS, MEAN, Vgg16, read_weights
from cae_train.objective import charbonnier, mse


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


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
    torch.save(state | changes, path)
    return path


@pytest.mark.parametrize(("down", "up", "batch_norm"), [*product(DOWN, UP, (False, True))])
def test_every_choice_of_cae_is_symmetric(down: str, up: str, batch_norm: bool) -> None:
    network = build("cae", {"down": down, "up": up, "batch_norm": batch_norm, "code": 16})
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(nn.MaxPool2d) == (3 if down == "max" else 0)
    assert kinds.count(nn.AvgPool2d) == (3 if down == "average" else 0)
    assert kinds.count(nn.ConvTranspose2d) == (3 if up == "transposed" else 0)
    assert kinds.count(nn.BatchNorm2d) == (6 if batch_norm else 0)
    assert {m.mode for m in network.modules() if isinstance(m, nn.Upsample)} == ({up} - {"transposed"})
    shapes: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Sigmoid)):
            module.register_forward_hook(lambda _m, _i, output: shapes.append(tuple(output.shape[1:])))
    network(torch.rand(2, 3, 32, 32))
    assert {shape[1] for shape in shapes} >= {4, 8, 16, 32}
    assert (16, 4, 4) in shapes, "the code"
    assert shapes[-3:] == [(64, 8, 8), (32, 16, 16), (3, 32, 32)]


@pytest.mark.parametrize(
    ("arch", "options", "named"),
    [
        ("cae", {"down": "median"}, "down is 'median': max or average or stride is needed"),
        ("cae", {"up": 2}, "up is 2"),
        ("cae", {"batch_norm": 1}, "batch_norm is 1"),
        ("cae", {"code": 0}, "code is 0"),
        ("cae", {"code": True}, "code is True"),
        ("vae", {"latent": 0}, "latent is 0"),
        ("vae", {"latent": 2.5}, "latent is 2.5"),
        ("vae", {"kl_weight": -1}, "kl_weight is -1"),
        ("vae", {"kl_weight": "much"}, "kl_weight is 'much': a number"),
        ("vae", {"warmup": 1.5}, "warmup is 1.5"),
        ("sparse", {"penalty": "l2"}, "penalty is 'l2': l1 or kl"),
        ("sparse", {"weight": math.nan}, "weight is nan"),
        ("sparse", {"target": 0}, "target is 0"),
        ("sparse", {"down": "median"}, "down is 'median'"),
        ("stacked", {"greedy": 1}, "greedy is 1"),
        ("stacked", {"greedy": True}, "greedy is True: a number"),
        ("vgg16", {"layers": 12}, "layers is 12: 2, 4, 7, 10, 13"),
        ("vgg16", {"pretrained": "no"}, "pretrained is 'no'"),
        ("vgg16", {"unfreeze_after": -1}, "unfreeze_after is -1"),
    ],
)
def test_bad_options_are_named(arch: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(arch, options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_divergence_of_a_normal_code_by_hand() -> None:
    zeros = torch.zeros(4, 8)
    assert float(gaussian_divergence(zeros, zeros)) == 0
    assert float(gaussian_divergence(zeros + 2, zeros)) == pytest.approx(8 * 2)  # mean^2 / 2 each
    narrow = zeros + math.log(0.25)
    assert float(gaussian_divergence(zeros, narrow)) == pytest.approx(8 * (0.25 - 1 - math.log(0.25)) / 2)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(torch.tensor(0.3), torch.tensor(0.7)), normal(0.0, 1.0))
    assert float(gaussian_divergence(zeros + 0.3, zeros + 2 * math.log(0.7))) == pytest.approx(8 * float(wanted))


def test_vae_draws_its_code_while_training_and_takes_the_mean_afterwards() -> None:
    torch.manual_seed(0)
    network, patches = build("vae", {"latent": 8}), torch.rand(4, 3, 32, 32)
    one, other = (network.step(patches, patches, mse).output for _ in range(2))
    assert not torch.equal(one, other)
    network.eval()
    assert torch.equal(network.step(patches, patches, mse).output, network(patches))
    assert torch.equal(network(patches), network(patches))


def test_the_price_of_the_code_of_vae_rises() -> None:
    network, patches = build("vae", {"latent": 8, "kl_weight": 2.0, "warmup": 0.5}).eval(), torch.rand(4, 3, 32, 32)
    prices = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        network.begin_step(progress)
        with torch.no_grad():
            step = network.step(patches, patches, mse)
        prices.append(float(step.loss - mse(step.output, patches, patches)))
    kl = float(step.figures["kl"])
    assert kl > 0
    assert prices == pytest.approx([0, 0.5 * 2 * kl / 3072, 2 * kl / 3072, 2 * kl / 3072], abs=1e-6)


def test_vae_draws_pictures_of_its_own() -> None:
    network = build("vae", channels=1)
    first = network.samples(5, torch.Generator().manual_seed(1))
    assert first is not None
    assert first.shape == (5, 1, 32, 32)
    assert torch.equal(first, network.samples(5, torch.Generator().manual_seed(1)))  # type: ignore[arg-type]
    assert not torch.equal(first, network.samples(5, torch.Generator().manual_seed(2)))  # type: ignore[arg-type]
    assert build("cae").samples(5, torch.Generator()) is None


def test_a_run_of_vae_reports_kl_and_shows_samples(settings: Settings, run: Run, tmp_path: Path) -> None:
    plain, vae = (settings(arch=arch, model={}, epochs=2) for arch in ("cae", "vae"))
    run(plain, tmp_path / "plain")
    run(vae, tmp_path / "vae")
    assert [float(row["kl"]) > 0 for row in rows_of(tmp_path / "vae")] == [True, True]
    assert "kl" not in rows_of(tmp_path / "plain")[0]
    heights = [cv2.imread(str(tmp_path / name / "samples" / "epoch-002.png")).shape[0] for name in ("plain", "vae")]
    assert heights[1] > heights[0] + 200, "rows of samples below"
    assert isinstance(load_model(tmp_path / "vae" / "model.pt").network, Vae)


def test_the_divergence_of_a_sparse_code_by_hand() -> None:
    code = torch.full((2, 4, 4, 4), 0.05)
    assert float(divergence(code, 0.05)) == pytest.approx(0, abs=1e-6)
    wanted = 0.05 * math.log(0.05 / 0.5) + 0.95 * math.log(0.95 / 0.5)
    assert float(divergence(torch.full((2, 4, 4, 4), 0.5), 0.05)) == pytest.approx(wanted, rel=1e-4)
    assert math.isfinite(float(divergence(torch.zeros(1, 2, 4, 4), 0.05)))


@pytest.mark.parametrize(("penalty", "weight"), [("l1", 3.0), ("kl", 3.0)])
def test_the_code_of_sparse_is_mostly_at_rest(
    penalty: str, weight: float, settings: Settings, run: Run, tmp_path: Path
) -> None:
    options = {"penalty": penalty, "weight": weight}
    run(settings(arch="sparse", model=options), tmp_path / "sparse")
    run(settings(arch="cae", model={}), tmp_path / "plain")
    sparse, plain = (float(rows_of(tmp_path / name)[-1]["active"]) for name in ("sparse", "plain"))
    assert sparse < plain / 2
    assert isinstance(load_model(tmp_path / "sparse" / "model.pt").network, Sparse)


def test_sparse_without_its_penalty_is_cae() -> None:
    patches = torch.rand(2, 3, 32, 32)
    sparse, cae = build("sparse", {"weight": 0}), build("cae")
    cae.load_state_dict(sparse.state_dict())
    mine, theirs = (network.step(patches, patches, charbonnier) for network in (sparse, cae))
    assert torch.equal(mine.loss, theirs.loss)
    assert mine.figures == theirs.figures


@pytest.mark.parametrize(
    ("epochs", "greedy", "wanted"),
    [
        (4, 0.5, ["layer 1", "layer 2", "layer 3", "fine-tuning"]),
        (12, 0.5, ["layer 1"] * 2 + ["layer 2"] * 2 + ["layer 3"] * 2 + ["fine-tuning"] * 6),
        (5, 0.9, ["layer 1", "layer 1", "layer 2", "layer 3", "fine-tuning"]),
    ],
)
def test_the_stages_of_stacked(epochs: int, greedy: float, wanted: list[str]) -> None:
    network = build("stacked", {"greedy": greedy})
    seen = []
    for epoch in range(epochs):
        network.begin_epoch(epoch, epochs)
        seen.append(network.stage)
    assert seen == wanted


def test_stacked_trains_one_layer_at_a_time_and_all_in_the_end() -> None:
    torch.manual_seed(0)
    network, patches = build("stacked"), torch.rand(2, 3, 32, 32)
    names = dict(network.named_parameters())
    wanted = {
        0: {"encoder.0", "decoder.7"}, 1: {"encoder.3", "decoder.4"}, 2: {"encoder.6", "encoder.9", "decoder.1"},
        3: {name.rpartition(".")[0] for name in names},
    }  # fmt: skip
    for epoch, layers in wanted.items():
        network.zero_grad(set_to_none=True)
        network.begin_epoch(epoch, 4)
        step = network.step(patches, patches, charbonnier)
        step.loss.backward()
        assert {name.rpartition(".")[0] for name, p in names.items() if p.grad is not None} == layers
        assert step.output.shape == patches.shape
        assert torch.allclose(step.output, network(patches), atol=1e-6), "the picture through the layers in use"


def test_a_run_of_stacked_shows_its_stages_and_keeps_the_last(settings: Settings, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = run(settings(arch="stacked", model={}, epochs=5), folder)
    rows = rows_of(folder)
    assert [row["stage"] for row in rows] == ["layer 1", "layer 2", "layer 3", "fine-tuning", "fine-tuning"]
    best = max(float(row["val_psnr"]) for row in rows[3:])
    assert result.psnr_out == pytest.approx(best, abs=1e-3), "of the last stage, whatever the shallow ones reached"
    loaded = load_model(folder / "model.pt").network
    assert isinstance(loaded, Stacked)
    assert loaded.depth == 3


def test_stacked_stopped_in_its_first_stage_is_a_shallow_network(
    settings: Settings, run: Run, tmp_path: Path, stop_at: Any
) -> None:
    folder = tmp_path / "run"
    run(settings(arch="stacked", model={}, epochs=4), folder, callbacks=[stop_at(35)])
    loaded = load_model(folder / "model.pt").network
    assert isinstance(loaded, Stacked)
    assert loaded.depth == 1
    resumed = run(settings(arch="stacked", model={}, epochs=4), folder, resume=True)
    assert resumed.epochs == 4
    assert [row["stage"] for row in rows_of(folder)] == ["layer 1", "layer 2", "layer 3", "fine-tuning"]


def test_a_depth_that_is_none_is_refused(settings: Settings, tmp_path: Path) -> None:
    network = build("stacked")
    assert isinstance(network, Stacked)
    network.depth = 7
    save_model(tmp_path / "model.pt", network, settings(arch="stacked", model={}), {})
    with pytest.raises(CheckpointError, match="7 layers are in use"):
        load_model(tmp_path / "model.pt")


@pytest.mark.parametrize(("layers", "stride"), [(2, 1), (4, 2), (7, 4), (10, 8), (13, 16)])
def test_the_layers_of_vgg16(layers: int, stride: int) -> None:
    network = build("vgg16", {"layers": layers})
    assert isinstance(network, Vgg16)
    assert len(network.sideways) == {2: 0, 4: 1, 7: 2, 10: 3, 13: 4}[layers]
    kernels = [module for module in network.encoder if isinstance(module, nn.Conv2d)]
    assert [conv.out_channels for conv in kernels] == [width for block in BLOCKS for width in block][:layers]
    assert network.stride == stride
    assert network(torch.rand(1, 3, 32, 48)).shape == (1, 3, 32, 48)


def test_vgg16_takes_up_weights_and_holds_them_still(tmp_path: Path, settings: Settings, run: Run) -> None:
    weights = vgg16_weights(tmp_path / "vgg16.pth")
    config = settings(arch="vgg16", model={"layers": 4}, epochs=1, epoch_crops=64, vgg16_weights=str(weights))
    run(config, tmp_path / "run")
    loaded = load_model(tmp_path / "run" / "model.pt").network
    assert isinstance(loaded, Vgg16)
    published = read_weights(weights)
    for parameter, value in zip(loaded.encoder.parameters(), published, strict=False):
        assert torch.equal(parameter, value)
    assert loaded.mean.flatten().tolist() == pytest.approx(MEAN)


def test_vgg16_unfreezes_when_told(tmp_path: Path, settings: Settings, run: Run) -> None:
    weights = vgg16_weights(tmp_path / "vgg16.pth")
    options = {"layers": 2, "unfreeze_after": 1}
    common = {"arch": "vgg16", "model": options, "epoch_crops": 64, "vgg16_weights": str(weights), "ema": 0.0}
    moved = []
    for epochs in (1, 2):
        run(settings(epochs=epochs, **common), tmp_path / f"{epochs}")
        network = torch.load(tmp_path / f"{epochs}" / "last.ckpt", weights_only=True)["state_dict"]
        moved.append(not torch.equal(network["net.encoder.0.weight"], read_weights(weights)[0]))
    assert moved == [False, True]


def test_a_skip_of_vgg16_goes_around_the_code() -> None:
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


def test_vgg16_untrained_needs_no_weights() -> None:
    network = build("vgg16", {"layers": 2, "pretrained": False})
    before = [parameter.clone() for parameter in network.parameters()]
    network.pretrain("", "nowhere")
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    with pytest.raises(ConfigError, match="pretrained is False: true with --vgg16-weights is needed"):
        network.pretrain("weights.pth", "nowhere")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("missing", "No such file"),
        ("text", "is no file of weights"),
        ("other", "is not VGG16: a state dictionary"),
        ("few", "is not VGG16"),
        ("shape", "its layer of encoder.0.weight is (64, 1, 3, 3), not (64, 3, 3, 3)"),
        ("nan", "is not VGG16"),
    ],
)
def test_bad_weights_of_vgg16_are_named_in_one_line(damage: str, reason: str, tmp_path: Path) -> None:
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
        build("vgg16", {"layers": 2}).pretrain(str(path), "nowhere")
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arch": "cae", "vgg16_weights": "x.pth"}, "--vgg16-weights x.pth: only --arch vgg16 has use for it"),
        ({"arch": "vae", "quantize_aware": True}, "--quantize-aware knows nothing of this vae"),
        (
            {"arch": "cae", "model": {"up": "bilinear"}, "quantize_aware": True},
            "--quantize-aware knows nothing of this cae",
        ),
        ({"arch": "stacked", "epochs": 3}, "--epochs is 3: stacked needs 4 or more"),
        ({"arch": "skip", "model": {"depth": 3}}, "'skip' has no model option 'depth': it has widths"),
    ],
)
def test_what_a_network_cannot_do_is_one_line(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        initial_network(TrainConfig(**changes))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["widths", "=3", "code=", "="])
def test_options_on_the_command_line_are_names_and_values(option: str) -> None:
    with pytest.raises(ConfigError, match="NAME=VALUE is needed"):
        model_options({}, {}, [option])


def test_options_on_the_command_line_are_read_as_toml_or_text() -> None:
    options = ["a=1", "b=0.5", "c=true", "d=[16, 32]", "e=average", 'f="kl"', "g=a=b"]
    wanted = {"a": 1, "b": 0.5, "c": True, "d": [16, 32], "e": "average", "f": "kl", "g": "a=b"}
    assert model_options({}, {}, options) == wanted
    written = {"arch": "cae", "model": {"code": 8, "up": "bilinear"}}
    assert model_options(written, {}, ["code=4"]) == {"code": 4, "up": "bilinear"}
    assert model_options(written, {"arch": "vae"}, ["latent=4"]) == {"latent": 4}, "another network's table is no use"


def test_options_of_networks_on_the_command_line_change_a_config(
    photos: Path, cae_train: Command, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text(
        'arch = "cae"\nepochs = 1\nepoch_crops = 64\n[model]\ncode = 8\nup = "bilinear"\n'
    )
    done = cae_train("--config", "recipe.toml", "--data", photos, "--model", "down=average", "--model", "code=4",
                     "--out", "run", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    network = load_model(tmp_path / "run" / "model.pt").network
    assert (network.options.code, network.options.up, network.options.down) == (4, "bilinear", "average")


def test_the_list_names_everything(cae_train: Command) -> None:
    from cae_train.config import LOSSES
    from cae_train.datasets import DATASETS
    from cae_train.degrade import DEGRADATIONS
    from cae_train.models import ARCHITECTURES

    done = cae_train("--list")
    assert done.returncode == 0
    names = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line[2] != " "}
    assert names >= {*DATASETS, *ARCHITECTURES, *DEGRADATIONS, *LOSSES}
    assert "latent=128" in done.stdout


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
            network.pretrain("", str(tmp_path / "data"))
            assert torch.equal(next(network.encoder.parameters()), read_weights(weights)[0])
        else:
            with pytest.raises(CheckpointError, match=r"could not be downloaded .* --vgg16-weights") as caught:
                network.pretrain("", str(tmp_path / "data"))
            assert "\n" not in str(caught.value)
            assert not list((tmp_path / "data").glob("*.pth"))
        server.shutdown()


def test_the_sheet_of_a_masked_run_shows_the_mask(settings: Settings, run: Run, tmp_path: Path) -> None:
    widths = {}
    for name, degrade in {"mask": ("gaussian:5", "mask:0.2"), "noise": ("mask:0.2", "gaussian:5")}.items():
        run(settings(degrade=degrade, epochs=1, epoch_crops=64), tmp_path / name)
        widths[name] = cv2.imread(str(tmp_path / name / "samples" / "epoch-001.png")).shape[1]
    assert widths["mask"] > widths["noise"] + 200, "four pictures a patch; noise over the holes hides where they are"
