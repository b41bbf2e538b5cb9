"""A real client against an S3 server of moto, and files of a web server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.runtime.clips import look_into, make_clip
from tests.runtime.conftest import COMMAND, FIXTURES, Command
from tests.runtime.places.conftest import Trouble, content, local, put

from cae_runtime.places import retries, store, uploads
from cae_runtime.places.address import Address
from cae_runtime.places.uploads import Upload
from cae_runtime.video.files import copies

pytestmark = pytest.mark.slow
pytest.importorskip("s3fs")
pytest.importorskip("moto")


def report(done: Any) -> list[dict[str, Any]]:
    return json.loads(done.stdout)["files"]


def test_a_bucket_is_cleaned_into_another_bucket(cae_run: Command, s3: Any, photos: Path, tmp_path: Path) -> None:
    put(s3, photos, "incoming/photos")
    s3.call_s3("put_object", Bucket="incoming", Key="photos/deep/", Body=b"")  # a folder, as the console makes it
    cae_run(photos, "-o", tmp_path / "out")
    for _ in range(2):  # the second call finds all that there is
        done = cae_run("s3://incoming/", "-o", "s3://cleaned", "--json")
        assert done.returncode == 1
        assert content(s3, "cleaned/photos") == local(tmp_path / "out")
    assert [each["status"] for each in report(done)] == ["skipped", "skipped", "failed", "skipped", "skipped"]
    head = s3.call_s3("head_object", Bucket="cleaned", Key="photos/b.jpg")
    assert head["ContentType"] == "image/jpeg"
    s3.pipe_file("cleaned/photos/a.png", b"other")
    cae_run("s3://incoming/", "-o", "s3://cleaned", "--overwrite")
    assert content(s3, "cleaned/photos") == local(tmp_path / "out")


def test_thousands_of_outputs_are_listed_instead_of_looked_up(
    cae_run: Command, trouble: Trouble, s3: Any, photos: Path
) -> None:
    for number in range(12):
        s3.pipe_file(f"incoming/{number:02}.png", (photos / "a.png").read_bytes())
        s3.pipe_file(f"cleaned/{number:02}.png", b"there")
    done = cae_run("s3://incoming", "-o", "s3://cleaned")
    assert done.returncode == 0
    assert b"12 skipped" in done.stderr
    assert len(trouble.seen) == 4, trouble.seen  # is there the bucket, what is in it, the same of the other


@pytest.mark.parametrize(
    ("source", "out", "says"),
    [
        ("s3://incomin/a.png", "s3://cleaned", "incomin/a.png' cannot be accessed: there is no bucket 'incomin'"),
        ("s3://incoming/a.pgn", "s3://cleaned", "source 's3://incoming/a.pgn' does not exist"),
        ("s3://incoming", "s3://cleand/x", "'s3://cleand/x' cannot be written to: there is no bucket 'cleand'"),
        ("s3://incoming", "s3://incoming", "would overwrite the source"),
    ],
)  # fmt: skip
def test_an_unusable_source_or_output_ends_the_command(
    cae_run: Command, s3: Any, photos: Path, source: str, out: str, says: str
) -> None:
    put(s3, photos / "deep", "incoming")
    done = cae_run(source, "-o", out, "--overwrite")
    assert done.returncode == 2
    assert says in done.stderr.decode()


def test_a_video_is_cleaned_from_bucket_to_bucket(
    cae_run: Command, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=6)
    s3.put_file(str(clip), "incoming/clip.mkv")
    monkeypatch.setattr(uploads, "_WHOLE_MAX", 1000)
    monkeypatch.setattr(uploads, "_PART_BYTES", 5 * 2**20)
    assert cae_run("s3://incoming/clip.mkv", "-o", "s3://cleaned/").returncode == 0
    s3.get_file("cleaned/clip.mkv", str(tmp_path / "there.mkv"))
    assert len(look_into(tmp_path / "there.mkv").frames) == 6
    assert not s3.list_multipart_uploads("cleaned")


def test_passwords_in_addresses_are_used_and_never_shown(
    cae_run: Command, s3: Any, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    type(s3).clear_instance_cache()  # of those that have read other passwords
    put(s3, photos, "incoming")
    user = "s3://AKIAUSER:TOP/secret@"
    done = cae_run(f"{user}incoming", "-o", f"{user}cleaned", "--json", "-v")
    assert done.returncode == 1
    assert len(s3.find("cleaned")) == 4
    for text in (done.stdout, done.stderr):
        assert b"s3://***@incoming/a.png" in text
        assert b"secret" not in text
        assert b"AKIAUSER" not in text
    without = cae_run("s3://incoming", "-o", "s3://cleaned")
    assert without.returncode == 2
    assert b"no credentials were found: set AWS_ACCESS_KEY_ID" in without.stderr


class _Web(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(photos: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Web, directory=str(photos)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_files_on_web_servers_are_read(
    cae_run: Command, web: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    cae_run(photos / "a.png", "-o", tmp_path / "here/")
    done = cae_run(f"{web}/a.png?token=secret", "-o", tmp_path / "there/", "--json")
    assert done.returncode == 0
    assert local(tmp_path / "there") == local(tmp_path / "here")
    assert report(done)[0]["source"] == f"{web}/a.png?token=***"
    for address, says in (
        (f"{web}/z.png", b"does not exist"),
        (f"{web}/deep/", b"names no file"),
        ("http://127.0.0.1:9/a.png", b"the connection failed (refused), also at the last of 5 tries"),
    ):
        bad = cae_run(address, "-o", tmp_path / "there/")
        assert bad.returncode == 2
        assert says in bad.stderr


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that are made, which take no time."""
    made: list[float] = []

    def paused(seconds: float) -> bool:
        made.append(seconds)
        return True

    monkeypatch.setattr(retries, "_paused", paused)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.5)
    return made


