from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cae_train import ConfigError
from cae_train.camera import Camera
from cae_train.degrade import DEGRADATIONS, OneOf, parse, parse_chain
from cae_train.noise import Gaussian, Level, SaltPepper

GREY = torch.full((16, 3, 32, 32), 128 / 255)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("gaussian:25", Gaussian(Level(25, 25))),
        ("gaussian:2.5", Gaussian(Level(2.5, 2.5))),
        ("gaussian:0", Gaussian(Level(0, 0))),
        ("gaussian:0-55", Gaussian(Level(0, 55))),
        ("gaussian:255", Gaussian(Level(255, 255))),
        ("salt-pepper:0.05", SaltPepper(Level(0.05, 0.05))),
        ("salt-pepper:0-1", SaltPepper(Level(0, 1))),
        ("salt-pepper:1e-3", SaltPepper(Level(0.001, 0.001))),
        ("salt-pepper:1e-3-.5", SaltPepper(Level(0.001, 0.5))),
        ("gaussian:0-55,camera", OneOf((Gaussian(Level(0, 55)), Camera(Level(0, 1))))),
        ("camera:0.5,gaussian:5,gaussian:5", OneOf((Camera(Level(0.5, 0.5)), *[Gaussian(Level(5, 5))] * 2))),
    ],
)
def test_specs(spec: str, wanted: object) -> None:
    assert parse(spec) == wanted


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("gaussian:abc", "'abc' is no level, write gaussian:LEVEL or gaussian:LOW-HIGH"),
        ("gaussian:", "'' is no level"),
        ("gaussian", "'' is no level"),
        ("gaussian:5-", "'5-' is no level"),
        ("gaussian:-1", "'-1' is no level"),
        ("gaussian:1-2-3", "'1-2-3' is no level"),
        ("gaussian:55-0", "from 0 to 255, low first"),
        ("gaussian:256", "from 0 to 255"),
        ("gaussian:nan", "'nan' is no level"),
        ("gaussian:0-nan", "'0-nan' is no level"),
        ("gaussian:inf", "'inf' is no level"),
        ("salt-pepper:2", "from 0 to 1"),
        ("blur:3", "unknown degradation 'blur', choose from gaussian, salt-pepper, camera"),
        ("gaussian:5,blur:3", "unknown degradation 'blur', choose from gaussian, salt-pepper, camera"),
        ("camera:", "'' is no level, write camera:LEVEL or camera:LOW-HIGH (a simulated camera"),
        ("camera:dark", "'dark' is no level"),
        ("camera:-0.1", "'-0.1' is no level"),
        ("camera:1.1", "levels of camera go from 0 to 1, low first"),
        ("camera:0-100", "from 0 to 1, low first"),
        ("camera:0.7-0.2", "from 0 to 1, low first"),
        ("gaussian:5,", "unknown degradation ''"),
        (",camera", "unknown degradation ''"),
        ("gaussian:5, camera", "unknown degradation ' camera'"),
        ("camera,gaussian", "'' is no level, write gaussian:LEVEL"),
        ("camera,salt-pepper:2", "levels of salt-pepper go from 0 to 1"),
        ("", "unknown degradation ''"),
        (":25", "unknown degradation ''"),
        ("Gaussian:25", "unknown degradation 'Gaussian'"),
    ],
)
def test_bad_specs_are_one_line_with_the_valid_ones(spec: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(spec)
    assert str(caught.value).startswith(f"--degrade {spec!r}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=20, deadline=None)
@given(sigma=st.floats(0.5, 255), seed=st.integers(0, 2**31))
def test_gaussian_noise_has_the_named_spread(sigma: float, seed: int) -> None:
    noise = (parse(f"gaussian:{sigma:.6f}")(GREY, generator(seed)) - GREY) * 255
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(float(noise.mean())) < sigma * 0.02
    assert abs(float((noise[:, :, :, 1:] * noise[:, :, :, :-1]).mean())) < 0.03 * sigma**2  # white: no correlation
    assert abs(float((noise[:, 0] * noise[:, 1]).mean())) < 0.05 * sigma**2  # each channel its own


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_salt_and_pepper_hit_the_named_share_of_pixels(share: float, seed: int) -> None:
    degraded = parse(f"salt-pepper:{share:.6f}")(GREY, generator(seed))
    assert set(degraded.unique().tolist()) <= {0.0, float(GREY[0, 0, 0, 0]), 1.0}
    assert float((degraded == 0).float().mean()) == pytest.approx(share / 2, abs=0.02)
    assert float((degraded == 1).float().mean()) == pytest.approx(share / 2, abs=0.02)
    assert torch.equal(degraded, degraded[:, :1].expand_as(degraded))  # all channels of a pixel together


def test_level_0_changes_nothing() -> None:
    clean = torch.rand(4, 3, 32, 32).mul(255).round().div(255)
    for spec in ("gaussian:0", "salt-pepper:0"):
        assert torch.equal(parse_chain([spec])(clean, generator()), clean)


def test_a_range_draws_a_level_for_each_patch() -> None:
    clean = torch.full((256, 3, 32, 32), 0.5)
    spreads = (parse("gaussian:10-50")(clean, generator()) - clean).flatten(1).std(1) * 255
    assert spreads.min() < 14
    assert spreads.max() > 46
    assert spreads.min() > 9
    assert spreads.max() < 52
    assert float(spreads.mean()) == pytest.approx(30, abs=3)


@pytest.mark.parametrize("clip", [True, False])
def test_the_same_seed_gives_the_same_noise(clip: bool) -> None:
    chain = parse_chain(["gaussian:0-55", "salt-pepper:0-0.2"], clip)
    clean = torch.rand(8, 3, 32, 32)
    first = chain(clean, generator(5))
    torch.rand(3)  # nothing is taken from torch's global generator
    assert torch.equal(first, chain(clean, generator(5)))
    assert not torch.equal(first, chain(clean, generator(6)))


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(
    "spec", ["gaussian:25", "gaussian:0", "salt-pepper:0.3", "salt-pepper:0", "camera", "gaussian:0,camera"]
)
def test_the_clean_patches_are_not_changed(spec: str, clip: bool) -> None:
    clean = torch.rand(4, 3, 32, 32)
    before = clean.clone()
    parse_chain([spec], clip)(clean, generator()).add_(1)
    assert torch.equal(clean, before)


def test_clipped_noise_is_what_an_8_bit_file_holds() -> None:
    degraded = parse_chain(["gaussian:50"])(torch.rand(8, 3, 32, 32), generator())
    eight_bits = degraded.mul(255).round().byte()
    assert torch.equal(eight_bits.float().div(255), degraded)
    assert int(eight_bits.min()) == 0
    assert int(eight_bits.max()) == 255


def test_unclipped_noise_leaves_0_to_1() -> None:
    degraded = parse_chain(["gaussian:50"], clip=False)(torch.rand(8, 3, 32, 32), generator())
    assert degraded.min() < -0.1
    assert degraded.max() > 1.1


def extremes(specs: tuple[str, ...]) -> Tensor:
    degraded = parse_chain(specs, clip=False)(GREY, generator())
    return ((degraded == 0) | (degraded == 1)).float().mean()


def test_degradations_are_applied_in_their_order() -> None:
    both = list(permutations(("gaussian:10", "salt-pepper:0.5")))
    assert extremes(both[0]) == pytest.approx(0.5, abs=0.02)  # impulses last: they stay exactly black and white
    assert extremes(both[1]) == 0  # noise last: it moves them all


def test_every_name_says_what_it_is() -> None:
    for name, kind in DEGRADATIONS.items():
        assert kind.summary
        assert parse(name if kind.default else f"{name}:{kind.low:g}-{kind.high:g}")


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 40), channels=st.sampled_from((1, 3)), seed=st.integers(0, 2**31))
def test_each_patch_draws_one_of_the_alternatives(count: int, channels: int, seed: int) -> None:
    clean = torch.full((count, channels, 16, 16), 0.5)
    degraded = parse("gaussian:0,salt-pepper:1")(clean, generator(seed))
    untouched, impulses = (degraded == 0.5).flatten(1), ((degraded == 0) | (degraded == 1)).flatten(1)
    assert torch.equal(untouched.all(1), ~impulses.all(1)), "one or the other, never a mixture"


def test_alternatives_are_equally_likely() -> None:
    clean = torch.full((600, 3, 8, 8), 0.5)
    degraded = parse("gaussian:0,salt-pepper:1,gaussian:100")(clean, generator())
    untouched = (degraded == 0.5).flatten(1).all(1)
    impulses = ((degraded == 0) | (degraded == 1)).flatten(1).all(1)
    assert float(untouched.float().mean()) == pytest.approx(1 / 3, abs=0.07)
    assert float(impulses.float().mean()) == pytest.approx(1 / 3, abs=0.07)


def test_alternatives_follow_the_seed_and_stand_in_a_chain() -> None:
    chain = parse_chain(["gaussian:0-55,camera,salt-pepper:0-0.2", "salt-pepper:0.1"])
    clean = torch.rand(8, 3, 32, 32)
    first = chain(clean, generator(5))
    torch.rand(3)  # nothing is taken from torch's global generator
    assert torch.equal(first, chain(clean, generator(5)))
    assert not torch.equal(first, chain(clean, generator(6)))
