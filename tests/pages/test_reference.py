"""Report keys, formats and codecs of the code are documented."""

from __future__ import annotations

from dataclasses import fields

import pytest
from tests.benchmarks.running import scale
from tests.pages.documented import ROOT, pages

from cae_runtime.inference.model_spec import SCHEMA_KEY, ModelSpec
from cae_runtime.io.formats import CODECS, CODECS_OF_FORMAT, CRF_MAX, FORMAT_OF_SUFFIX, MATROSKA
from cae_runtime.jobs.restore.results import FileResult
from cae_runtime.video.writer import DEFAULT_CRF

LINES = [
    line for page in pages() if page.name != "CHANGELOG.md" for line in page.read_text(encoding="utf-8").splitlines()
]


def row_of(first: str) -> str:
    (row,) = [line for line in LINES if line.startswith("| ") and first in line.split("|")[1]]
    return row


@pytest.mark.parametrize("key", [field.name for field in fields(FileResult)])
def test_every_field_of_the_json_report_is_documented(key: str) -> None:
    assert any(f"`{key}`" in line.split("|")[1] for line in LINES if line.startswith("| `"))


@pytest.mark.parametrize("key", [SCHEMA_KEY, *(field.name for field in fields(ModelSpec))])
def test_every_metadata_key_is_documented(key: str) -> None:
    page = (ROOT / "export" / "FORMAT.md").read_text(encoding="utf-8")
    assert any(f"`{key}`" in line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize("suffix", FORMAT_OF_SUFFIX)
def test_every_image_suffix_is_documented(suffix: str) -> None:
    assert any(f"`{suffix}`" in line for line in LINES if line.startswith("| "))


@pytest.mark.parametrize("codec", CODECS)
def test_the_documented_table_of_codecs_is_right(codec: str) -> None:
    row = row_of(f"`{codec}`")
    containers = row.split("|")[2]
    for format, codecs in CODECS_OF_FORMAT.items():
        assert (("MKV" if format == MATROSKA else format) in containers) == (codec in codecs), format
    assert f"0 to {CRF_MAX[codec]}" in row
    assert row.split("|")[4].strip() == str(DEFAULT_CRF[codec])


@pytest.mark.parametrize(("column", "pixels"), [(2, 0.3), (3, 2.0)])
def test_the_estimate_of_a_billion_pictures_is_what_its_benchmark_prints(column: int, pixels: float) -> None:
    def shown(row: str) -> float:
        return float(row_of(row).split("|")[column].split("(")[0].replace(",", ""))

    def of(model: str) -> scale.Plan:
        return scale.Plan(1e9, pixels, scale.speeds()[model], scale.BYTES, scale.BYTES, 24, 64, 25)

    rows = {
        "core hours": "denoise-fast-int8",
        "same with `denoise-int8`": "denoise-int8",
        "same with `denoise`": "denoise",
    }
    for row, model in rows.items():
        assert shown(row) == pytest.approx(1e9 * of(model).seconds / 3600, rel=0.02)
    default = of("denoise-fast-int8")
    assert shown("cores (machines") == pytest.approx(default.rate * default.seconds, rel=0.02)
    assert shown("the model, on the CPU") == pytest.approx(default.limits()["CPU: the model"], rel=0.02)
    assert shown("reading and writing JPEG") == pytest.approx(
        default.limits()["CPU: reading and writing JPEG"], rel=0.02
    )
