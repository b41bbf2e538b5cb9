from __future__ import annotations

import gc
import gzip
import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cae_train.data.mnist
import cae_train.data.registry
from cae_train import ConfigError, DataError, TrainConfig
from cae_train.data.augment import smaller, without_grain
from cae_train.data.images import channels_of, load, with_channels
from cae_train.data.mnist import FASHION_MNIST, HEADER, MAGIC, MNIST, TEST, TRAIN, Idx
from cae_train.data.pairs import Pairs, fixed_pairs
from cae_train.data.registry import DATASETS, framed_side
from cae_train.degradations.registry import chain_of, parse_chain
from cae_train.sheets.preview import sheet
from cae_train.sheets.save_pairs import save_pairs
from cae_train.training.start_weights import initial_network

COUNTS = {TRAIN: 60, TEST: 10}
NOWHERE = "http://127.0.0.1:9"
Serve = Callable[[dict[str, bytes]], Idx]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def idx(seed: int, count: int) -> bytes:
    pixels = np.random.default_rng((seed, count)).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return HEADER.pack(MAGIC, count, 28, 28) + pixels.tobytes()


FILES = {seed: {name: idx(seed, count) for name, count in COUNTS.items()} for seed in (1, 2)}
TINY_MNIST, TINY_FASHION = (
    replace(each, url=NOWHERE, content={name: md5(content) for name, content in FILES[seed].items()})
    for each, seed in ((MNIST, 1), (FASHION_MNIST, 2))
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cae_train.data.mnist, "COUNTS", COUNTS)
    monkeypatch.setattr(cae_train.data.mnist, "DATA_SETS", (TINY_MNIST, TINY_FASHION))
    for each in (TINY_MNIST, TINY_FASHION):
        monkeypatch.setitem(DATASETS, each.name, replace(DATASETS[each.name], load=each.load, find=each.find))


def write(folder: Path, files: dict[str, bytes], packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, mtime=7) if packed else content)
    return folder


@pytest.fixture
def both(tmp_path: Path) -> str:
    """A data folder with MNIST unpacked and Fashion-MNIST packed."""
    write(tmp_path / "data" / "mnist", FILES[1])
    write(tmp_path / "data" / "fashion-mnist", FILES[2], packed=True)
    return str(tmp_path / "data")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "mnist", "MNIST/raw"])
def test_packed_and_unpacked_files_are_found_and_framed_in_black(below: str, packed: bool, tmp_path: Path) -> None:
    write(tmp_path / below, FILES[1], packed)
    train, test = TINY_MNIST.load(tmp_path)
    assert (train.shape, test.shape, train.dtype) == ((60, 32, 32, 1), (10, 32, 32, 1), np.dtype(np.uint8))
    index, row, column = 5, 3, 17
    assert train[index, 2 + row, 2 + column, 0] == FILES[1][TRAIN][16 + index * 784 + row * 28 + column]
    margin = train.copy()
    margin[:, 2:-2, 2:-2] = 0
    assert not margin.any()


def test_the_checksums_of_the_data_sets_are_distinct() -> None:
    """What the checksums are of cannot be had in a test; that none is mixed up can be seen."""
    sums = [each[name] for data in (MNIST, FASHION_MNIST) for each in (data.packed, data.content) for name in COUNTS]
    assert len(set(sums)) == 8
    assert {len(text) for text in sums} == {32}
    assert DATASETS.keys() == {"cifar10", "mnist", "fashion-mnist", "patterns", "swatches", "synthetic"}


@pytest.mark.parametrize("packed", [False, True])
def test_fashion_mnist_is_not_mistaken_for_mnist_and_vice_versa(packed: bool, tmp_path: Path) -> None:
    write(tmp_path, FILES[1], packed)
    with pytest.raises(DataError, match=r"Fashion-MNIST: .*train-images-idx3-ubyte(\.gz)? is of MNIST: choose mnist"):
        TINY_FASHION.load(tmp_path)
    write(tmp_path / "FashionMNIST" / "raw", FILES[2])
    assert TINY_FASHION.load(tmp_path)[0][0].tobytes() != TINY_MNIST.load(tmp_path)[0][0].tobytes()


def damages() -> dict[str, bytes]:
    good = FILES[1][TEST]
    return {
        "empty": b"",
        "cut": good[:-1],
        "longer": good + b"x",
        "other magic": b"\x00\x00\x08\x01" + good[4:],
        "other sides": HEADER.pack(MAGIC, 10, 56, 14) + good[16:],
        "other count": HEADER.pack(MAGIC, 2**32 - 1, 28, 28) + good[16:],
        "a pixel": good[:-1] + bytes([good[-1] ^ 1]),
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_named(damage: str, packed: bool, tmp_path: Path) -> None:
    write(tmp_path, FILES[1] | {TEST: damages()[damage]}, packed)
    why = "is damaged or of another data set" if damage == "a pixel" else "is not an IDX file of 10 images of 28x28"
    with pytest.raises(DataError, match=why) as caught:
        TINY_MNIST.load(tmp_path)
    assert str(tmp_path / TEST) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=40)
