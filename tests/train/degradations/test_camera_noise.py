"""The simulated camera: its noise, and that it changes nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import cae_train.degradations.camera_noise
from cae_train.degradations.camera_noise import (
    GAMMA,
    JPEG_SHARE,
    TOE,
    Camera,
    _blurred,
    _color_matrices,
    _demosaiced,
    _jpeg,
    _smoothed,
    noise_of,
    recolored,
)
from cae_train.degradations.noise import Level
from cae_train.degradations.registry import parse, parse_chain

SEEDS = st.integers(0, 2**31)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(count: int) -> Tensor:
    """Return pictures without a structure that JPEG could lose."""
    corners = torch.rand(count, 3, 3, 3, generator=generator(7))
    return F.interpolate(corners, size=(32, 32), mode="bilinear", align_corners=True)


def flat(value: float, count: int = 64) -> Tensor:
    return torch.full((count, 3, 32, 32), value)


def linear(picture: Tensor) -> Tensor:
    return ((picture + TOE) / (1 + TOE)).clamp_min(0) ** GAMMA


@pytest.fixture
def no_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.degradations.camera_noise, "JPEG_SHARE", 0.0)


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [("camera", 0, 1), ("camera:0.4", 0.4, 0.4), ("camera:0", 0, 0), ("camera:1", 1, 1), ("camera:.2-0.7", 0.2, 0.7)],
)
def test_specs_are_parsed(spec: str, low: float, high: float) -> None:
    assert parse(spec) == Camera(Level(low, high))


@settings(max_examples=30)
@given(
    count=st.integers(1, 9),
    channels=st.sampled_from((1, 3)),
    size=st.sampled_from(((32, 32), (16, 16), (40, 24), (24, 40))),
    seed=SEEDS,
)
def test_any_batch_and_size_keeps_its_shape(count: int, channels: int, size: tuple[int, int], seed: int) -> None:
    clean = torch.rand(count, channels, *size, generator=generator(seed))
    before = clean.clone()
    noisy = parse("camera")(clean, generator(seed))
    assert (noisy.shape, noisy.dtype) == (clean.shape, torch.float32)
    assert bool(torch.isfinite(noisy).all())
    noisy.add_(1)
    assert torch.equal(clean, before), "the input is not changed"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_seed_gives_the_same_noise(channels: int) -> None:
    clean = torch.rand(13, channels, 32, 32)
    first = parse("camera")(clean, generator(5))
    torch.rand(3)  # nothing is taken from torch's global generator
    assert torch.equal(first, parse("camera")(clean, generator(5)))
    assert not torch.equal(first, parse("camera")(clean, generator(6)))


def test_the_memory_layout_does_not_matter() -> None:
    clean = torch.rand(8, 3, 32, 32)
    other = clean.to(memory_format=torch.channels_last)
    assert torch.equal(parse("camera")(clean, generator()), parse("camera")(other, generator()))


def test_a_chain_rounds_to_8_bits() -> None:
    noisy = parse_chain(["camera:1"])(torch.rand(8, 3, 32, 32), generator())
    assert torch.equal(noisy.mul(255).round().div(255), noisy)
    assert 0 <= float(noisy.min()) < float(noisy.max()) <= 1


@pytest.mark.parametrize("clip", [True, False])
def test_input_outside_0_to_1_is_accepted(clip: bool) -> None:
    noisy = parse_chain(["gaussian:50", "camera"], clip)(torch.rand(32, 3, 32, 32), generator())
    assert bool(torch.isfinite(noisy).all())


@settings(max_examples=20)
@given(low=st.floats(0, 0.8), seed=SEEDS)
def test_noise_grows_with_sensitivity(low: float, seed: int) -> None:
    pictures = smooth(32)
    less, more = (
        noise_of(pictures, torch.full((32, 1, 1, 1), level), generator(seed)).std() for level in (low, low + 0.2)
    )
    assert more > 1.2 * less


def test_a_range_draws_a_sensitivity_for_each_patch() -> None:
    clean = flat(0.5, 256)
    spreads = (parse("camera")(clean, generator()) - clean).flatten(1).std(1) * 255
    assert spreads.min() < 1.5
    assert spreads.max() > 20


@pytest.mark.usefixtures("no_jpeg")
def test_daylight_hardly_changes_a_picture() -> None:
    clean = smooth(64)
    assert float((parse("camera:0")(clean, generator()) - clean).abs().mean()) * 255 < 1.5


def test_daylight_with_jpeg_hardly_changes_a_picture_either() -> None:
    clean = smooth(64)
    assert float((parse("camera:0")(clean, generator()) - clean).abs().mean()) * 255 < 4


@pytest.mark.parametrize("gray", [False, True])
def test_noise_does_not_shift_colors(gray: bool) -> None:
    clean = flat(0.5, 256)[:, : 1 if gray else 3]
    shift = (parse("camera:0.5")(clean, generator()) - clean).mean((0, 2, 3)) * 255
    assert float(shift.abs().max()) < 1.5


@pytest.mark.usefixtures("no_jpeg")
def test_noise_is_coarser_than_white_noise_and_correlated_between_channels() -> None:
    noise = parse("camera:0.5")(flat(0.5, 256), generator()) - 0.5
    noise -= noise.mean((2, 3), keepdim=True)
    variance = noise.square().mean()
    assert (noise[..., 1:] * noise[..., :-1]).mean() > 0.2 * variance
    assert (noise[..., 1:, :] * noise[..., :-1, :]).mean() > 0.2 * variance
    assert (noise[..., 8:] * noise[..., :-8]).mean() < 0.1 * variance, "near pixels only"
    assert (noise[:, 0] * noise[:, 1]).mean() > 0.1 * variance


@settings(max_examples=20)
@given(level=st.floats(0.1, 0.8), seed=SEEDS)
def test_noise_grows_with_brightness(level: float, seed: int) -> None:
    """In linear light; the tone curve then presses bright noise together."""
    dark, bright = (
        (linear(flat(v) + noise_of(flat(v), torch.full((64, 1, 1, 1), level), generator(seed))) - linear(flat(v))).std()
        for v in (0.1, 0.9)
    )
    assert bright > 2 * dark


def brightness(picture: Tensor) -> Tensor:
    """N x 3 x H x W -> N x H x W."""
    return (picture * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)


@given(sigma=st.floats(0, 4), value=st.floats(-1, 1, width=32))
def test_smoothing_keeps_a_flat_color(sigma: float, value: float) -> None:
    field = np.full((12, 17, 2), value, np.float32)
    assert _blurred(field, sigma) == pytest.approx(field, abs=1e-5)


def test_sigma_0_does_not_smooth() -> None:
    noise = np.random.default_rng(0).random((9, 9, 2), np.float32)
    assert np.array_equal(_blurred(noise, 0.0), noise)
    assert _blurred(noise, 1.0).std() < noise.std() / 2


@given(
    color=st.tuples(*[st.floats(-1, 1, width=32)] * 3),
    count=st.integers(1, 9),
    size=st.tuples(st.integers(6, 20), st.integers(6, 20)),
    seed=SEEDS,
)
def test_demosaicing_keeps_a_flat_color_and_smoothing_its_brightness(
    color: tuple[float, float, float], count: int, size: tuple[int, int], seed: int
) -> None:
    field = torch.tensor(color)[None, :, None, None].expand(count, 3, *size).contiguous()
    assert torch.allclose(_demosaiced(field, generator(seed)), field, atol=1e-5)
    smoothed = _smoothed(field, generator(seed))
    assert torch.allclose(smoothed, smoothed[:, :, :1, :1].expand_as(field), atol=1e-5)
    assert torch.allclose(brightness(smoothed), brightness(field), atol=1e-5)


def test_demosaicing_keeps_what_the_sensor_measured() -> None:
    values = torch.randn(64, 3, 16, 16, generator=generator())
    kept = (_demosaiced(values, generator()) == values).float().mean((1, 2, 3))
    mosaics = kept[kept < 1]  # the others are a sensor with all three colors at each pixel
    assert 32 <= len(mosaics) <= 53
    assert mosaics.tolist() == pytest.approx([1 / 3] * len(mosaics), abs=0.02)  # one of three values a pixel


@given(value=st.floats(0, 1), seed=SEEDS)
def test_color_matrices_keep_gray(value: float, seed: int) -> None:
    matrices = _color_matrices(6, generator(seed))
    gray = torch.full((6, 3, 4, 5), value)
    for either in (matrices, torch.linalg.inv(matrices)):
        assert torch.allclose(recolored(either, gray), gray, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, JPEG_SHARE, 1.0])
def test_jpeg_applies_only_to_its_share_of_the_patches(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.degradations.camera_noise, "JPEG_SHARE", share)
    pictures = torch.rand(400, 3, 33, 48, generator=generator())
    before = pictures.clone()
    coded = _jpeg(pictures, generator())
    assert (coded.shape, coded.dtype) == (pictures.shape, torch.float32)
    assert torch.equal(pictures, before)
    changed = (coded != pictures).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(share, abs=0.08)
    assert torch.equal(coded[changed].mul(255).round().div(255), coded[changed])


def test_jpeg_keeps_channels_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.degradations.camera_noise, "JPEG_SHARE", 1.0)
    pure = torch.eye(3)[:, :, None, None].expand(3, 3, 32, 32).contiguous()
    assert float((_jpeg(pure, generator()) - pure).abs().max()) < 0.05


@pytest.mark.parametrize("value", [0.2, 0.5, 0.9])
def test_the_noise_level_is_that_of_the_sensor_after_the_tone_curve(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Green, which has no gain, with nothing between the sensor and the curve."""
    for name in ("_demosaiced", "_smoothed"):
        monkeypatch.setattr(cae_train.degradations.camera_noise, name, lambda noise, *_: noise)
    camera_noise = cae_train.degradations.camera_noise
    monkeypatch.setattr(camera_noise, "_color_matrices", lambda count, _generator: torch.eye(3).repeat(count, 1, 1))
    level = 0.7
    measured = noise_of(flat(value, 256), torch.full((256, 1, 1, 1), level), generator())[:, 1].std()
    light = float(linear(torch.tensor(value)))
    shot = 2e-5 ** (1 - level) * 2e-2**level  # variance of full light; read noise is a hundredth of it here
    by_curve = [((light + step) ** (1 / GAMMA)) * (1 + TOE) - TOE for step in (-1e-4, 1e-4)]
    slope = (by_curve[1] - by_curve[0]) / 2e-4
    assert float(measured) == pytest.approx(slope * (shot * light) ** 0.5, rel=0.1)


