"""A model for one's own camera: simulated cameras, and a real one.

    python -m tests.benchmarks.denoising.own_camera simulated data/bsd432 [--only dark] [--minutes 7]
    python -m tests.benchmarks.denoising.own_camera sheet own-camera.jpg    # what came out, side by side
    python -m tests.benchmarks.denoising.own_camera table data/bsd432 [--only bayer] [--minutes 1]
    python -m tests.benchmarks.denoising.own_camera pairs FOLDER    # with noisy/ and clean/, as of PolyU's Nikon D800

Simulated: bursts of 60 frames of three scenes, photographs of the folder that the packaged models were not trained on,
are fitted to by the installed command; ten others are judged, each with noise of its own: PSNR noisy, with the packaged
`denoise`, with what the command says to use, and with a model fitted for as long to the simulation itself (`--true`).
Table: the same with short fits for each of the cameras in `cameras.py`. Pairs: fitted on every other scene of the
folder, judged on the rest.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import typer
from skimage.metrics import peak_signal_noise_ratio
from tests.benchmarks.denoising.cameras import CAMERAS, SENSOR, Camera, Image
from torch import Tensor

from cae_export import export
from cae_runtime import Restorer
from cae_train import TrainConfig, load_model
from cae_train.burst.fit import HOLD_OUT_TIME
from cae_train.burst.settings import settings
from cae_train.data.images import load
from cae_train.data.pairs import random_crop
from cae_train.training.loop import train
from cae_train.training.material import Material

SCENES, JUDGED, FRAMES = 3, 10, 60
SHOWN, CROP, LABEL = 3, np.s_[60:220, 120:320], 26  # judged pictures that are kept; what `sheet` shows of them
SHOWN_CAMERAS = ("dark", "soft", "lines")
SIDE, TABLE_FRAMES, MEAN_FRAMES = 320, 40, 32  # of `table`: pixels along a side, frames of a scene, of a true mean
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__)


def unseen(folder: Path) -> list[Image]:
    """Pictures that the packaged models were not trained on, of one size, BGR."""
    held_out = load(TrainConfig(data=(str(folder),))).validation
    shape = max({image.shape for image in held_out}, key=lambda shape: sum(image.shape == shape for image in held_out))
    return [np.ascontiguousarray(image[..., ::-1]) for image in held_out if image.shape == shape]


class Simulated:
    """Pairs of training patches through a camera: noise that is known."""

    def __init__(self, images: list[Image], camera: Camera, config: TrainConfig) -> None:
        self.images, self.camera, self.config = images, camera, config
        self.steps = max(1, config.epoch_crops // config.batch)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """A batch: crops of 64x64 through the camera, their middle."""
        rng = np.random.default_rng((self.config.seed, 5, *key))
        pairs = []
        for _ in range(self.config.batch // 4):  # one simulated crop gives four patches
            crop = random_crop(self.images[int(rng.integers(len(self.images)))], rng, 96)
            crop = np.ascontiguousarray(crop[:, :: int(rng.choice((-1, 1)))])
            corner = int(rng.integers(SENSOR - 96)), int(rng.integers(SENSOR - 96))
            both = self.camera.frame(crop, rng, corner), self.camera.clean(crop)
            for y, x in ((16, 16), (16, 48), (48, 16), (48, 48)):
                pairs.append([side[y : y + 32, x : x + 32, ::-1] for side in both])
        noisy, clean = torch.from_numpy(np.array(pairs)).permute(1, 0, 4, 2, 3).float().div_(255)
        return noisy, clean


def _fitted(
    camera: Camera, pictures: list[Image], frames: int, minutes: float, where: Path, rng: np.random.Generator
) -> tuple[Path | None, str]:
    """Record bursts of the first pictures, and fit to them: the model to run, None for `denoise`; what was reported."""
    shutil.rmtree(where, ignore_errors=True)
    for number, picture in enumerate(pictures[:SCENES]):
        scene = where / "burst" / f"scene{number}"
        scene.mkdir(parents=True)
        for frame in range(frames):
            cv2.imwrite(str(scene / f"{frame:03d}.png"), camera.frame(picture, rng))
    return _run(where, minutes)


def _run(where: Path, minutes: float) -> tuple[Path | None, str]:
    """Fit to the scenes in `where / "burst"`: the model to run, None for `denoise`; what was reported."""
    command = [sys.executable, "-m", "cae_train", "--burst", str(where / "burst"), "--minutes", str(minutes)]
    done = subprocess.run([*command, "--out", str(where / "run")], check=True, stderr=subprocess.PIPE, text=True)
    print(done.stderr, file=sys.stderr, flush=True)
    model = where / "run" / "model.pt"
    found = re.search(r"(at least \S+|is not better)", done.stderr)
    assert found, "the command says which"
    return (export(model, overwrite=True).path if model.is_file() else None), found[1].removeprefix("at least ")


@app.command()
def simulated(
    folder: Path,
    only: Annotated[list[str] | None, typer.Option(help="Cameras of the three; all where none is named.")] = None,
    minutes: Annotated[float, typer.Option()] = 7,
    out: Annotated[Path, typer.Option()] = Path("runs/own-camera"),
    true: Annotated[bool, typer.Option(help="Fit one to the simulation itself too.")] = True,
) -> None:
    """Three cameras that the packaged models do not know, against the pictures themselves."""
    pictures = unseen(folder)
    print(f"{len(pictures)} pictures that no training saw: {SCENES} scenes, {JUDGED} judged")
    print("| camera | noisy | denoise | fitted | gain | reported | with clean photographs |\n| --- |" + " ---: |" * 6)
    for name in only or SHOWN_CAMERAS:
        camera, where = CAMERAS[name], out / name
        rng = np.random.default_rng(1)
        model, reported = _fitted(camera, pictures, FRAMES, minutes, where, rng)
        models = {"denoise": Restorer("denoise")}
        models["fitted"] = Restorer(model) if model else models["denoise"]
        if true and model:
            models["true"] = Restorer(export(_true(camera, where, minutes, pictures), overwrite=True).path)
        found: dict[str, list[float]] = {kind: [] for kind in ("noisy", *models)}
        for number, picture in enumerate(pictures[SCENES : SCENES + JUDGED]):
            noisy, clean = camera.frame(picture, rng), camera.clean(picture)
            results = {"noisy": noisy} | {kind: restore(noisy) for kind, restore in models.items()}
            for kind, result in results.items():
                found[kind].append(float(peak_signal_noise_ratio(clean, result)))
            if number < SHOWN:
                for kind, result in (results | {"clean": clean}).items():
                    cv2.imwrite(str(where / f"judged-{number}-{kind}.png"), result)
        mean = {kind: float(np.mean(values)) for kind, values in found.items()}
        gain = mean["fitted"] - mean["denoise"]
        row = [*(f"{mean[kind]:.2f}" for kind in ("noisy", "denoise", "fitted")), f"{gain:+.2f}", reported]
        print(f"| {name} | {' | '.join(row)} | {mean.get('true', float('nan')):.2f} |", flush=True)


@app.command()
def table(
    folder: Path,
    only: Annotated[list[str] | None, typer.Option(help="Cameras; all where none is named.")] = None,
    minutes: Annotated[float, typer.Option()] = 1,
    out: Annotated[Path, typer.Option()] = Path("runs/own-camera/table"),
) -> None:
    """Many cameras, short fits: what is reported beside what is true, and how far colors are shifted.

    The truth is the mean of frames, without the fixed pattern of the camera. `gain, picture` is against the
    picture itself, which a mean of frames is not where noise is cut off or bent by a tone curve.
    """
    pictures = [np.ascontiguousarray(picture[:SIDE, :SIDE]) for picture in unseen(folder)]
    head = ("camera", "noisy", "denoise", "fitted", "gain", "reported", "gain, picture", "color shift")
    print(f"| {' | '.join(head)} |\n| --- |" + " ---: |" * (len(head) - 1))
    for name in only or CAMERAS:
        camera, rng = CAMERAS[name], np.random.default_rng(1)
        model, reported = _fitted(camera, pictures, TABLE_FRAMES, minutes, out / name, rng)
        models = {"denoise": Restorer("denoise")}
        models["fitted"] = Restorer(model) if model else models["denoise"]
        found: dict[str, list[float]] = {kind: [] for kind in ("noisy", "denoise", "fitted")}
        own: dict[str, list[float]] = {kind: [] for kind in models}
        shifts = []
        for picture in pictures[SCENES : SCENES + JUDGED]:
            mean = np.mean([camera.frame(picture, rng, fixed=False) for _ in range(MEAN_FRAMES)], axis=0)
            noisy = camera.frame(picture, rng)
            results = {"noisy": noisy} | {kind: restore(noisy) for kind, restore in models.items()}
            for kind, result in results.items():
                found[kind].append(float(peak_signal_noise_ratio(mean, result, data_range=255)))
                if kind in own:
                    own[kind].append(float(peak_signal_noise_ratio(camera.clean(picture), result)))
            shifts.append((results["fitted"] - mean).mean(axis=(0, 1)))
        row = [f"{np.mean(values):.2f}" for values in found.values()]
        row += [f"{np.mean(found['fitted']) - np.mean(found['denoise']):+.2f}", reported]
        row += [f"{np.mean(own['fitted']) - np.mean(own['denoise']):+.2f}"]
        print(f"| {name} | {' | '.join(row)} | {np.abs(np.mean(shifts, axis=0)).max():.2f} |", flush=True)


def _true(camera: Camera, where: Path, minutes: float, pictures: list[Image]) -> Path:
    """A model that was fitted as long, to the simulation on other pictures."""
    fitted = load_model(where / "run" / "model.pt").config
    config = replace(
        settings("", {}), epoch_crops=round(fitted.epoch_crops / (1 - HOLD_OUT_TIME)), epochs=fitted.epochs
    )
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
    for name in SHOWN_CAMERAS:
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
    model, reported = _run(out, minutes)
    print(f"reported: {reported}")
    models = {"denoise": Restorer("denoise")}
    models["fitted"] = Restorer(model) if model else models["denoise"]
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
