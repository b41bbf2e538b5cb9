"""Each textbook network does what its description says."""

from __future__ import annotations

import csv
import math
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import cv2
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tests.train.conftest import Command, Run, Settings
from torch import nn

from cae_train import CheckpointError, ConfigError, TrainConfig, load_model
from cae_train.checkpoint import save_model
from cae_train.cli.given_settings import model_options
from cae_train.models import build
from cae_train.models.cae import DOWN, UP, active_share
from cae_train.models.sparse import Sparse, divergence
from cae_train.models.stacked import Stacked
from cae_train.models.vae import Vae
from cae_train.models.vae import divergence as gaussian_divergence
from cae_train.training.optimization.ema import Ema
from cae_train.training.optimization.losses import charbonnier, mse
from cae_train.training.start_weights import initial_network


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("down", "up", "batch_norm"), [*product(DOWN, UP, (False, True))])
def test_every_option_of_cae_gives_a_symmetric_network(down: str, up: str, batch_norm: bool) -> None:
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
        ("cae", {"down": "median"}, "down is 'median': it must be max or average or stride"),
        ("cae", {"up": 2}, "up is 2"),
        ("cae", {"batch_norm": 1}, "batch_norm is 1"),
        ("cae", {"code": 0}, "code is 0"),
        ("cae", {"code": True}, "code is True"),
        ("vae", {"latent": 0}, "latent is 0"),
        ("vae", {"latent": 2.5}, "latent is 2.5"),
        ("vae", {"kl_weight": -1}, "kl_weight is -1"),
        ("vae", {"kl_weight": "much"}, "kl_weight is 'much': it must be a number"),
        ("vae", {"warmup": 1.5}, "warmup is 1.5"),
        ("sparse", {"penalty": "l2"}, "penalty is 'l2': it must be l1 or kl"),
        ("sparse", {"weight": math.nan}, "weight is nan"),
        ("sparse", {"target": 0}, "target is 0"),
        ("sparse", {"down": "median"}, "down is 'median'"),
        ("stacked", {"greedy": 1}, "greedy is 1"),
        ("stacked", {"greedy": True}, "greedy is True: it must be a number"),
        ("vgg16", {"layers": 12}, "layers is 12: it must be one of 2, 4, 7, 10, 13"),
        ("vgg16", {"pretrained": "no"}, "pretrained is 'no'"),
        ("vgg16", {"unfreeze_after": -1}, "unfreeze_after is -1"),
    ],
)
def test_invalid_options_are_named(arch: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(arch, options)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_divergence_of_a_normal_code_matches_a_hand_calculation() -> None:
    zeros = torch.zeros(4, 8)
    assert float(gaussian_divergence(zeros, zeros)) == 0
    assert float(gaussian_divergence(zeros + 2, zeros)) == pytest.approx(8 * 2)  # mean^2 / 2 each
    narrow = zeros + math.log(0.25)
    assert float(gaussian_divergence(zeros, narrow)) == pytest.approx(8 * (0.25 - 1 - math.log(0.25)) / 2)
    normal = torch.distributions.Normal
    wanted = torch.distributions.kl_divergence(normal(torch.tensor(0.3), torch.tensor(0.7)), normal(0.0, 1.0))
    assert float(gaussian_divergence(zeros + 0.3, zeros + 2 * math.log(0.7))) == pytest.approx(8 * float(wanted))


def test_vae_samples_its_code_only_while_training() -> None:
    torch.manual_seed(0)
    network, patches = build("vae", {"latent": 8}), torch.rand(4, 3, 32, 32)
    one, other = (network.step(patches, patches, mse).output for _ in range(2))
    assert not torch.equal(one, other)
    network.eval()
    assert torch.equal(network.step(patches, patches, mse).output, network(patches))
    assert torch.equal(network(patches), network(patches))


def test_the_weight_of_the_kl_term_of_vae_rises() -> None:
    network, patches = build("vae", {"latent": 8, "kl_weight": 2.0, "warmup": 0.5}).eval(), torch.rand(4, 3, 32, 32)
    prices = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        network.begin_step(progress, torch.Generator())
        with torch.no_grad():
            step = network.step(patches, patches, mse)
        prices.append(float(step.loss - mse(step.output, patches, patches)))
    kl = float(step.figures["kl"])
    assert kl > 0
    assert prices == pytest.approx([0, 0.5 * 2 * kl / 3072, 2 * kl / 3072, 2 * kl / 3072], abs=1e-6)


def test_vae_generates_pictures() -> None:
    network = build("vae", channels=1)
    first = network.samples(5, torch.Generator().manual_seed(1))
    assert first is not None
    assert first.shape == (5, 1, 32, 32)
    assert torch.equal(first, network.samples(5, torch.Generator().manual_seed(1)))  # type: ignore[arg-type]
    assert not torch.equal(first, network.samples(5, torch.Generator().manual_seed(2)))  # type: ignore[arg-type]
    assert build("cae").samples(5, torch.Generator()) is None


@pytest.mark.slow
def test_a_run_of_vae_reports_kl_and_shows_samples(settings: Settings, run: Run, tmp_path: Path) -> None:
    plain, vae = (settings(arch=arch, model={}, epochs=2) for arch in ("cae", "vae"))
    run(plain, tmp_path / "plain")
    run(vae, tmp_path / "vae")
    assert [float(row["kl"]) > 0 for row in rows_of(tmp_path / "vae")] == [True, True]
    assert "kl" not in rows_of(tmp_path / "plain")[0]
    heights = [cv2.imread(str(tmp_path / name / "samples" / "epoch-002.png")).shape[0] for name in ("plain", "vae")]
    assert heights[1] > heights[0] + 200, "rows of samples below"
    assert isinstance(load_model(tmp_path / "vae" / "model.pt").network, Vae)


def test_the_divergence_of_a_sparse_code_matches_a_hand_calculation() -> None:
    code = torch.full((2, 4, 4, 4), 0.05)
    assert float(divergence(code, 0.05)) == pytest.approx(0, abs=1e-6)
    wanted = 0.05 * math.log(0.05 / 0.5) + 0.95 * math.log(0.95 / 0.5)
    assert float(divergence(torch.full((2, 4, 4, 4), 0.5), 0.05)) == pytest.approx(wanted, rel=1e-4)
    assert math.isfinite(float(divergence(torch.zeros(1, 2, 4, 4), 0.05)))


@pytest.mark.slow
def test_most_units_of_the_sparse_code_are_inactive(settings: Settings, run: Run, tmp_path: Path) -> None:
    for name, weight in (("plain", 0), ("sparse", 3.0)):
        run(settings(arch="sparse", model={"weight": weight}, epochs=2, epoch_crops=320), tmp_path / name)
    sparse, plain = (float(rows_of(tmp_path / name)[-1]["active"]) for name in ("sparse", "plain"))
    assert sparse < plain / 2
    assert isinstance(load_model(tmp_path / "sparse" / "model.pt").network, Sparse)


@pytest.mark.slow
def test_the_kl_penalty_lowers_the_mean_activation() -> None:
    torch.manual_seed(0)
    network, patches = build("sparse", {"penalty": "kl", "weight": 3.0, "target": 0.1}), torch.rand(4, 3, 32, 32)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        network.step(patches, patches, mse).loss.backward()
        optimizer.step()
    with torch.no_grad():
        mean = float(network.encoder(patches).mean())  # type: ignore[operator]
    assert mean == pytest.approx(0.1, abs=0.03)


def test_the_share_of_active_units_matches_a_hand_calculation() -> None:
    code = torch.zeros(2, 4, 5, 5)
    assert float(active_share(code)) == 0
    code[:, 0] = 3.0
    assert float(active_share(code)) == pytest.approx(1 / 4)
    assert float(active_share(torch.full((2, 4, 5, 5), 0.2))) == pytest.approx(1)


def test_sparse_without_its_penalty_equals_cae() -> None:
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
def test_stacked_has_one_stage_per_layer_and_a_last_one_for_all(epochs: int, greedy: float, wanted: list[str]) -> None:
    network = build("stacked", {"greedy": greedy})
    seen = []
    for epoch in range(epochs):
        network.begin_epoch(epoch, epochs)
        seen.append(network.stage)
    assert seen == wanted


def test_stacked_trains_layer_by_layer_and_finally_all_layers() -> None:
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_an_invalid_depth_is_refused(settings: Settings, tmp_path: Path) -> None:
    network = build("stacked")
    assert isinstance(network, Stacked)
    network.depth = 7
    save_model(tmp_path / "model.pt", network, settings(arch="stacked", model={}), {})
    with pytest.raises(CheckpointError, match="7 layers are in use"):
        load_model(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arch": "cae", "model": {"weights": "x.pth"}}, "'cae' has no model option 'weights'"),
        ({"arch": "vae", "quantize_aware": True}, "quantize_aware=True does not support this vae"),
        (
            {"arch": "cae", "model": {"up": "bilinear"}, "quantize_aware": True},
            "quantize_aware=True does not support this cae",
        ),
        (
            {"arch": "vgg16", "model": {"unfreeze_after": 20}},
            "unfreeze_after is 20: 0 (never) or less than",
        ),
        ({"arch": "vgg16", "model": {"weights": "x"}, "start": "y"}, "choose one, since both are weights"),
        ({"arch": "stacked", "epochs": 3}, "epochs is 3: stacked needs 4 or more"),
        ({"arch": "skip", "model": {"depth": 3}}, "'skip' has no model option 'depth': it has widths"),
    ],
)
def test_options_that_a_network_does_not_support_are_a_one_line_error(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        initial_network(TrainConfig(**changes))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["widths", "=3", "code=", "="])
def test_options_on_the_command_line_need_names_and_values(option: str) -> None:
    with pytest.raises(ConfigError, match="NAME=VALUE is needed"):
        model_options({}, {}, [option])


