from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cae_runtime import ImageError, ModelError, Restorer, UsageError
from cae_runtime.tasks.notes import Note
from cae_runtime.tasks.transparent_pixels import filled

Model = Callable[[str], Path]
Noise = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def identity(fixture_model: Model) -> Restorer:
    return Restorer(fixture_model("identity"), provider="cpu")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("model", ["identity", "identity_gray"])
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 1, 3), (5, 70, 3), (31, 31), (32, 32, 1), (33, 64, 4), (100, 3, 2), (64, 65, 3), (200, 90, 4)],
)
def test_the_identity_model_changes_nothing(
    fixture_model: Model, noise: Noise, model: str, shape: tuple[int, ...], dtype: type
) -> None:
    image = noise(shape, dtype)
    result = Restorer(fixture_model(model), provider="cpu")(image)
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("model", ["blur", "blur_gray", "blur_nhwc"])
@pytest.mark.parametrize("shape", [(40, 70), (70, 40, 3), (50, 60, 4)])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_floats_are_cleaned_like_integers_but_not_rounded(
    fixture_model: Model, noise: Noise, model: str, shape: tuple[int, ...], strength: float
) -> None:
    image = noise(shape, np.uint16)
    restorer = Restorer(fixture_model(model), provider="cpu", stretch=False)
    result = restorer(np.divide(image, 65535, dtype=np.float32), strength=strength)
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 1
    rounded = restorer(image, strength=strength)  # with a model of one channel, the luminance too
    np.testing.assert_allclose(result * 65535, rounded, atol=2)


@settings(max_examples=40)
@given(st.integers(1, 130), st.integers(1, 130), st.integers(0, 31), st.integers(1, 40))
def test_any_size_overlap_and_batch_works(height: int, width: int, overlap: int, batch: int) -> None:
    model = Path(__file__).parents[1] / "fixtures" / "identity.onnx"
    image = np.random.default_rng(height).integers(0, 65535, (height, width, 3), dtype=np.uint16)
    restorer = Restorer(model, provider="cpu", overlap=overlap, batch=batch, threads=1)
    np.testing.assert_array_equal(restorer(image), image)


def test_arrays_are_bgr_and_the_model_gets_rgb(fixture_model: Model, noise: Noise) -> None:
    image = noise((50, 40, 4))
    image[..., 3] |= 1  # nothing is hidden
    halved = np.rint(image / 2)
    bgr = Restorer(fixture_model("half_red"), provider="cpu")(image)
    np.testing.assert_array_equal(bgr[..., [0, 1, 3]], image[..., [0, 1, 3]])
    np.testing.assert_allclose(bgr[..., 2], halved[..., 2], atol=1)
    rgb = Restorer(fixture_model("half_red"), provider="cpu", color="rgb")(image)
    np.testing.assert_array_equal(rgb[..., 1:], image[..., 1:])
    np.testing.assert_allclose(rgb[..., 0], halved[..., 0], atol=1)


def test_a_color_model_cleans_gray_as_three_equal_channels(fixture_model: Model) -> None:
    image = np.full((40, 40), 120, np.uint8)
    assert (Restorer(fixture_model("half_red"), provider="cpu")(image) == 100).all()  # (60 + 120 + 120) / 3


def test_16_bits_are_not_reduced_to_8(fixture_model: Model) -> None:
    image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64, 1).repeat(3, axis=2)
    red = Restorer(fixture_model("half_red"), provider="cpu", stretch=False)(image)[..., 2]
    np.testing.assert_allclose(red, image[..., 2] / 2, atol=0.51)
    assert len(np.unique(red)) > 2000


def test_values_are_rounded_not_truncated(fixture_model: Model) -> None:
    image = np.full((32, 32, 3), 201, np.uint8)
    half = Restorer(fixture_model("half_red"), provider="cpu")(image, strength=0.5)
    assert (half[..., 2] == 151).all()  # 201 - 0.5 * 100.5 = 150.75


