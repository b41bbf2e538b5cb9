"""What one process learns and what several learn, with the same patches per step: PSNR in dB on held-out patches.

    python -m tests.benchmarks.training.processes [--devices 2] [--seeds 3] [--epochs 2] [--batch 32]

A small network learns to clean drawn pictures, on the CPU. The several processes draw other crops and noise than the
one, so the figures differ as those of two seeds do.
"""

from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from cae_train import Hardware, TrainConfig, train
from cae_train.failure_report import is_helper

SMALL = {"widths": (16, 16), "down_blocks": (0, 1), "up_blocks": (0,)}
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def main(
    devices: Annotated[int, typer.Option(help="Processes.")] = 2,
    seeds: Annotated[int, typer.Option(help="Runs of each.")] = 3,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 2,
    crops: Annotated[int, typer.Option(help="Patches of a pass.")] = 1920,
    batch: Annotated[int, typer.Option(help="Patches of a step, of all processes together.")] = 32,
) -> None:
    """Print a table."""
    with TemporaryDirectory() as folder:

        def figures(count: int) -> list[float]:
            found = []
            for seed in range(seeds):
                config = TrainConfig(
                    ("synthetic",), model=SMALL, epochs=epochs, epoch_crops=crops, batch=batch, lr=3e-3, ema=0.9,
                    precision="fp32", seed=seed,
                )  # fmt: skip
                result = train(config, Path(folder, f"{count}-{seed}"), hardware=Hardware("cpu", str(count)))
                found.append(result.psnr_out or 0.0)
            return found

        one = [] if is_helper() else figures(1)  # a process that helps begins with the runs that it shares
        several = figures(devices)
    if is_helper():
        return
    typer.echo(f"seed  1 process  {devices} processes  difference")
    for seed, (a, b) in enumerate(zip(one, several, strict=True)):
        typer.echo(f"{seed:4}  {a:9.3f}  {b:11.3f}  {b - a:+10.3f}")
    spread = max(one) - min(one)
    typer.echo(f"mean  {mean(one):9.3f}  {mean(several):11.3f}  {mean(several) - mean(one):+10.3f}")
    typer.echo(f"seeds of one process lie {spread:.3f} dB apart")


if __name__ == "__main__":
    app()