@pytest.mark.parametrize("what", [500, 503, 429, "reset", 2.0])
@pytest.mark.parametrize("request_", ["GET /incoming/a.png", "PUT /cleaned/a.png", "GET /incoming?list"])
def test_temporary_errors_are_retried(
    cae_run: Command, trouble: Trouble, s3: Any, photos: Path, pauses: list[float], request_: str, what: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if isinstance(what, float):
        if request_.startswith("PUT"):
            pytest.skip("the same as GET")
        monkeypatch.setattr(store, "_READ_SECONDS", 0.5)
    put(s3, photos / "deep", "incoming/deep")
    s3.pipe_file("incoming/a.png", (photos / "a.png").read_bytes())
    trouble.add(request_, 2, what)
    done = cae_run("s3://incoming", "-o", "s3://cleaned")
    assert done.returncode == 0, done.stderr
    again = 1 if what == "reset" else 2  # aiohttp itself asks again once on a connection that it used before
    assert pauses[:again] == [0.5, 1.0][:again]
    assert len(s3.find("cleaned")) == 3


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (503, "the store answered 503 SlowDown of a test, also at the last of 5 tries"),
        ("reset", "the connection failed"),
        (403, "permission is denied (403 AccessDenied of a test)"),
    ],
)
def test_permanent_errors_fail_that_file_alone(
    cae_run: Command, trouble: Trouble, s3: Any, photos: Path, pauses: list[float], what: Any, says: str
) -> None:
    put(s3, photos / "deep", "incoming/deep")
    for name in ("a.png", "b.png"):
        s3.pipe_file(f"incoming/{name}", (photos / "a.png").read_bytes())
    trouble.add("GET /incoming/a.png", -1, what)
    trouble.add("PUT /cleaned/b.png", -1, what)
    done = cae_run("s3://incoming", "-o", "s3://cleaned", "--json")
    assert done.returncode == 1
    reasons = {each["source"]: each["reason"] for each in report(done)}
    assert reasons["s3://incoming/a.png"].startswith("cannot be read: ")
    assert reasons["s3://incoming/b.png"].startswith("cannot be written to 's3://cleaned/b.png': ")
    assert says in reasons["s3://incoming/a.png"]
    assert says in reasons["s3://incoming/b.png"]
    assert set(content(s3, "cleaned")) == {"deep/d.tif", "deep/er/c.png"}
    tries = 1 if what == 403 else 5
    for request_ in ("GET /incoming/a.png", "PUT /cleaned/b.png"):
        assert tries <= trouble.count(request_) <= tries * (1 + (what == "reset"))  # aiohttp asks again once, too
    assert sorted(pauses) == ([] if what == 403 else [0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0])


