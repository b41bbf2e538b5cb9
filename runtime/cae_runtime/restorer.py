"""An image in, the cleaned image out."""

from __future__ import annotations

import os
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ImageError, ModelError, UsageError
from cae_runtime.providers import AUTO
from cae_runtime.session import DEFAULT_MODEL, Session
from cae_runtime.spec import ModelSpec
from cae_runtime.tiles import Floats, blend, origins, split, window

DEFAULT_BATCH: Final = 16  # the activations of more do not stay in the CPU's cache
_BAND_BATCHES: Final = 4
_COLORS: Final = 3

Image = NDArray[np.uint8] | NDArray[np.uint16]


class Restorer:
    """Cleans images with a model of task `restore`.

    Args:
        model: the name of a packaged model, or the path of a file that `cae-export` wrote.
        provider: `auto`, `cpu`, `cuda`, `cuda:1`, ... ; one that is named is used or it is an error.
        threads: threads of the CPU provider; None takes all the CPUs that this process may use.
        batch: patches a call of the model, 1 or more. The result does not depend on it.
        overlap: pixels shared by neighbouring patches, 0..patch-1; None takes the model's recommendation.
        color: channel order of the arrays, `bgr` as OpenCV reads them, or `rgb`.

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
        batch: int = DEFAULT_BATCH,
        overlap: int | None = None,
        color: Literal["bgr", "rgb"] = "bgr",
    ) -> None:
        if batch < 1:
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
        self._batch = batch
        self._order = slice(None, None, -1) if color == "bgr" else slice(None)

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

        The image is worked through in horizontal bands: beside the result, memory for a few rows of patches is used.

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
        result = image.copy(order="C")
        if strength > 0:
            planes_in, planes_out = (a if a.ndim == 3 else a[..., None] for a in (image, result))
            colors = planes_in.shape[2] if planes_in.shape[2] in (1, _COLORS) else planes_in.shape[2] - 1
            order = self._order if colors == _COLORS else slice(None)
            self._clean(planes_in[..., :colors][..., order], planes_out[..., :colors][..., order], strength)
        return result

    def _clean(self, image: Image, result: Image, strength: float) -> None:
        """Clean (H, W, 1 or 3) RGB or grey planes into `result`, band by band."""
        patch, overlap = self.spec.patch, self._overlap
        height, width = image.shape[:2]
        scale = np.float32(np.iinfo(image.dtype).max)
        ys = origins(max(height, patch), patch, overlap)
        xs = origins(max(width, patch), patch, overlap)
        weights_y, weights_x = window(ys, patch, overlap), window(xs, patch, overlap)
        rows_a_band = max(1, _BAND_BATCHES * self._batch // len(xs))
        unfinished = np.empty((image.shape[2], 0, max(width, patch)), np.float32)
        for first in range(0, len(ys), rows_a_band):
            rows = ys[first : first + rows_a_band]
            top, bottom = rows[0], rows[-1] + patch
            band = _planes(image[top:bottom], patch) / scale  # (C, bottom - top, W), at least (C, P, P)
            patches = self._run(split(band, rows - top, xs, patch))
            blended = np.zeros_like(band)
            blended[:, : unfinished.shape[1]] = unfinished
            blend(patches, xs, rows - top, weights_y[first : first + len(rows)], weights_x, blended)
            following = first + len(rows)
            done = (ys[following] if following < len(ys) else bottom) - top  # rows that no later patch touches
            unfinished = blended[:, done:]
            cleaned = blended[:, :done]
            if strength < 1:
                cleaned = band[:, :done] + np.float32(strength) * (cleaned - band[:, :done])
            target = result[top : top + done]  # shorter than `cleaned` where the image was padded
            levels = np.rint(np.clip(cleaned, 0, 1) * scale)
            target[...] = levels.transpose(1, 2, 0)[: target.shape[0], :width]

    def _run(self, patches: Floats) -> Floats:
        """Run the model on (N, 1 or 3, P, P) patches, `batch` at a time; same shape back."""
        shape = patches.shape
        if shape[1] < self.spec.channels:
            patches = np.repeat(patches, self.spec.channels, axis=1)  # grey seen by a colour model
        patches = patches.reshape(-1, self.spec.channels, *shape[2:])  # colour planes seen one by one by a grey model
        outputs = np.empty_like(patches)
        for first in range(0, len(patches), self._batch):
            outputs[first : first + self._batch] = self._session.run(patches[first : first + self._batch])
        if not np.isfinite(outputs).all():
            raise ImageError(f"cannot be cleaned: model {str(self._session.path)!r} gives values that are not finite")
        if shape[1] < self.spec.channels:
            outputs = outputs.mean(axis=1, keepdims=True, dtype=np.float32)
        return outputs.reshape(shape)


def _planes(image: Image, patch: int) -> Floats:
    """Return (H, W, C) as contiguous float32 (C, H, W), reflected to at least `patch` pixels a side."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)
    missing = [max(0, patch - size) for size in planes.shape[1:]]
    return np.pad(planes, [(0, 0), (0, missing[0]), (0, missing[1])], mode="reflect") if any(missing) else planes


def _check_image(image: Image) -> None:
    if not isinstance(image, np.ndarray):
        raise ImageError(f"the image is a {type(image).__name__}: it must be a NumPy array")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"the image's dtype is {image.dtype}: it must be uint8 or uint16")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4)) or 0 in image.shape:
        raise ImageError(f"the image's shape is {image.shape}: it must be (H, W) or (H, W, 1..4), without a 0")
