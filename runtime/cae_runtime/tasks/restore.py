"""`Restorer`: cleans an image."""

from __future__ import annotations

import logging
import os
from typing import Any, Final, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress, check_function, check_image, checked_color, checked_flag
from cae_runtime.inference.cpu_limits import one_cpu_each
from cae_runtime.inference.cpu_speed import fp16_note
from cae_runtime.inference.model_files import DEFAULT_MODEL
from cae_runtime.inference.model_spec import RESTORING, ModelSpec
from cae_runtime.inference.patch_model import checked_batch, checked_overlap, open_for
from cae_runtime.inference.providers import AUTO, CPU
from cae_runtime.inference.session import OnSession, Session
from cae_runtime.inference.tiled_image import Rows, TiledImage
from cae_runtime.inference.tiling import Floats
from cae_runtime.inference.worker_threads import WorkerThreads
from cae_runtime.io.arrays import HAS_ALPHA, Image, ImageT, full_scale
from cae_runtime.tasks.faint.put_back import PutBack
from cae_runtime.tasks.faint.stretch import stretch_for
from cae_runtime.tasks.notes import Tell, faint_noise, few_values
from cae_runtime.tasks.patches_at import Bits, OnBatch, PatchesAt
from cae_runtime.tasks.strength_blending import Strength, blend_apart, checked_strengths
from cae_runtime.tasks.strengths import Strengths
from cae_runtime.tasks.transparent_pixels import filled, hidden_pixels

_log = logging.getLogger(__name__)

UNCORRUPTED: Final = "none"  # the degradation of a plain autoencoder
_COLORS: Final = 3


