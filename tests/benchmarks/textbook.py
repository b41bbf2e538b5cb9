"""Every network of the textbook on the same data and budget: what each is worth, and what it cannot do.

    python -m tests.benchmarks.textbook train [ROW ...] [--vgg16-weights FILE]   trains what is not trained yet
    python -m tests.benchmarks.textbook table                                    measures it, and writes textbook.md

CIFAR-10 below `data/`, one model a corruption, PSNR on all 10,000 test images; int8 as `cae-export --int8` makes it.
"""

import csv
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

HERE = Path(__file__).parent
TABLE = HERE / "textbook.md"
EPOCHS, BATCH = 4, 64
CORRUPTIONS = {"gaussian": "gaussian:25", "salt-pepper": "salt-pepper:0.1", "blur": "blur:1.5"}


@dataclass(frozen=True)
class Row:
    """A line of the table: a network with its options, the corruptions that it is trained on, its loss."""

    arch: str
    model: dict[str, Any] = field(default_factory=dict)
    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    loss: str = "auto"


ROWS = {
    "skip": Row("skip"),
    "cae": Row("cae"),
    "cae-average-bilinear": Row("cae", {"down": "average", "up": "bilinear"}, ("gaussian",)),
    "cae-stride-transposed": Row("cae", {"down": "stride", "up": "transposed"}, ("gaussian",)),
    "cae-batch-norm": Row("cae", {"batch_norm": True}, ("gaussian",)),
    "cae-mse": Row("cae", {}, ("gaussian",), "mse"),
    "cae-bce": Row("cae", {}, ("gaussian",), "bce"),
    "cae-ssim": Row("cae", {}, ("gaussian",), "ssim"),
    "skip-ssim": Row("skip", {}, ("gaussian",), "ssim"),
    "vae": Row("vae"),
    "sparse": Row("sparse"),
    "sparse-kl": Row("sparse", {"penalty": "kl"}, ("gaussian",)),
    "stacked": Row("stacked"),
    "vgg16": Row("vgg16"),
    "vgg16-no-skips": Row("vgg16", {"skips": False}, ("gaussian",)),
    "vgg16-untrained": Row("vgg16", {"pretrained": False}, ("gaussian",)),
}
HEAD = f"""\
# Every network of the textbook, trained alike

    python -m tests.benchmarks.textbook train --vgg16-weights FILE
    python -m tests.benchmarks.textbook table

CIFAR-10, {EPOCHS} epochs of 45,000 patches in batches of {BATCH}, Muon, seed 0, one model for each corruption; all else
is what `cae-train` does by default. PSNR in dB on the 10,000 test images. Active: share of the code's units above zero
(`sparse-kl`: one half) on held-out patches, trained on {CORRUPTIONS["gaussian"]}. int8: what quantisation costs, in dB,
and its speed beside fp32 in onnxruntime; *refused* where it costs more than 0.10 dB.
"""

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


def runs() -> list[tuple[str, str]]:
    """Row and corruption of every run: first one of each row."""
    every = [(name, corruption) for name, row in ROWS.items() for corruption in row.corruptions]
    return sorted(every, key=lambda run: list(CORRUPTIONS).index(run[1]))


