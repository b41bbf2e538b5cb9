"""Searches for networks: candidates trained alike, then compared at their cost.

    python -m tests.benchmarks.training.models train [NAME ...]     trains candidates that are not trained yet
    python -m tests.benchmarks.training.models table [--write]      measures the trained ones, and prints the table

There are two searches: `--search candidates` for the width of dense networks and the optimizer, `--search depthwise`
for depthwise blocks. Every candidate of a search sees the same patches, noise and steps; what counts is the PSNR of
patches that were held out of the training set. Times are medians of runs of bare onnxruntime sessions on batches of 16
patches, interleaved with those of a peer.
"""

import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.benchmarks.running.speed import PATCHES, PEER, speeds
from tests.benchmarks.training.front import Point, draw
from tests.benchmarks.training.jobs import run as run_all

HERE = Path(__file__).parent
BATCH, EPOCHS = 64, 4
LEVELS = (15, 25, 50)
TOLERANCE = 1e-2  # between torch and onnxruntime: "plain" has activations so large that rounding shows
HEADS = {
    "candidates": """\
# The search behind the dense networks

    python -m tests.benchmarks.training.models train
    python -m tests.benchmarks.training.models table --peer FFDNET.onnx --write

`skip` with the options of [candidates.toml](candidates.toml), {steps:,} steps of {batch} patches each (`gaussian:0-55`,
AdamW, Charbonnier, seed 0); the rows `muon` and the recipes (`dense`, `dense-fast`) change the optimizer.
PSNR in dB on 2048 held-out patches of data/bsd432 and data/photos: of the mixed levels, and of single ones. The int8
loss is that of static quantization, without training for it. Speeds are those of bare onnxruntime sessions on
{patches} patches, two threads, the runs of a candidate's two files and FFDNet's interleaved.
Activations of the `plain` candidates (no residual) grow without bound on some patches: hence their single levels.
""",
    "depthwise": """\
# Depthwise blocks against dense ones

    python -m tests.benchmarks.training.models train --search depthwise
    python -m tests.benchmarks.training.models table --search depthwise --peer FFDNET.onnx --write \\
        --plot assets/models/depthwise.png

`skip` with the options of [depthwise.toml](depthwise.toml), {steps:,} steps of {batch} patches each (`gaussian:0-55`,
Muon, the loss `psnr`, seed 0). PSNR in dB on 2048 held-out patches of data/bsd432 and data/photos: of the mixed levels,
and of single ones. The int8 loss is that of static quantization, without training for it. Speeds are those of bare
onnxruntime sessions on {patches} patches, two threads, the runs of a candidate's two files and FFDNet's interleaved.
The packaged models are compared with other methods in [another table](../denoising/peers.md).

![PSNR against speed](../../../assets/models/depthwise.png)
""",
}

RUNS = Path("runs/search")
SearchName = Annotated[str, typer.Option(help=f"Networks to compare: {', '.join(HEADS)}.")]
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


@dataclass(frozen=True)
class Search:
    """Networks to compare: the model options of each, by name (`training` among them where its training differs)."""

    steps: int
    training: dict[str, Any]
    candidates: dict[str, dict[str, Any]]
    packaged: tuple[str, ...] = ()  # of the candidates, the networks of packaged models


def read(search: str) -> Search:
    """A search by its name, from the TOML file of that name."""
    if search not in HEADS:
        raise typer.BadParameter(f"search {search!r} is unknown: choose from {', '.join(HEADS)}")
    table = tomllib.loads((HERE / f"{search}.toml").read_text())
    common, settings = table.pop("common"), table.pop("search")
    return Search(candidates={name: common | _with_like(each, table) for name, each in table.items()}, **settings)


def _with_like(options: dict[str, Any], table: dict[str, dict[str, Any]]) -> dict[str, Any]:
    inherited = table[options["like"]] if "like" in options else {}
    return inherited | {name: value for name, value in options.items() if name != "like"}


@app.command()
def train(
    names: Annotated[list[str] | None, typer.Argument(help="Candidates; all where none is named.")] = None,
    search: SearchName = "candidates",
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = RUNS,
    jobs: Annotated[int, typer.Option(help="Trainings at once, one thread each.")] = 2,
) -> None:
    """Train what is not trained yet."""
    known = read(search).candidates
    waiting = [name for name in names or known if not (out / search / name / "model.pt").is_file()]
    if unknown := set(waiting) - set(known):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    command = [sys.executable, "-m", __spec__.name, "train-one"]
    run_all([[*command, name, "--search", search, "--out", str(out)] for name in waiting], jobs)


