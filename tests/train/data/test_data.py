from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cae_train.data.images
import cae_train.data.synthetic
from cae_train import ConfigError, DataError, DataNotFoundError, TrainConfig
from cae_train.data.images import MEMORY_BYTES, Split, _window, load, read_rgb
from cae_train.data.pairs import EpochSampler, Pairs, fixed_pairs, random_crop, to_tensor
from cae_train.degradations.registry import chain_of, parse_chain
from cae_train.models import build
from cae_train.training.material import Material
from cae_train.training.module import Training
from cae_train.training.optimization.losses import mse

Load = Callable[..., Split]
NOISE = parse_chain(["gaussian:25"])
LEFT_HALF_RED = np.zeros((40, 60, 3), np.uint8)  # RGB; red on the left, blue on the right
LEFT_HALF_RED[:, :30, 0] = 255
LEFT_HALF_RED[:, 30:, 2] = 255


def numbered(count: int, height: int = 32, width: int = 32) -> list[np.ndarray]:
    """Return images that are each of one color, which says its number."""
    return [np.full((height, width, 3), (i // 256, i % 256, 7), np.uint8) for i in range(count)]


def numbers(clean: torch.Tensor) -> list[int]:
    bytes_ = clean[:, :2, 0, 0].mul(255).round().int()
    return [int(high) * 256 + int(low) for high, low in bytes_]


def folder_of(images: list[np.ndarray], folder: Path) -> Path:
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04d}.png")
    return folder


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".bmp", ".tif", ".webp", ".PNG"])
def test_every_format_is_read_as_rgb(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"phöto ü{suffix}"
    Image.fromarray(LEFT_HALF_RED).save(path, quality=95)
    image = read_rgb(path)
    assert image is not None
    assert (image.shape, image.dtype) == ((40, 60, 3), np.dtype(np.uint8))
    assert np.abs(image[:, :28].mean((0, 1)) - (255, 0, 0)).max() < 4
    assert np.abs(image[:, 32:].mean((0, 1)) - (0, 0, 255)).max() < 4


def test_gray_16_bit_and_transparent_images_become_8_bit_rgb(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(tmp_path / "gray.png")
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((40, 40, 3), (200 * 257, 100 * 257, 50 * 257), np.uint16))
    Image.fromarray(np.full((40, 40, 4), (50, 100, 200, 128), np.uint8)).save(tmp_path / "alpha.png")
    for name, color in (("gray", (90, 90, 90)), ("deep", (50, 100, 200)), ("alpha", (50, 100, 200))):
        image = read_rgb(tmp_path / f"{name}.png")
        assert image is not None
        assert (image.shape, image.dtype) == ((40, 40, 3), np.dtype(np.uint8))
        assert image[0, 0].tolist() == pytest.approx(color, abs=1), name


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(LEFT_HALF_RED).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image = read_rgb(tmp_path / "turned.jpg")
    assert image is not None
    assert image.shape == (60, 40, 3)
    assert image[5, 20, 0] > 200  # the left became the top


def test_a_folder_is_searched_and_unusable_files_are_reported(tmp_path: Path) -> None:
    folder = folder_of(numbered(3, 40, 40), tmp_path / "photos")
    (folder / "süb" / "deeper").mkdir(parents=True)
    Image.fromarray(LEFT_HALF_RED).save(folder / "süb" / "deeper" / "ç d.jpg")
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").touch()
    (folder / "0000.png").write_bytes((folder / "0001.png").read_bytes()[:60])
    Image.fromarray(np.zeros((31, 500, 3), np.uint8)).save(folder / "thin.png")
    (folder / "readme.txt").write_text("not looked at")
    (folder / "folder.png").mkdir()
    split = load(TrainConfig(data=(str(folder),)))
    assert len(split.train) + len(split.validation) == 3
    assert split.notes == [
        f"{folder}: left out 3 of 7 images, cannot be read (0000.png, ...)",
        f"{folder}: left out 1 of 7 images, smaller than 32x32 (thin.png, ...)",
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_are_refused(count: int, tmp_path: Path) -> None:
    folder = folder_of(numbered(count, 40, 40), tmp_path / "photos")
    with pytest.raises(DataError, match="has no images: .*png" if count == 0 else "has 1 usable image: 2 are needed"):
        load(TrainConfig(data=(str(folder),)))


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.png").touch()
    for source in ("imagenet", str(tmp_path / "file.png")):
        with pytest.raises(
            DataNotFoundError, match=f"data '{source}' is neither a folder nor a data set: choose cifar10"
        ):
            load(TrainConfig(data=(source,)))


def colors(images: list[np.ndarray]) -> set[tuple[int, ...]]:
    return {tuple(image[0, 0].tolist()) for image in images}


def test_the_held_out_part_is_the_same_for_every_seed(tmp_path: Path) -> None:
    """Or a second training, started from a first, would be measured on what the first has seen."""
    folder = str(folder_of(numbered(60, 33, 33), tmp_path / "photos"))
    first, other = (load(TrainConfig(data=(folder,), seed=seed)) for seed in (1, 2))
    assert colors(first.validation) == colors(other.validation)
    assert colors(first.train) == colors(other.train)
    assert len(first.validation) == 6
    assert len(first.train) == 54
    assert not colors(first.validation) & colors(first.train)


def test_each_of_several_folders_is_split(tmp_path: Path) -> None:
    folders = [str(folder_of(numbered(n, 33, 33), tmp_path / f"{n}")) for n in (10, 30)]
    split = load(TrainConfig(data=tuple(folders)))
    assert (len(split.train), len(split.validation)) == (9 + 27, 1 + 3)


def test_if_photographs_exceed_the_memory_a_window_of_each_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of([np.zeros((200, 300, 3), np.uint8)] * 3 + numbered(1, 40, 40), tmp_path / "photos")
    assert MEMORY_BYTES >= 2**30
    monkeypatch.setattr(cae_train.data.images, "MEMORY_BYTES", 4 * 3 * 100 * 150)
    split = load(TrainConfig(data=(str(folder),)))
    shapes = Counter(image.shape for image in split.train + split.validation)
    assert shapes == {(100, 150, 3): 3, (40, 40, 3): 1}
    assert "only a part of each large photograph is used" in split.notes[0]
    assert all(image.base is None for image in split.train)  # a view would keep the whole photograph in memory


def test_a_large_photograph_among_small_ones_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of([np.zeros((200, 300, 3), np.uint8), *numbered(9, 32, 32)], tmp_path / "photos")
    monkeypatch.setattr(cae_train.data.images, "MEMORY_BYTES", 220_000)
    split = load(TrainConfig(data=(str(folder),)))
    assert (200, 300, 3) in {image.shape for image in split.train + split.validation}
    assert not split.notes


def test_a_photograph_in_two_sources_is_never_both_trained_on_and_held_out(tmp_path: Path) -> None:
    folder = folder_of(numbered(6), tmp_path / "photos")
    folder_of([image + np.uint8(100) for image in numbered(6)], folder / "below")
    split = load(TrainConfig(data=(str(folder / "below"), str(folder))))
    colors = [int(image[0, 0, 1]) for image in split.train + split.validation]
    assert sorted(colors) == [*range(6), *range(100, 106)]
    assert "left out 6 images that other data have" in split.notes[0]
    with pytest.raises(DataError, match="only images that other data have"):
        load(TrainConfig(data=(str(folder), str(folder / "below"))))


def test_a_share_of_the_patches_is_gray_with_gray_noise() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8) for i in range(4)]
    config = TrainConfig(batch=16, epoch_crops=64, gray=0.25)
    degraded, clean = Pairs(images, NOISE, config)[0, 0]
    for batch in (degraded, clean):
        same = (batch == batch[:, :1]).all(dim=3).all(dim=2).all(dim=1)
        assert same.tolist() == [True] * 4 + [False] * 12
        steps = batch * 255
        assert float((steps - steps.round()).abs().max()) < 1e-3
    assert float((degraded - clean)[:4].std()) == pytest.approx(25 / 255, rel=0.25)
    plain = Pairs(images, NOISE, TrainConfig(batch=16, epoch_crops=64))[0, 0]
    assert torch.equal(plain[1][4:], clean[4:])
    assert torch.equal(plain[0][4:], degraded[4:])


