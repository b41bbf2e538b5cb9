"""Patches made on a device: the same degradations as on the host, without work for the host."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.conftest import Settings, photograph
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cae_train import ConfigError, Hardware, TrainConfig, train
from cae_train.data.augment import without_grain
from cae_train.data.images import load
from cae_train.data.pairs import Pairs
from cae_train.degradations import marks
from cae_train.degradations.camera_noise import Camera
from cae_train.degradations.chain import Chain
from cae_train.degradations.jpeg import SAMPLINGS, coded
from cae_train.degradations.measured_noise import Measured, NoiseModel
from cae_train.degradations.noise import Level
from cae_train.degradations.registry import DEGRADATIONS, parse_chain
from cae_train.on_device import filters, jpeg
from cae_train.on_device.chain import chain_on_device
from cae_train.on_device.masks import DeviceMask
from cae_train.on_device.pairs import DevicePairs
from cae_train.on_device.pictures import Pictures
from cae_train.training.placement import placed

CPU = torch.device("cpu")
HOST_BOUND = (
    "motion-blur:1-15", "jpeg:20-90", "jpeg-twice:30-90", "camera", "camera-soft", "sensor",
    "gaussian:0-55,camera,grain+jpeg:70-99,camera-soft+jpeg:40-90",
)  # fmt: skip


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patches(count: int, side: int = 48, channels: int = 3) -> Tensor:
    """Crops of generated photographs, N x C x S x S in 0..1, a little noisy."""
    rng = np.random.default_rng(0)
    images = [photograph(seed, side, side) + rng.normal(0, 3, (side, side, 3)) for seed in range(count)]
    pixels = torch.from_numpy(np.stack(images).clip(0, 255).round().astype(np.float32))
    return pixels.permute(0, 3, 1, 2)[:, :channels].contiguous() / 255


def statistics(degraded: Tensor, clean: Tensor) -> dict[str, float]:
    """Quantiles of the PSNR, how alike neighbors and colors of the change are, and how large it is."""
    change = degraded - clean
    psnr = -10 * change.square().mean((1, 2, 3)).clamp_min(1e-7).log10()
    low, middle, high = torch.quantile(psnr, torch.tensor([0.1, 0.5, 0.9])).tolist()
    centered = change - change.mean((2, 3), keepdim=True)
    energy = centered.square().sum()
    return {
        "10 %": low,
        "median": middle,
        "90 %": high,
        "right": float((centered[..., 1:] * centered[..., :-1]).sum() / energy),
        "below": float((centered[..., 1:, :] * centered[..., :-1, :]).sum() / energy),
        "colors": float(centered.sum(1).square().sum() / energy / clean.shape[1]),
        "mean": float(degraded.mean()),
    }


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("spec", HOST_BOUND)
def test_device_degradations_equal_those_of_the_host_for_the_same_draws(spec: str, channels: int) -> None:
    clean = patches(32, channels=channels)
    host = parse_chain([spec], clip=False)
    expected, found = (chain(clean, generator()) for chain in (host, chain_on_device(host)))
    assert statistics(found, clean) == pytest.approx(statistics(expected, clean), rel=0.03, abs=0.005)
    assert (found - expected).square().mean() < 10**-4.5  # libjpeg's cosine transform rounds whole numbers


@pytest.mark.parametrize("level", ["0.3", "0.5"])
def test_device_masks_cover_as_much_with_as_large_holes_as_on_the_host(level: str) -> None:
    clean = torch.zeros(1200, 1, 32, 32)
    host = parse_chain([f"mask:{level}"])
    expected, found = ((chain(clean, generator()) > 0).float() for chain in (host, chain_on_device(host)))
    assert float(found.mean()) == pytest.approx(float(expected.mean()), rel=0.03)
    for shift in (1, 4):
        alike = [float((h[..., shift:] * h[..., :-shift]).mean() / h.mean()) for h in (expected, found)]
        assert alike[1] == pytest.approx(alike[0], rel=0.03)


def test_device_masks_work_for_share_0_and_1() -> None:
    clean = torch.full((4, 3, 16, 16), 0.5)
    for share in (0.0, 1.0):
        degraded = DeviceMask(Level(share, share))(clean, generator())
        assert (degraded != clean).any(1).float().mean() == share


@pytest.mark.parametrize("sampling", range(len(set(SAMPLINGS))))
@pytest.mark.parametrize("quality", [1, 30, 75, 100])
def test_device_jpeg_equals_opencv(quality: int, sampling: int) -> None:
    kinds = list(dict.fromkeys(SAMPLINGS))
    pixels = (patches(6, 47) * 255).round().permute(0, 2, 3, 1).byte().numpy()
    places = [(0, 0), (3, 5), (15, 15), (8, 0), (1, 14), (0, 9)]
    expected = [coded(p, quality, kinds[sampling], *place) for p, place in zip(pixels, places, strict=True)]
    top, left = torch.tensor(places).T
    halved = torch.full((6,), sampling < 2), torch.full((6,), sampling < 1)
    found = jpeg.coded(
        torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, torch.full((6,), float(quality)),
        jpeg.Place(top, left, *halved),
    )  # fmt: skip
    difference = found.permute(0, 2, 3, 1).numpy() * 255 - np.stack(expected)
    coding = np.square(np.stack(expected).astype(float) - pixels).mean()
    assert np.square(difference).mean() < max(0.3, 0.03 * coding)


def test_grain_removal_on_the_device_equals_the_host() -> None:
    for channels in (3, 1):
        pixels = (patches(5, channels=channels) * 255).round()
        found = filters.without_grain(pixels).permute(0, 2, 3, 1).numpy()
        expected = np.stack([without_grain(p) for p in pixels.permute(0, 2, 3, 1).byte().numpy()])
        assert np.abs(found - expected).max() <= 1
        assert np.abs(found - expected).mean() < 0.01


def numbered(height: int, width: int) -> np.ndarray:
    """An image whose channels say where a pixel lies."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack((rows, columns, rows + columns), 2).astype(np.uint8)


