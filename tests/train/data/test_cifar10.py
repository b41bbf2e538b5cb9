from __future__ import annotations

import gc
import hashlib
import io
import tarfile
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import cae_train.data.cifar10
from cae_train import DataError, TrainConfig
from cae_train.data.cifar10 import FILES, FOLDER, RECORD_BYTES, load_cifar10
from cae_train.data.images import load

RECORDS = 20
Serve = Callable[[bytes | None], str]


def record_bytes() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {name: rng.integers(0, 256, RECORDS * RECORD_BYTES, dtype=np.uint8).tobytes() for name in FILES}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.data.cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cae_train.data.cifar10, "URL", "http://127.0.0.1:9/nobody-listens-here.tar.gz")


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / FOLDER
    folder.mkdir(parents=True)
    for name, content in record_bytes().items():
        (folder / name).write_bytes(content)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Offer an archive (None: nothing) on a real server, with its checksum as the expected one."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def offer(archive: bytes | None) -> str:
            url = f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz"
            if archive is not None:
                (folder / "cifar-10-binary.tar.gz").write_bytes(archive)
                md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
                monkeypatch.setattr(cae_train.data.cifar10, "MD5", md5)
            monkeypatch.setattr(cae_train.data.cifar10, "URL", url)
            return url

        yield offer
        server.shutdown()
    with warnings.catch_warnings():  # after a 404 pooch leaves its socket to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def good_tar() -> bytes:
    return tar_of({f"{FOLDER}/{name}": content for name, content in record_bytes().items()})


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("inside", [True, False])
def test_the_binary_layout_is_read(unpacked: Path, inside: bool) -> None:
    train, test = load_cifar10(unpacked if inside else unpacked.parent)
    assert (train.shape, test.shape) == ((5 * RECORDS, 32, 32, 3), (RECORDS, 32, 32, 3))
    content = record_bytes()["data_batch_2.bin"]
    row, column, channel, index = 3, 17, 2, 4
    byte = content[index * RECORD_BYTES + 1 + channel * 1024 + row * 32 + column]
    assert train[RECORDS + index, row, column, channel] == byte


def test_the_test_part_is_kept_apart(unpacked: Path) -> None:
    config = TrainConfig(data=("cifar10",), data_dir=str(unpacked.parent))
    split = load(config)
    assert (len(split.train), len(split.validation), len(split.test)) == (90, 10, RECORDS)
    assert split.test_of == "cifar10"
    parts = [{image.tobytes() for image in part} for part in (split.train, split.validation, split.test)]
    assert len(set.union(*parts)) == 6 * RECORDS
    assert {image.tobytes() for image in load(config).validation} == parts[1]


def test_a_file_of_the_wrong_size_is_named(unpacked: Path) -> None:
    (unpacked / "data_batch_3.bin").write_bytes(b"12345")
    with pytest.raises(DataError, match=r"data_batch_3\.bin has 5 bytes, not"):
        load_cifar10(unpacked)


def test_a_missing_file_is_named(unpacked: Path) -> None:
    (unpacked / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin cannot be read: No such file"):
        load_cifar10(unpacked)


def test_the_archive_is_downloaded_and_unpacked(
    serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    serve(good_tar())
    train, _ = load_cifar10(tmp_path / "new" / "data")
    assert train.shape == (5 * RECORDS, 32, 32, 3)
    assert files_below(tmp_path / "new") == {*FILES, "cifar-10-binary.tar.gz"}
    assert capfd.readouterr() == ("", "")  # no bar where nobody looks at a terminal
    serve(None)
    (tmp_path / "served" / "cifar-10-binary.tar.gz").unlink()
    assert np.array_equal(load_cifar10(tmp_path / "new" / "data")[0], train)  # not fetched again


def one_line(caught: pytest.ExceptionInfo[DataError], *parts: str) -> None:
    message = str(caught.value)
    assert "\n" not in message
    for part in (*parts, "data_dir", FOLDER):
        assert part in message


def test_a_wrong_checksum_is_refused(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = serve(good_tar())
    monkeypatch.setattr(cae_train.data.cifar10, "MD5", "0" * 32)
    with pytest.raises(DataError, match="hash") as caught:
        load_cifar10(tmp_path / "data")
    one_line(caught, url)
    assert not (tmp_path / "data").exists()


def test_a_server_without_the_file_is_reported(serve: Serve, tmp_path: Path) -> None:
    url = serve(None)
    with pytest.raises(DataError, match="404") as caught:
        load_cifar10(tmp_path / "data")
    one_line(caught, url)
    assert not (tmp_path / "data").exists()


def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        load_cifar10(tmp_path / "data")
    one_line(caught, "127.0.0.1")
    assert not (tmp_path / "data").exists()


def test_a_data_dir_that_cannot_be_made_is_reported(serve: Serve, tmp_path: Path) -> None:
    serve(good_tar())
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        load_cifar10(tmp_path / "file" / "data")
    one_line(caught)


def test_only_the_six_expected_files_are_unpacked(serve: Serve, tmp_path: Path) -> None:
    files = {f"{FOLDER}/{name}": content for name, content in record_bytes().items()}
    absolute = tmp_path / "evil-absolute"
    serve(tar_of({"../evil": b"x", str(absolute): b"x", f"{FOLDER}/../../evil2": b"x", **files}))
    load_cifar10(tmp_path / "deep" / "data")
    assert files_below(tmp_path / "deep") == {*FILES, "cifar-10-binary.tar.gz"}
    assert not absolute.exists()
    assert not list(tmp_path.glob("evil*"))


def test_an_incomplete_archive_is_not_used_as_a_data_set(serve: Serve, tmp_path: Path) -> None:
    files = {f"{FOLDER}/{name}": content for name, content in record_bytes().items() if name != "data_batch_4.bin"}
    serve(tar_of(files))
    for _ in range(2):  # what the first attempt left does not hide the reason from the second
        with pytest.raises(DataError, match=r"data_batch_4\.bin"):
            load_cifar10(tmp_path / "data")
    assert not list(tmp_path.rglob("*.partial"))
