"""Writes pairs of noisy and clean images, to look at or for other tools."""

from collections.abc import Sequence
from pathlib import Path

from cae_train.data.images import Image, Split
from cae_train.data.pairs import fixed_pairs
from cae_train.degradations.chain import Chain
from cae_train.errors import DataError
from cae_train.sheets.preview import to_bgr, write_png


def save_pairs(split: Split, chain: Chain, seed: int, folder: Path, limit: int) -> int:
    """Write up to `limit` 32x32 pairs each of the training and the validation part, and return how many in all.

    `folder/train/noisy/000000.png` belongs to `folder/train/clean/000000.png`; the same for `validation`. Levels
    outside 0..1 (unclipped degradations) are clipped, since a PNG holds nothing else.

    Raises:
        DataError: the folder holds something already.
        CheckpointError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"save_pairs: {folder} exists and is not an empty folder")
    parts: tuple[tuple[str, Sequence[Image]], ...] = (("train", split.train), ("validation", split.validation))
    written = 0
    for part, images in parts:
        for noisy, clean in zip(*fixed_pairs(images, chain, seed, limit), strict=True):
            name = f"{written:06d}.png"
            for kind, patch in (("noisy", noisy), ("clean", clean)):
                write_png(folder / part / kind / name, to_bgr(patch)[..., : len(patch)])  # gray ones as gray PNGs
            written += 1
    return written
