"""Real patches for proof, figures and calibration: from the training data if found, otherwise packaged ones."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cae_export.errors import UsageError
from cae_shared.text import counted
from cae_train.checkpoint import LoadedModel
from cae_train.config import PATCH
from cae_train.data.images import Image, Split, load
from cae_train.data.packaged import photographs
from cae_train.data.pairs import fixed_pairs, fixed_patches
from cae_train.data.registry import DATASETS
from cae_train.degradations.registry import chain_of
from cae_train.errors import CaeTrainError
from cae_train.stderr import quiet_decoders

CALIBRATION, PROOF, USUAL = 512, 2048, 4096
SOME, MANY = 20, 100  # good pictures that set a threshold without those that a detector was fitted to
FITTED_MAX = 400  # good pictures that are scored by a fit to the others; of more, so many
PATCHES_LEAST = 128  # fewest patches of a larger size
_CALIBRATION_SEED, _PROOF_SEED, _USUAL_SEED = 1, 2, 3


@dataclass(frozen=True)
class Patches:
    """Pairs degraded as in training, float32 N x C x P x P in 0..1: for calibration, and others for proof and figures.

    `pictures` says in a few words where they come from, `place` where on this machine, in brackets.
    """

    calibration: Tensor
    degraded: Tensor
    clean: Tensor
    pictures: str
    place: str = ""

    @property
    def source(self) -> str:
        """How many patches figures are measured on, and where they come from."""
        return f"{len(self.clean)} patches of {self.pictures}"

    def first(self, count: int) -> "Patches":
        """The same with at most `count` patches for proof and figures."""
        return replace(self, degraded=self.degraded[:count], clean=self.clean[:count])


def find(model: LoadedModel, data: str | None, patch: int = PATCH, data_dir: str | None = None) -> Patches:
    """Return patches from `data`; None takes the data that the model was trained on, or if missing, packaged patches.

    Named data sets are looked for in `data_dir`, by default the folder that training used. The patches have the
    network's channels; for 1, colors are converted to luminance.

    Calibration uses the training part; proof and figures use the test part, or the held-out part if there is none. The
    number of larger patches is reduced to the same number of pixels, but not below 128. Images smaller than a patch are
    mirrored at their edges.

    Raises:
        UsageError: `data` was given and cannot be used.
    """
    channels = model.network.channels
    config = replace(model.config, channels=channels, data_dir=data_dir or model.config.data_dir)
    names = (data,) if data is not None else config.data
    if data is None and not all(_is_here(name, Path(config.data_dir)) for name in names):
        split, source, place = photographs(channels), "the packaged CC0 photographs", ""
    else:
        try:
            with quiet_decoders():
                split = load(replace(config, data=names))
        except CaeTrainError as e:
            own = "" if data is not None else "the data that the model names: "
            raise UsageError(f"{own}{e}{'' if data is not None else '; choose other data'}") from e
        files = [name for name in names if name not in DATASETS or DATASETS[name].find is not None]
        folders = [config.data_dir if name in DATASETS else name for name in files]
        place = f" ({', '.join(str(Path(folder).resolve()) for folder in folders)})" if folders else ""
        part = "test part" if split.test else "held-out part"
        source = f"the {part} of {' + '.join(map(_name_of, names))}"
    chain = chain_of(config)
    calibrations, proofs = (max(PATCHES_LEAST, count * PATCH**2 // patch**2) for count in (CALIBRATION, PROOF))
    calibrating, proving = _spread(split.train, calibrations), _spread(split.test or split.validation, proofs)
    if any(min(image.shape[:2]) < patch for image in calibrating + proving):
        source += f", smaller ones mirrored to {patch}x{patch}"
        calibrating, proving = ([_at_least(image, patch) for image in images] for images in (calibrating, proving))
    calibration, _ = fixed_pairs(calibrating, chain, _CALIBRATION_SEED, calibrations, config.gray, patch)
    degraded, clean = fixed_pairs(proving, chain, _PROOF_SEED, proofs, patch=patch)
    return Patches(calibration, degraded, clean, source, place)


@dataclass(frozen=True)
class Good:
    """Good pictures, which a detector of anomalies is fitted to and calibrated on.

    Attributes:
        usual: patches of good pictures to fit the detector to, float32 N x C x P x P in 0..1.
        numbers: which of `fitted` each patch comes from, N integers.
        fitted: these pictures, uint8 H x W x C.
        others: good pictures used neither for these patches nor in training, uint8 H x W x C.
        enough: whether `others` alone set the thresholds; otherwise all pictures do.
        source: a short description of the pictures that set the thresholds.
        note: a remark for the user, or empty.
    """

    usual: Tensor
    numbers: Tensor
    fitted: Sequence[Image]
    others: Sequence[Image]
    enough: bool
    source: str
    note: str = ""


def good_pictures(model: LoadedModel, data: str | None, data_dir: str | None = None) -> Good:
    """Return the good pictures that a detector of a model is fitted to, and those that set its thresholds.

    If `data` is None, the detector is fitted to the training data with their held-out part, and all of them set the
    thresholds; a held-out part of 100 pictures or more does so alone. Otherwise the pictures of `data` that the model
    was not trained on set them; if these are fewer than 20, the training data do so too. Images are compared by their
    pixels. If the training data are missing, `data` replaces them.

    Raises:
        UsageError: data cannot be read, both the training data and `data` are missing, or no other image is left.
    """
    config = replace(
        model.config, channels=model.network.channels, data_dir=data_dir or model.config.data_dir, scales=1
    )
    own = " + ".join(map(_name_of, config.data))
    here = all(_is_here(name, Path(config.data_dir)) for name in config.data)
    try:
        with quiet_decoders():
            trained = load(config) if here or data is None else Split()
            given = load(replace(config, data=(data,))) if data is not None else Split()
    except CaeTrainError as e:
        why = "" if data is not None else "the threshold needs good pictures: "
        raise UsageError(f"{why}{e}{'' if data is not None else '; choose a folder of them as data'}") from e
    if data is None:
        others = trained.validation
        if len(others) >= MANY:
            return _good(trained.train, others, True, f"{len(others)} held-out images of {own}")
        every = [*trained.train, *others]
        return _good(every, [], False, f"{_scored(every)} of {own}")
    every = [*given.train, *given.validation, *given.test]
    if not here:
        note = (
            f"{own} is not here: the given images are used instead; whether the model was trained on them could not "
            "be checked"
        )
        return _good(every, [], False, f"{_scored(every)} of {_name_of(data)}", note)
    seen = {_digest(image) for image in trained.train}
    others = [image for image in every if _digest(image) not in seen]
    if not others:
        raise UsageError(f"data {data!r} has only images that the model was trained on: others are needed")
    source = f"{counted(len(others), 'image')} of {_name_of(data)}"
    if len(others) >= SOME:
        return _good(trained.train, others, True, source)
    return _good(trained.train, others, False, f"{source} and {min(FITTED_MAX, len(trained.train))} of {own}")


def folder_of(model: LoadedModel, data: str | None) -> Path | None:
    """The first folder of good pictures that `good_pictures` reads; None if all are named data sets."""
    names = model.config.data if data is None else (data,)
    return next((Path(name) for name in names if name not in DATASETS and Path(name).is_dir()), None)


def _good(fitted: Sequence[Image], others: Sequence[Image], enough: bool, source: str, note: str = "") -> Good:
    spread = _spread(fitted, USUAL)
    usual, _ = fixed_patches([_at_least(image, PATCH) for image in spread], 0, _USUAL_SEED, USUAL)
    return Good(usual, torch.arange(len(usual)) % len(spread), spread, others, enough, source, note)


def _scored(fitted: Sequence[Image]) -> str:
    """How many of the pictures that a detector is fitted to set its thresholds."""
    count = len(fitted)
    return f"{FITTED_MAX} of {count} images" if count > FITTED_MAX else counted(count, "image")


def _name_of(data: str) -> str:
    """The name of a data set, or of a folder, also of `.`."""
    return data if data in DATASETS else Path(data).resolve().name


def _digest(image: Image) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()


def _is_here(name: str, data_dir: Path) -> bool:
    return DATASETS[name].is_here(data_dir) if name in DATASETS else Path(name).is_dir()


def _spread(images: Sequence[Image], count: int) -> list[Image]:
    """At most `count` images, spread evenly over all."""
    return [images[i] for i in np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)]


def _at_least(image: Image, patch: int) -> Image:
    """H x W x C, mirrored where a side is shorter than the patch."""
    missing = [max(0, patch - side) for side in image.shape[:2]]
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric") if any(missing) else image
