"""Draw the architecture and the learning curve of the packaged models: assets/models/NAME.png, NAME-curve.png.

    python scripts/make_diagrams.py [NAME ...] [--runs runs/train]

The architecture is traced from `assets/NAME.pt`; the curve joins the `metrics.csv` of the runs NAME and NAME-int8,
where they are at hand.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from torch import Tensor, nn

from cae_train import load_model
from cae_train.data.packaged import DENOISE
from cae_train.models import multiply_adds
from cae_train.models.depthwise import DepthwiseBlock
from cae_train.models.skip import Skip
from cae_train.models.skip_blocks import ResidualBlock

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "assets" / "models"
NAMES = ("denoise", "denoise-fast", "denoise-best", "cae")
KINDS: dict[type[nn.Module], tuple[str, str]] = {  # what is drawn: its word and color
    nn.Conv2d: ("conv", "#4c78a8"), nn.ConvTranspose2d: ("up-conv", "#e45756"), nn.MaxPool2d: ("pool", "#bbbbbb"),
    nn.Upsample: ("nearest", "#bbbbbb"), DepthwiseBlock: ("depthwise block", "#72b7b2"),
}  # fmt: skip


def layers(network: nn.Module) -> list[tuple[str, nn.Module, tuple[int, ...], float]]:
    """Name, module, C x H x W out and KMAC/px of convolutions, blocks, pools and upsamplings, in the order they run."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    whole = tuple(f"{name}." for name, module in network.named_modules() if isinstance(module, DepthwiseBlock))
    modules = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, tuple(KINDS)) and not name.startswith(whole)
    }
    for name, module in modules.items():
        module.register_forward_hook(note(name))  # type: ignore[attr-defined]
    costs = multiply_adds(network.eval())
    cost = {name: sum(n for layer, n in costs.items() if f"{layer}.".startswith(f"{name}.")) for name in shapes}
    return [(name, modules[name], shape, cost[name] / 32**2 / 1000) for name, shape in shapes.items()]


def additions(network: nn.Module, names: list[str]) -> list[tuple[str, str]]:
    """First and last layer that each addition spans; the last is the picture minus the noise."""
    if not isinstance(network, Skip):
        return []
    spans = [
        (f"{name}.conv1", f"{name}.conv2")
        for name, module in network.named_modules()
        if isinstance(module, ResidualBlock)
    ]
    skips = [(f"reduce.{level}", f"expand.{level}") for level in range(len(network.up))]
    return [*spans, *skips, (names[0], names[-1])]


def draw(name: str) -> None:
    """One box a layer: as high as its output, as wide as its channels need; arcs are additions."""
    network = load_model(DENOISE if name == "denoise" else ROOT / "assets" / f"{name}.pt").network
    found = layers(network)
    places: dict[str, tuple[float, float]] = {}  # left and right of each box
    figure, axes = plt.subplots(figsize=(max(13, 0.65 * len(found)), 3.4))
    x, gap = 0.0, 3.0
    for label, module, (channels, height, width), cost in found:
        word, color = next(value for kind, value in KINDS.items() if isinstance(module, kind))
        breadth = 1.5 + channels / 24
        axes.add_patch(Rectangle((x, -height / 2), breadth, height, color=color, alpha=0.85, lw=0))
        kernel = getattr(module, "kernel_size", "")
        size = kernel[0] if isinstance(kernel, tuple) else kernel
        stride = getattr(module, "stride", 1)
        stride = stride[0] if isinstance(stride, tuple) else stride
        text = f"{word} {size}x{size}" if size else word
        text += f" /{stride}" if stride and stride != 1 else ""
        text += f"\n{channels}x{height}x{width}" + (f"\n{cost:.2f} KMAC/px" if cost else "")
        places[label] = (x, x + breadth)
        axes.text(x + breadth / 2, -18, text, rotation=90, ha="center", va="top", fontsize=7)
        x += breadth + gap
    for start, end in additions(network, list(places)):
        left, right = places[start][0], places[end][1]
        reach = 20 + (right - left) / 16
        axes.plot([left - gap / 2] * 2 + [right + gap / 2] * 2, [0, reach, reach, 0], color="0.5", lw=0.8)
    axes.set_xlim(-6, x + 3)
    axes.set_ylim(-36, 32)
    axes.axis("off")
    axes.set_title(f"{name}: {sum(cost for *_, cost in found):.1f} KMAC/px", fontsize=10, loc="left")
    figure.savefig(FOLDER / f"{name}.png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def curve(name: str, runs: Sequence[Path]) -> None:
    """Validation PSNR over the epochs of the runs that the model was made by."""
    figure, axes = plt.subplots(figsize=(6, 3))
    done = 0.0
    for run in runs:
        with (run / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        label = f"{run.name} (noisy: {float(rows[0]['noisy_psnr']):.2f} dB)"
        hours = [done + float(row["seconds"]) / 3600 for row in rows]
        axes.plot(hours, [float(row["val_psnr"]) for row in rows], marker=".", ms=3, label=label)
        done = hours[-1]
    axes.set_xlabel("hours of training")
    axes.set_ylabel("held-out PSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(FOLDER / f"{name}-curve.png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    """Parse and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "train")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    for name in args.names:
        draw(name)
        runs = [run for run in (name, f"{name}-int8") if (args.runs / run / "metrics.csv").is_file()]
        if runs:
            curve(name, [args.runs / run for run in runs])


if __name__ == "__main__":
    main()
