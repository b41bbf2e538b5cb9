"""Task `generate`: pictures from codes, through the real command. The fixture's codes are four numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import UsageError
from cae_runtime.jobs.features import codes as codes_module
from cae_runtime.tasks.encode import Encoder
from cae_runtime.tasks.generate import Generator

Noise = Callable[..., np.ndarray]


def pictures(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*[0-9].png"))]


def header(shape: str) -> bytes:
    """The beginning of a .npy file of float32."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(32)


def test_generate_writes_samples_and_a_sheet(cae_run: Command, tmp_path: Path) -> None:
    out = tmp_path / "my sämples"
    done = cae_run("--generate", 5, "-o", out, "--seed", 7, "--json", model="generate")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["seed"], len(report["files"])) == (7, 5)
    assert sorted(path.name for path in out.iterdir()) == [
        *(f"seed-7-{i:04}.png" for i in range(1, 6)), "seed-7-sheet.png"
    ]  # fmt: skip
    image = cv2.imread(str(out / "seed-7-0001.png"))
    assert (image.shape, image.std() > 10) == ((32, 32, 3), True)
    sheet = cv2.imread(str(out / "seed-7-sheet.png"))
    for index in range(5):
        sample = cv2.imread(str(out / f"seed-7-{index + 1:04}.png"))
        cell = sheet[8:200, 208 * index + 8 : 208 * index + 200]
        np.testing.assert_array_equal(cell, np.repeat(np.repeat(sample, 6, 0), 6, 1))


def test_the_same_seed_gives_the_same_pictures(cae_run: Command, tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        assert cae_run("--generate", 3, "-o", tmp_path / name, "--seed", seed, model="generate").returncode == 0
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b") != pictures(tmp_path / "c")


def test_without_a_seed_the_chosen_one_is_reported(cae_run: Command, tmp_path: Path) -> None:
    done = cae_run("--generate", 2, "-o", tmp_path / "a", "--json", model="generate")
    seed = json.loads(done.stdout)["seed"]
    assert f"seed {seed}" in done.stderr.decode()
    assert cae_run("--generate", 2, "-o", tmp_path / "b", "--seed", seed, model="generate").returncode == 0
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b")


def test_pictures_are_generated_from_given_codes(cae_run: Command, tmp_path: Path) -> None:
    codes = Generator(FIXTURES / "generate.onnx").draw(3, seed=7)
    np.save(tmp_path / "codes.npy", codes.astype(np.float64))
    assert cae_run("--latent", tmp_path / "codes.npy", "-o", tmp_path / "a", model="generate").returncode == 0
    assert cae_run("--generate", 3, "--seed", 7, "-o", tmp_path / "b", model="generate").returncode == 0
    assert pictures(tmp_path / "a") == pictures(tmp_path / "b")


def test_a_table_of_features_is_accepted_as_codes(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), noise((32, 32, 3)))
    table = tmp_path / "features.npz"
    assert cae_run(tmp_path, "-o", table, model="encode_flat").returncode == 0
    done = cae_run("--latent", table, "-o", tmp_path / "out", model="generate")
    assert done.returncode == 0, done.stderr
    with np.load(table) as rows:
        wanted = list(Generator(FIXTURES / "generate.onnx")(rows["features"]))
    for number, picture in enumerate(wanted, 1):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / f"features-{number:04}.png")), picture)
    assert cae_run(tmp_path, "-o", table, "--overwrite", model="encode").returncode == 0  # of three numbers
    done = cae_run("--latent", table, "-o", tmp_path / "out", model="generate")
    assert (done.returncode, b"its rows have 3 numbers, and a code has 4" in done.stderr) == (2, True)


def test_a_compressed_table_is_as_large_as_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "codes.npz", features=np.zeros((10_000, 4), np.float32))
    monkeypatch.setattr(codes_module, "LATENT_BYTES_MAX", 100_000)
    with pytest.raises(UsageError, match="it is larger than 100000 bytes, the limit"):
        codes_module.read_codes(tmp_path / "codes.npz", (4,))


def test_an_option_in_the_place_of_a_picture_is_named(cae_run: Command, tmp_path: Path) -> None:
    done = cae_run("--between", "a.png", "-o", "way/", model="generate", cwd=tmp_path)
    assert done.returncode == 2
    assert b"--between needs two pictures, and '-o' is an option" in done.stderr


