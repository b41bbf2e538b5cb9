"""Runs `cae-train --burst` and `--noise-from`, and prints their progress and results."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console

from cae_shared.children import run_child
from cae_shared.text import counted, printable, shell_word
from cae_train.burst.fit import CHART, SCENES, Fit, Run, fit_burst, fit_noise
from cae_train.burst.frames import Scene, check_sources, read_scenes, shown_as
from cae_train.burst.settings import PACKAGED, photographs, settings
from cae_train.burst.single_pictures import UNKNOWN, Estimate, estimate
from cae_train.config import AUTO, Hardware, TrainConfig
from cae_train.data.packaged import DENOISE
from cae_train.data.registry import DATASETS
from cae_train.degradations.measured_noise import name_of
from cae_train.errors import ConfigError, DataError, TrainingError
from cae_train.sheets.preview import write_png
from cae_train.stderr import quiet_decoders
from cae_train.training import run_files
from cae_train.training.processes import sized
from cae_train.training.progress import ProgressLines

FLAT, REFUSED, FRAMES = "flat.png", "refused.txt", "frames"
FRAMES_MOST, MINUTES_MOST = 1000, 24 * 60.0
SMALL_DROP, INT8_DROP, INT8_SHARE = 0.1, 0.25, 0.1  # dB that int8 may lose: a tenth of the gain, within these limits
BETWEEN_SCENES = 10  # seconds to point the camera at the next scene if no key can be pressed


@dataclass(frozen=True)
class Wanted:
    """The request.

    Attributes:
        bursts: sources of `--burst`.
        noise_from: the folder of `--noise-from`, or None.
        camera: the name of the camera; by default from the source.
        frames: frames per scene.
        minutes: of training.
        export: whether to run `cae-export` at the end.
    """

    bursts: Sequence[str]
    noise_from: Path | None
    camera: str
    frames: int
    minutes: float
    export: bool


def run(wanted: Wanted, given: dict[str, Any], hardware: Hardware, out: Path | None) -> bool:
    """Fit a model to a camera, say whether it is better than the packaged one, and return whether Ctrl-C ended it.

    Raises:
        CaeTrainError: see `fit_burst` and `estimate`.
    """
    console = Console(stderr=True)

    def say(text: str) -> None:
        console.print(printable(text), highlight=False, markup=False, soft_wrap=True)

    try:
        return _run(wanted, given, hardware, out, console, say)
    except KeyboardInterrupt:  # while it reads, measures or exports
        say("interrupted")
        return True


def _run(
    wanted: Wanted,
    given: dict[str, Any],
    hardware: Hardware,
    out: Path | None,
    console: Console,
    say: Callable[[str], None],
) -> bool:
    config = settings(given.get("start", ""), given)
    _check(wanted, config, hardware)
    hardware = sized(replace(hardware, devices="1"))
    camera = name_of(wanted.camera) if wanted.camera else _named(wanted)
    target = out or Path("runs/train") / camera
    run_files.check(target)
    _forget_refused(target)
    with quiet_decoders():
        images = photographs(config, say)
        scenes = read_scenes(wanted.bursts, wanted.frames, say, lambda line: _wait(line, say))
        estimated = estimate(wanted.noise_from, camera, say) if wanted.noise_from else None
    folder = run_files.create(target)
    fitting = Run(config, images, folder, wanted.minutes, hardware, [ProgressLines(console)], say)
    if estimated is None:
        counts = [len(scene.frames) for scene in scenes]
        say(f"{counted(len(scenes), 'scene')}, {counted(sum(counts), 'frame')} -> {folder}")
        _keep_recorded(scenes, folder, say)
        try:
            fit = fit_burst(scenes, camera, fitting)
        except (DataError, KeyboardInterrupt) as e:  # before training, which ends well when it is interrupted
            (folder / REFUSED).write_text(f"{e or 'interrupted'}\n", encoding="utf-8")
            raise
    else:
        write_png(folder / FLAT, estimated.sheet)
        say(f"noise of {estimated.model.summary()}")
        say(f"note: {UNKNOWN}; {folder / FLAT} shows what was considered noise")
        for line in _differences(estimated):
            say(line)
        low, high = estimated.spread
        fit = fit_noise(estimated.model, fitting, (low, high) if low < high else ())
    _conclude(fit, config.start, wanted.export, say)
    return fit.interrupted


def _differences(estimated: Estimate) -> Iterator[str]:
    """Say how much the pictures differ in noise."""
    low, high = estimated.spread
    if low < high:
        yield f"single pictures have {low:.2g} to {high:.2g} times that noise (10th to 90th percentile)"
    if estimated.differs:
        yield (
            "note: these pictures differ much in noise, as those of several cameras or settings do, so a model of the "
            "average fits few of them well: fit one to the pictures of each camera, or of a similar ISO"
        )


def _wait(line: str, say: Callable[[str], None]) -> None:
    """Wait for Enter, or some seconds if stdin is not a terminal."""
    if sys.stdin.isatty():
        say(f"{line}, then press Enter")
        sys.stdin.readline()
    else:
        say(f"{line}; recording in {BETWEEN_SCENES} seconds")
        time.sleep(BETWEEN_SCENES)


def _forget_refused(folder: Path) -> None:
    """Remove the folder of a refused run, which has only pictures of the reason."""
    if not (folder / REFUSED).is_file():
        return
    for path in (folder / REFUSED, folder / CHART, *(folder / SCENES).glob("[0-9][0-9]-*.png")):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # it contains something else
        (folder / SCENES).rmdir()
        folder.rmdir()


def _keep_recorded(scenes: Sequence[Scene], folder: Path, say: Callable[[str], None]) -> None:
    """Save a camera's frames, so that a model can be fitted to them again."""
    recorded = [scene for scene in scenes if scene.recorded]
    for number, scene in enumerate(recorded, 1):
        place = folder / FRAMES / f"scene-{number}"
        place.mkdir(parents=True)
        for i, frame in enumerate(scene.frames):
            write_png(place / f"{i:03d}.png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR).astype(np.uint8))
    if recorded:
        say(f"recorded frames: {folder / FRAMES} (--burst takes that folder too)")


def _check(wanted: Wanted, config: TrainConfig, hardware: Hardware) -> None:
    for name in config.data:
        if name not in DATASETS and name != PACKAGED and not Path(name).is_dir():
            raise ConfigError(
                f"--data {name!r} is neither a folder nor a data set: choose {', '.join(DATASETS)} or a folder"
            )
    if "" in wanted.bursts:
        raise ConfigError("--burst is empty: name a camera (0), a video, or a folder of frames")
    if wanted.bursts and wanted.noise_from is not None:
        raise ConfigError(
            "--burst and --noise-from cannot be combined: a burst is more exact, so leave out --noise-from"
        )
    check_sources(wanted.bursts)
    if hardware.devices not in (AUTO, "1"):
        raise ConfigError(f"--devices is {hardware.devices}: a model is fitted to a camera on one device")
    if hardware.num_nodes != 1:
        raise ConfigError(f"--num-nodes is {hardware.num_nodes}: a model is fitted to a camera on one device")
    if not 2 <= wanted.frames <= FRAMES_MOST:
        raise ConfigError(f"--frames is {wanted.frames}: it must be 2 to {FRAMES_MOST}")
    if not 0 < wanted.minutes <= MINUTES_MOST:
        raise ConfigError(f"--minutes is {wanted.minutes:g}: it must be above 0, at most {MINUTES_MOST:g}")


def _named(wanted: Wanted) -> str:
    """A name for the camera, without parts of an address that may be secret."""
    source = str(wanted.noise_from) if wanted.noise_from else wanted.bursts[0]
    if "://" in source:
        return name_of(shown_as(source))
    return f"camera-{source}" if source.isdecimal() else name_of(Path(source).resolve().stem)


def _conclude(fit: Fit, start: str, export: bool, say: Callable[[str], None]) -> None:
    found, name = fit.verdict, Path(start).stem
    say(found.figures(fit.judged_on, name))
    if not found.better or fit.model is None:
        reason = (
            f"it shifts colors by up to {found.shift:.1f} levels" if found.shifted
            else f"{found.gain:+.2f} dB, with 95 % certainty not less than {found.least:+.2f} dB"
        )  # fmt: skip
        kept = ""
        if fit.model is not None:
            apart = fit.model.with_name("model-not-better.pt")
            fit.model.replace(apart)
            kept = f" ({apart} is kept)"
        say(
            f"a fitted model is not better than {name}: {reason}. {name} is still the model to use"
            f"{': cae-run --webcam' * (Path(start) == DENOISE)}{kept}"
        )
    else:
        say(
            f"at least {found.least:+.2f} dB over {name} on {fit.judged_on} with 95 % certainty "
            f"({found.gain:+.2f} dB found): {fit.model}"
        )
    for factor, other in fit.spread:
        say(f"where the noise is {factor:.2g} times that: {other.gain:+.2f} dB ({name} {other.before:.2f} dB, fitted "
            f"{other.after:.2f} dB){', so the fitted model is worse there' * (other.gain < 0)}")  # fmt: skip
    if fit.interrupted:
        say(f"interrupted: {'that model can be used' if found.better else 'nothing better was reached'}")
        return
    if not found.better or fit.model is None:
        return
    if not export:
        say(f"next: cae-export {shell_word(fit.model)}")
        return
    try:
        ready = _exported(fit.model, found.gain, say)
    except KeyboardInterrupt:
        say(f"interrupted: go on with cae-export {shell_word(fit.model)}")
        raise
    say(f"next: cae-run --webcam -m {shell_word(ready)}")


def _exported(model: Path, gain: float, say: Callable[[str], None]) -> Path:
    """Export the model: int8, or float32 if int8 loses too much of the gain.

    Training imports nothing of the export, which needs onnx and the runtime: the command `cae-export` is run in a child
    process, as a user would run it, and prints its own lines.

    Raises:
        TrainingError: it is refused.
    """
    export_with = [sys.executable, "-m", "cae_export", str(model), "--overwrite"]
    if run_child(export_with).returncode:
        raise TrainingError(f"{model} is there, but cae-export refused it")
    drop = f"{min(INT8_DROP, max(SMALL_DROP, gain * INT8_SHARE)):.2f}"
    if run_child([*export_with, "--int8", "--max-drop", drop]).returncode:
        say("note: there is no int8 file, for the reason above; the float32 one is used")
        return model.with_suffix(".onnx")
    return model.with_name("model-int8.onnx")
