"""Cleans videos in stores: downloads them to a temporary folder, cleans them there, and uploads the results."""

from __future__ import annotations

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from cae_runtime.errors import UsageError, VideoError, VideoNotFoundError
from cae_runtime.io.formats import VideoCoding
from cae_runtime.places.address import Address, Place
from cae_runtime.places.copies import local_copy
from cae_runtime.places.uploads import Upload
from cae_runtime.video.files.transcode import Clean, OnWritten, transcode
from cae_runtime.video.results import CleanedVideo, VideoInterrupted, VideoPartlyDone, partial_of
from cae_shared.temporary import temporary_folder

_Transcode = Callable[[Path, OnWritten | None], CleanedVideo]


def transcode_any(
    source: Place,
    output: Place,
    clean: Clean,
    coding: VideoCoding,
    on_frame: Callable[[int, int | None], None] | None = None,
    on_written: OnWritten | None = None,
) -> CleanedVideo:
    """Like `transcode`, but source and output may also be in stores.

    An output appears in its store when the upload is complete; Ctrl-C during the upload leaves nothing of it.

    Raises:
        UsageError, VideoError, VideoInterrupted: see `transcode`; messages are written to follow the source's name.
        VideoError: a download or an upload failed.
    """
    if isinstance(source, Address) and isinstance(output, Address) and source.identity == output.identity:
        raise UsageError(f"output {str(output)!r} is the source: choose another name")
    with ExitStack() as stack:
        try:
            here = stack.enter_context(local_copy(source))
        except OSError as e:
            kind = VideoNotFoundError if e.errno == errno.ENOENT else VideoError
            raise kind(f"cannot be read: {e.strerror}") from e

        def work(result: Path, written: OnWritten | None) -> CleanedVideo:
            return transcode(here, result, clean, coding, on_frame, written)

        if isinstance(output, Path):
            return work(output, on_written)
        folder = stack.enter_context(temporary_folder("cae-video-"))
        return _copied_out(work, folder / f"result{output.suffix}", source, output, on_written)


def _copied_out(
    work: _Transcode, result: Path, source: Place, output: Address, on_written: OnWritten | None
) -> CleanedVideo:
    """Write a video to a local file, and upload it to a store; a partial video too."""

    def arrived(cleaned: CleanedVideo, partly: VideoPartlyDone | None) -> None:
        if on_written is not None:
            on_written(cleaned, partly)

    try:
        cleaned = work(result, None)
    except (VideoPartlyDone, VideoInterrupted) as e:
        partly = e.partly if isinstance(e, VideoInterrupted) else e
        there = partial_of(output)
        while isinstance(source, Address) and there.identity == source.identity:
            there = there.with_suffix(f".partial{there.suffix}")
        told = VideoPartlyDone(partly.reason, partly.cleaned, there)
        try:
            _copy(Path(str(partly.partial)), there, partial(arrived, partly.cleaned, told))
        except VideoError as failed:
            told = VideoPartlyDone(partly.reason, partly.cleaned, there, str(failed))
        raise (VideoInterrupted(told) if isinstance(e, VideoInterrupted) else told) from None
    _copy(result, output, partial(arrived, cleaned, None))
    return cleaned


def _copy(path: Path, output: Address, arrived: Callable[[], None]) -> None:
    """Upload a file to a store in another thread, so that Ctrl-C can stop it in an orderly way.

    Raises:
        VideoError: the file cannot be written.
        KeyboardInterrupt: the upload was interrupted.
    """
    upload = Upload(path, output)

    def work() -> None:
        upload.run()
        arrived()

    with ThreadPoolExecutor(1, "cae-upload") as pool:
        copying = pool.submit(work)
        try:
            copying.result()
        except OSError as e:
            raise VideoError(f"cannot be written to {str(output)!r}: {e.strerror}") from e
        except KeyboardInterrupt:
            upload.stop()
            raise
