"""Detectors of anomalies: one class against the others, and defects drawn on textures and photographs.

    python -m tests.benchmarks.other_tasks.anomalies classes fashion-mnist --data-dir FOLDER
    python -m tests.benchmarks.other_tasks.anomalies classes cifar10 --data-dir FOLDER
    python -m tests.benchmarks.other_tasks.anomalies defects [--photos data/bsd432] [--out FOLDER]

Classes: a model is trained on the training images of each class alone, and scores the 10,000 test images; AUROC of the
images, beside what PCA with as many components as the code has numbers finds, by its error and by a distance. Defects:
a model is trained on the upper 5/8 of each texture, and looks for scratches, holes, spots and blotches drawn on 192x192
crops of the rest; AUROC of the pixels, all crops of a texture together. Photographs: one model for all, trained on most
of them and tried on those that were held out. All is trained, exported and run as users do it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, roc_auc_score
from tests.benchmarks.other_tasks.defects import KINDS, SIDE, damaged, textures
from tests.benchmarks.other_tasks.labeled import NAMES, Images, labeled
from torch import nn

from cae_export import export_part
from cae_export.detector.scores import Scores
from cae_export.detector.thresholds import as_read
from cae_export.evaluation_data import good_pictures
from cae_runtime.tasks.anomaly import Detector
from cae_train import TrainConfig, load_model, train
from cae_train.data.pairs import to_tensor
from cae_train.models.base import Autoencoder

CODE = 4  # channels of the code: 64 numbers for a patch of 1,024 pixels
Floats = NDArray[np.float32]

TRAINED, CROP, CROPS = SIDE * 5 // 8, 192, 3  # rows of a texture that are trained on; side and number of test crops
EPOCHS, CROPS_AN_EPOCH = 8, 8_000

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


def fitted(images: Sequence[NDArray[np.uint8]], folder: Path, config: TrainConfig) -> Detector:
    """Write images (RGB) as files, train on them unless a detector lies there already, export it anew, and open it."""
    model = folder / "run" / "model.pt"
    if not model.with_name("model-anomaly.onnx").exists():
        shutil.rmtree(folder, ignore_errors=True)
        good = folder / "good"
        good.mkdir(parents=True)
        for number, image in enumerate(images):
            cv2.imwrite(str(good / f"{number:05}.png"), image[..., ::-1])
        if train(TrainConfig.from_dict(config.to_dict() | {"data": [str(good)]}), folder / "run").interrupted:
            raise typer.Exit(130)
    return Detector(export_part(model, "anomaly", overwrite=True).path)


@app.command()
def classes(
    name: Annotated[str, typer.Argument(help="cifar10 or fashion-mnist.")],
    data_dir: Annotated[Path, typer.Option()] = Path("data"),
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/anomalies"),
    epochs: Annotated[int, typer.Option()] = EPOCHS,
    code: Annotated[int, typer.Option(help="Channels of the code.")] = CODE,
) -> None:
    """One class against the others."""
    images, labels, test, truth = labeled(name, data_dir)
    config = TrainConfig(
        channels=images.shape[-1], arch="cae", model={"code": code}, degrade=("none",), epochs=epochs,
        upright=name == "fashion-mnist",
    )  # fmt: skip
    columns = ("this detector", "its network's error alone", "PCA, error", "PCA, distance", "false alarms, 5% wanted")
    print(f"| class | {' | '.join(columns)} |\n| --- |" + " ---: |" * len(columns))
    figures = []
    for number, title in enumerate(NAMES[name]):
        good, other = images[labels == number], truth != number
        folder = out / f"{name}-{number}-{code}-{epochs}"
        detector = fitted(good, folder, config)
        found = [detector(as_read(image)) for image in test]
        ways = ([one.score for one in found], _errors(folder, test), *_pca(good, test, 16 * code))
        alarms = np.mean([one.anomaly for one, bad in zip(found, other, strict=True) if not bad])
        figures.append([*(roc_auc_score(other, scores) for scores in ways), alarms])
        print(f"| {title} | {' | '.join(f'{value:.3f}' for value in figures[-1])} |", flush=True)
    print(f"| mean | {' | '.join(f'{value:.3f}' for value in np.mean(figures, axis=0))} |")


def _errors(folder: Path, test: Images) -> NDArray[np.float64]:
    """Mean squared error of what the network gives back: the customary score."""
    network = load_model(folder / "run" / "model.pt").network
    with torch.inference_mode():
        parts = (to_tensor(test[i : i + 256]) for i in range(0, len(test), 256))
        return np.concatenate([(x - network(x)).square().mean((1, 2, 3)).numpy() for x in parts])


def _pca(good: Images, test: Images, components: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean squared error of what so many components give back; and the distance of both, as a detector's."""
    flat, others = (images.reshape(len(images), -1) / 255 for images in (good, test))
    pca = PCA(components, random_state=0).fit(flat)

    def measured(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        codes = pca.transform(values)
        error = np.square(values - pca.inverse_transform(codes)).mean(axis=1)
        return error, np.column_stack([codes, np.log(error + 1e-4)])

    (_, own), (error, rows) = measured(flat), measured(others)
    away = rows - own.mean(axis=0)
    return error, np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(own.T)), away)