def test_crops_equal_the_pictures_in_all_eight_orientations() -> None:
    images = [numbered(40, 33), numbered(32, 50)]
    crops = Pictures(images, CPU).crops(torch.tensor([0, 1] * 200), 32, 0, False, generator())
    ways, corners = set(), set()
    for number, crop in enumerate(crops.long()):
        rows, columns, _ = crop
        y, x = int(rows.min()), int(columns.min())
        corners.add((number % 2, y, x))
        image = torch.from_numpy(images[number % 2][y : y + 32, x : x + 32]).permute(2, 0, 1).long()
        same = [
            way for way in range(8)
            if torch.equal(_turned(image, way), crop)
        ]  # fmt: skip
        assert len(same) == 1
        ways.add(same[0])
    assert ways == set(range(8))
    assert {(0, 0, 0), (0, 8, 1), (1, 0, 0), (1, 0, 18)} <= corners


def _turned(image: Tensor, way: int) -> Tensor:
    flipped = image.flip([axis for axis, bit in ((1, 2), (2, 1)) if way & bit])
    return flipped.mT if way & 4 else flipped


def test_crops_with_a_margin_are_reflected_at_the_edges() -> None:
    image = photograph(3, 32, 36)
    crops = Pictures([image], CPU).crops(torch.zeros(8, dtype=torch.long), 32, 40, True, generator())
    wide = np.pad(image, ((40, 40), (40, 40), (0, 0)), mode="reflect")
    for crop in crops.permute(0, 2, 3, 1).numpy():
        assert any(np.array_equal(crop, wide[:, x : x + 112]) for x in range(5))


def test_pictures_are_drawn_in_proportion_to_their_area() -> None:
    pictures = Pictures([photograph(0, 32, 32), photograph(1, 64, 96)], CPU)
    drawn = pictures.by_area(7000, generator()).bincount()
    assert int(drawn[0]) == pytest.approx(1000, rel=0.1)


def noise_model() -> NoiseModel:
    """One with everything that a camera may have."""
    grain = np.zeros((3, 11, 11), np.float32)
    grain[:, 5, 5:7] = 0.8, 0.6
    return NoiseModel(
        "phone", np.full((3, 17), 0.05, np.float32), np.eye(3, dtype=np.float32), grain, 0.01, 0.01, 0.01,
        np.full(9, 0.2, np.float32), 0.01,
    )  # fmt: skip


def every_chain() -> dict[str, Chain]:
    levels = {name: "" if kind.default else f":{0.2 if kind.high <= 2 else 3}" for name, kind in DEGRADATIONS.items()}
    chains = {name: parse_chain([name + level]) for name, level in levels.items()}
    return chains | {"measured": Chain((Measured(noise_model()),))}


