"""Reads the frames of static scenes from a camera, videos or folders."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from cae_shared.text import counted
from cae_train.config import PATCH
from cae_train.data.images import IMAGE_SUFFIXES, read_rgb
from cae_train.errors import DataError, DataNotFoundError

Frames = NDArray[np.uint8]  # N x H x W x 3, RGB

FRAME_BYTES = 1200 * 2**20  # memory for the frames of all scenes; windows are cut from larger frames
LEAST_SHARES = 3  # one scene gets at most the memory divided by this
FRAMES_PER_PAIR = 16  # a frame with its mean takes the memory of this many frames, being float32
SETTLING_FRAMES = 15  # frames that are skipped while a camera adjusts its exposure
BAD_IN_A_ROW = 30  # after so many reads without a picture, a camera has stopped
DIGITS_MOST = 4  # longest number of a camera
LETTERS_SHOWN = 80  # longest part of a wrong name that messages show
FOLDER, VIDEO, CAMERA = "folder", "video", "camera"
# Suffixes that are looked for in folders; a named file may have any.
VIDEO_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")
PLAYLISTS = (b"#EXTM3U", b"ffconcat")  # how those begin that FFmpeg would follow to other files
NOISY, CLEAN = "noisy", "clean"

Tell = Callable[[str], None]


class SceneError(DataError):
    """The frames are no usable scene; other sources may be."""


@dataclass(frozen=True)
class Scene:
    """The frames of one scene.

    Attributes:
        name: of the folder, file or camera.
        frames: uint8 N x H x W x 3, RGB.
        truth: the mean of many more frames, float32 H x W x 3 in 0..255, or None.
        recorded: whether they come from a camera and are not stored elsewhere.
    """

    name: str
    frames: Frames
    truth: NDArray[np.float32] | None = None
    recorded: bool = False


def read_scenes(sources: Sequence[str], count: int, tell: Tell, wait: Tell = lambda _line: None) -> list[Scene]:
    """Read the sources of `--burst`: cameras (numbers or addresses), videos, folders of frames, folders of folders.

    A folder may have subfolders `noisy` and `clean` with files of the same names: each pair is one frame, and the mean
    of many. If some sources are usable scenes, the others are left out with a note.

    Args:
        sources: cameras, videos and folders.
        count: the most frames per scene.
        tell: called with each message for the user.
        wait: called with a message before a camera records another scene; returns when recording can begin.

    Raises:
        DataError: a source is none of these; or none has at least two frames of equal size.
    """
    scenes: list[Scene] = []
    problems: list[SceneError] = []
    recorded = 0
    expected = sum(len(_places(Path(s), 1)) if _kind(s) == FOLDER and not _has_pairs(Path(s)) else 1 for s in sources)
    budget = FRAME_BYTES // max(LEAST_SHARES, expected)

    def add(name: str, frames: Iterator[tuple[str, Frames]], source: str, count: int) -> None:
        try:
            scenes.append(_scene(_another(name, scenes), frames, source, count, budget, tell))
        except SceneError as e:
            problems.append(SceneError(str(e)))  # drop the traceback, which holds frames

    for source in sources:
        path = Path(source)
        kind = _kind(source)
        if kind == FOLDER:
            if _has_pairs(path):
                scenes += _of_pairs(path, tell)
                continue
            for place, paths in _places(path, count):
                frames = _of_files(paths, tell) if paths else _of_video(str(place), count)
                add(place.name if paths else place.stem, frames, f"burst {str(place)!r}", len(paths) or count)
        elif kind == VIDEO:
            add(path.stem, _of_video(source, count), f"burst {source!r}", count)
        else:
            shown = shown_as(source)
            if recorded:
                wait(f"point camera {shown} at scene {recorded + 1}")
            recorded += 1
            tell(f"camera {shown}: recording {count} frames; keep it and the scene still")
            before = len(scenes)
            add(f"camera {shown}", _of_camera(source, shown, count, tell), f"burst {shown!r}", count)
            scenes[before:] = [replace(scene, recorded=True) for scene in scenes[before:]]
    if problems and not scenes:
        raise problems[0]
    for problem in problems:
        tell(f"left out: {problem}")
    return scenes


def shown_as(source: str) -> str:
    """Return a camera's number, or the host of its address, since the rest of an address may be secret."""
    if "://" not in source:
        return source
    try:
        return urlsplit(source).hostname or "stream"
    except ValueError:
        return "stream"


def check_sources(sources: Sequence[str]) -> None:
    """Check the sources of `--burst` before recording anything.

    Raises:
        DataError: one is neither a camera, a video nor a folder, or cannot be read; a file is named twice.
    """
    seen: set[Path] = set()
    for source in sources:
        if _kind(source) != CAMERA:
            path = Path(source).resolve()
            if path in seen:
                raise DataError(f"burst {source!r} is given twice: a scene cannot be tested against itself")
            seen.add(path)


def _kind(source: str) -> str:
    try:
        path = Path(source)
        if path.is_dir():
            next(path.iterdir(), None)
            return FOLDER
        if path.is_file():
            with path.open("rb"):
                return VIDEO
    except OSError as e:
        raise DataError(f"burst {source[:LETTERS_SHOWN]!r} cannot be read: {e.strerror or e}") from e
    if (source.isdecimal() and len(source) <= DIGITS_MOST) or "://" in source or source.startswith("/dev/"):
        return CAMERA
    raise DataNotFoundError(
        f"burst {source!r} does not exist: name a camera (0), a video, a folder of frames, or of such folders"
    )


