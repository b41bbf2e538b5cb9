"""Runs a model over the patches of a picture for `Encoder` and `Detector`; opens models and checks arguments for all.

`Restorer` blends overlapping patches into a picture instead: see `tiled_image.py`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, ClassVar, Final, Literal, Self, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_runtime.arguments import Progress, check_function, check_image, checked_color, checked_whole
from cae_runtime.errors import ModelError, UsageError
from cae_runtime.inference.providers import AUTO
from cae_runtime.inference.session import OnSession, Session
from cae_runtime.inference.tiling import Floats, Indices, columns_at_once, cut, origins, rows_at_once
from cae_runtime.inference.worker_threads import WorkerThreads
from cae_runtime.io.arrays import colors_of, full_scale
from cae_runtime.io.pipeline import prefetch_map

BATCH_PIXELS: Final = 32 * 32 * 32  # pixels per call; CPUs are equally fast from 13 to 64 patches of 32x32
BATCH_PIXELS_ELSEWHERE: Final = 4 * BATCH_PIXELS  # factor for GPUs; a guess, not measured


def open_for(
    tasks: Sequence[str],
    model: str | os.PathLike[str] | bytes | Session,
    provider: str = AUTO,
    threads: int | None = None,
) -> Session:
    """Open a model for one of some tasks, as `Session` takes it; an open session is used as it is.

    Raises:
        ModelError: the model is made for another task.
        UsageError: `provider` or `threads` is given with an open session.
        CaeRuntimeError: see `Session`.
    """
    if isinstance(model, Session):
        given = {"provider": (provider, AUTO), "threads": (threads, None)}
        for name, (value, default) in given.items():
            if value != default:
                raise UsageError(
                    f"{name} is {value!r}, but an open session keeps the {name} that it was opened with: pass it to "
                    "Session"
                )
    session = model if isinstance(model, Session) else Session(model, provider=provider, threads=threads)
    if session.spec.task not in tasks:
        raise ModelError(
            f"model {str(session.path)!r} is made for task {session.spec.task!r}: {tasks[0]!r} is needed here"
        )
    return session


class Grid:
    """The patches of one picture, in rows from top to bottom, each from left to right.

    Args:
        session: the model.
        image: uint8, uint16, or float32 in 0..1; (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) BGR or (H, W, 4)
            BGRA; alpha is ignored. Pictures smaller than a patch are mirrored at their lower and right edge; those of
            the size that the model was trained on in a black frame (`spec.framed`) get that frame.
        overlap: pixels shared by neighboring patches; None takes the model's recommendation.
        batch: patches a call of the model; None takes 32 of 32x32, four times as many on a GPU. It is rounded up to a
            multiple of the batch that a file fixes.
        bgr: whether the channels are in BGR order, not RGB.

    Attributes:
        ys: rows of the picture where patches begin, shape (Ny,).
        xs: columns where patches begin, shape (Nx,).
        size: height and width of the picture.
        margin: width of the frame around it, in which the patches lie too; 0 without one.

    Raises:
        UsageError: `overlap` is outside 0..patch-1, or `batch` below 1.
        ImageError: the array's dtype or shape is none of the above.
    """

    def __init__(
        self,
        session: Session,
        image: NDArray[Any],
        *,
        overlap: int | None = None,
        batch: int | None = None,
        bgr: bool = True,
    ) -> None:
        self._session, patch = session, session.spec.patch
        self._batch = checked_batch(session, batch)
        self.overlap = checked_overlap(session, overlap)
        planes = _planes(image, session.spec.channels, bgr)
        self.size = planes.shape[1:]
        self.margin = session.spec.margin(*self.size)
        if self.margin:
            planes = np.pad(planes, [(0, 0), *[(self.margin, self.margin)] * 2])
        missing = [max(0, patch - size) for size in planes.shape[1:]]
        self._planes = np.pad(planes, [(0, 0), (0, missing[0]), (0, missing[1])], "reflect") if any(missing) else planes
        self._scale = np.float32(full_scale(planes.dtype))
        height, width = self._planes.shape[1:]
        self.ys, self.xs = (origins(size, patch, self.overlap) for size in (height, width))

    def run(self, pool: Executor) -> Generator[tuple[slice, slice, Floats], None, None]:
        """Run the model over all patches, with a few batches ahead in the threads of `pool`.

        Yields:
            Slices of rows and columns of patches, and the model's output for them, shape (ny, nx, ...) float32, in row
            order.

        Raises:
            ModelError: the model's output is not finite.
            ProviderError: the provider failed while running.
        """
        return prefetch_map(pool, self._one, self._parts(), ahead=self._session.workers)

    def _parts(self) -> Iterator[tuple[slice, slice]]:
        rows, calls = max(1, self._batch // len(self.xs)), -(-len(self.xs) // self._batch)
        columns = self._batch if self._session.steady_batch else -(-len(self.xs) // calls)  # calls of about equal size
        if self._session.batch is not None:
            rows = rows_at_once(len(self.ys), len(self.xs), self._session.batch)
            columns = columns_at_once(rows, self._session.batch, self._batch)
        for y in range(0, len(self.ys), rows):
            for x in range(0, len(self.xs), columns):
                yield slice(y, min(y + rows, len(self.ys))), slice(x, min(x + columns, len(self.xs)))

    def _one(self, part: tuple[slice, slice]) -> tuple[slice, slice, Floats]:
        ys, xs = self.ys[part[0]], self.xs[part[1]]
        patches = self._cut(ys, xs)
        count = len(patches)
        if self._session.steady_batch and self._session.batch is None and count % self._batch:
            patches = np.pad(patches, [(0, -count % self._batch), (0, 0), (0, 0), (0, 0)])
        outputs = self._session.run(patches)[:count]
        if not np.isfinite(outputs).all():
            raise ModelError(f"model {str(self._session.path)!r} returns values that are not finite")
        return *part, outputs.reshape(len(ys), len(xs), *outputs.shape[1:])

    def _cut(self, ys: Indices, xs: Indices) -> Floats:
        """N x C x P x P in 0..1."""
        patch = self._session.spec.patch
        patches = cut(self._planes, ys, xs, patch)
        return cast(Floats, np.divide(patches.reshape(-1, *patches.shape[2:]), self._scale, dtype=np.float32))


class PatchModel(OnSession):
    """A model that is run over the patches of pictures: the common base of `Encoder` and `Detector`.

    Args:
        model: the path or the bytes of a file that `cae-export` wrote for the task, or an open session.
        provider: see `cae_runtime.Restorer`.
        threads: see `Restorer`.
        overlap: pixels shared by neighboring patches, 0..patch-1; None takes the model's recommendation.
        batch: patches a call of the model; None takes 32 of 32x32, four times as many on a GPU. It is rounded up to a
            multiple of the batch that a file fixes.
        color: channel order of the arrays, `bgr` as OpenCV reads them, or `rgb`.

    Attributes:
        session: the open session.

    `with` closes it at the end; a session that you passed in stays open.

    Raises:
        ModelError: the model cannot be used, or it is made for another task.
        ProviderError: the named provider is not available or did not start.
        UsageError: an argument is not as listed above (also a TypeError if its type is wrong).
    """

    task: ClassVar[str]

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Session,
        *,
        provider: str = "auto",
        threads: int | None = None,
        overlap: int | None = None,
        batch: int | None = None,
        color: Literal["bgr", "rgb"] = "bgr",
    ) -> None:
        self._bgr = checked_color(color)
        self.session, self._own = open_for((self.task,), model, provider, threads), not isinstance(model, Session)
        self._overlap, self._batch = checked_overlap(self.session, overlap), checked_batch(self.session, batch)
        self._workers = WorkerThreads(self.session.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, and close the model unless you passed in an open session; later use raises `UsageError`."""
        self._workers.close()
        if self._own:
            self.session.close()

    def _grid(self, image: NDArray[Any]) -> Grid:
        return Grid(self.session, image, overlap=self._overlap, batch=self._batch, bgr=self._bgr)

    def _over(
        self, grid: Grid, progress: Progress | None = None
    ) -> contextlib.closing[Generator[tuple[slice, slice, Floats], None, None]]:
        """Return what `Grid.run` yields; `progress` is called after each part with the patches done, and all."""
        check_function("progress", progress)
        return contextlib.closing(self._reported(grid, progress))

    def _reported(self, grid: Grid, progress: Progress | None) -> Generator[tuple[slice, slice, Floats], None, None]:
        done, total = 0, len(grid.ys) * len(grid.xs)
        with contextlib.closing(grid.run(self._workers.pool)) as parts:
            for rows, columns, outputs in parts:
                yield rows, columns, outputs
                done += outputs.shape[0] * outputs.shape[1]
                if progress is not None:
                    progress(done, total)


