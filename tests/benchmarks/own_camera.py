"""A model for one's own camera: three simulated cameras, and a real one.

    python -m tests.benchmarks.own_camera simulated data/bsd432 [--only dark] [--minutes 6]
    python -m tests.benchmarks.own_camera sheet own-camera.jpg    # what came out, side by side
    python -m tests.benchmarks.own_camera pairs FOLDER            # with noisy/ and clean/, as of PolyU's Nikon D800

Simulated: bursts of 60 frames of three scenes, photographs of the folder that the packaged models were not trained on,
are fitted by the installed command; ten others are judged, each with noise of its own: PSNR noisy, with the packaged
`denoise`, with the fitted model, and with one fitted for as long to the simulation itself (`--true`). Pairs: fitted on
every other scene of the folder, judged on the rest.

`dark`: strong shot noise, then JPEG of quality 50. `soft`: noise before demosaicing-like smoothing and sharpening, JPEG
92. `lines`: white noise, offsets of rows that never change, hot pixels.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from cae_export import export
from cae_runtime import Restorer
from cae_train import TrainConfig, load_model
from cae_train.burst.fit import settings
from cae_train.data import load
from cae_train.loop import Material, train
from cae_train.patches import random_crop

SCENES, JUDGED, FRAMES = 3, 10, 60
SHOWN, CROP, LABEL = 3, np.s_[60:220, 120:320], 26  # judged pictures that are kept; what `sheet` shows of them
SENSOR = 1024  # pixels along a side
Image = NDArray[np.uint8]  # H x W x 3, BGR
Floats = NDArray[np.float64]
Corner = tuple[int, int]  # row and column of the sensor
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


def _shot(image: Image, photons: float, read: float, rng: np.random.Generator) -> Floats:
    """A picture as counted photons, so many of white, and back with its tone curve; 0..255."""
    linear = (image / 255.0) ** 2.2
    counted = rng.poisson(linear * photons) / photons + rng.normal(0, read, image.shape)
    return np.asarray(255 * counted.clip(0, 1) ** (1 / 2.2))


def _coded(image: Floats, quality: int) -> Image:
    eight = np.rint(image).clip(0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR).astype(
        np.uint8
    )


def dark(image: Image, rng: np.random.Generator, _corner: Corner = (0, 0)) -> Image:
    """Strong noise of low light, heavy JPEG."""
    return _coded(_shot(image, 80, 0.01, rng), 50)


def _processed(image: Floats) -> Floats:
    """Smoothed, colours more than brightness, and sharpened."""
    planes = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_BGR2YCrCb)
    planes[..., 1:] = cv2.GaussianBlur(planes[..., 1:], (0, 0), 2.0)
    bright = cv2.GaussianBlur(planes[..., 0], (0, 0), 0.9)
    planes[..., 0] = bright + 0.9 * (bright - cv2.GaussianBlur(bright, (0, 0), 1.5))
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR), np.float64)


def soft(image: Image, rng: np.random.Generator, _corner: Corner = (0, 0)) -> Image:
    """Noise that the camera smooths and sharpens."""
    return _coded(_processed(_shot(image, 250, 0.004, rng)), 92)


def lines(image: Image, rng: np.random.Generator, corner: Corner = (0, 0)) -> Image:
    """White noise over rows that are brighter or darker, and hot pixels: of one sensor, seen from a corner on."""
    (y, x), (height, width) = corner, image.shape[:2]
    fixed = _sensor()[y : y + height, x : x + width]
    return np.rint(image + fixed + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)


@cache
def _sensor() -> Floats:
    rng = np.random.default_rng(77)
    hot = rng.random((SENSOR, SENSOR, 1)) < 0.003
    return np.asarray(rng.normal(0, 4, (SENSOR, 1, 1)) + hot * rng.uniform(40, 120, hot.shape))


CAMERAS: dict[str, tuple[Callable[..., Image], Callable[[Image], Image]]] = {
    "dark": (dark, lambda image: image),
    "soft": (soft, lambda image: np.rint(_processed(image.astype(np.float64))).clip(0, 255).astype(np.uint8)),
    "lines": (lines, lambda image: image),
}


def unseen(folder: Path) -> list[Image]:
    """Pictures that the packaged models were not trained on, of one size, BGR."""
    held_out = load(TrainConfig(data=(str(folder),))).validation
    shape = max({image.shape for image in held_out}, key=lambda shape: sum(image.shape == shape for image in held_out))
    return [np.ascontiguousarray(image[..., ::-1]) for image in held_out if image.shape == shape]


class Simulated:
    """Pairs of training patches through a camera: noise that is known."""

    def __init__(self, images: list[Image], camera: str, config: TrainConfig) -> None:
        self.images, self.camera, self.config = images, camera, config
        self.steps = max(1, config.epoch_crops // config.batch)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A batch: crops of 64x64 through the camera, their middle."""
        rng = np.random.default_rng((self.config.seed, 5, *key))
        noisy_of, clean_of = CAMERAS[self.camera]
        pairs = []
        for _ in range(self.config.batch // 4):  # one simulated crop gives four patches
            crop = random_crop(self.images[int(rng.integers(len(self.images)))], rng, 96)
            crop = np.ascontiguousarray(crop[:, :: int(rng.choice((-1, 1)))])
            corner = int(rng.integers(SENSOR - 96)), int(rng.integers(SENSOR - 96))
            both = noisy_of(crop, rng, corner), clean_of(crop)
            for y, x in ((16, 16), (16, 48), (48, 16), (48, 48)):
                pairs.append([side[y : y + 32, x : x + 32, ::-1] for side in both])
        noisy, clean = torch.from_numpy(np.array(pairs)).permute(1, 0, 4, 2, 3).float().div_(255)
        return noisy, clean


@app.command()
def simulated(
    folder: Path,
    only: Annotated[list[str] | None, typer.Option(help="Cameras; all where none is named.")] = None,
    minutes: Annotated[float, typer.Option()] = 6,
    out: Annotated[Path, typer.Option()] = Path("runs/own-camera"),
    true: Annotated[bool, typer.Option(help="Fit one to the simulation itself too.")] = True,
) -> None:
    """Three cameras that the packaged models do not know."""
    pictures = unseen(folder)
    print(f"{len(pictures)} pictures that no training saw: {SCENES} scenes, {JUDGED} judged")
    print("| camera | noisy | denoise | fitted | gain | fitted to the simulation |\n| --- |" + " ---: |" * 5)
    for name, (noisy_of, clean_of) in CAMERAS.items():
        if only and name not in only:
            continue
        where = out / name
        shutil.rmtree(where, ignore_errors=True)
        rng = np.random.default_rng(1)
        for number, picture in enumerate(pictures[:SCENES]):
            scene = where / "burst" / f"scene{number}"
            scene.mkdir(parents=True)
            for frame in range(FRAMES):
                cv2.imwrite(str(scene / f"{frame:03d}.png"), noisy_of(picture, rng))
        command = [sys.executable, "-m", "cae_train", "--burst", str(where / "burst"), "--minutes", str(minutes)]
        subprocess.run([*command, "--out", str(where / "run")], check=True)
        fitted = Restorer(export(where / "run" / "model.pt").path)
        models = {"denoise": Restorer("denoise"), "fitted": fitted}
        if true:
            models["true"] = Restorer(export(_true(name, where, pictures)).path)
        found: dict[str, list[float]] = {kind: [] for kind in ("noisy", *models)}
        for number, picture in enumerate(pictures[SCENES : SCENES + JUDGED]):
            noisy, clean = noisy_of(picture, rng), clean_of(picture)
            results = {"noisy": noisy} | {kind: model(noisy) for kind, model in models.items()}
            for kind, result in results.items():
                found[kind].append(float(peak_signal_noise_ratio(clean, result)))
            if number < SHOWN:
                for kind, result in (results | {"clean": clean}).items():
                    cv2.imwrite(str(where / f"judged-{number}-{kind}.png"), result)
        mean = {kind: float(np.mean(values)) for kind, values in found.items()}
        gain = mean["fitted"] - mean["denoise"]
        row = [*(f"{mean[kind]:.2f}" for kind in ("noisy", "denoise", "fitted")), f"{gain:+.2f}"]
        print(f"| {name} | {' | '.join(row)} | {mean.get('true', float('nan')):.2f} |", flush=True)


def _true(camera: str, where: Path, pictures: list[Image]) -> Path:
    """A model that was fitted as long, to the simulation on other pictures."""
    fitted = load_model(where / "run" / "model.pt").config
    config = replace(settings("", {}), epoch_crops=fitted.epoch_crops, epochs=fitted.epochs)
    others = pictures[SCENES + JUDGED :]
    pairs = Simulated(others[:-4], camera, config)
    held_out = Simulated(others[-4:], camera, config)
    judged = [torch.cat(side) for side in zip(*(held_out[0, i] for i in range(8)), strict=True)]
    return train(config, where / "true", material=Material(pairs, (judged[0], judged[1]), "the simulation")).model


@app.command()
def sheet(
    path: Path,
    out: Annotated[Path, typer.Option()] = Path("runs/own-camera"),
    number: Annotated[int, typer.Option(min=0, max=SHOWN - 1)] = 0,
) -> None:
    """Draw a row a camera of what `simulated` left: noisy, with `denoise`, fitted, and the picture itself."""
    kinds = ("noisy", "denoise", "fitted", "clean")
    rows = []
    for name in CAMERAS:
        shown = [cv2.imread(str(out / name / f"judged-{number}-{kind}.png")) for kind in kinds]
        crops = [picture[CROP].repeat(2, axis=0).repeat(2, axis=1) for picture in shown if picture is not None]
        assert len(crops) == len(kinds), f"{out / name} has no pictures: run `simulated` first"
        for crop, kind in zip(crops, kinds, strict=True):
            strip = np.full((LABEL, crop.shape[1], 3), 255, np.uint8)
            text = f"{name}: {kind}" if kind == "noisy" else kind
            cv2.putText(strip, text, (4, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
            rows.append(np.vstack([strip, crop]))
    lines = [np.hstack(rows[i : i + len(kinds)]) for i in range(0, len(rows), len(kinds))]
    cv2.imwrite(str(path), np.vstack(lines), [cv2.IMWRITE_JPEG_QUALITY, 88])


def _crop_of(path: Path) -> str:
    """The shot that a crop was cut out of."""
    return re.sub(r"_+\d*$", "", path.stem)


@app.command("pairs")
def real(
    folder: Path,
    minutes: Annotated[float, typer.Option()] = 6,
    out: Annotated[Path, typer.Option()] = Path("runs/own-camera/pairs"),
) -> None:
    """Real pictures and their means: fitted on every other scene, judged on the rest."""
    shutil.rmtree(out, ignore_errors=True)
    files = {side: sorted((folder / side).iterdir()) for side in ("noisy", "clean")}
    shots = list(dict.fromkeys(_crop_of(path) for path in files["noisy"]))
    own = set(shots[::2])
    for side, paths in files.items():
        (out / "burst" / side).mkdir(parents=True)
        for path in paths:
            if _crop_of(path) in own:
                shutil.copy(path, out / "burst" / side / path.name)
    command = [sys.executable, "-m", "cae_train", "--burst", str(out / "burst"), "--minutes", str(minutes)]
    subprocess.run([*command, "--out", str(out / "run")], check=True)
    models = {"denoise": Restorer("denoise"), "fitted": Restorer(export(out / "run" / "model.pt").path)}
    found: dict[str, list[float]] = {kind: [] for kind in ("noisy", *models)}
    for shot, mean in zip(files["noisy"], files["clean"], strict=True):
        if _crop_of(shot) in own:
            continue
        noisy, clean = (cv2.imread(str(path)).astype(np.uint8) for path in (shot, mean))
        for kind, result in ({"noisy": noisy} | {kind: model(noisy) for kind, model in models.items()}).items():
            found[kind].append(float(peak_signal_noise_ratio(clean, result)))
    for kind, values in found.items():
        print(f"| {kind} | {np.mean(values):.2f} dB |")


if __name__ == "__main__":
    app()
