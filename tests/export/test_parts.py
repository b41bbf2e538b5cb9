"""Encoders, decoders and detectors: from `model.pt` through the proof to the runtime, with the real commands."""

from __future__ import annotations

import copy
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from tests.export.conftest import Command
from tests.in_process import run_here, text_of

from cae_export import RefusedError, UsageError, export_part, parts
from cae_export.detector import thresholds
from cae_export.detector.scores import Scores
from cae_export.evaluation_data import good_pictures
from cae_runtime import Session
from cae_runtime.tasks.anomaly import Detector
from cae_runtime.tasks.encode import Encoder
from cae_runtime.tasks.generate import Generator
from cae_train import TrainConfig
from cae_train.checkpoint import load_model, save_model
from cae_train.models import build


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Twenty smooth pictures of 48x40."""
    folder = tmp_path / "good"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for i in range(20):
        image = cv2.resize(rng.integers(60, 190, (4, 4, 3), np.uint8), (48, 40), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{i:02}.png"), image)
    return folder


@pytest.fixture
def model(tmp_path: Path, good: Path) -> Callable[..., Path]:
    """Write a `model.pt` with fresh weights."""

    def make(arch: str, channels: int = 3, **options: object) -> Path:
        torch.manual_seed(1)
        network = build(arch, options, channels).eval()
        config = TrainConfig(data=(str(good),), arch=arch, model=options, degrade=("gaussian:25",), channels=channels)
        path = tmp_path / f"{arch}.pt"
        save_model(path, network, config, {})
        return path

    return make


@pytest.fixture
def converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert each detector of these tests once: what they are about comes after that."""

    def once(network: Scores, *args: object, **options: object) -> onnx.ModelProto:
        usual = network.pixels.mean.numpy().tobytes()
        if usual not in GRAPHS:
            GRAPHS[usual] = original(network, *args, **options)
        return copy.deepcopy(GRAPHS[usual])

    original = parts.convert  # type: ignore[attr-defined]
    monkeypatch.setattr(parts, "convert", once)


GRAPHS: dict[bytes, onnx.ModelProto] = {}


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1]).transpose(2, 0, 1).astype(np.float32) / 255)[None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "options", "shape"),
    [
        ("cae", {"code": 16}, (16, 4, 4)),
        ("stacked", {"code": 16}, (16, 4, 4)),
        ("vae", {"latent": 12}, (12,)),
        ("vgg16", {"layers": 4, "pretrained": False}, (128, 16, 16)),
    ],
)
def test_an_encoder_gives_what_torch_gives(
    model: Callable[..., Path], arch: str, options: dict[str, object], shape: tuple[int, ...]
) -> None:
    path = model(arch, **options)
    report = export_part(str(path), "encoder")
    assert report.path == path.with_name(f"{arch}-encoder.onnx")
    assert [row.batch for row in report.parity] == [1, 2, 7, 64]
    encoder = Encoder(report.path)
    assert (encoder.session.spec.task, encoder.session.code_shape) == ("encode", shape)
    with torch.inference_mode():
        code = load_model(path).network.part("encoder")(as_tensor(picture())).numpy()
    _, codes = encoder.patches(picture())
    scale = float(np.abs(code).max())
    np.testing.assert_allclose(codes, code.reshape(1, -1), atol=1e-4 * scale)
    pooled = code.reshape(code.shape[1], -1).mean(1)
    np.testing.assert_allclose(encoder(picture()), pooled, atol=1e-4 * scale)


def test_an_encoder_of_gray_pictures(model: Callable[..., Path]) -> None:
    report = export_part(model("vae", channels=1, latent=3), "encoder")
    assert (report.spec.channels, report.spec.color) == (1, "gray")
    encoder = Encoder(report.path)
    gray = cv2.cvtColor(picture(), cv2.COLOR_BGR2GRAY)
    np.testing.assert_allclose(encoder(picture()), encoder(gray), atol=1e-5)