def test_patches_of_one_batch_have_grain_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[float, int] = {}
    original = Camera._with_noise

    def spy(self: Camera, picture: Tensor, grain: float, source: torch.Generator) -> Tensor:
        seen[grain] = len(picture)
        return original(self, picture, grain, source)

    monkeypatch.setattr(Camera, "_with_noise", spy)
    parse("camera")(flat(0.5, 256), generator())
    assert set(seen) == set(cae_train.degradations.camera_noise.GRAINS)
    assert sum(seen.values()) == 256
    assert min(seen.values()) > 32


def test_jpeg_blocks_have_random_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.degradations.camera_noise, "JPEG_SHARE", 1.0)
    sizes = set()
    original = cv2.imencode

    def spy(suffix: str, picture: np.ndarray, settings: list[int]) -> object:
        sizes.add((picture.shape[0] - 48, picture.shape[1] - 48))
        return original(suffix, picture, settings)

    monkeypatch.setattr(cv2, "imencode", spy)
    _jpeg(torch.rand(400, 3, 48, 48, generator=generator()), generator())
    assert {top for top, _ in sizes} == {left for _, left in sizes} == set(range(16))


@pytest.mark.parametrize("seed", [1, 2])
def test_jpeg_draws_the_same_random_numbers_as_in_earlier_versions(seed: int) -> None:
    """Written out once more: runs can be repeated only while the same numbers are drawn for the same things."""
    pictures = torch.rand(40, 3, 48, 40, generator=generator(seed + 5))
    source, wanted = generator(seed), pictures.clone()
    chosen = torch.nonzero(torch.rand(40, generator=source) < 0.6)[:, 0]
    halved, half, whole = (
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    )
    for index, (quality, sampling, y, x) in zip(chosen, torch.rand(len(chosen), 4, generator=source), strict=True):
        bgr = wanted[index].mul(255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
        top, left = int(y * 16), int(x * 16)
        placed = cv2.copyMakeBorder(bgr, top, 0, left, 0, cv2.BORDER_REFLECT_101)
        factor = (halved, halved, half, whole)[int(sampling * 4)]
        options = [cv2.IMWRITE_JPEG_QUALITY, int(45 + quality * 54), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
        decoded = cv2.imdecode(cv2.imencode(".jpg", placed, options)[1], cv2.IMREAD_COLOR)
        assert decoded is not None
        wanted[index] = torch.from_numpy(decoded[top:, left:, ::-1].copy()).permute(2, 0, 1).float() / 255
    assert torch.equal(_jpeg(pictures, generator(seed)), wanted)


@pytest.mark.usefixtures("no_jpeg")
def test_soft_filters_make_the_noise_wider_but_not_weaker() -> None:
    def statistics(spec: str) -> tuple[float, float]:
        noise = (parse(spec)(flat(0.5, 256), generator()) - 0.5).mean(1, keepdim=True)  # the brightness
        noise -= noise.mean((2, 3), keepdim=True)
        return float(noise.square().mean().sqrt()), float(
            (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
        )

    (usual, narrow), (soft, wide) = statistics("camera:0.6"), statistics("camera-soft:0.6")
    assert wide > narrow + 0.1
    assert soft > usual


def test_hot_pixels_are_few_and_each_has_one_color() -> None:
    dark = flat(20 / 255, 256)
    added = parse("hot-pixels:0.003")(dark, generator()) - dark
    assert float(added.min()) > -0.6, "what sharpens in the interpolation is darker around them"
    strong = added.amax(1) > 0.07
    assert 0.001 < float(strong.float().mean()) < 0.02
    assert torch.equal(parse("hot-pixels:0")(dark, generator()), dark)
    single = torch.zeros_like(strong)
    single[:, 1:-1, 1:-1] = (added.abs().sum(1).unfold(1, 3, 1).unfold(2, 3, 1) > 0).sum((3, 4)) == 1
    alone = single & strong
    assert alone.any(), "some were not interpolated: one pixel of one channel"
    assert float(((added > 0).sum(1)[alone] == 1).float().mean()) > 0.95


def test_sensor_is_the_noise_of_camera_without_jpeg() -> None:
    noise = parse("sensor:0.6")(flat(0.5, 64), generator()) - 0.5
    assert len(noise.unique()) > 10_000, "nothing is rounded"
    weaker = parse("camera:0.6")(flat(0.5, 64), generator()) - 0.5
    assert float(noise.std()) > float(weaker.std()), "which JPEG and enlarging make less"
