"""Large files that cannot be uploaded to their store, and interrupted videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cae_runtime import VideoInterrupted
from cae_runtime.io.formats import VideoCoding
from cae_runtime.places import uploads
from cae_runtime.places.address import Address
from cae_runtime.places.reasons import StoreError
from cae_runtime.places.uploads import Upload
from cae_runtime.video.files import copies
from cae_runtime.video.results import CleanedVideo, VideoPartlyDone

pytest.importorskip("fsspec")


def refused(_: Upload) -> None:
    raise StoreError("the store answered 503")


@pytest.mark.parametrize("interrupted", [True, False])
def test_the_local_result_is_kept_if_the_upload_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    partly = VideoPartlyDone("was interrupted", CleanedVideo(1, 1, 3, 0, ()), tmp_path / "result.partial.mp4")
    (tmp_path / "clip.mp4").write_bytes(b"a video")

    def ended(*_: Any) -> CleanedVideo:
        raise VideoInterrupted(partly) if interrupted else partly

    monkeypatch.setattr(copies, "transcode", ended)
    monkeypatch.setattr(Upload, "run", refused)
    with pytest.raises(VideoInterrupted if interrupted else VideoPartlyDone) as caught:
        copies.transcode_any(
            tmp_path / "clip.mp4", Address("memory", "", "out/clip.mp4"), lambda frame: frame, VideoCoding()
        )
    told = caught.value.partly if isinstance(caught.value, VideoInterrupted) else caught.value
    assert str(told) == (
        "was interrupted: the 3 frames that are done cannot be written to 'memory://out/clip.partial.mp4': the store "
        "answered 503"
    )


def test_a_failed_upload_is_never_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem
    from fsspec.spec import AbstractBufferedFile

    sent: list[tuple[int, bool]] = []

    class File(AbstractBufferedFile):  # as that of adlfs: it discards nothing, and its last block makes the file
        def _initiate_upload(self) -> None: ...

        def _upload_chunk(self, final: bool = False) -> None:
            sent.append((self.buffer.tell(), final))
            if len(sent) == 2:
                raise RuntimeError("Failed to upload block")

    class Store(MemoryFileSystem):
        cachable = False

        def _open(self, path: str, mode: str, block_size: int, autocommit: bool, **_: object) -> File:
            return File(self, path, mode, block_size, autocommit)

    store = Store()
    monkeypatch.setattr(uploads, "system_of", lambda _: store)
    monkeypatch.setattr(uploads, "_PART_BYTES", 10)
    monkeypatch.setattr(uploads, "_WHOLE_MAX", 20)
    (tmp_path / "large.mp4").write_bytes(bytes(35))
    upload = Upload(tmp_path / "large.mp4", Address("az", "container", "large.mp4"))
    with pytest.raises(StoreError, match="Failed to upload block"):
        upload.run()
    assert upload._target.closed
    assert not store.transaction.files, "a file that is kept there would be closed again"
    assert sent == [(10, False), (10, False)]
    sent += [(0, False)]
    upload.run()
    assert sent[3:] == [(10, False), (10, False), (10, False), (5, True)]