def test_between_interpolates_the_codes_of_two_pictures(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    for name, image in (("a", noise((32, 32, 3))), ("b", noise((20, 32))), ("large", noise((33, 32, 3)))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image // 16)  # so dark that the fixtures do not fit each other
    a, b, large = (tmp_path / f"{name}.png" for name in ("a", "b", "large"))
    out, encoder = tmp_path / "out", FIXTURES / "encode_flat.onnx"
    done = cae_run("--between", a, b, "--steps", 3, "--encoder", encoder, "-o", out, "--json", model="generate")
    assert done.returncode == 0, done.stderr
    assert [Path(file).name for file in json.loads(done.stdout)["files"]] == [f"a-to-b-000{i}.png" for i in (1, 2, 3)]
    first, last = (Encoder(encoder).patches(cv2.imread(str(path)))[1] for path in (a, b))
    wanted = Generator(FIXTURES / "generate.onnx")(np.concatenate([first, (first + last) / 2, last]))
    for number, picture in enumerate(wanted, 1):
        made = cv2.imread(str(out / f"a-to-b-000{number}.png"))
        assert np.abs(made.astype(int) - picture).max() <= 1
    assert cv2.imread(str(out / "a-to-b-sheet.png")).shape[1] == 5 * 208  # the two pictures beside those between
    assert b"the decoder does not reproduce these pictures" in done.stderr
    for options, reason in (
        (["--between", a, large, "--encoder", encoder], "has 32x33 pixels: a code is that of one patch"),
        (["--between", a, tmp_path, "--encoder", encoder], "is a folder: name a file"),
        (["--between", a, b], "generate-encoder.onnx' does not exist: write it with cae-export MODEL.pt --part enc"),
        (["--between", a, b, "--encoder", FIXTURES / "encode.onnx"], "it has codes of shape (3, 4, 4), not (4,)"),
        (["--between", a, b, "--encoder", FIXTURES / "blur.onnx"], "is made for task 'restore': 'encode' is needed"),
        (["--between", a, b, "--generate", 2], "choose one of these: the number of new pictures (--generate N)"),
        (["--generate", 2, "--steps", 3], "--steps is for the transition between two pictures"),
        (["--between", a, b, "--steps", 1], "--steps is 1: it must be 2 or more"),
    ):
        done = cae_run(*options, "-o", tmp_path / "none", model="generate")
        assert (done.returncode, reason in done.stderr.decode().splitlines()[-1]) == (2, True), done.stderr
    assert not (tmp_path / "none").exists()


def test_the_encoder_beside_the_decoder_is_used(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    for name, fixture in (("m-decoder", "generate"), ("m-encoder", "encode_flat")):
        shutil.copy(FIXTURES / f"{fixture}.onnx", tmp_path / f"{name}.onnx")
    cv2.imwrite(str(tmp_path / "a.png"), noise((32, 32, 3)))
    pair = (tmp_path / "a.png", tmp_path / "a.png")
    done = cae_run("--between", *pair, "-o", tmp_path / "out", model=tmp_path / "m-decoder.onnx")
    assert (done.returncode, b"m-encoder.onnx" in done.stderr) == (0, True)
    assert len(pictures(tmp_path / "out")) == 8


def test_existing_pictures_are_kept(cae_run: Command, tmp_path: Path) -> None:
    mine = tmp_path / "seed-1-0002.png"
    mine.write_bytes(b"mine")
    done = cae_run("--generate", 3, "--seed", 1, "-o", tmp_path, model="generate")
    assert (done.returncode, b"and 2 others do not" in done.stderr) == (2, True)
    done = cae_run("--generate", 2, "--seed", 1, "-o", tmp_path, model="generate")
    assert b" and 1 other do not" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    assert cae_run("--generate", 3, "--seed", 1, "-o", tmp_path, "--overwrite", model="generate").returncode == 0
    assert len(pictures(tmp_path)) == 3
    done = cae_run("--generate", 3, "--seed", 1, "-o", tmp_path, model="generate")
    assert (done.returncode, b"skipped" in done.stderr) == (0, True)


def test_another_seed_gives_other_names_in_the_same_folder(cae_run: Command, tmp_path: Path) -> None:
    assert cae_run("--generate", 4, "--seed", 1, "-o", tmp_path, model="generate").returncode == 0
    first = pictures(tmp_path)
    done = cae_run("--generate", 2, "--seed", 2, "-o", tmp_path, model="generate")
    assert (done.returncode, b"holds 4 other pictures too" in done.stderr) == (0, True)
    assert [path.name for path in sorted(tmp_path.glob("seed-2-*"))] == [
        "seed-2-0001.png", "seed-2-0002.png", "seed-2-sheet.png"
    ]  # fmt: skip
    assert pictures(tmp_path)[:4] == first


def test_pictures_of_another_model_are_not_skipped_as_existing(cae_run: Command, tmp_path: Path) -> None:
    assert cae_run("--generate", 2, "--seed", 1, "-o", tmp_path, model="generate").returncode == 0
    cv2.imwrite(str(tmp_path / "seed-1-0001.png"), np.zeros((32, 32, 3), np.uint8))
    done = cae_run("--generate", 2, "--seed", 1, "-o", tmp_path, model="generate")
    assert (done.returncode, b"is not what model" in done.stderr) == (2, True)


def test_pictures_of_other_codes_are_not_skipped_as_existing(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    codes, latent = Generator(FIXTURES / "generate.onnx").draw(4, seed=1), tmp_path / "codes.npy"
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), noise((32, 32, 3)))
    way = ("--between", tmp_path / "a.png", tmp_path / "b.png", "--encoder", FIXTURES / "encode_flat.onnx")
    np.save(latent, codes)
    for options in (("--latent", latent), way):
        for words in (b"-> ", b"skipped"):
            done = cae_run(*options, "-o", tmp_path / "out", model="generate")
            assert (done.returncode, words in done.stderr) == (0, True), done.stderr
    np.save(latent, np.concatenate([codes[:2], -codes[2:3], codes[3:]]))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((32, 32, 3), 255, np.uint8))
    for options, name in ((("--latent", latent), b"codes-0003.png"), (way, b"a-to-b-00")):
        done = cae_run(*options, "-o", tmp_path / "out", model="generate")
        assert (done.returncode, b"is not what model" in done.stderr, name in done.stderr) == (2, True, True)


@pytest.mark.parametrize(
    ("codes", "reason"),
    [
        (np.zeros((2, 5), np.float32), "the codes have shape (2, 5): (N, 4) is needed"),
        (np.zeros(4, np.float32), "codes are real numbers, (N, ...)"),
        (np.full((1, 4), np.nan), "row 0 of the codes holds values that are not finite"),
        (np.array([[0, 0, 0, 0], [0, 0, 1e300, 0]]), "row 1 of the codes"),
        (np.zeros((0, 4)), "with N from 1 on"),
        (np.array([["a", "b", "c", "d"]]), "codes are real numbers, (N, ...)"),
        (np.array([[{}, 1, 2, 3]], dtype=object), "is neither a .npy file of numbers nor a table that ends in .npz"),
        (b"no array", "is neither a .npy file of numbers nor a table that ends in .npz"),
        (b"", "is neither a .npy file of numbers nor a table that ends in .npz"),
        (b"PK\x03\x04 no archive", "is neither a .npy file of numbers nor a table that ends in .npz"),
        (header(f"({10**30}, 4)"), "is neither a .npy file of numbers nor a table that ends in .npz"),
        (header("(2, 4), 3: 4"), "is neither a .npy file of numbers nor a table that ends in .npz"),
        (header("(2, 4"), "is neither a .npy file of numbers nor a table that ends in .npz"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_unusable_codes_are_a_one_line_error(cae_run: Command, tmp_path: Path, codes: object, reason: str) -> None:
    if isinstance(codes, bytes):
        (tmp_path / "codes.npy").write_bytes(codes)
    elif codes is not None:
        np.save(tmp_path / "codes.npy", codes, allow_pickle=True)  # type: ignore[call-overload]
    done = cae_run("--latent", tmp_path / "codes.npy", "-o", tmp_path / "out", model="generate")
    assert done.returncode == 2
    assert reason in done.stderr.decode().splitlines()[-1]
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("options", "model", "reason"),
    [
        ([], "generate", "with a decoder, pass --generate N"),
        (["--generate", "0"], "generate", "--generate is 0: it must be 1 or more"),
        (["--generate", "100001"], "generate", "--generate is 100001: it must be 1..100000 with this model"),
        (["--generate", "2", "--latent", "x.npy"], "generate", "their codes (--latent FILE), or two"),
        (["--latent", "x.npy", "--seed", "1"], "generate", "--seed is for random codes"),
        (["--generate", "2", "photo.png"], "generate", "takes no SOURCE"),
        (["--generate", "2"], "identity", "--generate needs a decoder, but model 'identity' cleans pictures"),
        (["--generate", "2"], "encode", "made for task 'encode', which takes no --generate"),
    ],
)
def test_wrong_usage_is_a_one_line_error(
    cae_run: Command, tmp_path: Path, options: list[str], model: str, reason: str
) -> None:
    done = cae_run(*options, "-o", tmp_path / "out", model=model)
    assert done.returncode == 2
    assert reason in done.stderr.decode().splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_batches_do_not_change_the_pictures(fixture_model: Callable[[str], Path]) -> None:
    codes = Generator(fixture_model("generate")).draw(9, seed=1)
    wanted = np.stack(list(Generator(fixture_model("generate"))(codes)))
    assert (wanted.shape, wanted.dtype) == ((9, 32, 32, 3), np.dtype(np.uint8))
    for batch in (1, 2, 9):
        given = np.stack(list(Generator(fixture_model("generate"), batch=batch)(codes)))
        assert np.abs(given.astype(int) - wanted).max() <= 1
    with pytest.raises(UsageError, match=r"\(N, 4\) is needed"):
        next(Generator(fixture_model("generate"))(codes[:, :3]))
