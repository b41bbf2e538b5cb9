"""`cae-train --burst` and `--noise-from` as a user types them; seconds of training."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.train.burst.test_burst import burst, scenery, written
from tests.train.conftest import Command

from cae_train import load_model
from cae_train.burst.fit import Fit
from cae_train.burst.judge import Verdict
from cae_train.cli.camera import _conclude
from cae_train.data.packaged import DENOISE
from cae_train.degradations.measured_noise import NoiseModel

FAST = Path(__file__).parents[3] / "assets" / "denoise-fast.pt"  # exported in half the time
SHORT = ("--minutes", "0.05", "--epochs", "2")
GENTLE = ("--lr", "1e-4")  # so few steps of the usual rate shift colors


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cae_train.burst.fit.HELD_OUT_PATCHES", 64)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Three scenes of a camera with strong noise of a coarse grain."""
    rng = np.random.default_rng(0)
    for seed in range(3):
        noise = cv2.blur(rng.normal(0, 40, (192 * 12, 160, 3)), (1, 3)).reshape(12, 192, 160, 3).swapaxes(1, 2)
        frames = np.rint(scenery(seed) + noise).clip(0, 255).astype(np.uint8)
        written(tmp_path / "scenes" / f"scene{seed}", frames)
    return tmp_path / "scenes"