@given(height=st.integers(32, 600), width=st.integers(32, 600), pixels=st.integers(1, 4000))
def test_a_window_is_never_smaller_than_a_patch(height: int, width: int, pixels: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    window = _window(image, min(pixels, height * width), np.random.default_rng(0))
    assert min(window.shape[:2]) >= 32
    random_crop(window, np.random.default_rng(0))


def test_a_tensor_keeps_rows_columns_and_channels() -> None:
    patches = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    tensor = to_tensor(patches)
    assert tensor.shape == (2, 3, 32, 32)
    assert float(tensor[1, 2, 5, 9]) == pytest.approx(patches[1, 5, 9, 2] / 255)


def test_a_batch_depends_only_on_seed_epoch_and_step() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (50, 70, 3), dtype=np.uint8) for i in range(4)]
    config = TrainConfig(batch=8, epoch_crops=64, seed=3)
    pairs = Pairs(images, NOISE, config)
    assert pairs.steps == 8
    degraded, clean = pairs[2, 5]
    _ = pairs[0, 0]
    again = Pairs(images, NOISE, config)[2, 5]
    assert torch.equal(degraded, again[0])
    assert torch.equal(clean, again[1])
    for other in (pairs[2, 4], pairs[1, 5], Pairs(images, NOISE, TrainConfig(batch=8, epoch_crops=64, seed=4))[2, 5]):
        assert not torch.equal(clean, other[1])
        assert not torch.equal(degraded - clean, other[0] - other[1])
    for batch in (degraded, clean):
        assert (batch.shape, batch.dtype) == ((8, 3, 32, 32), torch.float32)
        assert 0 <= float(batch.min()) < float(batch.max()) <= 1


