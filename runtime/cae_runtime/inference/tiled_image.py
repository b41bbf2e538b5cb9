"""One image while it is cleaned: threads share its rows of patches and blend them where they overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.errors import ModelError
from cae_runtime.inference.model_spec import NHWC
from cae_runtime.inference.session import Session
from cae_runtime.inference.tiling import (
    Floats,
    Indices,
    OverlapAdder,
    columns_at_once,
    cut,
    origins,
    rows_at_once,
    window,
)
from cae_runtime.io.arrays import Image, full_scale

_RGB: Final = 3
_PATCHES_TOGETHER: Final = 16  # at least this many per turn of a thread, if the image is wide enough

Rows = Callable[[int, int], Image]  # rows first..end-1 of a picture, (h, W, C), to be read only


class TiledImage:
    """The work on one image, done by all threads that call `work`.

    The rows of patches are processed in parts, from top to bottom. A thread stores the pixel rows that only its part
    covers. Rows that two parts share are summed and stored by the thread that comes second. On a CPU, the division into
    parts depends only on the image, the overlap and the batch that the file fixes, if it fixes one: so the result is
    bit-identical for any number of threads and any batch size (for convolutional models; linear layers sum in another
    order at other batch sizes).

    A model of 1 channel cleans the luminance of color images (ITU-R BT.601, rounded to the image's own steps, as in a
    gray copy). The change is added to all three channels, so that the chroma stays as it is.

    Args:
        session: the model.
        image: color or gray, uint8, uint16, or float32 in 0..1, shape (H, W, 1 or 3). Read only.
        result: where the cleaned values go, of the same shape and dtype.
        overlap: pixels shared by neighboring patches.
        batch: patches per call of the model.
        strength: s in 0..1; the result is image + s * (output - image).
        bgr: whether the channels are in BGR order, not RGB.
        rows: returns what the model sees of rows of the image, of its dtype or float32 in 0..1; None: the rows
            themselves.
        hidden: bool (H, W), true where pixels are invisible: patches with only such pixels are skipped; None: nowhere.

    Attributes:
        blocks: number of parts; more threads than that have nothing to do.
        done: how many of them are cleaned.
    """

    def __init__(
        self,
        session: Session,
        image: Image,
        result: Image,
        *,
        overlap: int,
        batch: int,
        strength: float,
        bgr: bool,
        rows: Rows | None = None,
        hidden: NDArray[np.bool_] | None = None,
    ) -> None:
        self._session, self._image, self._result, self._hidden = session, image, result, hidden
        self._rows: Rows = rows or (lambda first, end: image[first:end])
        spec = session.spec
        colors = image.shape[2] == _RGB
        self._by_luminance = colors and spec.channels == 1
        self._to_gray = cv2.COLOR_BGR2GRAY if bgr else cv2.COLOR_RGB2GRAY
        self._batch, self._strength = batch, np.float32(strength)
        self._swap = bgr and colors and not self._by_luminance
        self._scale = np.float32(full_scale(image.dtype))
        self._rounds = image.dtype != np.float32
        self._patch = patch = spec.patch
        self._depth = _RGB if spec.layout == NHWC and image.shape[2] == spec.channels == _RGB else 1
        height, width = (max(size, patch) for size in image.shape[:2])
        self._ys, self._xs = origins(height, patch, overlap), origins(width, patch, overlap)
        self._weights_y = window(self._ys, patch, overlap)
        self._weights_x = np.repeat(window(self._xs, patch, overlap), self._depth, axis=1)
        together = batch if session.steady_batch and session.batch is None else _PATCHES_TOGETHER
        # With this many rows per part, at most two parts share a row of pixels; the last part may start earlier.
        count = max(1, together // len(self._xs), -(-patch // (patch - overlap)) - 1)
        if session.batch is not None:
            count = rows_at_once(len(self._ys), len(self._xs), session.batch, count)
        firsts = list(range(0, len(self._ys), count))
        if len(firsts) > 2 and self._ys[firsts[-1]] < self._ys[firsts[-2] - 1] + patch:
            firsts.pop()
        self._parts = [slice(first, end) for first, end in zip(firsts, [*firsts[1:], len(self._ys)], strict=True)]
        self.blocks = len(self._parts)
        self._taken = self.done = 0
        self._pending_seams: dict[int, Floats] = {}  # by the part below: what the first of two neighbors left
        self._lock = threading.Lock()

    def work(self) -> None:
        """Clean parts until all are done or `stop` is called.

        Raises:
            ModelError, ProviderError: as `Restorer` raises them; the other threads are stopped.
        """
        try:
            while (part := self._take()) is not None:
                self._clean(part)
                with self._lock:
                    self.done += 1
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Make every thread stop after its current part."""
        with self._lock:
            self._taken = self.blocks

    def _take(self) -> int | None:
        with self._lock:
            if self._taken == self.blocks:
                return None
            self._taken += 1
            return self._taken - 1

    def _clean(self, part: int) -> None:
        rows = self._parts[part]
        total = self._weighted(self._ys[rows], self._weights_y[rows])
        top = int(self._ys[rows.start])
        bottom = top + total.shape[1]
        above = int(self._ys[rows.start - 1]) + self._patch if part else top
        below = int(self._ys[rows.stop]) if part + 1 < self.blocks else bottom
        self._store(total[:, above - top : below - top], above)
        if part:
            self._merge_seam(part, total[:, : above - top], top)
        if part + 1 < self.blocks:
            self._merge_seam(part + 1, total[:, below - top :], below)

    def _merge_seam(self, part: int, half: Floats, top: int) -> None:
        """Keep the rows that a part shares with the one above it, or add them to what the neighbor left."""
        with self._lock:
            other = self._pending_seams.pop(part, None)
            if other is None:
                self._pending_seams[part] = half.copy()  # a view would keep the whole part in memory
        if other is not None:
            self._store(other + half, top)

    def _weighted(self, ys: Indices, weights_y: Floats) -> Floats:
        """Clean rows of patches; return their weighted sum, shape (K, H, W * D), H being the rows they cover."""
        xs, patch, depth = self._xs, self._patch, self._depth
        rows = self._rows(int(ys[0]), min(int(ys[-1]) + patch, len(self._image)))
        missing = [max(0, patch - size) for size in rows.shape[:2]]
        if any(missing):
            rows = cast(Image, np.pad(rows, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="reflect"))
        planes = self._planes(rows)
        strips = OverlapAdder(len(ys), len(planes), patch, xs, depth)
        seen = self._seen(ys)
        columns = max(1, self._batch // len(ys))
        if self._session.batch is not None:
            columns = columns_at_once(len(ys), self._session.batch, self._batch)
        elif not self._session.steady_batch:
            columns = -(-len(xs) // -(-len(xs) // columns))  # batches of about equal size
        for first in range(0, len(xs), columns):  # the memory of a batch stays in the cache
            some = slice(first, first + columns)
            patches = cut(planes, ys - ys[0], xs[some], patch, depth)
            flat = patches.reshape(-1, *patches.shape[2:])
            cleaned = self._run(flat) if seen is None else self._run_some(flat, seen[:, some].ravel())
            cleaned = cleaned.reshape(patches.shape)
            strips.put(cleaned, self._weights_x[some], first)
        total = strips.sum(ys - ys[0], weights_y)
        with np.errstate(over="ignore", invalid="ignore"):  # of huge values, or of two infinities
            finite = bool(np.isfinite(total.sum()))
        if not finite:
            model = str(self._session.path)
            raise ModelError(
                f"model {model!r} returns values that are not finite: its weights are damaged, or overflow"
            )
        return total

    def _seen(self, ys: Indices) -> NDArray[np.bool_] | None:
        """Which patches have visible pixels, shape (Ny, Nx); None: all of them."""
        if self._hidden is None:
            return None
        hidden = self._hidden[ys[0] : ys[-1] + self._patch]
        if not hidden.any():
            return None
        missing = [(0, max(0, self._patch - size)) for size in hidden.shape]
        patches = cut(np.pad(hidden, missing, constant_values=True)[None], ys - ys[0], self._xs, self._patch)
        return np.logical_not(patches.all(axis=(2, 3, 4)))

    def _planes(self, rows: Image) -> Floats:
        """Rows of the image, shape (h, w, C) -> what the model sees of them: (K, h, w * D) in 0..1."""
        if self._by_luminance:
            rows = cast(Image, cv2.cvtColor(np.ascontiguousarray(rows), self._to_gray)[..., None])
        if self._swap:
            rows = _swapped(rows)
        values = rows.transpose(2, 0, 1) if self._depth == 1 else rows.reshape(1, len(rows), -1)
        if rows.dtype == np.float32:
            return cast(Floats, np.ascontiguousarray(values))
        planes: Floats = np.divide(np.ascontiguousarray(values), self._scale, dtype=np.float32)
        return planes

    def _run_some(self, patches: Floats, wanted: NDArray[np.bool_]) -> Floats:
        """Run the model on the `wanted` patches, bool (N), of (N, K, P, P * D); the others stay undefined."""
        if wanted.any():
            patches[wanted] = self._run(patches[wanted])
        return patches

    def _run(self, patches: Floats) -> Floats:
        """Run the model on (N, K, P, P * D) patches, about `batch` of them; returns the same shape."""
        count, shape, spec = len(patches), patches.shape, self._session.spec
        if self._session.steady_batch and self._session.batch is None and count % self._batch:
            filled = self._run(np.pad(patches, [(0, -count % self._batch), (0, 0), (0, 0), (0, 0)]))
            return filled[:count]
        gray_in_color, axis = self._image.shape[2] < spec.channels, 3 if spec.layout == NHWC else 1
        if gray_in_color:
            patches = np.repeat(np.expand_dims(patches[:, 0], axis), spec.channels, axis)
        outputs = self._session.run(patches.reshape(spec.shape(-1)))
        if gray_in_color:
            outputs = outputs.mean(axis, dtype=np.float32)
        return outputs.reshape(shape)

    def _store(self, cleaned: Floats, top: int) -> None:
        """Store (K, h, W * D) in about 0..1 in the result from row `top` on, without padding; changes its input."""
        target = self._result[top : top + cleaned.shape[1]]
        if target.size == 0:  # only padding, or the overlap is 0
            return
        height, width, colors = target.shape
        cleaned = cleaned[:, :height, : width * self._depth]
        if self._by_luminance:
            self._add(cleaned[0], target, top)
            return
        if self._strength < 1:
            original = self._planes(self._rows(top, top + height))
            cleaned = original + self._strength * (cleaned - original)
        np.clip(cleaned, 0, 1, out=cleaned)
        if self._rounds:
            cleaned *= self._scale
            np.rint(cleaned, out=cleaned)
        rounded = np.empty((height, width, colors), target.dtype)
        if self._depth == 1:
            for color, plane in enumerate(cleaned):
                np.copyto(rounded[..., color], plane, casting="unsafe")  # in range, and whole numbers if it rounds
        else:
            np.copyto(rounded.reshape(height, -1), cleaned[0], casting="unsafe")
        target[...] = _swapped(rounded) if self._swap else rounded

    def _add(self, cleaned: Floats, target: Image, top: int) -> None:
        """Add the change of the luminance (h, w), in about 0..1, to each pixel's channels, round and store them."""
        rows = cast(Image, np.ascontiguousarray(self._rows(top, top + len(target))))
        change = cleaned - self._planes(rows)[0]
        if rows.dtype != target.dtype:
            rows = cast(Image, rows * self._scale)
        change *= self._strength * self._scale
        if self._rounds:  # once for all channels: their differences stay, except where they are clipped
            np.rint(change, out=change)
        depth = {"uint8": cv2.CV_8U, "uint16": cv2.CV_16U, "float32": cv2.CV_32F}[target.dtype.name]
        changed = cv2.add(rows, cv2.cvtColor(change, cv2.COLOR_GRAY2BGR), dtype=depth)  # clips whole numbers
        target[...] = changed if self._rounds else np.clip(changed, 0, 1)


def _swapped(rows: Image) -> Image:
    """BGR -> RGB and back."""
    if rows.dtype == np.float32:  # may lie in memory by channels, so that a copy would be lost work
        return rows[..., ::-1]
    return cast(Image, cv2.cvtColor(np.ascontiguousarray(rows), cv2.COLOR_BGR2RGB))
