"""Every command on a page parses, and every option is on a page."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path

import pytest
import typer
from tests.pages.documented import OURS, ROOT, Shown, commands, pages
from typer.testing import CliRunner

SHOWN = commands()
MODULES = {"cae-run": "cae_runtime.cli.main", "cae-train": "cae_train.cli.main", "cae-export": "cae_export.cli"}
# Without `engines`, which runs in environments of its own.
BENCHMARKS = sorted(path for path in ROOT.glob("tests/benchmarks/*/*.py") if path.parent.name != "engines")


class ParsedError(Exception):
    """The arguments were taken; nothing was run."""


def test_the_pages_contain_commands() -> None:
    assert {shown.words[0] for shown in SHOWN} >= {*OURS, "python"}
    assert len([shown for shown in SHOWN if shown.page == "README.md" and shown.block]) > 10


@pytest.mark.parametrize("program", OURS)
def test_help_lists_every_option_once_in_its_group(program: str) -> None:
    module = importlib.import_module(MODULES[program])
    text = CliRunner().invoke(module.app, ["--help"], env={"COLUMNS": "80"}).output
    text = text[text.index(f"\n{next(iter(module.GROUPS))}:\n") :]  # without the description
    grouped = [name for names in module.GROUPS.values() for name in names]
    params = typer.main.get_command(module.app).params
    assert len(grouped) == len({*grouped})
    assert {*grouped} <= {param.name for param in params}
    for param in params:
        if param.param_type_name == "option":
            assert len(re.findall(rf"^  (-\w, )?{param.opts[0]}(?![\w-])", text, re.MULTILINE)) == 1, param.opts
    assert all(f"\n{heading}:\n" in text for heading in module.GROUPS)


@pytest.mark.parametrize("program", OURS)
def test_every_option_is_on_a_page(program: str) -> None:
    text = " ".join(page.read_text(encoding="utf-8") for page in pages())
    options = typer.main.get_command(importlib.import_module(MODULES[program]).app).params
    names = [param.opts + param.secondary_opts for param in options if {"--version", param.name}.isdisjoint(param.opts)]
    assert [each for each in names if not re.search(rf"(?<![\w-])({'|'.join(each)})(?![\w-])", text)] == []


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("python3 -m venv")]
    script = (ROOT / ".ci" / "run").read_text().replace("pip install -q", "pip install")
    steps = [step.removesuffix(" clean") for line in lines for step in line.split(" && ") if ".venv" not in step]
    assert len(lines) == 2
    assert [step for step in steps if step not in script] == []


@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_every_command_of_the_pages_parses(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *arguments = shown.words
    module = MODULES.get(program) or arguments[1]
    arguments = [word for word in (arguments if program in OURS else arguments[2:]) if word != "..."]
    app = getattr(importlib.import_module(module), "app", None)
    if program in OURS and not shown.block:
        check_options(app, arguments)
    elif isinstance(app, typer.Typer):
        parse_with_typer(app, arguments)
    else:
        parse_with_argparse(module, arguments, monkeypatch)


def check_options(app: typer.Typer, arguments: list[str]) -> None:
    """See that the options of a command that a sentence mentions exist; the command need not be complete."""
    known = {name for param in typer.main.get_command(app).params for name in (*param.opts, *param.secondary_opts)}
    assert {word for word in arguments if word.startswith("-") and word != "-"} <= known | {"--help"}


def parse_with_typer(app: typer.Typer, arguments: list[str]) -> None:
    """Parse as the application does, subcommands too.

    Raises:
        click.UsageError: the arguments are not taken.
    """
    command = typer.main.get_command(app)
    if hasattr(command, "resolve_command"):
        context = command.make_context(command.name or "", arguments[:0], resilient_parsing=True)
        _, command, arguments = command.resolve_command(context, arguments)
    command.make_context(command.name or "", arguments)


def _is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/")).is_dir()


def parse_with_argparse(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse as the module's `main` does.

    Raises:
        SystemExit: the arguments are not taken.
    """
    parse = argparse.ArgumentParser.parse_args

    def stop(parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        parse(parser, *args, **kwargs)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(ParsedError):
        importlib.import_module(f"{module}.__main__" if _is_package(module) else module).main()


@pytest.mark.slow
@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_can_be_imported(path: Path) -> None:
    importlib.import_module(f"tests.benchmarks.{path.parent.name}.{path.stem}")
