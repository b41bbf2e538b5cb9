"""Fits a model to scenes: measures, trains, and judges whether it is better than the initial model."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer
from torch import Tensor

from cae_shared.temporary import temporary_folder
from cae_train.burst import chart
from cae_train.burst.frames import Scene, Tell
from cae_train.burst.jpeg_coding import NEARLY_LOSSLESS, noise_before, quality_of
from cae_train.burst.judge import Judged, Verdict, Windows, errors, pairs_as_windows, verdict, windows_of
from cae_train.burst.measure import measure
from cae_train.burst.pace import TRIAL_STEPS, Pace, Stopwatch
from cae_train.burst.pairs import BurstPairs, Fold, Part, folds, halves, watched
from cae_train.burst.static_scenes import Steady, UnsteadyError, check, drawn
from cae_train.burst.targets import Target, targets_of
from cae_train.checkpoint import load_model
from cae_train.config import Hardware, TrainConfig
from cae_train.data.images import Split
from cae_train.data.pairs import Pairs, fixed_pairs
from cae_train.degradations.measured_noise import NoiseModel
from cae_train.degradations.registry import MEASURED, chain_of
from cae_train.models.base import Autoencoder
from cae_train.sheets.preview import write_png
from cae_train.training import loop
from cae_train.training.loop import TrainResult
from cae_train.training.material import Material
from cae_train.training.prepare import prepare
from cae_train.training.start_weights import initial_network

TIME_LIMIT = 1.25  # no epoch begins after this many times the requested minutes, even if other programs use the cores
HOLD_OUT_TIME = 0.45  # share of the time for the short fits, each without some scenes
LAST_SHARE = 0.5  # least share of its planned time that the last fit gets if the short fits took longer
HELD_OUT_PATCHES = 1024  # patches of held-out photographs
HELD_OUT_IMAGES = 8  # one in so many clean photographs is held out if there is no burst to judge by
CHART, SCENES = "noise.png", "scenes"


@dataclass(frozen=True)
class Fit:
    """The result of a fit.

    Attributes:
        verdict: whether the fitted model is better than the initial one.
        judged_on: the data that the verdict is based on.
        model: the fitted model; None if there was no last fit, since it would not be better.
        interrupted: whether Ctrl-C ended the training.
        spread: the same judgment where the noise is this many times as strong, for pictures that differ.
    """

    verdict: Verdict
    judged_on: str
    model: Path | None
    interrupted: bool = False
    spread: tuple[tuple[float, Verdict], ...] = ()


def steady_scenes(scenes: Sequence[Scene], out: Path, tell: Tell) -> list[Steady]:
    """Check all scenes, draw moving regions into `out/scenes`, and leave out unusable scenes.

    Raises:
        UnsteadyError: no scene is usable.
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
        raise (
            problem
            if len(scenes) == 1
            else UnsteadyError("no scene can be used: none of them has a still picture in constant light")
        )
    return found


