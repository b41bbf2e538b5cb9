"""The packaged models: their metadata, and their results on real photographs."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data
from tests.benchmarks.denoising.patterns import kept
from tests.benchmarks.denoising.seams import seam_figure
from tests.benchmarks.other_tasks.inpainting import blocks, psnr_inside, strokes, text
from tests.runtime.conftest import Command

from cae_runtime import Inpainter, Restorer, Session, packaged_models

SAMPLES = Path(__file__).parents[3] / "assets" / "samples"
MODELS = ("denoise", "denoise-int8", "denoise-fast", "denoise-fast-int8", "denoise-best", "denoise-best-int8")


def clean_of(sample: Path) -> np.ndarray:
    """The photograph that a sample was made of, as OpenCV reads it."""
    image: np.ndarray = getattr(data, sample.name.partition("-")[0])()
    return image[..., ::-1] if image.ndim == 3 else image


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.slow if "best" in name else ()) for name in MODELS]
)
def restorer(request: pytest.FixtureRequest) -> Restorer:
    return Restorer(request.param, provider="cpu")


def test_all_packaged_models_exist_and_describe_themselves() -> None:
    assert set(packaged_models()) == {*MODELS, "fill", "cae"}
    assert list(packaged_models())[-2:] == ["fill", "cae"]
    for name, path in packaged_models().items():
        spec = Session(name, provider="cpu").spec
        task = "inpaint" if name == "fill" else "restore"
        assert (spec.task, spec.patch, spec.channels, spec.license) == (task, 32, 3, "MIT")
        assert spec.precision == ("int8" if name.endswith("-int8") else "fp32")
        assert spec.psnr_in is not None
        assert spec.psnr_out is not None
        assert spec.psnr_out > spec.psnr_in + (3 if name == "cae" else 4)
        assert spec.degradation
        content = path.read_bytes()
        assert not re.search(rb"\.py\b|site-packages|/home/|/root/|/work/|\.\./\w", content), (
            "weights may hold dots and slashes by chance"
        )
        assert len(content) < 3_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["denoise", "denoise-fast", "denoise-best"])
def test_int8_loses_little_on_the_samples(name: str) -> None:
    losses = []
    for sample in sorted(SAMPLES.glob("*.png")):
        noisy = cv2.imread(str(sample), cv2.IMREAD_UNCHANGED)
        assert noisy is not None
        fp32, int8 = (psnr(Restorer(file, provider="cpu")(noisy), clean_of(sample)) for file in (name, f"{name}-int8"))
        losses.append(fp32 - int8)
    assert np.mean(losses) <= 0.2, losses


# What each noise level must gain at least; measured gains are 0.8 dB and more above.
@pytest.mark.parametrize(
    ("name", "gain"),
    [("astronaut-sigma25", 9.5), ("camera-sigma25", 7.5), ("chelsea-sigma15", 8.5), ("coffee-sigma35", 9.7),
     ("rocket-sigma50", 12.0)],
)  # fmt: skip
def test_the_samples_are_cleaned(restorer: Restorer, name: str, gain: float) -> None:
    sample = SAMPLES / f"{name}.png"
    noisy = cv2.imread(str(sample), cv2.IMREAD_UNCHANGED)
    assert noisy is not None
    clean = clean_of(sample)
    cleaned = restorer(noisy)
    assert psnr(cleaned, clean) > psnr(noisy, clean) + gain
    drift = np.abs(cleaned.astype(float).mean(axis=(0, 1)) - clean.astype(float).mean(axis=(0, 1)))
    assert drift.max() < 3, "no channel becomes darker or brighter"


def test_a_clean_photograph_hardly_changes(restorer: Restorer) -> None:
    photograph = data.astronaut()[..., ::-1]
    assert psnr(restorer(photograph), photograph) > 42


def test_flat_areas_stay_flat(restorer: Restorer) -> None:
    for color in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (40, 90, 200)):
        flat = np.full((96, 96, 3), color, np.uint8)
        assert np.abs(restorer(flat).astype(int) - flat).max() <= 8, color


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), list(zip(MODELS, (1.06, 1.05, 1.13, 1.13, 1.05, 1.05), strict=True)))
def test_there_is_no_seam_at_patch_borders(name: str, limit: float) -> None:
    """Steps across patch borders against steps elsewhere, beside those of the clean photographs."""
    restorer = Restorer(name, provider="cpu")
    pictures = []
    for photograph in ("astronaut-sigma25", "coffee-sigma35"):
        sample = SAMPLES / f"{photograph}.png"
        noisy = cv2.imread(str(sample), cv2.IMREAD_COLOR)
        assert noisy is not None
        pictures.append((clean_of(sample), restorer(noisy).astype(np.uint8)))
    assert seam_figure(pictures, restorer.spec.patch, restorer.overlap) < limit


def test_the_seam_test_finds_seams() -> None:
    """The measure itself: patches that do not overlap and differ in brightness show."""
    photograph = data.coffee()[..., ::-1]
    checker = (np.add.outer(np.arange(400) // 32, np.arange(600) // 32) % 2 * 12)[..., None]
    seamed = np.clip(photograph.astype(int) + checker, 0, 255).astype(np.uint8)
    assert seam_figure([(photograph, seamed)], 32, 0) > 1.2


@pytest.mark.parametrize("period", [5, 7])
@pytest.mark.parametrize("kind", ["grating", "mesh", "weave"])
def test_fine_patterns_are_kept(restorer: Restorer, kind: str, period: float) -> None:
    """The mesh of a chair was taken for noise and became a gray plane."""
    assert kept(restorer, kind, period, 3) > 0.8


def test_fill_is_better_than_opencv_inpainting() -> None:
    """Mean over crops of three photographs; `tests.benchmarks.other_tasks.inpainting` measures on whole ones."""
    gains: dict[str, list[float]] = {"text": [], "strokes": [], "blocks": []}
    with Inpainter() as fill:
        for seed, photograph in enumerate((data.astronaut(), data.coffee(), data.chelsea())):
            clean = np.ascontiguousarray(photograph[80:240, 100:260, ::-1])
            masks = {
                "text": text(160, 160, seed),
                "strokes": strokes(160, 160, 5, seed),
                "blocks": blocks(160, 160, 8, seed),
            }
            for kind, mask in masks.items():
                holed = clean.copy()
                holed[mask > 0] = 0
                best = max(
                    psnr_inside(clean, cv2.inpaint(holed, mask, 3, method).astype(np.uint8), mask)
                    for method in (cv2.INPAINT_TELEA, cv2.INPAINT_NS)
                )
                gains[kind].append(psnr_inside(clean, fill(holed, mask), mask) - best)
    assert all(np.mean(each) > 0.5 for each in gains.values()), gains


def test_a_mask_without_a_model_uses_fill_and_says_so(cae_run: Command, tmp_path: Path) -> None:
    photograph = data.camera()[100:180, 200:280]
    mask = strokes(80, 80, 3, 1)
    cv2.imwrite(str(tmp_path / "photo.png"), photograph)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    done = cae_run("photo.png", "-o", "out.png", "--mask", "mask.png", model=None, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"model: fill, the packaged one that fills holes" in done.stderr
    result = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(result, Inpainter()(photograph, mask))
    assert result.shape == photograph.shape


@pytest.mark.parametrize("level", [30, 220])
def test_fill_keeps_marker_colors_out_of_large_holes(level: int) -> None:
    """As large as a patch, which from inside sees nothing but the magenta that marks holes."""
    flat = np.full((96, 96, 3), level, np.uint8)
    mask = np.zeros((96, 96), np.uint8)
    mask[30:62, 33:65] = 255
    off = np.abs(Inpainter()(flat, mask).astype(int) - level)
    assert off.max() <= 1


def test_fill_invents_no_colors() -> None:
    """Thick lettering at three times the size got pink and green stains."""
    y, x = np.mgrid[:120, :160].astype(np.float32)
    plane = 90 + 60 * np.sin(x / 9) + 40 * np.sin(y / 5)
    image = np.stack([plane * 0.9, plane, plane * 0.8 + 10], axis=2).clip(0, 255).astype(np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    cv2.putText(mask, "19", (15, 100), cv2.FONT_HERSHEY_DUPLEX, 3, 255, 22)
    with Inpainter() as fill:
        filled = fill(image, mask).astype(int)
    assert (mask > 0).mean() > 0.2
    for channel in (0, 2):
        usual, found = ((each[..., channel] - each[..., 1]) for each in (image.astype(int), filled))
        assert usual.min() - 1 <= found.min()
        assert found.max() <= usual.max() + 1
