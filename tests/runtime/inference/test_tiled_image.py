"""Images cleaned in tiles by several threads equal a plain reference, however the work is divided."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.reference import restore

from cae_runtime import Encoder, Generator, ModelError, Restorer, Session
from cae_runtime.inference.cpu_limits import one_cpu_each, usable_cpus
from cae_runtime.inference.model_files import packaged_models
from cae_runtime.inference.worker_threads import WorkerThreads

FIXTURES = Path(__file__).parents[1] / "fixtures"
SAMPLES = Path(__file__).parents[3] / "assets" / "samples"
Model = Callable[[str], Path]
Noise = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    image = cv2.imread(str(SAMPLES / "rocket-sigma50.png"))
    assert image is not None
    return image[100:196, 120:261]  # four rows of patches and more


@pytest.mark.parametrize("overlap", [0, 5, 8, 16, 21])
@pytest.mark.parametrize("model", ["denoise", "denoise-int8", "denoise-fast-int8"])
def test_the_tiled_path_equals_the_reference(photograph: np.ndarray, model: str, overlap: int) -> None:
    wanted = restore(packaged_models()[model], photograph, overlap)
    fast = Restorer(model, provider="cpu", overlap=overlap)(photograph)
    assert np.abs(fast - wanted).max() < 0.501, "the same but for rounding to 8 bits"


@pytest.mark.parametrize("size", [(32, 32), (32, 300), (300, 32), (33, 65), (64, 64), (150, 221)])
def test_threads_and_batch_size_change_no_bit(fixture_model: Model, noise: Noise, size: tuple[int, int]) -> None:
    image = noise((*size, 3), np.uint16)
    for overlap, model in ((0, "blur"), (8, "blur"), (24, "blur"), (8, "blur_gray")):
        results = [
            Restorer(fixture_model(model), provider="cpu", overlap=overlap, threads=threads, batch=batch)(image)
            for threads, batch in ((1, 1), (1, 64), (2, 7), (3, 32), (5, 500))
        ]
        assert all(np.array_equal(result, results[0]) for result in results)
        assert (results[0] != image).any()


def test_a_restorer_may_be_called_from_several_threads(fixture_model: Model, noise: Noise) -> None:
    restorer = Restorer(fixture_model("blur"), provider="cpu", threads=2)
    images = [noise((70 + 9 * i, 90, 3)) for i in range(6)]
    wanted = [restorer(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(a, b) for a, b in zip(pool.map(restorer, images * 3), wanted * 3, strict=True))


def test_batches_have_one_size_where_the_provider_prefers_that(
    fixture_model: Model, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(fixture_model("blur"), provider="cpu", batch=10)
    image, gray = noise((100, 130, 3)), noise((100, 130))
    wanted, wanted_gray = restorer(image), restorer(gray)
    sizes = []
    run = restorer._session.run
    monkeypatch.setattr(restorer._session, "steady_batch", True)
    monkeypatch.setattr(restorer._session, "run", lambda patches: (sizes.append(len(patches)), run(patches))[1])
    assert np.array_equal(restorer(image), wanted)
    assert np.array_equal(restorer(gray), wanted_gray)
    assert set(sizes) == {10}


@pytest.mark.parametrize(("fixed", "most"), [(4, 25), (64, 2), (48, 3), (256, 1)])
def test_only_the_last_batch_of_a_fixed_batch_model_is_padded(
    fixture_model: Model, noise: Noise, monkeypatch: pytest.MonkeyPatch, fixed: int, most: int
) -> None:
    session = Session(fixture_model("identity"), provider="cpu", threads=2)
    image, calls, run = noise((256, 256, 3)), [], session._run
    monkeypatch.setattr(session, "batch", fixed)
    monkeypatch.setattr(session, "_run", lambda opened, batch: (calls.append(len(batch)), run(opened, batch))[1])
    assert Restorer(session, batch=fixed + 1).batch == 2 * fixed
    restore = Restorer(session, overlap=7)
    assert restore.batch % fixed == 0
    np.testing.assert_array_equal(restore(image), image)
    assert set(calls) == {fixed}
    assert len(calls) <= most, "of 100 patches"


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("encode", lambda session: Encoder(session, overlap=7)(np.ones((256, 256, 3), np.uint8))),
        ("generate", lambda session: list(Generator(session)(np.ones((100, *session.code_shape))))),
    ],
)
def test_codes_fill_batches_of_a_fixed_size(
    fixture_model: Model, monkeypatch: pytest.MonkeyPatch, name: str, use: Callable[[Session], Any]
) -> None:
    session, calls = Session(fixture_model(name), provider="cpu", threads=2), list[int]()
    wanted, run = use(session), session._run
    monkeypatch.setattr(session, "batch", 64)
    monkeypatch.setattr(session, "_run", lambda opened, batch: (calls.append(len(batch)), run(opened, batch))[1])
    np.testing.assert_allclose(use(session), wanted, rtol=1e-5)
    assert calls == [64, 64]


def test_a_failure_in_a_worker_is_raised_and_the_next_image_works(
    fixture_model: Model, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(fixture_model("identity"), provider="cpu", threads=3)
    image = noise((400, 300, 3))
    with monkeypatch.context() as patched:
        patched.setattr(restorer._session, "run", lambda patches: np.full_like(patches, np.nan))
        with pytest.raises(ModelError, match="not finite"):
            restorer(image)
    np.testing.assert_array_equal(restorer(image), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "shape", [(90, 131, 3), (90, 131), (90, 131, 1), (90, 131, 2), (90, 131, 4), (20, 131, 3), (3, 2, 3)]
)
def test_channels_last_models_give_the_same_pictures(
    fixture_model: Model, noise: Noise, shape: tuple[int, ...], dtype: type
) -> None:
    image = noise(shape, dtype)
    for settings_ in ({}, {"overlap": 0, "batch": 3}, {"overlap": 20, "threads": 3}):
        first, last = (Restorer(fixture_model(name), provider="cpu", **settings_) for name in ("blur", "blur_nhwc"))
        for strength in (1.0, 0.4):
            np.testing.assert_array_equal(last(image, strength=strength), first(image, strength=strength))


@pytest.mark.parametrize("model", ["half_red", "half_red_nhwc"])
@pytest.mark.parametrize(("color", "red"), [("bgr", 2), ("rgb", 0)])
def test_color_channels_keep_their_order(fixture_model: Model, noise: Noise, model: str, color: str, red: int) -> None:
    image = noise((40, 50, 4)) & 0xFE  # even: halves are whole
    image[..., 3] |= 2  # nothing is hidden
    wanted = image.copy()
    wanted[..., red] //= 2
    for array, expected in ((image, wanted), (np.ascontiguousarray(image[..., :3]), wanted[..., :3])):
        cleaned = Restorer(fixture_model(model), provider="cpu", color=color)(array)  # type: ignore[arg-type]
        np.testing.assert_array_equal(cleaned, expected)
    turned = image[::-1, ::-1, :3].transpose(1, 0, 2)  # no array of its own
    cleaned = Restorer(fixture_model(model), provider="cpu", color=color)(turned)  # type: ignore[arg-type]
    np.testing.assert_array_equal(cleaned, wanted[::-1, ::-1, :3].transpose(1, 0, 2))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of threads")
def test_each_thread_is_pinned_to_its_own_cpu() -> None:
    allowed = os.sched_getaffinity(0)
    found: list[set[int]] = []
    together = threading.Barrier(len(allowed))

    def look() -> None:
        together.wait(10)
        found.append(os.sched_getaffinity(0))

    WorkerThreads(len(allowed), sorted(allowed)).run(look, len(allowed), lambda: None)
    assert sorted(map(sorted, found)) == [[cpu] for cpu in sorted(allowed)]
    found.clear()
    WorkerThreads(len(allowed)).run(look, len(allowed), lambda: None)
    assert found == [allowed] * len(allowed)
    assert os.sched_getaffinity(0) == allowed, "the caller's own thread is left alone"
    if usable_cpus() == len(allowed):
        assert one_cpu_each(len(allowed)) == sorted(allowed)
    assert one_cpu_each(len(allowed) + 1) == []


@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("gray", [False, True])
def test_the_tiled_path_equals_the_reference_for_gray_16_bits_and_partial_strength(
    photograph: np.ndarray, gray: bool, dtype: type, strength: float
) -> None:
    image: np.ndarray = photograph.astype(dtype) * (257 if dtype == np.uint16 else 1)
    if gray:
        image = image[..., 1]
    planes = image[..., None].repeat(3, axis=2) if gray else image
    wanted = restore(packaged_models()["denoise"], planes, 8)
    wanted = wanted.mean(axis=2) if gray else wanted
    wanted = image + strength * (wanted - image)
    fast = Restorer("denoise", provider="cpu", overlap=8)(image, strength=strength)
    assert fast.dtype == dtype
    assert np.abs(fast - wanted).max() < (0.501 if dtype == np.uint8 else 0.6)


@settings(max_examples=40)
@given(
    st.integers(1, 120), st.integers(1, 120), st.integers(0, 31), st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([1.0, 0.3]), st.sampled_from(["bgr", "rgb"]), st.integers(3, 4),
)  # fmt: skip
def test_a_gray_model_changes_only_the_luminance_of_colors(
    height: int, width: int, overlap: int, dtype: type, strength: float, color: Literal["bgr", "rgb"], planes: int
) -> None:
    white = np.iinfo(dtype).max
    image = np.random.default_rng(height).integers(0, white, (height, width, planes), dtype=dtype, endpoint=True)
    image[..., 3:] |= 1  # nothing is hidden
    gray = cv2.cvtColor(image[..., :3].copy(), cv2.COLOR_BGR2GRAY if color == "bgr" else cv2.COLOR_RGB2GRAY)
    restorer = Restorer(FIXTURES / "blur_gray.onnx", provider="cpu", overlap=overlap, color=color, threads=1)
    cleaned = restorer(image, strength=strength)
    change = restorer(gray, strength=strength).astype(int) - gray
    wanted = (image[..., :3] + change[..., None]).clip(0, white)
    np.testing.assert_allclose(cleaned[..., :3], wanted, atol=1)  # halves may be rounded either way
    spread = cleaned[..., :3].max(2) - cleaned[..., :3].min(2)
    inside = (cleaned[..., :3] > 0).all(2) & (cleaned[..., :3] < white).all(2)
    np.testing.assert_array_equal(spread[inside], np.ptp(image[..., :3], axis=2)[inside])
    np.testing.assert_array_equal(cleaned[..., 3:], image[..., 3:])
    neutral = np.repeat(gray[..., None], 3, axis=2)
    np.testing.assert_allclose(restorer(neutral)[..., 0], restorer(gray), atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_tiled_path_of_a_gray_model_equals_the_reference(photograph: np.ndarray, dtype: type) -> None:
    image: np.ndarray = photograph.astype(dtype) * (257 if dtype == np.uint16 else 1)
    for overlap in (0, 8, 21):
        wanted = restore(FIXTURES / "blur_gray.onnx", image, overlap)
        fast = Restorer(FIXTURES / "blur_gray.onnx", provider="cpu", overlap=overlap)(image)
        assert np.abs(fast - wanted).max() < (0.501 if dtype == np.uint8 else 0.6)
        assert (fast != image).any()


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(32, 150), st.integers(32, 150), st.integers(0, 31), st.integers(1, 5), st.integers(1, 40))
def test_results_do_not_depend_on_how_work_is_divided_among_threads(
    height: int, width: int, overlap: int, threads: int, batch: int
) -> None:
    image = np.random.default_rng(height).integers(0, 65535, (height, width, 3), dtype=np.uint16)
    model = Path(__file__).parents[1] / "fixtures" / "blur.onnx"
    one = Restorer(model, provider="cpu", overlap=overlap, threads=1, batch=16)(image)
    many = Restorer(model, provider="cpu", overlap=overlap, threads=threads, batch=batch)(image)
    np.testing.assert_array_equal(many, one)
    np.testing.assert_allclose(many, restore(model, image, overlap), atol=0.6)