@dataclass(frozen=True)
class Run:
    """The settings of a fit.

    Attributes:
        config: settings of the training.
        photographs: clean photographs.
        out: the run's folder.
        minutes: how long to train.
        hardware: see `train`.
        callbacks: see `train`.
        tell: called with each message for the user.
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

    Each scene is held out from one short fit, which is judged on it. If the short fits are better than the initial
    model, a last fit starts from the mean of their weights and uses all scenes; its colors are checked on the same
    scenes.

    Raises:
        DataError: the scenes cannot be used.
        ConfigError, CheckpointError, TrainingError: see `train`.
        KeyboardInterrupt: Ctrl-C before the last fit began.
    """
    targets = targets_of(steady_scenes(scenes, run.out, run.tell))
    everything = [Part(target) for target in targets]
    noise, coding, turns = _noise(targets, camera, run)
    run = replace(run, config=replace(run.config, degrade=(MEASURED, *coding), noise=noise.to_dict()))
    left_out = folds(targets)
    before, pairs = initial_network(run.config), _pairs(everything, run, turns)
    network = deepcopy(before)
    before.eval()
    seen, chosen_by = windows_of(everything, run.config.seed), watched(everything, run.config.seed)
    pace = _trial(run, pairs, chosen_by, network)
    if not left_out:
        run.tell("note: with only one scene, none could be held out: the gain on other scenes is unknown")
        fitted = _train(run, pairs, chosen_by, network, pace)
        return Fit(_judge(seen, before, fitted), "the scene that it was fitted to", fitted.model, fitted.interrupted)
    found, weights = _held_out(left_out, run, before, turns, pace)
    on = "scenes left out in turn"
    if found.least <= 0:
        return Fit(found, on, None)
    run.tell(found.figures(on, Path(run.config.start).stem))
    network.load_state_dict(weights)
    planned = run.minutes * (1 - HOLD_OUT_TIME)
    last = replace(run, minutes=max(pace.left / 60, planned * LAST_SHARE))
    fitted = _train(last, pairs, chosen_by, network, pace)
    known = _judge(seen, before, fitted)
    if known.least <= 0:  # even on its own training data: the training went wrong
        found, on = known, "the scenes that it was fitted to"
    found = replace(found, shift=known.shift, shifted=known.shifted)
    return Fit(found, on, fitted.model, fitted.interrupted)


def fit_noise(noise: NoiseModel, run: Run, spread: Sequence[float] = ()) -> Fit:
    """Fit a network to noise that was estimated on noisy pictures; raises errors like `fit_burst`.

    The model is also judged on noise that is `spread` times as strong, since single pictures differ from the average.
    """
    config = replace(run.config, degrade=(MEASURED,), noise=noise.to_dict())
    run = replace(run, config=config)
    own, others = run.photographs.train, run.photographs.validation
    if not others:
        own, others = [image for i, image in enumerate(own) if i % HELD_OUT_IMAGES], own[::HELD_OUT_IMAGES]
    chain = chain_of(config)
    noisy, clean = fixed_pairs(others, chain, config.seed, HELD_OUT_PATCHES)
    before = initial_network(config)
    network = deepcopy(before)
    before.eval()
    pairs = Pairs(own, chain, config)
    chosen_by = noisy[::2], clean[::2]  # one half chooses the best epoch, the other half gives the figures
    on = "held-out photographs with the estimated noise"
    fitted = _train(run, pairs, chosen_by, network, _trial(run, pairs, chosen_by, network), on)
    windows = pairs_as_windows(noisy[1::2], clean[1::2])
    found = _judge([windows], before, fitted)
    at = []
    for factor in spread:
        chain = chain_of(replace(config, noise=noise.stronger(factor).to_dict()))
        noisy, clean = fixed_pairs(others, chain, config.seed, HELD_OUT_PATCHES)
        at.append((factor, _judge([pairs_as_windows(noisy[1::2], clean[1::2])], before, fitted)))
    return Fit(found, on, fitted.model, fitted.interrupted, tuple(at))


def _noise(targets: Sequence[Target], camera: str, run: Run) -> tuple[NoiseModel, tuple[str, ...], bool]:
    """Measure, report and draw the noise; detect JPEG compression, and whether patches may be transposed."""
    measurement = measure(targets, camera)
    chart.draw(measurement, targets, run.out / CHART)
    for line in chart.sentences(measurement, targets):
        run.tell(line)
    quality = quality_of(targets[0].steady.scene.frames[0])
    if not 0 < quality <= NEARLY_LOSSLESS:
        return measurement.model, (), measurement.turns
    run.tell(f"looking for the noise before JPEG of quality {quality}")
    noise = noise_before(measurement, targets, quality)
    run.tell(f"before that, noise of {noise.summary()}")
    return noise, (f"jpeg:{quality}",), measurement.turns


