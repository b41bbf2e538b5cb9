"""Every network of the textbook on the same data and budget: what each is worth, and what it cannot do.

    python -m tests.benchmarks.training.textbook train [ROW ...] [--vgg16-weights FILE]  trains missing rows
    python -m tests.benchmarks.training.textbook table [--write]                         measures, and prints the table

CIFAR-10 below `data/`, one model a corruption, PSNR on all 10,000 test images; int8 as `cae-export --int8` makes it.
"""

import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.benchmarks.training.jobs import run as run_all

HERE = Path(__file__).parent
TABLE, FIGURES = HERE / "textbook.md", HERE / "textbook.json"
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
    "cae-charbonnier": Row("cae", {}, ("gaussian",), "charbonnier"),
    "cae-average-bilinear": Row("cae", {"down": "average", "up": "bilinear"}, ("gaussian",), "charbonnier"),
    "cae-stride-transposed": Row("cae", {"down": "stride", "up": "transposed"}, ("gaussian",), "charbonnier"),
    "cae-batch-norm": Row("cae", {"batch_norm": True}, ("gaussian",), "charbonnier"),
    "cae-bce": Row("cae", {}, ("gaussian",), "bce"),
    "cae-ssim": Row("cae", {}, ("gaussian",), "ssim"),
    "skip-charbonnier": Row("skip", {}, ("gaussian", "salt-pepper"), "charbonnier"),
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

    python -m tests.benchmarks.training.textbook train --vgg16-weights FILE
    python -m tests.benchmarks.training.textbook table --write

CIFAR-10, {EPOCHS} epochs of 45,000 patches in batches of {BATCH}, Muon, seed 0, one model for each corruption; all
else is what `cae-train` does by default. The encoder of `vgg16-untrained` is frozen as it was drawn, the others' as
ImageNet has taught it. PSNR in dB on the 10,000 test images. Active: share of the code's units that carry it (mean^2 /
mean of squares). int8: what quantization costs, in dB, and its speed beside fp32 in onnxruntime; *refused* where it
costs more than 0.10 dB, and empty where it was not measured; these three are those of the first corruption.
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
    _refuse_unknown(names)
    waiting = [
        (row, corruption) for row, corruption in runs()
        if row in (names or ROWS) and not (out / f"{row}-{corruption}").is_dir()
    ]  # fmt: skip
    run_all([_command(*run, out, vgg16_weights) for run in waiting], jobs)


def _refuse_unknown(names: list[str] | None) -> None:
    if unknown := set(names or ()) - set(ROWS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(ROWS)}")


def _command(name: str, corruption: str, out: Path, weights: str) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.training.textbook", "train-one", name, corruption,
            "--out", str(out), "--vgg16-weights", weights]  # fmt: skip


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
    model = {**row.model, "weights": vgg16_weights} if wanted else row.model
    config = cae_train.TrainConfig(
        data=("cifar10",), arch=row.arch, model=model, degrade=(CORRUPTIONS[corruption],), loss=row.loss,
        epochs=EPOCHS, batch=BATCH, seed=0,
    )  # fmt: skip
    folder = out / f"{name}-{corruption}"
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    result = cae_train.train(config, part)
    if result.interrupted:
        raise typer.Exit(1)
    part.rename(folder)
    print(f"{name}, {corruption}: {result.psnr_in:.2f} -> {result.psnr_out:.2f} dB, {result.seconds:.0f} s", flush=True)


