from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cae_train import CheckpointError, DataError, TrainConfig
from cae_train.data.images import Split, load
from cae_train.degradations.registry import chain_of, parse_chain
from cae_train.sheets.save_pairs import save_pairs

Settings = Callable[..., TrainConfig]


@pytest.mark.parametrize("clip", [True, False])
def test_saved_pairs_match(clip: bool, settings: Settings, tmp_path: Path) -> None:
    config = settings(clip=clip)
    assert save_pairs(load(config), chain_of(config), config.seed, tmp_path / "pairs", 5) == 10
    names = set()
    for part in ("train", "validation"):
        noisy, clean = (sorted((tmp_path / "pairs" / part / kind).iterdir()) for kind in ("noisy", "clean"))
        assert [path.name for path in noisy] == [path.name for path in clean]
        assert len(noisy) == 5
        for a, b in zip(noisy, clean, strict=True):
            one, other = cv2.imread(str(a)), cv2.imread(str(b))
            assert one is not None
            assert other is not None
            assert one.shape == other.shape == (32, 32, 3)
            assert 12 < np.std(one.astype(float) - other) < 27  # sigma 25, less what clipping took
            names.add(a.name)
    assert len(names) == 10


def test_saved_pairs_are_upright_and_in_color(settings: Settings, tmp_path: Path) -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:8, :, 0] = 255  # RGB: red on top
    split = Split(train=[image], validation=[image])
    save_pairs(split, parse_chain(["gaussian:0"]), 0, tmp_path / "pairs", 1)
    written = cv2.imread(str(tmp_path / "pairs" / "train" / "noisy" / "000000.png"))
    assert written is not None
    assert np.array_equal(written[..., ::-1], image)


def test_pairs_are_never_saved_into_a_folder_with_other_files(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    split = Split(train=[np.zeros((32, 32, 3), np.uint8)])
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match="exists and is not an empty folder"):
            save_pairs(split, chain_of(settings()), 0, folder, 1)
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_pairs(split, chain_of(settings()), 0, tmp_path / "file" / "below", 1)
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208