def test_a_decoder_makes_what_torch_makes(model: Callable[..., Path]) -> None:
    path = model("vae", latent=12)
    report = export_part(path, "decoder")
    generator = Generator(report.path)
    codes = generator.draw(3, seed=5)
    with torch.inference_mode():
        made = load_model(path).network.part("decoder")(torch.from_numpy(codes)).numpy()
    pictures = np.stack(list(generator(codes)))[..., ::-1].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(pictures / 255, made, atol=0.6 / 255)


@pytest.mark.slow
@pytest.mark.usefixtures("converted_once")
def test_a_detector_scores_what_torch_scores(model: Callable[..., Path], good: Path) -> None:
    path = model("cae", code=16)
    report = export_part(path, "anomaly", false_alarms=0.5)
    spec = report.spec
    assert (spec.task, spec.overlap, spec.false_alarms) == ("anomaly", 16, 0.5)
    detector = Detector(report.path)
    loaded = load_model(path)
    with torch.inference_mode():
        scores = Scores(loaded.network).fit(good_pictures(loaded, None).usual)(as_tensor(picture()))
    found = detector(picture())
    assert found.score == pytest.approx(float(scores.mean()), rel=1e-4)
    np.testing.assert_allclose(found.heat, scores[0, 0].numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("converted_once")
def test_the_threshold_has_the_rate_of_false_alarms_that_it_states(
    model: Callable[..., Path], good: Path, tmp_path: Path
) -> None:
    """On other good pictures, named with --data, exactly so many score higher."""
    others = tmp_path / "others"
    others.mkdir()
    rng = np.random.default_rng(5)
    for i in range(40):
        image = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (40, 40), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(others / f"{i:02}.png"), image)
    report = export_part(model("cae", code=16), "anomaly", data=str(others), false_alarms=0.1)
    assert report.notes == ()
    assert "40 images of others" in report.spec.evaluated_on
    detector = Detector(report.path)
    found = [detector(cv2.imread(str(path))) for path in sorted(others.iterdir())]
    assert sum(detection.anomaly for detection in found) in (3, 4)
    assert report.above == sum(detection.anomaly for detection in found)
    assert report.rates == pytest.approx(thresholds.rates_beyond(40, sum(detection.anomaly for detection in found)))
    above = np.concatenate([detection.heat.ravel() for detection in found]) > report.spec.threshold_pixel
    assert above.mean() == pytest.approx(0.001, abs=0.0005)


@pytest.mark.slow
@pytest.mark.usefixtures("converted_once")
def test_pictures_that_were_trained_on_do_not_set_the_threshold(
    model: Callable[..., Path], good: Path, tmp_path: Path
) -> None:
    """Copies of them under other names and in another folder are told by their pixels."""
    path = model("cae", code=16)
    others = tmp_path / "others"
    shutil.copytree(good, others)
    report = export_part(path, "anomaly", data=str(others), false_alarms=0.5)
    assert "2 images of others" in report.spec.evaluated_on, "18 of the 20 were trained on"
    shutil.rmtree(good)
    report = export_part(path, "anomaly", data=str(others), false_alarms=0.5, overwrite=True)
    assert "10 images of others" in report.spec.evaluated_on
    assert any("10 of the images named as data stand in" in note for note in report.notes)


@pytest.mark.parametrize(("count", "above"), [(20, 0), (20, 1), (200, 10)])
def test_the_range_of_rates_is_that_of_fresh_pictures(count: int, above: int) -> None:
    """Thresholds set by so many of uniform values, again and again: nine in ten have a rate between the two."""
    low, high = thresholds.rates_beyond(count, above)
    values = np.sort(np.random.default_rng(0).random((4000, count)), axis=1)
    rates = 1 - values[:, -1 - above]
    assert np.mean(rates < low) == pytest.approx(0.05, abs=0.015)
    assert np.mean(rates > high) == pytest.approx(0.05, abs=0.015)


@pytest.mark.usefixtures("converted_once")
def test_too_few_good_pictures_are_told(model: Callable[..., Path]) -> None:
    report = export_part(model("cae", code=16), "anomaly", false_alarms=0.01)
    assert "2 held-out images of good" in report.spec.evaluated_on
    assert report.notes
    assert "2 good pictures are too few for a rate of 0.01" in report.notes[0]


