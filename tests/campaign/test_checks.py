"""What the campaign looks at: its own checks see what they are there for."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from tests.campaign import __main__ as command
from tests.campaign.corpora.clips import stream
from tests.campaign.corpora.pictures import scene
from tests.campaign.harness.findings import what_is_wrong_with
from tests.campaign.harness.settings import Settings
from tests.campaign.harness.workers import ADDRESS_SPACE, Ran
from tests.campaign.hostile import images, models
from tests.campaign.hostile.image_outputs import wrong_output
from tests.campaign.hostile.models import broken_output
from tests.campaign.hostile.videos import broken_stream
from tests.campaign.unlucky.soak import broken_recording
from tests.runtime.clips import make_clip

GOOD = ("a.png",)
PIXELS = scene()


@pytest.mark.parametrize(
    "raw",
    [
        *(each.encode() for each in "\x1b\r\x7f\x80\x9b\x9f\u061c\u200e\u200f\u2028\u202a\u202e\u2066\u2069"),
        b"\x9b", b"\xff",
    ],
)  # fmt: skip
def test_raw_characters_in_a_message_are_found(raw: bytes) -> None:
    assert "raw character" in what_is_wrong_with(b"failed: 'a" + raw + b".png'\n")


def test_plain_messages_are_not_found() -> None:
    assert not what_is_wrong_with("failed: '\u00e4\u4e2d\U0001f600 \u2014.png'\tis no image\n".encode())


def test_no_limit_of_memory_is_above_the_address_space() -> None:
    assert models.MEMORY_MAX < ADDRESS_SPACE
    assert images.memory_limit(None, 0) < ADDRESS_SPACE
    assert images.memory_limit(2**28, 2**40) < ADDRESS_SPACE
    assert images.memory_limit(2**28, 1000) == 2**28 + images.MEMORY_MORE + 1000 * images.PIXEL_BYTES


def test_the_clock_starts_with_the_first_case(tmp_path: Path) -> None:
    settings = Settings(1, tmp_path, minutes=1)
    settings.began -= 1000  # seconds of preparation
    numbers = settings.numbers()
    assert next(numbers) == 0
    settings.began -= 1000
    assert next(numbers, None) is None


def test_a_part_without_a_case_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["campaign", "places", "--cases", "0"])
    assert command.main() == 1
    assert capsys.readouterr().err.startswith("tests.campaign: places ran no case")


def test_parsers_without_atheris_say_that_they_did_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["campaign", "parsers", "--cases", "1"])
    assert command.main() == 0
    assert "| parsers | 1 | not run |" in capsys.readouterr().out


def test_a_stream_comes_out_as_it_went_in() -> None:
    given = stream()
    first = given.index(b"\n") + 1
    frame = (len(given) - first) // 3
    assert not broken_stream(given, given, whole=True)
    assert not broken_stream(given, b"", whole=False)
    assert not broken_stream(given, given[:first], whole=False)
    assert not broken_stream(given, given[: first + frame], whole=False)
    assert broken_stream(given, b"", whole=True) == "there is no output"
    assert broken_stream(given, given[:first], whole=True)
    assert broken_stream(given, given[: first + frame - 1], whole=False)
    assert broken_stream(given, given[:-1] + b"?", whole=False)


def test_an_output_of_a_model_is_a_picture_of_the_right_size_and_type(tmp_path: Path) -> None:
    path = tmp_path / "out" / "in.png"
    assert "there are the pictures" in broken_output(tmp_path, 1)
    path.parent.mkdir()
    for pixels, right in ((PIXELS, True), (PIXELS[:-1], False), (PIXELS.astype(np.uint16), False)):
        cv2.imwrite(str(path), pixels)
        assert (broken_output(tmp_path, 1) == "") == right
    path.write_bytes(path.read_bytes()[:60])
    assert "cannot be read" in broken_output(tmp_path, 1)
    cv2.imwrite(str(path), PIXELS)
    assert broken_output(tmp_path, 3)
    for name in ("0001", "0002", "sheet"):
        cv2.imwrite(str(tmp_path / "out" / f"seed-1-{name}.png"), PIXELS if name != "sheet" else PIXELS[:9])
    assert not broken_output(tmp_path, 3)
    (tmp_path / "out.csv").write_text("path,f0\nin.png,0.5\n")
    assert not broken_output(tmp_path, 1)
    (tmp_path / "out.csv").write_text("path,f0\nin.png,nan\n")
    assert broken_output(tmp_path, 1)


@pytest.mark.parametrize(
    "told", ["path,f0\nin/a.png,0.5\n", "path,f0\nin/a.png,nan\nin/b.png,1\n", "path,f0\nin/a.png,x\nin/b.png,1\n", ""]
)
def test_a_table_has_a_row_of_numbers_for_each_file(told: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("path,f0\nin/a.png,0.5\nin/b.png,0.25\n")
    assert wrong_output("features", Ran(0, b"", b""), {"a.png", "b.png"}, GOOD, tmp_path) is None
    (tmp_path / "table.csv").write_text(told)
    assert wrong_output("features", Ran(0, b"", b""), {"a.png", "b.png"}, GOOD, tmp_path) is not None


def test_other_outputs_exist_are_whole_and_list_the_files(tmp_path: Path) -> None:
    names = {"a.png", "b.png"}
    report = b'{"files": [{"source": "in/a.png"}], "failed": [{"source": "in/b.png"}]}'
    assert wrong_output("analyze", Ran(1, report, b""), names, GOOD, tmp_path) is None
    for code, told in ((0, report), (1, b"{"), (1, report.replace(b"b.png", b"c.png")), (1, b'{"files": [NaN]}')):
        assert wrong_output("analyze", Ran(code, told, b""), names, GOOD, tmp_path) is not None
    assert wrong_output("contact sheet", Ran(0, b"", b""), names, GOOD, tmp_path) is not None
    cv2.imwrite(str(tmp_path / "sheet.png"), PIXELS)
    assert wrong_output("contact sheet", Ran(0, b"", b""), names, GOOD, tmp_path) is None
    lost = b"failed: 'in/a.png' cannot be read\n"
    assert wrong_output("contact sheet", Ran(1, b"", lost), names, GOOD, tmp_path) is not None
    assert wrong_output("anomalies", Ran(0, report, b""), names, GOOD, tmp_path) is not None


def test_a_recording_has_the_frames_that_were_told(tmp_path: Path) -> None:
    av.logging.set_level(None)
    path = make_clip(tmp_path / "live.mp4", frames=4)
    assert not broken_recording(path, ["camera 0", f"recorded 4 frames -> {path}"])
    assert broken_recording(path, [f"recorded 5 frames -> {path}"])
    assert broken_recording(path, [])
    path.write_bytes(path.read_bytes()[:100])
    assert broken_recording(path, [f"recorded 4 frames -> {path}"])
