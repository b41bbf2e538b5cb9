"""Random numbers: each use has its own stream, so that streams do not affect each other."""

import numpy as np
import torch

# Their order must not change: a seed has to give the same run.
SPLIT, WINDOWS, CROPS, TRAIN, ORDER, HELD_OUT_NOISE, NOISE, GRAIN, COLORS, LATENT, BURST, DEVICE = range(12)


def rng(*key: int) -> np.random.Generator:
    """NumPy's generator of a key: the seed, the stream, and where in it."""
    return np.random.default_rng(key)


def torch_rng(*key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Torch's generator of a key, for what is drawn on a device."""
    return torch.Generator(device).manual_seed(int(rng(*key).integers(2**63)))