def test_crops_are_parts_of_the_photograph_in_all_eight_orientations() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 32, 3), dtype=np.uint8)
    wanted = set()
    for crop in (image[:32], image[1:]):
        for turned in (crop, crop.transpose(1, 0, 2)):
            wanted |= {turned[::a, ::b].tobytes() for a in (1, -1) for b in (1, -1)}
    clean = Pairs([image], NOISE, TrainConfig(batch=256, epoch_crops=256))[0, 0][1]
    seen = {patch.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy().tobytes() for patch in clean}
    assert seen == wanted


def test_patch_sized_images_are_used_at_most_once_an_epoch() -> None:
    pairs = Pairs(numbered(300), NOISE, TrainConfig(batch=64))
    assert pairs.steps == 4
    epochs = [[n for step in range(4) for n in numbers(pairs[epoch, step][1])] for epoch in range(2)]
    for seen in epochs:
        assert len(set(seen)) == len(seen) == 256
    assert epochs[0] != epochs[1]


def test_fewer_images_than_a_batch_make_one_step() -> None:
    pairs = Pairs(numbered(5), NOISE, TrainConfig(batch=64))
    assert pairs.steps == 1
    assert sorted(numbers(pairs[0, 0][1])) == [0, 1, 2, 3, 4]


def test_larger_photographs_are_cropped_more_often() -> None:
    images = [*numbered(1, 32, 64), np.full((192, 32, 3), (0, 1, 7), np.uint8)]
    clean = Pairs(images, NOISE, TrainConfig(batch=2000, epoch_crops=2000))[0, 0][1]
    assert np.mean(numbers(clean)) == pytest.approx(0.75, abs=0.04)