@pytest.mark.slow
def test_a_burst_becomes_a_model_that_runs(cae_train: Command, recorded: Path, tmp_path: Path) -> None:
    words = ("--burst", recorded, "--camera", "door", "--out", "run", "--start", FAST, *SHORT, *GENTLE, "--export")
    done = cae_train(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 scenes, 36 frames" in done.stderr
    assert "noise of door: sigma" in done.stderr
    assert "neighboring pixels share noise" in done.stderr
    for number in range(3):
        assert f"without 'scene{number}': " in done.stderr
    assert "scenes left out in turn: noisy" in done.stderr
    assert re.search(
        r"^at least \+\d+\.\d\d dB over denoise-fast on scenes left out in turn with 95 % certainty", done.stderr, re.M
    )
    run = tmp_path / "run"
    int8 = (run / "model-int8.onnx").is_file()  # so few steps may leave a network that loses too much in int8
    assert ("note: there is no int8 file" in done.stderr) is not int8
    ready = "model-int8.onnx" if int8 else "model.onnx"
    assert done.stderr.splitlines()[-1] == f"next: cae-run --webcam -m run/{ready}"
    for name in ("noise.png", "scenes/01-scene0.png", "model.pt", "model.onnx"):
        assert (run / name).is_file(), name
    config = load_model(run / "model.pt").config
    assert NoiseModel.from_dict(config.noise).camera == "door"
    from cae_runtime import Session

    degradation = Session(run / ready).spec.degradation
    assert degradation.startswith("measured on door: sigma")


@pytest.mark.parametrize(("codes", "ready"), [([0, 0], "model-int8.onnx"), ([0, 1], "model.onnx")])
def test_the_int8_file_is_the_suggested_one_if_it_was_made(
    codes: list[int], ready: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = iter([subprocess.CompletedProcess[str]([], code) for code in codes])
    monkeypatch.setattr("cae_train.cli.camera.run_child", lambda *_, **__: next(done))
    fit = Fit(Verdict(30.0, 31.0, 32.0, 0.8, 0.1, False), "scenes left out in turn", tmp_path / "model.pt")
    said: list[str] = []
    _conclude(fit, str(DENOISE), True, said.append)
    gain = "at least +0.80 dB over denoise on scenes left out in turn with 95 % certainty (+1.00 dB found)"
    assert said[1] == f"{gain}: {tmp_path / 'model.pt'}"
    assert ("note: there is no int8 file" in " ".join(said)) is (ready == "model.onnx")
    assert said[-1] == f"next: cae-run --webcam -m {tmp_path / ready}"


@pytest.mark.parametrize(
    ("least", "shift", "reason"),
    [(-0.1, 0.1, "+1.00 dB, with 95 % certainty not less than -0.10 dB"), (0.8, 2.0, "it shifts colors by up to 2.0")],
)
def test_a_model_that_is_not_surely_better_or_shifts_colors_is_set_apart(
    least: float, shift: float, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    said: list[str] = []
    verdict = Verdict(30.0, 31.0, 32.0, least, shift, shift > 0.3)
    _conclude(Fit(verdict, "the scenes that it was fitted to", tmp_path / "model.pt"), str(DENOISE), True, said.append)
    assert f"a fitted model is not better than denoise: {reason}" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["model-not-better.pt"]


@pytest.mark.slow
def test_a_single_scene_gives_a_note_that_nothing_was_held_out(
    cae_train: Command, recorded: Path, tmp_path: Path
) -> None:
    done = cae_train("--burst", recorded / "scene0", "--out", "run", "--start", FAST, *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "with only one scene, none could be held out" in done.stderr
    assert "the scene that it was fitted to: noisy" in done.stderr


@pytest.mark.slow
def test_single_noisy_pictures_are_enough_to_fit_a_model(cae_train: Command, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):  # of two cameras
        noisy = burst(1, sigma=(6, 24)[seed % 2], seed=seed, height=320, width=384)[0]
        cv2.imwrite(str(folder / f"{seed}.png"), noisy[..., ::-1])
    done = cae_train("--noise-from", folder, "--out", "run", *SHORT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "flat parts do not show a fixed pattern" in done.stderr
    assert "held-out photographs with the estimated noise: noisy" in done.stderr
    (ends,) = re.findall(r"single pictures have ([\d.]+) to ([\d.]+) times that noise \(10th to 90", done.stderr)
    assert float(ends[1]) / float(ends[0]) == pytest.approx(4, rel=0.25)
    assert "note: these pictures differ much in noise, as those of several cameras" in done.stderr
    for end in ends:
        assert re.search(rf"where the noise is {end} times that: [+-]\d+\.\d\d dB \(denoise", done.stderr)


@pytest.mark.slow
def test_a_model_that_is_not_better_is_reported_and_not_used(cae_train: Command, tmp_path: Path) -> None:
    """White noise, which the packaged model knows well, and a learning rate that ruins it."""
    for seed in range(2):
        written(tmp_path / "scenes" / str(seed), burst(8, sigma=15, seed=seed))
    done = cae_train("--burst", "scenes", "--out", "run", "--lr", "0.03", *SHORT, "--export", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "a fitted model is not better than denoise: " in done.stderr
    assert done.stderr.splitlines()[-1].endswith("denoise is still the model to use: cae-run --webcam")
    assert "next:" not in done.stderr
    assert not (tmp_path / "run" / "model.pt").exists()
    assert not (tmp_path / "run" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--burst", "nowhere"], "--burst 'nowhere' does not exist: name a camera (0), a video"),
        (["--burst", "scenes", "--noise-from", "."], "--burst and --noise-from cannot be combined"),
        (["--burst", "scenes", "--frames", "1"], "--frames is 1: it must be 2 to 1000"),
        (["--burst", "scenes", "--minutes", "0"], "--minutes is 0: it must be above 0, at most 1440"),
        (["--burst", "scenes", "--degrade", "gaussian:25"], "choose --degrade themselves: leave it out"),
        (["--burst", "scenes", "--resume", "run"], "choose --resume themselves: leave it out"),
        (["--noise-from", "nowhere"], "--noise-from 'nowhere' is not a folder"),
        (["--noise-from", "empty"], "has no pictures that can be used: .bmp"),
        (["--burst", "scenes", "--start", "none.pt"], "--start: none.pt does not exist: name a model.pt"),
        (["--frames", "10"], "--frames needs --burst"),
    ],
)
def test_wrong_usage_is_a_one_line_error(
    cae_train: Command, recorded: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = cae_train(*options, cwd=tmp_path)
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_holds_the_recordings_is_never_overwritten(
    cae_train: Command, recorded: Path, tmp_path: Path
) -> None:
    """The user's own `scenes` beside the run of that name."""
    frames = sorted(recorded.rglob("*.png"))
    done = cae_train("--burst", "scenes/nothing", "--out", str(tmp_path), *SHORT, cwd=tmp_path)
    assert done.returncode == 2
    assert sorted(recorded.rglob("*.png")) == frames


@pytest.mark.slow
def test_a_moving_scene_is_left_out_with_a_picture_and_refused_if_alone(
    cae_train: Command, recorded: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    wide = np.tile(scenery(), (1, 2, 1)) + 40 * np.sin(np.arange(384) / 2)[None, :, None]
    moved = [wide[:, i * 3 : i * 3 + 192] + rng.normal(0, 8, (160, 192, 3)) for i in range(12)]
    written(tmp_path / "moved", np.rint(moved).clip(0, 255).astype(np.uint8))
    alone = cae_train("--burst", "moved", "--out", "alone", *SHORT, cwd=tmp_path)
    assert alone.returncode == 2
    assert "scene 'moved' moves" in alone.stderr.splitlines()[-1]
    assert (tmp_path / "alone" / "scenes" / "01-moved.png").is_file()
    again = cae_train("--burst", "moved", "--out", "alone", *SHORT, cwd=tmp_path)
    assert again.returncode == 2
    assert not (tmp_path / "alone-2").exists(), "the folder of a refused run is taken again"
    beside = cae_train("--burst", recorded, "--burst", "moved", "--out", "run", "--start", FAST, *SHORT, cwd=tmp_path)
    assert beside.returncode == 0, beside.stderr
    assert "left out: scene 'moved' moves" in beside.stderr
