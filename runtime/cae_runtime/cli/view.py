"""What `cae-run --view` and `--sheet` do after parsing."""

from __future__ import annotations

from pathlib import Path

import typer

from cae_runtime.cli.models import open_restorer, open_session
from cae_runtime.cli.options import Options
from cae_runtime.cli.source_names import expanded
from cae_runtime.cli.terminal import in_words, tell
from cae_runtime.errors import UsageError
from cae_runtime.io.formats import PIPE
from cae_runtime.places.address import Place, is_address, local_path
from cae_shared.text import masked

_EXIT_FAILED = 1


def run_view(options: Options) -> None:
    """Show the given pictures in a window.

    Raises:
        CaeRuntimeError: see `view_pictures`.
        typer.Exit: some picture could not be read or saved.
    """
    sources = _sources(options, "--view")
    if options.output == "":
        raise UsageError("-o is empty: name a file or a folder (. is the current one)")
    from cae_runtime.view.run import view_pictures
    from cae_runtime.view.session import ViewSettings

    if addresses := [text for text in (*map(str, sources), options.output or "") if is_address(text)]:
        raise UsageError(f"--view takes files and folders of this computer, and {masked(addresses[0])!r} is an address")
    settings = ViewSettings(
        tuple(local_path(source, "source") for source in sources), options.output, options.model_name,
        lambda name: open_restorer(options, name),
        options.for_restoring(), in_words,
    )  # fmt: skip
    if view_pictures(settings, tell):
        raise typer.Exit(_EXIT_FAILED)


def run_sheet(options: Options) -> None:
    """Draw a contact sheet of the given pictures before and after cleaning.

    Raises:
        CaeRuntimeError: see `draw_sheet`.
        typer.Exit: some picture failed.
    """
    sources, sheet = _sources(options, "--sheet"), options.sheet
    assert sheet is not None  # noqa: S101 - `command_meant` chose this by it
    from cae_runtime.jobs.previews.before_after import draw_sheet

    if draw_sheet(open_session(options, options.model_name), sources, sheet, options.for_restoring()):
        raise typer.Exit(_EXIT_FAILED)


def _sources(options: Options, command: str) -> list[Place]:
    """Return the given files and folders.

    Raises:
        UsageError: there are none, or one is a pipe.
    """
    sources = expanded(options.sources or [])
    if Path(PIPE) in sources or options.output == PIPE:
        raise UsageError(f"{command} takes files and folders, and no -")
    if not sources:
        raise UsageError(f"{command} needs pictures: name images or folders")
    return sources
