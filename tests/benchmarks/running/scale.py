"""Estimates what very many pictures cost on a cluster: core hours, requests, traffic, and what limits the speed.

    python -m tests.benchmarks.running.scale --pictures 1e9 --megapixels 2 [--model denoise-int8] [--hours 24]

Speeds of the models are those of the table in peers.md, which two cores share. All else is an option, with a default
that was measured or that a large object store states; nothing is run.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

TABLE = Path(__file__).parents[1] / "denoising/peers.md"
TABLE_CORES = 2
DECODE, ENCODE = 150, 280  # Mpx/s of one core: JPEG of quality 95 by OpenCV, of four photographs of scikit-image
BYTES = 0.37  # of a pixel of these JPEGs
GETS, PUTS = 5_500, 3_500  # a second and prefix, as Amazon S3 states them
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


@dataclass(frozen=True)
class Plan:
    """A run over many pictures, and the machines that it has.

    Attributes:
        pictures: how many.
        pixels: of a picture, in millions.
        speed: of the model, millions of pixels per second and core.
        bytes_in, bytes_out: of a pixel in the source and in the result.
        hours: how long the run may take.
        cores, gbit: cores and network of a machine.
    """

    pictures: float
    pixels: float
    speed: float
    bytes_in: float
    bytes_out: float
    hours: float
    cores: int
    gbit: float

    @property
    def seconds(self) -> float:
        """Of one core for one picture: read, clean, write."""
        return self.pixels * (1 / DECODE + 1 / self.speed + 1 / ENCODE)

    @property
    def rate(self) -> float:
        """Pictures a second that keep to `hours`."""
        return self.pictures / self.hours / 3600

    def limits(self) -> dict[str, float]:
        """Pictures a second that each part can do: of one machine, or of one prefix of the store."""
        link = self.gbit * 1e9 / 8 / (self.pixels * 1e6)
        return {
            "CPU: the model": self.cores / (self.pixels / self.speed),
            "CPU: reading and writing JPEG": self.cores / (self.pixels / DECODE + self.pixels / ENCODE),
            "network, in": link / self.bytes_in,
            "network, out": link / self.bytes_out,
            "store, a prefix": 1 / max(1 / GETS, 1 / PUTS),
        }


def speeds() -> dict[str, float]:
    """Mpx/s of one core by the model's name, out of the table."""
    rows = re.findall(r"^\| (denoise[\w-]*) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|", TABLE.read_text("utf-8"), re.MULTILINE)
    return {name: float(speed) / TABLE_CORES for name, speed in rows}


def table(plan: Plan) -> list[str]:
    """The lines of the answer."""
    terabytes = plan.pictures * plan.pixels * 1e6 / 1e12
    busy = plan.rate * plan.seconds
    machines = busy / plan.cores
    limits = plan.limits()
    single = {name: rate for name, rate in limits.items() if not name.startswith("store")}
    lowest = min(single, key=lambda name: single[name])
    behind = min(rate for name, rate in single.items() if name != "CPU: the model")
    return [
        f"core hours          {plan.pictures * plan.seconds / 3600:12,.0f}",
        f"requests            {plan.pictures / 1e6:12,.0f} million GET, as many PUT, {plan.pictures / 1e9:,.0f} LIST",
        f"traffic             {terabytes * plan.bytes_in:12,.0f} TB in, {terabytes * plan.bytes_out:,.0f} TB out",
        "",
        f"in {plan.hours:g} hours",
        f"pictures per second {plan.rate:12,.0f}",
        f"cores               {busy:12,.0f} ({machines:,.1f} machines of {plan.cores})",
        f"network             {plan.rate * plan.pixels * plan.bytes_in * 8 / 1e3:12,.1f} Gbit/s in, "
        f"{plan.rate * plan.pixels * plan.bytes_out * 8 / 1e3:,.1f} Gbit/s out",
        f"prefixes            {math.ceil(plan.rate / limits['store, a prefix']):12,} of the store, at least",
        "",
        "pictures per second of one machine, or one prefix",
        *(f"{name:32}{rate:12,.0f}" for name, rate in limits.items()),
        f"limit               {lowest}",
        f"GPU                 {behind * plan.pixels:12,.0f} Mpx/s per machine: a faster GPU would wait for the rest",
    ]


@app.command()
def main(
    pictures: Annotated[float, typer.Option(help="How many pictures.")] = 1e9,
    megapixels: Annotated[float, typer.Option(help="Size of a picture.")] = 2.0,
    model: Annotated[str, typer.Option(help="A row of the table in peers.md.")] = "denoise-fast-int8",
    bytes_in: Annotated[float, typer.Option(help="Bytes per pixel of the source.")] = BYTES,
    bytes_out: Annotated[float, typer.Option(help="Bytes per pixel of the result.")] = BYTES,
    hours: Annotated[float, typer.Option(help="Hours that the run may take.")] = 24.0,
    cores: Annotated[int, typer.Option(help="Cores per machine.")] = 64,
    gbit: Annotated[float, typer.Option(help="Gbit/s of a machine's network, each way.")] = 25.0,
) -> None:
    """Print the table."""
    known = speeds()
    if model not in known:
        raise typer.BadParameter(f"{model!r}: choose from {', '.join(known)}", param_hint="--model")
    given = {
        "--pictures": pictures, "--megapixels": megapixels, "--bytes-in": bytes_in, "--bytes-out": bytes_out,
        "--hours": hours, "--cores": cores, "--gbit": gbit,
    }  # fmt: skip
    for option, value in given.items():
        if not 0 < value < float("inf"):
            raise typer.BadParameter(f"{value:g} is not above 0", param_hint=option)
    typer.echo("\n".join(table(Plan(pictures, megapixels, known[model], bytes_in, bytes_out, hours, cores, gbit))))


if __name__ == "__main__":
    app()