def test_an_epoch_has_all_steps_in_order() -> None:
    sampler = EpochSampler(3)
    sampler.set_epoch(4)
    assert len(sampler) == 3
    assert list(sampler) == [(4, 0), (4, 1), (4, 2)]


@pytest.mark.parametrize("world", [2, 4])
def test_processes_divide_every_batch_among_them(world: int) -> None:
    shares = [Pairs(numbered(300), NOISE, TrainConfig(batch=64)).share(rank, world) for rank in range(world)]
    seen = [n for part in shares for step in range(part.steps) for n in numbers(part[5, step][1])]
    assert all(part.steps == 4 and len(part[5, 0][1]) == 64 // world for part in shares)
    whole = Pairs(numbered(300), NOISE, TrainConfig(batch=64))
    assert sorted(seen) == sorted(n for step in range(4) for n in numbers(whole[5, step][1]))
    assert len(set(seen)) == 256


def test_processes_crop_and_degrade_independently() -> None:
    images = [np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)]
    config = TrainConfig(batch=32, epoch_crops=64)
    parts = [Pairs(images, NOISE, config), *(Pairs(images, NOISE, config).share(rank, 2) for rank in range(2))]
    crops = [{patch.numpy().tobytes() for patch in part[0, 0][1]} for part in parts]
    noise = [{patch.numpy().tobytes() for patch in part[0, 0][0] - part[0, 0][1]} for part in parts]
    assert [len(each) for each in crops] == [len(each) for each in noise] == [32, 16, 16]
    for kinds in (crops, noise):
        assert not kinds[1] & kinds[2]


def test_with_fewer_images_than_processes_each_process_uses_all() -> None:
    shares = [Pairs(numbered(3), NOISE, TrainConfig(batch=64)).share(rank, 4) for rank in range(4)]
    assert [sorted(numbers(part[0, 0][1])) for part in shares] == [[0, 1, 2]] * 4


def test_a_batch_that_cannot_be_divided_among_processes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"batch is 64: 3 processes .* must be a multiple of 3"):
        Pairs(numbered(300), NOISE, TrainConfig(batch=64)).share(0, 3)


def test_fixed_pairs_never_change() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8) for i in range(3)]
    first, again = fixed_pairs(images, NOISE, 1, 9), fixed_pairs(images, NOISE, 1, 9)
    assert first[0].shape == (9, 3, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], fixed_pairs(images, NOISE, 2, 9)[1])


def test_fixed_pairs_use_whole_patches_and_all_photographs_in_turn() -> None:
    assert numbers(fixed_pairs(numbered(7), NOISE, 0)[1]) == list(range(7))
    assert numbers(fixed_pairs(numbered(7), NOISE, 0, 3)[1]) == [0, 1, 2]
    assert numbers(fixed_pairs(numbered(3, 40, 40), NOISE, 0, 7)[1]) == [0, 1, 2, 0, 1, 2, 0]
    assert numbers(fixed_pairs(numbered(9, 40, 40), NOISE, 0, 3)[1]) == [0, 3, 6]  # the last ones are seen too


def test_a_png_with_a_false_size_is_left_out(tmp_path: Path) -> None:
    folder = folder_of(numbered(2, 40, 40), tmp_path / "photos")
    coded = bytearray((folder / "0000.png").read_bytes())
    coded[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    (folder / "bomb.png").write_bytes(coded)
    assert len(load(TrainConfig(data=(str(folder),))).notes) == 1


def test_a_png_with_a_chunk_of_gigabytes_never_reaches_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cv2.imencode(".png", LEFT_HALF_RED)[1].tobytes()
    at = whole.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])
    (tmp_path / "b.png").write_bytes(whole + b"what follows the end of a PNG")
    assert read_rgb(tmp_path / "b.png") is not None
    monkeypatch.setattr(cv2, "imdecode", lambda *_, **__: pytest.fail("it is decoded"))
    assert read_rgb(tmp_path / "a.png") is None


