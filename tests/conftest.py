"""What all tests share: no time limit for Hypothesis, and signals that stay pytest's."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def no_command_heeds_signals_here() -> Iterator[None]:
    """A command that a test calls in this process must not change what signals do to the tests after it."""
    told = "a test runs a command in pytest's process: use tests.in_process.run_here, or patch cae_shared.command.heed"
    with patch("cae_shared.command.heed", side_effect=AssertionError(told)):
        yield
