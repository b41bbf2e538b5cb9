"""From scenes to a model: measure, train, and judge whether it is better than the one that it began with."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer
from numpy.typing import NDArray
from torch import Tensor

from cae_train.burst import chart
from cae_train.burst.bias import can_tell, unbiased, without
from cae_train.burst.coding import HEAVY, noise_before, quality_of
from cae_train.burst.frames import Scene, Tell
from cae_train.burst.measure import Measurement, measure
from cae_train.burst.pairs import HELD_OUT_PATCHES, BurstPairs, Part, held_out, packaged_images, split
from cae_train.burst.steady import Steady, UnsteadyError, check, drawn
from cae_train.burst.targets import Target, targets_of
from cae_train.checkpoint import load_model
from cae_train.config import PATCH, Hardware, TrainConfig
from cae_train.data import Image, Split, load
from cae_train.degrade import MEASURED, chain_of
from cae_train.errors import CheckpointError, ConfigError
from cae_train.initial import initial_network
from cae_train.loop import Material, TrainResult, evaluate, train
from cae_train.measured import COLORS, NoiseModel
from cae_train.models import options_of
from cae_train.models.base import Autoencoder
from cae_train.objective import psnr
from cae_train.packaged import DENOISE
from cae_train.patches import Pairs, fixed_pairs
from cae_train.preview import write_png

EPOCHS, BATCH = 10, 64
LR = 5e-4
STEPS_MOST = 9_000  # of a fit, however fast the machine is
TRIAL_STEPS, TRIAL_SECONDS = 8, 2.0  # whose time says how many there will be, at least
OPTIMISER = 1.15  # times a trial's step: the optimiser, and judging
LATE = 1.25  # times the minutes, after which no further epoch begins: other programs may want the cores
WORTH = 0.02  # dB that a fitted model must gain at least
PACKAGED = "packaged"  # photographs that come with the package, in `TrainConfig.data`
HELD_OUT_IMAGES = 8  # one of so many clean photographs, where there is no burst to judge by
LITTLE_NOISE, MOSTLY_STILL = 0.05, 0.95  # of a mean that passes for clean at half its size: left in it; what is still
CHART, SCENES = "noise.png", "scenes"


@dataclass(frozen=True)
class Fit:
    """What came out.

    Attributes:
        result: of the training; its model is what was fitted.
        before: PSNR of the model that it began with, in dB, on what was held out, and
        after: that of the fitted one.
        noisy: that of the noisy patches.
        evaluated_on: what that was.
    """

    result: TrainResult
    before: float
    after: float
    noisy: float
    evaluated_on: str

    @property
    def better(self) -> bool:
        """Whether the fitted model is the better one."""
        return self.after >= self.before + WORTH


def steady_scenes(scenes: Sequence[Scene], out: Path, tell: Tell) -> list[Steady]:
    """Check all scenes, draw what moves in them into `out/scenes`, and leave out those that cannot be used.

    Raises:
        UnsteadyError: none can.
    """
    folder = out / SCENES
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Steady] = []
    problem: UnsteadyError | None = None
    for number, scene in enumerate(scenes, 1):
        name = f"{number:02d}-{''.join(c if c.isalnum() or c in '-_' else '_' for c in scene.name)}.png"
        try:
            steady = check(scene)
        except UnsteadyError as e:
            if e.picture is not None:
                write_png(folder / name, e.picture)
                e = UnsteadyError(f"{e} ({folder / name})")
            if len(scenes) > 1:
                tell(f"left out: {e}")
            problem = e
            continue
        write_png(folder / name, drawn(steady))
        for note in steady.notes:
            tell(f"note: {note}")
        if steady.black:
            tell(f"note: scene {scene.name!r} is black: it shows the fixed pattern alone")
        found.append(steady)
    if not found:
        assert problem is not None  # noqa: S101 - there are scenes
        raise problem if len(scenes) == 1 else UnsteadyError("no scene is left: none of them stands still in one light")
    return found


def measured(targets: Sequence[Target], bias: NDArray[np.float32], camera: str, out: Path, tell: Tell) -> Measurement:
    """Measure the noise of scenes, and say and draw what it is."""
    measurement = measure(targets, camera, bias)
    chart.draw(measurement, targets, out / CHART)
    for line in chart.sentences(measurement, targets):
        tell(line)
    return measurement


@dataclass(frozen=True)
class Run:
    """How to fit.

    Attributes:
        config: settings of the training.
        photographs: clean ones.
        out: the run's folder.
        minutes: how long to train.
        hardware: as `train` takes it.
        callbacks: as `train` takes them.
        tell: called with a line for the user.
    """

    config: TrainConfig
    photographs: Split
    out: Path
    minutes: float
    hardware: Hardware | None = None
    callbacks: Sequence[Callback] = ()
    tell: Tell = lambda _line: None


def fit_burst(scenes: Sequence[Scene], camera: str, run: Run) -> Fit:
    """Fit a network to the noise of a camera's bursts.

    Raises:
        DataError: the scenes cannot be used.
        ConfigError, CheckpointError, TrainingError: as `train` raises them.
    """
    plain = targets_of(steady_scenes(scenes, run.out, run.tell))
    targets, bias = unbiased(plain)
    own, others, evaluated_on = split(targets)
    measurement = measured([part.target for part in own], bias, camera, run.out, run.tell)
    noise = measurement.model
    quality = quality_of(plain[0].steady.scene.frames[0])
    coding = (f"jpeg:{quality}",) if 0 < quality <= HEAVY else ()
    if coding or can_tell(plain):
        run.tell(f"looking for the noise before {f'JPEG of quality {quality}' if coding else 'tone curve and filters'}")
        found, shift = noise_before(measurement, [part.target for part in split(plain)[0]], quality if coding else 0)
        if found.gamma != 1:  # by the tone curve; else what the third moment says is nearer
            own, others, _ = split(without(plain, shift)[0])
        if coding or found.gamma != 1:
            noise = found
            run.tell(f"before that, noise of {noise.summary()}")
    left = max(part.target.left for part in others)
    if left:
        evaluated_on += f", against means that keep {left:.1%} of the noise"
    config = replace(run.config, degrade=(MEASURED, *coding), noise=noise.to_dict())
    images = [*run.photographs.train, *run.photographs.validation]
    images += _halves(own, images)
    return _fit(
        replace(run, config=config),
        BurstPairs(own, images, config, measurement.turns),
        held_out(others, config.seed),
        evaluated_on,
    )


def fit_noise(noise: NoiseModel, run: Run) -> Fit:
    """Fit a network to noise that was estimated on noisy pictures alone; errors as of `fit_burst`."""
    config = replace(run.config, degrade=(MEASURED,), noise=noise.to_dict())
    own, others = run.photographs.train, run.photographs.validation
    if not others:
        own, others = [image for i, image in enumerate(own) if i % HELD_OUT_IMAGES], own[::HELD_OUT_IMAGES]
    judged = fixed_pairs(others, chain_of(config), config.seed, HELD_OUT_PATCHES)
    pairs = Pairs(own, chain_of(config), config)
    return _fit(replace(run, config=config), pairs, judged, "held-out photographs with the estimated noise")


def _fit(run: Run, pairs: BurstPairs | Pairs, judged: tuple[Tensor, Tensor], evaluated_on: str) -> Fit:
    network = initial_network(run.config)
    chosen_by, judged = (
        (judged[0][half::2], judged[1][half::2]) for half in (0, 1)
    )  # epochs by one, figures by the other
    before = evaluate(network.eval(), *judged)
    noisy = float(psnr(*judged).mean())
    run.tell(f"{evaluated_on}: noisy {noisy:.2f} dB, {Path(run.config.start).stem} {before:.2f} dB")
    fitting = _steps(network, pairs, run.minutes, run.config.epochs)
    pairs.steps = min(fitting, pairs.steps) if isinstance(pairs, Pairs) and pairs.whole else fitting
    config = replace(run.config, epoch_crops=pairs.steps * run.config.batch)
    run.tell(f"training on {config.epochs * config.epoch_crops:,} patches, about {run.minutes:g} minutes")
    material = Material(pairs, chosen_by, evaluated_on)
    callbacks = [*run.callbacks, Timer(timedelta(minutes=LATE * run.minutes), interval="epoch", verbose=False)]
    result = train(config, run.out, hardware=run.hardware, callbacks=callbacks, network=network, material=material)
    return Fit(result, before, evaluate(load_model(result.model).network, *judged), noisy, evaluated_on)


def settings(start: str, given: dict[str, object]) -> TrainConfig:
    """Settings of a fit: the network of `start`, the packaged `denoise` where it is empty, and what was named.

    Raises:
        ConfigError: a setting that is no good, or no epochs.
        CheckpointError: it cannot be read.
    """
    if not isinstance(start, str):
        raise ConfigError(f"start is {start!r}: a path is needed")
    path = Path(start) if start else DENOISE
    try:
        loaded = load_model(path)
        if loaded.network.channels != COLORS:
            raise CheckpointError(f"{path} is for grey pictures: cameras are fitted to in colours")
    except CheckpointError as e:
        raise CheckpointError(f"--start {e}") from e
    usual: dict[str, object] = {
        "data": [PACKAGED], "arch": loaded.arch, "model": options_of(loaded.network),
        "channels": loaded.network.channels, "start": str(path), "loss": "mse", "lr": LR, "epochs": EPOCHS,
        "batch": BATCH, "jitter": 0.2,
    }  # fmt: skip
    config = TrainConfig.from_dict(usual | given)
    if not config.epochs:
        raise ConfigError("--epochs is 0: 1 or more are needed")
    return config


def photographs(config: TrainConfig, tell: Tell) -> Split:
    """Clean photographs: of `config.data`, or those that come with the package.

    Raises:
        DataError: there are none.
    """
    if config.data == (PACKAGED,):
        return packaged_images(config.seed)
    found = load(config)
    for note in found.notes:
        tell(f"note: {note}")
    return found


def _halves(parts: Sequence[Part], photographs: Sequence[Image]) -> list[Image]:
    """What may be learnt from scenes at half their size, where little of their noise is left: a quarter of all at most.

    Of each the middle, as large as its share of that; not of scenes of few frames, or in which something moves.
    """
    still = [part for part in parts if part.target.left <= LITTLE_NOISE and part.target.usable.mean() > MOSTLY_STILL]
    most = sum(image.shape[0] * image.shape[1] for image in photographs) / 3 / max(1, len(still))
    found = []
    for part in still:
        mean = part.target.smooth[:, slice(*part.columns)]
        half = cv2.resize(mean, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).round().clip(0, 255)
        share = min(1.0, (most / (half.shape[0] * half.shape[1])) ** 0.5)
        height, width = (max(min(PATCH, size), int(size * share)) for size in half.shape[:2])
        y, x = (half.shape[0] - height) // 2, (half.shape[1] - width) // 2
        if min(height, width) >= PATCH:
            found.append(half[y : y + height, x : x + width].astype(np.uint8))
    return found


def _steps(network: Autoencoder, pairs: BurstPairs | Pairs, minutes: float, epochs: int) -> int:
    """Steps of an epoch that fit into the time, after a trial of a few; nothing is learnt from these."""
    network.train()
    took: list[float] = []
    while len(took) <= TRIAL_STEPS or sum(took) < TRIAL_SECONDS:
        began = time.monotonic()
        noisy, clean = pairs[0, len(took)]
        loss = torch.nn.functional.mse_loss(network(noisy), clean)
        loss.backward()  # type: ignore[no-untyped-call]
        network.zero_grad(set_to_none=True)
        took.append(time.monotonic() - began)
    each = float(np.median(took[1:])) * OPTIMISER
    return max(4, int(min(STEPS_MOST, 60 * minutes / each) / epochs))
