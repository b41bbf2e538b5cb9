"""Where the frames of static scenes come from: a camera, videos, folders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_train.config import PATCH
from cae_train.data import IMAGE_SUFFIXES, read_rgb
from cae_train.errors import DataError

Frames = NDArray[np.uint8]  # N x H x W x 3, RGB

SCENE_BYTES = 400 * 2**20  # of the frames of one scene; a window is cut out of larger ones
SETTLING = 15  # frames of a camera that are let go by while it finds its exposure
BAD_IN_A_ROW = 30  # answers of a camera that are no picture
NOISY, CLEAN = "noisy", "clean"

Tell = Callable[[str], None]


class SceneError(DataError):
    """Frames that are no scene; others may be."""


@dataclass(frozen=True)
class Scene:
    """Frames of one scene.

    Attributes:
        name: of the folder, file or camera.
        frames: uint8 N x H x W x 3, RGB.
        truth: the mean of more frames than are here, float32 H x W x 3 in 0..255, or None.
    """

    name: str
    frames: Frames
    truth: NDArray[np.float32] | None = None


def read_scenes(sources: Sequence[str], count: int, tell: Tell, wait: Tell = lambda _line: None) -> list[Scene]:
    """Read what `--burst` names: a camera's number or address, a video, a folder of frames or a folder of such folders.

    A folder with folders `noisy` and `clean` has one frame and its mean in each pair of files of one name. What is no
    scene beside others that are is left out, and said to be.

    Args:
        sources: what was named.
        count: frames of a scene that are taken at most.
        tell: called with a line for the user.
        wait: called with a line before a camera records another scene, until that can begin.

    Raises:
        DataError: one is none of these; or all have no frames, one frame only, or frames of different sizes.
    """
    scenes: list[Scene] = []
    problems: list[SceneError] = []
    recorded = 0

    def add(name: str, frames: Iterator[tuple[str, Frames]], source: str, count: int) -> None:
        try:
            scenes.append(_scene(name, frames, source, count, tell))
        except SceneError as e:
            problems.append(e)

    for source in sources:
        path = Path(source)
        if path.is_dir():
            if (path / NOISY).is_dir() and (path / CLEAN).is_dir():
                scenes += _of_pairs(path, tell)
                continue
            for place, paths in _places(path, count):
                add(place.name, _of_files(paths, tell), f"--burst {str(place)!r}", len(paths))
        elif path.is_file():
            add(path.stem, _of_video(source, count), f"--burst {source!r}", count)
        elif source.isdecimal() or "://" in source or source.startswith("/dev/"):
            shown = urlsplit(source).hostname or "stream" if "://" in source else source  # without what may be secret
            if recorded:
                wait(f"point camera {shown} at scene {recorded + 1}")
            recorded += 1
            tell(f"camera {shown}: recording {count} frames; keep it and the scene still")
            name = f"camera {shown}" + f" scene {recorded}" * (recorded > 1)
            add(name, _of_camera(source, shown, count), f"--burst {shown!r}", count)
        else:
            raise DataError(
                f"--burst {source!r} does not exist: name a camera (0), a video, a folder of frames, or of such folders"
            )
    if problems and not scenes:
        raise problems[0]
    for problem in problems:
        tell(f"left out: {problem}")
    return scenes


def _places(folder: Path, count: int) -> list[tuple[Path, list[Path]]]:
    """A folder and the folders in it, those that have pictures, with the first so many of these."""
    places = [(place, _images(place)[:count]) for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir()))]
    found = [(place, paths) for place, paths in places if paths]
    if not found:
        raise DataError(
            f"--burst {str(folder)!r} has no frames, nor have the folders in it: {', '.join(sorted(IMAGE_SUFFIXES))} "
            "are looked for"
        )
    return found


def _of_files(paths: Sequence[Path], tell: Tell) -> Iterator[tuple[str, Frames]]:
    for path in paths:
        image = read_rgb(path)
        if image is None:
            tell(f"left out: {str(path)!r} cannot be read")
        else:
            yield path.name, image


def _of_pairs(folder: Path, tell: Tell) -> list[Scene]:
    truths = {path.stem: path for path in _images(folder / CLEAN)}
    scenes = []
    for path in _images(folder / NOISY):
        if path.stem not in truths:
            raise DataError(f"--burst {str(folder)!r}: {NOISY}/{path.name} has no mean in {CLEAN}/")
        read = [image for _, image in _of_files([path, truths[path.stem]], tell)]
        if len(read) < 2:
            continue
        frame, truth = read
        if min(frame.shape[:2]) < 2 * PATCH:
            raise DataError(f"--burst {str(folder)!r}: {path.name} of {_size(frame)} pixels is too small, {2 * PATCH}x"
                            f"{2 * PATCH} are needed")  # fmt: skip
        if frame.shape != truth.shape:
            raise DataError(f"--burst {str(folder)!r}: {path.name} has {_size(frame)} pixels, its mean {_size(truth)}")
        scenes.append(Scene(path.stem, frame[None], truth.astype(np.float32)))
    if not scenes:
        raise DataError(f"--burst {str(folder)!r} has no frames in {NOISY}/")
    return scenes


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _of_video(source: str, count: int) -> Iterator[tuple[str, Frames]]:
    video = cv2.VideoCapture(source)
    try:
        for number in range(count):
            there, frame = video.read()
            if not there:
                return
            yield f"frame {number + 1}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8)
    finally:
        video.release()


def _of_camera(source: str, shown: str, count: int) -> Iterator[tuple[str, Frames]]:
    camera = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    try:
        if not camera.isOpened():
            raise DataError(f"--burst {shown!r}: this camera cannot be opened (is another program using it?)")
        taken = bad = 0
        while taken < count + SETTLING:
            there, frame = camera.read()
            bad = 0 if there else bad + 1
            if bad > BAD_IN_A_ROW:
                raise DataError(f"--burst {shown!r}: the camera stopped after {max(0, taken - SETTLING)} frames")
            if there:
                taken += 1
                if taken > SETTLING:
                    yield f"frame {taken - SETTLING}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8)
    finally:
        camera.release()


def _scene(name: str, frames: Iterator[tuple[str, Frames]], source: str, count: int, tell: Tell) -> Scene:
    """Put frames of one size together; of large ones the middle, so that `count` of them fit into the memory.

    Raises:
        SceneError: none, one, of different sizes, or too small.
    """
    kept: list[Frames] = []
    first, size, window = "", "", np.s_[:, :]
    for label, frame in frames:
        if not kept:
            first, size = label, _size(frame)
            window = _window(frame, count, source)
            if frame[window].shape != frame.shape:
                tell(f"note: scene {name!r}: of {size} pixels only the middle, {_size(frame[window])}, is used")
        if _size(frame) != size:
            raise SceneError(f"{source}: frames of different sizes, {first} has {size} pixels, {label} {_size(frame)}")
        kept.append(frame[window].copy())
    if len(kept) < 2:
        raise SceneError(f"{source} has {len(kept) or 'no'} frame{'s' * (not kept)}: 2 are needed, 60 are best")
    return Scene(name, np.stack(kept))


def _window(frame: Frames, count: int, source: str) -> tuple[slice, slice]:
    height, width = frame.shape[:2]
    if min(height, width) < 4 * PATCH:
        raise SceneError(
            f"{source}: frames of {width}x{height} pixels are too small, {4 * PATCH}x{4 * PATCH} are needed"
        )
    share = (SCENE_BYTES / (count * frame.size)) ** 0.5
    if share >= 1:
        return np.s_[:, :]
    h, w = (max(4 * PATCH, int(side * share) // 8 * 8) for side in (height, width))
    y, x = (height - h) // 32 * 16, (width - w) // 32 * 16  # JPEG's blocks stay whole, of the colours too
    return np.s_[y : y + h, x : x + w]


def _size(image: Frames) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