def _places(folder: Path, count: int) -> list[tuple[Path, list[Path]]]:
    """The folder and its subfolders that contain pictures, each with its first pictures, and the folder's videos."""
    inside = sorted(folder.iterdir())
    places = [(place, _images(place)[:count]) for place in (folder, *(path for path in inside if path.is_dir()))]
    found = [(place, paths) for place, paths in places if paths]
    found += [(path, []) for path in inside if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    if not found:
        kinds = ", ".join((*sorted(IMAGE_SUFFIXES), *VIDEO_SUFFIXES))
        raise DataError(f"burst {str(folder)!r} has no frames, nor have the folders in it: {kinds} are looked for")
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
    noisy = _images(folder / NOISY)
    budget = FRAME_BYTES // max(LEAST_SHARES, len(noisy))
    scenes = []
    for path in noisy:
        if path.stem not in truths:
            raise DataError(f"burst {str(folder)!r}: {NOISY}/{path.name} has no mean in {CLEAN}/")
        read = [image for _, image in _of_files([path, truths[path.stem]], tell)]
        if len(read) < 2:
            continue
        frame, truth = read
        if frame.shape != truth.shape:
            raise DataError(f"burst {str(folder)!r}: {path.name} has {_size(frame)} pixels, its mean {_size(truth)}")
        window = _window(frame, FRAMES_PER_PAIR, budget, f"burst {str(folder)!r}: {path.name}")
        scenes.append(Scene(path.stem, frame[window][None].copy(), truth[window].astype(np.float32)))
    if not scenes:
        raise DataError(f"burst {str(folder)!r} has no frames in {NOISY}/")
    return scenes


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _of_video(source: str, count: int) -> Iterator[tuple[str, Frames]]:
    with Path(source).open("rb") as file:
        start = file.read(16)
    if _is_text(start):
        raise SceneError(f"burst {source!r} is a text, such as a playlist: name the video")
    video = cv2.VideoCapture(source)
    try:
        for number in range(count):
            there, frame = video.read()
            if not there:
                return
            yield f"frame {number + 1}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8)
    finally:
        video.release()


def _is_text(start: bytes) -> bool:
    """Whether a file is one, by its first bytes: those of a video hold numbers, but for streams of YUV4MPEG2."""
    if start.startswith((b"RIFF", b"YUV4MPEG2")) or not start:
        return False
    return start.startswith(PLAYLISTS) or all(byte >= ord(" ") or byte in b"\t\n\f\r" for byte in start)


def _of_camera(source: str, shown: str, count: int, tell: Tell) -> Iterator[tuple[str, Frames]]:
    camera = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    try:
        if not camera.isOpened():
            raise DataError(
                f"burst {shown!r}: this camera cannot be opened (is it connected, or is another program using it?)"
            )
        taken = bad = 0
        while taken < count + SETTLING_FRAMES:
            there, frame = camera.read()
            bad = 0 if there else bad + 1
            if bad > BAD_IN_A_ROW:
                tell(f"note: camera {shown} stopped after {counted(max(0, taken - SETTLING_FRAMES), 'frame')}")
                return
            if there:
                taken += 1
                if taken > SETTLING_FRAMES:
                    yield f"frame {taken - SETTLING_FRAMES}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.uint8)
    finally:
        camera.release()


def _has_pairs(folder: Path) -> bool:
    return (folder / NOISY).is_dir() and (folder / CLEAN).is_dir()


def _another(name: str, scenes: Sequence[Scene]) -> str:
    """An unused name for a scene."""
    taken, number, found = {scene.name for scene in scenes}, 1, name
    while found in taken:
        number += 1
        found = f"{name} {number}"
    return found


def _scene(name: str, frames: Iterator[tuple[str, Frames]], source: str, count: int, budget: int, tell: Tell) -> Scene:
    """Stack frames of one size; large frames are cut to their middle, so that `count` of them fit into `budget` bytes.

    Raises:
        SceneError: there are fewer than two frames, or they have different sizes or are too small.
    """
    kept: list[Frames] = []
    first, size, window = "", "", np.s_[:, :]
    for label, frame in frames:
        if not kept:
            first, size = label, _size(frame)
            window = _window(frame, count, budget, source)
            if frame[window].shape != frame.shape:
                tell(f"note: scene {name!r}: of {size} pixels only the middle, {_size(frame[window])}, is used")
        if _size(frame) != size:
            raise SceneError(f"{source}: frames of different sizes, {first} has {size} pixels, {label} {_size(frame)}")
        kept.append(frame[window].copy())
    if len(kept) < 2:
        reason = "" if kept else ", or is not a readable video or picture"
        raise SceneError(f"{source} has {len(kept) or 'no'} frame{'s' * (not kept)}{reason}: 2 are needed, 60 are best")
    return Scene(name, np.stack(kept))


def _window(frame: Frames, count: int, budget: int, source: str) -> tuple[slice, slice]:
    height, width = frame.shape[:2]
    if min(height, width) < 4 * PATCH:
        raise SceneError(
            f"{source}: frames of {width}x{height} pixels are too small, {4 * PATCH}x{4 * PATCH} are needed"
        )
    share = (budget / (count * frame.size)) ** 0.5
    if share >= 1:
        return np.s_[:, :]
    h, w = (max(4 * PATCH, int(side * share) // 8 * 8) for side in (height, width))
    y, x = (
        (height - h) // 32 * 16,
        (width - w) // 32 * 16,
    )  # so that JPEG blocks stay whole, also those of subsampled colors
    return np.s_[y : y + h, x : x + w]


def _size(image: Frames) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
