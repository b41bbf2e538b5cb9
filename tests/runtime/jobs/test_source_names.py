"""Names for SOURCE and OUT: files, patterns, folders; and unsupported kinds of pictures."""

from __future__ import annotations

import json
from pathlib import Path, PurePath

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import Command

from cae_runtime import ImageError, UsageError
from cae_runtime.cli.source_names import expanded
from cae_runtime.io.headers.unsupported import what_to_do
from cae_runtime.io.image_files import decode
from cae_runtime.jobs.planning import make_plan

PICTURE = np.full((40, 40, 3), 90, np.uint8)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("IMG[1].jpg", "IMG1.jpg", "b.jpg", "a.jpg", "c.png", "year[1]/d.jpg", "year1/e.jpg", ".hidden.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["IMG[1].jpg"], ["IMG[1].jpg"]),
        (["IMG[0-9].jpg"], ["IMG1.jpg"]),
        (["[ab].jpg", "c.*"], ["a.jpg", "b.jpg", "c.png"]),
        (["year[1]/*.jpg"], ["year[1]/d.jpg"]),
        (["**/e.jpg"], ["year1/e.jpg"]),
        (["-", "missing.png", "year1"], ["-", "missing.png", "year1"]),
    ],
)
def test_existing_names_are_files_and_others_are_patterns(here: Path, typed: list[str], meant: list[str]) -> None:
    assert [Path(name) for name in expanded(typed)] == [Path(name) for name in meant]
    assert [Path(name) for name in expanded([str(here / name) for name in typed if "." in name])] == [
        here / name for name in meant if "." in name
    ]


def test_a_pattern_without_matches_is_a_usage_error(here: Path) -> None:
    with pytest.raises(UsageError, match=r"source '\*\.tif' matches no file"):
        expanded(["*.tif"])


def test_outputs_are_named_as_given(here: Path) -> None:
    source = here / "a.jpg"
    assert make_plan([source], here / "o1.png", out_is_folder=True).jobs[0].output == here / "o1.png" / "a.jpg"
    for name, ext in (("raw.png", ".png"), ("raw.jpg", ".jpeg"), ("raw.TIF", ".tiff")):
        assert make_plan([source], here / name, ext=ext).jobs[0].output == here / name
    with pytest.raises(UsageError, match="suffix and format apply only to folders"):
        make_plan([source], here / "raw.png", ext=".jpg")
    (here / "a.mts").touch()
    assert [each.path.name for each in make_plan([source, here / "a.mts"], here / "out").unreadable] == ["a.mts"]
    (here / "b.ts").write_bytes((b"G" + bytes(187)) * 2)
    (here / "c.ts").write_text("export const G = 1\n" * 20)
    plan = make_plan([here / "b.ts", here], here / "out")
    assert [each.path.name for each in plan.unreadable if each.path.suffix == ".ts"] == ["b.ts", "b.ts"]
    assert "c.ts" in [each.name for each in plan.left_out]


def test_unsupported_kinds_of_pictures_fail(cae_run: Command, tmp_path: Path) -> None:
    folder = tmp_path / "phone"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), PICTURE)
    (folder / "a.jpg").rename(folder / "a.jfif")
    for name in ("1.psd", "2.PSD", "3.psd", "x.dds", "x.ico", "x.fits", "-00001.MTS", "notes.txt", "Makefile"):
        (folder / name).write_bytes(b"not read")
    for name in ("desktop.ini", "Thumbs.db", ".DS_Store", "._a.jfif"):
        (folder / name).write_bytes(b"of the system")
    done = cae_run(folder, "-o", tmp_path / "out", "--json", "--strength", "0")
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert "left out: 1 .txt, 1 without a suffix (neither images nor videos)" in lines[-1]
    assert (
        "; 7 failed, among them 1 .dds, 1 .fits, 1 .ico, 1 .mts, 3 .psd (in formats that are not read); " in lines[-1]
    )
    assert any(
        each.endswith(
            "in a format that is not read (.mts): convert it first (ffmpeg -i ./-00001.MTS -c:v copy ./-00001.mkv)"
        )
        for each in lines
    )
    assert any("1.psd' is an image in a format that is not read (.psd): convert it to PNG" in each for each in lines)
    report = json.loads(done.stdout)
    assert sorted(Path(f["source"]).name for f in report["files"] if f["status"] == "failed") == [
        "-00001.MTS", "1.psd", "2.PSD", "3.psd", "x.dds", "x.fits", "x.ico",
    ]  # fmt: skip
    assert [Path(path).name for path in report["left_out"]] == ["Makefile", "notes.txt"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.jfif"]


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("IMG_1 b.psd", "magick 'IMG_1 b.psd' 'IMG_1 b.png'"),
        ("$(touch it).psd", "magick '$(touch it).psd' '$(touch it).png'"),
        ("it's;id.psd", """magick 'it'"'"'s;id.psd' 'it'"'"'s;id.png'"""),
        ("-write x.psd", "magick './-write x.psd' './-write x.png'"),
        ("@list.dds", "magick ./@list.dds ./@list.png"),
        ("msl:a.psd", "magick ./msl:a.psd ./msl:a.png"),
    ],
)
def test_a_suggested_command_does_only_what_the_message_says(name: str, command: str) -> None:
    assert f"(ImageMagick: {command})" in what_to_do(PurePath(name))


def test_a_named_file_is_recognized_by_its_content(tmp_path: Path, cae_run: Command) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), PICTURE)
    (tmp_path / "a.jpg").rename(tmp_path / "a.psd")
    assert cae_run(tmp_path / "a.psd", "-o", tmp_path / "out.png", "--strength", "0").returncode == 0
    assert (tmp_path / "out.png").exists()
    for start, kind in ((b"8BPS\0\1", "Photoshop file"), (b"SIMPLE  =", "FITS")):
        with pytest.raises(ImageError, match=f"is a {kind}, which is not read: convert it"):
            decode(start + bytes(40))
