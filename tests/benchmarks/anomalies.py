"""Detectors of anomalies: one class against the others, and defects drawn on textures and photographs.

    python -m tests.benchmarks.anomalies classes fashion-mnist --data-dir FOLDER
    python -m tests.benchmarks.anomalies classes cifar10 --data-dir FOLDER
    python -m tests.benchmarks.anomalies defects [--photos data/bsd432] [--out FOLDER]

Classes: a model is trained on the training images of each class alone, and scores the 10,000 test images; AUROC of the
images, beside the reconstruction error of PCA with as many components as the model's code has numbers. Defects: a model
is trained on the upper 5/8 of each texture, and looks for scratches, holes, spots and blotches drawn on 192x192 crops
of the rest; AUROC of the pixels, all crops of a texture together. Photographs: one model for all, trained on most of
them and tried on those that were held out. All is trained, exported and run as users do it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from tests.benchmarks.defects import KINDS, SIDE, damaged, textures
from tests.benchmarks.labelled import NAMES, Images, labelled

from cae_export import export_part
from cae_export.parts import as_read
from cae_runtime.tasks.anomaly import Detector
from cae_train import TrainConfig, train

CODE = 4  # channels of the code: 64 numbers for a patch of 1,024 pixels
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
    return Detector(export_part(model, "anomaly").path)


@app.command()
def classes(
    name: Annotated[str, typer.Argument(help="cifar10 or fashion-mnist.")],
    data_dir: Annotated[Path, typer.Option()] = Path("data"),
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/anomalies"),
    epochs: Annotated[int, typer.Option()] = EPOCHS,
    code: Annotated[int, typer.Option(help="Channels of the code.")] = CODE,
) -> None:
    """One class against the others."""
    images, labels, test, truth = labelled(name, data_dir)
    config = TrainConfig(
        channels=images.shape[-1], arch="cae", model={"code": code}, degrade=("none",), epochs=epochs,
        upright=name == "fashion-mnist",
    )  # fmt: skip
    print("| class | this model | PCA |\n| --- | ---: | ---: |")
    figures = []
    for number, title in enumerate(NAMES[name]):
        good = images[labels == number]
        detector = fitted(good, out / f"{name}-{number}", config)
        scores = [detector(as_read(image)).score for image in test]
        found = roc_auc_score(truth != number, scores), roc_auc_score(truth != number, _pca(good, test, 16 * code))
        figures.append(found)
        print(f"| {title} | {found[0]:.3f} | {found[1]:.3f} |", flush=True)
    mean = np.mean(figures, axis=0)
    print(f"| mean | {mean[0]:.3f} | {mean[1]:.3f} |")


def _pca(good: Images, test: Images, components: int) -> NDArray[np.float64]:
    """Mean squared error of what so many components give back."""
    flat, others = (images.reshape(len(images), -1) / 255 for images in (good, test))
    pca = PCA(components, random_state=0).fit(flat)
    return np.asarray(np.square(others - pca.inverse_transform(pca.transform(others))).mean(axis=1))


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
    print(f"| texture | {' | '.join(KINDS)} | all |\n| --- |" + " ---: |" * (len(KINDS) + 1))
    means = []
    for name, image in textures(seed).items():
        if only and name not in only:
            continue
        strips = np.array_split(image[:TRAINED], 8, axis=1)  # several images: one of them is held out
        detector = fitted([strip[..., ::-1] for strip in strips], out / f"texture-{name}-{seed}", config)
        rng = np.random.default_rng((seed, 1))
        crops = [
            image[TRAINED:, x : x + CROP] for x in np.linspace(0, SIDE - CROP, CROPS).astype(int) for _ in range(2)
        ]
        means.append(_told(name, detector, crops, rng, out / f"texture-{name}-{seed}"))
    print(f"| mean | {' | '.join(f'{value:.3f}' for value in np.mean(means, axis=0))} |")
    if photos is not None:
        files = sorted(path for path in photos.iterdir() if path.is_file())
        pictures = [image for path in files if (image := cv2.imread(str(path), cv2.IMREAD_COLOR)) is not None]
        held, trained = pictures[::10], [p for i, p in enumerate(pictures) if i % 10]
        detector = fitted([p[..., ::-1].astype(np.uint8) for p in trained], out / "photographs", config)
        _told("photographs", detector, [p.astype(np.uint8) for p in held], np.random.default_rng(seed), out / "photos")


def _told(
    name: str, detector: Detector, crops: Sequence[NDArray[np.uint8]], rng: np.random.Generator, out: Path
) -> list[float]:
    """Draw each kind of defect on every crop, and print the AUROC of their pixels, of each kind and of all."""
    every: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    found = []
    for kind in KINDS:
        of_kind = []
        for number, crop in enumerate(crops):
            image, where = damaged(crop, kind, rng)
            heat = detector(image).heat
            of_kind.append((heat.ravel(), where.ravel()))
            if number < 2:
                out.mkdir(parents=True, exist_ok=True)
                both = np.hstack([image, detector.overlay(image, heat)])
                cv2.imwrite(str(out / f"{kind}-{number}.png"), both)
        every += of_kind
        found.append(_auroc(of_kind))
    found.append(_auroc(every))
    print(f"| {name} | {' | '.join(f'{value:.3f}' for value in found)} |", flush=True)
    return found


def _auroc(pixels: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]]) -> float:
    heat, where = (np.concatenate([pair[i] for pair in pixels]) for i in (0, 1))
    return float(roc_auc_score(where, heat))


if __name__ == "__main__":
    app()
