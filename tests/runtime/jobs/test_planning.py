from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cae_runtime import UsageError
from cae_runtime.io.image_files import write_file
from cae_runtime.jobs.paths import prepare_output
from cae_runtime.jobs.planning import make_plan
from cae_shared.folders import make_folder

Command = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "sub/c d.webp", "sub/ü/é.tiff", "notes.txt", ".hidden.png", ".cache/x.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make paths as if without permission, also for root: what is at them, and what is in them, cannot be seen."""

    def lock(path: Path) -> None:
        for name in ("stat", "iterdir"):
            before = getattr(Path, name)

            def refuse(self: Path, before: Callable[..., object] = before, **options: object) -> object:
                if self == path:
                    raise PermissionError(13, "Permission denied")
                return before(self, **options)

            monkeypatch.setattr(Path, name, refuse)

    return lock


def outputs(sources: list[Path], out: Path, **options: str) -> list[str]:
    return [job.output.relative_to(out).as_posix() for job in make_plan(sources, out, **options).jobs]


def test_a_folder_is_mirrored(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert outputs([photos], out) == ["a.png", "b.JPG", "sub/c d.webp", "sub/ü/é.tiff"]
    assert outputs([photos / "sub"], out) == ["c d.webp", "ü/é.tiff"]
    assert [path.name for path in make_plan([photos], out).left_out] == ["notes.txt"]
    assert not out.exists()


def test_outputs_are_named_after_their_sources(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert outputs([photos / "b.JPG"], out, suffix="_clean") == ["b_clean.JPG"]
    assert outputs([photos / "b.JPG"], out, ext=".png") == ["b.png"]
    assert outputs([photos / "a.png", photos], out) == ["a.png", "b.JPG", "sub/c d.webp", "sub/ü/é.tiff"]


def test_an_output_with_a_suffix_is_a_file(photos: Path, tmp_path: Path) -> None:
    assert make_plan([photos / "a.png"], tmp_path / "x.webp").jobs[0].output == tmp_path / "x.webp"
    assert make_plan([photos / "a.png"], tmp_path / "v1.2").jobs[0].output == tmp_path / "v1.2" / "a.png"
    with pytest.raises(UsageError, match=r"x\.png' names a file, but SOURCE is a folder: name a folder"):
        make_plan([photos], tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"x\.png' names a file, but there are 2 SOURCEs: name a folder"):
        make_plan([photos / "a.png", photos / "b.JPG"], tmp_path / "x.png")
    (tmp_path / "folder.png").mkdir()
    assert make_plan([photos / "a.png"], tmp_path / "folder.png").jobs[0].output == tmp_path / "folder.png" / "a.png"
    assert len(make_plan([photos], tmp_path / "folder.png").jobs) == 4
    with pytest.raises(UsageError, match=r"\.gif.*\.jpg, "):
        make_plan([photos / "a.png"], tmp_path / "x.gif")
    with pytest.raises(UsageError, match=r"\.xyz.*\.jpg, .*end its name in a slash"):
        make_plan([photos / "a.png"], tmp_path / "x.xyz")
    with pytest.raises(UsageError, match="suffix and format apply only to folders"):
        make_plan([photos / "a.png"], tmp_path / "x.png", suffix="_clean")


def test_an_output_folder_inside_the_source_is_not_walked(photos: Path) -> None:
    out = photos / "clean"
    first = outputs([photos], out)
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "old.png").write_text("made before")
    assert outputs([photos], out) == first


def test_an_output_never_overwrites_a_source(photos: Path, tmp_path: Path) -> None:
    advice = "would overwrite the source .*choose another output, or add a suffix"
    with pytest.raises(UsageError, match=advice):
        make_plan([photos], photos)
    with pytest.raises(UsageError, match=advice):
        make_plan([photos / "a.png"], photos / "sub" / ".." / "a.png")
    with pytest.raises(UsageError, match=advice):
        make_plan([photos / "a.png"], photos)
    for name, make in (("soft", os.symlink), ("hard", os.link)):
        make(photos / "a.png", tmp_path / f"{name}.png")
        with pytest.raises(UsageError, match=advice):
            make_plan([photos / "a.png"], tmp_path / f"{name}.png")
    (tmp_path / "link").symlink_to(photos, target_is_directory=True)
    with pytest.raises(UsageError, match=advice):
        make_plan([photos], tmp_path / "link")
    with pytest.raises(UsageError, match=advice):  # the output is another job's source
        make_plan([photos / "b.JPG", photos / "a.png"], photos.parent / "photos", ext=".png")


def test_a_suffix_puts_outputs_beside_their_sources(photos: Path) -> None:
    first = outputs([photos], photos, suffix="_clean")
    assert first == ["a_clean.png", "b_clean.JPG", "sub/c d_clean.webp", "sub/ü/é_clean.tiff"]
    for name in first:
        (photos / name).write_text("made before")
    assert outputs([photos], photos, suffix="_clean") == first


def test_two_sources_never_share_an_output(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_text("another a")
    with pytest.raises(UsageError, match=r"photos/a\.png' and .*other/a\.png' would both become"):
        make_plan([photos / "a.png", tmp_path / "other" / "a.png"], tmp_path / "out")


def test_files_that_would_share_an_output_keep_their_endings(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    for name in ("a.tif", "a.jpg", "b.gif", "b.webp", "c.png", "c.JPG", "d.jpeg", "sub/a.tif", "v.mp4", "v.mov"):
        (source / name).write_text("")

    def names(**options: str) -> dict[str, str]:
        plan = make_plan([source], tmp_path / "out", **options)
        return {
            str(job.source.relative_to(source)): str(job.output.relative_to(tmp_path / "out"))
            for job in plan.jobs
            if job.renamed
        }

    assert names() == {"b.gif": "b.gif.webp", "b.webp": "b.webp.webp"}
    assert names(ext=".png", suffix="_x") == {
        "a.tif": "a_x.tif.png", "a.jpg": "a_x.jpg.png", "b.gif": "b_x.gif.png", "b.webp": "b_x.webp.png",
        "c.JPG": "c_x.JPG.png", "c.png": "c_x.png.png",
    }  # fmt: skip
    assert names(ext=".mkv") == names() | {"v.mov": "v.mov.mkv", "v.mp4": "v.mp4.mkv"}
    (source / "b.gif.webp").write_text("")
    with pytest.raises(UsageError, match=r"b\.gif' and .*b\.gif\.webp' would both become"):
        names()


def test_an_existing_output_is_not_attributed_to_a_newer_source(cae_run: Command, noise: Any, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    pictures = {name: noise((20, 30, 3)) // (1 + number) for number, name in enumerate(("x.bmp", "x.png"))}
    for name, pixels in pictures.items():
        cv2.imwrite(str(source / name), pixels)
        assert cae_run(source, "-o", out, "--ext", "png", "--strength", "0").returncode == 0
    for name, pixels in pictures.items():
        np.testing.assert_array_equal(cv2.imread(str(out / f"{name}.png")), pixels)
    report = json.loads(cae_run(source, "-o", out, "--ext", "png", "--json").stdout)
    for file, name in zip(report["files"], pictures, strict=True):
        assert file["status"] == "skipped"
        assert [note["text"] for note in file["notes"]] == [
            f"its output is named '{name}.png', since another file would become the same output"
        ]


def test_outputs_beside_their_sources_are_not_cleaned_again(tmp_path: Path) -> None:
    for name in ("a.tif", "a.jpg", "a_x.tif.png", "a_x.jpg.png"):
        (tmp_path / name).write_text("")
    assert outputs([tmp_path], tmp_path, suffix="_x", ext=".png") == ["a_x.jpg.png", "a_x.tif.png"]


def test_links_are_followed_without_endless_loops(photos: Path, tmp_path: Path) -> None:
    (photos / "sub" / "up").symlink_to(photos, target_is_directory=True)
    (photos / "again").symlink_to(photos / "sub" / "ü", target_is_directory=True)
    assert outputs([photos], tmp_path / "out") == ["a.png", "again/é.tiff", "b.JPG", "sub/c d.webp", "sub/ü/é.tiff"]


def test_a_call_without_any_image_is_an_error(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'nowhere' does not exist"):
        make_plan([Path("nowhere")], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"has no images or videos \(.jpg, .*, .gif, .*, .avi and the raw files of ca"):
        make_plan([tmp_path / "empty"], tmp_path / "out")


def test_an_unwritable_output_folder_is_found_first(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    prepare_output(out)
    assert list(out.iterdir()) == []
    for bad in (photos / "notes.txt", photos / "notes.txt" / "below"):
        with pytest.raises(UsageError, match="cannot be written to"):
            prepare_output(bad)


def test_paths_that_cannot_be_looked_up_are_reported(
    photos: Path, tmp_path: Path, locked: Callable[[Path], None]
) -> None:
    locked(tmp_path / "far")
    with pytest.raises(UsageError, match=r"source '.*far' cannot be accessed: Permission denied"):
        make_plan([tmp_path / "far"], tmp_path / "out")
    with pytest.raises(UsageError, match=r"output '.*far' cannot be accessed: Permission denied"):
        make_plan([photos], tmp_path / "far")
    long = "x" * 300
    with pytest.raises(UsageError, match=r"source 'x+' cannot be accessed: File name too long"):
        make_plan([Path(long)], tmp_path / "out")
    with pytest.raises(UsageError, match=r"output 'x+\.png' cannot be accessed: File name too long"):
        make_plan([photos / "a.png"], Path(f"{long}.png"))


def test_an_unreadable_source_folder_is_an_error(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UsageError, match=r"source folder '.*photos' cannot be read: Permission denied"):
        make_plan([photos], photos.parent / "out")


@pytest.mark.parametrize("name", ["sub", "sub/ü", "sub/c d.webp"])
def test_an_unreadable_subfolder_does_not_stop_the_others(
    photos: Path, tmp_path: Path, locked: Callable[[Path], None], name: str
) -> None:
    locked(photos / name)
    plan = make_plan([photos], tmp_path / "out")
    assert [at.path for at in plan.unreadable] == [photos / name]
    assert "Permission denied" in plan.unreadable[0].reason
    found = [job.source.relative_to(photos).as_posix() for job in plan.jobs]
    expected = ["a.png", "b.JPG", "sub/c d.webp", "sub/ü/é.tiff"]
    assert found == [path for path in expected if not path.startswith(name)]


@pytest.mark.skipif(os.name == "nt", reason="paths may be shorter there")
def test_a_folder_of_any_depth_is_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    deep = Path("in", *["d"] * 300)
    make_folder(deep)
    (deep / "a.png").write_text("deep")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)  # as 1,300 folders are to the usual limit
    try:
        job = make_plan([Path("in")], Path("out")).jobs[0]
        prepare_output(job.output.parent)
        write_file(job.output.parent / "further" / "a.png", b"clean")
    finally:
        sys.setrecursionlimit(before)
    assert job.source == deep / "a.png"
    assert (job.output.parent / "further" / "a.png").read_bytes() == b"clean"


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_broken_link_among_the_images_is_reported(photos: Path, tmp_path: Path) -> None:
    (photos / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (photos / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    plan = make_plan([photos], tmp_path / "out")
    assert [(at.path.name, at.reason) for at in plan.unreadable] == [("gone.png", "is a link to nothing")]


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes among files there")
def test_a_pipe_among_the_images_is_reported_and_never_opened(photos: Path, tmp_path: Path) -> None:
    for name in ("pipe.png", "pipe.heic", "pipe.txt"):
        os.mkfifo(photos / name)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(photos / "socket.MP4"))
        plan = make_plan([photos], tmp_path / "out")
    assert [(at.path.name, at.reason) for at in plan.unreadable] == [
        ("pipe.heic", "is not a file but a named pipe: it was not opened"),
        ("pipe.png", "is not a file but a named pipe: it was not opened"),
        ("socket.MP4", "is not a file but a socket: it was not opened"),
    ]
    assert [job.source.name for job in plan.jobs] == ["a.png", "b.JPG", "c d.webp", "é.tiff"]


def test_videos_are_planned_beside_images(photos: Path, tmp_path: Path) -> None:
    (photos / "clip.MP4").write_text("a video")
    (photos / "sub" / "film.mkv").write_text("a video")
    plan = make_plan([photos], tmp_path / "out")
    assert [job.output.name for job in plan.jobs if job.video] == ["clip.MP4", "film.mkv"]
    assert len(plan.left_out) == 1
    assert "clip.MP4" in outputs([photos], tmp_path / "out", ext=".png")
    assert "b.JPG" in outputs([photos], tmp_path / "out", ext=".webm")
    assert "sub/film.webm" in outputs([photos], tmp_path / "out", ext=".webm")
    plan = make_plan([photos / "clip.MP4"], tmp_path / "x.mkv")
    assert plan.jobs[0].partial == tmp_path / "x.partial.mkv"
    with pytest.raises(UsageError, match=r"clip\.MP4' is a video, output .*x\.png' names an image"):
        make_plan([photos / "clip.MP4"], tmp_path / "x.png")


def test_partial_files_of_interrupted_runs_are_not_sources(photos: Path) -> None:
    (photos / "clip.mp4").write_text("a video")
    first = outputs([photos], photos, suffix="_clean")
    (photos / "clip_clean.partial.mp4").write_text("half of it")
    assert outputs([photos], photos, suffix="_clean") == first
