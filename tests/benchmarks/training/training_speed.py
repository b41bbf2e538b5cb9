"""How many patches a second a training takes: their making and the step, each alone and together.

    python -m tests.benchmarks.training.training_speed [--device cuda] [--batch 512] [--bf16] [--compile]
                                                        [--recipe FILE.toml]

The data are made as `cae-train --data-on device` makes them, of drawn pictures, and beside that as the host does. A
step is the network's, with the loss, the gradients, their clipping and the optimizer of the recipe, without Lightning.
All is warmed up first, compiled steps too, and the clock stops when the GPU has finished.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

from cae_train import TrainConfig
from cae_train.config import load_toml
from cae_train.data.pairs import Pairs
from cae_train.data.synthetic import load_synthetic
from cae_train.degradations.registry import chain_of
from cae_train.models import build
from cae_train.on_device.pairs import BLOCK, DevicePairs
from cae_train.training.compiled import compiled_step
from cae_train.training.material import Material
from cae_train.training.module import Training
from cae_train.training.optimization.losses import loss_of

RECIPE = Path("assets/recipes/denoise.toml")
PICTURES, HELD_OUT = 64, 2
WARM_UP = 3  # steps before the clock runs
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def main(
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cuda" if torch.cuda.is_available() else "cpu",
    batch: Annotated[int, typer.Option(help="Patches a step.")] = 512,
    steps: Annotated[int, typer.Option(help="Steps that are timed.")] = 64,
    bf16: Annotated[bool, typer.Option("--bf16", help="Autocast to bfloat16.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the step.")] = False,
    recipe: Annotated[Path, typer.Option(help="Settings of a training; its data are not read.")] = RECIPE,
) -> None:
    """Print patches per second."""
    place = torch.device(device)
    settings = load_toml(recipe) | {"batch": batch, "epoch_crops": max(2, steps + WARM_UP) * max(batch, BLOCK)}
    config = TrainConfig(
        **settings | {"data": ("synthetic",), "start": "", "teacher": "", "loss": "blended", "quantize_aware": False}
    )
    host = Pairs(load_synthetic(0, PICTURES), chain_of(config), config)
    on_device = DevicePairs(host, place)
    step = _step(config, place, bf16, compiled)
    on_device.block_steps = block = min(on_device.block_steps, steps)
    ready = on_device[0, 0]

    def rate(work: Callable[[int], object], count: int, warm_up: int) -> float:
        for number in range(warm_up):
            work(number)
        _finished(place)
        started = time.perf_counter()
        for number in range(warm_up, warm_up + count):
            work(number)
        _finished(place)
        return batch * count / (time.perf_counter() - started)

    rows = (
        ("data, on the device", rate(lambda number: on_device[1, number * block], max(1, steps // block), 1) * block),
        ("data, on the host, one process", rate(lambda number: host[0, number], max(1, steps // 8), 1)),
        ("step", rate(lambda _number: step(*ready), steps, WARM_UP)),
        ("data and step, on the device", rate(lambda number: step(*on_device[2, number]), steps, block)),
    )
    kind = torch.cuda.get_device_name(place) if place.type == "cuda" else f"{torch.get_num_threads()} threads of a CPU"
    print(f"{recipe.stem}, {kind}, batches of {batch}, {'bf16' if bf16 else 'fp32'}{', compiled' * compiled}")
    for name, patches in rows:
        print(f"{name:34}{patches:12,.0f} patches/s{1000 * batch / patches:10.2f} ms a batch")


def _step(
    config: TrainConfig, device: torch.device, bf16: bool, compiled: bool
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """One step of training on (degraded, clean)."""
    network = build(config.arch, config.model, 3)
    held_out = (torch.zeros(HELD_OUT, 3, 32, 32), torch.ones(HELD_OUT, 3, 32, 32))
    loss, material = loss_of(config.loss, network), Material(Pairs([], chain_of(config), config), held_out, "")
    training = Training(config, material, network, loss).to(device).train()
    optimizer, forward = training.optimizer(), compiled_step(network) if compiled else network.step

    def step(degraded: torch.Tensor, clean: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            result = forward(degraded, clean, loss)
        result.loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.grad_clip)
        optimizer.step()

    return step


def _finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    app()
