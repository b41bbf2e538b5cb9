"""An image in, the cleaned image out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ModelError, UsageError
from cae_runtime.pool import in_order
from cae_runtime.providers import AUTO
from cae_runtime.session import DEFAULT_MODEL, Session
from cae_runtime.spec import ModelSpec
from cae_runtime.tiles import Floats, Indices, Strips, cut, origins, window

BATCH_PIXELS: Final = 32 * 32 * 32  # of the patches of a call; from 13 to 64 of 32x32 a CPU is equally fast
BATCH_PIXELS_ELSEWHERE: Final = 4 * BATCH_PIXELS  # for GPUs; a guess, none was measured
_PATCHES_TOGETHER: Final = 16  # at least so many, where the image is wide enough, for each turn of a worker
_COLORS: Final = 3

Image = NDArray[np.uint8] | NDArray[np.uint16]
Part = tuple[int, Floats, Floats]


class Restorer:
    """Cleans images with a model of task `restore`.

    Args:
        model: the name of a packaged model, or the path of a file that `cae-export` wrote.
        provider: `auto`, `cpu`, `cuda`, `cuda:1`, ... ; one that is named is used or it is an error.
        threads: threads of the CPU provider; None takes all the CPUs that this process may use.
        batch: patches a call of the model, 1 or more; None takes 32 of 32x32 pixels, fewer of larger ones (on a GPU
            four times as many). On a CPU the result does not depend on it.
        overlap: pixels shared by neighbouring patches, 0..patch-1; None takes the model's recommendation.
        color: channel order of the arrays, `bgr` as OpenCV reads them, or `rgb`.

    Attributes:
        batch: patches a call of the model.

    Raises:
        ModelError: the model cannot be used, or its task is not `restore`.
        ProviderError: the provider that was named is not there or did not start.
        UsageError: an argument is outside what is listed above.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        provider: str = AUTO,
        threads: int | None = None,
        batch: int | None = None,
        overlap: int | None = None,
        color: Literal["bgr", "rgb"] = "bgr",
    ) -> None:
        if batch is not None and batch < 1:
            raise UsageError(f"batch is {batch}: it must be 1 or more")
        if color not in ("bgr", "rgb"):
            raise UsageError(f"color is {color!r}: it must be 'bgr' or 'rgb'")
        self._session = Session(model, provider=provider, threads=threads)
        if self.spec.task != "restore":
            raise ModelError(
                f"model {str(self._session.path)!r} is made for task {self.spec.task!r}: cleaning needs 'restore'"
            )
        self._overlap = self.spec.overlap if overlap is None else overlap
        if not 0 <= self._overlap < self.spec.patch:
            raise UsageError(f"overlap is {overlap}: it must be 0..{self.spec.patch - 1} with this model's patches")
        pixels = BATCH_PIXELS_ELSEWHERE if self._session.fixed_batch else BATCH_PIXELS
        self.batch = batch or max(1, pixels // self.spec.patch**2)
        self._pool = ThreadPoolExecutor(self._session.workers, "cae-restorer")
        self._order = slice(None, None, -1) if color == "bgr" else slice(None)

    @property
    def session(self) -> Session:
        """The opened model."""
        return self._session

    @property
    def spec(self) -> ModelSpec:
        """What the model's file says about itself."""
        return self._session.spec

    @property
    def provider(self) -> str:
        """Full name of the onnxruntime provider that is really in use."""
        return self._session.provider

    @property
    def provider_note(self) -> str:
        """One line: which provider is in use, and why."""
        return self._session.provider_note

    @property
    def overlap(self) -> int:
        """Pixels shared by neighbouring patches."""
        return self._overlap

    def __call__(self, image: Image, *, strength: float = 1.0) -> Image:
        """Clean an image.

        The image is worked through in horizontal bands: beside the result, memory for two rows of patches a thread is
        used (more where patches overlap by more than half).

        Args:
            image: uint8 or uint16, shape (H, W), (H, W, 1), (H, W, 2) grey and alpha, (H, W, 3) colour, or (H, W, 4)
                colour and alpha, in the order of `color`. Never modified.
            strength: s in 0..1; the result is input + s * (output - input), and 0 returns an exact copy.

        Returns:
            A new array of the same shape and dtype. Alpha is the input's, bit for bit; grey stays grey.

        Raises:
            ImageError: the array's dtype or shape is none of the above, or the model answers it with NaN or infinity.
            ModelError: the model gives patches of another size than it takes.
            ProviderError: the provider failed while it ran, such as for lack of memory.
            UsageError: `strength` is outside 0..1.
        """
        _check_image(image)
        if not 0 <= strength <= 1:
            raise UsageError(f"strength is {strength}: it must be 0..1")
        if strength == 0:
            return image.copy(order="C")
        result = np.empty(image.shape, image.dtype)
        planes_in, planes_out = (a if a.ndim == 3 else a[..., None] for a in (image, result))
        colors = planes_in.shape[2] if planes_in.shape[2] in (1, _COLORS) else planes_in.shape[2] - 1
        order = self._order if colors == _COLORS else slice(None)
        self._clean(planes_in[..., :colors][..., order], planes_out[..., :colors][..., order], strength)
        planes_out[..., colors:] = planes_in[..., colors:]
        return result

    def _clean(self, image: Image, result: Image, strength: float) -> None:
        """Clean (H, W, 1 or 3) RGB or grey planes into `result`, from top to bottom.

        Workers clean a few rows of patches each, and store what no other worker's patches touch; the rows that they
        share are added up and stored here. Which rows go together depends on the image alone, so on a CPU neither
        threads nor batches change a bit.
        """
        patch = self.spec.patch
        height, width = (max(size, patch) for size in image.shape[:2])
        ys, xs = origins(height, patch, self._overlap), origins(width, patch, self._overlap)
        weights_y, weights_x = window(ys, patch, self._overlap), window(xs, patch, self._overlap)
        together = self.batch if self._session.fixed_batch else _PATCHES_TOGETHER
        rows = max(1, together // len(xs))

        def edges_of(first: int) -> Part:
            """Clean the rows of patches from `first` on: where the next ones begin, what is shared above and below."""
            last = min(first + rows, len(ys))
            top, bottom = ys[first], ys[last - 1] + patch
            above = ys[first - 1] + patch if first else top  # the rows before this one are shared with the part before
            below = ys[last] if last < len(ys) else bottom  # and those from this one on with the part after
            some = slice(first, last)
            total = self._weighted(image, ys[some], xs, weights_y[some], weights_x)
            if above > below:  # three parts share rows: all of them are added up in their order
                return below, total.copy(), total[:, :0]
            _store(total[:, above - top : below - top], image[above:below], result[above:below], strength)
            return below, total[:, : above - top].copy(), total[:, below - top :].copy()

        top, unfinished = 0, np.empty((image.shape[2], 0, width), np.float32)
        for below, shared, rest in self._in_order(edges_of, range(0, len(ys), rows)):
            shared[:, : unfinished.shape[1]] += unfinished
            end = min(below, top + shared.shape[1])
            _store(shared[:, : end - top], image[top:end], result[top:end], strength)
            unfinished = shared[:, end - top :] if rest.shape[1] == 0 else rest
            top = below

    def _in_order(self, function: Callable[[int], Part], items: Sequence[int]) -> Iterator[Part]:
        """Map with as many workers as the provider has use for."""
        workers = self._session.workers
        if workers == 1 or len(items) == 1:
            return map(function, items)
        return in_order(self._pool, function, items, ahead=2 * workers)

    def _weighted(self, image: Image, ys: Indices, xs: Indices, weights_y: Floats, weights_x: Floats) -> Floats:
        """Clean the rows of patches at `ys`: their weighted sum, shape (C, H, W), from the first row to the last."""
        patch, colors = self.spec.patch, image.shape[2]
        planes = np.ascontiguousarray(image[ys[0] : ys[-1] + patch].transpose(2, 0, 1))
        missing = [max(0, patch - size) for size in planes.shape[1:]]
        if any(missing):
            planes = np.pad(planes, [(0, 0), (0, missing[0]), (0, missing[1])], mode="reflect")
        scale = np.float32(np.iinfo(image.dtype).max)
        strips = Strips(len(ys), colors, patch, xs)
        columns = max(1, self.batch // len(ys))
        if not self._session.fixed_batch:
            columns = -(-len(xs) // -(-len(xs) // columns))  # all batches about as large
        for first in range(0, len(xs), columns):  # what a batch touches stays in the cache
            some = slice(first, first + columns)
            patches = np.divide(cut(planes, ys - ys[0], xs[some], patch), scale, dtype=np.float32)
            cleaned = self._run(patches.reshape(-1, *patches.shape[2:])).reshape(patches.shape)
            strips.put(cleaned, (weights_y[:, None, :, None] * weights_x[some, None, :])[:, :, None], first)
        total = strips.sum(ys - ys[0])
        if not np.isfinite(total.sum()):
            raise ImageError(f"cannot be cleaned: model {str(self._session.path)!r} gives values that are not finite")
        return total

    def _run(self, patches: Floats) -> Floats:
        """Run the model on (N, 1 or 3, P, P) patches, `batch` or fewer; same shape back."""
        count, shape = len(patches), patches.shape
        if self._session.fixed_batch and count < self.batch:
            filled = self._run(np.pad(patches, [(0, self.batch - count), (0, 0), (0, 0), (0, 0)]))
            return filled[:count]
        if shape[1] < self.spec.channels:
            patches = np.repeat(patches, self.spec.channels, axis=1)  # grey seen by a colour model
        patches = patches.reshape(-1, self.spec.channels, *shape[2:])  # colour planes seen one by one by a grey model
        outputs = self._session.run(patches)
        if shape[1] < self.spec.channels:
            outputs = outputs.mean(axis=1, keepdims=True, dtype=np.float32)
        return outputs.reshape(shape)


def _planes(image: Image) -> Floats:
    """Return (H, W, C) as contiguous float32 (C, H, W) in 0..1."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    planes /= np.float32(np.iinfo(image.dtype).max)
    return planes


def _store(cleaned: Floats, source: Image, target: Image, strength: float) -> None:
    """Round (C, h, w) in about 0..1, changed on the way, into (H, W, C); what is padding is left out."""
    height, width = target.shape[:2]
    cleaned = cleaned[:, :height, :width]
    if strength < 1:
        original = _planes(source)
        cleaned = original + np.float32(strength) * (cleaned - original)
    np.clip(cleaned, 0, 1, out=cleaned)
    cleaned *= np.float32(np.iinfo(target.dtype).max)
    np.rint(cleaned, out=cleaned)
    for color, plane in enumerate(cleaned):
        np.copyto(target[..., color], plane, casting="unsafe")  # whole numbers in range


def _check_image(image: Image) -> None:
    if not isinstance(image, np.ndarray):
        raise ImageError(f"the image is a {type(image).__name__}: it must be a NumPy array")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"the image's dtype is {image.dtype}: it must be uint8 or uint16")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or 0 in image.shape:
        raise ImageError(f"the image's shape is {image.shape}: it must be (H, W) or (H, W, 1..4), without a 0")
