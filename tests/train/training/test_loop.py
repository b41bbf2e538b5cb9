"""Real runs, seconds long, in this process."""

from __future__ import annotations

import csv
import math
import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

import cae_train.training.loop
import cae_train.training.prepare
import cae_train.training.run_folder
from cae_train import (
    CheckpointError,
    ConfigError,
    Hardware,
    TrainConfig,
    TrainingError,
    TrainResult,
    load_model,
    train,
)
from cae_train.config import load_toml
from cae_train.data.images import load
from cae_train.sheets.curves import COLUMNS

pytestmark = pytest.mark.slow

Settings = Callable[..., TrainConfig]
Run = Callable[..., TrainResult]
StopAt = Callable[..., Callback]
EVERY_FILE = {"config.toml", "curves.png", "last.ckpt", "metrics.csv", "model.pt", "samples"}


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_time(folder: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows_of(folder)]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).network.state_dict()


def same_weights(one: Path, other: Path) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


def test_a_run_learns_and_leaves_its_folder(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == EVERY_FILE
    rows = rows_of(finished)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    assert float(rows[2]["val_psnr"]) > float(rows[0]["val_psnr"])
    assert float(rows[2]["val_psnr"]) > float(rows[2]["noisy_psnr"]) + 0.3
    assert float(rows[2]["val_loss"]) < float(rows[0]["val_loss"])
    assert float(rows[0]["seconds"]) <= float(rows[2]["seconds"])
    assert {float(row["noisy_psnr"]) for row in rows} == {float(rows[0]["noisy_psnr"])}
    assert 19 < float(rows[0]["noisy_psnr"]) < 22  # sigma 25 is 20.2 dB before clipping


def test_the_pictures_of_a_run_are_readable(finished: Path) -> None:
    pictures = [finished / "curves.png", *sorted((finished / "samples").iterdir())]
    assert [path.name for path in pictures[1:]] == ["epoch-001.png", "epoch-002.png", "epoch-003.png"]
    for path in pictures:
        image = cv2.imread(str(path))
        assert image is not None
        assert min(image.shape[:2]) > 300
        assert image.std() > 10


@pytest.mark.parametrize(
    ("share", "stop", "drawn"), [(1e-9, None, [1, 4]), (1e-9, 13, [1, 3]), (1e9, None, [1, 2, 3, 4])]
)
def test_drawing_curves_takes_a_small_share_of_the_time_and_misses_no_epoch(
    share: float,
    stop: int | None,
    drawn: list[int],
    settings: Settings,
    run: Run,
    tmp_path: Path,
    stop_at: StopAt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(cae_train.training.run_folder, "DRAWING_SHARE", share)
    monkeypatch.setattr(cae_train.training.run_folder, "draw_curves", lambda _, rows: seen.append(len(rows)))
    config = settings(epochs=4, epoch_crops=64, batch=16)
    run(config, tmp_path / "run", callbacks=[stop_at(stop)] if stop else [])
    assert seen == drawn


def test_a_run_that_fails_leaves_the_curves_of_all_its_epochs(
    settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(cae_train.training.run_folder, "DRAWING_SHARE", 1e-9)
    monkeypatch.setattr(cae_train.training.run_folder, "draw_curves", lambda _, rows: seen.append(len(rows)))
    fails = stop_at(13, TrainingError("diverged"))
    with pytest.raises(TrainingError, match="diverged"):
        run(settings(epochs=4, epoch_crops=64, batch=16), tmp_path / "run", callbacks=[fails])
    assert seen == [1, 3]


def test_model_pt_is_the_best_epoch_and_says_so(finished: Path, settings: Settings) -> None:
    loaded = load_model(finished / "model.pt")
    best = max(rows_of(finished), key=lambda row: float(row["val_psnr"]))
    assert loaded.metrics["epoch"] == int(best["epoch"])
    assert loaded.metrics["psnr_out"] == pytest.approx(float(best["val_psnr"]), abs=1e-3)
    assert loaded.metrics["psnr_in"] == pytest.approx(float(best["noisy_psnr"]), abs=1e-3)
    assert loaded.metrics["evaluated_on"].startswith("held-out patches of my phötos")
    assert loaded.config == settings()


def test_the_figures_are_those_of_the_saved_weights(finished: Path, settings: Settings) -> None:
    """The moving average is what is measured, shown and saved: measuring the file again gives its own figure."""
    from cae_train.data.pairs import fixed_pairs
    from cae_train.degradations.registry import parse_chain

    config, loaded = settings(), load_model(finished / "model.pt")
    degraded, clean = fixed_pairs(load(config).validation, parse_chain(config.degrade), config.seed)
    assert cae_train.training.loop.evaluate(loaded.network, degraded, clean) == pytest.approx(
        loaded.metrics["psnr_out"], abs=1e-3
    )


def test_config_toml_reproduces_the_settings(finished: Path, settings: Settings) -> None:
    assert TrainConfig.from_dict(load_toml(finished / "config.toml")) == settings()


def test_the_same_seed_gives_the_same_run(finished: Path, settings: Settings, run: Run, tmp_path: Path) -> None:
    torch.rand(7)  # whatever was drawn before does not matter
    run(settings(), tmp_path / "again")
    assert without_time(tmp_path / "again") == without_time(finished)
    assert same_weights(tmp_path / "again" / "model.pt", finished / "model.pt")
    run(settings(seed=1, epochs=1), tmp_path / "other")
    assert without_time(tmp_path / "other")[0] != without_time(finished)[0]


@pytest.mark.parametrize("step", [31, 50, 89])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    step: int, finished: Path, settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    out = tmp_path / "run"
    assert run(settings(), out, callbacks=[stop_at(step)]).interrupted
    assert len(rows_of(out)) == step // 30
    (left := out / ".0123456789abcdef.partial").touch()  # of a process that was killed
    os.utime(left, (1e9, 1e9))
    result = run(settings(), out, resume=True)
    assert not result.interrupted
    assert result.epochs == 3
    assert not left.exists()
    assert without_time(out) == without_time(finished)
    assert same_weights(out / "model.pt", finished / "model.pt")
    ours, theirs = (torch.load(f / "last.ckpt", weights_only=True)["state_dict"] for f in (out, finished))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert [path.name for path in sorted((out / "samples").iterdir())] == [f"epoch-00{i}.png" for i in (1, 2, 3)]


def test_a_resumed_run_knows_the_best_epoch_exactly(
    finished: Path, settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    """The table has six digits: a slightly worse epoch could replace the best one."""
    best = torch.load(finished / "last.ckpt", weights_only=True)["callbacks"]["RunFolder"]["best"]
    assert best == load_model(finished / "model.pt").metrics["psnr_out"]
    out = tmp_path / "run"
    run(settings(), out, callbacks=[stop_at(50)])
    checkpoint = torch.load(out / "last.ckpt", weights_only=True)
    checkpoint["callbacks"]["RunFolder"]["best"] = 99.0
    torch.save(checkpoint, out / "last.ckpt")
    run(settings(), out, resume=True)
    assert load_model(out / "model.pt").metrics["epoch"] == 1


@pytest.mark.parametrize(
    ("settled", "stopped"),
    [
        ({"optimizer": "adamw"}, 50),
        ({"quantize_aware": True}, 50),
        ({"arch": "vae", "model": {"latent": 8}, "epoch_crops": 64}, 6),
        ({"arch": "stacked", "model": {"greedy": 0.85}, "epochs": 7, "epoch_crops": 64}, 6),  # in its first stage
    ],
)
def test_runs_of_every_kind_learn_and_resume(
    settled: dict[str, object], stopped: int, settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    run(settings(**settled), tmp_path / "whole")
    run(settings(**settled), tmp_path / "parts", callbacks=[stop_at(stopped)])
    run(settings(**settled), tmp_path / "parts", resume=True)
    assert without_time(tmp_path / "whole") == without_time(tmp_path / "parts")
    assert same_weights(tmp_path / "whole" / "model.pt", tmp_path / "parts" / "model.pt")
    rows = rows_of(tmp_path / "whole")
    if "arch" not in settled:
        assert float(rows[2]["val_psnr"]) > max(float(rows[0]["val_psnr"]), float(rows[2]["noisy_psnr"]))


def test_runs_of_earlier_versions_can_be_resumed(settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt) -> None:
    out = tmp_path / "run"
    run(settings(arch="cae", model={}, epochs=2, epoch_crops=64), out, callbacks=[stop_at(6)])
    table = out / "metrics.csv"
    table.write_text("".join(line.rpartition(",")[0] + "\n" for line in table.read_text().splitlines()))
    assert "active" not in rows_of(out)[0]
    checkpoint = torch.load(out / "last.ckpt", weights_only=True)
    del checkpoint["callbacks"]["Ema"]["stage"]
    del checkpoint["callbacks"]["RunFolder"]
    torch.save(checkpoint, out / "last.ckpt")
    run(settings(arch="cae", model={}, epochs=2, epoch_crops=64), out, resume=True)
    assert [bool(row["active"]) for row in rows_of(out)] == [False, True]


def test_a_run_does_not_resume_with_another_optimizer(settings: Settings, run: Run, tmp_path: Path) -> None:
    for one, other in (("adamw", "muon"), ("muon", "adamw")):
        run(settings(epochs=1, optimizer=one), tmp_path / one)
        with pytest.raises(CheckpointError, match=f"written with another optimizer than '{other}'"):
            run(settings(optimizer=other), tmp_path / one, resume=True)


def test_an_epoch_whose_checkpoint_was_lost_is_repeated(
    finished: Path, settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    """Stopped after an epoch's row was written and before last.ckpt was: no row twice."""
    out = tmp_path / "run"
    run(settings(), out, callbacks=[stop_at(50)])
    early = (out / "last.ckpt").read_bytes()
    run(settings(), out, callbacks=[stop_at(70)], resume=True)
    assert len(rows_of(out)) == 2
    (out / "last.ckpt").write_bytes(early)
    run(settings(), out, resume=True)
    assert without_time(out) == without_time(finished)


def test_denormal_numbers_are_flushed_to_zero_while_training(settings: Settings, run: Run, tmp_path: Path) -> None:
    """They are as small as the momentum of what rests becomes, and 40 times as slow."""
    small = torch.tensor([2e-38, 3e-38])
    products: list[float] = []

    class Look(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, index: int) -> None:
            products.append(float((small * 0.1).sum()))

    run(settings(epochs=1, epoch_crops=32), tmp_path / "run", callbacks=[Look()])
    assert products
    assert set(products) == {0.0}
    assert float((small * 0.1).sum()) > 0, "and numbers again afterwards"


def test_worker_processes_do_not_change_the_result(finished: Path, settings: Settings, tmp_path: Path) -> None:
    train(settings(), tmp_path / "run", hardware=Hardware(accelerator="cpu", devices="1", workers=1))
    assert without_time(tmp_path / "run") == without_time(finished)


def test_resuming_a_finished_run_changes_nothing(settings: Settings, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = run(settings(epochs=1), out)
    before = (out / "metrics.csv").read_bytes()
    again = run(settings(epochs=1), out, resume=True)
    assert (again.psnr_out, again.epochs) == (first.psnr_out, first.epochs)
    assert (out / "metrics.csv").read_bytes() == before


def test_a_run_started_from_a_model_resumes_without_it(settings: Settings, run: Run, tmp_path: Path) -> None:
    start = tmp_path / "start" / "model.pt"
    run(settings(epochs=1), start.parent)
    out = tmp_path / "run"
    run(settings(epochs=1, start=str(start)), out)
    start.unlink()
    assert run(settings(epochs=1, start=str(start)), out, resume=True).psnr_out is not None


def test_a_damaged_checkpoint_is_a_one_line_error(settings: Settings, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(settings(epochs=1), out)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged or is of another network") as caught:
        run(settings(arch="cae", model={}), out, resume=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"is of a network for color images, and these data are gray"):
        run(settings(epochs=1, channels=1), out, resume=True)
    (out / "last.ckpt").write_bytes((out / "last.ckpt").read_bytes()[:3000])
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
        run(settings(epochs=1), out, resume=True)


def test_a_run_stopped_in_its_first_epoch_leaves_a_model(
    settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    result = run(settings(), tmp_path / "run", callbacks=[stop_at(4)])
    assert result.interrupted
    assert (result.psnr_in, result.psnr_out, result.evaluated_on) == (None, None, "")
    started, stopped = tmp_path / "started", tmp_path / "run"
    run(settings(), started, callbacks=[stop_at(1)])
    assert load_model(stopped / "model.pt").metrics == {}
    assert not same_weights(stopped / "model.pt", started / "model.pt")  # what was learned until then


def test_a_stopped_run_never_keeps_the_model_of_an_earlier_run(
    settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    out = tmp_path / "run"
    run(settings(epochs=1), out)
    run(settings(seed=9), out, callbacks=[stop_at(2)])
    assert load_model(out / "model.pt").config.seed == 9


def test_other_ends_of_the_process_are_not_taken_for_ctrl_c(
    settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    for number, (error, code) in enumerate([(SystemExit(3), 3), (SIGTERMException(), 143)]):
        with pytest.raises(SystemExit) as caught:
            run(settings(), tmp_path / str(number), callbacks=[stop_at(2, error)])
        assert caught.value.code == code
        assert load_model(tmp_path / str(number) / "model.pt").metrics == {}


def test_a_run_stopped_later_keeps_the_best_epoch(
    settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    result = run(settings(), tmp_path / "run", callbacks=[stop_at(45)])
    assert result.interrupted
    assert load_model(result.model).metrics["epoch"] == 1
    assert result.psnr_out == load_model(result.model).metrics["psnr_out"]


def test_early_stopping_ends_the_run(settings: Settings, run: Run, tmp_path: Path) -> None:
    config = settings(epochs=30, patience=2, lr=1e-12, warmup=0.0, ema=0.0, epoch_crops=16)  # it learns nothing
    assert run(config, tmp_path / "run").epochs < 10
    assert len(rows_of(tmp_path / "run")) < 10
    assert {p.name for p in (tmp_path / "run").iterdir()} == EVERY_FILE


@pytest.mark.parametrize(("epoch", "kept"), [(1, False), (2, True)])
def test_a_diverging_run_stops_with_a_one_line_error(
    epoch: int, kept: bool, settings: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def explode(output: torch.Tensor, clean: torch.Tensor, _degraded: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        return (output - clean).abs().mean() * (math.nan if calls > 30 * epoch - 4 else 1)

    monkeypatch.setattr(cae_train.training.prepare, "training_loss", lambda *_: explode)
    with pytest.raises(
        TrainingError, match=f"diverged in epoch {epoch}: the loss is nan; a smaller learning rate"
    ) as caught:
        run(settings(epochs=9), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert (str(tmp_path / "run" / "model.pt") in str(caught.value)) is kept
    assert (tmp_path / "run" / "model.pt").exists() is kept
    if kept:
        assert load_model(tmp_path / "run" / "model.pt").metrics["epoch"] == 1
        assert len(rows_of(tmp_path / "run")) == 1


def test_a_learning_rate_far_too_high_is_reported_as_divergence(settings: Settings, run: Run, tmp_path: Path) -> None:
    config = settings(lr=1.0, grad_clip=1e6, loss="mse", epochs=9)
    with pytest.raises(TrainingError, match=r"diverged in epoch 1: the loss is .*; a smaller learning rate"):
        run(config, tmp_path / "run")


def test_a_disk_that_fills_up_while_training_is_reported(
    settings: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cae_train.training.run_folder, "draw_curves", full)
    with pytest.raises(TrainingError, match=r"run: No space left on device"):
        run(settings(epochs=1), tmp_path / "run")


def test_running_out_of_memory_suggests_a_smaller_batch(
    settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt
) -> None:
    with pytest.raises(TrainingError, match="out of memory; a smaller batch needs less"):
        run(settings(), tmp_path / "run", callbacks=[stop_at(1, torch.OutOfMemoryError("out of memory"))])


def test_other_losses_and_precisions_and_no_averaging_train_too(settings: Settings, run: Run, tmp_path: Path) -> None:
    cae = {"arch": "cae", "model": {}, "epochs": 1, "epoch_crops": 32}
    for name, changes in {
        "bce": cae | {"loss": "bce"},
        "mse": cae | {"loss": "mse", "ema": 0.0},
        "bf16": {"epochs": 1, "precision": "bf16", "clip": False, "degrade": ("gaussian:10", "salt-pepper:0.05")},
    }.items():
        result = run(settings(**changes), tmp_path / name)
        assert result.psnr_out is not None, name
        assert {value.dtype for value in weights(result.model).values()} == {torch.float32}


def test_unsuitable_settings_are_refused_before_training(settings: Settings, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for changes, reason in [
        ({"loss": "bce"}, "loss bce"),
        ({"arch": "unet", "model": {}}, "unknown architecture 'unet'"),
        ({"model": {"depth": 3}}, "no model option 'depth'"),
        ({"degrade": ("gaussian:abc",)}, "gaussian:abc"),
        ({"epochs": 0}, "epochs is 0"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            run(settings(**changes), out)
    with pytest.raises(CheckpointError, match=r"has no last\.ckpt"):
        run(settings(), out, resume=True)
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accelerator": "abacus"}, r"accelerator abacus, devices auto, strategy auto: .+"),
        ({"devices": "10000"}, r"devices 10000, strategy auto: that would be 10000 processes"),
        ({"devices": "many"}, "devices is 'many': it must be a count from 1, a list such as 0,1, or auto"),
        ({"devices": "0"}, "devices is '0': it must be a count"),
        ({"strategy": "hope"}, "strategy is 'hope': it must be auto, ddp, ddp_find"),
        ({"num_nodes": 0}, "num_nodes is 0: it must be 1 to 10000"),
        ({"num_nodes": 2}, "num_nodes is 2: the environment variables .* missing: MASTER_ADDR, MASTER_PORT, NODE_RANK"),
        ({"devices": "2"}, "batch is 15: 2 processes share each step's patches, it must be a multiple of 2"),
    ],
)
def test_unavailable_hardware_is_a_one_line_error(
    changes: dict[str, Any], reason: str, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        train(settings(batch=15), tmp_path / "run", hardware=Hardware(**{"accelerator": "cpu"} | changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_result_is_measured_on_the_test_part_of_a_data_set(settings: Settings, run: Run, tmp_path: Path) -> None:
    split = load(settings())
    split.test, split.test_of = [image[:32, :32] for image in split.train], "cifar10"
    result = run(settings(epochs=1), tmp_path / "run", split=split)
    assert result.evaluated_on == "cifar10 test"
    assert load_model(result.model).metrics["psnr_out"] == result.psnr_out
    held_out = float(rows_of(tmp_path / "run")[0]["val_psnr"])
    assert result.psnr_out != pytest.approx(held_out, abs=1e-4)


def test_training_leaves_the_process_unchanged(settings: Settings, run: Run, tmp_path: Path, stop_at: StopAt) -> None:
    import logging
    import signal

    before = (list(warnings.filters), signal.getsignal(signal.SIGINT), logging.getLogger("lightning.pytorch").level)
    cwd = Path.cwd()
    run(settings(epochs=1), tmp_path / "run", callbacks=[stop_at(2)])
    after = (list(warnings.filters), signal.getsignal(signal.SIGINT), logging.getLogger("lightning.pytorch").level)
    assert after == before
    assert Path.cwd() == cwd
    assert not (cwd / "lightning_logs").exists()


def test_training_works_in_a_thread(settings: Settings, run: Run, tmp_path: Path) -> None:
    results: list[TrainResult] = []
    thread = threading.Thread(target=lambda: results.append(run(settings(epochs=1), tmp_path / "run")))
    thread.start()
    thread.join()
    assert results[0].epochs == 1