class OnlyOnDevice(TorchFunctionMode):
    """As if the CPU were a device: what was not made on it may not be used there, and nothing goes back to NumPy."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.known = {id(tensor): tensor for tensor in known}  # held: an id is given again

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        assert name not in ("numpy", "tolist"), f"{name} copies to the host"
        result = func(*args, **(kwargs or {}))
        if name not in ("to", "__get__") and "device" not in (kwargs or {}):
            for each in (*args, *(kwargs or {}).values()):
                for tensor in each if isinstance(each, (list, tuple)) else (each,):
                    if isinstance(tensor, Tensor) and tensor.ndim:
                        assert id(tensor) in self.known, f"{name} takes a tensor of the host"
        results = result if isinstance(result, (list, tuple)) else (result,)
        self.known |= {id(tensor): tensor for tensor in results if isinstance(tensor, Tensor)}
        return result


@pytest.mark.parametrize("name", [*DEGRADATIONS, "measured"])
def test_every_degradation_by_name_works_on_the_device_alone(name: str) -> None:
    chain = chain_on_device(every_chain()[name])
    for channels in (3, 1):
        jpeg._tables.cache_clear()
        jpeg._cosines.cache_clear()
        marks._pages.cache_clear()
        clean = patches(8, 40, channels)
        with torch.device(CPU), OnlyOnDevice(clean):
            degraded = chain(clean, generator())
        assert degraded.shape == clean.shape
        assert name == "none" or not torch.equal(degraded, clean)


def test_a_degradation_that_needs_the_host_is_refused() -> None:
    class Mine(Camera):
        pass

    with pytest.raises(ConfigError, match=r"Mine works only on the host.*choose from gaussian, .*measured"):
        chain_on_device(parse_chain(["gaussian:25"]).__class__((Mine(Level(0, 1)),)))


def pairs_of(images: list[np.ndarray], spec: str = "gaussian:25", **changes: Any) -> Pairs:
    config = TrainConfig(**{"batch": 16, "epoch_crops": 96, "degrade": (spec,)} | changes)
    return Pairs(images, parse_chain(config.degrade), config)


def test_a_step_depends_only_on_seed_epoch_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cae_train.on_device.pairs.BLOCK", 64)
    images = [photograph(seed) for seed in range(3)]
    source = DevicePairs(pairs_of(images), CPU)
    in_order = [source[0, step] for step in range(6)] + [source[1, 0]]
    assert all(pair[0].shape == pair[1].shape == (16, 3, 32, 32) for pair in in_order)
    resumed = DevicePairs(pairs_of(images), CPU)
    for key, step in (((1, 0), 6), ((0, 5), 5), ((0, 1), 1)):
        assert all(torch.equal(*both) for both in zip(resumed[key], in_order[step], strict=True))
    for one, other in pairwise(in_order):
        assert not torch.equal(one[1], other[1])
    assert not torch.equal(DevicePairs(pairs_of(images, seed=1), CPU)[0, 0][1], in_order[0][1])


def test_device_patches_have_the_same_statistics_as_on_the_host() -> None:
    images = [photograph(seed, 96, 96) for seed in range(12)]
    settings = {"batch": 512, "epoch_crops": 512, "degrain": 0.5, "jitter": 0.3, "gray": 0.25}
    host = pairs_of(images, "gaussian:25", **settings)
    (degraded, clean), (expected, expected_clean) = DevicePairs(host, CPU)[0, 0], host[0, 0]
    found, wanted = statistics(degraded, clean), statistics(expected, expected_clean)
    assert found["median"] == pytest.approx(wanted["median"], rel=0.03)
    assert float(clean.std()) == pytest.approx(float(expected_clean.std()), rel=0.05)
    for batch in (clean, expected_clean, degraded, expected):
        gray = (batch[:, 0] == batch[:, 1]).flatten(1).all(1).float().mean()
        assert 0.24 < float(gray) < 0.28
        assert torch.equal((batch * 255).round() / 255, batch)


def test_processes_together_use_each_patch_of_a_data_set_once_an_epoch() -> None:
    images = [np.full((32, 32, 3), value, np.uint8) for value in range(128)]
    halves = [DevicePairs(pairs_of(images, "none").share(rank, 2), CPU) for rank in range(2)]
    seen = [round(255 * float(value)) for step in range(8) for half in halves for value in half[3, step][1][:, 0, 0, 0]]
    assert sorted(seen) == list(range(128))
    assert seen != list(range(128))


@pytest.mark.slow
def test_a_run_trains_on_the_device_and_resumes(
    settings: Settings, tmp_path: Path, stop_at: Callable[..., Any]
) -> None:
    config = settings(degrade=("gaussian:25,jpeg:40-90",), epochs=2, epoch_crops=48)
    hardware = Hardware(accelerator="cpu", devices="1", data_on="device")
    whole = train(config, tmp_path / "whole", hardware=hardware)
    train(config, tmp_path / "two", hardware=hardware, callbacks=[stop_at(4)])
    resumed = train(config, tmp_path / "two", hardware=hardware, resume=True)
    assert resumed.psnr_out == whole.psnr_out
    assert whole.psnr_out is not None
    assert np.isfinite(whole.psnr_out)
    host = Pairs(load(config).train, parse_chain(config.degrade), config)
    assert not torch.equal(DevicePairs(host, CPU)[0, 0][1], host[0, 0][1])  # so it was no run on the host


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"data_on": "moon"}, "auto, host, device"), ({"data_on": "device", "workers": 2}, "choose workers=0")],
)
def test_unsuitable_places_for_data_are_refused(
    changes: dict[str, Any], reason: str, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        train(settings(), tmp_path / "run", hardware=Hardware(accelerator="cpu", devices="1", **changes))


def test_frames_of_a_burst_stay_on_the_host() -> None:
    class Frames:
        steps = 1

        def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
            raise AssertionError

    frames = Frames()
    assert placed(frames, Hardware(), torch.device("cuda")) is frames
    with pytest.raises(ConfigError, match="frames of a burst"):
        placed(frames, Hardware(data_on="device"), CPU)
    host = pairs_of([photograph(0)])
    for hardware in (Hardware(data_on="host"), Hardware(workers=2)):
        assert placed(host, hardware, torch.device("cuda")) is host
    assert placed(host, Hardware(), CPU) is host
