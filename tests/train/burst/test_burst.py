"""Bursts of a camera, from real files: reading, refusing, measuring and fitting."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cae_train import TrainConfig, load_model
from cae_train.burst.frames import Scene, check_sources, read_scenes, shown_as
from cae_train.burst.jpeg_coding import _flat, noise_before, quality_of
from cae_train.burst.measure import measure
from cae_train.burst.pairs import Part, drawn
from cae_train.burst.single_pictures import estimate
from cae_train.burst.static_scenes import Steady, UnsteadyError, check
from cae_train.burst.targets import targets_of
from cae_train.checkpoint import save_model
from cae_train.cli.camera import _exported
from cae_train.degradations.measured_noise import COLORS, GRAIN, Measured, NoiseModel
from cae_train.degradations.registry import described
from cae_train.errors import CaeTrainError, ConfigError, DataError
from cae_train.models import build

Floats = NDArray[np.float32]
HEIGHT, WIDTH = 160, 192


def scenery(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Floats:
    """A picture with flat parts, slopes and edges, H x W x 3 in 0..255."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(
        rng.uniform(40, 215, (4, 5, 3)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(12):
        center = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(picture, center, int(rng.integers(8, 30)), rng.uniform(30, 225, 3).tolist(), -1, cv2.LINE_AA)
    return picture.clip(20, 235)


def burst(
    count: int = 24, sigma: float = 8.0, seed: int = 0, picture: Floats | None = None, **size: int
) -> NDArray[np.uint8]:
    clean = scenery(seed, **size) if picture is None else picture
    noise = np.random.default_rng(seed + 100).normal(0, sigma, (count, *clean.shape))
    return np.rint(clean + noise).clip(0, 255).astype(np.uint8)


def still(name: str, frames: NDArray[np.uint8]) -> Steady:
    """A scene of frames that is not checked."""
    return Steady(Scene(name, frames), np.ones(len(frames), np.float32), np.zeros(frames.shape[1:3], np.bool_))


def white(camera: str, sigma: list[float]) -> NoiseModel:
    """White noise, the colors independent."""
    grain = np.zeros((COLORS, GRAIN, GRAIN), np.float32)
    grain[:, GRAIN // 2, GRAIN // 2] = 1
    return NoiseModel(camera, np.array([sigma] * COLORS, np.float32), np.eye(COLORS, dtype=np.float32), grain)


def written(folder: Path, frames: NDArray[np.uint8]) -> Path:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:03d}.png"), frame[..., ::-1])
    return folder


def test_a_folder_of_frames_is_one_scene_and_of_folders_several(tmp_path: Path) -> None:
    frames = burst(4)
    written(tmp_path / "scenes" / "a", frames)
    written(tmp_path / "scenes" / "b", frames[:3])
    one = read_scenes([str(tmp_path / "scenes" / "a")], 60, print)
    assert [scene.name for scene in one] == ["a"]
    np.testing.assert_array_equal(one[0].frames, frames)
    several = read_scenes([str(tmp_path / "scenes")], 60, print)
    assert [(scene.name, len(scene.frames)) for scene in several] == [("a", 4), ("b", 3)]
    assert [len(scene.frames) for scene in read_scenes([str(tmp_path / "scenes")], 2, print)] == [2, 2]


def test_a_video_is_one_scene(tmp_path: Path) -> None:
    path = tmp_path / "still.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for frame in burst(6):
        video.write(np.ascontiguousarray(frame[..., ::-1]))
    video.release()
    (scene,) = read_scenes([str(path)], 60, print)
    assert scene.frames.shape == (6, HEIGHT, WIDTH, 3)


def test_noisy_pictures_with_means_are_scenes_of_one_frame(tmp_path: Path) -> None:
    written(tmp_path / "noisy", burst(2))
    written(tmp_path / "clean", np.stack([scenery().astype(np.uint8)] * 2))
    scenes = read_scenes([str(tmp_path)], 60, print)
    assert [len(scene.frames) for scene in scenes] == [1, 1]
    measured = measure(targets_of([check(scene) for scene in scenes]), "pairs")
    assert measured.model.sigma[:, 4:13].mean() * 255 == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: folder / "none", "does not exist: name a camera"),
        (lambda folder: folder, "has no frames"),
        (lambda folder: written(folder / "one", burst(1)), "has 1 frame: 2 are needed, 60 are best"),
        (lambda folder: written(folder / "small", burst(3, height=64, width=64)), "64x64 pixels are too small"),
        (lambda folder: _of_two_sizes(folder / "sizes"), "frames of different sizes, 000.png has 192x160 pixels"),
    ],
)
def test_a_source_that_is_not_a_burst_is_a_one_line_error(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        read_scenes([str(make(tmp_path))], 60, print)


def _of_two_sizes(folder: Path) -> Path:
    written(folder, burst(2))
    cv2.imwrite(str(folder / "900.png"), np.zeros((150, 200, 3), np.uint8))
    return folder


@pytest.mark.parametrize(
    "text", [b"#EXTM3U\n\x01\n", b"ffconcat version 1.0\nfile '%s'\n", b"v=0\ns=x\nm=video 9 RTP/AVP 96\n"]
)
@pytest.mark.parametrize("ending", ["m3u8", "avi"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, text: bytes, ending: str) -> None:
    path = tmp_path / f"list.{ending}"
    path.write_bytes(text + b"#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.avi\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match="is a text, such as a playlist: name the video"):
        read_scenes([str(path)], 60, print)


def test_videos_in_a_folder_are_scenes_too(tmp_path: Path) -> None:
    written(tmp_path / "still", burst(3))
    video = cv2.VideoWriter(str(tmp_path / "second.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for frame in burst(4):
        video.write(np.ascontiguousarray(frame[..., ::-1]))
    video.release()
    scenes = read_scenes([str(tmp_path)], 60, print)
    assert [(scene.name, len(scene.frames)) for scene in scenes] == [("still", 3), ("second", 4)]


def test_unusable_files_beside_good_scenes_are_left_out_and_named(tmp_path: Path) -> None:
    written(tmp_path / "scenes" / "good", burst(4))
    (tmp_path / "scenes" / "good" / "002.png").write_bytes(b"no picture")
    written(tmp_path / "scenes" / "one", burst(1))
    _of_two_sizes(tmp_path / "scenes" / "sizes")
    said: list[str] = []
    (scene,) = read_scenes([str(tmp_path / "scenes")], 60, said.append)
    assert (scene.name, len(scene.frames)) == ("good", 3)
    assert len(said) == 3
    assert all(line.startswith("left out: ") for line in said)
    assert "002.png' cannot be read" in said[0]


def test_sources_are_checked_before_anything_is_recorded(tmp_path: Path) -> None:
    video = tmp_path / "still.avi"
    video.write_bytes(b"")
    check_sources(["0", "0", "rtsp://[::1", str(video)])
    for wrong, reason in (
        ([str(video), str(tmp_path / "." / "still.avi")], "is given twice"),
        (["99999999999"], "does not exist"),
        (["x" * 300], "cannot be read|does not exist"),
    ):
        with pytest.raises(DataError, match=reason):
            check_sources(wrong)
    assert shown_as("rtsp://user:secret@door/1") == "door"
    assert shown_as("rtsp://[::1") == "stream"


def test_a_missing_camera_is_a_one_line_error() -> None:
    with pytest.raises(DataError, match="camera cannot be opened"):
        read_scenes(["97"], 60, lambda _line: None)


def test_a_static_scene_is_used_completely() -> None:
    steady = check(Scene("still", burst()))
    assert not steady.moving.any()
    assert steady.notes == ()
    np.testing.assert_allclose(steady.gains, 1, atol=0.002)


@pytest.mark.parametrize("count", [2, 4, 7, 24])
@pytest.mark.parametrize("width", [1.0, 1.5, 3.0])
def test_coarse_grain_is_not_taken_for_flicker_or_movement(width: float, count: int) -> None:
    white = np.random.default_rng(4).normal(0, 1, (count * HEIGHT, WIDTH, 3)).astype(np.float32)
    grain = cv2.GaussianBlur(white, (0, 0), width).reshape(count, HEIGHT, WIDTH, 3)
    frames = np.rint(scenery() + 15 * grain / grain.std()).clip(0, 255).astype(np.uint8)
    steady = check(Scene("coarse", frames))
    assert steady.moving.mean() < (0.01 if count > 7 else 0.05)
    assert not any("flickers" in note for note in steady.notes)


def test_moving_parts_of_a_scene_are_left_out() -> None:
    frames = burst()
    for number, frame in enumerate(frames):  # a ball that rolls, and in one frame something that flies by
        cv2.circle(frame, (20 + 3 * number, 130), 12, (250, 40, 40), -1)
    frames[7, 10:40, 150:180] = 10
    steady = check(Scene("ball", frames))
    assert steady.moving[125:135, 30:80].all()
    assert steady.moving[14:36, 154:176].all()
    assert not steady.moving[60:100, 20:180].any()
    assert 0.05 < steady.moving.mean() < 0.4
    assert "moves and is left out" in steady.notes[0]


def test_a_screen_that_changes_in_every_frame_is_left_out() -> None:
    frames, rng = burst(), np.random.default_rng(1)
    for frame in frames:
        frame[40:100, 60:140] = rng.uniform(30, 220, 3)
    steady = check(Scene("screen", frames))
    assert steady.moving[42:98, 62:138].all()
    assert steady.moving.mean() < 0.3


def test_a_moving_camera_is_refused_with_a_picture_of_the_movement() -> None:
    picture = np.tile(scenery(), (1, 2, 1)) + 40 * np.sin(np.arange(2 * WIDTH) / 2)[None, :, None]
    frames = np.stack([burst(1, picture=picture[:, i : i + WIDTH].astype(np.float32), seed=i)[0] for i in range(24)])
    with pytest.raises(UnsteadyError, match=r"moves (by \d+.\d pixels|: \d+%)") as caught:
        check(Scene("shaken", frames))
    assert caught.value.picture is not None
    assert caught.value.picture.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("step", [1, 2])
def test_a_slightly_moving_camera_is_refused(step: int) -> None:
    """By a pixel or two, halfway."""
    wide = scenery(width=WIDTH + 8)
    frames = np.stack(
        [burst(1, picture=wide[:, o : o + WIDTH], seed=i)[0] for i, o in enumerate([0] * 12 + [step] * 12)]
    )
    with pytest.raises(UnsteadyError, match=rf"moves by ({step}|{step - 1}|{step + 1})\.\d pixels"):
        check(Scene("nudged", frames))


def test_a_change_of_focus_is_refused() -> None:
    sharp = burst(12)
    soft = np.stack([cv2.GaussianBlur(scenery(), (0, 0), 4)] * 12) + np.random.default_rng(1).normal(0, 8, sharp.shape)
    frames = np.concatenate([sharp, np.rint(soft).clip(0, 255).astype(np.uint8)])
    with pytest.raises(UnsteadyError, match=r"moves( by|, or its sharpness changes by)"):
        check(Scene("focus", frames))


def test_flickering_light_is_corrected_before_measuring() -> None:
    clean, rng = scenery(), np.random.default_rng(2)
    frames = np.stack([clean * (1 + 0.03 * np.sin(i)) + rng.normal(0, 8, clean.shape) for i in range(24)])
    steady = check(Scene("lamp", np.rint(frames).clip(0, 255).astype(np.uint8)))
    assert "flickers by" in steady.notes[0]
    measured = measure(targets_of([steady]), "lamp")
    assert measured.model.sigma[:, 4:13].mean() * 255 == pytest.approx(8, rel=0.05)


def test_a_change_of_exposure_is_refused() -> None:
    frames = burst(12).astype(np.float32)
    frames[6:] *= 0.6
    with pytest.raises(UnsteadyError, match=r"its light changes from \d+ to \d+ of 255; fix the exposure"):
        check(Scene("auto", frames.astype(np.uint8)))


def test_overexposed_frames_are_refused() -> None:
    with pytest.raises(UnsteadyError, match="100% of it is white"):
        check(Scene("sun", np.full((4, HEIGHT, WIDTH, 3), 255, np.uint8)))


def test_black_frames_are_refused_alone_and_taken_as_a_lens_cap_beside_others() -> None:
    black = check(Scene("cap", np.random.default_rng(0).integers(0, 4, (8, HEIGHT, WIDTH, 3), np.uint8)))
    assert black.black
    with pytest.raises(DataError, match="'cap' is black: it shows the fixed pattern alone"):
        targets_of([black])
    assert len(targets_of([check(Scene("lit", burst())), black])) == 1


def test_strength_grain_and_colors_of_the_noise_are_measured() -> None:
    """Noise that grows with brightness, is filtered along rows, and is half the same in all colors."""
    rng = np.random.default_rng(5)
    scenes: list[Steady] = []
    for seed in range(2):
        clean = scenery(seed)
        frames: list[NDArray[np.uint8]] = []
        for _ in range(24):
            noise = rng.normal(0, 1, (HEIGHT, WIDTH, 3)) + rng.normal(0, 1, (HEIGHT, WIDTH, 1))
            noise = cv2.blur(noise, (2, 1))
            frames.append(np.rint(clean + noise * (2 + clean / 40)).clip(0, 255).astype(np.uint8))
        scenes.append(check(Scene(str(seed), np.stack(frames))))
    measured = measure(targets_of(scenes), "test")
    knots = np.arange(17) * 255 / 16
    for c in range(3):
        np.testing.assert_allclose(measured.model.sigma[c, 4:13] * 255, (2 + knots / 40)[4:13], rtol=0.08)
    assert measured.correlation[7, 8] == pytest.approx(0.5, abs=0.06)
    assert measured.correlation[8, 7] == pytest.approx(0, abs=0.06)
    assert measured.colors[0, 1] == pytest.approx(0.5, abs=0.05)
    assert measured.fixed_share == 0
    drawn = Measured(measured.model)(torch.full((64, 3, 32, 32), 0.5), torch.Generator().manual_seed(0)) - 0.5
    assert float(drawn.std()) * 255 == pytest.approx(2 + 127.5 / 40, rel=0.08)
    assert float((drawn[..., 1:] * drawn[..., :-1]).mean() / drawn.var()) == pytest.approx(0.5, abs=0.08)
    assert float((drawn[:, 0] * drawn[:, 1]).mean() / drawn.var()) == pytest.approx(0.5, abs=0.08)


def test_rows_and_hot_pixels_common_to_several_scenes_are_removed() -> None:
    rng = np.random.default_rng(9)
    rows = rng.normal(0, 3, (HEIGHT, 1, 1))
    hot = (rng.random((HEIGHT, WIDTH, 1)) < 0.003) * 70.0
    pictures = [scenery(seed) for seed in range(3)]
    scenes = [check(Scene(str(i), burst(picture=p + rows + hot, sigma=5, seed=i))) for i, p in enumerate(pictures)]
    targets = targets_of(scenes)
    for target, picture in zip(targets, pictures, strict=True):
        raw = np.square(target.total / target.count - picture).mean()
        assert np.square(target.mean() - picture).mean() < 0.25 * raw
        found = target.hot[hot[..., 0] > 0].mean()
        assert found > 0.6
        assert target.hot[hot[..., 0] == 0].mean() < 0.002
    model = measure(targets, "rows").model
    assert model.rows * 255 == pytest.approx(3, rel=0.4)
    assert model.columns == 0
    assert model.hot == pytest.approx(0.003, rel=0.5)


def coded(quality: int, frames: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    return np.stack([
        cv2.imdecode(cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
        for frame in (burst(12, sigma=16, height=256, width=256) if frames is None else frames)
    ])[..., ::-1].astype(np.uint8)  # fmt: skip


@pytest.mark.parametrize("quality", [30, 60, 80])
def test_the_jpeg_quality_is_estimated_from_the_pixels(quality: int) -> None:
    assert quality_of(coded(quality)[0]) == quality


@pytest.mark.slow
def test_the_noise_before_jpeg_is_estimated() -> None:
    targets = targets_of([check(Scene("coded", coded(60)))])
    measured = measure(targets, "web")
    assert measured.model.sigma[:, 4:13].mean() * 255 < 13
    noise = noise_before(measured, targets, 60)
    assert noise.sigma[:, 4:13].mean() * 255 == pytest.approx(16, rel=0.2)
    assert noise.width < 1.2


def test_clipped_parts_do_not_count_as_flat() -> None:
    picture = scenery()
    picture[:50] = 300
    target = targets_of([check(Scene("white sky", coded(50, burst(12, sigma=10, picture=picture))))])[0]
    flat = _flat(target)
    assert flat.usable[72:].mean() > 0.1
    assert not flat.usable[:48].any()


def test_frames_without_jpeg_have_no_quality() -> None:
    assert quality_of(burst(1)[0]) == 0
    assert quality_of(scenery().astype(np.uint8)) == 0


def test_dead_pixels_are_found_and_filled_with_three_lit_scenes() -> None:
    dead = np.random.default_rng(3).random((HEIGHT, WIDTH)) < 0.002
    pictures = [scenery(seed) + 30 for seed in range(3)]
    scenes = [
        check(Scene(str(i), burst(picture=p * ~dead[..., None], sigma=5, seed=i))) for i, p in enumerate(pictures)
    ]
    targets = targets_of(scenes)
    assert targets[0].dead[dead].mean() > 0.8
    assert targets[0].dead[~dead].mean() < 0.002
    assert np.abs(targets[0].mean() - pictures[0])[dead].mean() < 8
    model = measure(targets, "dead").model
    assert model.dead == pytest.approx(0.002, rel=0.4)
    assert "dead pixels" in model.summary()
    drawn = Measured(model)(torch.full((64, 3, 32, 32), 0.5), torch.Generator().manual_seed(0))
    assert float((drawn < 0.2).float().mean()) == pytest.approx(model.dead, rel=0.5)


@pytest.mark.parametrize("camera", ["symmetric", "photons", "light", "cut"])
def test_targets_are_plain_means_even_with_skewed_noise(camera: str) -> None:
    """Of a lean to one side it cannot be known where it comes from, so nothing is taken off."""
    rng = np.random.default_rng(5)
    picture = scenery() * 0.6
    if camera == "symmetric":  # growing with brightness, smoothed
        shots = picture + cv2.blur(rng.normal(0, 1, (160, 192 * 24, 3)), (2, 2)).reshape(160, 24, 192, 3).swapaxes(
            0, 1
        ) * np.sqrt(12 + picture)
    elif camera == "photons":
        shots = rng.poisson(picture / 255 * 60, (24, *picture.shape)) * 255 / 60
    elif camera == "cut":  # at black
        shots = picture - 40 + rng.normal(0, 10, (24, *picture.shape))
    else:
        shots = 255 * (rng.poisson((picture / 255) ** 2.2 * 80, (24, *picture.shape)) / 80) ** (1 / 2.2)
    steady = still(camera, np.rint(shots).clip(0, 255).astype(np.uint8))
    (target,) = targets_of([steady])
    mean = steady.scene.frames.mean(axis=0)
    np.testing.assert_allclose(target.mean(), mean, atol=1e-3)
    noisy, clean = target.pair(3, 16, 40, 32)
    np.testing.assert_allclose(noisy, steady.scene.frames[3, 16:48, 40:72], atol=1e-3)
    np.testing.assert_allclose(clean + (noisy - clean) / 24, mean[16:48, 40:72], atol=1e-2)


@pytest.mark.parametrize("count", [1, 2])
def test_edges_in_one_or_two_scenes_are_not_taken_for_a_fixed_pattern(count: int) -> None:
    """A table's edge, right across the picture and in both scenes, and a bright dot."""
    pictures = [scenery(seed) for seed in range(count)]
    for picture in pictures:
        picture[80:] -= 15
        picture[40, 50] += 90
    targets = targets_of([check(Scene(str(i), burst(picture=p, seed=i))) for i, p in enumerate(pictures)])
    for target in targets:
        assert not target.fixed.any()
        assert not target.hot.any()
        np.testing.assert_allclose(target.mean(), target.total / target.count, atol=1e-3)


def test_one_scene_with_the_lens_cap_on_makes_two_scenes_enough() -> None:
    rows = np.random.default_rng(9).normal(0, 3, (HEIGHT, 1, 1))
    lit = check(Scene("lit", burst(picture=scenery() + rows, sigma=5)))
    cap = check(Scene("cap", burst(picture=np.full_like(scenery(), 4) + rows, sigma=2)))
    assert cap.black
    (target,) = targets_of([lit, cap])
    raw = np.square(target.total / target.count - scenery()).mean()
    assert np.square(target.mean() - scenery()).mean() < 0.25 * raw


def test_the_lens_cap_reveals_faint_rows_although_black_clips_them() -> None:
    rows = np.random.default_rng(9).normal(0, 1.5, (HEIGHT, 1, 1))
    lit = [check(Scene(str(i), burst(picture=scenery(i) + rows, sigma=8, seed=i))) for i in range(2)]
    cap = check(Scene("cap", burst(picture=np.full_like(scenery(), 1) + rows, sigma=2)))
    fixed = targets_of([*lit, cap])[0].fixed[:, 0, 0]
    assert np.corrcoef(fixed, rows[:, 0, 0])[0, 1] > 0.9
    assert fixed.std() == pytest.approx(1.5, rel=0.3)
    without = check(Scene("cap", burst(picture=np.full_like(scenery(), 4), sigma=2)))
    assert not targets_of([*lit, without])[0].fixed.any()


@pytest.mark.parametrize("count", [2, 3])
def test_few_frames_are_checked_too(count: int) -> None:
    still = burst(count)
    assert check(Scene("still", still)).moving.mean() < 0.02
    moved = still.copy()
    moved[-1] = np.roll(moved[-1], 20, axis=1)
    try:
        steady = check(Scene("moved", moved))
    except UnsteadyError:
        return
    assert steady.moving.mean() > 0.15


def test_windows_can_have_the_noise_of_a_single_frame() -> None:
    (target,) = targets_of([check(Scene("few", burst(2, sigma=8)))])
    part = Part(target)
    noisy, clean = drawn([part], 200, np.random.default_rng(0), turn=False, fair=True)
    assert float((noisy - clean).std()) * 255 == pytest.approx(8, rel=0.06)
    noisy, clean = drawn([part], 200, np.random.default_rng(0), turn=False)
    assert float((noisy - clean).std()) * 255 == pytest.approx(8 * 2**0.5, rel=0.06)


def test_windows_come_from_static_parts() -> None:
    frames = burst(24)
    frames[12:, 40:90, 40:120] = 200
    (target,) = targets_of([check(Scene("moved", frames))])
    noisy, clean = drawn([Part(target)], 200, np.random.default_rng(0), turn=True)
    assert float((noisy - clean).std()) * 255 == pytest.approx(8 * (24 / 23) ** 0.5, rel=0.05)


def test_frames_without_noise_are_refused() -> None:
    frames = np.repeat(scenery().astype(np.uint8)[None], 4, axis=0)
    with pytest.raises(DataError, match="they contain no noise to remove"):
        measure(targets_of([check(Scene("drawn", frames))]), "none")


def test_the_noise_of_single_pictures_is_estimated_on_flat_parts(tmp_path: Path) -> None:
    folder = tmp_path / "noisy"
    folder.mkdir()
    for seed in range(6):
        cv2.imwrite(str(folder / f"{seed}.png"), burst(1, sigma=8, seed=seed, height=320, width=384)[0][..., ::-1])
    (folder / "broken.png").write_bytes(b"no picture")
    lines: list[str] = []
    model = estimate(folder, "phone", lines.append).model
    assert model.sigma[:, 5:12].mean() * 255 == pytest.approx(8, rel=0.12)
    assert 0.9 < model.width < 1.7, "white noise, of which a plane in each block was taken off"
    assert any("broken.png" in line for line in lines)
    with pytest.raises(DataError, match="is not a folder"):
        estimate(tmp_path / "none", "phone", print)


def test_copies_of_one_noisy_frame_are_refused() -> None:
    frames = np.repeat(burst(1), 6, axis=0)
    with pytest.raises(DataError, match="'copies': its frames are all alike: they contain no noise to remove"):
        check(Scene("copies", frames))


def test_duplicate_frames_of_a_driver_are_left_out() -> None:
    frames = burst(12)
    steady = check(Scene("twice", np.repeat(frames, 2, axis=0)))
    np.testing.assert_array_equal(steady.scene.frames, frames)
    assert not steady.moving.any()
    assert "12 frames left out: copies of the one before" in steady.notes[0]


def test_a_noise_model_survives_a_file_and_invalid_ones_are_a_one_line_error() -> None:
    model = white("front-door", np.linspace(0.01, 0.03, 17).tolist())
    again = NoiseModel.from_dict(model.to_dict())
    np.testing.assert_allclose(again.sigma, model.sigma, atol=1e-6)
    assert again.camera == "front-door"
    former = model.to_dict() | {"bias": [0.0] * 51, "gamma": 1.0}  # as models from before version 0.2 have it
    assert NoiseModel.from_dict(former).to_dict() == model.to_dict()
    for wrong in (
        {"sigma": [1.0]},
        {"rows": -1.0},
        {"hot": "x"},
        {"hot": 0.5},
        {"colors": [9.0] * 9},
        {"camera": "a\nb"},
        {"rows": 10**400},
        {"grain": [float("nan")] * 363},
        {"more": 1},
    ):
        with pytest.raises(ConfigError, match=r"\[noise\]"):
            NoiseModel.from_dict(model.to_dict() | wrong)
    with pytest.raises(ConfigError, match=r"\[noise\]"):
        NoiseModel.from_dict({})


def test_a_model_stores_the_noise_that_it_was_fitted_to(tmp_path: Path) -> None:
    noise = white("door", [0.02] * 17).to_dict()
    config = TrainConfig(degrade=("measured",), noise=noise)
    save_model(tmp_path / "model.pt", build("skip", {}), config, {})
    loaded = load_model(tmp_path / "model.pt").config
    assert (
        NoiseModel.from_dict(loaded.noise).summary() == "door: sigma 5.1/5.1/5.1 where dark/gray/bright, grain 1.0 px"
    )
    assert described(loaded).startswith("measured on door: sigma 5.1")
    save_model(tmp_path / "other.pt", build("skip", {}), TrainConfig(degrade=("measured",)), {})
    with pytest.raises(CaeTrainError, match="no noise was measured"):
        load_model(tmp_path / "other.pt")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_lets_the_export_remove_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial, tool = tmp_path / "partial", tmp_path / "tool"
    tool.write_text(
        f"#!{sys.executable}\nimport os, signal, sys, time\n"
        f"def end(*_):\n    os.unlink({str(partial)!r})\n    sys.exit(143)\n"
        f"signal.signal(signal.SIGTERM, end)\nopen({str(partial)!r}, 'w')\n"
        "os.kill(os.getppid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tool))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            _exported(tmp_path / "model.pt", 1.0, print)
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(tmp_path.iterdir()) == [tool]
