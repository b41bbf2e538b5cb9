"""The library gives the same results as the commands, with the same defaults, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.runtime.conftest import FIXTURES, Command

from cae_runtime import (
    FileResult,
    ImageError,
    Inpainter,
    Restorer,
    Session,
    UsageError,
    VideoError,
    clean_folder,
    clean_image,
    clean_video,
)

Noise = Callable[..., np.ndarray]
BLUR = FIXTURES / "blur.onnx"


@pytest.mark.parametrize("shape", [(70, 90, 3), (70, 90), (70, 90, 4)])
def test_images_equal_those_of_the_command(
    cae_run: Command, noise: Noise, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    image = noise(shape, np.uint16)
    cv2.imwrite(str(tmp_path / "in.png"), image)
    assert cae_run(tmp_path / "in.png", "-o", tmp_path / "out.png", "--strength", "0.7", model="blur").returncode == 0
    written = cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(Restorer(BLUR)(image, strength=0.7), written)


def test_files_and_folders_equal_those_of_the_command(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "deeper").mkdir(parents=True)
    cv2.imwrite(str(source / "a.png"), noise((40, 50, 3), np.uint16))
    cv2.imwrite(str(source / "deeper" / "b.jpg"), noise((33, 40, 3)))
    (source / "broken.png").write_bytes(b"x")
    assert cae_run(source, "-o", tmp_path / "out", "--strength", "0.7", model="blur").returncode == 1
    told: list[FileResult] = []
    with Restorer(BLUR, color="rgb") as restorer:
        results = clean_folder(source, str(tmp_path / "folder"), restorer, strength=0.7, on_result=told.append)
        assert told == results
        assert [(Path(result.source).name, result.status) for result in results] == [
            ("a.png", "done"),
            ("broken.png", "failed"),
            ("b.jpg", "done"),
        ]
        again = clean_folder(source, tmp_path / "folder", restorer)
        assert [result.status for result in again] == ["skipped", "failed", "skipped"]
    for name in ("a.png", "deeper/b.jpg"):
        written = (tmp_path / "out" / name).read_bytes()
        assert (tmp_path / "folder" / name).read_bytes() == written
        result = clean_image(str(source / name), tmp_path / "one" / name, BLUR, strength=0.7)
        assert (tmp_path / "one" / name).read_bytes() == written
        assert (result.status, result.lossy) == ("done", name.endswith("jpg"))


@pytest.mark.parametrize(
    ("call", "reason", "error"),
    [
        (lambda: clean_image("missing.png", "out.png"), "image 'missing.png' does not exist", FileNotFoundError),
        (lambda: clean_image(__file__, "out.png"), "is not a JPEG", ImageError),
        (lambda: clean_image(__file__, "out.gif"), "must end in one of .jpg", ValueError),
        (lambda: clean_image(__file__, "out.png", quality=0), "quality is 0: it must be 1..100", ValueError),
        (lambda: clean_image(__file__, "out.png", 3), "restorer is 3: it must be a Restorer", TypeError),
        (lambda: clean_folder("missing", "out"), "'missing' is not an existing folder", ValueError),
        (lambda: clean_folder(FIXTURES, "out", ext="gif"), "ext is 'gif': it must be one of jpg", ValueError),
        (lambda: clean_folder(FIXTURES, "out", suffix="a/b"), "suffix is 'a/b': it must be part of", ValueError),
    ],
)
def test_files_that_cannot_be_cleaned_are_named(
    call: Callable[[], object], reason: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=reason):
        call()
    assert not list(tmp_path.iterdir())


def test_filled_holes_equal_those_of_the_command(cae_run: Command, noise: Noise, tmp_path: Path) -> None:
    image, mask = noise((70, 90, 3)), np.zeros((70, 90), np.uint8)
    cv2.line(mask, (5, 10), (80, 60), 255, 9)
    cv2.imwrite(str(tmp_path / "in.png"), image)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    model = FIXTURES / "fill.onnx"
    done = cae_run(tmp_path / "in.png", "-o", tmp_path / "out.png", "--mask", tmp_path / "mask.png", model=model)
    assert done.returncode == 0
    written = cv2.imread(str(tmp_path / "out.png"))
    with Restorer(model) as restorer, Inpainter(model, overlap=restorer.overlap) as as_before:
        for inpainter in (Inpainter(model), Inpainter(restorer), Inpainter(restorer.session)):
            assert inpainter.restorer.overlap == 16 != as_before.restorer.overlap
            for drawn in (mask, mask > 0, mask // 255, mask[..., None], (mask // 255).astype(np.int64)):
                np.testing.assert_array_equal(inpainter(image, drawn), written)
        turned = Inpainter(model, color="rgb")(np.ascontiguousarray(image[..., ::-1]), mask)
        np.testing.assert_array_equal(turned[..., ::-1], written)
        with pytest.raises(UsageError, match="an Inpainter made from a Restorer takes no other arguments"):
            Inpainter(restorer, overlap=3)


@pytest.mark.parametrize(
    ("mask", "reason", "error"),
    [
        (np.zeros((40, 40), np.float32), "the mask's dtype is float32: it must be bool, uint8, uint16", TypeError),
        (None, "the mask is a NoneType", TypeError),
        (np.zeros((40, 40, 3), np.uint8), r"the mask's shape is \(40, 40, 3\)", ValueError),
        (np.full((40, 40), 7, np.int32), "the mask is of int32, with values of 7..7: ", ValueError),
        (np.eye(40, dtype=np.int64) - 1, "the mask is of int64, with values of -1..0: ", ValueError),
        (np.zeros((9, 40), np.uint8), "the image has 40x40 pixels, its mask 40x9", ValueError),
        (np.ones((40, 40), np.uint8), "the image cannot be filled: its mask covers all of it", ValueError),
    ],
)
def test_an_array_that_is_not_a_mask_is_refused(mask: Any, reason: str, error: type[Exception]) -> None:
    with Inpainter(FIXTURES / "fill.onnx") as inpainter, pytest.raises(error, match=reason):
        inpainter(np.zeros((40, 40, 3), np.uint8), mask)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [((), {}), (("--no-temporal", "--strength", "0.5"), {"temporal": False, "strength": 0.5})],
)
def test_videos_equal_those_of_the_command(
    cae_run: Command, tmp_path: Path, options: tuple[str, ...], arguments: dict[str, Any]
) -> None:
    pytest.importorskip("av")
    from tests.runtime.clips import look_into, make_clip

    clip = make_clip(tmp_path / "in.mp4", frames=6, noise=20, options={"crf": "5"})
    # VP9: x264 does not make the same of the same frames each time, not even in one thread.
    assert cae_run(clip, "-o", tmp_path / "out.webm", "--crf", "3", *options, model="blur").returncode == 0
    written = look_into(tmp_path / "out.webm").frames
    with Session(BLUR) as session:
        for number, model in enumerate((str(BLUR), session, Restorer(session), Restorer(session, color="rgb"))):
            output = str(tmp_path / f"{number}.webm")
            assert clean_video(str(clip), output, model, crf=3, **arguments).frames == 6
            np.testing.assert_array_equal(look_into(Path(output)).frames, written)


def test_a_video_is_cleaned_by_a_function_or_the_default_model(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.runtime.clips import look_into, make_clip

    clip = make_clip(tmp_path / "in.mp4", frames=3, noise=20, options={"crf": "5"})
    before = look_into(clip).frames

    def seen(temporal: bool | None) -> list[np.ndarray]:
        frames: list[np.ndarray] = []
        clean_video(clip, tmp_path / "x.mp4", lambda frame: (frames.append(frame), frame)[1], temporal=temporal)
        return frames

    np.testing.assert_array_equal(seen(None), seen(False))  # a function is given the frames as they are
    assert np.std(seen(True)[2]) < np.std(seen(None)[2])
    clean_video(clip, tmp_path / "clean.webm", crf=3)
    clean_video(clip, tmp_path / "named.webm", "denoise", crf=3)
    cleaned = look_into(tmp_path / "clean.webm").frames
    np.testing.assert_array_equal(cleaned, look_into(tmp_path / "named.webm").frames)
    assert np.std(cleaned) < np.std(before) - 1


@pytest.mark.parametrize(
    ("source", "output", "arguments", "reason", "error"),
    [
        (
            "in.mp4",
            "out.gif",
            {},
            "output 'out.gif': its ending is not that of a video format: choose among .mp4",
            ValueError,
        ),
        ("none.mp4", "out.mp4", {}, "video 'none.mp4' does not exist", FileNotFoundError),
        ("in.mp4", "out.mp4", {}, r"video 'in.mp4' is not a supported video \(MP4", VideoError),
        (None, "out.mp4", {}, "source is None: it must be a str or an os.PathLike", TypeError),
        ("in.mp4", b"out.mp4", {}, "output is b'out.mp4': it must be a str or an os.PathLike", TypeError),
        ("in.mp4", "in.mp4", {}, "output 'in.mp4' is the source", ValueError),
        (
            "in.mp4",
            "o.webm",
            {"codec": "h264"},
            "codec is 'h264': output 'o.webm' is WebM, which takes vp9",
            ValueError,
        ),
        ("in.mp4", "out.mp4", {"crf": 52}, "crf is 52: it must be 0..51", ValueError),
        ("in.mp4", "out.mp4", {"crf": "1"}, "crf is '1': it must be a whole number", TypeError),
        ("in.mp4", "out.mp4", {"temporal": "no"}, "temporal is 'no': it must be True or False", TypeError),
        ("in.mp4", "out.mp4", {"strength": 2}, "strength is 2.0: it must be 0..1", ValueError),
        (
            "in.mp4",
            "out.mp4",
            {"restorer": 3},
            "restorer is 3: it must be a Restorer, a model, or a function",
            TypeError,
        ),
        ("in.mp4", "out.mp4", {"restorer": "nope"}, "'nope' is neither a file nor", FileNotFoundError),
    ],
)
def test_unsuitable_arguments_of_clean_video_are_refused(
    source: Any, output: Any, arguments: dict[str, Any], reason: str, error: type[Exception],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("av")
    (tmp_path / "in.mp4").write_bytes(b"no film")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=reason):
        clean_video(source, output, **{"restorer": lambda frame: frame, **arguments})
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_function_that_returns_no_frame_gets_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from tests.runtime.clips import make_clip

    clip = make_clip(tmp_path / "in.mp4", frames=2)
    for function, given in ((lambda frame: None, "a NoneType"), (lambda frame: frame[..., 0], "uint8 of shape")):
        with pytest.raises(TypeError, match=f"the function returned {given}"):
            clean_video(clip, tmp_path / "out.mp4", function)  # type: ignore[arg-type]
    assert not (tmp_path / "out.mp4").exists()
