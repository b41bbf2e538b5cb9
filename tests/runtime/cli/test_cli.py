from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

Command = Callable[..., subprocess.CompletedProcess[bytes]]
Noise = Callable[..., np.ndarray]
Fixture = Callable[[str], Path]


@pytest.fixture
def photos(tmp_path: Path, noise: Noise) -> Path:
    """Return a folder `my phötos` with two images, one of them in a folder below, and a text."""
    folder = tmp_path / "my phötos"
    (folder / "süb dir").mkdir(parents=True)
    Image.fromarray(noise((40, 60, 3))).save(folder / "a b.png")
    Image.fromarray(noise((70, 33, 3))).save(folder / "süb dir" / "ç.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def format_of(file: Path) -> str | None:
    with Image.open(file) as image:
        return image.format


def last_line(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode().splitlines()[-1]


def partials(folder: Path) -> list[Path]:
    return [*folder.rglob("*.partial")]


def test_a_folder_is_cleaned(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "öut put"
    done = cae_run(photos, "-o", out, "--provider", "cpu", "--verbose", installed=True)
    assert done.returncode == 0
    assert done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert "provider: CPUExecutionProvider: as asked" in lines
    assert sum(" cae_runtime.jobs.restore.images: " in line and ": done in " in line for line in lines) == 2
    assert lines[-1].startswith("cleaned 2 images in ")
    assert lines[-1].endswith("left out: 1 .txt (neither images nor videos)")
    assert "Mpx/s, CPUExecutionProvider -> " in lines[-1]
    for name in ("a b.png", "süb dir/ç.png"):
        np.testing.assert_array_equal(pixels(out / name), pixels(photos / name))
    assert partials(tmp_path) == []


def test_red_and_blue_are_not_swapped(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    assert cae_run(photos / "a b.png", "-o", tmp_path / "x.png", model="half_red").returncode == 0
    before, after = pixels(photos / "a b.png").astype(int), pixels(tmp_path / "x.png").astype(int)
    assert (after[..., 1:] == before[..., 1:]).all()
    assert np.abs(after[..., 0] - before[..., 0] / 2).max() <= 0.5


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "I;16", "1", "P"])
def test_gray_alpha_and_16_bits_are_kept(cae_run: Command, noise: Noise, tmp_path: Path, mode: str) -> None:
    shape = {"L": (9, 50), "LA": (9, 50, 2), "RGBA": (9, 50, 4), "I;16": (9, 50)}.get(mode, (9, 50, 3))
    image = Image.fromarray(noise(shape, np.uint16 if mode == "I;16" else np.uint8))
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    image.convert(mode).save(source)
    assert cae_run(source, "-o", output).returncode == 0
    kind = "RGBA" if mode == "LA" else "RGB" if mode == "P" else "L" if mode == "1" else mode
    with Image.open(source) as before, Image.open(output) as after:
        assert after.mode == kind
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before.convert(kind)))


