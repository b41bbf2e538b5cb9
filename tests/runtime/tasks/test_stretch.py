"""16-bit pictures whose noise is fainter than a model was trained for are cleaned too."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.faint import SCENES, light, made, rms

from cae_runtime import ModelSpec, Restorer
from cae_runtime.tasks.faint.noise_model import NoiseModel, measured_noise
from cae_runtime.tasks.faint.put_back import PutBack
from cae_runtime.tasks.faint.stretch import Stretch, faintest
from cae_runtime.tasks.notes import Note

Model = Callable[[str], Path]


@pytest.fixture(scope="module")
def denoise() -> Restorer:
    return Restorer("denoise", provider="cpu")


@pytest.mark.parametrize("name", SCENES)
def test_faint_noise_is_halved_and_the_mean_is_kept(denoise: Restorer, name: str) -> None:
    scene = made(name, 256)
    notes: list[Note] = []
    cleaned = denoise(scene.noisy, tell=notes.append)
    assert [note.kind for note in notes] == ["stretched"]
    assert "of 65535" in notes[0].text
    assert rms(cleaned, scene.truth) <= 0.5 * rms(scene.noisy, scene.truth)
    assert abs(cleaned.mean() - scene.noisy.mean()) <= 0.1 * scene.sigma
    assert cleaned.dtype == np.uint16
    assert cleaned.shape == scene.noisy.shape


def test_stars_keep_their_light(denoise: Restorer) -> None:
    scene = made("sky", 256)
    before, after, true = (light(picture, scene) for picture in (scene.noisy, denoise(scene.noisy), scene.truth))
    assert len(true) > 20
    assert np.abs((after - before) / true).max() < 0.1
    assert abs(np.median(after / true) - 1) < 0.02


def test_hot_pixels_bright_objects_and_vignettes_do_not_disturb_stretching(denoise: Restorer) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:200, :200] / 200 - 0.5
    truth = 900 - 500 * (x**2 + y**2)
    truth[60:90, 60:90] = 65535
    noisy = np.clip(np.rint(truth + rng.normal(0, 14, truth.shape)), 0, 65535).astype(np.uint16)
    hot = rng.integers(100, 200, (2, 40))
    noisy[hot[0], hot[1]] = 20000
    cleaned = denoise(noisy)
    assert np.abs(cleaned[hot[0], hot[1]].astype(int) - 20000).max() < 2 * 14, "no noise explains them: they stay"
    plain = np.hypot(y - (75 / 200 - 0.5), x - (75 / 200 - 0.5)) > 40 / 200
    plain[hot[0], hot[1]] = False
    assert rms(cleaned[plain], truth[plain]) < 0.45 * 14


def test_stretching_is_optional_and_only_for_faint_16_bit_pictures(fixture_model: Model, denoise: Restorer) -> None:
    scene = made("sky", 128)
    plain, notes = Restorer(denoise.session, stretch=False), list[Note]()
    assert rms(plain(scene.noisy, tell=notes.append), scene.truth) > 2 * scene.sigma, "why pictures are stretched"
    rng = np.random.default_rng(5)
    strong = np.clip(rng.normal(30000, 900, (120, 130, 3)), 0, 65535).astype(np.uint16)
    faint_in_8_bits = np.clip(rng.normal(100, 0.6, (120, 130, 3)).round(), 0, 255).astype(np.uint8)
    for image in (strong, faint_in_8_bits, strong[:30, :30]):
        notes.clear()
        np.testing.assert_array_equal(denoise(image, tell=notes.append), plain(image))
        assert not [note for note in notes if note.kind != "two values"]
    np.testing.assert_array_equal(
        Restorer(fixture_model("fill"))(scene.noisy), Restorer(fixture_model("fill"), stretch=False)(scene.noisy)
    )


@pytest.mark.parametrize(
    ("degradation", "level"),
    [("gaussian:0-55,camera", 2.0), ("gaussian:25", 25.0), ("gaussian:5-9,grain+jpeg:70-99", 5.0), ("camera", None),
     ("mask:0.2", None), ("gaussian:5,blur:1+gaussian:5", None),
     ("gaussian:10-20 blur:1", None), ("none", None), ("", None), ("gaussian:?", None)],
)  # fmt: skip
def test_the_faintest_trained_noise_is_read_from_old_metadata(
    denoise: Restorer, degradation: str, level: float | None
) -> None:
    """Files of schema 1 say it in words."""
    metadata = denoise.spec.to_metadata() | {"schema": "1", "degradation": degradation}
    metadata.pop("sigma_min")
    assert faintest(ModelSpec.from_metadata(metadata)) == level


def test_strength_applies_to_stretched_pictures(denoise: Restorer) -> None:
    noisy = made("thermal", 96).noisy
    full, half = denoise(noisy).astype(float), denoise(noisy, strength=0.5).astype(float)
    np.testing.assert_allclose(half, (noisy + full) / 2, atol=1)


def test_threads_and_blocks_change_at_most_a_rounding(monkeypatch: pytest.MonkeyPatch, fixture_model: Model) -> None:
    noisy = made("underexposed", 256).noisy[:, :70]
    results = []
    for threads, part, pixels, kept in ((1, 2, 70 * 8, 8), (3, 3, 70 * 16, 24), (2, 8, 2**17, 64)):
        monkeypatch.setattr("cae_runtime.tasks.faint.put_back._ROWS", 24 * part)
        monkeypatch.setattr("cae_runtime.tasks.faint.put_back._FEWEST_ROWS", 48)
        monkeypatch.setattr("cae_runtime.tasks.faint.stretch._PIXELS", pixels)
        monkeypatch.setattr("cae_runtime.tasks.faint.stretch._KEPT_ROWS", kept)
        results.append(Restorer(fixture_model("blur"), provider="cpu", threads=threads)(noisy))
    assert all(np.abs(result.astype(int) - results[0]).max() <= 1 for result in results), "sums of floats may differ"
    assert (results[0] != noisy).any()


def test_every_layout_and_channel_order_can_be_stretched(fixture_model: Model) -> None:
    scene = made("underexposed", 128)
    red_first = np.ascontiguousarray(scene.noisy[..., ::-1])
    plain = Restorer(fixture_model("blur"))(scene.noisy)
    np.testing.assert_array_equal(Restorer(fixture_model("blur"), color="rgb")(red_first), plain[..., ::-1])
    np.testing.assert_array_equal(Restorer(fixture_model("blur_nhwc"), color="bgr")(scene.noisy), plain)
    by_luminance = Restorer(fixture_model("blur_gray"))(scene.noisy)
    assert rms(by_luminance.mean(2), scene.truth.mean(2)) < 0.85 * rms(scene.noisy.mean(2), scene.truth.mean(2))
    assert abs(by_luminance.mean() - scene.noisy.mean()) < 0.1 * scene.sigma


def test_a_picture_that_stretching_does_not_help_is_unchanged(denoise: Restorer) -> None:
    rng = np.random.default_rng(4)
    rounded = np.rint(rng.normal(3000, 0.3, (100, 100))).astype(np.uint16)  # less than a step: nothing to gain
    notes: list[Note] = []
    np.testing.assert_array_equal(denoise(rounded, tell=notes.append), rounded)
    assert [note.kind for note in notes] == ["left"]

    noisy = made("sky", 128).noisy[..., None]
    stretch = Stretch([NoiseModel(310, 21.3**2, 0)], lambda first, end: noisy[first:end], noisy.shape, 10)
    for result, helped in ((rng.integers(0, 65535, noisy.shape).astype(np.uint16), False),
                           (np.full_like(noisy, 32768), True)):  # fmt: skip
        back = PutBack(stretch, result, 1.0)
        back.work()
        assert back.helped is helped


@pytest.mark.parametrize("shape", [(24, 24), (24, 24, 3), (1, 90), (1, 1), (30, 30, 2)])
def test_faint_noise_that_cannot_be_measured_is_left(denoise: Restorer, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(6).normal(300, 20, shape).round().astype(np.uint16)
    flat = np.full((70, 70), 300, np.uint16)
    flat[20:30, 20:30] += 7
    for picture in (image, flat, np.full_like(image, 300)):
        notes: list[Note] = []
        np.testing.assert_array_equal(denoise(picture, tell=notes.append), picture)
        assert [note.kind for note in notes] == ["left"]
        assert "cannot be measured" in notes[-1].text


@pytest.mark.parametrize("gain", [0.0, 0.4, 3.0])
def test_measured_noise_and_its_curve_are_undone(gain: float) -> None:
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:700, :700]  # so large that tiles stand for it
    truth = 800 + 2.0 * x + 300 * (np.hypot(y - 300, x - 300) < 120)
    noisy = np.rint(truth + rng.normal(0, 1, truth.shape) * np.sqrt(400 + gain * (truth - 500)))
    found = measured_noise(noisy.shape, lambda rows, columns: noisy[rows, columns], 65535)
    assert found is not None
    for value in (900, 1500, 2100):
        assert found[0].deviation(value) == pytest.approx(np.sqrt(400 + gain * (value - 500)), rel=0.1)
    values = np.arange(0, 65536, 17)
    stable = found[0].stabilized(values)
    rate = np.array([1 / found[0].deviation(value) for value in values.tolist()])
    np.testing.assert_allclose(np.gradient(stable.astype(float), values)[1:-1], rate[1:-1], rtol=0.02)
    answer = np.clip(np.rint(32768 + rng.normal(0, 4096, values.shape)), 0, 65535).astype(np.uint16)
    after = np.interp(stable + 16 * (answer / 65535 - 0.5), stable, values)
    difference, deviation = np.empty((2, 1, *values.shape), np.float32)
    found[0].undone(values.astype(np.uint16)[None], stable[None].copy(), answer[None], 16, difference, deviation)
    if not found[0].gain:
        deviation[:] = found[0].deviation(900)
    inside = slice(100, -100)
    np.testing.assert_allclose((difference * deviation)[0][inside], (values - after)[inside], atol=0.5)
    np.testing.assert_allclose(deviation[0][inside], [found[0].deviation(value) for value in after[inside]], rtol=1e-3)


def test_transparent_and_clipped_pixels_do_not_count_for_the_noise() -> None:
    rng = np.random.default_rng(8)
    noisy = rng.normal(1000, 20, (120, 240))
    noisy[:, :80] = rng.normal(1000, 900, (120, 80))
    noisy[:, 80:160] = np.maximum(rng.normal(-20, 20, (120, 80)), 0)
    hidden = np.zeros(noisy.shape, np.bool_)
    hidden[:, :80] = True
    found = measured_noise(noisy.shape, lambda rows, columns: noisy[rows, columns], 65535, hidden)
    assert found is not None
    assert found[0].deviation(1000) == pytest.approx(20, rel=0.1)


def test_memory_stays_far_below_a_float_copy(fixture_model: Model) -> None:
    restorer = Restorer(fixture_model("identity"), provider="cpu", threads=1)
    peaks = []
    for height in (1500, 4500):
        image = np.rint(np.random.default_rng(9).normal(5000, 20, (height, 200, 3))).astype(np.uint16)
        notes: list[Note] = []
        tracemalloc.start()
        restorer(image, tell=notes.append)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert [note.kind for note in notes] == ["left"], "this model removes nothing"
    assert peaks[1] - peaks[0] < 1.6 * 3000 * 200 * 3 * 2  # a copy in floats alone would be twice the image
