"""`--watch`: files that arrive in folders are cleaned by the command in a process of its own."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import COMMAND, FIXTURES, Command

from cae_runtime.inference.session import Session
from cae_runtime.jobs.planning import Job, Plan, make_plan
from cae_runtime.jobs.restore import watch
from cae_runtime.jobs.restore.options import RestoreOptions
from cae_runtime.jobs.restore.results import FileResult

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to the process")
TOO_LONG = 60.0


def png(noise: Any) -> bytes:
    return cv2.imencode(".png", noise((30, 40, 3)))[1].tobytes()


def started(inbox: Path, output: Path, *words: str) -> subprocess.Popen[str]:
    command = [COMMAND, "--watch", str(inbox), "-o", str(output), "-m", str(FIXTURES / "identity.onnx"), *words]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # jobs of a shell ignore it
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + TOO_LONG
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=TOO_LONG)
    assert "Traceback" not in messages
    return messages


def test_existing_and_arriving_files_are_cleaned_once_they_are_complete(tmp_path: Path, noise: Any) -> None:
    inbox, output = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (inbox / "first.png").write_bytes(png(noise))
    process = started(inbox, output)
    wait_for((output / "first.png").exists, process)
    data = png(noise)
    (inbox / "deep").mkdir()
    with (inbox / "deep" / "late.png").open("wb") as file:
        for part in np.array_split(np.frombuffer(data, np.uint8), 6):
            file.write(part.tobytes())
            file.flush()
            assert not (output / "deep" / "late.png").exists()
            time.sleep(0.3)
    wait_for((output / "deep" / "late.png").exists, process)
    (inbox / "bad.png").write_bytes(data[:100])
    (inbox / "last.png").write_bytes(data)
    wait_for((output / "last.png").exists, process)
    (inbox / "bad.png").write_bytes(data)  # the copy was cut off, and is repeated
    wait_for((output / "bad.png").exists, process)
    messages = ended(process)
    assert process.returncode == 0, messages  # the file that failed at first was cleaned in the end
    assert "bad.png' is truncated" in messages
    assert "late.png' is" not in messages  # no attempt at a half of it
    assert "cleaned 4 images" in messages.splitlines()[-1]


def test_watching_ends_cleanly_after_name_conflicts_and_sigterm(tmp_path: Path, noise: Any) -> None:
    inbox, output = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (inbox / "first.png").write_bytes(png(noise))
    process = started(inbox, output, "--ext", "png")
    wait_for((output / "first.png").exists, process)
    (inbox / "first.png").unlink()
    cv2.imwrite(str(inbox / "first.tif"), noise((30, 40, 3)))
    wait_for((output / "first.tif.png").exists, process)  # first.png is the other's
    for name in ("a.png", "a.tif"):  # both would become a.png
        cv2.imwrite(str(inbox / name), noise((30, 40, 3)))
    wait_for((output / "a.png.png").exists, process)
    wait_for((output / "a.tif.png").exists, process)
    process.send_signal(signal.SIGTERM)
    _, messages = process.communicate(timeout=TOO_LONG)
    assert process.returncode == 143
    assert "cleaned 4 images" in messages


def test_watching_needs_an_output_folder(cae_run: Command, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    done = cae_run("--watch", tmp_path / "in", "-o", tmp_path / "o.png")
    assert done.returncode == 2
    assert "o.png' has the name of a file, and a folder is needed: choose another name" in done.stderr.decode()
    assert not (tmp_path / "o.png").exists()


def test_waiting_does_not_count_as_working_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 100.0, 103.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = watch._Clock()
    for _ in range(2):
        with clock:
            pass
    assert clock.seconds == 4


def test_watching_can_be_restarted(tmp_path: Path, noise: Any) -> None:
    inbox, output = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    output.mkdir()
    (inbox / "old.png").write_bytes(png(noise))
    (output / "old.png").write_bytes(b"cleaned before")
    (inbox / "new.png").write_bytes(png(noise))
    process = started(inbox, output, "--json")
    wait_for((output / "new.png").exists, process)
    messages = ended(process)
    assert process.returncode == 0, messages
    assert (output / "old.png").read_bytes() == b"cleaned before"


def test_sources_that_cannot_be_watched_are_refused(cae_run: Command, tmp_path: Path, noise: Any) -> None:
    (tmp_path / "a.png").write_bytes(png(noise))
    for words, reason in (
        ([tmp_path / "a.png"], b"is not a folder: only folders are watched"),
        (
            [tmp_path, "--overwrite"],
            b"watched folders keep existing outputs and take no masks: leave out masks and --overwrite",
        ),
        ([tmp_path / "missing"], b"is not a folder"),
    ):
        done = cae_run("--watch", *words, "-o", tmp_path / "out")
        assert done.returncode == 2
        assert reason in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_complete_file_is_cleaned_although_others_keep_arriving(tmp_path: Path) -> None:
    times = iter([0.0, 0.1, 0.9, 1.0, 1.2, 2.2])
    inbox = watch.Inbox(lambda: make_plan([tmp_path], tmp_path / "out", may_be_empty=True), lambda: next(times))
    (tmp_path / "slow.png").write_bytes(b"a half")
    for _ in range(3):
        assert inbox.look()[0] == []
        assert inbox.waiting
    (ready,), _ = inbox.look()
    assert ready.job.source == tmp_path / "slow.png"
    (tmp_path / "slow.png").write_bytes(b"all of it")
    assert inbox.look()[0] == []
    assert len(inbox.look()[0]) == 1


def test_an_unreadable_folder_does_not_end_watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, which may read everything: so it is looked at what watchfiles is told."""
    watchfiles = pytest.importorskip("watchfiles")
    told: dict[str, Any] = {}
    monkeypatch.setattr(watchfiles, "watch", lambda *_, **options: told.update(options) or iter(()))
    session = Session(FIXTURES / "identity.onnx")
    watch.watch(session, [tmp_path], tmp_path / "out", RestoreOptions())
    assert told["ignore_permission_denied"]


