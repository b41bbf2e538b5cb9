"""Strengths of brightness and color, in pictures, videos and animations, by the command and from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import Restorer, UsageError, clean_image

WEIGHTS = np.array([0.114, 0.587, 0.299])  # of blue, green, red


def parts(change: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the changes of brightness and of color."""
    brightness = (change @ WEIGHTS)[..., None]
    return brightness, change - brightness


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(("brightness", "color"), [(0.5, 1.0), (1.0, 0.25), (0.0, 1.0), (1.0, 0.0), (0.3, 0.3)])
def test_brightness_and_color_have_separate_strengths(noise: Any, dtype: type, brightness: float, color: float) -> None:
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    image = (0.3 * top + noise((70, 90, 3)) * (0.4 * top / 255)).astype(dtype)
    with Restorer(FIXTURES / "blur.onnx", stretch=False) as restorer:
        full = restorer(image).astype(float) - image
        made = restorer(image, strength=(brightness, color)).astype(float) - image
        rgb = restorer.for_color("rgb")(image[..., ::-1].copy(), strength=(brightness, color))[..., ::-1]
    for got, wanted, share in zip(parts(made), parts(full), (brightness, color), strict=True):
        assert np.abs(got - share * wanted).max() <= (1e-5 if dtype == np.float32 else 1.01)
    assert np.abs(rgb.astype(float) - image - made).max() <= (1e-5 if dtype == np.float32 else 1)
    assert np.array_equal(Restorer(FIXTURES / "blur.onnx")(image, strength=(0.0, 0.0)), image)


def test_gray_has_brightness_only_and_alpha_is_kept(noise: Any) -> None:
    with Restorer(FIXTURES / "blur.onnx") as restorer:
        gray = noise((40, 50))
        assert np.array_equal(restorer(gray, strength=(0.5, 1.0)), restorer(gray, strength=0.5))
        seen = noise((40, 50, 4))
        made = restorer(seen, strength=(0.5, 1.0))
        assert np.array_equal(made[..., 3], seen[..., 3])
        for wrong in ((0.5,), (0.5, 2.0), (-1, 1), 1.5, "1"):
            with pytest.raises(UsageError, match="strength"):
                restorer(gray, strength=wrong)  # type: ignore[arg-type]


def test_the_command_has_both_strengths(cae_run: Command, tmp_path: Path, noise: Any) -> None:
    image = noise((50, 60, 3))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    for number, words in enumerate((["--color-strength", "0.2"], ["--strength", "0.4", "--color-strength", "1"])):
        output = tmp_path / f"{number}.png"
        done = cae_run(tmp_path / "a.png", "-o", output, "--json", *words, model="blur")
        assert done.returncode == 0
        report = json.loads(done.stdout)
        strength = (report["strength"], report["color_strength"])
        assert strength == [(1, 0.2), (0.4, 1)][number]
        with Restorer(FIXTURES / "blur.onnx") as restorer:
            clean_image(tmp_path / "a.png", tmp_path / "b.png", restorer, strength=strength)
        assert output.read_bytes() == (tmp_path / "b.png").read_bytes()
    done = cae_run(tmp_path / "a.png", "-o", tmp_path / "c.png", "--color-strength", "1.5")
    assert done.returncode == 2
    assert b"--color-strength is 1.5: it must be 0..1" in done.stderr
    assert cae_run("--webcam", "--color-strength", "0.5", model=None).returncode == 2
