"""The fast path gives what the plain one gives; how the work is shared out changes nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
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
from cae_runtime.inference.cpu_limits import cgroup_memory, cgroup_quota, one_cpu_each, usable_cpus
from cae_runtime.inference.model_files import packaged_models
from cae_runtime.inference.worker_threads import WorkerThreads
from cae_runtime.io.pipeline import PixelBudget, prefetch_map

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


def test_prefetch_map_limits_waiting_items_and_keeps_the_order() -> None:
    begun, lock = [], threading.Lock()

    def square(number: int) -> int:
        with lock:
            begun.append(number)
        return number * number

    with ThreadPoolExecutor(3) as pool:
        results = prefetch_map(pool, square, iter(range(100)), ahead=4)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        pool.submit(lambda: None).result()
        assert max(begun) <= 6
        assert list(results) == [i * i for i in range(3, 100)]


def test_prefetch_map_raises_in_turn_and_starts_no_later_items() -> None:
    begun = []

    def fail_at_five(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    with ThreadPoolExecutor(1) as pool:
        results = prefetch_map(pool, fail_at_five, range(100), ahead=2)
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="five"):
            next(results)
    assert max(begun) <= 8


def test_started_items_are_yielded_before_a_failure_of_the_source() -> None:
    def numbers(error: type[BaseException]) -> Iterator[int]:
        yield from range(3)
        raise error

    def take(results: Iterator[int], told: list[int]) -> None:
        told.extend(results)

    for error in (ValueError, KeyboardInterrupt):
        told: list[int] = []
        with ThreadPoolExecutor(2) as pool, pytest.raises(error):
            take(prefetch_map(pool, lambda number: number + 1, numbers(error), ahead=5, finish=True), told)
        assert told == [1, 2, 3]


def test_the_pixel_budget_admits_small_items_together_and_a_large_one_alone() -> None:
    room, order, waits = PixelBudget(10), [], threading.Event()

    class Watched(threading.Condition):
        def wait(self, timeout: float | None = None) -> bool:
            waits.set()
            return super().wait(timeout)

    room._change = Watched()

    def take(size: int) -> None:
        room.take(size)
        order.append(size)

    with ThreadPoolExecutor(3) as pool:
        take(6)
        waiting = pool.submit(take, 25)
        take(4)
        assert waits.wait(timeout=10)
        room.give_back(6)
        room.give_back(4)
        waiting.result(timeout=10)
        waits.clear()
        ended = pool.submit(take, 1)
        assert waits.wait(timeout=10)
        room.close()
        ended.result(timeout=10)
    assert order == [6, 4, 25, 1]


def write_groups(folder: Path, files: dict[str, str], own: str) -> None:
    """A tree of control groups, and the file that names those of a process."""
    for name, text in files.items():
        path = folder / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (folder / "own").write_text(own + "\n" if own else "")


@pytest.mark.parametrize(
    ("files", "own", "wanted"),
    [
        ({"cpu.max": "150000 100000"}, "0::/", 1.5),
        ({"cpu.max": "max 100000"}, "0::/", None),
        ({"a/cpu.max": "max 100000", "cpu.max": "300000 100000"}, "0::/a/b", 3.0),
        ({"a/b/cpu.max": "50000 100000", "a/cpu.max": "300000 100000"}, "0::/a/b", 0.5),
        ({"cpu.max": "200000 100000"}, "0::/only/on/the/host", 2.0),
        (
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "250000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
            "5:memory:/\n4:cpu,cpuacct:/x",
            2.5,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", None),
        ({"cpu.max": "nonsense"}, "0::/", None),
        ({}, "", None),
    ],
)
def test_the_cpu_quota_of_a_control_group_is_read(
    tmp_path: Path, files: dict[str, str], own: str, wanted: float | None
) -> None:
    write_groups(tmp_path, files, own)
    assert cgroup_quota(tmp_path / "groups", tmp_path / "own") == wanted
    assert cgroup_quota(tmp_path / "groups", tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("files", "own", "wanted"),
    [
        ({"memory.max": "536870912"}, "0::/", 2**29),
        ({"memory.max": "max"}, "0::/", None),
        ({"a/memory.max": "1048576", "memory.max": "4096"}, "0::/a", 4096),
        ({"memory/x/memory.limit_in_bytes": "1048576"}, "9:memory:/x", 2**20),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, "9:memory:/", None),
        ({"memory.max": "1048576"}, "9:pids:/", None),
        ({}, "", None),
    ],
)
def test_the_memory_limit_of_a_control_group_is_read(
    tmp_path: Path, files: dict[str, str], own: str, wanted: int | None
) -> None:
    write_groups(tmp_path, files, own)
    assert cgroup_memory(tmp_path / "groups", tmp_path / "own") == wanted


def test_usable_cpus_respects_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, wanted in ((None, 8), (0.2, 1), (2.5, 3), (64.0, 8)):
        monkeypatch.setattr("cae_runtime.inference.cpu_limits.cgroup_quota", lambda quota=quota: quota)
        assert usable_cpus() == wanted


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


@settings(max_examples=40, deadline=None)
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
@settings(max_examples=40, deadline=None)
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
