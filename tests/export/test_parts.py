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
from cae_runtime.tasks.anomaly import Detector, false_alarms
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
def test_an_exported_encoder_equals_torch(
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


@pytest.mark.slow
def test_an_encoder_of_gray_pictures_can_be_exported(model: Callable[..., Path]) -> None:
    report = export_part(model("vae", channels=1, latent=3), "encoder")
    assert (report.spec.channels, report.spec.color) == (1, "gray")
    encoder = Encoder(report.path)
    gray = cv2.cvtColor(picture(), cv2.COLOR_BGR2GRAY)
    np.testing.assert_allclose(encoder(picture()), encoder(gray), atol=1e-5)


@pytest.mark.slow
def test_an_exported_decoder_equals_torch(model: Callable[..., Path]) -> None:
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
def test_an_exported_detector_equals_torch(model: Callable[..., Path], good: Path) -> None:
    path = model("cae", code=16)
    report = export_part(path, "anomaly", false_alarms=0.2)
    spec = report.spec
    assert (spec.task, spec.overlap, spec.false_alarms) == ("anomaly", 16, 0.2)
    detector = Detector(report.path)
    loaded = load_model(path)
    pictures = good_pictures(loaded, None)
    network = Scores(loaded.network).fit(pictures.usual, pictures.numbers)
    image = cv2.resize(picture(), (75, 50), interpolation=cv2.INTER_CUBIC)
    found = detector(image)
    score, heat = thresholds.scored_by(network, image[..., ::-1], 16)
    assert found.score == pytest.approx(score, rel=1e-4)
    np.testing.assert_allclose(found.heat, heat, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("converted_once")
def test_each_good_picture_is_scored_by_statistics_of_the_others(model: Callable[..., Path]) -> None:
    report = export_part(model("cae", code=16), "anomaly", false_alarms=0.01)
    spec = report.spec
    assert (spec.threshold_images, len(spec.good_scores or ())) == (20, 20)
    assert "20 images of good" in spec.evaluated_on
    assert spec.threshold == pytest.approx(false_alarms.threshold_of(spec, 0.01))
    assert spec.threshold > (spec.good_scores or (0.0,))[-2]
    assert report.above == sum(score > spec.threshold for score in spec.good_scores or ())
    assert report.rates == false_alarms.share_interval(report.above or 0, 20)
    assert any("a rate of 0.01 is less than one of the 20 good pictures" in note for note in report.notes)


@pytest.mark.slow
@pytest.mark.usefixtures("converted_once")
def test_other_good_pictures_can_set_the_threshold(model: Callable[..., Path], good: Path, tmp_path: Path) -> None:
    """Forty that are named as data do so alone; too few of them together with those that were trained on."""
    others = tmp_path / "others"
    others.mkdir()
    rng = np.random.default_rng(5)
    for i in range(40):
        image = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (40, 40), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(others / f"{i:02}.png"), image)
    path = model("cae", code=16)
    report = export_part(path, "anomaly", data=str(others), false_alarms=0.1)
    assert report.notes == ()
    assert "40 images of others" in report.spec.evaluated_on
    detector = Detector(report.path)
    found = [detector(cv2.imread(str(path))) for path in sorted(others.iterdir())]
    assert sorted(each.score for each in found) == pytest.approx(report.spec.good_scores, rel=1e-5)
    assert report.above == sum(detection.anomaly for detection in found)
    above = np.concatenate([detection.heat.ravel() for detection in found]) > report.spec.threshold_pixel
    assert above.mean() == pytest.approx(0.001, abs=0.0005)
    for each in sorted(others.iterdir())[4:]:
        each.unlink()
    report = export_part(path, "anomaly", data=str(others), false_alarms=0.1, overwrite=True)
    assert "4 images of others and 18 of good" in report.spec.evaluated_on
    assert report.spec.threshold_images == 22


def test_the_number_of_good_pictures_is_that_of_the_scored_ones(
    model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cae_export.evaluation_data.FITTED_MAX", 10)
    assert good_pictures(load_model(model("cae", code=16)), None).source == "10 of 20 images of good"


@pytest.mark.slow
@pytest.mark.usefixtures("converted_once")
def test_copies_of_training_pictures_are_recognized_by_their_pixels(
    model: Callable[..., Path], good: Path, tmp_path: Path
) -> None:
    """Copies of them under other names and in another folder."""
    path = model("cae", code=16)
    others = tmp_path / "others"
    shutil.copytree(good, others)
    report = export_part(path, "anomaly", data=str(others), false_alarms=0.5)
    assert "2 images of others" in report.spec.evaluated_on, "18 of the 20 were trained on"
    shutil.rmtree(good)
    report = export_part(path, "anomaly", data=str(others), false_alarms=0.5, overwrite=True)
    assert "20 images of others" in report.spec.evaluated_on
    assert any("the given images are used instead" in note for note in report.notes)


def test_a_false_alarm_rate_too_low_for_the_number_of_pictures_is_refused() -> None:
    heat = np.ones((8, 8), np.float32)
    found = [thresholds.Seen(64, 1.0 + i / 9, heat.ravel(), 0.5) for i in range(10)]
    assert thresholds.thresholds_of(found, 0.02).images == 10
    with pytest.raises(
        RefusedError, match=r"a share of 0\.001 false alarms cannot be set: 10 good pictures allow 0\.02 to 0\.5"
    ):
        thresholds.thresholds_of(found, 0.001)
    with pytest.raises(
        RefusedError, match="2 good pictures are too few to say how much good pictures differ: 3 or more are"
    ):
        thresholds.thresholds_of(found[:2], 0.1)


@pytest.mark.slow
def test_a_part_that_differs_from_torch_is_refused(
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
        ("skip", "encoder", "skip has no encoder that is useful on its own: its skip connections bypass the code"),
        ("skip", "decoder", "skip has no decoder"),
        ("skip", "anomaly", "skip reproduces any picture"),
        ("cae", "decoder", "cae has no decoder that is useful on its own: its codes follow no known distribution"),
    ],
)
def test_parts_that_a_network_lacks_are_a_one_line_error(
    model: Callable[..., Path], arch: str, part: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        export_part(model(arch), part)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--part", "middle"], "--part is 'middle': choose encoder or decoder"),
        (["--part", "encoder", "--anomaly"], "cannot be combined"),
        (["--part", "encoder", "--int8"], "--part encoder takes no --int8"),
        (["--part", "encoder", "--false-alarms", "0.1"], "--part encoder takes no --false-alarms"),
        (["--false-alarms", "0.1"], "a model that restores takes no --false-alarms"),
        (["--anomaly", "--patch", "64"], "--anomaly takes no --patch"),
        (["--anomaly", "--false-alarms", "1"], "--false-alarms is 1.0: above 0 and below 1 is needed"),
        (["--anomaly", "--overlap", "32"], "--overlap is 32: 0 to 31 pixels are needed"),
    ],
)
def test_wrong_usage_is_a_one_line_error(
    cae_export: Command, model: Callable[..., Path], options: list[str], reason: str
) -> None:
    done = cae_export(model("cae", code=16), *options)
    assert done.returncode == 2
    assert reason in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_the_suggested_next_command_of_every_export_can_be_pasted(
    cae_export: Command, model: Callable[..., Path], good: Path, tmp_path: Path
) -> None:
    here = tmp_path / "my pictures"
    shutil.copytree(good, here / "photos")
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
def test_the_file_contains_nothing_about_this_machine(model: Callable[..., Path], tmp_path: Path) -> None:
    report = export_part(model("vae", latent=12), "anomaly")
    content = report.path.read_bytes()
    assert str(tmp_path).encode() not in content
    assert b"/site-packages/" not in content
    assert Session(report.path).spec == report.spec
