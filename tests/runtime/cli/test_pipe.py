from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.runtime.files import opened
from typer.testing import CliRunner

from cae_runtime import ImageError
from cae_runtime.cli.main import app
from cae_runtime.io import image_files as images
from cae_runtime.io.image_files import read_file, read_stream
from cae_runtime.jobs.restore import pipe

Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def photo(tmp_path: Path, noise: Callable[..., np.ndarray]) -> Path:
    Image.fromarray(noise((40, 60, 3))).save(tmp_path / "a b.png")
    return tmp_path / "a b.png"


def test_a_picture_goes_from_stdin_to_stdout(cae_run: Command, photo: Path, tmp_path: Path) -> None:
    data = photo.read_bytes()
    done = cae_run("-", "-o", "-", "--provider", "cpu", stdin=data, installed=True)
    assert done.returncode == 0
    assert done.stderr == b"", "nothing to say of a provider that was asked for"
    assert opened(done.stdout).format == "PNG"
    np.testing.assert_array_equal(np.asarray(opened(done.stdout)), np.asarray(opened(data)))
    assert opened(cae_run("-", "-o", "-", "--ext", "webp", stdin=data).stdout).format == "WEBP"
    assert cae_run("-", "-o", tmp_path / "x.jpg", stdin=data).returncode == 0
    assert opened((tmp_path / "x.jpg").read_bytes()).format == "JPEG"
    assert cae_run(photo, "-o", "-").stdout == done.stdout


def test_options_that_do_not_suit_a_pipe_are_refused(cae_run: Command, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "in the way").touch()
    for args, reason in [
        (("-", "-o", tmp_path), "a file whose name decides its format"),
        (("-", photo, "-o", "-"), "the only SOURCE"),
        ((tmp_path, "-o", "-"), "is not a file"),
        ((tmp_path / "missing.png", "-o", "-"), "is not a file"),
        (("-", "-o", "-", "--json"), "--json"),
        (("-", "-o", tmp_path / "in the way" / "x.png"), "cannot be written to"),
        (("-", "-o", "x" * 300 + ".png"), "cannot be accessed: File name too long"),
        (("x" * 300 + ".png", "-o", "-"), "cannot be accessed: File name too long"),
    ]:
        done = cae_run(*args, stdin=photo.read_bytes())
        assert done.returncode == 2
        assert done.stdout == b""
        assert reason in done.stderr.decode()
        assert len(done.stderr.splitlines()) == 1


def test_an_input_that_is_not_an_image_fails(cae_run: Command) -> None:
    done = cae_run("-", "-o", "-", stdin=b"text")
    assert done.returncode == 1
    assert done.stdout == b""
    failure = done.stderr.decode().splitlines()[-1]
    assert failure.startswith("cae-run: stdin is not a JPEG")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_stdout_is_a_one_line_error(photo: Path) -> None:
    model = Path(__file__).parents[1] / "fixtures" / "identity.onnx"
    words = [Path(sys.executable).parent / "cae-run", photo, "-o", "-", "-m", model]
    done = subprocess.run(["sh", "-c", shlex.join(map(str, words)) + " > /dev/full"], stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"cae-run: output '-' cannot be written to: {os.strerror(28)}",
    ]


def test_too_little_memory_is_a_one_line_error(
    photo: Path, tmp_path: Path, fixture_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(pipe, "clean_bytes", too_large)
    args = ["-", "-o", str(tmp_path / "x.png"), "-m", str(fixture_model("identity"))]
    done = CliRunner().invoke(app, args, input=photo.read_bytes())
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "cae-run: stdin cannot be cleaned: there is not enough memory"
    assert not (tmp_path / "x.png").exists()


def test_the_length_of_a_stream_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "FILE_BYTES_MAX", 2**21)
    assert read_stream(io.BytesIO(bytes(2**21))) == bytes(2**21)
    endless = io.BytesIO(bytes(2**24))
    with pytest.raises(ImageError, match="has more than 2097152 bytes, the limit"):
        read_stream(endless)
    assert endless.tell() <= 2**21 + 2**20
    (tmp_path / "large.png").write_bytes(bytes(2**21 + 1))
    with pytest.raises(ImageError, match="has 2097153 bytes: the limit is 2097152"):
        read_file(tmp_path / "large.png")
