"""What becomes of an interrupted video whose finished part cannot be copied to its store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cae_runtime import VideoInterrupted
from cae_runtime.io.formats import VideoCoding
from cae_runtime.places.address import Address
from cae_runtime.places.reasons import StoreError
from cae_runtime.places.uploads import Upload
from cae_runtime.video.files import copies
from cae_runtime.video.results import CleanedVideo, VideoPartlyDone

pytest.importorskip("fsspec")


def refused(_: Upload) -> None:
    raise StoreError("the store answered 503")


@pytest.mark.parametrize("interrupted", [True, False])
def test_what_happened_is_kept_where_the_copy_fails(
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