def test_an_unsupported_file_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "clean_each", lambda *_, **__: iter([]))
    inbox = watch.Inbox(lambda: make_plan([tmp_path], tmp_path / "out", may_be_empty=True))

    def events() -> Iterator[set[int]]:
        assert not caplog.messages
        (tmp_path / "drawing.psd").touch()
        for told in (0, 1):
            assert len(caplog.messages) == told
            yield {1}

    with caplog.at_level(logging.INFO):
        watch._cleaned_until_stopped(events(), inbox, MagicMock(), RestoreOptions(), watch._Clock())
    (message,) = caplog.messages
    assert "drawing.psd' is an image in a format that is not read (.psd)" in message


def test_a_file_written_at_ctrl_c_counts_as_done_although_it_failed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = FileResult("in/a.png", "out/a.png", "failed", "is truncated", 0.1, None, None, "CPU", ())
    done = replace(failed, status="done", reason="")

    def cleaned(*_: Any, on_result: Callable[[FileResult], None], **__: Any) -> Iterator[FileResult]:
        if not calls:
            calls.append(1)
            yield failed
        else:
            on_result(done)
            raise KeyboardInterrupt

    calls: list[int] = []
    monkeypatch.setattr(watch, "clean_each", cleaned)
    inbox = watch.Inbox(lambda: Plan((), (), tmp_path))
    results, _ = watch._cleaned_until_stopped([{1}], inbox, MagicMock(), RestoreOptions(), watch._Clock())
    assert results == [failed, done]


def test_progress_within_a_large_file_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(jobs: list[Job], *_: Any, on_part: Callable[[Path, int, int], None], **__: Any) -> Iterator[FileResult]:
        on_part(jobs[0].source, 1, 3)
        yield FileResult("a.jpg", "out/a.jpg", "done", "", 1.0, 9, 9, "CPU", ())

    monkeypatch.setattr(watch, "clean_each", slow)
    monkeypatch.setattr("cae_runtime.jobs.progress_log._EVERY", 0)
    arrival = watch.Arrival(Job(Path("a.jpg"), tmp_path / "a.jpg"), (1, 1))
    inbox = watch.Inbox(lambda: Plan((), (), tmp_path))
    monkeypatch.setattr(inbox, "look", lambda: ([arrival], Plan((), (), tmp_path)))
    with caplog.at_level(logging.INFO):
        watch._cleaned_until_stopped([], inbox, MagicMock(), RestoreOptions(), watch._Clock())
    assert "cleaning 'a.jpg': 33 %" in caplog.text