@app.command()
def table(
    names: Annotated[list[str] | None, typer.Argument(help="Rows to measure; all where none is named.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/textbook"),
    again: Annotated[bool, typer.Option(help="Measure also what has been measured.")] = False,
    quantize: Annotated[bool, typer.Option(help="Measure int8 too, which takes longest.")] = True,
    write: Annotated[bool, typer.Option("--write", help="Replace textbook.json and textbook.md.")] = False,
) -> None:
    """Measure what is trained, and print the table with what textbook.json has of the rest."""
    known: dict[str, dict[str, Any]] = json.loads(FIGURES.read_text()) if FIGURES.is_file() else {}
    _refuse_unknown(names)
    for name, corruption in runs():
        run = f"{name}-{corruption}"
        quantized = quantize and corruption == "gaussian"
        missing = run not in known or (quantized and "int8" not in known[run])
        if name in (names or ROWS) and (out / run / "model.pt").is_file() and (again or missing):
            known[run] = measure(name, out / run, quantized)
            print(run, known[run], flush=True)
            if write:
                FIGURES.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
    specs = list(CORRUPTIONS.values())
    inputs = {c: figures["psnr_in"] for run, figures in known.items() for c in CORRUPTIONS if run.endswith(f"-{c}")}
    given = " | ".join(f"{inputs[c]:.2f}" if c in inputs else "" for c in CORRUPTIONS)
    lines = [
        f"| network | loss | KMAC/px | weights | {' | '.join(specs)} | SSIM | active | int8 |",
        "| --- |" + " ---: |" * (len(specs) + 6),
        f"| (degraded input) | | | | {given} | | | |",
    ]
    for name in ROWS:
        if f"{name}-gaussian" in known:
            first = known[f"{name}-gaussian"]
            restored = [known.get(f"{name}-{c}", {}).get("psnr_out") for c in CORRUPTIONS]
            cells = " | ".join("" if value is None else f"{value:.2f}" for value in restored)
            active = f"{first['active']:.0%}" if "active" in first else ""
            lines.append(
                f"| {name} | {first['loss']} | {first['kmac']:.1f} | {first['weights']:,} | {cells} "
                f"| {first['ssim']:.3f} | {active} | {first.get('int8', '')} |"
            )
    text = "\n".join([HEAD, *lines]) + "\n"
    print(text)
    if write:
        TABLE.write_text(text)


def measure(name: str, folder: Path, quantized: bool) -> dict[str, Any]:
    """The figures of one run on the test images; with what int8 costs where `quantized`."""
    import torch
    from torchmetrics.functional.image import structural_similarity_index_measure

    from cae_train.checkpoint import load_model
    from cae_train.data.images import load
    from cae_train.data.pairs import fixed_pairs
    from cae_train.degradations.registry import parse_chain
    from cae_train.models import build, multiply_adds_per_pixel, options_of, weight_count
    from cae_train.training.optimization.losses import mse

    loaded = load_model(folder / "model.pt")
    config = loaded.config
    degraded, clean = fixed_pairs(load(config).test, parse_chain(config.degrade, config.clip), config.seed)
    with torch.inference_mode():
        steps = [loaded.network.step(x, y, mse) for x, y in zip(degraded.split(256), clean.split(256), strict=True)]
    restored = torch.cat([step.output for step in steps]).clamp(0, 1)
    similarity = structural_similarity_index_measure(restored, clean, data_range=1.0)
    figures = {
        "psnr_in": loaded.metrics["psnr_in"],
        "psnr_out": loaded.metrics["psnr_out"],
        "ssim": float(similarity),  # type: ignore[arg-type]
        "loss": loaded.network.loss if ROWS[name].loss == "auto" else ROWS[name].loss,
        "kmac": multiply_adds_per_pixel(build(loaded.arch, options_of(loaded.network))) / 1000,
        "weights": weight_count(loaded.network),
    }
    if "active" in steps[0].figures:
        figures["active"] = float(torch.stack([step.figures["active"] for step in steps]).mean())
    return figures | ({"int8": int8(folder)} if quantized else {})


def int8(folder: Path) -> str:
    """What quantization costs, and its speed."""
    import cae_export
    from cae_export import RefusedError

    source, target = folder / "model.pt", folder / "model-int8.onnx"
    cae_export.export(source, folder / "model.onnx", overwrite=True)
    try:
        report = cae_export.export(source, target, precision="int8", overwrite=True)
    except RefusedError as e:
        print(e, flush=True)
        try:
            report = cae_export.export(source, target, precision="int8", max_drop=100, overwrite=True)
        except RefusedError:
            return "*refused*"
        return f"*refused*: {report.psnr_out - report.psnr_fp32:+.2f}, {report.speed:.1f} x"
    return f"{report.psnr_out - report.psnr_fp32:+.2f}, {report.speed:.1f} x"


if __name__ == "__main__":
    app()
