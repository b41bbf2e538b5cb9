"""The clients of `export/FORMAT.md` write what `cae-run --no-stretch` writes."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import Restorer

EXAMPLES = Path(__file__).parents[3] / "export" / "examples"
SIZES = [(1, 45), (20, 7), (33, 41), (57, 64), (75, 32)]
Client = Callable[[Path, list[Path]], None]


def python(model: Path, pictures: list[Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["client.py", *map(str, [model, *pictures])])
        runpy.run_path(str(EXAMPLES / "client.py"))


def node(model: Path, pictures: list[Path]) -> None:
    if not shutil.which("node") or not (EXAMPLES / "node_modules" / "onnxruntime-node").is_dir():
        pytest.skip("needs Node.js, and `npm ci --ignore-scripts` in export/examples")
    subprocess.run(["node", EXAMPLES / "client.mjs", model, *pictures], check=True)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Return the client of C++, compiled by the line at its top when it is first called."""
    folder = tmp_path_factory.mktemp("compiled")

    def run(model: Path, pictures: list[Path]) -> None:
        if not shutil.which("g++") or "ORT_HOME" not in os.environ:
            pytest.skip("needs g++, and ORT_HOME with include/ and lib/ of onnxruntime")
        if not (folder / "client").exists():
            source = (EXAMPLES / "client.cpp").read_text()
            (line,) = re.findall(r"^// (g\+\+ .*)$", source, re.MULTILINE)
            (folder / "client.cpp").write_text(source)
            subprocess.run(line, shell=True, cwd=folder, check=True)  # noqa: S602 - the project's own words
        subprocess.run([folder / "client", model, *pictures], check=True)

    return run


def write(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 1 to 4), gray or RGB, perhaps with alpha, as PGM, PPM or PAM."""
    (height, width, depth), white = image.shape, np.iinfo(image.dtype).max
    if depth % 2:
        header = f"P{5 if depth == 1 else 6}\n{width} {height}\n{white}\n"
    else:
        kind = "GRAYSCALE_ALPHA" if depth == 2 else "RGB_ALPHA"
        sizes = f"WIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {white}"
        header = f"P7\n{sizes}\nTUPLTYPE {kind}\nENDHDR\n"
    path.write_bytes(header.encode() + image.astype(image.dtype.newbyteorder(">")).tobytes())


def read_like(path: Path, before: Path, image: np.ndarray) -> np.ndarray:
    """Read what has the header of another file, and the shape and type of its picture."""
    header = before.read_bytes()[: before.stat().st_size - image.nbytes]
    data = path.read_bytes()
    assert data.startswith(header)
    return np.frombuffer(data, image.dtype.newbyteorder(">"), offset=len(header)).reshape(image.shape)


def bgr(image: np.ndarray) -> np.ndarray:
    """RGB or RGBA to OpenCV's order and back; gray as it is."""
    return image if image.shape[2] == 1 else image[..., [2, 1, 0, 3][: image.shape[2]]]


@pytest.mark.parametrize("names", [[], ["noisy.ppm"]])
def test_the_python_client_lists_its_requirements(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        python(FIXTURES / "blur.onnx", list(map(Path, names)))
    assert caught.value.code == 2
    assert "python client.py MODEL.onnx NOISY CLEAN" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["blur", "blur_nhwc", "blur_gray", "fixed_batch"])
@pytest.mark.parametrize("client", ["Python", *(pytest.param(it, marks=pytest.mark.slow) for it in ("Node", "C++"))])
def test_each_client_gives_exactly_the_same_pixels(
    client: str, model: str, compiled: Client, cae_run: Command, rng: np.random.Generator, tmp_path: Path
) -> None:
    (tmp_path / "noisy").mkdir()
    pairs, images = [], {}
    for height, width in SIZES:
        for dtype in (np.uint8, np.uint16):
            for depth in (1, 2, 3, 4):
                image = rng.integers(0, np.iinfo(dtype).max, (height, width, depth), dtype, endpoint=True)
                if depth % 2 == 0:
                    image[..., -1] |= 1  # no pixel is hidden
                name = f"{height}x{width}x{depth}-{dtype.__name__}"
                images[name] = image
                pairs += [tmp_path / name, tmp_path / f"{name}.clean"]
                write(pairs[-2], image)
                cv2.imwrite(str(tmp_path / "noisy" / f"{name}.png"), bgr(image) if depth != 2 else image[..., 0])
    {"Python": python, "Node": node, "C++": compiled}[client](FIXTURES / f"{model}.onnx", pairs)
    done = cae_run(tmp_path / "noisy", "-o", tmp_path / "clean", "--no-stretch", model=model)
    assert done.returncode == 0, done.stderr.decode()
    for (name, image), before, after in zip(images.items(), pairs[::2], pairs[1::2], strict=True):
        expected = cv2.imread(str(tmp_path / "clean" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        expected = bgr(expected.reshape(*image.shape[:2], -1))
        if image.shape[2] == 2:
            expected = np.dstack([expected, image[..., 1]])
        apart = np.abs(read_like(after, before, image).astype(int) - expected)
        assert apart.max() <= (image.dtype == np.uint16), name
        assert np.mean(apart > 0) <= 0.005, name
        assert model == "fixed_batch" or image.size < 50 or (expected != image).mean() > 0.3


def test_the_strength_of_a_luminance_is_what_the_page_says(rng: np.random.Generator) -> None:
    restore, strength, white = Restorer(FIXTURES / "blur_gray.onnx", stretch=False), np.float32(0.35), np.float32(255)
    image = rng.integers(0, 255, (90, 70, 3), np.uint8, endpoint=True)
    blue, green, red = np.moveaxis(image.astype(int), 2, 0)
    seen = ((9798 * red + 19235 * green + 3735 * blue + 16384) >> 15).astype(np.float32) / white
    change = np.rint((restore(seen) - seen) * (strength * white))
    assert np.array_equal(restore(image, strength=0.35), (image + change[..., None]).clip(0, 255))


@pytest.mark.parametrize("folder", [EXAMPLES, EXAMPLES.parents[1] / "runtime" / "page"], ids=lambda path: path.name)
def test_lock_files_match_their_packages_and_name_no_registry(folder: Path) -> None:
    wanted = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    text = (folder / "package-lock.json").read_text(encoding="utf-8")
    locked = json.loads(text)["packages"]
    for kind in ("dependencies", "devDependencies"):
        assert locked[""].get(kind) == wanted.get(kind)
    assert "resolved" not in text
    assert all("integrity" in package for name, package in locked.items() if name)
