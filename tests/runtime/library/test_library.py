"""What a Python program relies on with every class: arguments, closing, threads, forks."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES

from cae_runtime import (
    CaeRuntimeError,
    Detector,
    Encoder,
    Generator,
    ImageError,
    Inpainter,
    ModelError,
    Restorer,
    Session,
    UsageError,
    clean_folder,
    clean_image,
    clean_video,
)

IMAGE = np.full((480, 640, 3), 100, np.uint8)
USES: dict[type, tuple[str, Callable[[Any], object]]] = {
    Restorer: ("blur", lambda opened: opened(IMAGE)),
    Encoder: ("encode", lambda opened: opened(IMAGE)),
    Detector: ("anomaly", lambda opened: opened(IMAGE)),
    Generator: ("generate", lambda opened: list(opened(opened.draw(2, seed=1)))),
    Session: ("blur", lambda opened: opened.run(np.zeros((2, 3, 32, 32), np.float32))),
}
CLASSES = pytest.mark.parametrize("kind", USES, ids=lambda kind: kind.__name__)


def model_of(kind: type) -> str:
    return str(FIXTURES / f"{USES[kind][0]}.onnx")


def workers() -> int:
    gc.collect()
    return sum(thread.name.startswith("cae-worker") for thread in threading.enumerate())


@pytest.mark.slow
@CLASSES
def test_dropping_a_model_ends_its_threads(kind: type) -> None:
    before = workers()
    for _ in range(4):
        opened = kind(model_of(kind), provider="cpu", threads=2)
        USES[kind][1](opened)
    del opened
    for thread in threading.enumerate():  # they end soon after, not at once
        if thread.name.startswith("cae-worker"):
            thread.join(10)
    assert workers() <= before


def test_every_function_and_class_accepts_the_bytes_of_a_model(tmp_path: Path) -> None:
    for kind in USES:
        with kind(Path(model_of(kind)).read_bytes()) as opened:  # type: ignore[call-arg]
            USES[kind][1](opened)
            assert "'<bytes>'" in repr(opened)
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE[:40, :40])
    clean_image(tmp_path / "a.png", tmp_path / "b.png", (FIXTURES / "identity.onnx").read_bytes())
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "b.png")), IMAGE[:40, :40])


@CLASSES
def test_using_a_closed_model_is_a_clear_error(kind: type) -> None:
    with kind(model_of(kind), provider="cpu", threads=2) as opened:
        USES[kind][1](opened)
    with pytest.raises(UsageError, match=r"was closed: open it again to use it again") as error:
        USES[kind][1](opened)
    assert isinstance(error.value, ValueError)
    opened.close()  # twice is fine


def test_a_closed_model_refuses_calls_that_do_not_run_it() -> None:
    inpainter, generator = Inpainter("fill", threads=1), Generator(model_of(Generator))
    codes = generator.draw(1, seed=1)
    inpainter.close()
    generator.close()
    with pytest.raises(UsageError, match="was closed"):
        inpainter(IMAGE, np.zeros(IMAGE.shape[:2], bool))  # nothing to fill
    with pytest.raises(UsageError, match="was closed"):
        generator(codes)  # not iterated over


def test_a_session_that_was_passed_in_stays_open() -> None:
    with Session(FIXTURES / "blur.onnx", provider="cpu", threads=1) as session:
        with Restorer(session) as first:
            first(IMAGE[:32, :32])
        np.testing.assert_array_equal(Restorer(session)(IMAGE), Restorer(FIXTURES / "blur.onnx")(IMAGE))
        with pytest.raises(UsageError, match="was closed"):
            first(IMAGE[:32, :32])  # though one thread alone would do


@pytest.mark.parametrize("kind", [kind for kind in USES if kind is not Session])
@pytest.mark.parametrize(
    ("name", "value"), [("provider", "cuda"), ("provider", "cpu"), ("threads", 5), ("threads", "x")]
)
def test_an_open_session_takes_no_provider_and_no_threads(kind: type, name: str, value: object) -> None:
    with Session(model_of(kind), provider="cpu", threads=1) as session:
        with pytest.raises(UsageError, match=f"{name} is {value!r}, but an open session keeps the {name}"):
            kind(session, **{name: value})
        kind(session, provider="auto", threads=None)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of threads")
def test_threads_are_pinned_only_on_request() -> None:
    def cpus(restorer: Restorer) -> list[int]:
        restorer(IMAGE)
        futures = [restorer._workers.pool.submit(os.sched_getaffinity, 0) for _ in range(20)]
        return sorted({len(future.result()) for future in futures})

    allowed = len(os.sched_getaffinity(0))
    assert cpus(Restorer(FIXTURES / "blur.onnx", provider="cpu")) == [allowed]
    if Session(FIXTURES / "blur.onnx", provider="cpu").workers == allowed:
        assert cpus(Restorer(FIXTURES / "blur.onnx", provider="cpu", pin_threads=True)) == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_can_use_models_of_its_parent() -> None:
    code = """