class Restorer(OnSession):
    """Cleans images with a model of task `restore`.

    Several threads may call it at once. `with Restorer() as restore` ends its threads and closes the model at the end;
    so does dropping the object. A forked child restarts threads and model; a copy and a pickle open the model anew.

    A model of 3 channels sees a gray image as three equal ones; the mean of its output is used. A model of 1 channel
    cleans the luminance of color images (ITU-R BT.601) and adds the change to each channel, so the chroma stays.

    Args:
        model: the name of a packaged model, the path or the bytes of a file that `cae-export` wrote, or an open session
            (with which `provider` and `threads` must keep their defaults).
        provider: `auto`, `cpu`, `cuda`, `cuda:1`, ... ; a named provider is used, or an error is raised.
        threads: threads of the CPU provider; None: one for each CPU that this process may use.
        batch: patches per call of the model, 1 or more; None takes 32 of 32x32 pixels, fewer of larger ones (four times
            as many on a GPU). It is rounded up to a multiple of the batch that a file fixes. On a CPU the result does
            not depend on it (except for rounding in models with linear layers, such as vae).
        overlap: pixels shared by neighboring patches, 0..patch-1; None takes the model's recommendation.
        color: channel order of the arrays, `bgr` as OpenCV reads them, or `rgb`.
        stretch: scale up 16-bit images whose noise is fainter than the model was trained for (see
            `cae_runtime.tasks.faint.stretch`).
        pin_threads: pin each thread to its own CPU if there is one per CPU of this process, as `cae-run` does. This
            saves some milliseconds after a pause, and slows down a second model or other work in the same process.

    Attributes:
        batch: patches per call of the model.

    Raises:
        ModelError: the model cannot be used, or its task is not `restore`.
        ProviderError: the named provider is not available or did not start.
        UsageError: an argument is not as listed above (also a TypeError if its type is wrong).
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Session = DEFAULT_MODEL,
        *,
        provider: str = AUTO,
        threads: int | None = None,
        batch: int | None = None,
        overlap: int | None = None,
        color: Literal["bgr", "rgb"] = "bgr",
        stretch: bool = True,
        pin_threads: bool = False,
    ) -> None:
        self._bgr = checked_color(color)
        self._session = open_for(RESTORING, model, provider, threads)
        self._overlap, self._overlap_is_named = checked_overlap(self._session, overlap), overlap is not None
        self.batch = checked_batch(self._session, batch)
        self._stretch = checked_flag("stretch", stretch)
        pinned = checked_flag("pin_threads", pin_threads) and self.provider == CPU
        self._workers = WorkerThreads(count := self._session.workers, one_cpu_each(count) if pinned else ())
        self._closes: tuple[WorkerThreads | Session, ...]
        self._closes = (self._workers,) if isinstance(model, Session) else (self._workers, self._session)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, and close the model unless you passed in an open session; later use raises `UsageError`."""
        for each in self._closes:
            each.close()

    def _own_all(self) -> None:
        self._closes = (self._workers, self._session)

    def for_color(self, color: Literal["bgr", "rgb"]) -> Restorer:
        """Return a restorer for another channel order that shares model and threads; this one closes them."""
        return self._varied(_bgr=checked_color(color))

    def for_holes(self) -> Restorer:
        """Return a restorer with the overlap for filling holes that shares model and threads.

        Unless one was given, it is half a patch or more: every pixel of a hole is seen with its surroundings.
        """
        wide = max(self.spec.overlap, self.spec.patch // 2)
        return self if self._overlap_is_named else self._varied(_overlap=wide)

    def for_frames(self) -> Restorer:
        """Return a restorer for frames of a video, with the same model and threads; it never stretches."""
        return self._varied(_stretch=False)

    def _varied(self, **changes: object) -> Restorer:
        other = object.__new__(type(self))
        vars(other).update(vars(self) | changes, _closes=())
        return other

    @property
    def session(self) -> Session:
        """The open session."""
        return self._session

    @property
    def spec(self) -> ModelSpec:
        """The metadata of the model file."""
        return self._session.spec

    @property
    def provider(self) -> str:
        """Full name of the onnxruntime provider in use."""
        return self._session.provider

    @property
    def provider_note(self) -> str:
        """One line: which provider is in use, and why."""
        return self._session.provider_note

    @property
    def remarks(self) -> list[str]:
        """Messages to show first: the provider that `auto` chose, and warnings about the model."""
        lines = [f"provider: {self.provider_note}"] if self._session.provider_was_chosen else []
        if slow := fp16_note(self.spec.precision, self.provider):
            lines.append(slow)
        if self.spec.degradation == UNCORRUPTED:
            lines.append(f"note: {str(self._session.path)!r} was trained on clean images: it only reproduces its input "
                         "and does not remove noise")  # fmt: skip
        elif self.spec.psnr_in is not None and (self.spec.psnr_out or self.spec.psnr_in) < self.spec.psnr_in:
            figures = f"{self.spec.psnr_in:.1f} dB in, {self.spec.psnr_out:.1f} dB out"
            lines.append(f"note: {str(self._session.path)!r} made pictures worse when it was measured: {figures}")
        return lines

    @property
    def overlap(self) -> int:
        """Pixels shared by neighboring patches."""
        return self._overlap

    def __call__(
        self, image: ImageT, *, strength: Strength = 1.0, tell: Tell | None = None, progress: Progress | None = None
    ) -> ImageT:
        """Clean an image.

        Besides the result, this needs memory for two rows of patches per thread (for a stretched image also an eighth).
        Pixels of alpha 0 are returned unchanged. For cleaning the others, they are replaced by mirrored visible ones.

        Args:
            image: uint8, uint16, or float32 in 0..1; shape (H, W), (H, W, 1), (H, W, 2) gray and alpha, (H, W, 3)
                color, or (H, W, 4) color and alpha, in the order of `color`. Never modified.
            strength: s in 0..1; the result is input + s * (output - input), and 0 returns an exact copy.
                A tuple of two treats brightness (the luminance of ITU-R BT.601) and color apart.
            tell: called with each note about this image.
            progress: called in this thread with how many parts are done and how many there are, about ten times a
                second and at the end. An exception that it raises stops the work and comes out of this call.

        Returns:
            A new array of the same shape and dtype; float32 values are in 0..1 and not rounded. Alpha is the input's,
            bit for bit; gray stays gray.

        Raises:
            ImageError: the array's dtype, shape or values are none of the above.
            ModelError: the model's output has NaN or infinity, or its patches do not have the size of the input.
            ProviderError: the provider failed while running, for example for lack of memory.
            UsageError: a strength is outside 0..1, or the restorer was closed.
        """
        check_image(image)
        strengths = checked_strengths(strength)
        check_function("tell", tell)
        check_function("progress", progress)
        if strengths == (0, 0):
            return image.copy(order="C")
        if margin := self.spec.margin(*image.shape[:2]):
            return self._framed(image, margin, strengths, tell, progress)
        result: ImageT = np.empty_like(image, order="C", subok=False)
        planes_in, planes_out = (a if a.ndim == 3 else a[..., None] for a in (image, result))
        colors = planes_in.shape[2] if planes_in.shape[2] in (1, _COLORS) else planes_in.shape[2] - 1
        hidden = hidden_pixels(planes_in[..., colors]) if colors < planes_in.shape[2] else None
        given, made = planes_in[..., :colors], planes_out[..., :colors]
        apart = strengths.differ and colors == _COLORS
        changed = self._clean(given, made, 1.0 if apart else strengths.brightness, hidden, tell, progress)
        if tell is not None and changed and (note := few_values(given)):
            tell(note)
        if apart:
            blend_apart(given, made, strengths, bgr=self._bgr)
        if hidden is not None:
            np.copyto(planes_out[..., :colors], planes_in[..., :colors], where=hidden[..., None])
        planes_out[..., colors:] = planes_in[..., colors:]
        return result

    def _framed(
        self, image: ImageT, margin: int, strengths: Strengths, tell: Tell | None, progress: Progress | None
    ) -> ImageT:
        """Clean an image in the black frame that the model knows."""
        around = [(margin, margin)] * 2
        framed = np.pad(image, [*around, *[(0, 0)] * (image.ndim - 2)])
        if image.ndim == _COLORS and image.shape[2] in HAS_ALPHA:
            framed[..., -1] = np.pad(image[..., -1], around, constant_values=full_scale(image.dtype))
        cleaned = self(framed, strength=strengths, tell=tell, progress=progress)
        return cast(ImageT, cleaned[margin:-margin, margin:-margin].copy())

    def at(self, image: NDArray[Any], where: Bits, unknown: Bits, on_batch: OnBatch | None = None) -> Floats:
        """Return what the model gives at some pixels of an image, from as few patches as see all of them well.

        Args:
            image: as in a call, without alpha, of shape (H, W, C): C is that of the model, or 3 with a model of 1
                channel, which then sees each color as a gray picture.
            where: the pixels, bool (H, W); at least one is true.
            unknown: pixels without a value yet, bool (H, W): patches are placed so that they see few.
            on_batch: called in this thread with the share of the patches that are done, after each batch.

        Returns:
            (M, C) float32 in about 0..1, M pixels in row order.

        Raises:
            ModelError, ProviderError, UsageError: as in a call.
        """
        cell = self.spec.patch - self._overlap
        work = PatchesAt(self._session, image, where, unknown, cell=cell, batch=self.batch, bgr=self._bgr)
        return work.run(self._workers.pool, on_batch)

    def _clean(
        self,
        image: Image,
        result: Image,
        strength: float,
        hidden: NDArray[np.bool_] | None,
        tell: Tell | None,
        progress: Progress | None,
    ) -> bool:
        """Clean (H, W, 1 or 3) color or gray into `result`; hidden pixels are undefined. Return whether it changed."""

        def rows(first: int, end: int) -> Image:
            return image[first:end] if hidden is None else filled(image, hidden, first, end, self.spec.patch)

        faint = stretch_for(self.spec, image, rows, hidden) if self._stretch and image.dtype == np.uint16 else None
        if faint is None:
            self._run(image, result, strength, rows, hidden, progress)
            return True
        stretched, deviation = faint
        _log.debug(
            "noise of sigma %s of 65535 is too faint for the model: %s",
            "unknown" if deviation is None else f"{deviation:.3g}",
            "left" if stretched is None else "stretched",
        )
        helped = False
        if stretched is not None:
            self._run(image, result, 1.0, stretched.rows, hidden, progress)
            back = PutBack(stretched, result, strength)
            self._workers.run(back.work, min(self._session.workers, back.blocks), back.stop)
            helped = back.helped
        if not helped:
            result[...] = image
        if tell is not None:
            tell(faint_noise(deviation, helped))
        return helped

    def _run(
        self,
        image: Image,
        result: Image,
        strength: float,
        rows: Rows,
        hidden: NDArray[np.bool_] | None,
        progress: Progress | None,
    ) -> None:
        tiled = TiledImage(
            self._session, image, result, overlap=self._overlap, batch=self.batch, strength=strength, bgr=self._bgr,
            rows=rows, hidden=hidden,
        )  # fmt: skip
        report = None if progress is None else lambda: progress(tiled.done, tiled.blocks)
        self._workers.run(tiled.work, min(self._session.workers, tiled.blocks), tiled.stop, report)
