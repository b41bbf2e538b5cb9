"""What holds for every store, tested with fsspec's store in memory."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.runtime.clips import look_into, make_clip, psnr
from tests.runtime.conftest import FIXTURES, Command
from tests.runtime.places.conftest import content, local, put

from cae_runtime import (
    ImageNotFoundError,
    MissingExtraError,
    UsageError,
    VideoError,
    clean_folder,
    clean_image,
    clean_video,
)
from cae_runtime.jobs import existing_outputs
from cae_runtime.places import retries, starts, store
from cae_runtime.places.address import Address
from cae_runtime.places.reasons import StoreError

pytest.importorskip("fsspec")

MODEL = FIXTURES / "identity.onnx"
ADDRESS = Address("memory", "bucket", "large.mp4")


def report(done: Any) -> list[dict[str, Any]]:
    return json.loads(done.stdout)["files"]


def named(files: list[dict[str, Any]], source: str, out: str) -> list[dict[str, Any]]:
    """Return what is the same in the reports of two places."""
    return [
        {
            **{name: each[name] for name in ("status", "reason", "width", "height", "dropped", "lossy", "pixels")},
            "source": each["source"].removeprefix(source),
            "output": each["output"].removeprefix(out),
        }
        for each in files
    ]


def test_a_folder_in_a_store_gives_the_same_outputs_as_a_local_one(
    cae_run: Command, memory: Any, photos: Path, tmp_path: Path
) -> None:
    put(memory, photos, "/in/photos")
    here = cae_run(photos, "-o", tmp_path / "out", "--json")
    there = cae_run("memory://in/photos/", "-o", "memory://out", "--json")
    assert here.returncode == there.returncode == 1
    assert content(memory, "/out") == local(tmp_path / "out")
    assert set(content(memory, "/out")) == {"a.png", "b.jpg", "deep/d.tif", "deep/er/c.png"}
    assert named(report(there), "memory://in/photos", "memory://out") == named(
        report(here), str(photos), str(tmp_path / "out")
    )
    assert json.loads(there.stdout)["left_out"] == ["memory://in/photos/notes.txt"]
    assert b"failed: 'memory://in/photos/broken.png' is not a JPEG" in there.stderr
    assert there.stderr.splitlines()[-1].split(b" -> ")[1].startswith(b"memory://out/; 1 failed; left out: 1 .txt")


def test_stores_and_local_folders_can_be_mixed(cae_run: Command, memory: Any, photos: Path, tmp_path: Path) -> None:
    put(memory, photos, "/in")
    cae_run("memory://in/deep", photos / "a.png", "-o", tmp_path / "out")
    assert set(local(tmp_path / "out")) == {"er/c.png", "d.tif", "a.png"}
    cae_run(photos / "deep", "memory://in/b.jpg", "-o", "memory://out")
    assert set(content(memory, "/out")) == {"er/c.png", "d.tif", "b.jpg"}
    assert cae_run(photos / "a.png", "-o", "memory://out/one.webp").returncode == 0
    assert "/out/one.webp" in memory.store


def test_existing_outputs_are_found_with_one_listing(
    cae_run: Command, memory: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(memory, photos, "/in")
    monkeypatch.setattr(existing_outputs, "_FEW", 1)
    memory.pipe_file("/out/deep/er/c.png", b"of an earlier call")
    asked: list[str] = []
    kind_of = store.kind_of
    monkeypatch.setattr(store, "kind_of", lambda address: asked.append(str(address)) or kind_of(address))
    first = cae_run("memory://in", "-o", "memory://out", "--json")
    assert asked == ["memory://in", "memory://"]  # the source, and whether the bucket exists
    assert [each["status"] for each in report(first)] == ["done", "done", "failed", "done", "skipped"]
    assert memory.cat_file("/out/deep/er/c.png") == b"of an earlier call"
    cae_run("memory://in", "-o", "memory://out", "--overwrite")
    assert memory.cat_file("/out/deep/er/c.png").startswith(b"\x89PNG")


def test_only_the_output_folder_is_listed(
    cae_run: Command, memory: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(memory, photos / "deep", "/in/of/deep")
    monkeypatch.setattr(existing_outputs, "_FEW", 1)
    listed: list[str] = []
    files_below = store.files_below
    monkeypatch.setattr(store, "files_below", lambda folder: listed.append(str(folder)) or files_below(folder))
    for skipped in (0, 2):
        done = cae_run("memory://in", "-o", "memory://out", "--json")
        assert [each["status"] for each in report(done)].count("skipped") == skipped
    assert listed == ["memory://in", "memory://out/of/deep"] * 2


def test_a_file_that_the_store_cannot_stream_fails(
    cae_run: Command, memory: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/in/a.png", (photos / "a.png").read_bytes())
    memory.pipe_file("/in/code.ts", b"G" * 1000)  # no whole packets
    for name in ("lost.ts", "stream.ts"):
        memory.pipe_file(f"/in/{name}", (b"G" + bytes(187)) * 3)
    asked: list[str] = []
    start_of = starts.start_of

    def start(address: Address, count: int) -> bytes:
        asked.append(address.name)
        if address.name == "lost.ts":
            raise StoreError("the store answered 503")
        return start_of(address, count)

    monkeypatch.setattr(starts, "start_of", start)
    done = cae_run("memory://in", "-o", "memory://out", "--json")
    assert done.returncode == 1
    assert asked == ["lost.ts", "stream.ts"]
    assert json.loads(done.stdout)["left_out"] == ["memory://in/code.ts"]
    reasons = {each["source"]: each["reason"] for each in report(done)}
    assert reasons["memory://in/lost.ts"] == "cannot be read: the store answered 503"
    assert "not read (.ts)" in reasons["memory://in/stream.ts"]


def test_a_few_outputs_are_looked_up_one_by_one(cae_run: Command, memory: Any, photos: Path) -> None:
    put(memory, photos, "/in")
    memory.pipe_file("/out/c.png", b"of an earlier call")
    again = cae_run("memory://in/deep/er", "memory://in/a.png", "-o", "memory://out", "--json")
    assert [each["status"] for each in report(again)] == ["skipped", "done"]


@pytest.mark.parametrize(
    ("source", "out"),
    [
        ("memory://in/a.png", "memory:///in//./a.png"),
        ("memory://in", "memory://in/"),
        ("memory://in/deep", "memory://in/deep/../deep"),
    ],
)
def test_a_source_is_never_overwritten(cae_run: Command, memory: Any, photos: Path, source: str, out: str) -> None:
    put(memory, photos, "/in")
    before = content(memory, "/")
    done = cae_run(source, "-o", out, "--overwrite")
    assert done.returncode == 2
    assert b"would overwrite the source" in done.stderr
    assert content(memory, "/") == before


def test_outputs_may_lie_inside_the_source(cae_run: Command, memory: Any, photos: Path) -> None:
    put(memory, photos / "deep", "/in")
    for _ in range(2):
        cae_run("memory://in", "-o", "memory://in/clean")
        cae_run("memory://in", "-o", "memory://in", "--suffix", "_clean")
    assert set(content(memory, "/in")) == {
        "d.tif", "er/c.png", "clean/d.tif", "clean/er/c.png", "d_clean.tif", "er/c_clean.png", "clean/d_clean.tif",
        "clean/er/c_clean.png",
    }  # fmt: skip


def test_names_that_leave_the_output_folder_fail(cae_run: Command, memory: Any, photos: Path, tmp_path: Path) -> None:
    data = (photos / "a.png").read_bytes()
    for name in ("/in/../../../evil.png", "/in/a.png"):
        memory.pipe_file("/x", data)
        memory.store[name] = memory.store.pop("/x")
    done = cae_run("memory://in", "-o", tmp_path / "out", "--json")
    assert done.returncode == 1
    assert [(each["status"], each["reason"]) for each in report(done)] == [
        ("failed", "has a name that no file can have"),
        ("done", ""),
    ]
    assert not list(tmp_path.rglob("evil*"))


def test_patterns_are_expanded(cae_run: Command, memory: Any, photos: Path) -> None:
    put(memory, photos, "/in")
    memory.pipe_file("/in/odd[1].png", (photos / "a.png").read_bytes())
    assert cae_run("memory://in/*.jpg", "memory://in/odd[1].png", "-o", "memory://out/").returncode == 0
    assert cae_run("memory://in/**/*.png", "-o", "memory://all/").returncode == 1
    assert set(content(memory, "/out")) == {"b.jpg", "odd[1].png"}
    assert set(content(memory, "/all")) == {"a.png", "c.png", "e.png", "odd[1].png"}
    nothing = cae_run("memory://in/*.bmp", "-o", "memory://out/")
    assert nothing.returncode == 2
    assert b"source 'memory://in/*.bmp' matches no file" in nothing.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["memory://nothing", "-o", "memory://out"], "source 'memory://nothing' does not exist"),
        (["memory://in", "-o", "http://host/out"], "cannot be written to"),
        (["memory://in", "-o", "ftp://me:secret@host/out"], "'ftp' addresses are not supported"),
        (["memory://in", "-o", "memory://out/x.png"], "names a file, but SOURCE is a folder"),
        (["memory://in", "-o", "memory://out", "--mask", "memory://mask.png"], "--mask takes a file of this computer"),
        (["memory://in", "-o", "memory://out", "-m", "s3://b/m.onnx"], "--model takes a file of this computer"),
        (["memory://in", "--sheet", "s3://b/sheet.png"], "--sheet takes a file of this computer"),
        (["memory://in", "--view"], "--view takes files and folders of this computer"),
        (["memory://in", "-o", "out", "--watch"], "is an address: this works only with files and folders"),
    ],
)
def test_unsupported_combinations_are_refused_in_a_sentence(
    cae_run: Command, memory: Any, photos: Path, words: list[str], says: str
) -> None:
    put(memory, photos, "/in")
    done = cae_run(*words, model=None if "-m" in words else "identity")
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
    assert b"secret" not in done.stderr


@pytest.mark.parametrize(
    ("address", "missing", "says"),
    [
        ("s3://b/a.png", "s3fs", "pip install 'cae-toolkit[cloud]'"),
        ("memory://a.png", "fsspec", "pip install 'cae-toolkit[cloud]'"),
        ("gs://b/a.png", "gcsfs", "pip install gcsfs"),
        ("az://b/a.png", "adlfs", "pip install adlfs"),
    ],
)
def test_a_missing_extra_is_a_one_line_error(
    cae_run: Command, photos: Path, monkeypatch: pytest.MonkeyPatch, address: str, missing: str, says: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(store, "find_spec", lambda name: None if name == missing else find(name))
    for words in ([address, "-o", "out"], [photos, "-o", address]):
        done = cae_run(*words)
        assert done.returncode == 2
        assert says in done.stderr.decode()
        assert len(done.stderr.splitlines()) == 1
    with pytest.raises(MissingExtraError, match="is an address, which needs an extra"):
        clean_image(address, "a.png", MODEL)


def test_the_library_accepts_addresses(memory: Any, photos: Path, tmp_path: Path) -> None:
    put(memory, photos, "/in")
    clean_folder(photos, tmp_path / "out", MODEL)
    results = clean_folder("memory://in", "memory://out", MODEL)
    assert content(memory, "/out") == local(tmp_path / "out")
    assert [result.status for result in results] == ["done", "done", "failed", "done", "done"]
    clean_image("memory://in/a.png", "memory://one/b.png", MODEL)
    assert memory.cat_file("/one/b.png") == memory.cat_file("/out/a.png")
    with pytest.raises(UsageError, match="is the source"):
        clean_image("memory://in/a.png", "memory:///in/a.png", MODEL)
    with pytest.raises(ImageNotFoundError, match=r"'memory://in/z\.png' does not exist"):
        clean_image("memory://in/z.png", "memory://one/b.png", MODEL)
    with pytest.raises(UsageError, match="cannot be written to"):
        clean_image("memory://in/a.png", "http://host/b.png", MODEL)


def test_pipes_accept_addresses(cae_run: Command, memory: Any, photos: Path) -> None:
    data = (photos / "a.png").read_bytes()
    assert cae_run("-", "-o", "memory://out/a.png", stdin=data).returncode == 0
    assert cae_run("memory://out/a.png", "-o", "-").stdout == memory.cat_file("/out/a.png")


def test_feature_tables_can_be_written_to_a_store(cae_run: Command, memory: Any, photos: Path) -> None:
    put(memory, photos / "deep", "/in")
    for says in (b"2 images", b"skipped: 'memory://out/table.csv' exists"):
        done = cae_run("memory://in", "-o", "memory://out/table.csv", model="encode")
        assert done.returncode == 0
        assert says in done.stderr
    rows = list(csv.reader(memory.cat_file("/out/table.csv").decode().splitlines()))
    assert [row[0] for row in rows] == ["path", "memory://in/d.tif", "memory://in/er/c.png"]
    other = cae_run("memory://in/d.tif", "-o", "memory://out/table.csv", model="encode")
    assert other.returncode == 2
    assert b"output 'memory://out/table.csv' exists, but it has rows of others" in other.stderr


def test_anomalies_can_be_found_in_a_store(cae_run: Command, memory: Any, photos: Path, tmp_path: Path) -> None:
    put(memory, photos / "deep", "/in")
    done = cae_run("memory://in", "-o", tmp_path / "maps", "--json", model="anomaly")
    assert done.returncode == 0
    assert {each["source"] for each in report(done)} == {"memory://in/d.tif", "memory://in/er/c.png"}
    again = cae_run("memory://in", "-o", tmp_path / "maps", model="anomaly")
    assert b"skipped" in again.stderr
    there = cae_run("memory://in", "-o", "memory://maps", model="anomaly")
    assert there.returncode == 2
    assert b"output 'memory://maps' is an address" in there.stderr


def test_videos_are_copied(cae_run: Command, memory: Any, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=6, sound="aac")
    memory.pipe_file("/in/clip.mkv", clip.read_bytes())
    assert cae_run(clip, "-o", tmp_path / "here.mkv").returncode == 0
    done = cae_run("memory://in/clip.mkv", "-o", "memory://out/there.mkv", "--json")
    assert done.returncode == 0
    assert (report(done)[0]["frames"], report(done)[0]["output"]) == (6, "memory://out/there.mkv")
    (tmp_path / "there.mkv").write_bytes(memory.cat_file("/out/there.mkv"))
    here, there = look_into(tmp_path / "here.mkv"), look_into(tmp_path / "there.mkv")
    assert psnr(here.frames, there.frames) > 40  # x264 makes other files of the same frames
    assert here.sound == there.sound
    assert clean_video("memory://in/clip.mkv", tmp_path / "lib.mkv", MODEL).frames == 6
    with pytest.raises(VideoError, match=r"video 'memory://in/z\.mkv' cannot be read: it does not exist"):
        clean_video("memory://in/z.mkv", tmp_path / "lib.mkv", MODEL)
    with pytest.raises(UsageError, match="is the source"):
        clean_video("memory://in/clip.mkv", "memory://in//clip.mkv", MODEL)


def test_the_finished_part_of_a_broken_video_is_kept(cae_run: Command, memory: Any, tmp_path: Path) -> None:
    data = make_clip(tmp_path / "clip.mkv", frames=20, noise=20.0).read_bytes()
    memory.pipe_file("/in/clip.mkv", data[: len(data) * 2 // 3])
    done = cae_run("memory://in/clip.mkv", "-o", "memory://out/", "--json")
    assert done.returncode == 1
    assert "in 'memory://out/clip.partial.mkv'" in report(done)[0]["reason"]
    assert set(content(memory, "/out")) == {"clip.partial.mkv"}


def test_a_video_without_enough_local_space_fails(
    cae_run: Command, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe_file("/in/clip.mkv", make_clip(tmp_path / "clip.mkv").read_bytes())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    done = cae_run("memory://in/clip.mkv", "-o", "memory://out/", "--json")
    assert done.returncode == 1
    assert "has room for 1,000: set TMPDIR" in report(done)[0]["reason"]


def test_reading_a_large_file_resumes_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(250))
    store.system_of(ADDRESS).pipe_file(ADDRESS.in_store, data)
    system = type(store.system_of(ADDRESS))
    asked: list[int] = []
    read = system.cat_file

    def once_lost(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
        asked.append(start or 0)
        if asked.count(100) == 1 and start == 100:
            raise ConnectionResetError
        return bytes(read(self, path, start, end))

    monkeypatch.setattr(system, "cat_file", once_lost)
    monkeypatch.setattr(store, "_RANGE", 100)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.0)
    store.download(ADDRESS, tmp_path / "copy", 1000)
    assert (tmp_path / "copy").read_bytes() == data
    assert asked == [0, 100, 100, 200]
