from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.runtime.conftest import FIXTURES
from typer.testing import CliRunner

from cae_runtime import ImageError, ModelError, ProviderError, Restorer, clean_folder, clean_image
from cae_runtime.cli.main import app
from cae_runtime.io.pipeline import PixelBudget
from cae_runtime.jobs.planning import make_plan
from cae_runtime.jobs.progress import Progress
from cae_runtime.jobs.restore import images as batch
from cae_runtime.jobs.restore.images import restore_images
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.restore_files import clean_plan
from cae_runtime.jobs.restore.results import FileResult

Model = Callable[[str], Path]


@pytest.fixture
def photos(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Path:
    folder = tmp_path / "photos"
    (folder / "locked").mkdir(parents=True)
    for name, height in (("a.png", 40), ("b.png", 50), ("c.png", 60), ("locked/d.png", 70)):
        Image.fromarray(noise((height, 33, 3))).save(folder / name)
    return folder


def lock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder unreadable, also for root."""
    listed = Path.iterdir

    def iterdir(self: Path) -> object:
        if self == folder:
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)


def clean(restorer: Restorer, folder: Path, out: Path, **options: str) -> list[FileResult]:
    return list(restore_images(restorer, make_plan([folder], out, **options).jobs))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ProviderError("CUDAExecutionProvider failed: out of memory"), "failed: out of memory"),
        (MemoryError(), "cannot be cleaned: there is not enough memory"),
    ],
)
def test_one_failed_image_does_not_stop_the_others(
    fixture_model: Model, photos: Path, tmp_path: Path, error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Restorer.__call__

    def fails_at_the_second(self: Restorer, image: np.ndarray, *, strength: float, **_: Any) -> np.ndarray:
        if image.shape[0] == 50:
            raise error
        return call(self, image, strength=strength)

    monkeypatch.setattr(Restorer, "__call__", fails_at_the_second)
    results = clean(Restorer(fixture_model("identity"), provider="cpu"), photos, tmp_path / "out")
    assert [result.status for result in results] == ["done", "failed", "done", "done"]
    assert reason in results[1].reason
    assert not (tmp_path / "out" / "b.png").exists()


def test_a_model_that_returns_nan_stops_the_work(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = Restorer(fixture_model("identity"), provider="cpu")
    monkeypatch.setattr(restorer.session, "run", lambda patches: patches * np.float32("nan"))
    with pytest.raises(ModelError, match=r"identity\.onnx' returns values that are not finite"):
        clean(restorer, photos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_with_another_output_size_stops_the_work(fixture_model: Model, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"narrow\.onnx' gives shape"):
        clean(Restorer(fixture_model("narrow"), provider="cpu"), photos, tmp_path / "out")


def test_a_too_long_output_name_fails(fixture_model: Model, photos: Path, tmp_path: Path) -> None:
    results = clean(Restorer(fixture_model("identity"), provider="cpu"), photos, tmp_path / "out", suffix="x" * 300)
    assert [result.status for result in results] == ["failed"] * 4
    assert all("File name too long" in result.reason for result in results)


def test_an_unreadable_subfolder_fails_and_other_files_are_cleaned(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock(monkeypatch, photos / "locked")
    args = [str(photos), "-o", str(tmp_path / "out"), "-m", str(fixture_model("identity")), "--json"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 1
    locked, *others = json.loads(done.stdout)["files"]
    assert (locked["source"], locked["output"], locked["status"]) == (str(photos / "locked"), "", "failed")
    assert locked["reason"] == "cannot be read: Permission denied"
    assert [file["status"] for file in others] == ["done"] * 3
    assert f"failed: {str(photos / 'locked')!r} cannot be read: Permission denied" in done.stderr.splitlines()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png"]


def test_an_output_removed_meanwhile_counts_as_failed(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = batch.write_file  # type: ignore[attr-defined]

    def removing(path: Path, data: bytes) -> None:
        write(path, data)
        if path.name == "c.png":
            path.with_name("a.png").unlink()

    monkeypatch.setattr(batch, "write_file", removing)
    args = [str(photos), "-o", str(tmp_path / "out"), "-m", str(fixture_model("identity")), "--json"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 1
    gone, *others = json.loads(done.stdout)["files"]
    assert gone["status"] == "failed"
    assert gone["reason"].endswith("was removed meanwhile")
    assert {file["status"] for file in others} == {"done"}


def test_file_names_cannot_control_the_terminal(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nasty = "\x1b]0;owned\x07\n"
    (photos / f"{nasty}.png").write_text("no picture")
    out = tmp_path / nasty
    done = CliRunner().invoke(app, [str(photos), "-o", str(out), "-m", str(fixture_model("identity"))])
    assert done.exit_code == 1
    assert "owned" in done.stderr.splitlines()[-1]
    assert not {"\x1b", "\x07"} & set(done.stderr)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(1) as progress:
        progress.on_frame(Path(f"{nasty}.mp4"), 1, 2)
    assert "owned" in sys.stderr.getvalue()
    assert "\x1b]0;" not in sys.stderr.getvalue()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_no_partial_file(
    noise: Callable[..., np.ndarray], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    ok, encoded = cv2.imencode(".png", noise((600, 800, 3)))
    assert ok
    for i in range(200):
        (folder / f"{i:03}.png").write_bytes(encoded.tobytes())
    command = Path(sys.executable).parent / "cae-run"
    model = Path(__file__).parents[1] / "fixtures" / "blur.onnx"
    args = [command, folder, "-o", out, "-m", model, "--json"]
    process = subprocess.Popen(
        args,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in stderr
    assert list(out.rglob("*.partial")) == []
    written = sorted(out.iterdir())
    assert 0 < len(written) < 200
    assert all(cv2.imread(str(path)).shape == (600, 800, 3) for path in written)
    report = json.loads(stdout)
    totals = report["totals"]
    assert {Path(file["output"]) for file in report["files"]} == set(written)
    assert totals["done"] == len(report["files"])
    assert totals["not_reached"] == 200 - totals["done"]
    *_, summary, last = stderr.decode().splitlines()
    assert summary.startswith(f"cleaned {totals['done']} image")
    assert summary.endswith(f"{totals['not_reached']} not reached")
    assert last == "cae-run: interrupted"


def test_an_error_while_saving_is_raised_and_nothing_hangs(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(batch, "encode", broken)
    monkeypatch.setattr(batch, "PIXELS_UNDER_WAY", 1)
    restorer = Restorer(fixture_model("identity"), provider="cpu")
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="a bug"):
        pool.submit(clean, restorer, photos, tmp_path / "out").result(timeout=60)


def test_large_images_are_cleaned_one_at_a_time_and_freed(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "PIXELS_UNDER_WAY", 1)
    call = Restorer.__call__
    kept: list[weakref.ref[np.ndarray]] = []

    def watched(self: Restorer, image: np.ndarray, *, strength: float, **_: Any) -> np.ndarray:
        assert not [reference for reference in kept if reference() is not None], "an earlier picture is still held"
        cleaned = call(self, image, strength=strength)
        kept.extend([weakref.ref(image), weakref.ref(cleaned)])
        return cleaned

    monkeypatch.setattr(Restorer, "__call__", watched)
    results = clean(Restorer(fixture_model("identity"), provider="cpu"), photos, tmp_path / "out")
    assert [result.status for result in results] == ["done"] * 4
    assert len(kept) == 8


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_while_reading_cleans_no_further_file(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, write, begun = batch.read_file, batch.write_file, []  # type: ignore[attr-defined]
    saved, ended, waits = threading.Event(), threading.Event(), threading.Semaphore(0)
    close = PixelBudget.close

    def interrupted(path: Path) -> bytes:
        begun.append(path.name)
        if path.name == "b.png":
            assert saved.wait(60)
            assert all(waits.acquire(timeout=60) for _ in "ab"), "the main thread waits for b.png"
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            assert ended.wait(60)  # c.png, next in this thread, is called off by then
        return read(path)

    def written(path: Path, data: bytes) -> None:
        write(path, data)
        saved.set()

    def waited(*args: Any, **options: Any) -> Any:
        waits.release()
        return wait(*args, **options)

    def closed(room: PixelBudget) -> None:
        ended.set()
        close(room)

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batch, "read_file", interrupted)
    monkeypatch.setattr(batch, "write_file", written)
    monkeypatch.setattr("cae_runtime.io.pipeline.wait", waited)
    monkeypatch.setattr(PixelBudget, "close", closed)
    monkeypatch.setattr(batch, "PIXELS_UNDER_WAY", 1)
    told = []

    def work() -> None:
        restorer = Restorer(fixture_model("identity"), provider="cpu")
        for result in restore_images(restorer, make_plan([photos], tmp_path / "out").jobs):
            told.append(result.status)

    before = signal.signal(signal.SIGINT, handle)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert told == ["done"]
    assert begun == ["a.png", "b.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_every_written_file_is_reported_even_after_ctrl_c(
    fixture_model: Model, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_handed_on(*args: Any, **options: Any) -> Iterator[FileResult]:
        for _ in restore_images(*args, **options):
            raise KeyboardInterrupt
        yield from ()

    monkeypatch.setattr("cae_runtime.jobs.restore.restore_files.restore_images", never_handed_on)
    plan, restorer = make_plan([photos], tmp_path / "out"), Restorer(fixture_model("identity"), provider="cpu")
    restored = clean_plan(plan, restorer, RestoreOptions())
    assert restored.interrupted
    assert {Path(result.output) for result in restored.results} == set((tmp_path / "out").rglob("*.png")) != set()


def test_content_that_the_output_cannot_hold_fails_before_cleaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **named: Any) -> None:
        raise AssertionError("it was cleaned")

    tifffile.imwrite(tmp_path / "float.tif", np.zeros((20, 30), np.float32))
    monkeypatch.setattr("cae_runtime.jobs.pictures.cleaned", never)
    with pytest.raises(ImageError, match="has floating-point values, and PNG holds integers"):
        clean_image(tmp_path / "float.tif", tmp_path / "out.png", FIXTURES / "identity.onnx")
    (tmp_path / "in").mkdir()
    (tmp_path / "float.tif").rename(tmp_path / "in" / "float.tif")
    (result,) = clean_folder(tmp_path / "in", tmp_path / "out", FIXTURES / "identity.onnx", ext="jpg")
    assert "has floating-point values, and JPEG holds integers" in result.reason


def test_all_frames_and_pages_count_as_pixels(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((20, 30, 3), 40 * at, np.uint8)) for at in range(4)]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in" / "a.png", save_all=True, append_images=frames[1:], duration=50)
    frames[0].save(tmp_path / "in" / "b.tif", save_all=True, append_images=frames[1:])
    results = clean_folder(tmp_path / "in", tmp_path / "out", FIXTURES / "identity.onnx")
    assert [result.pixels for result in results] == [4 * 600, 4 * 600]