@app.command()
def train(
    names: Annotated[list[str] | None, typer.Argument(help="Rows; all where none is named.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/textbook"),
    vgg16_weights: Annotated[str, typer.Option(help="As `cae-train` takes it.")] = "",
    jobs: Annotated[int, typer.Option(help="Trainings at once, one thread each.")] = 2,
) -> None:
    """Train what is not trained yet."""
    if unknown := set(names or ()) - set(ROWS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(ROWS)}")
    waiting = [
        (row, corruption) for row, corruption in runs()
        if row in (names or ROWS) and not (out / f"{row}-{corruption}").is_dir()
    ]  # fmt: skip
    running: list[subprocess.Popen[bytes]] = []
    failed = 0
    while waiting or running:
        failed += sum(bool(process.poll()) for process in running)
        running = [process for process in running if process.poll() is None]
        while waiting and len(running) < jobs:
            running.append(subprocess.Popen(_command(*waiting.pop(0), out, vgg16_weights), env=_one_thread()))
        time.sleep(1)
    if failed:
        raise typer.Exit(1)


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _command(name: str, corruption: str, out: Path, weights: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.textbook", "train-one", name, corruption, "--out", str(out),
            "--vgg16-weights", weights]  # fmt: skip


@app.command()
def train_one(
    name: str,
    corruption: str,
    out: Annotated[Path, typer.Option()] = Path("runs/textbook"),
    vgg16_weights: Annotated[str, typer.Option()] = "",
) -> None:
    """Train one row on one corruption."""
    import cae_train

    row = ROWS[name]
    wanted = row.arch == "vgg16" and row.model.get("pretrained", True)
    config = cae_train.TrainConfig(
        data=("cifar10",), arch=row.arch, model=row.model, degrade=(CORRUPTIONS[corruption],), loss=row.loss,
        epochs=EPOCHS, batch=BATCH, seed=0, vgg16_weights=vgg16_weights if wanted else "",
    )  # fmt: skip
    folder = out / f"{name}-{corruption}"
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    result = cae_train.train(config, part)
    part.rename(folder)
    print(f"{name}, {corruption}: {result.psnr_in:.2f} -> {result.psnr_out:.2f} dB, {result.seconds:.0f} s", flush=True)


@app.command()
def table(out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/textbook")) -> None:
    """Measure what is trained, and write textbook.md."""
    from cae_train.checkpoint import load_model
    from cae_train.models import multiply_adds_per_pixel, weight_count

    names = list(CORRUPTIONS.values())
    lines = [
        f"| network | KMAC/px | weights | {' | '.join(names)} | SSIM ({names[0]}) | active | int8 ({names[0]}) |",
        "| --- |" + " ---: |" * (len(names) + 5),
    ]
    inputs: dict[str, float] = {}
    for name in ROWS:
        folders = {c: out / f"{name}-{c}" for c in CORRUPTIONS if (out / f"{name}-{c}").is_dir()}
        if "gaussian" not in folders:
            continue
        loaded = {c: load_model(folder / "model.pt") for c, folder in folders.items()}
        inputs |= {c: model.metrics["psnr_in"] for c, model in loaded.items()}
        cells = [f"{loaded[c].metrics['psnr_out']:.2f}" if c in loaded else "" for c in CORRUPTIONS]
        network = loaded["gaussian"].network
        similar = f"{similarity(loaded['gaussian']):.3f}"
        lines.append(
            f"| {name} | {multiply_adds_per_pixel(network) / 1000:.1f} | {weight_count(network):,} | "
            f"{' | '.join(cells)} | {similar} | {active(folders['gaussian'])} | {int8(folders['gaussian'])} |"
        )
        print(lines[-1], flush=True)
    given = " | ".join(f"{inputs[c]:.2f}" if c in inputs else "" for c in CORRUPTIONS)
    lines.insert(2, f"| (corrupted input) | | | {given} | | | |")
    TABLE.write_text("\n".join([HEAD, *lines]) + "\n")


def similarity(loaded: Any) -> float:
    """Mean SSIM on the test images."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    from cae_train.data import load
    from cae_train.degrade import parse_chain
    from cae_train.patches import fixed_pairs

    config = loaded.config
    degraded, clean = fixed_pairs(load(config).test, parse_chain(config.degrade, config.clip), config.seed)
    with torch.inference_mode():
        restored = torch.cat([loaded.network(batch) for batch in torch.split(degraded, 256)]).clamp(0, 1)
    return float(structural_similarity_index_measure(restored, clean, data_range=1.0))  # type: ignore[arg-type]


def active(folder: Path) -> str:
    """Share of active units after the last epoch."""
    with (folder / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    return f"{float(last['active']):.0%}" if last.get("active") else ""


def int8(folder: Path) -> str:
    """What quantisation costs, and its speed."""
    import cae_export
    from cae_export import RefusedError

    source, target = folder / "model.pt", folder / "model-int8.onnx"
    cae_export.export(source, folder / "model.onnx")
    try:
        report = cae_export.export(source, target, precision="int8")
    except RefusedError as e:
        print(e, flush=True)
        report = cae_export.export(source, target, precision="int8", max_drop=100)
        return f"*refused*: {report.psnr_out - report.psnr_fp32:+.2f}, {report.speed:.1f} x"
    return f"{report.psnr_out - report.psnr_fp32:+.2f}, {report.speed:.1f} x"


if __name__ == "__main__":
    app()