def test_a_picture_with_an_unreadable_header_is_left_out(tmp_path: Path) -> None:
    """Pillow's AVIF plugin raises RuntimeError."""
    Image.fromarray(LEFT_HALF_RED).save(tmp_path / "a.avif")
    (tmp_path / "a.avif").rename(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes().replace(b"iloc", b"free"))
    for name in "bc":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((40, 40), np.uint8))
    split = load(TrainConfig(data=(str(tmp_path),)))
    assert "left out 1 of 3 images, cannot be read (a.png, ...)" in split.notes[0]
    assert split.train[0].shape[2] == 1  # it does not make the others colors


def test_smaller_copies_are_only_trained_on(tmp_path: Path) -> None:
    folder = str(folder_of(numbered(10, 60, 100), tmp_path / "photos"))
    plain, scaled = (load(TrainConfig(data=(folder,), scales=scales)) for scales in (1, 3))
    assert Counter(image.shape for image in scaled.train) == {(60, 100, 3): 9, (45, 75, 3): 9, (34, 56, 3): 9}
    assert [image.shape for image in scaled.validation] == [(60, 100, 3)]
    assert colors(scaled.validation) == colors(plain.validation)
    assert colors(scaled.train) == colors(plain.train)
    assert not colors(scaled.train) & colors(scaled.validation)


def test_copies_smaller_than_a_patch_are_left_out(tmp_path: Path) -> None:
    folder = str(folder_of([*numbered(5, 32, 32), *numbered(5, 43, 60)], tmp_path / "photos"))
    split = load(TrainConfig(data=(folder,), scales=8))
    assert len(split.validation) == 1
    shapes = Counter(image.shape for image in split.train)
    assert set(shapes) == {(32, 32, 3), (43, 60, 3), (32, 45, 3)}
    assert shapes[(43, 60, 3)] == shapes[(32, 45, 3)]
    assert not split.notes


@given(height=st.integers(32, 300), width=st.integers(32, 300), scales=st.integers(1, 8))
def test_every_copy_is_at_least_as_large_as_a_patch(height: int, width: int, scales: int) -> None:
    split = Split()
    images = numbered(2, height, width)
    cae_train.data.images._hold_out(split, images, [cae_train.data.images.SCALE**i for i in range(scales)])
    assert len(split.validation) == 1
    assert 1 <= len(split.train) <= scales
    for image in split.train:
        random_crop(image, np.random.default_rng(0))


def test_copies_count_toward_the_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of([np.zeros((200, 300, 3), np.uint8)] * 4, tmp_path / "photos")
    monkeypatch.setattr(cae_train.data.images, "MEMORY_BYTES", 400_000)
    split = load(TrainConfig(data=(str(folder),), scales=3))
    assert sum(image.nbytes for image in split.train + split.validation) <= 1.05 * 400_000
    assert split.notes


def test_synthetic_pictures_never_change(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    monkeypatch.setattr(cae_train.data.synthetic, "PICTURES", 4)
    first, again = (load(TrainConfig(data=("synthetic",), seed=seed, scales=2)) for seed in (1, 2))
    assert (len(first.train), len(first.validation)) == (3, 1)
    assert {image.shape for image in first.train} == {(256, 256, 3)}

    def contents(images: list[np.ndarray]) -> set[bytes]:
        return {image.tobytes() for image in images}

    assert contents(first.train) == contents(again.train)
    assert not contents(first.train) & contents(first.validation)
    mixed = load(TrainConfig(data=("synthetic", str(photos)), seed=1))
    assert contents(first.train) < contents(mixed.train)
    assert len(mixed.validation) == 2


def test_color_changes_apply_to_a_share_of_the_training_patches() -> None:
    images = [np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8) for i in range(4)]
    plain, altered = (Pairs(images, NOISE, TrainConfig(batch=16, epoch_crops=64, jitter=j)) for j in (0.0, 0.25))
    degraded, clean = altered[0, 0]
    same = (clean == plain[0, 0][1]).flatten(1).all(1)
    assert same.tolist() == [True] * 12 + [False] * 4
    assert float((degraded - clean)[12:].std()) == pytest.approx(25 / 255, rel=0.3)  # the noise is not altered
    again = altered[0, 0]
    assert torch.equal(degraded, again[0])
    assert torch.equal(clean, again[1])