import multiprocessing, numpy as np
from tests.runtime.library.test_library import IMAGE, USES, model_of
opened = {kind: kind(model_of(kind), provider="cpu", threads=2) for kind in USES}
before = {kind: repr(use(opened[kind])) for kind, (_, use) in USES.items()}

def child(results):
    results.put({kind.__name__: repr(use(opened[kind])) == before[kind] for kind, (_, use) in USES.items()})

fork = multiprocessing.get_context("fork")
results = fork.SimpleQueue()
process = fork.Process(target=child, args=(results,))
process.start()
process.join(30)
if process.is_alive():
    process.kill()
    raise SystemExit("the child hangs")
print(results.get())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str({kind.__name__: True for kind in USES}), done.stderr


WRONG: list[tuple[dict[str, Any], str, type[Exception]]] = [
    ({"threads": "2"}, "threads is '2': it must be a whole number, 1..4096, or None", TypeError),
    ({"threads": 1.5}, "threads is 1.5: it must be a whole number", TypeError),
    ({"threads": 0}, "threads is 0: it must be 1..4096", ValueError),
    ({"threads": 10**9}, "threads is 1000000000: it must be 1..4096", ValueError),
    ({"provider": None}, "provider is None: it must be a name such as 'auto'", TypeError),
    ({"provider": "gpu"}, "unknown provider 'gpu'", ValueError),
    ({"overlap": 8.5}, "overlap is 8.5: it must be a whole number, 0..31", TypeError),
    ({"overlap": 32}, "overlap is 32: it must be 0..31", ValueError),
    ({"batch": "4"}, "batch is '4': it must be a whole number, 1 or more", TypeError),
    ({"batch": -(10**5000)}, "batch is a number of 16610 bits: it must be 1 or more", ValueError),
    ({"stretch": "no"}, "stretch is 'no': it must be True or False", TypeError),
    ({"pin_threads": None}, "pin_threads is None: it must be True or False", TypeError),
    ({"color": "hsv"}, "color is 'hsv': it must be 'bgr' or 'rgb'", ValueError),
    ({"model": ""}, "model is empty: it must be a file's path, or the name of a packaged model: .*denoise", ValueError),
    ({"model": None}, "model is None: it must be a str or an os.PathLike", TypeError),
    ({"model": b"denoise"}, "model '<bytes>' is not an ONNX model", ValueError),
    ({"model": "denoize"}, "'denoize' is neither a file nor the name of a packaged model", FileNotFoundError),
]


@pytest.mark.parametrize(
    ("kind", "argument", "reason", "error"),
    [(kind, *wrong) for kind in USES for wrong in WRONG if set(wrong[0]) <= set(kind.__init__.__annotations__)],
)
def test_arguments_are_checked_on_construction(
    kind: type, argument: dict[str, Any], reason: str, error: type[Exception]
) -> None:
    given = {"model": model_of(kind), **argument}
    with pytest.raises(CaeRuntimeError, match=reason) as raised:
        kind(given.pop("model"), **given)
    assert isinstance(raised.value, error)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("kind", [Restorer, Encoder, Detector], ids=lambda kind: kind.__name__)
def test_arrays_that_are_not_images_are_refused(kind: type) -> None:
    opened = kind(model_of(kind), provider="cpu", threads=1)
    for image, reason, error in (
        (None, "the image is a NoneType: it must be a NumPy array .*cv2.imread returns None", TypeError),
        ([[1, 2]], "the image is a list", TypeError),
        (np.zeros((8, 8, 3)), "dtype is float64: it must be uint8, uint16, or float32", TypeError),
        (np.zeros((8, 8, 5), np.uint8), r"shape is \(8, 8, 5\)", ValueError),
    ):
        with pytest.raises(ImageError, match=reason) as raised:
            opened(image)
        assert isinstance(raised.value, error)