@pytest.mark.slow
def test_a_file_that_differs_is_refused(
    model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def spoilt(*args: object, **options: object) -> onnx.ModelProto:
        graph = original(*args, **options)
        for weight in graph.graph.initializer:
            if len(weight.dims) > 1:
                values = onnx.numpy_helper.to_array(weight) * np.float32(1.5)
                weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return graph

    path = model("vae", latent=12)
    before = sorted(tmp_path.iterdir())
    original = parts.convert  # type: ignore[attr-defined]
    monkeypatch.setattr(parts, "convert", spoilt)
    with pytest.raises(RefusedError, match="refused: at batch 1 the file differs from the trained network"):
        export_part(path, "decoder")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arch", "part", "reason"),
    [
        ("skip", "encoder", "skip has no encoder that is of use alone: its picture does not go through a code"),
        ("skip", "decoder", "skip has no decoder"),
        ("skip", "anomaly", "skip gives back whatever it is shown"),
        ("cae", "decoder", "cae has no decoder that is of use alone: its codes follow no known distribution"),
    ],
)
def test_what_a_network_cannot_do_is_one_line(model: Callable[..., Path], arch: str, part: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        export_part(model(arch), part)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--part", "middle"], "--part is 'middle': choose encoder or decoder"),
        (["--part", "encoder", "--anomaly"], "exclude each other"),
        (["--part", "encoder", "--int8"], "--part encoder takes no --int8"),
        (["--part", "encoder", "--false-alarms", "0.1"], "--part encoder takes no --false-alarms"),
        (["--false-alarms", "0.1"], "a model that restores takes no --false-alarms"),
        (["--anomaly", "--patch", "64"], "--anomaly takes no --patch"),
        (["--anomaly", "--false-alarms", "1"], "--false-alarms is 1.0: above 0 and below 1 is needed"),
        (["--anomaly", "--overlap", "32"], "--overlap is 32: 0 to 31 pixels are needed"),
    ],
)
def test_wrong_usage_is_one_line(
    cae_export: Command, model: Callable[..., Path], options: list[str], reason: str
) -> None:
    done = cae_export(model("cae", code=16), *options)
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_next_line_of_every_export_can_be_pasted(
    cae_export: Command, model: Callable[..., Path], good: Path, tmp_path: Path
) -> None:
    here = tmp_path / "my pictures"
    for folder in ("photos", "parts"):
        shutil.copytree(good, here / folder)
    (here / "masks").mkdir()
    for picture in good.iterdir():
        cv2.imwrite(str(here / "masks" / picture.name), np.eye(40, 48, dtype=np.uint8) * 255)
    holes = torch.load(model("cae", code=16), weights_only=True)
    holes["config"]["degrade"] = ["mask:0.2"]
    torch.save(holes, here / "holes.pt")
    vae = shutil.copy(model("vae", latent=12), here / "vae.pt")
    made = {}
    for file, options in (
        (here / "holes.pt", []),
        (vae, ["--part", "encoder"]),
        (vae, ["--part", "decoder"]),
        (vae, ["--anomaly"]),
    ):
        done = cae_export(file, *options)
        assert (done.returncode, "largest difference" in done.stdout) == (0, True), done.stderr
        _, program, *words = shlex.split(done.stderr.splitlines()[-1])
        assert program == "cae-run"
        done = text_of(run_here("cae_runtime", [*words, "--json"], cwd=here))
        assert done.returncode == 0, done.stderr
        made[" ".join((Path(file).stem, *options))] = json.loads(done.stdout)
    assert len(made["holes"]["files"]) == len(made["vae --anomaly"]["files"]) == 20
    assert (made["vae --part encoder"]["rows"], made["vae --part encoder"]["features"]) == (20, 12)
    assert len(made["vae --part decoder"]["files"]) == 64


@pytest.mark.slow
def test_nothing_about_this_machine_is_in_the_file(model: Callable[..., Path], tmp_path: Path) -> None:
    report = export_part(model("vae", latent=12), "anomaly")
    content = report.path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"/site-packages/" not in content
    assert Session(report.path).spec == report.spec