def test_upright_patches_are_neither_flipped_nor_rotated() -> None:
    y, x = np.mgrid[:40, :40]
    images = [np.repeat((3 * x + y)[..., None], 3, axis=2).astype(np.uint8)] * 2
    kept = {}
    for upright in (False, True):
        _, clean = Pairs(images, NOISE, TrainConfig(batch=64, epoch_crops=64, upright=upright))[0, 0]
        steps = clean.mul(255)
        across, down = steps[:, 0, 0, 1] - steps[:, 0, 0, 0], steps[:, 0, 1, 0] - steps[:, 0, 0, 0]
        kept[upright] = int(((across.round() == 3) & (down.round() == 1)).sum())
    assert kept[True] == 64
    assert kept[False] < 32


def test_grain_is_removed_from_a_share_of_the_training_patches() -> None:
    random = np.random.default_rng(0)
    images = [(128 + random.normal(0, 3, (40, 40, 3))).round().astype(np.uint8) for _ in range(4)]
    spreads = {}
    for share in (0.0, 0.5, 1.0):
        _, clean = Pairs(images, NOISE, TrainConfig(batch=64, epoch_crops=64, degrain=share))[0, 0]
        spreads[share] = clean.mul(255).std((1, 2, 3)) < 2
    assert not spreads[0.0].any()
    assert 16 <= int(spreads[0.5].sum()) <= 48
    assert spreads[1.0].all()


def test_held_out_patches_keep_their_colors() -> None:
    split = Split([*numbered(3, 40, 40)], [*numbered(2, 40, 40)])
    model = {"widths": (16, 16), "down_blocks": (0, 0), "up_blocks": (0,)}
    configs = [TrainConfig(model=model, jitter=j) for j in (0.0, 1.0)]
    plain, altered = (
        Training(config, Material.of(config, split, chain_of(config)), build("skip", model), mse) for config in configs
    )
    assert all(torch.equal(a, b) for a, b in zip(plain.held_out, altered.held_out, strict=True))
    assert not torch.equal(plain.pairs[0, 0][1], altered.pairs[0, 0][1])


@pytest.mark.parametrize("setting", [{"degrain": 1.0}, {"jitter": 1.0}])
def test_augmentation_does_not_change_crops_and_noise(setting: dict[str, float]) -> None:
    images = [np.full((40, 40, 3), 100, np.uint8) for _ in range(4)]
    plain, altered = (
        Pairs(images, parse_chain(("gaussian:5",), clip=False), TrainConfig(batch=16, epoch_crops=64, clip=False, **s))
        for s in ({}, setting)
    )
    noises = [degraded - clean for degraded, clean in (plain[2, 1], altered[2, 1])]
    assert torch.allclose(noises[0], noises[1], atol=1e-6)


def test_a_source_named_twice_is_refused(photos: Path) -> None:
    for source in ("synthetic", str(photos)):
        with pytest.raises(DataError, match="given twice"):
            load(TrainConfig(data=(source, source)))


@pytest.mark.slow
def test_the_command_leaves_out_a_picture_that_announces_too_many_pixels(tmp_path: Path) -> None:
    side = 16_400  # a little more than 2^28 pixels
    rows = bytes(side * (1 + side // 8))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    for at in range(2):
        pixels = np.random.default_rng(at).integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "in" / f"{at}.png"), pixels)
    words = ["--data", str(tmp_path / "in"), "--preview-degradation", str(tmp_path / "sheet.png")]
    done = subprocess.run([sys.executable, "-m", "cae_train", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "left out 1 of 3 images, cannot be read (bomb.png" in done.stderr + done.stdout
