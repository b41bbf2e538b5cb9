"""Every Python example of the pages runs, with its imports and as far as possible in the base install."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.pages.documented import ROOT, pages
from tests.runtime.conftest import FIXTURES

from cae_runtime import MissingExtraError

NEEDS = {"clean_video": "av", "cae_train": "torch", "cae_export": "onnx"}  # beside what is imported by its own name
MODELS = {"fill": "fill", "encoder": "encode", "decoder": "generate", "anomaly": "anomaly"}


@pytest.fixture(autouse=True)
def opencv_as_before() -> Iterator[None]:
    """One example silences OpenCV, in this process."""
    before = cv2.utils.logging.getLogLevel()
    yield
    cv2.utils.logging.setLogLevel(before)


def examples() -> list[Any]:
    found = []
    for page in pages():
        text = page.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, block.start()) + 1
            source = "\n" * line + block[1]  # so that an error names the page's own line
            found.append(pytest.param(page, source, id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def needed(source: str) -> set[str]:
    """Packages that an example cannot do without."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names |= {(node.module or "").split(".")[0], *(alias.name for alias in node.names if alias.name in NEEDS)}
    return {NEEDS.get(name, name) for name in names} - {"cae_runtime"}


def put_stand_ins(source: str, folder: Path) -> None:
    """Write a small file of the right kind for each name that an example reads; what it writes does no harm."""
    names = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    if "photos" in names:
        (folder / "photos").mkdir()
        cv2.imwrite(str(folder / "photos" / "a.png"), picture)
    files = [
        name.replace("*", "00000") for name in names if isinstance(name, str) and re.fullmatch(r"[\w./*-]+\.\w+", name)
    ]
    for path in (folder / name for name in files):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            cv2.imwrite(str(path), (picture > 200) * np.uint8(255) if "mask" in path.stem else picture)
        elif path.suffix == ".onnx":
            kind = next((model for word, model in MODELS.items() if word in path.stem), "blur")
            path.write_bytes((FIXTURES / f"{kind}.onnx").read_bytes())
        elif path.suffix == ".npz":
            np.savez(
                path, features=np.random.default_rng(0).random((40, 8), np.float32), paths=np.array(["a.png"] * 40)
            )
        elif path.suffix == ".mp4" and importlib.util.find_spec("av"):
            from tests.runtime.clips import make_clip

            make_clip(path, frames=3)


@pytest.mark.parametrize(("page", "source"), examples())
@pytest.mark.parametrize("install", ["base", "extras"])
def test_every_python_example_of_the_pages_runs(
    page: Path, source: str, install: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = needed(source)
    put_stand_ins(source, tmp_path)
    monkeypatch.chdir(tmp_path)
    code = compile(source, str(page), "exec")
    if install == "extras" or "av" not in packages:
        for package in packages:
            pytest.importorskip(package)
        exec(code, {})  # noqa: S102 - the project's own words
    else:  # only the command that installs what is missing ends it
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(MissingExtraError, match=r"videos need an extra: pip install 'cae-toolkit\[video\]'"):
            exec(code, {})  # noqa: S102


def test_the_pages_contain_examples() -> None:
    assert len(examples()) >= 2
