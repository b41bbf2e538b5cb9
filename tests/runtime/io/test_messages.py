"""Decoder messages on stderr: valid files are decoded once, and damage is noticed even without messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
from tests.runtime.io.test_jpeg import jpeg, scans_of
from tests.runtime.io.tiff.test_tiff import halves, pixels_of
from tests.runtime.tiffs import DEFLATE, LZW, RGB, picture

from cae_runtime import ImageError
from cae_runtime.io import stderr
from cae_runtime.io.decoding import messages
from cae_runtime.io.image_files import decode


def progressive_without_a_part() -> bytes:
    data = jpeg(progressive=True)
    scan = scans_of(data)[3]
    return data[: scan.start - 30] + data[scan.start :]


def tiff(compression: int, change: Callable[[list[bytes]], list[bytes]] = list) -> bytes:
    return picture(pixels_of(8, 3), RGB, 8, rows=8, compression=compression, change=change)


WHOLE = {"progressive": jpeg(progressive=True), "LZW": tiff(LZW), "Deflate": tiff(DEFLATE)}
DAMAGED = {"progressive": progressive_without_a_part(), "LZW": tiff(LZW, halves), "Deflate": tiff(DEFLATE, halves)}


@pytest.fixture(autouse=True)
def anew() -> None:
    """Find out again what can be heard: tests before, in the same process, may have run without stderr."""
    messages._hears_of_damage.cache_clear()


@pytest.fixture
def in_a_command() -> Iterator[None]:
    with stderr.own_stderr():
        yield


@pytest.mark.usefixtures("in_a_command")
@pytest.mark.parametrize("kind", list(WHOLE))
def test_valid_files_are_decoded_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decode(WHOLE[kind])  # finds out what can be heard
    calls, imdecode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: calls.append(flags) or imdecode(data, flags))
    found = decode(WHOLE[kind]).pixels
    assert len(calls) == 1
    np.testing.assert_array_equal(found, imdecode(np.frombuffer(WHOLE[kind], np.uint8), cv2.IMREAD_UNCHANGED))


@pytest.mark.usefixtures("in_a_command")
@pytest.mark.parametrize("hears", [True, False])
@pytest.mark.parametrize("kind", list(WHOLE))
def test_damage_is_noticed_with_and_without_messages_of_the_decoder(
    kind: str, hears: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hears:
        monkeypatch.setattr(messages, "_hears", lambda _: False)
    decode(WHOLE[kind])
    with pytest.raises(ImageError, match="damaged"):
        decode(DAMAGED[kind])


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("kind", list(WHOLE))
def test_the_library_prints_nothing_about_valid_files(kind: str, told: bool, capfd: pytest.CaptureFixture[str]) -> None:
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT if told else before)
    try:
        decode(WHOLE[kind])
    finally:
        cv2.utils.logging.setLogLevel(before)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["LZW", "Deflate"])
def test_the_library_leaves_stderr_of_the_program_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, imdecode = set(), cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: seen.add(os.fstat(2)) or imdecode(data, flags))
    assert decode(WHOLE[kind]).pixels.size
    with pytest.raises(ImageError, match="damaged"):
        decode(DAMAGED[kind])
    assert {(status.st_dev, status.st_ino) for status in seen} == {(os.fstat(2).st_dev, os.fstat(2).st_ino)}


def test_other_output_during_decoding_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    assert messages.decoded_silently(lambda: os.write(2, b"of another thread\n"), "JPEG") == (18, False)
    assert capfd.readouterr().err == "of another thread\n"


def test_silence_proves_nothing_if_the_log_of_opencv_is_off() -> None:
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        assert messages.decoded_silently(lambda: 5, "TIFF") == (5, False)
    finally:
        cv2.utils.logging.setLogLevel(before)
    assert messages.decoded_silently(lambda: 5, "TIFF") == (5, True)


def test_silence_proves_nothing_if_stderr_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(messages.os, "dup", refuse)  # type: ignore[attr-defined]
    assert messages.decoded_silently(lambda: 5, "TIFF") == (5, False)
