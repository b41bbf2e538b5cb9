"""JPEG: patches are coded with a random position of the block grid."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cae_train.degradations.jpeg
from cae_train.degradations.jpeg import SAMPLINGS, coded
from cae_train.degradations.registry import parse, parse_chain


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(channels: int, side: int = 48) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2).reshape(noise.shape)


@settings(max_examples=40)
@given(quality=st.integers(1, 100), sampling=st.sampled_from(sorted(set(SAMPLINGS))), channels=st.sampled_from((1, 3)))
def test_jpeg_equals_the_coding_of_opencv(quality: int, sampling: int, channels: int) -> None:
    original = picture(channels)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    bgr = np.ascontiguousarray(original[..., ::-1])
    stream = cv2.imencode(".jpg", bgr, options[: 2 if channels == 1 else 4])[1]
    decoded = cv2.imdecode(stream, cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    wanted = decoded.reshape(original.shape)[..., ::-1]
    assert np.array_equal(coded(original, quality, sampling, 0, 0), wanted)


@settings(max_examples=30)
@given(top=st.integers(0, 15), left=st.integers(0, 15), channels=st.sampled_from((1, 3)))
def test_blocks_begin_at_the_given_position(top: int, left: int, channels: int) -> None:
    """At quality 1 a block is nearly flat: the picture jumps only where one ends."""
    ramp = np.repeat((np.add.outer(np.arange(48), np.arange(48)) * 2.6).astype(np.uint8)[..., None], channels, 2)
    result = coded(ramp, 1, SAMPLINGS[-1], top, left).astype(float)
    jumps = np.abs(np.diff(result[..., 0], axis=0)).mean(1)
    ends = [row for row in range(8, 40) if (row + 1 + top) % 8 == 0]  # of blocks that are wholly in the picture
    between = [row for row in range(8, 40) if row not in ends]
    assert jumps[ends].min() > jumps[between].max()


@pytest.mark.parametrize("channels", [1, 3])
def test_lower_quality_is_further_from_the_picture(channels: int) -> None:
    clean = torch.from_numpy(np.stack([picture(channels)] * 16)).permute(0, 3, 1, 2) / 255
    errors = [float((parse(f"jpeg:{q}")(clean, generator()) - clean).square().mean()) for q in (5, 20, 60, 95)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 10 * errors[-1]
    degraded = parse("jpeg:100")(clean, generator())
    assert float((degraded - clean).abs().mean()) < 2 / 255


def test_quality_position_and_sampling_are_drawn_for_each_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(pixels: np.ndarray, *drawn: int) -> np.ndarray:
        seen.append(drawn)
        return pixels

    monkeypatch.setattr(cae_train.degradations.jpeg, "coded", spy)
    parse("jpeg:10-20")(torch.rand(1000, 1, 4, 4), generator())
    qualities, samplings, tops, lefts = (list(column) for column in zip(*seen, strict=True))
    assert set(qualities) == set(range(10, 21))
    assert set(tops) == set(lefts) == set(range(16))
    assert {s: samplings.count(s) / 1000 for s in samplings} == pytest.approx(
        {s: SAMPLINGS.count(s) / 4 for s in SAMPLINGS}, abs=0.05
    )
    assert abs(float(np.corrcoef(tops, lefts)[0, 1])) < 0.1


def test_the_result_has_8_bit_values() -> None:
    noisy = parse_chain(["gaussian:200", "jpeg:50"], clip=False)(torch.rand(8, 3, 32, 32), generator())
    assert torch.equal(noisy.mul(255).round().div(255), noisy)
    assert 0 <= float(noisy.min()) < float(noisy.max()) <= 1


def test_jpeg_twice_is_coded_twice_on_one_grid_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int, int]] = []

    def listening(pixels: np.ndarray, quality: int, sampling: int, top: int, left: int) -> np.ndarray:
        calls.append((quality, top, left))
        return coded(pixels, quality, sampling, top, left)

    monkeypatch.setattr(cae_train.degradations.jpeg, "coded", listening)
    clean = torch.from_numpy(picture(3)).permute(2, 0, 1)[None].expand(40, -1, -1, -1).float() / 255
    degraded = parse("jpeg-twice:20-50")(clean, generator())
    assert torch.equal(degraded.mul(255).round().div(255), degraded)
    firsts, seconds = calls[::2], calls[1::2]
    assert all(20 <= quality <= 50 for quality, _, _ in firsts)
    assert all(60 <= quality <= 96 for quality, _, _ in seconds)
    assert 10 < sum(a[1:] == b[1:] for a, b in zip(firsts, seconds, strict=True)) < 32
