"""Messages of the libraries name arguments; only the commands name options."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer

import cae_export.cli
import cae_train.cli.main
from cae_runtime.cli.terminal import OPTIONS
from cae_shared.text import options_of, with_options

ROOT = Path(__file__).parents[2]
LIBRARIES = ("runtime/cae_runtime", "train/cae_train", "export/cae_export")
OPTION = re.compile(r"(?<![\w-])(--[a-z]|-[omv]\b)")


def texts(source: str) -> list[str]:
    """Return the texts of a module that may be messages: no docstrings, and no words such as arguments of a program."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs)
    return [node.value for node in constants if isinstance(node.value, str) and " " in node.value]


def modules(library: str) -> list[Path]:
    """Return the modules of a library, without those of its command."""
    commands = {"cli", "cli.py", "option_checks.py"}
    found = [path for path in sorted((ROOT / library).rglob("*.py")) if not commands & set(path.parts)]
    assert found
    return found


@pytest.mark.parametrize("library", LIBRARIES)
def test_library_messages_name_no_command_line_options(library: str) -> None:
    found = [
        (str(module), text)
        for module in modules(library)
        for text in texts(module.read_text("utf-8"))
        if OPTION.search(text)
    ]
    assert not [each for each in found if "cae-" not in each[1]]  # the lines of commands that are suggested


@pytest.mark.parametrize(
    ("library", "options"),
    [
        ("runtime/cae_runtime", OPTIONS),
        ("train/cae_train", options_of(typer.main.get_command(cae_train.cli.main.app).params)),
        ("export/cae_export", options_of(typer.main.get_command(cae_export.cli.app).params)),
    ],
)
def test_commands_can_translate_the_arguments_in_library_messages(library: str, options: dict[str, str]) -> None:
    words = "|".join(name for name in options if "_" in name)
    untranslated = re.compile(rf"(?<![\w./-])(?!^\w+( is |: | '| ?$))({words})\b(?!=)")
    found = [(str(module), text) for module in modules(library) for text in texts(module.read_text("utf-8"))]
    assert not [each for each in found if untranslated.search(each[1])]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'a b.png' exists: overwrite=True replaces it", "'a b.png' exists: --overwrite replaces it"),
        ("temporal=False helps, or ext='png'", "--no-temporal helps, or --ext png"),
        ("mask_color is '#12': it must be a color", "--mask-color is '#12': it must be a color"),
        ("count=N, target_fps=29.5", "--generate N, --target-fps 29.5"),
        ("'ext=png' and \"it's ext=x\" of a file's name", "'ext=png' and \"it's ext=x\" of a file's name"),
        ("model 'x' is damaged", "model 'x' is damaged"),
    ],
)
def test_commands_translate_arguments_to_options_but_not_file_names(text: str, said: str) -> None:
    assert with_options(text, OPTIONS) == said
