"""Detectors made of few good pictures: false alarms and what is found, over ten seeds.

    python -m tests.benchmarks.other_tasks.anomalies_few [--seeds 10] [--epochs 2] [--out runs/anomalies-few]

The textures brick, gravel and grass of scikit-image are cut into tiles that do not overlap: of 64x64 pixels for 20 and
32 good pictures, of 32x32 for 40 and 100. A model is trained on them by the recipe of runtime/TASKS.md (with `--epochs`
epochs of 2,000 crops, so that 120 trainings end in an hour), and a detector fitted, with 5 % of false alarms wanted.
Unseen good tiles give the false alarms, and defects drawn on them the AUROC of the pictures. Scores are those of
PyTorch, which equal those of the file (`tests/export/test_parts.py`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from skimage import data
from sklearn.metrics import roc_auc_score
from tests.benchmarks.other_tasks.defects import KINDS, SIDE, Image, damaged

from cae_export.detector.scores import Scores
from cae_export.detector.thresholds import Seen, scored_by, thresholds_of
from cae_export.evaluation_data import good_pictures
from cae_train import TrainConfig, load_model, train

TEXTURES = ("brick", "gravel", "grass")
SETTINGS = ((64, 20), (64, 32), (32, 40), (32, 100))  # side of the tiles, number of good pictures
WANTED = 0.05
OVERLAP = 16
CROPS, DAMAGED_MAX = 2_000, 48

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def main(
    seeds: Annotated[int, typer.Option()] = 10,
    epochs: Annotated[int, typer.Option()] = 2,
    jitter: Annotated[float, typer.Option(help="As cae-train takes it; above 0 the tiles have three channels.")] = 0.0,
    light: Annotated[bool, typer.Option(help="Also score unseen good tiles of other brightness.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Textures; all where none is named.")] = None,
    sizes: Annotated[list[int] | None, typer.Option(help="Numbers of good pictures; all where none is named.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of figures.jsonl, which is continued.")] = Path(
        "runs/anomalies-few"
    ),
) -> None:
    """Train, fit and measure; print a table of means over the seeds."""
    out.mkdir(parents=True, exist_ok=True)
    table = out / "figures.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()] if table.exists() else []
    settings: dict[str, object] = {"epochs": epochs, "jitter": jitter, "light": light}
    rows = [row for row in rows if settings.items() <= row.items()]
    done = {(row["texture"], row["side"], row["good"], row["seed"]) for row in rows}
    for seed in range(seeds):
        for name in only or TEXTURES:
            for side, count in SETTINGS:
                if (sizes and count not in sizes) or (name, side, count, seed) in done:
                    continue
                rows.append(settings | _measured(name, side, count, seed, epochs, jitter, light, out))
                with table.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    for line in _table(rows):
        print(line)


def tiles(name: str, side: int, count: int, seed: int) -> tuple[list[Image], list[Image]]:
    """Cut a texture into gray tiles, and return `count` good ones to learn and the others, H x W x 1."""
    image = getattr(data, name)()
    per_side = SIDE // side
    every = image.reshape(per_side, side, per_side, side).swapaxes(1, 2).reshape(-1, side, side, 1)
    order = np.random.default_rng(seed).permutation(len(every))
    return [every[i] for i in order[:count]], [every[i] for i in order[count:]]


def _measured(
    name: str, side: int, count: int, seed: int, epochs: int, jitter: float, light: bool, out: Path
) -> dict[str, object]:
    good, unseen = tiles(name, side, count, seed)
    planes = 3 if jitter else 1
    folder = out / "run"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "good").mkdir(parents=True)
    for number, tile in enumerate(good):
        cv2.imwrite(str(folder / "good" / f"{number:03}.png"), tile)
    config = TrainConfig(
        data=(str(folder / "good"),), arch="cae", model={"code": 4}, degrade=("none",), epochs=epochs,
        epoch_crops=CROPS, upright=True, seed=seed, jitter=jitter, channels=planes,
    )  # fmt: skip
    train(config, folder / "train")
    loaded = load_model(folder / "train" / "model.pt")
    pictures = good_pictures(loaded, None)
    start = time.process_time()
    network = Scores(loaded.network.eval()).fit(pictures.usual, pictures.numbers)
    folds = [network.without(part) for part in range(len(network.folds))]
    found = []
    for i, tile in enumerate(pictures.fitted):
        score, heat = scored_by(folds[i % len(folds)], tile, OVERLAP)
        found.append(Seen(side * side, score, heat.ravel(), float(tile.mean()) / 255))
    threshold = thresholds_of(found, WANTED).picture
    fitting = time.process_time() - start

    def scores(images: list[Image]) -> NDArray[np.float64]:
        return np.array([scored_by(network, np.repeat(image, planes, 2), OVERLAP)[0] for image in images])

    usual = scores(unseen)
    row: dict[str, object] = {
        "texture": name, "side": side, "good": count, "seed": seed, "alarms": float((usual > threshold).mean()),
        "fitting": fitting, "threshold": threshold, "good scores": [one.score for one in found],
        "unseen scores": usual.tolist(),
    }  # fmt: skip
    rng = np.random.default_rng((seed, 1))
    for kind in KINDS:
        bad = [damaged(np.repeat(tile, 3, 2), kind, rng)[0][..., :1] for tile in unseen[:DAMAGED_MAX]]
        values = scores(bad)
        row[kind] = float(roc_auc_score([0] * len(usual) + [1] * len(values), [*usual, *values]))
        row[f"{kind} found"] = float((values > threshold).mean())
    for gain in (0.75, 0.9, 1.1, 1.25) if light else ():
        other = scores([np.clip(np.rint(tile * gain), 0, 255).astype(np.uint8) for tile in unseen[:DAMAGED_MAX]])
        row[f"x{gain}"], row[f"x{gain} alarms"] = (
            float(np.median(other) / np.median(usual)),
            float((other > threshold).mean()),
        )
    return row


def _table(rows: list[dict[str, object]]) -> Iterator[str]:
    columns = [*KINDS, *(key for key in rows[0] if key.startswith("x"))]
    yield f"| texture | tiles | good pictures | seeds | false alarms | worst seed | {' | '.join(columns)} |"
    yield "| --- | ---: | ---: | ---: |" + " ---: |" * (2 + len(columns))
    keys = sorted({(str(row["texture"]), int(str(row["side"])), int(str(row["good"]))) for row in rows})
    for name, side, count in keys:
        some = [row for row in rows if (row["texture"], row["side"], row["good"]) == (name, side, count)]
        alarms = [float(str(row["alarms"])) for row in some]
        means = [np.mean([float(str(row[column])) for row in some]) for column in columns]
        yield (
            f"| {name} | {side}x{side} | {count} | {len(some)} | {np.mean(alarms):.1%} | {max(alarms):.1%} | "
            f"{' | '.join(f'{value:.3f}' for value in means)} |"
        )


if __name__ == "__main__":
    app()
