from __future__ import annotations

import math

import pytest
import torch

from cae_runtime.inference.tiling import origins, window
from cae_train import ConfigError
from cae_train.config import LOSSES
from cae_train.metrics import psnr
from cae_train.models import build
from cae_train.training.optimization.losses import bce, charbonnier, loss_of, mse


def flat(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 3, 32, 32)


@pytest.mark.parametrize(("error", "decibel"), [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0), (25 / 255, 20.172)])
def test_psnr_of_a_known_error_is_right(error: float, decibel: float) -> None:
    assert float(psnr(flat(error), flat(0))) == pytest.approx(decibel, abs=1e-3)


def test_psnr_is_one_value_per_patch() -> None:
    assert psnr(flat(0.1, 0.01, 1.0), flat(0, 0, 0)).tolist() == pytest.approx([20, 40, 0], abs=1e-3)


def test_psnr_is_limited_by_rounding_to_8_bits() -> None:
    bound = 10 * math.log10(12 * 255**2)
    assert bound == pytest.approx(58.92, abs=0.01)
    assert float(psnr(flat(0.5), flat(0.5))) == pytest.approx(bound, abs=1e-3)


def test_psnr_clips_the_output_as_a_file_does() -> None:
    assert psnr(flat(1.7, -3.0), flat(1, 0)).tolist() == pytest.approx([58.92, 58.92], abs=0.01)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mse", 0.01),
        ("charbonnier", math.sqrt(0.01 + 1e-6)),
        ("bce", -0.5 * math.log(0.6) - 0.5 * math.log(0.4)),
        ("relative", 0.01 / math.sqrt(0.2 + 2 / 255)),
        ("blended", 0.01 / math.sqrt(0.2 + 2 / 255)),
        ("psnr", math.log(0.01 + 1 / 255**2)),
    ],
)
def test_losses_match_hand_calculations(name: str, wanted: float) -> None:
    loss = loss_of(name, build("cae"))
    assert float(loss(flat(0.6), flat(0.5), flat(0.7))) == pytest.approx(wanted, rel=1e-4)


def test_the_relative_loss_weighs_each_patch_by_its_own_noise() -> None:
    loss = loss_of("relative", build("skip"))
    faint, strong = (float(loss(flat(0.51), flat(0.5), flat(0.5 + noise))) for noise in (0.02, 0.2))
    assert faint > 2 * strong
    both = float(loss(flat(0.51, 0.51), flat(0.5, 0.5), flat(0.52, 0.7)))
    assert both == pytest.approx((faint + strong) / 2, rel=1e-5)
    assert math.isfinite(float(loss(flat(0.51), flat(0.5), flat(0.5))))


def test_the_psnr_loss_weighs_patches_equally_and_stays_finite_on_clean_ones() -> None:
    loss = loss_of("psnr", build("skip"))
    outputs = torch.cat([flat(0.5 + error) for error in (0.02, 0.2)]).requires_grad_()
    loss(outputs, flat(0.5, 0.5), flat(0.6, 0.6)).backward()
    assert outputs.grad is not None
    faint, strong = ((outputs.grad * (outputs.detach() - 0.5)).flatten(1).sum(1)).tolist()
    assert faint == pytest.approx(strong, rel=0.05)  # the same share of either error, ten times apart, gains as much
    assert math.isfinite(float(loss(flat(0.5), flat(0.5), flat(0.5))))


@pytest.mark.parametrize("name", ["blended", "psnr"])
def test_evaluating_a_loss_does_not_prevent_training_with_it(name: str) -> None:
    """Nothing that was made in inference mode is kept: gradients could not pass it."""
    loss, output = loss_of(name, build("skip")), torch.rand(1, 3, 20, 24)
    with torch.inference_mode():
        loss(output, output, output)
    loss(output.requires_grad_(), torch.zeros(1, 3, 20, 24), torch.ones(1, 3, 20, 24)).backward()
    assert output.grad is not None


def test_the_blended_loss_weighs_pixels_as_the_runtime_blends_patches() -> None:
    """An error of one pixel costs what `tiles.window` lets through of it, and a little more."""
    starts = origins(32 + 24 * 2, 32, 8)
    line = window(starts, 32, 8)[1]  # of a patch with neighbors on both sides
    loss, clean = loss_of("blended", build("skip")), flat(0.5)
    ratios = []
    for y, x in ((16, 16), (0, 16), (3, 30), (31, 31), (8, 7)):
        wrong = clean.clone()
        wrong[0, :, y, x] += 0.1
        ratios.append(float(loss(wrong, clean, flat(0.6))) / (line[y] * line[x] + 0.15))
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-4)


def test_bce_needs_a_bounded_network() -> None:
    with pytest.raises(ConfigError, match=r"loss bce needs .*sigmoid"):
        loss_of("bce", build("skip"))


def test_an_unknown_loss_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match="'l3': choose from auto, mse, bce, charbonnier, relative, blended, psnr, ssim"
    ):
        loss_of("l3", build("cae"))


def test_auto_is_the_networks_own_loss() -> None:
    assert loss_of("auto", build("vae")) is bce
    for arch in ("cae", "sparse", "stacked"):
        assert loss_of("auto", build(arch, None, 1)) is bce
    assert loss_of("auto", build("cae")) is loss_of("auto", build("skip")) is mse
    assert loss_of("auto", build("sparse")) is charbonnier
    assert loss_of("mse", build("vae")) is mse


def test_every_loss_has_a_description() -> None:
    for name in LOSSES:
        assert callable(loss_of(name, build("cae")))


def test_the_ssim_loss_sees_structure_that_charbonnier_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(4, 3, 32, 32, generator=generator) * 0.5 + 0.2
    shifted, scrambled = clean + 0.1, clean + 0.1 * torch.randn(clean.shape, generator=generator).sign()
    loss = loss_of("ssim", build("cae"))
    assert float(charbonnier(shifted, clean, clean)) == pytest.approx(float(charbonnier(scrambled, clean, clean)))
    assert float(loss(shifted, clean, clean)) < float(loss(scrambled, clean, clean))
    assert float(loss(clean, clean, clean)) == pytest.approx(float(charbonnier(clean, clean, clean)), abs=1e-5)
    for count, channels in ((1, 1), (3, 1), (2, 3)):
        assert loss(torch.rand(count, channels, 32, 32), torch.rand(count, channels, 32, 32), clean).ndim == 0