def test_a_damaged_packed_file_is_a_one_line_error(data: st.DataObject) -> None:
    import tempfile

    packed = bytearray(gzip.compress(FILES[1][TEST], mtime=7))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    cut = packed[: data.draw(st.integers(1, len(packed)))]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {TRAIN: FILES[1][TRAIN]})
        (Path(folder) / f"{TEST}.gz").write_bytes(cut)
        try:
            TINY_MNIST.load(Path(folder))
        except DataError as e:
            assert "\n" not in str(e)  # noqa: PT017 - a damaged name or time in the header damages nothing


def test_a_file_that_unpacks_to_too_much_is_not_read_completely(tmp_path: Path) -> None:
    write(tmp_path, FILES[1])
    (tmp_path / TEST).unlink()
    (tmp_path / f"{TEST}.gz").write_bytes(gzip.compress(FILES[1][TEST]) + gzip.compress(bytes(2**26)) + b"no gzip")
    with pytest.raises(DataError, match="is not an IDX file"):  # what lies behind the images is never looked at
        TINY_MNIST.load(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, {TRAIN: FILES[1][TRAIN]})
    with pytest.raises(DataError, match=f"has {TRAIN} but neither {TEST} nor {TEST}.gz"):
        TINY_MNIST.load(tmp_path)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Offer packed files on a real server, their checksums as the expected ones."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def offer(files: dict[str, bytes]) -> Idx:
            for name, content in files.items():
                (folder / f"{name}.gz").write_bytes(content)
            sums = {name: md5(content) for name, content in files.items()}
            return replace(TINY_MNIST, url=f"http://127.0.0.1:{server.server_port}", packed=sums)

        yield offer
        server.shutdown()
    with warnings.catch_warnings():  # after a 404 pooch leaves its socket to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def packed_files() -> dict[str, bytes]:
    return {name: gzip.compress(content) for name, content in FILES[1].items()}


