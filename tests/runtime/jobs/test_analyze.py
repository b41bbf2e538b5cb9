"""`--analyze`: the noise of a picture in its dark, middle and bright parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import Command

from cae_runtime.tasks.noise_levels import noise_by_part


def ramp(deviation: float, color: float) -> np.ndarray[Any, Any]:
    """Return stripes of dark, middle and bright gray with noise of brightness and of color."""
    rng = np.random.default_rng(8)
    flat = np.repeat([40.0, 127.0, 210.0], 80)[:, None, None] * np.ones((1, 200, 3))
    light = rng.normal(0, deviation, (240, 200, 1))
    stain = rng.normal(0, color, (240, 200, 1))
    return np.clip(np.rint(flat + light + stain * [1, 0, -1]), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("deviation", "color"), [(8.0, 0.0), (4.0, 6.0), (12.0, 3.0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_measured_noise_equals_the_added_noise(deviation: float, color: float, dtype: type[np.generic]) -> None:
    scale = {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    noisy = (ramp(deviation, color).astype(np.float64) * scale).astype(dtype)
    clean = (ramp(0, 0).astype(np.float64) * scale).astype(dtype)
    for part in noise_by_part(noisy, clean):
        assert part.share == pytest.approx(1 / 3, abs=0.02)
        assert part.brightness_before == pytest.approx(deviation, rel=0.15, abs=0.4)
        assert part.color_before == pytest.approx(color, rel=0.35, abs=0.5)
        assert part.brightness_after is not None
        assert part.brightness_after < 0.01
    gray = noise_by_part(cv2.cvtColor(ramp(deviation, 0), cv2.COLOR_BGR2GRAY), ramp(0, 0)[..., 0])
    assert [part.color_before for part in gray] == [None] * 3


@pytest.mark.parametrize("left", [1.0, 0.2])
def test_the_remaining_noise_is_not_underestimated(left: float) -> None:
    clean, noisy = ramp(0, 0).astype(np.float32) / 255, ramp(10, 0).astype(np.float32) / 255
    residual = cv2.GaussianBlur(noisy - clean, (0, 0), 1.5)
    residual *= left * 10 / 255 / residual.std()
    for part in noise_by_part(noisy, clean + residual):
        assert part.brightness_before == pytest.approx(10, rel=0.12)
        assert part.brightness_after == pytest.approx(10 * left, rel=0.25)


def test_the_noise_before_does_not_depend_on_the_strength(cae_run: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    slopes = cv2.resize(rng.uniform(60, 200, (12, 12, 3)), (240, 240), interpolation=cv2.INTER_LINEAR)
    noise = rng.normal(0, 1, slopes.shape) * np.linspace(2, 20, 240)[:, None]
    cv2.imwrite(str(tmp_path / "a.png"), np.clip(slopes + noise, 0, 255).astype(np.uint8))
    before = []
    for strength in ("1", "0.3", "0"):
        done = cae_run(
            tmp_path / "a.png", "--analyze", "--json", "--strength", strength, "-m", "denoise-fast", model=None
        )
        parts = json.loads(done.stdout)["files"][0]["parts"]
        before.append([(part["brightness_before"], part["color_before"]) for part in parts])
    assert before[0] == before[1] == before[2]


def test_texture_gives_a_note_that_it_may_count_as_noise(cae_run: Command, tmp_path: Path) -> None:
    checks = np.kron(np.indices((26, 26)).sum(axis=0) % 2, np.ones((6, 6))) * 40 + 100  # squares of 6 pixels
    disc = cv2.circle(np.full((32, 32), 100.0), (16, 16), 10, 160.0, -1)
    rng = np.random.default_rng(4)
    for name, scene in (("texture", checks), ("flat", np.full_like(checks, 120)), ("tiny", disc)):
        noisy = scene[..., None] + rng.normal(0, 8, (*scene.shape, 3))
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    done = cae_run(tmp_path, "--analyze", "--json", model=None)
    files = json.loads(done.stdout)["files"]
    detail = {Path(file["source"]).stem: [part["detail"] for part in file["parts"]] for file in files}
    assert detail == {"flat": [False] * 3, "texture": [False, True, False], "tiny": [False, True, False]}
    shown = cae_run(tmp_path, "--analyze", model=None).stdout.decode()
    assert shown.count("  *\n") == 2
    assert shown.endswith("the figure is mostly detail of the picture, not noise.\n")


def test_parts_without_flat_blocks_have_no_value() -> None:
    noisy = ramp(5, 0)[:80]  # dark alone
    dark, middle, bright = noise_by_part(noisy, noisy)
    assert dark.brightness_before == dark.brightness_after
    assert middle.brightness_before is bright.brightness_before is None
    assert [part.share for part in noise_by_part(noisy[:10, :10], noisy[:10, :10])] == [0, 0, 0]


def test_analyze_prints_the_noise_and_writes_nothing(cae_run: Command, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), ramp(8, 4))
    (tmp_path / "b.png").write_bytes(b"no picture")
    done = cae_run(tmp_path / "a.png", "--analyze", model="blur")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[0].endswith("a.png', 200x240 pixels")
    assert [line.split()[0] for line in lines[2:5]] == ["dark", "middle", "bright"]
    assert all("->" in line for line in lines[2:5])
    done = cae_run(tmp_path, "--analyze", "--json", model="blur")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert [part["part"] for part in report["files"][0]["parts"]] == ["dark", "middle", "bright"]
    assert [Path(failed["source"]).name for failed in report["failed"]] == ["b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
    for words, reason in (
        (["--analyze"], b"--analyze needs images or folders"),
        (["-", "--analyze"], b"--analyze takes files and folders, and no -"),
        ([tmp_path / "a.png", "--analyze", "-o", "out"], b"writes no pictures: remove -o"),
        ([tmp_path / "a.png", "--analyze", "--ext", "png"], b"--analyze takes no --ext"),
    ):
        done = cae_run(*words, model=None)
        assert done.returncode == 2
        assert reason in done.stderr
