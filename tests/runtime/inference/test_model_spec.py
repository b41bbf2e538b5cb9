from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cae_runtime import ModelError, ModelSpec

SPEC = ModelSpec(architecture="skip", degradation="gaussian:0-55", psnr_in=20.2, psnr_out=31.0, evaluated_on="CBSD68")

decibels = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    patch = draw(st.integers(8, 1024))
    channels = draw(st.sampled_from([1, 3]))
    task = draw(st.sampled_from(["restore", "inpaint", "encode", "anomaly", "generate"]))
    above_zero = st.floats(min_value=1e-12, max_value=1e12)
    thresholds = above_zero if task == "anomaly" else st.none()
    return ModelSpec(
        task=task,
        architecture=draw(st.text()),
        patch=patch,
        channels=channels,
        overlap=draw(st.integers(0, patch - 1)),
        color={1: "gray", 3: "rgb"}[channels],
        dtype=draw(st.sampled_from(["float32", "float16"])),
        degradation=draw(st.text()),
        precision=draw(st.sampled_from(["fp32", "int8", "fp16"])),
        psnr_in=draw(decibels),
        psnr_out=draw(decibels),
        threshold=draw(thresholds),
        threshold_pixel=draw(thresholds),
        false_alarms=draw(st.floats(min_value=1e-6, max_value=0.999) if task == "anomaly" else st.none()),
        threshold_size=draw(st.integers(1, 2**28) if task == "anomaly" else st.none()),
        threshold_images=draw(st.integers(1, 2**28) if task == "anomaly" else st.none()),
        fill=tuple(draw(st.floats(0, 1)) for _ in range(channels)) if task == "inpaint" else None,
        sigma_min=draw(st.none() | st.floats(0, 255)),
        evaluated_on=draw(st.text()),
        version=draw(st.text()),
        license=draw(st.text()),
        framed=draw(st.none() | st.integers(1, (patch - 1) // 2).map(lambda margin: patch - 2 * margin)),
    )


@given(specs())
def test_metadata_survives_writing_and_reading(spec: ModelSpec) -> None:
    metadata = spec.to_metadata()
    assert all(isinstance(text, str) for pair in metadata.items() for text in pair)
    assert ModelSpec.from_metadata(metadata | {"foreign": "key"}) == spec


def test_the_metadata_keys_are_those_of_the_format() -> None:
    assert list(ModelSpec(architecture="cae", psnr_in=1, psnr_out=2, threshold=3).to_metadata()) == [
        *("schema", "task", "architecture", "patch", "channels", "overlap", "color", "range", "layout", "dtype"),
        *("degradation", "precision", "psnr_in", "psnr_out", "evaluated_on", "version", "license", "threshold"),
    ]
    assert SPEC.to_metadata()["schema"] == "2"
    assert "threshold" not in SPEC.to_metadata()
    assert SPEC.to_metadata()["license"] == ""  # a license that nobody named is not made up


@pytest.mark.parametrize("key", sorted(SPEC.to_metadata().keys() - {"psnr_in", "psnr_out"}))
def test_a_missing_key_is_named(key: str) -> None:
    metadata = SPEC.to_metadata()
    del metadata[key]
    with pytest.raises(ModelError, match=repr(key)):
        ModelSpec.from_metadata(metadata)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "3"),
        ("task", "upscale"),
        ("patch", "7"),
        ("patch", "1025"),
        ("patch", "thirty-two"),
        ("patch", "3_2"),
        ("patch", " 32 "),
        ("patch", "+32"),
        ("patch", "\u0663\u0662"),  # digits of another script
        ("patch", "3" * 5000),
        ("psnr_in", "3_0.5"),
        ("psnr_in", " 30.5"),
        ("psnr_in", "inf"),
        ("psnr_in", "0x1p5"),
        ("channels", "4"),
        ("channels", "1"),  # with color rgb
        ("overlap", "32"),
        ("overlap", "-1"),
        ("color", "bgr"),
        ("range", "0..255"),
        ("layout", "chwn"),
        ("dtype", "float64"),
        ("precision", "int4"),
        ("psnr_in", "loud"),
        ("psnr_out", "nan"),
        ("sigma_min", "little"),
        ("framed", "27"),
        ("framed", "32"),
        ("framed", "0"),
    ],
)
def test_a_bad_value_is_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(ModelError, match="schema|color|" + key):
        ModelSpec.from_metadata(SPEC.to_metadata() | {key: value})


@pytest.mark.parametrize("fill", [None, "1.0,0.0", "1.0,0.0,2.0", "1.0,,0.0"])
def test_an_inpainting_model_states_how_holes_are_marked(fill: str | None) -> None:
    metadata = SPEC.to_metadata() | {"task": "inpaint"} | ({} if fill is None else {"fill": fill})
    with pytest.raises(ModelError, match="metadata fill is"):
        ModelSpec.from_metadata(metadata)
    spec = ModelSpec.from_metadata(metadata | {"fill": "1.0,0.0,0.5"})
    assert spec.fill == (1.0, 0.0, 0.5)
    assert spec.restores


@pytest.mark.parametrize(
    ("degradation", "task", "fill"),
    [
        ("mask:0.1-0.3", "inpaint", (1.0, 0.0, 1.0)),
        ("gaussian:25 mask:0.2,mask:0.4", "inpaint", (1.0, 0.0, 1.0)),
        ("mask:0.2 gaussian:25", "restore", None),
        ("gaussian:0-55", "restore", None),
    ],
)
def test_files_of_schema_1_still_state_their_task(degradation: str, task: str, fill: tuple[float, ...] | None) -> None:
    spec = ModelSpec.from_metadata(SPEC.to_metadata() | {"schema": "1", "degradation": degradation})
    assert (spec.task, spec.fill) == (task, fill)


@pytest.mark.parametrize("images", [1, 2, 10**17])
def test_scores_of_good_pictures_are_refused_without_as_many_pictures(images: int) -> None:
    """A threshold could not be set from them, or the interval of a share would take for ever."""
    with pytest.raises(ModelError, match=f"threshold_images is {images}: it must be 3..10000000 with 3 good_scores"):
        ModelSpec(
            architecture="cae", task="anomaly", threshold=1, threshold_pixel=1, false_alarms=0.05, threshold_size=1024,
            threshold_images=images, good_scores=(1.0, 2.0, 3.0),
        )  # fmt: skip