def checked_overlap(session: Session, overlap: int | None) -> int:
    """Check an overlap for a model; None takes the model's recommendation.

    Raises:
        UsageError: it is outside 0..patch-1, or not a whole number (then also a TypeError).
    """
    if overlap is None:
        return session.spec.overlap
    return checked_whole("overlap", overlap, 0, session.spec.patch - 1, "None for the model's own")


def checked_batch(session: Session, batch: int | None) -> int:
    """Check the number of patches per call; None takes 32 of 32x32 pixels, four times as many on a GPU.

    If the file fixes the batch, the result is rounded up to a multiple of it: then no batch is padded but the last.

    Raises:
        UsageError: it is below 1, or not a whole number (then also a TypeError).
    """
    if batch is None:
        pixels = BATCH_PIXELS_ELSEWHERE if session.steady_batch else BATCH_PIXELS
        batch = max(1, pixels // session.spec.patch**2)
    else:
        batch = checked_whole("batch", batch, 1, unless="None for what is usual")
    fixed = session.batch or 1
    return -(-batch // fixed) * fixed


def _planes(image: NDArray[Any], channels: int, bgr: bool) -> NDArray[Any]:
    """A picture as a model of this many channels sees it: (C, H, W), RGB or gray, of the picture's dtype."""
    check_image(image)
    colors = np.ascontiguousarray(colors_of(image))
    if colors.shape[2] == 1:
        return np.repeat(colors[..., 0][None], channels, axis=0)
    if channels == 1:
        return cv2.cvtColor(colors, cv2.COLOR_BGR2GRAY if bgr else cv2.COLOR_RGB2GRAY)[None]
    return np.ascontiguousarray((colors[..., ::-1] if bgr else colors).transpose(2, 0, 1))
