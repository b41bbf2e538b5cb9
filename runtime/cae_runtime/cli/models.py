"""Opens the models that the command runs."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from cae_runtime.cli.options import RAY, Options
from cae_runtime.cli.terminal import tell

if TYPE_CHECKING:
    from cae_runtime.inference.session import Session
    from cae_runtime.tasks.restore import Restorer


def open_session(options: Options, name: str) -> Session:
    """Open a model on the requested provider.

    Raises:
        ModelError, ProviderError, UsageError: see `Session`.
    """
    from cae_runtime.inference.providers import parse_provider
    from cae_runtime.inference.session import Session

    if not gc.isenabled():
        gc.freeze()  # imported modules stay
        gc.enable()
    if options.engine == RAY:  # its workers open it for themselves
        parse_provider(options.provider)
        return Session(name, provider="cpu", threads=1)
    session = Session(name, provider=options.provider, threads=options.threads)
    if options.verbose and not session.provider_was_chosen:  # otherwise it is printed anyway
        tell(f"provider: {session.provider_note}")
    return session


def open_restorer(options: Options, name: str) -> Restorer:
    """Open a model that cleans frames, its threads pinned to CPUs.

    Raises:
        ModelError, ProviderError, UsageError: see `Restorer`.
    """
    from cae_runtime.tasks.restore import Restorer

    return Restorer(
        open_session(options, name), batch=options.batch, overlap=options.overlap, stretch=options.stretch,
        pin_threads=True,
    )  # fmt: skip