def _pairs(parts: Sequence[Part], run: Run, turns: bool) -> BurstPairs:
    images = [*run.photographs.train, *run.photographs.validation]
    images += halves([part.target for part in parts], images)
    return BurstPairs(parts, images, run.config, turns)


def _held_out(
    left_out: Sequence[Fold], run: Run, before: Autoencoder, turns: bool, pace: Pace
) -> tuple[Verdict, dict[str, Tensor]]:
    """Do short fits without the scenes of each fold; returns the overall verdict and the mean of the fitted weights."""
    minutes = run.minutes * HOLD_OUT_TIME / len(left_out)
    run.tell(f"leaving each scene out in turn: {len(left_out)} short fits of {60 * minutes:.0f} seconds")
    short = replace(run, minutes=minutes, callbacks=(), config=replace(run.config, epochs=1))
    judged: list[Judged] = []
    weights: list[dict[str, Tensor]] = []
    for number, fold in enumerate(left_out):
        with temporary_folder("cae-fold-") as folder:
            own, chosen_by = replace(short, out=folder), watched(fold.own, run.config.seed)
            fitted = _train(own, _pairs(fold.own, own, turns), chosen_by, deepcopy(before), pace)
            if fitted.interrupted:
                raise KeyboardInterrupt
            after = load_model(fitted.model).network.eval()
        windows = windows_of(fold.left_out, run.config.seed + number)
        scenes = [Judged(each, errors(before, each), errors(after, each)) for each in windows]
        run.tell(f"without {fold.name}: {verdict(scenes).gain:+.2f} dB there")
        judged += scenes
        weights.append(after.state_dict())
    mean = {
        name: torch.stack([one[name] for one in weights]).mean(0) if value.is_floating_point() else value
        for name, value in weights[0].items()
    }
    return verdict(judged), mean


def _judge(windows: Sequence[Windows], before: Autoencoder, fitted: TrainResult) -> Verdict:
    after = load_model(fitted.model).network.eval()
    return verdict([Judged(each, errors(before, each), errors(after, each)) for each in windows])


def _train(
    run: Run,
    pairs: BurstPairs | Pairs,
    chosen_by: tuple[Tensor, Tensor],
    network: Autoencoder,
    pace: Pace,
    chosen_on: str = "windows that were trained on",
) -> TrainResult:
    """Train for the minutes of the run at the pace so far, and learn the pace; keep the best epoch on `chosen_by`."""
    steps = pace.steps(60 * run.minutes, run.config.epochs)
    pairs.steps = min(steps, pairs.steps) if isinstance(pairs, Pairs) and pairs.whole else steps
    config = replace(run.config, epoch_crops=pairs.steps * run.config.batch)
    if run.callbacks:
        run.tell(f"training on {config.epochs * config.epoch_crops:,} patches, about {round(run.minutes, 1):g} minutes")
    material, watch = Material(pairs, chosen_by, chosen_on), Stopwatch()
    limit = Timer(timedelta(minutes=TIME_LIMIT * run.minutes), interval="epoch", verbose=False)
    prepared = prepare(config, run.hardware, network=network)
    result = loop.run(prepared, material, run.out, [*run.callbacks, watch, limit])
    pace.learn(watch)
    return result


def _trial(run: Run, pairs: BurstPairs | Pairs, chosen_by: tuple[Tensor, Tensor], network: Autoencoder) -> Pace:
    """Learn the pace from a few steps of a training of a copy of the network.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    pace, steps = Pace.of(60 * run.minutes), pairs.steps
    epochs = -(-TRIAL_STEPS // min(TRIAL_STEPS, steps))
    with temporary_folder("cae-trial-") as folder:
        short = replace(run, out=folder, callbacks=(), config=replace(run.config, epochs=epochs))
        if _train(short, pairs, chosen_by, deepcopy(network), pace).interrupted:
            raise KeyboardInterrupt
    pairs.steps = steps
    return pace
