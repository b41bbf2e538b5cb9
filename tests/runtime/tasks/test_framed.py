"""Pictures smaller than a patch, framed in black as in training, here 28x28 in 32x32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import Detector, Encoder, Generator, Inpainter, Restorer
from cae_runtime.jobs.heat_maps.threshold import looks_of

Noise = Callable[..., np.ndarray]
Framed = Callable[[str], Path]


@pytest.fixture
def framed(tmp_path: Path) -> Framed:
    """Return a function that makes a fixture one that was trained on pictures of 28x28."""
    onnx = pytest.importorskip("onnx")

    def make(name: str) -> Path:
        made = onnx.load(FIXTURES / f"{name}.onnx")
        entry = made.metadata_props.add()
        entry.key, entry.value = "framed", "28"
        onnx.save(made, tmp_path / f"{name}-framed.onnx")
        return tmp_path / f"{name}-framed.onnx"

    return make


def in_black(image: np.ndarray) -> np.ndarray:
    return np.pad(image, [(2, 2), (2, 2), (0, 0)][: image.ndim])


@pytest.mark.parametrize("model", ["blur", "blur_gray"])
@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (28, 28, 4), (28, 28, 2)])
def test_small_pictures_are_framed_as_in_training(
    model: str, shape: tuple[int, ...], framed: Framed, noise: Noise
) -> None:
    image = noise(shape)
    wide = in_black(image)
    if image.shape[-1] in (2, 4):
        image[..., -1] = 255
        wide = in_black(image)
        wide[..., -1] = 255
    result = Restorer(framed(model))(image)
    np.testing.assert_array_equal(result, Restorer(FIXTURES / f"{model}.onnx")(wide)[2:-2, 2:-2])
    assert result.shape == image.shape
    larger = noise((28, 29))
    np.testing.assert_array_equal(Restorer(framed(model))(larger), Restorer(FIXTURES / f"{model}.onnx")(larger))


def test_codes_and_heat_maps_use_the_framed_picture(framed: Framed, noise: Noise) -> None:
    image = noise((28, 28, 3))
    encoder, usual = Encoder(framed("encode")), Encoder(FIXTURES / "encode.onnx")
    np.testing.assert_array_equal(encoder(image), usual(in_black(image)))
    places, codes = encoder.patches(image)
    assert places.tolist() == [[-2, -2]]
    np.testing.assert_array_equal(codes, usual.patches(in_black(image))[1])
    found, wanted = Detector(framed("anomaly"))(image), Detector(FIXTURES / "anomaly.onnx")(in_black(image))
    assert found.score == wanted.score
    np.testing.assert_array_equal(found.heat, wanted.heat[2:-2, 2:-2])


def test_a_framed_picture_has_the_size_of_the_good_ones(framed: Framed, noise: Noise) -> None:
    """The good pictures of the training have their frame already: 1,024 pixels."""
    spec = replace(Detector(framed("anomaly")).session.spec, threshold_size=32 * 32)
    assert not looks_of(noise((28, 28, 3)), spec).other_size
    assert looks_of(noise((27, 28, 3)), spec).other_size, "is not framed"


def test_decoders_generate_the_original_size(framed: Framed) -> None:
    small, whole = Generator(framed("generate")), Generator(FIXTURES / "generate.onnx")
    codes = small.draw(3, seed=1)
    for drawn, wanted in zip(small(codes), whole(codes), strict=True):
        np.testing.assert_array_equal(drawn, wanted[2:-2, 2:-2])


def test_holes_in_a_framed_picture_are_filled(framed: Framed, noise: Noise) -> None:
    image = noise((28, 28, 3)) // 4
    mask = np.zeros((28, 28), np.bool_)
    mask[0:3, 5:9] = True
    wide = np.pad(mask, 2)
    result = Inpainter(framed("inpaint"))(image, mask)
    np.testing.assert_array_equal(result, Inpainter(FIXTURES / "inpaint.onnx")(in_black(image), wide)[2:-2, 2:-2])


def test_the_command_frames_pictures_too(framed: Framed, cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    image = noise((28, 28))
    cv2.imwrite(str(tmp_path / "a.png"), image)
    assert cae_run("a.png", "-o", "b.png", model=framed("blur_gray"), cwd=tmp_path).returncode == 0
    written = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, Restorer(framed("blur_gray"))(image))