def test_strength_zero_keeps_every_pixel(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    args = (photos / "a b.png", "-o", tmp_path / "x.png")
    assert cae_run(*args, "--strength", "0", model="blur").returncode == 0
    np.testing.assert_array_equal(pixels(tmp_path / "x.png"), pixels(photos / "a b.png"))
    assert cae_run(*args, "--overwrite", model="blur").returncode == 0
    assert (pixels(tmp_path / "x.png") != pixels(photos / "a b.png")).any()


def test_the_json_report_lists_every_file(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_text("no image")
    done = cae_run(photos, "-o", tmp_path / "out", "--json", "--overlap", "4")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["overlap"] == 4
    assert report["provider"] in ort.get_available_providers()
    assert report["model"].endswith("identity.onnx")
    first, bad, _ = report["files"]
    assert first["source"] == str(photos / "a b.png")
    assert first["output"] == str(tmp_path / "out" / "a b.png")
    assert (first["status"], first["width"], first["height"], first["dropped"]) == ("done", 60, 40, [])
    assert first["seconds"] > 0
    assert first["provider"] == report["provider"]
    assert (bad["status"], bad["width"]) == ("failed", None)
    assert bad["reason"].startswith("is not a JPEG")
    totals = report["totals"]
    assert [totals[key] for key in ("done", "skipped", "failed", "left_out")] == [2, 0, 1, 1]
    assert totals["megapixels"] == pytest.approx((60 * 40 + 33 * 70) / 1e6)


def test_existing_outputs_are_skipped_unless_overwritten(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a b.png").write_text("precious")
    done = cae_run(photos, "-o", out, "--json")
    assert done.returncode == 0
    assert [file["status"] for file in json.loads(done.stdout)["files"]] == ["skipped", "done"]
    assert "1 skipped" in last_line(done)
    assert (out / "a b.png").read_text() == "precious"
    assert cae_run(photos, "-o", out, "--overwrite").returncode == 0
    np.testing.assert_array_equal(pixels(out / "a b.png"), pixels(photos / "a b.png"))


def test_bad_files_do_not_stop_the_others(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    good = (photos / "a b.png").read_bytes()
    (photos / "half.png").write_bytes(good[: len(good) // 2])
    (photos / "text.jpg").write_text("I am a text")
    done = cae_run(photos, "-o", tmp_path / "out")
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    failures = [line for line in lines if line.startswith("failed: ")]
    assert len(failures) == 2
    assert "half.png' is truncated" in failures[0]
    assert (
        "text.jpg' is not a JPEG, PNG, WebP, TIFF, BMP, PPM, PGM, AVIF, HEIC, JPEG 2000, PBM, GIF or camera raw image"
        in failures[1]
    )
    assert len(lines) == 3
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["a b.png", "ç.png"]
    assert partials(tmp_path) == []


def test_decoders_print_nothing(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    data = bytearray((photos / "a b.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (photos / "a b.png").write_bytes(data)
    done = cae_run(photos / "a b.png", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert b"libpng" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
def test_a_closed_stderr_does_not_stop_the_command(photos: Path, tmp_path: Path) -> None:
    model = Path(__file__).parents[1] / "fixtures" / "identity.onnx"
    words = [Path(sys.executable).parent / "cae-run", photos, "-o", tmp_path / "out", "-m", model]
    done = subprocess.run(["sh", "-c", shlex.join(map(str, words)) + " 2>&-"], stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert done.stdout == b""
    assert (tmp_path / "out" / "a b.png").exists()


def test_lost_metadata_is_reported(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    for name in ("c.jpg", "d.jpg"):
        Image.fromarray(pixels(photos / "a b.png")).save(tmp_path / name, comment="by hand")
    done = cae_run("c.jpg", "d.jpg", "-o", tmp_path / "out", "--ext", "png", cwd=tmp_path)
    assert done.returncode == 0
    assert b"not kept from 'c.jpg' and 1 more: comment\n" in done.stderr


def test_suffix_and_ext_name_the_outputs(cae_run: Command, photos: Path) -> None:
    done = cae_run(photos, "-o", photos, "--suffix", "_clean", "--ext", "JPG", "--quality", "80")
    assert done.returncode == 0
    assert format_of(photos / "a b_clean.jpg") == "JPEG"
    assert (photos / "süb dir" / "ç_clean.jpg").exists()


def test_a_source_is_never_overwritten(cae_run: Command, photos: Path) -> None:
    before = (photos / "a b.png").read_bytes()
    for out in (photos, photos / "a b.png"):
        done = cae_run(photos if out == photos else out, "-o", out, "--overwrite")
        assert done.returncode == 2
        assert "would overwrite the source" in last_line(done)
    assert cae_run(photos, "-o", photos / "clean").returncode == 0
    assert cae_run(photos, "-o", photos / "clean", "--overwrite").returncode == 0
    assert sorted(p.name for p in (photos / "clean").iterdir()) == ["a b.png", "süb dir"]
    assert (photos / "a b.png").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--threads", "0"], "--threads is 0: it must be 1..4096"),
        (["--batch", "0"], "--batch is 0: it must be 1 or more"),
        (["--overlap", "-1"], "--overlap is -1: it must be 0 or more"),
        (["--overlap", "32"], "overlap is 32: it must be 0..31"),
        (["--strength", "1.5"], "--strength is 1.5: it must be 0..1"),
        (["--strength", "nan"], "--strength is nan"),
        (["--quality", "0"], "--quality is 0: it must be 1..100"),
        (["--quality", "101"], "--quality is 101: it must be 1..100"),
        (["--ext", "gif"], "--ext is 'gif': it must be one of jpg, jpeg, jpe, jfif, png"),
        (["--suffix", "a/b"], "--suffix is 'a/b'"),
        (["--provider", "gpu"], "unknown provider 'gpu': choose among auto, cpu, "),
        (["--strength", "much"], "much"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_an_invalid_option_value_is_named(
    cae_run: Command, photos: Path, tmp_path: Path, options: list[str], reason: str
) -> None:
    done = cae_run(photos, "-o", tmp_path / "out", *options)
    assert done.returncode == 2
    assert reason in last_line(done)
    assert not (tmp_path / "out").exists()


def test_wrong_paths_are_refused_with_the_reason(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "in the way").touch()
    for args, reason in [
        ((tmp_path / "missing", "-o", tmp_path / "out"), "does not exist"),
        ((tmp_path / "empty", "-o", tmp_path / "out"), "has no images"),
        ((photos, "-o", tmp_path / "in the way"), "cannot be written to"),
        ((photos, "-o", tmp_path / "in the way" / "below"), "cannot be written to"),
        ((photos,), "-o OUT"),
        ((photos, "-o", tmp_path / "x.png"), "names a file, but SOURCE is a folder: name a folder"),
        (("x" * 300 + ".png", "-o", tmp_path / "out"), "cannot be accessed: File name too long"),
        ((photos, "-o", "x" * 300), "cannot be accessed: File name too long"),
        ((photos / "a b.png", "-o", "x" * 300 + ".png"), "cannot be accessed: File name too long"),
    ]:
        done = cae_run(*args)
        assert done.returncode == 2
        assert done.stderr.decode().startswith("cae-run: ")
        assert reason in last_line(done)
        assert len(done.stderr.splitlines()) == 1
    assert cae_run().returncode == 2


def test_an_empty_path_does_not_mean_the_current_folder(photos: Path) -> None:
    for words in (["", "-o", "x"], [".", "-o", ""], [".", "-o", "x", "-m", ""]):
        command = Path(sys.executable).parent / "cae-run"
        done = subprocess.run([command, *words], cwd=photos, capture_output=True, text=True)
        assert done.returncode == 2
        assert "is empty" in done.stderr
        assert not (photos / "x").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_report_that_cannot_be_written_is_a_one_line_error(
    photos: Path, tmp_path: Path, fixture_model: Fixture
) -> None:
    command = Path(sys.executable).parent / "cae-run"
    words = [command, photos, "-o", tmp_path / "o", "--json", "-m", fixture_model("identity")]
    done = subprocess.run(["sh", "-c", shlex.join(map(str, words)) + " > /dev/full"], stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == f"cae-run: the standard output cannot be written: {os.strerror(28)}"
    assert len(list((tmp_path / "o").rglob("*.png"))) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_without_write_permission_is_reported(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = cae_run(photos, "-o", tmp_path / "locked")
    assert done.returncode == 2
    assert "Permission denied" in last_line(done)


def test_unusable_models_are_refused_with_the_reason(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 archive/data.pkl")
    for model, reason in [
        (tmp_path / "text.onnx", "is not an ONNX model"),
        (tmp_path / "model.pt", "is not an ONNX model"),
        (tmp_path / "missing.onnx", "is neither a file nor the name of a packaged model"),
        (Path("no-such-name"), "packaged models: "),
        (Path("x" * 300), "cannot be accessed: File name too long"),
        ("no_metadata", "has no CAE Toolkit metadata: export it with cae-export"),
        ("wrong_schema", "schema '99'"),
        ("encode", "task 'encode'"),
        ("external", "another file"),
        ("nan", "its weights 'weight' hold NaN or infinity"),
        ("nan_rounded", "its weights 'weight' hold NaN or infinity"),
    ]:
        done = cae_run(photos, "-o", tmp_path / "out", model=model)
        assert done.returncode == 2
        assert reason in last_line(done)
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()


def test_an_unavailable_provider_is_refused(cae_run: Command, photos: Path, tmp_path: Path) -> None:
    absent = "coreml" if sys.platform != "darwin" else "cuda"
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        absent = "cuda"
    done = cae_run(photos, "-o", tmp_path / "out", "--provider", absent)
    assert done.returncode == 3
    assert "this onnxruntime has no " in last_line(done)
    assert "pip" in last_line(done)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_version_is_printed_and_the_module_runs_as_the_command(cae_run: Command) -> None:
    done = cae_run("--version", model=None, installed=True)
    assert done.returncode == 0
    assert done.stdout.startswith(b"cae-run ")
    module = subprocess.run([sys.executable, "-m", "cae_runtime", "--version"], capture_output=True, check=True)
    assert module.stdout == done.stdout


def test_output_does_not_depend_on_the_console_encoding(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    code = "from cae_shared.command import run_command; run_command('cae-run', lambda: print('Kamera \\u4e2d'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Kamera \\u4e2d\n")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["", "-o", "out"], "SOURCE is empty: name a file or a folder"),
        (["a.png", "-o", ""], "-o is empty"),
        (["a.png", "-o", "out", "-m", ""], "-m is empty: name a model"),
        (["a.png", "-o", "out", "--mask", ""], "--mask is empty"),
        (["a.png", "-o", "out", "--suffix", ""], "--suffix is empty"),
        (["--camera", ""], "--camera is empty"),
        (["a.png", "-o", "out", "--codec", "h265", "--crf", "60"], "--crf is 60: it must be 0..51 with h265"),
        (["a.png", "-o", "a.png/x.png"], "output folder 'a.png' cannot be written to: 'a.png' is a file"),
    ],
)
def test_conflicting_options_are_refused_with_the_reason(
    cae_run: Command, tmp_path: Path, words: list[str], told: str
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = cae_run(*words, model=None, cwd=tmp_path)
    assert (done.returncode, told in done.stderr.decode()) == (2, True), done.stderr


def test_video_options_for_images_alone_give_a_note(cae_run: Command, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    done = cae_run("a.png", "-o", "out", "--codec", "h265", cwd=tmp_path)
    assert (done.returncode, b"those of videos, and there are only images" in done.stderr) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        (" https://user:hidden@127.0.0.1:9/a.png", "-o", "out"),
        ("memory://user:hidden@/a.png", "-o", "out"),
        ("a.png", "-o", "out", "--ext", "https://user:hidden@host/a"),
    ],
)
def test_a_password_in_a_wrong_place_is_not_shown(cae_run: Command, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = cae_run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert b"***@" in done.stderr
    assert b"hidden" not in done.stderr
