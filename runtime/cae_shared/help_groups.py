"""Help texts with the options of a command in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def grouped(command: type[Any], groups: Mapping[str, Sequence[str]]) -> type[Any]:
    """Return a command class whose `--help` lists the options in groups.

    Args:
        command: `typer.core.TyperCommand`, passed in because this package imports only the standard library.
        groups: heading -> names of the command's parameters. All others come last, under "Options".
    """
    heading_of = {name: heading for heading, names in groups.items() for name in names}

    def format_options(self: Any, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Arguments", *groups, "Options")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                general = "Arguments" if param.param_type_name == "argument" else "Options"
                sections[heading_of.get(param.name, general)].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    return type("GroupedCommand", (command,), {"format_options": format_options})