@pytest.mark.parametrize(
    ("batch", "reason", "error"),
    [
        ([1, 2], "the batch is a list: it must be a NumPy array of float32", TypeError),
        (np.zeros((1, 3, 32, 32), np.uint8), "the batch is of uint8", TypeError),
        (np.zeros((1, 3, 32, 32)), "the batch is of float64: it must be a NumPy array of float32", TypeError),
        (np.zeros((1, 3, 32, 32), np.float16), "the batch is of float16", TypeError),
        (np.zeros((3, 32, 32), np.float32), r"shape \(3, 32, 32\): model .* takes \(N, 3, 32, 32\)", ValueError),
        (np.zeros((0, 3, 32, 32), np.float32), "N from 1 on", ValueError),
    ],
)
def test_a_wrong_batch_is_not_reported_as_a_provider_failure(batch: Any, reason: str, error: type[Exception]) -> None:
    with pytest.raises(UsageError, match=reason) as raised:
        Session(FIXTURES / "blur.onnx", provider="cpu").run(batch)
    assert isinstance(raised.value, error)


def test_a_forked_child_does_not_destroy_the_session_of_its_parent() -> None:
    """Its destructor would wait for threads that the child does not have."""
    session = Session(FIXTURES / "blur.onnx", provider="cpu")
    native = weakref.ref(session._session)
    session.after_fork()
    gc.collect()
    assert native() is not None


@pytest.mark.parametrize("strength", [10**400, -(10**5000), float("nan")], ids=["large", "long", "nan"])
def test_a_strength_out_of_range_is_refused(strength: Any) -> None:
    with pytest.raises(UsageError, match=r"strength is (1000.+\.\.\.|a number of 16610 bits|nan): it must be 0\.\.1"):
        Restorer(FIXTURES / "blur.onnx", provider="cpu")(IMAGE, strength=strength)


@pytest.mark.parametrize("strength", ["1", None, np.zeros(3)])
def test_a_strength_that_is_not_a_number_is_refused(strength: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(f"strength is {strength!r}: it must be a number, 0..1")):
        Restorer(FIXTURES / "blur.onnx", provider="cpu")(IMAGE, strength=strength)


def test_a_callback_that_is_not_callable_is_refused_before_the_work(tmp_path: Path) -> None:
    restore = Restorer(FIXTURES / "blur.onnx", provider="cpu", threads=1)
    for name, call in {
        "tell": lambda: restore(IMAGE, tell=1),
        "progress": lambda: restore(IMAGE, progress=1),
        "on_result": lambda: clean_folder(FIXTURES, tmp_path / "out", restore, on_result=1),
    }.items():
        with pytest.raises(TypeError, match=f"{name} is 1: it must be a function, or None"):
            call()


def test_codes_of_the_wrong_kind_are_refused() -> None:
    generate = Generator(FIXTURES / "generate.onnx", provider="cpu")
    with pytest.raises(TypeError, match="the codes are a list: they must be a NumPy array of real numbers"):
        generate([[0.0] * 16])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="count is -1: it must be 0 or more"):
        generate.draw(-1)
    with pytest.raises(TypeError, match="seed is 'x'"):
        generate.draw(1, seed="x")  # type: ignore[arg-type]


def test_rgb_gives_the_reversed_result_of_bgr(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (70, 64, 3), np.uint8)
    turned = np.ascontiguousarray(image[..., ::-1])

    def both(kind: type) -> Any:
        return kind(model_of(kind), color="rgb"), kind(model_of(kind), color="bgr")

    rgb, bgr = both(Encoder)
    np.testing.assert_array_equal(rgb(turned), bgr(image))
    rgb, bgr = both(Detector)
    heat = bgr(image).heat
    np.testing.assert_array_equal(rgb(turned).heat, heat)
    np.testing.assert_array_equal(rgb.overlay(turned, heat * 9)[..., ::-1], bgr.overlay(image, heat * 9))
    rgb, bgr = both(Generator)
    for first, second in zip(rgb(rgb.draw(3, 1)), bgr(bgr.draw(3, 1)), strict=True):
        np.testing.assert_array_equal(first[..., ::-1] if first.ndim == 3 else first, second)