@app.command()
def train_one(name: str, search: SearchName = "candidates", out: Annotated[Path, typer.Option()] = RUNS) -> None:
    """Train one candidate."""
    import cae_train

    settings = read(search)
    options = settings.candidates[name]
    training = settings.training | options.pop("training", {})
    config = cae_train.TrainConfig(
        data=("data/bsd432", "data/photos"), arch="skip", model=options, degrade=("gaussian:0-55",),
        epochs=EPOCHS, epoch_crops=settings.steps // EPOCHS * BATCH, batch=BATCH, seed=0, **training,
    )  # fmt: skip
    part = out / search / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    result = cae_train.train(config, part)
    if result.interrupted:
        raise typer.Exit(1)
    part.rename(out / search / name)
    print(f"{name}: {result.psnr_out:.2f} dB after {result.seconds:.0f} s", flush=True)


@dataclass(frozen=True)
class Row:
    """One line of the table but for its speeds, and the files to take them of; PSNR in dB, cost in multiply-adds."""

    name: str
    cost: float
    weights: int
    blind: float
    levels: tuple[float, ...]
    int8_loss: float
    fp32: Path
    int8: Path


@app.command()
def table(
    search: SearchName = "candidates",
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = RUNS,
    peer: Annotated[Path | None, typer.Option(help="FFDNet as ONNX, input `x`: the unit of speed.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of each session.")] = 2,
    write: Annotated[bool, typer.Option("--write", help="Replace the search's page with the table.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw PSNR against speed into this PNG.")] = None,
) -> None:
    """Measure the trained candidates and print the table."""
    settings, runs = read(search), out / search
    trained = [name for name in settings.candidates if (runs / name / "model.pt").is_file()]
    if not trained:
        raise typer.BadParameter(f"{runs} has no trained candidate: run the command train first, or name another --out")
    untrained = [name for name in settings.candidates if name not in trained]
    if write and untrained:
        raise typer.BadParameter(f"--write would drop the rows of {', '.join(untrained)}, which {runs} does not have")
    if (write or plot) and not peer:
        raise typer.BadParameter("--write and --plot need --peer, whose runs take turns with those of each candidate")
    rows = [measure(name, runs / name) for name in trained]
    unit = "FFDNet = 1" if peer else "Mpx/s"
    sigmas = " | ".join(f"sigma {sigma}" for sigma in LEVELS)
    lines = [
        HEADS[search].format(steps=settings.steps, batch=BATCH, patches=PATCHES),
        f"| candidate | KMAC/px | weights | mixed | {sigmas} | int8 loss | fp32 speed | int8 speed ({unit}) |",
        "| --- |" + " ---: |" * (6 + len(LEVELS)),
    ]
    points = []
    for row in rows:
        levels = " | ".join(f"{value:.2f}" for value in row.levels)
        files = {"fp32": row.fp32, "int8": row.int8} | ({PEER: peer} if peer else {})
        speed = speeds(files, threads)  # few sessions at once: many would push each other's weights out of the caches
        fp32, int8 = (speed[kind] / speed.get(PEER, 1.0) for kind in ("fp32", "int8"))
        points.append(Point(row.name, (row.blind, row.blind - row.int8_loss), (fp32, int8)))
        lines.append(
            f"| {row.name} | {row.cost / 1000:.1f} | {row.weights:,} | {row.blind:.2f} | {levels} "
            f"| {row.int8_loss:.2f} | {fp32:.1f} | {int8:.1f} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if write:
        (HERE / f"{search}.md").write_text(text)
    if plot:
        draw(points, settings.packaged, unit, plot)


def measure(name: str, folder: Path) -> Row:
    """Held-out PSNR of a trained candidate, its cost, and its two ONNX files (made beside `model.pt`)."""
    import cae_export
    from cae_train.checkpoint import load_model
    from cae_train.data.images import load
    from cae_train.data.pairs import fixed_pairs
    from cae_train.degradations.registry import parse_chain
    from cae_train.models import multiply_adds_per_pixel, weight_count
    from cae_train.training.loop import evaluate

    loaded = load_model(folder / "model.pt")
    split = load(loaded.config)
    figures = []
    for sigma in LEVELS:
        noisy, clean = fixed_pairs(split.validation, parse_chain((f"gaussian:{sigma}",)), 0)
        figures.append(evaluate(loaded.network, noisy, clean))
    fp32, int8 = folder / "model.onnx", folder / "model-int8.onnx"
    cae_export.export(folder / "model.pt", fp32, tolerance=TOLERANCE, overwrite=True)
    report = cae_export.export(
        folder / "model.pt", int8, precision="int8", max_drop=10.0, tolerance=TOLERANCE, overwrite=True
    )
    print(name, figures, report, flush=True)
    return Row(
        name, multiply_adds_per_pixel(loaded.network), weight_count(loaded.network), float(loaded.metrics["psnr_out"]),
        tuple(figures), report.psnr_fp32 - report.psnr_out, fp32, int8,
    )  # fmt: skip


if __name__ == "__main__":
    app()
