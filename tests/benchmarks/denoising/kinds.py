"""Noise that people's pictures have, removed by our models, non-local means and FFDNet, as a Markdown table.

    python -m tests.benchmarks.denoising.kinds BSD432 [--model NAME_OR_FILE ...] [--pictures 8]
        [--kind NAME ...] [--save FOLDER] [--peer 'ffdnet_color_clip_sigma{level}.onnx']

Film grain, phones in the dark, pictures that were coded twice or enlarged: each is drawn here by code of its own, with
other filters and curves than in the training, on pictures of BSD432 that `cae-train` holds out. Most strengths, widths
and JPEG qualities lie within the ranges of the training. Everything is whole pictures of 8 bits, our models as
`cae-run` runs them. They are told nothing; non-local means and FFDNet run at the strength, of five and four, that is
best for the kind. PSNR in dB on RGB, averaged over the pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio
from tests.benchmarks.denoising.denoising import Cleaner, peer
from tests.benchmarks.denoising.quality import Image

from cae_runtime import Restorer

STRENGTHS, LEVELS = (4, 7, 11, 16, 23), (10, 15, 25, 50)
SEPIA = np.array([[0.272, 0.534, 0.131], [0.349, 0.686, 0.168], [0.393, 0.769, 0.189]])  # B, G, R of R, G, B

Values = NDArray[np.float64]  # H x W x 3, BGR, in 0..1
Draw = Callable[[Values, np.random.Generator], tuple[Values, Values]]  # a picture -> what is wanted, what is given


def smooth(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Values:
    """White noise through a Gaussian, of variance 1."""
    noise = cv2.GaussianBlur(rng.normal(size=shape), (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101).reshape(shape)
    return noise / noise.std()


def jpeg(picture: Values, quality: int) -> Values:
    """Coded as OpenCV does by default (4:2:0)."""
    stream = cv2.imencode(".jpg", eight(picture), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(stream, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded / 255


def eight(picture: Values) -> Image:
    """Clipped and rounded to 8 bits."""
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)


def grain(picture: Values, rng: np.random.Generator, width: float, middle: float, common: float) -> Values:
    """Grain that follows value x (1 - value), in gray levels; `common` is what the channels share of its variance."""
    shared, own = smooth((*picture.shape[:2], 1), width, rng), smooth(picture.shape, width, rng)
    noise = common**0.5 * shared + (1 - common) ** 0.5 * own
    return picture + noise * (2.5 + middle * 4 * picture * (1 - picture)) / 255


def gray_film(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    gray = np.repeat(picture @ [[0.114], [0.587], [0.299]], 3, 2)
    return gray, grain(gray, rng, 1.0, 19, 1.0)


def sepia_print(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    toned = (picture[:, :, ::-1] @ SEPIA.T).clip(0, 1)
    return toned, jpeg(grain(toned, rng, 1.3, 14, 1.0), 88)


def color_film(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    return picture, grain(picture, rng, 0.8, 15, 0.35)


def phone(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """Shot and read noise in linear light of a dark scene, a Bayer mosaic, a tone curve, JPEG 40."""
    dark = picture * 0.6
    light = dark**2.2 / [1.7, 1.0, 2.0]  # before the white balance, B, G, R
    shot = rng.poisson(light * 700) / 700 + rng.normal(0, 0.006, light.shape)
    developed = [(mosaic(values) * [1.7, 1.0, 2.0]).clip(1e-4, 1) ** (1 / 2.2) for values in (light, shot.clip(0, 1))]
    return dark, jpeg(dark + developed[1] - developed[0], 40)


def mosaic(light: Values) -> Values:
    """One color of each pixel kept, and the others interpolated."""
    raw = np.empty(light.shape[:2])
    for y, x, channel in ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 0)):  # R G / G B
        raw[y::2, x::2] = light[y::2, x::2, channel]
    whole: Values = cv2.cvtColor((raw * 65535).astype(np.uint16), cv2.COLOR_BayerRGGB2BGR) / 65535
    return whole


def webcam(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """Noise that a cheap camera has smoothed and sharpened; JPEG 70."""
    noise = smooth(picture.shape, 0.7, rng) * 11 / 255
    noise += 0.9 * (noise - cv2.GaussianBlur(noise, (0, 0), 1.4))
    return picture, jpeg(picture + noise * (1.3 - picture), 70)


def sent_twice(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    return picture, jpeg(jpeg(picture + rng.normal(0, 15 / 255, picture.shape), 60), 80)


def enlarged(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """A picture of a smaller size with white noise of sigma 22, enlarged 1.6 times."""
    size = picture.shape[1::-1]
    small = cv2.resize(picture, None, fx=1 / 1.6, fy=1 / 1.6, interpolation=cv2.INTER_AREA)
    noisy = small + rng.normal(0, 22 / 255, small.shape)
    wanted, given = (cv2.resize(each, size, interpolation=cv2.INTER_LANCZOS4) for each in (small, noisy))
    return wanted.astype(np.float64), given.astype(np.float64)


def stains(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    """Coarse color noise of 2.6 pixels beside white noise of the brightness; JPEG 90."""
    blue, red = smooth((*picture.shape[:2], 2), 2.6, rng).transpose(2, 0, 1) * 11 / 255
    colors = np.stack((1.772 * blue, -0.344 * blue - 0.714 * red, 1.402 * red), 2)
    return picture, jpeg(picture + colors + rng.normal(0, 7 / 255, (*picture.shape[:2], 1)), 90)


def photons(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    return picture, rng.poisson(picture * 90) / 90


def coded_noise(picture: Values, rng: np.random.Generator) -> tuple[Values, Values]:
    return picture, jpeg(picture + rng.normal(0, 30 / 255, picture.shape), 82)


KINDS: dict[str, Draw] = {
    "film, gray": gray_film,
    "film, color": color_film,
    "sepia print, JPEG 88": sepia_print,
    "phone in the dark, JPEG 40": phone,
    "webcam, JPEG 70": webcam,
    "JPEG 60 and 80 over sigma 15": sent_twice,
    "sigma 30, JPEG 82": coded_noise,
    "noise enlarged 1.6 times": enlarged,
    "coarse color noise, JPEG 90": stains,
    "90 photons in white": photons,
}


def non_local_means(strength: int) -> Cleaner:
    """OpenCV's, for color pictures."""
    return lambda image: cv2.fastNlMeansDenoisingColored(image, None, strength, strength, 7, 21).astype(np.uint8)


