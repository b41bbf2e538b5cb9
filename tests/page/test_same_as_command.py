"""Pictures that the page cleans equal those of `cae-run --no-stretch`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.page.actions import give, wait_until_done
from tests.page.conftest import ROOT

from cae_runtime import Restorer

pytestmark = [pytest.mark.serial, pytest.mark.slow]
PATCH = 32


def pictures() -> dict[str, np.ndarray]:
    """Twenty noisy pictures of the sizes at which cutting and blending could go wrong, in every kind."""
    color = cv2.imread(str(ROOT / "assets/samples/astronaut-sigma25.png"))[100:, 150:]
    gray = cv2.imread(str(ROOT / "assets/samples/camera-sigma25.png"), cv2.IMREAD_UNCHANGED)
    alpha = (np.indices(color.shape[:2]).sum(0) * 3 % 256).clip(1).astype(np.uint8)
    holes = alpha * (np.indices(color.shape[:2]).sum(0) % 90 > 30)
    kinds = {"color": color, "alpha": np.dstack([color, alpha]), "gray": gray}
    sizes = [(31, 31), (32, 32), (33, 33), (64, 64), (45, 77)]
    found = {f"{kind}-{h}x{w}": picture[:h, :w] for kind, picture in kinds.items() for h, w in sizes}
    found["holes"] = np.dstack([color, holes])[:70, :95]
    found["wide"] = color[:7, :150]
    found["dot"] = color[:1, :1]
    found["deep"] = color[:50, :60].astype(np.uint16) * 257
    found["deep-gray"] = gray[:40, :33].astype(np.uint16) * 257 + 3
    return {name: np.ascontiguousarray(picture) for name, picture in found.items()}


@pytest.mark.parametrize("model", ["denoise", "denoise-fast-int8"])
def test_the_page_gives_the_same_pixels_as_the_command(page: Any, tmp_path: Path, model: str) -> None:
    given = pictures()
    assert len(given) == 20
    for name, picture in given.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    page.select_option("#model", model)
    give(page, *(tmp_path / f"{name}.png" for name in given))
    wait_until_done(page, len(given))
    with page.expect_download() as saved:
        page.click("#save-all")
    archive = zipfile.ZipFile(io.BytesIO(Path(saved.value.path()).read_bytes()))
    assert archive.testzip() is None
    other, all_values = 0, 0
    with Restorer(model, stretch=False, threads=1) as restore:
        for name, picture in given.items():
            made = cv2.imdecode(np.frombuffer(archive.read(f"{name}_clean.png"), np.uint8), cv2.IMREAD_UNCHANGED)
            wanted = restore(picture)
            assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype), name
            off = np.abs(made.astype(int) - wanted.astype(int))
            assert off.max() <= 1, name
            if picture.dtype == np.uint8:
                other, all_values = other + np.count_nonzero(off), all_values + off.size
    assert other <= 0.001 * all_values, f"{other} of {all_values} values differ"
