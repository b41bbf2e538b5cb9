from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cae_train import ConfigError, TrainConfig
from cae_train.data.pairs import Pairs, fixed_pairs
from cae_train.degradations.blur import Blur, MotionBlur
from cae_train.degradations.camera_noise import Camera
from cae_train.degradations.chain import Chain, OneOf, Row
from cae_train.degradations.jpeg import Jpeg
from cae_train.degradations.mask import Mask
from cae_train.degradations.noise import Gaussian, Level, Poisson, SaltPepper, Speckle
from cae_train.degradations.registry import DEGRADATIONS, Kind, Nothing, parse, parse_chain

PINNED = {
    "camera": [40, 92, 186, 207],
    "gaussian:0-55,gaussian:0-55,camera": [18, 90, 177, 206],
    "gaussian:0-25 jpeg:30-90": [2, 99, 173, 207],
    "blur:0-2": [2, 92, 181, 207],
    "gaussian:20,jpeg:10-80,camera:0.6": [21, 83, 166, 205],
}
GRAY = torch.full((16, 3, 32, 32), 128 / 255)


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
        ("poisson:1e6", Poisson(Level(1e6, 1e6))),
        ("speckle:0.1-2", Speckle(Level(0.1, 2))),
        ("blur:0.5-3", Blur(Level(0.5, 3))),
        ("motion-blur:5-31", MotionBlur(Level(5, 31))),
        ("jpeg:10-80", Jpeg(Level(10, 80))),
        ("mask:.05-.6", Mask(Level(0.05, 0.6))),
        ("none", Nothing(Level(0, 0))),
        ("gaussian:0-55,camera", OneOf((Gaussian(Level(0, 55)), Camera(Level(0, 1))))),
        ("gaussian:5+jpeg:50", Row((Gaussian(Level(5, 5)), Jpeg(Level(50, 50))))),
        ("poisson:1e+3", Poisson(Level(1000, 1000))),
        (
            "gaussian:1e-1+jpeg:50,camera",
            OneOf((Row((Gaussian(Level(0.1, 0.1)), Jpeg(Level(50, 50)))), Camera(Level(0, 1)))),
        ),
        ("camera:0.5,gaussian:5,gaussian:5", OneOf((Camera(Level(0.5, 0.5)), *[Gaussian(Level(5, 5))] * 2))),
    ],
)
def test_specs_are_parsed(spec: str, wanted: object) -> None:
    assert parse(spec) == wanted


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("gaussian:abc", "'abc' is not a level, write gaussian:LEVEL or gaussian:LOW-HIGH"),
        ("gaussian:", "'' is not a level"),
        ("gaussian:5+", "unknown degradation ''"),
        ("gaussian:5+mask:0.1", "mask and none cannot be combined"),
        ("none+gaussian:5", "mask and none cannot be combined"),
        ("gaussian", "'' is not a level"),
        ("gaussian:5-", "'5-' is not a level"),
        ("gaussian:-1", "'-1' is not a level"),
        ("gaussian:1-2-3", "'1-2-3' is not a level"),
        ("gaussian:55-0", "from 0 to 255, low first"),
        ("gaussian:256", "from 0 to 255"),
        ("gaussian:nan", "'nan' is not a level"),
        ("gaussian:0-nan", "'0-nan' is not a level"),
        ("gaussian:inf", "'inf' is not a level"),
        ("salt-pepper:2", "from 0 to 1"),
        (
            "fog:3",
            "unknown degradation 'fog', choose from gaussian, salt-pepper, poisson, speckle, blur, motion-blur, ",
        ),
        ("gaussian:5,fog:3", "unknown degradation 'fog', choose from gaussian, salt-pepper, poisson"),
        ("poisson:0", "levels of poisson go from 1 to 1,000,000, low first (number of photons for white)"),
        ("poisson:1e7", "from 1 to 1,000,000"),
        ("speckle:2.1", "from 0 to 2"),
        ("blur:9", "levels of blur go from 0 to 8, low first (sigma in pixels)"),
        ("motion-blur:0.5", "from 1 to 31"),
        ("motion-blur:40", "from 1 to 31"),
        ("jpeg:0", "from 1 to 100"),
        ("jpeg:101", "from 1 to 100"),
        (
            "jpeg",
            "write jpeg:LEVEL or jpeg:LOW-HIGH (JPEG with a random position of its blocks: 1..100, quality)",
        ),
        ("mask:1.5", "from 0 to 1"),
        ("mask:20%", "'20%' is not a level"),
        ("none:1", "none takes no level"),
        ("none:", "none takes no level"),
        ("camera:", "'' is not a level, write camera:LEVEL or camera:LOW-HIGH (a simulated camera"),
        ("camera:dark", "'dark' is not a level"),
        ("camera:-0.1", "'-0.1' is not a level"),
        ("camera:1.1", "levels of camera go from 0 to 1, low first"),
        ("camera:0-100", "from 0 to 1, low first"),
        ("camera:0.7-0.2", "from 0 to 1, low first"),
        ("gaussian:25,50", "a range is written with a hyphen, gaussian:25-50; a comma separates alternatives"),
        ("gaussian:5,", "unknown degradation ''"),
        (",camera", "unknown degradation ''"),
        ("gaussian:5, camera", "unknown degradation ' camera'"),
        ("camera,gaussian", "'' is not a level, write gaussian:LEVEL"),
        ("camera,salt-pepper:2", "levels of salt-pepper go from 0 to 1"),
        ("", "unknown degradation ''"),
        (":25", "unknown degradation ''"),
        ("Gaussian:25", "unknown degradation 'Gaussian'"),
    ],
)
def test_invalid_specs_are_a_one_line_error_with_the_valid_ones(spec: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(spec)
    assert str(caught.value).startswith(f"degrade {spec!r}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=20)
@given(sigma=st.floats(0.5, 255), seed=st.integers(0, 2**31))
def test_gaussian_noise_has_the_given_sigma(sigma: float, seed: int) -> None:
    noise = (parse(f"gaussian:{sigma:.6f}")(GRAY, generator(seed)) - GRAY) * 255
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    assert abs(float(noise.mean())) < sigma * 0.02
    assert abs(float((noise[:, :, :, 1:] * noise[:, :, :, :-1]).mean())) < 0.03 * sigma**2  # white: no correlation
    assert abs(float((noise[:, 0] * noise[:, 1]).mean())) < 0.05 * sigma**2  # each channel its own


@settings(max_examples=20)
@given(share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_salt_and_pepper_change_the_given_share_of_pixels(share: float, seed: int) -> None:
    degraded = parse(f"salt-pepper:{share:.6f}")(GRAY, generator(seed))
    assert set(degraded.unique().tolist()) <= {0.0, float(GRAY[0, 0, 0, 0]), 1.0}
    assert float((degraded == 0).float().mean()) == pytest.approx(share / 2, abs=0.02)
    assert float((degraded == 1).float().mean()) == pytest.approx(share / 2, abs=0.02)
    assert torch.equal(degraded, degraded[:, :1].expand_as(degraded))  # all channels of a pixel together


def test_level_0_changes_nothing() -> None:
    clean = torch.rand(4, 3, 32, 32).mul(255).round().div(255)
    for spec in ("gaussian:0", "salt-pepper:0", "speckle:0", "blur:0", "motion-blur:1", "mask:0", "none"):
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
    degraded = parse_chain(specs, clip=False)(GRAY, generator())
    return ((degraded == 0) | (degraded == 1)).float().mean()


def test_degradations_are_applied_in_order() -> None:
    both = list(permutations(("gaussian:10", "salt-pepper:0.5")))
    assert extremes(both[0]) == pytest.approx(0.5, abs=0.02)  # impulses last: they stay exactly black and white
    assert extremes(both[1]) == 0  # noise last: it moves them all


def test_every_degradation_has_a_description() -> None:
    for name, kind in DEGRADATIONS.items():
        assert kind.summary
        assert bool(kind.levels) == (name != "none")
        assert parse(name if kind.default else f"{name}:{kind.low:g}-{kind.high:g}")
    assert DEGRADATIONS["gaussian"].levels == "0..255, sigma in gray levels of 255"


RANGES = [name if kind.default else f"{name}:{kind.low:g}-{kind.high:g}" for name, kind in DEGRADATIONS.items()]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spec", RANGES)
def test_every_degradation_keeps_the_shape_and_uses_only_its_generator(spec: str, channels: int) -> None:
    clean = torch.rand(9, channels, 32, 24, generator=generator(3))
    before = clean.clone()
    degraded = parse(spec)(clean, generator(5))
    assert (degraded.shape, degraded.dtype) == (clean.shape, torch.float32)
    assert bool(torch.isfinite(degraded).all())
    torch.rand(3)  # nothing is taken from torch's global generator
    assert torch.equal(degraded, parse(spec)(clean, generator(5)))
    assert spec == "none" or not torch.equal(degraded, parse(spec)(clean, generator(6)))
    assert torch.equal(degraded, parse(spec)(clean.to(memory_format=torch.channels_last), generator(5)))
    degraded.add_(1)
    assert torch.equal(clean, before), "the input is not changed"


@settings(max_examples=15)
@given(photons=st.floats(0, 6).map(lambda power: 10**power), value=st.integers(0, 255), seed=st.integers(0, 2**31))
def test_poisson_noise_counts_photons(photons: float, value: int, seed: int) -> None:
    """Of Poisson's law both the mean and the variance are the count that is expected."""
    expected = value / 255 * photons
    counts = parse(f"poisson:{photons:.6f}")(torch.full((32, 3, 32, 32), value / 255), generator(seed)) * photons
    assert float(counts.double().mean()) == pytest.approx(expected, abs=0.03 * expected**0.5 + 1e-3 + 1e-6 * expected)
    assert float(counts.double().var()) == pytest.approx(expected, rel=0.1, abs=2e-2)


def test_a_range_of_photons_is_drawn_on_a_logarithmic_scale() -> None:
    noisy = parse("poisson:10-1000")(torch.full((600, 1, 16, 16), 0.5), generator())
    photons = 0.5 / noisy.flatten(1).var(1)
    assert 7 < float(photons.min()) < 14
    assert 700 < float(photons.max()) < 1500
    assert float((photons < 100).float().mean()) == pytest.approx(0.5, abs=0.07)


def test_poisson_accepts_input_outside_0_to_1() -> None:
    noisy = parse_chain(["gaussian:100", "poisson:30"], clip=False)(torch.rand(8, 3, 32, 32), generator())
    assert bool(torch.isfinite(noisy).all())
    assert noisy.min() == 0
    assert noisy.max() > 1.3


@settings(max_examples=15)
@given(sigma=st.floats(0.01, 2), value=st.floats(0.01, 1), seed=st.integers(0, 2**31))
def test_speckle_is_proportional_to_the_value(sigma: float, value: float, seed: int) -> None:
    clean = torch.full((32, 3, 32, 32), value)
    noise = parse(f"speckle:{sigma:.6f}")(clean, generator(seed)) - clean
    assert float(noise.std()) == pytest.approx(sigma * value, rel=0.02)
    assert abs(float(noise.mean())) < 0.02 * sigma * value
    assert abs(float((noise[:, 0] * noise[:, 1]).mean())) < 0.05 * (sigma * value) ** 2  # each channel its own
    assert torch.equal(parse("speckle:1")(torch.zeros(1, 3, 8, 8), generator()), torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("specs", [("none", "gaussian:5"), ("gaussian:5", "none"), ("none", "none")])
def test_none_is_refused_beside_other_degradations(specs: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^degrade 'none' cannot be combined with other degradations: leave it out$"):
        parse_chain(specs)
    assert parse_chain(["none,gaussian:5", "blur:1"])  # as an alternative it has a meaning


def test_reach_adds_up_in_a_row_and_is_the_largest_of_alternatives() -> None:
    reaches = {
        "gaussian:25": 0, "camera": 0, "mask:0.3": 0, "none": 0, "blur:0-2.1": 7, "motion-blur:9": 4,
        "motion-blur:1-10": 5, "jpeg:30": 16, "blur:1,jpeg:30,gaussian:5": 16,
    }  # fmt: skip
    assert {spec: parse_chain([spec]).reach for spec in reaches} == reaches
    assert parse_chain(["blur:2", "gaussian:5", "motion-blur:9", "jpeg:30,blur:1"]).reach == 6 + 4 + 16


def test_stages_are_the_results_after_each_step() -> None:
    chain = parse_chain(["blur:1", "gaussian:20", "jpeg:40"])
    clean = torch.rand(4, 3, 32 + 2 * chain.reach, 32 + 2 * chain.reach)
    stages = list(chain.stages(clean, generator(), chain.reach))
    assert [stage.shape[-1] for stage in stages] == [64, 64, 32], "each step cuts off what it has used"
    assert torch.equal(stages[-1], chain(clean, generator(), chain.reach))
    source = generator()
    first = parse("blur:1")(clean, source)[:, :, 3:-3, 3:-3]
    second = parse("gaussian:20")(first, source)
    assert torch.equal(stages[0], first)
    assert torch.equal(stages[1], second)
    assert torch.equal(stages[2], parse("jpeg:40")(second, source)[:, :, 16:-16, 16:-16])


@dataclass(frozen=True)
class Darker:
    """What a person adds: a class with a level, registered in one line."""

    factor: Level

    def __call__(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        return clean * self.factor.draw(len(clean), generator)


def test_a_new_degradation_takes_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEGRADATIONS, "darker", Kind(Darker, 0, 1, "less light", unit="share of the light"))
    assert parse("darker:0.5") == Darker(Level(0.5, 0.5))
    with pytest.raises(ConfigError, match=r"levels of darker go from 0 to 1, low first \(share of the light\)"):
        parse("darker:3")
    with pytest.raises(ConfigError, match=r"choose from .*, none, darker$"):
        parse("dimmer:3")
    chain = parse_chain(["darker:0.5", "blur:1", "darker:0-1,gaussian:5"])
    assert isinstance(chain, Chain)
    images = [np.full((60, 50, 3), 200, np.uint8)] * 3
    config = TrainConfig(degrade=("darker:0.5",), batch=8, epoch_crops=8)
    for degraded, clean in (Pairs(images, parse_chain(config.degrade), config)[0, 0],
                            fixed_pairs(images, parse_chain(config.degrade), 0, 4)):  # fmt: skip
        assert torch.equal(clean.mul(255).round().unique(), torch.tensor([200.0]))
        assert torch.equal(degraded.mul(255).round().unique(), torch.tensor([100.0]))
    assert Pairs(images, chain, config)[0, 0][0].shape == (8, 3, 32, 32)


@settings(max_examples=20)
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


def test_alternatives_follow_the_seed_and_work_in_a_chain() -> None:
    chain = parse_chain(["gaussian:0-55,camera,salt-pepper:0-0.2", "salt-pepper:0.1"])
    clean = torch.rand(8, 3, 32, 32)
    first = chain(clean, generator(5))
    torch.rand(3)  # nothing is taken from torch's global generator
    assert torch.equal(first, chain(clean, generator(5)))
    assert not torch.equal(first, chain(clean, generator(6)))


def test_plus_signs_apply_degradations_in_a_row() -> None:
    clean = torch.rand(6, 3, 32, 32)
    noisy = parse("gaussian:20")(clean, generator(2))
    assert torch.equal(parse("gaussian:20+gaussian:0")(clean, generator(2)), noisy)
    once = parse_chain(["gaussian:20+blur:1"])(clean, generator(2))
    assert torch.equal(once, parse_chain(["gaussian:20", "blur:1"])(clean, generator(2)))


def test_alternatives_and_rows_degrade_patches_up_to_their_edges() -> None:
    """What reaches less far is spared the margin, and the patch is the same size and noisy all over."""
    chain = parse_chain(["gaussian:40,gaussian:40+jpeg:60"])
    assert chain.reach == 16
    clean = torch.full((40, 3, 64, 64), 0.5)
    for margin, side in ((16, 32), (0, 64), (20, 24)):
        degraded = chain(clean, generator(), margin)
        assert degraded.shape == (40, 3, side, side)
        assert float((degraded != 0.5).float().mean((0, 1)).min()) > 0.8


def test_specs_of_earlier_versions_draw_the_same_random_numbers() -> None:
    """A run of an older version goes on with the same patches; values of version 0.1.0."""
    clean = torch.linspace(0, 1, 4 * 3 * 32 * 32).reshape(4, 3, 32, 32)
    for spec, wanted in PINNED.items():
        drawn = parse_chain(spec.split())(clean, generator(11))
        assert [round(255 * float(drawn[i, i % 3, 7 * i + 3, 5])) for i in range(4)] == pytest.approx(wanted, abs=1), (
            spec
        )


@pytest.mark.parametrize(
    ("specs", "sigma_min", "holes"),
    [
        (["gaussian:0-55,camera"], 0, False),
        (["gaussian:5-9,grain+jpeg:70-99"], 5, False),
        (["grain+gaussian:7,gaussian:25"], 7, False),
        (["camera"], None, False),
        (["gaussian:5,blur:1+gaussian:5"], None, False),
        (["gaussian:10-20", "blur:1"], None, False),
        (["gaussian:5", "mask:0.2"], None, True),
        (["mask:0.2", "gaussian:5"], None, False),
        (["none"], None, False),
    ],
)
def test_a_chain_says_what_kind_of_model_it_trains(specs: list[str], sigma_min: float | None, holes: bool) -> None:
    chain = parse_chain(specs)
    assert (chain.sigma_min, chain.leaves_holes) == (sigma_min, holes)