def test_a_model_file_replaced_before_a_fork_is_noticed(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes((FIXTURES / "blur.onnx").read_bytes())
    session = Session(model, provider="cpu")
    model.write_bytes((FIXTURES / "identity_gray.onnx").read_bytes())
    session.after_fork()
    with pytest.raises(ModelError, match="was replaced since it was opened"):
        session.run(np.zeros((1, 3, 32, 32), np.float32))


@CLASSES
def test_a_pickle_or_copy_opens_the_model_again(kind: Any) -> None:
    first, use = kind(model_of(kind), threads=2), USES[kind][1]
    assert repr(first) == f"{kind.__name__}({model_of(kind)!r}, provider='CPUExecutionProvider', patch=32, threads=2)"
    copies = [pickle.loads(pickle.dumps(first)), copy.copy(first), copy.deepcopy(first)]  # noqa: S301 - our own
    wanted = pickle.dumps(use(first))
    first.close()
    for other in copies:
        assert f"{other!r}"[:-1] + ", closed)" == repr(first)
        assert pickle.dumps(use(other)) == wanted
    with pytest.raises(UsageError, match="was closed"):
        pickle.dumps(first)


@pytest.mark.parametrize("kind", [kind for kind in USES if kind is not Session], ids=lambda kind: kind.__name__)
def test_closing_a_copy_closes_only_what_it_opened(kind: Any) -> None:
    session = Session(model_of(kind), threads=2)
    first = kind(session)
    for original in (first, first.for_color("rgb"), first.for_holes()) if kind is Restorer else (first,):
        for other in (copy.copy(original), pickle.loads(pickle.dumps(original))):  # noqa: S301 - our own
            with other:
                assert not other.session.closed
            assert other.session.closed
            with pytest.raises(UsageError, match="was closed"):
                USES[kind][1](other)
    USES[kind][1](first)


def test_closing_a_copied_inpainter_closes_its_own_restorer() -> None:
    restore = Restorer(FIXTURES / "inpaint.onnx", threads=2)
    with copy.copy(Inpainter(restore)) as other:
        pass
    assert other.session.closed
    assert not restore.session.closed


def test_a_spawned_process_opens_a_model_from_its_bytes(noise: Callable[..., np.ndarray]) -> None:
    image = noise((40, 40, 3))
    restore = Restorer(Session((FIXTURES / "blur.onnx").read_bytes(), threads=1), color="rgb").for_color("bgr")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(restore, (image,)), restore(image))


def test_a_damaged_file_does_not_redirect_stderr_of_the_program(
    noise: Callable[..., np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    data = cv2.imencode(".jpg", noise((64, 64, 3)))[1].tobytes()
    (tmp_path / "half.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    decode, file = cv2.imdecode, os.fstat(2)

    def spied(*args: Any, **named: Any) -> Any:
        assert (os.fstat(2).st_dev, os.fstat(2).st_ino) == (file.st_dev, file.st_ino), "where a child process writes"
        os.write(2, b"Premature end of the day\n")
        return decode(*args, **named)

    monkeypatch.setattr(cv2, "imdecode", spied)
    with pytest.raises(ImageError, match=r"half\.jpg'"):
        clean_image(tmp_path / "half.jpg", tmp_path / "out.jpg", FIXTURES / "identity.onnx")
    assert "Premature end of the day\n" in capfd.readouterr().err


class Stopped(Exception):  # noqa: N818
    """What a program may raise to stop a call."""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", [Restorer, Encoder], ids=lambda kind: kind.__name__)
def test_progress_is_reported_and_can_stop_a_call(kind: Any, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cae_runtime.inference.worker_threads._REPORT_EVERY", 0.001)
    opened = kind(model_of(kind), provider="cpu", threads=threads)
    told: list[tuple[int, int]] = []
    result = opened(IMAGE, progress=lambda *of: told.append((*of, threading.get_ident())))
    assert told == sorted(told)
    assert told[-1][:2] == (told[0][1],) * 2
    assert {thread for *_, thread in told} == {threading.get_ident()}

    def stop(done: int, total: int) -> None:
        assert done < total, "it was not stopped"
        raise Stopped

    with pytest.raises(Stopped):
        opened(np.tile(IMAGE, (4, 4, 1)), progress=stop)
    np.testing.assert_array_equal(opened(IMAGE), result)  # it can be used again


def test_a_stopped_call_writes_no_file(tmp_path: Path) -> None:
    for name in "abcdef":
        cv2.imwrite(str(tmp_path / f"{name}.png"), IMAGE)

    def stop(*_: object) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        clean_image(tmp_path / "a.png", tmp_path / "out.png", FIXTURES / "blur.onnx", progress=stop)
    assert not (tmp_path / "out.png").exists()
    with pytest.raises(Stopped) as caught:
        clean_folder(tmp_path, tmp_path / "out", FIXTURES / "blur.onnx", on_result=stop)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written[0] == "a.png"
    assert len(written) < 6
    assert all(cv2.imread(str(tmp_path / "out" / name)) is not None for name in written)
    del caught


def test_a_stopped_call_writes_no_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.runtime.clips import make_clip

    clip = make_clip(tmp_path / "in.mp4", frames=6)

    def stop(done: int, _total: int | None) -> None:
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        clean_video(clip, tmp_path / "out.mp4", FIXTURES / "blur.onnx", on_frame=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