def test_the_files_are_downloaded(serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    offered = serve(packed_files())
    train, _ = offered.load(tmp_path / "new" / "data")
    assert {path.name for path in (tmp_path / "new" / "data" / "mnist").iterdir()} == {f"{TRAIN}.gz", f"{TEST}.gz"}
    assert capfd.readouterr() == ("", "")  # no bar where nobody looks at a terminal
    again = replace(offered, url=NOWHERE).load(tmp_path / "new" / "data")[0]  # not fetched again
    assert np.array_equal(again, train)


def test_a_download_with_a_wrong_checksum_leaves_no_file(serve: Serve, tmp_path: Path) -> None:
    offered = serve(packed_files())
    with pytest.raises(DataError, match="hash") as caught:
        replace(offered, packed=dict.fromkeys(COUNTS, "0" * 32)).load(tmp_path / "data")
    for part in (offered.url, "data_dir", TRAIN):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_an_interrupted_download_continues_the_next_time(serve: Serve, tmp_path: Path) -> None:
    offered = serve(packed_files())
    (tmp_path / "served" / f"{TRAIN}.gz").unlink()
    with pytest.raises(DataError, match="404"):
        offered.load(tmp_path / "data")
    serve(packed_files())
    assert len(offered.load(tmp_path / "data")[0]) == 60


def test_an_unreachable_server_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not below .* and could not be downloaded from http://127\.0\.0\.1"):
        TINY_MNIST.load(tmp_path / "data")


def test_gray_data_trains_one_channel_and_mixed_data_three(both: str, photos: Path) -> None:
    gray = load(TrainConfig(data=("mnist", "fashion-mnist"), data_dir=both))
    assert (len(gray.train), len(gray.validation), len(gray.test)) == (108, 12, 20)
    assert gray.test_of == "mnist + fashion-mnist"
    assert {image.shape for image in gray.train + gray.validation + gray.test} == {(32, 32, 1)}
    mixed = load(TrainConfig(data=("mnist", str(photos)), data_dir=both))
    assert {image.shape[2] for image in mixed.train + mixed.validation + mixed.test} == {3}
    digits = [image for image in mixed.train if image.shape[0] == 32]
    assert len(digits) == 54
    assert all((image == image[..., :1]).all() for image in digits)
    forced = load(TrainConfig(data=("mnist",), data_dir=both, channels=3))
    assert {image.shape for image in forced.test} == {(32, 32, 3)}


def test_upright_images_stay_upright_unless_they_are_mixed(both: str, photos: Path) -> None:
    def drawn(*data: str) -> set[bytes]:
        config = TrainConfig(data=data, data_dir=both, degrade=("none",), batch=16, epoch_crops=160, channels=1)
        images = load(config).train
        pairs = Pairs(images, parse_chain(config.degrade), config)
        known = {image.tobytes() for image in images}
        found = {image.tobytes() for step in range(2) for image in as_bytes(pairs[0, step][1])}
        return found - known

    assert not drawn("mnist"), "each as it is"
    assert drawn("mnist", str(photos)), "crops, flips and turns"


def as_bytes(patches: torch.Tensor) -> np.ndarray:
    return patches.mul(255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def test_photographs_become_their_luminance(photos: Path) -> None:
    color = load(TrainConfig(data=(str(photos),), scales=2))
    gray = load(TrainConfig(data=(str(photos),), scales=2, channels=1))
    assert len(gray.train) == len(color.train)
    weights = np.array((0.299, 0.587, 0.114))
    for one, other in zip(gray.validation, color.validation, strict=True):
        assert one.shape == (*other.shape[:2], 1)
        assert np.abs(one[..., 0] - other @ weights).max() <= 0.51
    for one, other in zip(gray.train, color.train, strict=True):
        assert one.shape == (*other.shape[:2], 1)


def test_one_channel_passes_through_pairs_sheets_and_files(photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        data=(str(photos),),
        channels=1,
        scales=2,
        degrain=0.5,
        batch=16,
        epoch_crops=32,
        degrade=("gaussian:25,camera",),
    )
    split, chain = load(config), parse_chain(config.degrade)
    degraded, clean = Pairs(split.train, chain, config)[0, 0]
    assert degraded.shape == clean.shape == (16, 1, 32, 32)
    assert float((degraded - clean).std()) > 0.02
    degraded, clean = fixed_pairs(split.validation, chain, 0, 4)
    assert degraded.shape == clean.shape == (4, 1, 32, 32)
    drawn = sheet(clean, degraded, degraded)
    assert drawn.shape[2] == 3
    assert (drawn == drawn[..., :1]).all()
    assert save_pairs(split, chain_of(config), config.seed, tmp_path / "pairs", 2) == 4
    saved = cv2.imread(str(tmp_path / "pairs" / "train" / "clean" / "000000.png"), cv2.IMREAD_UNCHANGED)
    assert saved is not None
    assert saved.shape == (32, 32)


@given(st.integers(32, 70), st.integers(32, 70), st.floats(0.3, 1.0))
@settings(max_examples=20)
def test_helpers_treat_one_channel_like_three_equal_ones(height: int, width: int, scale: float) -> None:
    gray = np.random.default_rng(height).integers(0, 256, (height, width, 1), dtype=np.uint8)
    color = with_channels(gray, 3)
    assert color.shape == (height, width, 3)
    assert (color == gray).all()
    assert np.array_equal(with_channels(color, 1), gray)
    assert np.array_equal(smaller(gray, scale), smaller(color, scale)[..., :1])
    assert np.abs(without_grain(gray).astype(int) - without_grain(color)[..., :1]).max() <= 1


def test_the_channels_follow_from_the_data(both: str) -> None:
    def channels(*data: str, **changes: object) -> int:
        return channels_of(TrainConfig(data=data, data_dir=both, **changes))  # type: ignore[arg-type]

    assert channels("mnist") == channels("mnist", "fashion-mnist") == channels("photos", channels=1) == 1
    assert channels("mnist", "cifar10") == channels("photos") == channels("mnist", channels=3) == 3
    for option in ("gray", "jitter"):
        with pytest.raises(ConfigError, match=rf"{option} is 0\.5: gray images have no colors"):
            channels("mnist", **{option: 0.5})
        assert channels("mnist", channels=3, **{option: 0.5}) == 3
    with pytest.raises(ConfigError, match=r"channels is 2: it must be 1 \(gray\), 3 \(RGB\) or 0"):
        TrainConfig(channels=2)


@pytest.mark.slow
def test_weights_for_another_number_of_channels_are_refused(finished: Path) -> None:
    from tests.train.conftest import TINY_SKIP

    start = str(finished / "model.pt")
    with pytest.raises(ConfigError, match="is a network for 3 channels, here they are 1: set channels to 3"):
        initial_network(TrainConfig(data=("mnist",), model=TINY_SKIP, start=start))
    assert initial_network(TrainConfig(data=("mnist",), model=TINY_SKIP, start=start, channels=3)).channels == 3


def test_a_folder_of_gray_pictures_trains_a_one_channel_network(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50), np.uint8)
    (tmp_path / "inside").mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "b.jpg"), picture)
    cv2.imwrite(str(tmp_path / "c.tif"), picture.astype(np.uint16) * 257)
    config = TrainConfig(data=(str(tmp_path),))
    assert channels_of(config) == 1
    assert {image.shape[2] for image in load(config).train} == {1}
    cv2.imwrite(str(tmp_path / "inside" / "d.png"), np.dstack([picture] * 3))
    assert channels_of(config) == 3
    (tmp_path / "inside" / "d.png").write_bytes(b"no picture")
    assert channels_of(config) == 1, "it will be left out"


def test_framed_data_is_recognized() -> None:
    assert framed_side(["mnist"]) == framed_side(["mnist", "fashion-mnist"]) == 28
    assert framed_side(["mnist", "cifar10"]) is framed_side(["photos/"]) is framed_side([]) is None