@app.command()
def defects(
    photos: Annotated[Path | None, typer.Option(help="Folder of photographs, to try those too.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs, and of heat maps.")] = Path("runs/anomalies"),
    epochs: Annotated[int, typer.Option()] = EPOCHS,
    code: Annotated[int, typer.Option(help="Channels of the code.")] = CODE,
    seed: Annotated[int, typer.Option()] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Textures; all where none is named.")] = None,
) -> None:
    """Defects drawn on textures and photographs."""
    config = TrainConfig(
        arch="cae", model={"code": code}, degrade=("none",), epochs=epochs, epoch_crops=CROPS_AN_EPOCH, upright=True,
    )  # fmt: skip
    columns = (*KINDS, "all", "all, precision", "images", "all, without the network")
    print(f"| texture | {' | '.join(columns)} |\n| --- |" + " ---: |" * len(columns))
    means = []
    for name, image in textures(seed).items():
        if only and name not in only:
            continue
        strips = np.array_split(image[:TRAINED], 8, axis=1)  # several images: one of them is held out
        folder = out / f"texture-{name}-{seed}-{code}-{epochs}"
        detector = fitted([strip[..., ::-1] for strip in strips], folder, config)
        rng = np.random.default_rng((seed, 1))
        crops = [
            image[TRAINED:, x : x + CROP] for x in np.linspace(0, SIDE - CROP, CROPS).astype(int) for _ in range(2)
        ]
        means.append(_told(name, detector, folder / "run" / "model.pt", crops, rng, folder))
    print(f"| mean | {' | '.join(f'{value:.3f}' for value in np.mean(means, axis=0))} |")
    if photos is not None:
        files = sorted(path for path in photos.iterdir() if path.is_file())
        pictures = [read for path in files if (read := cv2.imread(str(path), cv2.IMREAD_COLOR)) is not None]
        held, trained = pictures[::10], [p for i, p in enumerate(pictures) if i % 10]
        folder = out / f"photographs-{code}-{epochs}"
        detector = fitted([p[..., ::-1].astype(np.uint8) for p in trained], folder, config)
        crops = [p.astype(np.uint8) for p in held]
        _told("photographs", detector, folder / "run" / "model.pt", crops, np.random.default_rng(seed), folder)


def _told(
    name: str, detector: Detector, model: Path, crops: Sequence[NDArray[np.uint8]], rng: np.random.Generator, out: Path
) -> list[float]:
    """Draw each kind of defect on every crop, and print the figures.

    They are the AUROC of the pixels, of each kind and of all; the average precision of all; the AUROC of the pictures
    beside undamaged ones; and that of all pixels by a detector that knows color and contrast alone.
    """
    loaded = load_model(model)
    good = good_pictures(loaded, None)
    plain = Scores(Nothing(loaded.network.channels)).fit(good.usual, good.numbers)
    heats: dict[str, list[Floats]] = {kind: [] for kind in KINDS}
    wheres: dict[str, list[NDArray[np.bool_]]] = {kind: [] for kind in KINDS}
    without: list[Floats] = []
    scores = [detector(crop).score for crop in crops]
    bad = [False] * len(crops)
    for kind in KINDS:
        for number, crop in enumerate(crops):
            image, where = damaged(crop, kind, rng)
            found = detector(image)
            heats[kind].append(found.heat.ravel())
            wheres[kind].append(where.ravel())
            scores.append(found.score)
            bad.append(True)
            with torch.inference_mode():
                without.append(plain(to_tensor(image[None, ..., ::-1].copy()))[0, 0].numpy().ravel())
            if number < 2:
                out.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(out / f"{kind}-{number}.png"), np.hstack([image, detector.overlay(image, found.heat)]))
    figures = [float(roc_auc_score(np.concatenate(wheres[kind]), np.concatenate(heats[kind]))) for kind in KINDS]
    heat, where = (np.concatenate([plane for kind in KINDS for plane in of[kind]]) for of in (heats, wheres))
    figures += [float(roc_auc_score(where, heat)), float(average_precision_score(where, heat))]
    figures += [float(roc_auc_score(bad, scores)), float(roc_auc_score(where, np.concatenate(without)))]
    print(f"| {name} | {' | '.join(f'{value:.3f}' for value in figures)} |", flush=True)
    return figures


class Nothing(Autoencoder):
    """Gives back what it is given through a code that says nothing: what is left of a detector without a network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.encoder = channels, nn.Sequential()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same."""
        return x

    def part(self, name: str) -> nn.Module:
        """Zeros, N x 1."""
        return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(1), nn.Threshold(1e9, 0.0))


if __name__ == "__main__":
    app()