def test_an_unreachable_store_ends_the_command(
    cae_run: Command, trouble: Trouble, s3: Any, photos: Path, pauses: list[float]
) -> None:
    put(s3, photos / "deep", "incoming")
    for request_, says in (
        ("GET /incoming?list", "source folder 's3://incoming' cannot be read: the store answered 503"),
        ("HEAD /incoming", "source 's3://incoming' cannot be accessed: the store answered 503"),
        ("HEAD /cleaned", "output folder 's3://cleaned' cannot be written to: the store answered 503"),
    ):
        trouble.rules.clear()
        trouble.add(request_, -1, 503)
        done = cae_run("s3://incoming", "-o", "s3://cleaned")
        assert done.returncode == 2
        assert says in done.stderr.decode()
        assert "also at the last of 5 tries" in done.stderr.decode()


def test_a_failed_upload_of_a_large_file_leaves_no_parts(
    trouble: Trouble, s3: Any, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_WHOLE_MAX", 1000)
    monkeypatch.setattr(uploads, "_PART_BYTES", 5 * 2**20)
    large = tmp_path / "large.mkv"
    large.write_bytes(np.random.default_rng(1).bytes(11 * 2**20))
    address = Address("s3", "cleaned", "large.mkv")
    trouble.add("partNumber=2", -1, 500)
    with pytest.raises(OSError, match="the store answered 500 InternalError of a test, also at the last of 5 tries"):
        Upload(large, address).run()
    assert not s3.find("cleaned")
    assert not s3.list_multipart_uploads("cleaned")
    trouble.rules.clear()
    trouble.seen.clear()
    upload = Upload(large, address)
    trouble.add("partNumber=2", 1, 1.0)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(upload.run)
        while not trouble.count("PUT /cleaned/large.mkv?partNumber=2"):
            time.sleep(0.01)
        upload.stop()
        assert not s3.list_multipart_uploads("cleaned")  # at once, while the part is on its way
        with pytest.raises(OSError, match="interrupted"):
            running.result()
    assert not s3.find("cleaned")
    assert not s3.list_multipart_uploads("cleaned")
    trouble.seen.clear()
    trouble.add("partNumber=2", 2, 503)
    Upload(large, address).run()
    assert s3.cat_file("cleaned/large.mkv") == large.read_bytes()
    assert [trouble.count(f"partNumber={number}&") for number in (1, 2, 3)] == [1, 3, 1]  # a part is sent again alone


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_no_uploaded_parts_of_a_video(
    trouble: Trouble, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_WHOLE_MAX", 1000)
    monkeypatch.setattr(uploads, "_PART_BYTES", 5 * 2**20)
    (tmp_path / "large.mkv").write_bytes(bytes(11 * 2**20))
    part = "PUT /cleaned/large.mkv?partNumber=2"
    trouble.add(part, 1, 0.5)
    arrived: list[bool] = []

    def press() -> None:
        while not trouble.count(part):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs of a shell ignore it
    try:
        pressing.start()
        with pytest.raises(KeyboardInterrupt):
            copies._copy(tmp_path / "large.mkv", Address("s3", "cleaned", "large.mkv"), lambda: arrived.append(True))
        pressing.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert trouble.count(part)
    assert not arrived
    assert not s3.find("cleaned")
    assert not s3.list_multipart_uploads("cleaned")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_no_uploaded_parts_of_a_file(trouble: Trouble, s3: Any, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (600, 800, 3), np.uint8)).save(tmp_path / "a.png")
    for number in range(40):
        s3.put_file(str(tmp_path / "a.png"), f"incoming/{number:02}.png")
    trouble.add("PUT /cleaned", -1, 0.3)
    process = subprocess.Popen(
        [COMMAND, "s3://incoming", "-o", "s3://cleaned", "-m", FIXTURES / "identity.onnx", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while trouble.count("PUT /cleaned") < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    document = json.loads(out)
    done = [each["output"] for each in document["files"] if each["status"] == "done"]
    assert document["totals"]["not_reached"] == 40 - len(done) > 0
    assert sorted(f"s3://{name}" for name in s3.find("cleaned")) == sorted(done)
    assert len({s3.info(name)["size"] for name in s3.find("cleaned")}) == 1
    assert not s3.list_multipart_uploads("cleaned")