def test_options_on_the_command_line_are_read_as_toml_or_text() -> None:
    options = ["a=1", "b=0.5", "c=true", "d=[16, 32]", "e=average", 'f="kl"', "g=a=b"]
    wanted = {"a": 1, "b": 0.5, "c": True, "d": [16, 32], "e": "average", "f": "kl", "g": "a=b"}
    assert model_options({}, {}, options) == wanted
    written = {"arch": "cae", "model": {"code": 8, "up": "bilinear"}}
    assert model_options(written, {}, ["code=4"]) == {"code": 4, "up": "bilinear"}
    assert model_options(written, {"arch": "vae"}, ["latent=4"]) == {"latent": 4}, "another network's table is no use"
    assert model_options(written, {"arch": "vae"}, []) == {}
    with pytest.raises(ConfigError, match="a table is needed"):
        model_options({"model": 3}, {}, ["code=4"])


@pytest.mark.slow
def test_network_options_on_the_command_line_change_a_config(photos: Path, cae_train: Command, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'arch = "cae"\nepochs = 1\nepoch_crops = 64\n[model]\ncode = 8\nup = "bilinear"\n'
    )
    done = cae_train("--config", "recipe.toml", "--data", photos, "--model", "down=average", "--model", "code=4",
                     "--out", "run", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    network = load_model(tmp_path / "run" / "model.pt").network
    assert (network.options.code, network.options.up, network.options.down) == (4, "bilinear", "average")


def test_list_names_every_choice(cae_train: Command) -> None:
    from cae_train.config import LOSSES
    from cae_train.data.registry import DATASETS
    from cae_train.degradations.registry import DEGRADATIONS
    from cae_train.models import ARCHITECTURES

    done = cae_train("--list")
    assert done.returncode == 0
    names = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ") and line[2] != " "}
    assert names >= {*DATASETS, *ARCHITECTURES, *DEGRADATIONS, *LOSSES}
    assert "latent=128" in done.stdout


@pytest.mark.slow
def test_the_sheet_of_an_inpainting_run_shows_the_mask(settings: Settings, run: Run, tmp_path: Path) -> None:
    widths = {}
    for name, degrade in {"mask": ("gaussian:5", "mask:0.2"), "noise": ("mask:0.2", "gaussian:5")}.items():
        run(settings(degrade=degrade, epochs=1, epoch_crops=64), tmp_path / name)
        widths[name] = cv2.imread(str(tmp_path / name / "samples" / "epoch-001.png")).shape[1]
    assert widths["mask"] > widths["noise"] + 200, "four pictures a patch; noise over the holes hides where they are"


@pytest.mark.slow
def test_the_moving_average_of_the_weights_restarts_with_each_stage(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    class Look(Callback):
        seen: ClassVar[list[tuple[str, int]]] = []

        def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            (average,) = (callback for callback in trainer.callbacks if isinstance(callback, Ema))  # type: ignore[attr-defined]
            assert average._average_model is not None
            self.seen.append((pl_module.net.stage, int(average._average_model.n_averaged)))  # type: ignore[union-attr]

    run(settings(arch="stacked", model={"greedy": 0.8}, epochs=7, epoch_crops=64), tmp_path / "run", callbacks=[Look()])
    assert [stage for stage, _ in Look.seen] == ["layer 1"] * 2 + ["layer 2"] * 2 + ["layer 3"] * 2 + ["fine-tuning"]
    assert [count for _, count in Look.seen] == [4, 8, 4, 8, 4, 8, 4]


@pytest.mark.slow
def test_patience_counts_within_the_last_stage(settings: Settings, run: Run, tmp_path: Path) -> None:
    config = settings(arch="stacked", model={}, epochs=8, epoch_crops=64, patience=1, lr=1e-6)
    run(config, tmp_path / "run")
    stages = [row["stage"] for row in rows_of(tmp_path / "run")]
    assert {"layer 1", "layer 2", "layer 3", "fine-tuning"} == set(stages)


def test_a_stage_freezes_what_it_does_not_train() -> None:
    network, patches = build("stacked", {"batch_norm": True}).train(), torch.rand(4, 3, 32, 32)
    network.begin_epoch(1, 4)
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.train()  # as the loop says after each validation
    for _ in range(2):
        network.step(patches, patches, mse)
    moved = {name.rpartition(".")[0] for name, value in network.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {"encoder.5", "decoder.6"}, "the two of the second layer"


def test_networks_that_freeze_layers_are_trained_in_one_process(
    cae_train: Command, photos: Path, tmp_path: Path
) -> None:
    done = cae_train("--arch", "stacked", "--data", photos, "--accelerator", "cpu", "--devices", "2", cwd=tmp_path)
    assert done.returncode == 2
    assert "is trained in one: set devices to 1" in done.stderr
    assert not list(tmp_path.iterdir())