def held_out(folder: Path, count: int) -> list[Values]:
    """Pictures that `cae-train --data FOLDER` does not learn from, BGR."""
    from cae_train import TrainConfig
    from cae_train.data.images import load

    images = load(TrainConfig(data=(str(folder),))).validation[:count]
    return [np.ascontiguousarray(image[:, :, ::-1]) / 255 for image in images]


def psnr(both: list[tuple[Image, Image]], clean: Cleaner | None = None) -> float:
    """Of (wanted, given) pictures, cleaned."""
    return float(np.mean([peak_signal_noise_ratio(a, clean(b) if clean else b) for a, b in both]))


def rows(
    pictures: list[Values], kinds: list[str], models: dict[str, Restorer], peers: dict[int, Cleaner], save: Path | None
) -> Iterator[str]:
    """The table's lines; the best strength of a peer stands behind its figure."""
    for kind in kinds:
        both = []
        for number, picture in enumerate(pictures):
            wanted, given = KINDS[kind](picture, np.random.default_rng((len(kind), number)))
            both.append((eight(wanted), eight(given)))
        cells = [f"{psnr(both):.2f}"]
        for ways in ({h: non_local_means(h) for h in STRENGTHS}, peers):
            figures = {strength: psnr(both, way) for strength, way in ways.items()}
            best = max(figures, key=lambda strength: figures[strength], default=0)
            cells.append(f"{figures[best]:.2f} ({best})" if figures else "")
        cells += [f"{psnr(both, model):.2f}" for model in models.values()]
        if save:
            name = "".join(letter if letter.isalnum() else "-" for letter in kind)
            shown = [both[0][0], both[0][1], *(model(both[0][1]) for model in models.values())]
            cv2.imwrite(str(save / f"{name}.png"), np.hstack(shown))
        yield f"| {kind} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures_of", metavar="BSD432", type=Path)
    parser.add_argument("--model", action="append", help="a packaged name or a file; repeats")
    parser.add_argument("--peer")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--save", type=Path, help="write what is wanted, given and made of the first picture here")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
    names = args.model or ["denoise", "denoise-fast", "denoise-best"]
    models = {Path(name).stem: Restorer(name, threads=args.threads) for name in names}
    made = partial(peer, threads=args.threads)
    peers = {level: made(Path(args.peer.format(level=level))) for level in LEVELS} if args.peer else {}
    head = ["noisy", "non-local means", "FFDNet", *(f"`{name}`" for name in models)]
    print(f"| kind | {' | '.join(head)} |\n| --- |{' ---: |' * len(head)}")
    for line in rows(held_out(args.pictures_of, args.pictures), args.kind or list(KINDS), models, peers, args.save):
        print(line, flush=True)


if __name__ == "__main__":
    main()
