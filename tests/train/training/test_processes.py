"""Runs of two processes on this machine's CPU."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cae_train import Hardware, TrainConfig, TrainResult, load_model
from cae_train.config import load_toml
from cae_train.training.run_folder import write_config

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="never tried on Windows")]

Settings = Callable[..., TrainConfig]
Run = Callable[..., TrainResult]
COMMAND = Path(sys.executable).parent / "cae-train"
TWO = ("--accelerator", "cpu", "--devices", "2", "--strategy", "ddp")
NOISE = 0.1  # dB that two such runs may differ in: seeds differ by 0.07, see train/README.md

# Lightning's way: the second process runs the script again, from its beginning.
SCRIPT = """
import os
import sys
from pathlib import Path
import cae_train.data.pairs
from lightning.pytorch import Callback
from cae_train import Hardware, TrainConfig, TrainingError, train
from cae_train.config import load_toml

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # at once, as both processes write to one pipe

class Seen(Callback):
    def on_train_batch_end(self, trainer, training, outputs, batch, index):
        with Path(f"{out}-{trainer.global_rank}.txt").open("a") as file:
            file.writelines(f"{hash(patch.numpy().tobytes())}\\n" for patch in batch[1])

class Failure(Callback):
    def on_train_batch_end(self, trainer, training, outputs, batch, index):
        if trainer.global_rank == 1 and trainer.global_step == 3:
            raise TrainingError("the second process fails")

cae_train.data.pairs.HELD_OUT_PATCHES = 256  # as in the tests' own process
here = Path(sys.argv[1])
hardware = Hardware("cpu", "2", "ddp")
config = TrainConfig.from_dict(load_toml(here / "settings.toml"))
out = here / "both"
first = train(config, out, hardware=hardware, callbacks=[Seen()])
second = train(config, here / "one", hardware=hardware, resume=True)
say(first.psnr_out, second.psnr_out, second.epochs)
try:
    train(config, here / "failed", hardware=hardware, callbacks=[Failure()])
except TrainingError as e:
    say(e)
if os.environ.get("LOCAL_RANK", "0") == "0":
    say("left:", *({"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & set(os.environ)))
again = train(config, here / "again", hardware=hardware)
say("again:", again.psnr_out)
"""


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_two_processes_learn_the_same_as_one(
    settings: Settings, run: Run, stop_at: Callable[..., Any], tmp_path: Path
) -> None:
    config = settings(epochs=2, patience=5, epoch_crops=240)
    alone = run(config, tmp_path / "alone")
    run(config, tmp_path / "one", callbacks=[stop_at(20)])  # in the second epoch of 15 steps
    write_config(tmp_path / "settings.toml", config)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, tmp_path],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    (figures,) = {line for line in told if line[0].isdigit()}
    assert told.count(figures) == 3, (
        "all processes give the same result, and the one that is started last repeats no run"
    )
    first, second, epochs = figures.split()
    assert float(first) == pytest.approx(alone.psnr_out, abs=NOISE)
    assert float(second) == pytest.approx(alone.psnr_out, abs=NOISE), "a run of one process is continued by two"
    assert epochs == "2"
    assert told.count("left:") == 1, "the environment is as it was"
    assert told.count("another process of this run has ended") == 2
    assert sum(line.startswith("the second process fails") for line in told) == 1
    leader, helper = (line.split() for line in told if line.startswith("again:"))
    assert leader == helper
    assert float(leader[1]) == pytest.approx(alone.psnr_out, abs=NOISE)
    seen = [(tmp_path / f"both-{rank}.txt").read_text(encoding="utf-8").split() for rank in range(2)]
    assert [len(each) for each in seen] == [240, 240]
    assert not set(seen[0]) & set(seen[1]), "no patch is trained on by both"
    both, single = rows(tmp_path / "both"), rows(tmp_path / "alone")
    assert [row["lr"] for row in both] == [row["lr"] for row in single], "as many steps, the same schedule"
    for one, other in zip(both, single, strict=True):
        assert float(one["noisy_psnr"]) == float(other["noisy_psnr"])
        assert float(one["val_psnr"]) == pytest.approx(float(other["val_psnr"]), abs=NOISE)


def test_ctrl_c_ends_all_processes_and_one_can_resume(settings: Settings, run: Run, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    write_config(recipe, settings(epochs=200, epoch_crops=32))
    command = [COMMAND, "--config", recipe, "--out", out, *TWO]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("epoch 2/"):
                process.send_signal(signal.SIGINT)
                break
        lines += process.stderr.readlines()  # until the last process has ended
        code = process.wait()
    assert code == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert sum(line.startswith("epoch 1/") for line in lines) == 1
    assert lines[-1] == f"interrupted: {out / 'model.pt'} can be used; go on with cae-train --resume {out}\n"
    done = len(rows(out))
    config = TrainConfig.from_dict(load_toml(out / "config.toml") | {"patience": 1, "lr": 1e-12})
    checkpoint = torch.load(out / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2 * checkpoint["epoch"] + 2
    resumed = run(config, out, resume=True)
    assert done < resumed.epochs <= 200
    assert load_model(out / "model.pt").metrics["epoch"] <= resumed.epochs


def test_the_number_of_devices_follows_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    from cae_train import ConfigError
    from cae_train.training.processes import sized

    monkeypatch.setattr("torch.distributed.is_torchelastic_launched", lambda: True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "6")
    assert sized(Hardware("cpu")) == Hardware("cpu", "2", num_nodes=3)
    assert sized(Hardware("cpu", "2", num_nodes=3)) == Hardware("cpu", "2", num_nodes=3)
    for wrong in (Hardware("cpu", "3"), Hardware("cpu", num_nodes=2)):
        with pytest.raises(ConfigError, match=r"is [23]: torchrun has started 2 processes on each of 3 machines"):
            sized(wrong)
