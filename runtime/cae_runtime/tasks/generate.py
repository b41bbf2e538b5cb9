"""Task `generate`: makes pictures from codes, either random or given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import checked_color, checked_whole
from cae_runtime.errors import ArgumentTypeError, ModelError, UsageError
from cae_runtime.inference.patch_model import checked_batch, open_for
from cae_runtime.inference.session import OnSession, Session
from cae_runtime.inference.tiling import Floats

_RGB: Final = 3


class Generator(OnSession):
    """Makes pictures with a model of task `generate`.

    Args:
        model: the path or the bytes of a file that `cae-export --part decoder` wrote, or an open session.
        provider: see `cae_runtime.Restorer`.
        threads: see `Restorer`.
        batch: codes a call of the model; None takes 32, four times as many on a GPU. It is rounded up to a multiple of
            the batch that a file fixes.
        color: channel order of the pictures, `bgr` as OpenCV writes them, or `rgb`.

    Attributes:
        session: the opened model; `session.code_shape` is the shape of one code.

    Raises:
        ModelError: the model cannot be used, or its task is not `generate`.
        ProviderError: the named provider is not available or did not start.
        UsageError: an argument is not as listed above (also a TypeError if its type is wrong).
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Session,
        *,
        provider: str = "auto",
        threads: int | None = None,
        batch: int | None = None,
        color: Literal["bgr", "rgb"] = "bgr",
    ) -> None:
        self._bgr = checked_color(color)
        self.session, self._own = open_for(("generate",), model, provider, threads), not isinstance(model, Session)
        self._batch = checked_batch(self.session, batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the model unless you passed in an open session; later use raises `UsageError`."""
        if self._own:
            self.session.close()

    def draw(self, count: int, seed: int | None = None) -> Floats:
        """Return codes from the standard normal distribution, (N, *code_shape) float32; a seed makes them repeatable.

        Raises:
            UsageError: `count` or `seed` is below 0, or not a whole number (then also a TypeError).
        """
        count = checked_whole("count", count, 0)
        seed = None if seed is None else checked_whole("seed", seed, 0, unless="None for other codes each time")
        return np.random.default_rng(seed).standard_normal((count, *self.session.code_shape), dtype=np.float32)

    def checked(self, codes: NDArray[Any]) -> Floats:
        """Check codes and return them as float32 (N, *code_shape).

        Raises:
            UsageError: they are not an array of numbers (then also a TypeError), have another shape, or have values
                that are not finite as float32.
        """
        shape = self.session.code_shape
        if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "fiu":
            given = f"of {codes.dtype}" if isinstance(codes, np.ndarray) else f"a {type(codes).__name__}"
            raise ArgumentTypeError(f"the codes are {given}: they must be a NumPy array of real numbers")
        if codes.shape[1:] != shape:
            raise UsageError(f"the codes have shape {codes.shape}: (N, {str(shape)[1:].rstrip(',)')}) is needed")
        with np.errstate(over="ignore"):
            single = codes.astype(np.float32, copy=False)
        if not np.isfinite(single).all():
            worst = int(np.flatnonzero(~np.isfinite(single).reshape(len(single), -1).all(axis=1))[0])
            raise UsageError(f"row {worst} of the codes holds values that are not finite, or beyond float32")
        return single

    def __call__(self, codes: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
        """Return an iterator over the pictures of codes, uint8, (S, S, 3) in the order of `color`, or (S, S) gray.

        S is the side of a patch, or of the pictures that the model was trained on in a black frame (`spec.framed`).

        Args:
            codes: (N, *code_shape), numbers.

        Raises:
            UsageError: as `checked` raises it, or the generator was closed; at once.
            ModelError: the model returns values that are not finite; from the iterator.
            ProviderError: the provider failed while it ran; from the iterator.
        """
        self.session.check_open()
        return self._pictures(self.checked(codes))

    def _pictures(self, codes: Floats) -> Iterator[NDArray[np.uint8]]:
        shape = self.session.code_shape
        for first in range(0, len(codes), self._batch):
            part = codes[first : first + self._batch]
            missing = self._batch - len(part) if self.session.steady_batch and self.session.batch is None else 0
            given = np.pad(part, [(0, missing), *[(0, 0)] * len(shape)]) if missing else part
            pictures = self.session.run(given)[: len(part)]
            if not np.isfinite(pictures).all():
                raise ModelError(f"model {str(self.session.path)!r} returns values that are not finite")
            margin = (pictures.shape[-1] - (self.session.spec.framed or pictures.shape[-1])) // 2
            pictures = pictures[..., margin : pictures.shape[-2] - margin, margin : pictures.shape[-1] - margin]
            eight = np.rint(pictures.clip(0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
            for picture in eight:
                if picture.shape[2] != _RGB:
                    yield picture[..., 0]
                else:
                    yield np.ascontiguousarray(picture[..., ::-1]) if self._bgr else picture
