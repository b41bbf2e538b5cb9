"""What the libraries say is for whoever calls them: only the commands name options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARIES = (
    *(f"runtime/cae_runtime/{room}" for room in ("inference", "io", "tasks", "video")),
    *(f"train/cae_train/{room}" for room in ("config.py", "data", "degradations", "models", "training")),
    "export/cae_export",
)
OPTION = re.compile(r"(?<![\w-])--[a-z]")


def texts(source: str) -> list[str]:
    """Return the texts of a module that are no docstrings."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return [node.value for node in constants if isinstance(node.value, str)]


@pytest.mark.parametrize("library", LIBRARIES)
def test_no_text_of_a_library_names_an_option(library: str) -> None:
    place = ROOT / library
    modules = [path for path in sorted(place.rglob("*.py")) if path.name != "cli.py"] if place.is_dir() else [place]
    assert modules
    found = [
        (str(module), text) for module in modules for text in texts(module.read_text("utf-8")) if OPTION.search(text)
    ]
    assert not [each for each in found if "cae-" not in each[1]]  # the lines of commands that are suggested
