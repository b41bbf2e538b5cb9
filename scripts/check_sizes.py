"""Checks that folders, files and functions stay small enough to be read: `python scripts/check_sizes.py`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("runtime/cae_runtime", "runtime/cae_shared", "train/cae_train", "export/cae_export", "scripts")
MODULES_MAX, LINES_MAX, FUNCTION_LINES_MAX, PARAMETERS_MAX = 14, 300, 60, 10
# The signature of a command has a parameter for each of its options.
COMMANDS = {
    ("runtime/cae_runtime/cli/main.py", "run"),
    ("train/cae_train/cli/main.py", "command"),
    ("export/cae_export/cli.py", "command"),
}


def too_large(package: Path) -> Iterator[str]:
    """Yield a line for every folder, file and function of a package that exceeds a limit."""
    for folder in (package, *sorted(path for path in package.rglob("*") if path.is_dir())):
        modules = len(list(folder.glob("*.py")))
        if modules > MODULES_MAX:
            yield f"{folder.relative_to(ROOT)}: {modules} modules, the limit is {MODULES_MAX}"
    for path in sorted(package.rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        lines = len(text.splitlines())
        if lines > LINES_MAX:
            yield f"{name}: {lines} lines, the limit is {LINES_MAX}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (name, node.name) not in COMMANDS:
                yield from (f"{name}:{node.lineno}: {node.name} has {problem}" for problem in _too_large(node))


def _too_large(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if lines > FUNCTION_LINES_MAX:
        yield f"{lines} lines, the limit is {FUNCTION_LINES_MAX}"
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    count = len(names) - (names[:1] in (["self"], ["cls"]))
    if count > PARAMETERS_MAX:
        yield f"{count} parameters, the limit is {PARAMETERS_MAX}"


if __name__ == "__main__":
    found = [line for package in PACKAGES for line in too_large(ROOT / package)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    sys.exit(bool(found))
