"""Public names of a package that are imported when they are first used, so that `import cae_runtime` costs nothing."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing would take longer than this whole module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def resolver(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Return the `__getattr__` of a package, which imports a public name and keeps it; `__version__` too.

    Args:
        package: the package's name.
        homes: the module of each public name, below the package.
    """

    def resolved(name: str) -> object:
        from importlib import import_module

        value: object
        if name == "__version__":
            from importlib.metadata import version

            value = version("cae-toolkit")
        elif name in homes:
            value = getattr(import_module(f"{package}.{homes[name]}"), name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return resolved