@pytest.mark.parametrize("overlap", [0, 4, 8, 20, 31])
def test_the_result_does_not_depend_on_the_batch(fixture_model: Model, noise: Noise, overlap: int) -> None:
    image = noise((64, 56, 3), np.uint16)
    results = [
        Restorer(fixture_model("blur"), provider="cpu", overlap=overlap, batch=batch)(image)
        for batch in (1, 3, 16, 500)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert (results[0] != image).any()


def test_strength_blends_input_and_output(fixture_model: Model, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    restorer = Restorer(fixture_model("blur"), provider="cpu")
    image = noise((70, 60, 3))
    full, half = restorer(image).astype(float), restorer(image, strength=0.5).astype(float)
    np.testing.assert_allclose(half, (image + full) / 2, atol=1)
    monkeypatch.setattr(restorer._session, "run", None)  # the network is not even asked
    copy = restorer(image, strength=0)
    np.testing.assert_array_equal(copy, image)
    assert not np.shares_memory(copy, image)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_0_to_1_is_refused(identity: Restorer, noise: Noise, strength: float) -> None:
    with pytest.raises(UsageError, match="strength"):
        identity(noise((8, 8)), strength=strength)


def test_a_read_only_view_is_accepted_and_not_modified(fixture_model: Model, noise: Noise) -> None:
    whole = noise((120, 100, 4))
    view = whole[::-2, 5:70, :3].transpose(1, 0, 2)
    view.flags.writeable = False
    before = whole.copy()
    result = Restorer(fixture_model("blur"), provider="cpu")(view)
    np.testing.assert_array_equal(whole, before)
    np.testing.assert_array_equal(result, Restorer(fixture_model("blur"), provider="cpu")(view.copy()))
    assert result.flags.writeable


@pytest.mark.parametrize(
    "image",
    [
        np.full((8, 8, 3), 1.5, np.float32),
        np.full((8, 8, 3), np.nan, np.float32),
        np.zeros((8, 8, 3), bool),
        np.zeros((8, 8, 5), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros(8, np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        [[1, 2], [3, 4]],
    ],
)
def test_arrays_that_are_not_images_are_refused(identity: Restorer, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="must be"):
        identity(image)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_model_that_returns_nan_is_reported(
    identity: Restorer, noise: Noise, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity.session, "run", lambda patches: patches * np.float32("nan"))
    for shape in ((50, 50, 3), (50, 50), (5, 5, 4)):
        with pytest.raises(ModelError, match=r"model '.*identity\.onnx' returns values that are not finite"):
            identity(noise(shape), strength=strength)


def test_a_model_of_another_task_is_refused(fixture_model: Model) -> None:
    with pytest.raises(ModelError, match="task 'encode'"):
        Restorer(fixture_model("encode"))


def test_properties_describe_model_and_provider(identity: Restorer) -> None:
    assert identity.overlap == identity.spec.overlap == 8
    assert identity.provider == "CPUExecutionProvider"
    assert identity.provider in identity.provider_note


def test_memory_stays_bounded(identity: Restorer) -> None:
    image = np.zeros((4000, 800, 3), np.uint8)
    tracemalloc.start()
    identity(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * image.nbytes  # a float copy alone would be 4 times the image


@pytest.fixture(scope="module")
def denoise() -> Restorer:
    return Restorer("denoise", provider="cpu")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planes", [2, 4])
def test_transparent_pixels_are_kept_and_do_not_affect_visible_ones(
    denoise: Restorer, planes: int, dtype: type
) -> None:
    step = np.iinfo(dtype).max // 255
    y, x = np.mgrid[:100, :110]
    distance = np.hypot(y - 45, x - 50)
    image = np.clip(np.random.default_rng(1).normal(150, 25, (100, 110, planes)), 0, 255).astype(dtype) * dtype(step)
    hidden = distance >= 40
    image[hidden] = 0
    image[~hidden, -1] = 255 * step
    result = denoise(image)
    np.testing.assert_array_equal(result[hidden], image[hidden])
    np.testing.assert_array_equal(result[..., -1], image[..., -1])
    rim = result[~hidden & (distance > 34)][:, :-1] / step
    assert rim.std(axis=0).max() < 4, "noise of 25"
    assert rim.mean() == pytest.approx(150, abs=2)


def test_transparent_pixels_far_from_visible_ones_are_left_alone() -> None:
    image = np.random.default_rng(2).integers(0, 256, (3, 140_000, 4), np.uint8)
    image[..., 3] = 0
    image[:, 70_000, 3] = 255
    result = filled(image, image[..., 3] == 0, 0, 3, 32)
    np.testing.assert_array_equal(result[:, :4000], image[:, :4000])
    np.testing.assert_array_equal(result[:, -4000:], image[:, -4000:])
    assert (result[:, 69_990] != image[:, 69_990]).any()


def test_fully_transparent_patches_are_not_run(
    fixture_model: Model, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(fixture_model("blur"), provider="cpu", overlap=8)
    image, ran = noise((320, 320, 4)), []
    image[..., 3] = 0
    image[100:120, 60:90, 3] = 1
    run = restorer._session.run
    monkeypatch.setattr(restorer._session, "run", lambda patches: (ran.append(len(patches)), run(patches))[1])
    result = restorer(image)
    assert 1 <= sum(ran) <= 6, "of 169"
    hidden = image[..., 3] == 0
    np.testing.assert_array_equal(result[hidden], image[hidden])
    assert (result[~hidden] != image[~hidden]).any()
    ran.clear()
    image[..., 3] = 0
    np.testing.assert_array_equal(restorer(image), image)
    assert not ran


@pytest.mark.parametrize(
    ("pixels", "count"),
    [(np.zeros((9, 9), np.uint8), "one value"), (np.eye(40, dtype=np.uint8) * 255, "two values"),
     (np.dstack([np.eye(300, dtype=np.uint16) * 9] * 3), "two values"),
     (np.arange(3, dtype=np.uint8)[:, None], None), (np.zeros((2, 2, 4), np.uint8), "one value")],
)  # fmt: skip
def test_pictures_of_two_values_give_a_note(identity: Restorer, pixels: np.ndarray, count: str | None) -> None:
    notes: list[Note] = []
    Restorer(identity.session, stretch=False)(pixels, tell=notes.append)
    texts = [note.text for note in notes if note.kind == "two values"]
    assert len(texts) == (count is not None)
    assert all(f"has only {count}" in text for text in texts)
